//! Memory for what is read and not yet sent.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// What one lane holds of the memory that all share. A lane that holds nothing gets one chunk even if others have taken
/// all: who takes and does not read must not stop those who do.
#[derive(Debug)]
pub(super) struct LaneRoom {
    shared: Arc<Semaphore>,
    held: AtomicUsize,
    released: Notify,
}

/// Room for some chunks, until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    lane: Arc<LaneRoom>,
    chunks: u8,
    _permit: Option<OwnedSemaphorePermit>,
}

impl LaneRoom {
    pub(super) fn new(shared: Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            held: AtomicUsize::new(0),
            released: Notify::new(),
        })
    }

    /// Room for `chunks`, or for one if there is less; waits only while the lane holds some already. One task at a time.
    pub(super) async fn take(self: &Arc<Self>, chunks: u8) -> Room {
        loop {
            for chunks in [chunks, 1] {
                if let Ok(permit) = self.shared.clone().try_acquire_many_owned(chunks.into()) {
                    return self.room(chunks, Some(permit));
                }
            }
            if self.held.load(Ordering::Acquire) == 0 {
                return self.room(1, None);
            }
            tokio::select! {
                permit = self.shared.clone().acquire_owned() => return self.room(1, permit.ok()),
                () = self.released.notified() => {}
            }
        }
    }

    fn room(self: &Arc<Self>, chunks: u8, permit: Option<OwnedSemaphorePermit>) -> Room {
        self.held.fetch_add(1, Ordering::AcqRel);
        Room {
            lane: self.clone(),
            chunks,
            _permit: permit,
        }
    }
}

impl Room {
    /// For how many chunks there is room.
    pub(super) const fn chunks(&self) -> u8 {
        self.chunks
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.lane.held.fetch_sub(1, Ordering::AcqRel);
        self.lane.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[test]
    fn a_lane_without_room_gets_one_chunk() {
        let shared = Arc::new(Semaphore::new(8));
        let (greedy, modest) = (LaneRoom::new(shared.clone()), LaneRoom::new(shared));
        let take = |lane: &Arc<LaneRoom>, chunks| lane.take(chunks).now_or_never();
        let first = take(&greedy, 7).unwrap();
        let second = take(&greedy, 16).unwrap();
        assert_eq!((first.chunks(), second.chunks()), (7, 1));
        assert!(take(&greedy, 1).is_none());
        let small = take(&modest, 16).unwrap();
        assert_eq!(small.chunks(), 1);
        assert!(take(&modest, 1).is_none());
        drop(small);
        assert_eq!(take(&modest, 1).map(|room| room.chunks()), Some(1));
        drop((first, second));
        assert_eq!(take(&modest, 16).map(|room| room.chunks()), Some(1));
        assert_eq!(take(&modest, 8).map(|room| room.chunks()), Some(8));
    }
}
