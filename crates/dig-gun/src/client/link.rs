//! One connection to a relay, from dialling to its end.

use super::{
    RelayUrl,
    dial::{FrameReceiver, FrameSender, Heard, LineError},
    engine::Engine,
};
use crate::{
    frame::frames_in,
    message::{Message, WireLimits},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Bytes that may wait for a relay to read them; then the connection is given up. What the core sends unasked is far less.
const MOST_QUEUED: usize = 32 << 20;
/// How long a relay may take to read what was sent.
const STUCK: Duration = Duration::from_secs(20);
/// After so long without a word a sign of life is asked for: half as long again as gun.js's heartbeat.
const QUIET: Duration = Duration::from_secs(30);
/// How long that sign is waited for.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the end of a connection may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// The way to a relay.
#[derive(Debug)]
pub(super) struct Line {
    frames: mpsc::UnboundedSender<String>,
    queued: Arc<AtomicUsize>,
    overflow: CancellationToken,
}

impl Line {
    /// Queues a frame.
    pub(super) fn send(&self, frame: String) {
        if self.queued.fetch_add(frame.len(), Relaxed) > MOST_QUEUED {
            self.overflow.cancel();
            return;
        }
        // The task that ended will say so.
        let _ = self.frames.send(frame);
    }
}

/// Dials a relay, and serves the connection until it ends or `stop` is cancelled.
pub(super) async fn run(engine: Arc<Engine>, id: u32, url: RelayUrl, stop: CancellationToken) {
    let dialled = tokio::select! {
        () = stop.cancelled() => return,
        dialled = engine.dialler().dial(&url) => dialled,
    };
    let (mut sender, mut receiver) = match dialled {
        Ok(halves) => halves,
        Err(error) => {
            tracing::debug!(relay = %url, "no connection to the Gun relay: {error}");
            return engine.closed(id, error.to_string());
        }
    };
    tracing::debug!(relay = %url, "connected to the Gun relay");
    let (frames, queue) = mpsc::unbounded_channel();
    let mut queue = Queue {
        frames: queue,
        bytes: Arc::default(),
    };
    let overflow = CancellationToken::new();
    let line = Line {
        frames,
        queued: Arc::clone(&queue.bytes),
        overflow: overflow.clone(),
    };
    engine.opened(id, line);
    let heard = AtomicBool::new(false);
    let why = tokio::select! {
        () = stop.cancelled() => {
            // What is queued was promised to be sent soon.
            let goodbye = async { queue.flush(&mut sender).await?; sender.close().await };
            let _ = timeout(GOODBYE, goodbye).await;
            return;
        }
        () = overflow.cancelled() => "it does not read what it is sent".to_owned(),
        why = read(&engine, id, &mut receiver, &heard) => why,
        why = write(&mut sender, &mut queue, &heard) => why,
    };
    tracing::debug!(relay = %url, "the connection to the Gun relay ended: {why}");
    engine.closed(id, why);
}

/// Hands on what comes, until nothing does any more.
async fn read(
    engine: &Arc<Engine>,
    id: u32,
    receiver: &mut FrameReceiver,
    heard: &AtomicBool,
) -> String {
    loop {
        match receiver.recv().await {
            Ok(Some(Heard::Frame(frame))) => {
                heard.store(true, Relaxed);
                engine.on_messages(id, messages(frame.as_str(), engine.limits()));
            }
            Ok(Some(Heard::Life)) => heard.store(true, Relaxed),
            Ok(None) => return LineError::Closed.to_string(),
            Err(error) => return error.to_string(),
        }
    }
}

/// The messages of a frame that can be read.
fn messages(frame: &str, limits: &WireLimits) -> Vec<Message> {
    let texts = frames_in(frame).filter_map(|text| {
        text.inspect_err(|error| tracing::debug!("from a Gun relay: {error}"))
            .ok()
    });
    texts
        .filter_map(|text| {
            Message::parse(&text, limits)
                .inspect_err(|error| tracing::debug!("from a Gun relay: {error}"))
                .ok()
        })
        .collect()
}

/// Sends what is queued, and asks for signs of life when none come.
async fn write(sender: &mut FrameSender, queue: &mut Queue, heard: &AtomicBool) -> String {
    let mut quiet = QUIET;
    let mut asked = false;
    loop {
        tokio::select! {
            first = queue.frames.recv() => {
                let Some(first) = first else {
                    return LineError::Closed.to_string();
                };
                match timeout(STUCK, queue.send(sender, first)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error.to_string(),
                    Err(_) => return "it does not read what it is sent".to_owned(),
                }
            }
            () = sleep(quiet) => {
                if heard.swap(false, Relaxed) {
                    (quiet, asked) = (QUIET, false);
                    continue;
                }
                if asked {
                    return "it gives no sign of life".to_owned();
                }
                if let Err(error) = sender.ping().await {
                    return error.to_string();
                }
                (quiet, asked) = (ANSWER, true);
            }
        }
    }
}

/// Frames that wait to be sent.
struct Queue {
    frames: mpsc::UnboundedReceiver<String>,
    bytes: Arc<AtomicUsize>,
}

impl Queue {
    /// Sends this frame and all that wait, in as few packets as they fit.
    async fn send(&mut self, sender: &mut FrameSender, first: String) -> Result<(), LineError> {
        let mut next = Some(first);
        while let Some(frame) = next {
            let len = frame.len();
            sender.feed(frame).await?;
            self.bytes.fetch_sub(len, Relaxed);
            next = self.frames.try_recv().ok();
        }
        sender.flush().await
    }

    /// Sends all that wait.
    async fn flush(&mut self, sender: &mut FrameSender) -> Result<(), LineError> {
        match self.frames.try_recv() {
            Ok(first) => self.send(sender, first).await,
            Err(_) => Ok(()),
        }
    }
}
