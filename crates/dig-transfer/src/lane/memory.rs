//! A lane inside one process.

use super::{Carrier, FrameReceiver, FrameSender, Lane, LaneClosed, LaneInfo};
use dig_types::{Frame, InstanceId, NodeId};
use futures::{FutureExt as _, future::BoxFuture};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Frames that a half queues before `send` waits.
const QUEUE: usize = 16;

#[derive(Debug)]
struct MemorySender {
    frames: mpsc::Sender<Frame>,
    closed: CancellationToken,
}

impl FrameSender for MemorySender {
    fn send(&self, frame: Frame) -> BoxFuture<'_, Result<(), LaneClosed>> {
        async move {
            tokio::select! {
                biased;
                () = self.closed.cancelled() => Err(LaneClosed),
                sent = self.frames.send(frame) => sent.map_err(|_| LaneClosed),
            }
        }
        .boxed()
    }

    fn close(&self, _code: u16, _text: &str) {
        self.closed.cancel();
    }

    fn rtt(&self) -> Option<Duration> {
        None
    }
}

#[derive(Debug)]
struct MemoryReceiver {
    frames: mpsc::Receiver<Frame>,
    closed: CancellationToken,
}

impl FrameReceiver for MemoryReceiver {
    fn recv(&mut self) -> BoxFuture<'_, Option<Frame>> {
        async move {
            tokio::select! {
                biased;
                frame = self.frames.recv() => frame,
                () = self.closed.cancelled() => None,
            }
        }
        .boxed()
    }
}

/// Two ends of a lane between `left` and `right`: what one sends, the other receives.
pub fn memory_lanes(left: NodeId, right: NodeId) -> (Lane, Lane) {
    let closed = CancellationToken::new();
    let (to_right, from_left) = mpsc::channel(QUEUE);
    let (to_left, from_right) = mpsc::channel(QUEUE);
    let end = |node: NodeId, frames, incoming| Lane {
        info: LaneInfo {
            node,
            instance: InstanceId::from_bytes([node.as_bytes()[0]; 16]),
            remote: None,
            carrier: Carrier::Memory,
            relayed: false,
            max_requests: 64,
        },
        sender: Box::new(MemorySender {
            frames,
            closed: closed.clone(),
        }),
        receiver: Box::new(MemoryReceiver {
            frames: incoming,
            closed: closed.clone(),
        }),
    };
    (
        end(right, to_right, from_right),
        end(left, to_left, from_left),
    )
}
