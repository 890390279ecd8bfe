//! What waits to be written to a connection.

use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Bytes that may wait, in bytes. A queue is delay: this much is 50 ms at 20 Mbit/s, and what comes beyond it is dropped, as a
/// router would; the sender's congestion control then learns what the connection carries.
const DATA: usize = 128 << 10;

/// Messages for one connection.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Vec<u8>>,
    filled: Notify,
}

impl Outbox {
    /// Adds a message; false if there is no room.
    pub(super) fn push(&self, message: &[u8]) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() + message.len() > DATA {
            return false;
        }
        waiting.extend_from_slice(message);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// Waits for messages; takes all of them, in exchange for an empty buffer.
    pub(super) async fn take(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        loop {
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if !waiting.is_empty() {
                    std::mem::swap(&mut *waiting, buffer);
                    return;
                }
            }
            self.filled.notified().await;
        }
    }
}
