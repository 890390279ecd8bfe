//! Answers a lane's jobs: one task reads, another sends what the first has read before.

use super::{
    lane::{Job, ServingLane, What},
    refusal as refusal_of,
    room::Room,
};
use crate::{
    chunk::{GROUP_CHUNKS, Run},
    lane::LaneClosed,
    layout::Shape,
    link::LinkEnd,
    store::{ContentStore, Proof, ReadError},
    wire::{MAX_MANIFEST_NODES, Message, RefusalCode, Want, bye, kind},
};
use dig_types::Frame;
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

/// Chunks of a lane's first piece. Pieces double while the lane takes them at once.
const FIRST_PIECE: u8 = 2;
/// A piece that takes less than this to leave may be larger: at a full run, above 4 MiB/s.
const FAST: Duration = Duration::from_millis(250);
/// A piece that takes longer than this to leave was too large.
const SLOW: Duration = Duration::from_secs(1);
/// While all memory is taken, who does not take a frame for this long loses the lane: 64 KiB in it is 22 KB/s.
const STALL: Duration = Duration::from_secs(3);

/// Part of an answer, read and ready to be sent.
#[derive(Debug)]
struct Piece {
    job: Job,
    frames: Vec<Frame>,
    /// Whether the answer ends with it, and if so how.
    end: Option<End>,
    /// Room in memory that the frames take.
    room: Option<Room>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Complete,
    Refused(RefusalCode),
}

/// Starts both tasks; they end with the lane.
pub(super) fn start(lane: &Arc<ServingLane>) {
    let pace = Arc::new(AtomicU8::new(FIRST_PIECE));
    let (pieces, queue) = mpsc::channel(1);
    tokio::spawn(send(lane.clone(), queue, pace.clone()));
    tokio::spawn(read(lane.clone(), pieces, pace));
}

async fn read(lane: Arc<ServingLane>, pieces: mpsc::Sender<Piece>, pace: Arc<AtomicU8>) {
    while let Some(job) = lane.next().await {
        let end = match lane.server.find(&job.hash) {
            Ok(store) => match job.what {
                What::Manifest => read_manifest(&lane, &job, store, &pieces).await,
                What::Chunks { run, want } => {
                    read_run(&lane, &job, store, run, want, &pieces, &pace).await
                }
            },
            Err(refused) => Err(refused.code),
        };
        let Err(code) = end else { continue };
        if code == RefusalCode::Changed {
            lane.server.withdraw(&job.hash);
        }
        let end = Some(End::Refused(code));
        if pieces
            .send(Piece {
                job,
                frames: Vec::new(),
                end,
                room: None,
            })
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn read_manifest(
    lane: &ServingLane,
    job: &Job,
    store: Arc<dyn ContentStore>,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), RefusalCode> {
    let nodes = blocking(lane, move || store.manifest()).await?;
    let request = job.request;
    let frames = nodes
        .chunks(MAX_MANIFEST_NODES)
        .zip(0_u32..)
        .map(|(nodes, part)| {
            let first = part * MAX_MANIFEST_NODES as u32;
            Message::Manifest {
                first,
                nodes: nodes.to_vec(),
            }
            .into_frame(request)
        });
    // The nodes are in memory already; their frames are made as they go.
    let parts = nodes.len().div_ceil(MAX_MANIFEST_NODES);
    for (frame, part) in frames.zip(1..) {
        let end = (part == parts).then_some(End::Complete);
        if pieces
            .send(Piece {
                job: job.clone(),
                frames: vec![frame],
                end,
                room: None,
            })
            .await
            .is_err()
        {
            return Ok(());
        }
    }
    if parts == 0 {
        Err(RefusalCode::Malformed)
    } else {
        Ok(())
    }
}

async fn read_run(
    lane: &ServingLane,
    job: &Job,
    store: Arc<dyn ContentStore>,
    run: Run,
    mut want: Want,
    pieces: &mpsc::Sender<Piece>,
    pace: &AtomicU8,
) -> Result<(), RefusalCode> {
    let shape = Shape::new(store.header().chunks);
    let mut rest = shape.clip(run).ok_or(RefusalCode::Malformed)?;
    loop {
        // A place in the queue first: a lane holds one piece that is being sent and one that is ready.
        let Ok(place) = pieces.reserve().await else {
            return Ok(());
        };
        let room = lane
            .room
            .take(rest.count.min(pace.load(Ordering::Relaxed)))
            .await;
        let count = room.chunks();
        let piece = Run { count, ..rest };
        if job.cancel.is_cancelled() {
            return Err(RefusalCode::Cancelled);
        }
        let (source, request) = (store.clone(), job.request);
        let frames = blocking(lane, move || read_piece(&*source, request, piece, want)).await?;
        want = Want::Chunks;
        rest = Run {
            first: rest.first + u64::from(count),
            count: rest.count - count,
        };
        let end = (rest.count == 0).then_some(End::Complete);
        place.send(Piece {
            job: job.clone(),
            frames,
            end,
            room: Some(room),
        });
        if rest.count == 0 {
            return Ok(());
        }
    }
}

fn read_piece(
    store: &dyn ContentStore,
    request: u32,
    run: Run,
    want: Want,
) -> Result<Vec<Frame>, ReadError> {
    let mut frames = Vec::with_capacity(1 + usize::from(run.count));
    let proof = match want {
        Want::Chunks => None,
        Want::ManifestPath => Some(Proof::ToManifest),
        Want::RootPath => Some(Proof::ToRoot),
    };
    if let Some(proof) = proof {
        let entries = store.entries(run.group())?;
        let path = store.path(run.group(), proof)?;
        frames.push(Message::Entries { entries, path }.into_frame(request));
    }
    let chunks = store.read(run)?;
    frames.extend(
        chunks
            .into_iter()
            .map(|chunk| Message::Data(chunk).into_frame(request)),
    );
    Ok(frames)
}

/// Reads where blocking is allowed, as many at a time as the server's configuration says.
async fn blocking<T: Send + 'static>(
    lane: &ServingLane,
    action: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, RefusalCode> {
    let permit = lane.server.reads.clone().acquire_owned().await.ok();
    let result = tokio::task::spawn_blocking(move || {
        let result = action();
        drop(permit);
        result
    });
    match result.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ReadError::Changed)) => Err(RefusalCode::Changed),
        Ok(Err(ReadError::Missing)) => Err(RefusalCode::NotHere),
        Ok(Err(ReadError::Io(error))) => {
            tracing::warn!(%error, "a shared file cannot be read");
            Err(RefusalCode::NotFound)
        }
        Err(_) => Err(RefusalCode::NotFound),
    }
}

async fn send(lane: Arc<ServingLane>, mut queue: mpsc::Receiver<Piece>, pace: Arc<AtomicU8>) {
    // A job that was cancelled in the middle: its refusal went out, further pieces of it are dropped.
    let mut dropped: Option<u32> = None;
    while let Some(piece) = queue.recv().await {
        let Piece {
            job,
            frames,
            end,
            room,
        } = piece;
        if dropped == Some(job.request) {
            dropped = end.is_none().then_some(job.request);
            continue;
        }
        let sent = send_piece(&lane, &job, frames, end, &pace).await;
        let refusal = match (sent, end) {
            (Sent::LaneClosed, _) => return,
            (Sent::Cancelled, _) => Some(RefusalCode::Cancelled),
            (Sent::All, Some(End::Refused(code))) => Some(code),
            (Sent::All, _) => None,
        };
        if let Some(code) = refusal {
            lane.answered(&job);
            if lane
                .out
                .send(Message::Refused(refusal_of(code)).into_frame(job.request))
                .await
                .is_err()
            {
                return;
            }
            dropped = end.is_none().then_some(job.request);
        }
        drop(room);
    }
}

enum Sent {
    All,
    Cancelled,
    LaneClosed,
}

async fn send_piece(
    lane: &ServingLane,
    job: &Job,
    frames: Vec<Frame>,
    end: Option<End>,
    pace: &AtomicU8,
) -> Sent {
    let (start, count) = (Instant::now(), frames.len());
    for (frame, left) in frames.into_iter().zip((0..count).rev()) {
        if job.cancel.is_cancelled() {
            return Sent::Cancelled;
        }
        let bytes = if frame.kind == kind::DATA {
            frame.payload.len()
        } else {
            0
        };
        lane.server.limit.acquire(bytes as u64).await;
        if left == 0 && matches!(end, Some(End::Complete)) {
            // Once the last frame is there, the other side may use the id again.
            lane.answered(job);
        }
        if send_frame(lane, frame).await.is_err() {
            return Sent::LaneClosed;
        }
        lane.sent(&job.hash, bytes);
    }
    if count > 0 {
        let now = pace.load(Ordering::Relaxed);
        let next = match start.elapsed() {
            quick if quick < FAST => now.saturating_mul(2).min(GROUP_CHUNKS as u8),
            slow if slow > SLOW => (now / 2).max(1),
            _ => now,
        };
        pace.store(next, Ordering::Relaxed);
    }
    Sent::All
}

async fn send_frame(lane: &ServingLane, frame: Frame) -> Result<(), LaneClosed> {
    let mut sending = pin!(lane.out.send(frame));
    loop {
        tokio::select! {
            biased;
            sent = &mut sending => return sent,
            () = sleep(STALL) => {
                if lane.server.memory.available_permits() == 0 {
                    lane.out.close(LinkEnd::NotReading, bye::PROTOCOL, "nothing is read");
                }
            }
        }
    }
}
