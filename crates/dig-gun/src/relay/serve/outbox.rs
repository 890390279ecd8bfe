//! What waits to be sent to a connection.

use crate::{frame::Packer, relay::core::Answer};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

/// Messages on their way to a connection. Short ones are joined to frames as they come.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    /// Something is there.
    filled: Notify,
    /// Something was sent.
    drained: Notify,
    closed: CancellationToken,
    bytes: AtomicUsize,
    /// Those of them that are answers to be written.
    answers: AtomicUsize,
    /// Bytes that wait for all connections.
    in_all: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    packer: Packer,
    /// Bytes of the messages in the packer.
    packed: usize,
    closed: bool,
}

/// Something to be sent.
#[derive(Debug)]
pub(super) enum Item {
    /// A frame, and the bytes of its messages.
    Frame(Utf8Bytes, usize),
    /// An answer, written when its turn comes.
    Answer(Box<Answer>, usize),
}

impl Queue {
    fn pack(&mut self) {
        let bytes = std::mem::take(&mut self.packed);
        if let Some(frame) = self.packer.finish() {
            self.items.push_back(Item::Frame(frame.into(), bytes));
        }
    }

    fn push(&mut self, text: &Utf8Bytes) {
        if text.len() > Packer::MAX_CHARS / 2 {
            self.pack();
            self.items.push_back(Item::Frame(text.clone(), text.len()));
            return;
        }
        // At most the frame of those before.
        for frame in self.packer.push(text) {
            let bytes = std::mem::take(&mut self.packed);
            self.items.push_back(Item::Frame(frame.into(), bytes));
        }
        self.packed += text.len();
    }
}

impl Outbox {
    pub(super) fn new(in_all: Arc<AtomicUsize>) -> Self {
        let mut outbox = Self::default();
        outbox.in_all = in_all;
        outbox
    }

    /// Adds a message. Long ones are shared, short ones copied.
    pub(super) fn push(&self, text: &Utf8Bytes) {
        let mut queue = self.queue();
        if queue.closed {
            return;
        }
        self.count(text.len());
        queue.push(text);
        drop(queue);
        self.filled.notify_one();
    }

    /// Adds an answer.
    pub(super) fn push_answer(&self, answer: Answer, bytes: usize) {
        let mut queue = self.queue();
        if queue.closed {
            return;
        }
        self.count(bytes);
        self.answers.fetch_add(bytes, Ordering::Relaxed);
        queue.pack();
        queue.items.push_back(Item::Answer(Box::new(answer), bytes));
        drop(queue);
        self.filled.notify_one();
    }

    /// Everything that waits; `None` if it is closed. They count until [`Outbox::sent`].
    pub(super) fn take(&self) -> Option<VecDeque<Item>> {
        let mut queue = self.queue();
        if queue.closed {
            return None;
        }
        queue.pack();
        Some(std::mem::take(&mut queue.items))
    }

    /// So many bytes are sent.
    pub(super) fn sent(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.in_all.fetch_sub(bytes, Ordering::Relaxed);
        self.drained.notify_waiters();
    }

    /// An answer of so many bytes is sent.
    pub(super) fn sent_answer(&self, bytes: usize) {
        self.answers.fetch_sub(bytes, Ordering::Relaxed);
        self.sent(bytes);
    }

    /// Waits for something to be sent, or the end.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Waits until fewer bytes than that wait.
    pub(super) async fn drained(&self, bytes: usize) {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            drained.as_mut().enable();
            if self.bytes() < bytes || self.queue().closed {
                return;
            }
            drained.await;
        }
    }

    /// Takes nothing any more, forgets what waits, and ends who sends it; `false` if it was closed before.
    pub(super) fn close(&self) -> bool {
        let mut queue = self.queue();
        let closed = std::mem::replace(&mut queue.closed, true);
        queue.items = VecDeque::new();
        drop(queue);
        self.filled.notify_one();
        self.drained.notify_waiters();
        self.closed.cancel();
        !closed
    }

    /// Waits until it is closed.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.in_all.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that wait for all connections.
    pub(super) fn bytes_in_all(&self) -> usize {
        self.in_all.load(Ordering::Relaxed)
    }

    /// Bytes that wait but for answers to be written: what came unasked, or is short.
    pub(super) fn told(&self) -> usize {
        self.bytes()
            .saturating_sub(self.answers.load(Ordering::Relaxed))
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.in_all.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(outbox: &Outbox) -> Vec<String> {
        let items = outbox.take().unwrap().into_iter();
        let frames = items.map(|item| match item {
            Item::Frame(text, bytes) => {
                outbox.sent(bytes);
                text.to_string()
            }
            Item::Answer(..) => panic!("an answer"),
        });
        frames.collect()
    }

    #[test]
    fn messages_are_packed_in_order_and_counted() {
        let in_all = Arc::new(AtomicUsize::new(0));
        let outbox = Outbox::new(Arc::clone(&in_all));
        let long = format!("{{{}}}", " ".repeat(5_000));
        for text in ["{}", &long, "{ }", "{  }"] {
            outbox.push(&text.into());
        }
        assert_eq!(outbox.bytes(), 2 + 5_002 + 3 + 4);
        assert_eq!(frames(&outbox), ["{}", &long, "[{ },{  }]"]);
        let medium = format!("{{{}}}", " ".repeat(4_000));
        for _ in 0..5 {
            outbox.push(&medium.as_str().into());
        }
        let sent = frames(&outbox);
        assert_eq!(sent.len(), 3);
        assert!(sent.iter().all(|frame| frame.len() <= Packer::MAX_CHARS));
        assert_eq!((outbox.bytes(), in_all.load(Ordering::Relaxed)), (0, 0));
        outbox.push(&"{}".into());
        drop(outbox);
        assert_eq!(in_all.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn closing_wakes_everybody() {
        let outbox = Outbox::default();
        outbox.push(&"{}".into());
        let wait = outbox.drained(0);
        outbox.close();
        wait.await;
        outbox.filled().await;
        assert!(outbox.take().is_none());
    }
}
