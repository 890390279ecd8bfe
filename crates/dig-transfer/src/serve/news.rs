//! Tells whoever has a content open what a partial holder gains.

use super::ServingLane;
use crate::{
    chunk::GROUP_CHUNKS,
    set::NumberSet,
    store::Holding,
    wire::{MAX_BITMAP, Message},
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

/// Time between two rounds of news: a getter at 100 MB/s gains 20 groups in it, told in one frame.
const ROUND: Duration = Duration::from_millis(200);
/// A gap of so many groups starts a new frame, whose ten and four bytes are cheaper than empty bitmap.
const GAP: u64 = 128;

/// Sends `HAVE`s until all is told, the subscription ends, or the store is gone.
pub(super) async fn tell(
    lane: Arc<ServingLane>,
    request: u32,
    chunks: u64,
    mut holding: watch::Receiver<Holding>,
    end: CancellationToken,
) {
    let mut told = NumberSet::empty(chunks.div_ceil(GROUP_CHUNKS));
    loop {
        let now = holding.borrow_and_update().clone();
        for message in gained(&now, &mut told) {
            lane.out.quiet().await;
            if !lane.news(request, message) {
                return;
            }
        }
        if told.is_full() {
            return;
        }
        let changed = async {
            sleep(ROUND).await;
            holding.changed().await
        };
        tokio::select! {
            () = end.cancelled() => return,
            changed = changed => if changed.is_err() { return },
        }
    }
}

/// The groups that were not told yet, as bitmaps; they count as told then.
fn gained(holding: &Holding, told: &mut NumberSet) -> Vec<Message> {
    let (mut messages, mut bitmap) = (Vec::new(), Bitmap::default());
    let mut from = 0;
    while let Some(group) = told.next_absent(from) {
        let next = match holding {
            Holding::Complete => Some(group),
            Holding::Groups(groups) => groups.next_present(group),
        };
        let Some(next) = next.filter(|next| *next < told.bound()) else {
            break;
        };
        if told.insert(next) && !bitmap.add(next) {
            messages.extend(std::mem::take(&mut bitmap).message());
            bitmap.add(next);
        }
        from = next + 1;
    }
    messages.extend(bitmap.message());
    messages
}

/// A bitmap as it grows.
#[derive(Debug, Default)]
struct Bitmap {
    first: u64,
    last: u64,
    bits: Vec<u8>,
}

impl Bitmap {
    /// Adds a group above those that are in; `false` if it lies too far off.
    fn add(&mut self, group: u64) -> bool {
        if self.bits.is_empty() {
            self.first = group;
        } else if group - self.last > GAP {
            return false;
        }
        let bit = group - self.first;
        let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
        if byte >= MAX_BITMAP {
            return false;
        }
        self.bits.resize(byte + 1, 0);
        self.bits[byte] |= 0x80 >> (bit % 8);
        self.last = group;
        true
    }

    fn message(self) -> Option<Message> {
        let first = u32::try_from(self.first).ok()?;
        (!self.bits.is_empty()).then(|| Message::Have {
            first,
            bitmap: self.bits.into(),
        })
    }
}

/// The groups of a `HAVE`.
pub(crate) fn groups_of(first: u32, bitmap: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let bits = (0_u64..).zip(bitmap).flat_map(|(at, byte)| {
        (0..8_u64)
            .filter(move |bit| byte & (0x80 >> bit) != 0)
            .map(move |bit| at * 8 + bit)
    });
    bits.map(move |bit| u64::from(first) + bit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn news_say_what_is_new_once(
            bound in 1_u64..200_000,
            rounds in proptest::collection::vec(proptest::collection::vec(0_u64..200_000, 0..60), 1..5),
        ) {
            let (mut told, mut here) = (NumberSet::empty(bound), NumberSet::empty(bound));
            let mut known = BTreeSet::new();
            for round in rounds {
                round.into_iter().for_each(|group| { here.insert(group); });
                for message in gained(&Holding::Groups(Arc::new(here.clone())), &mut told) {
                    let Message::Have { first, bitmap } = message else { unreachable!() };
                    prop_assert!(!bitmap.is_empty() && bitmap.len() <= MAX_BITMAP);
                    for group in groups_of(first, &bitmap) {
                        prop_assert!(known.insert(group), "{group} twice");
                    }
                }
                prop_assert!(known.iter().copied().eq(here.iter()));
            }
            for message in gained(&Holding::Complete, &mut told) {
                let Message::Have { first, bitmap } = message else { unreachable!() };
                known.extend(groups_of(first, &bitmap));
            }
            prop_assert!(told.is_full() && known.len() as u64 == bound);
        }
    }
}
