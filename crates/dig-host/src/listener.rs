//! Where peers come from.

use dig_transfer::lane::Lane;
use futures::{FutureExt as _, future::BoxFuture};
use std::fmt;
use tokio::sync::{Mutex, mpsc};

/// Gives the next peer that wants something.
pub trait Listener: Send + Sync + fmt::Debug {
    /// The next lane, open and authenticated; `None` when no more will come.
    fn accept(&self) -> BoxFuture<'_, Option<Lane>>;
}

/// Lanes from a queue, for tests and for programs that get their lanes elsewhere.
#[derive(Debug)]
pub struct MemoryListener(Mutex<mpsc::Receiver<Lane>>);

impl MemoryListener {
    /// A listener that gives what is sent to the other end.
    pub fn new() -> (mpsc::Sender<Lane>, Self) {
        let (sender, receiver) = mpsc::channel(16);
        (sender, Self(Mutex::new(receiver)))
    }
}

impl Listener for MemoryListener {
    fn accept(&self) -> BoxFuture<'_, Option<Lane>> {
        async { self.0.lock().await.recv().await }.boxed()
    }
}
