//! The NAT model and the link emulator on real packets: threads between TUN devices inside network namespaces.
//!
//! A shell opens its devices in the namespaces that it is given (their descriptors, not their names, so that
//! namespaces of a private mount work as well) and brings them up without addresses. Whoever owns the namespaces
//! adds addresses and routes; [`TunNat::commands`] and [`TunLink`] say which. Threads end and devices vanish when the
//! handle is dropped, and with the process in any case. An open device keeps its namespace alive.
//!
//! Aggregates of segments pass whole where the single packet does not matter, with checksums that the kernel left
//! unfinished; see [`wire::Sum`](crate::packet::wire::Sum).

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread::JoinHandle;

mod device;
mod link;
mod nat;
#[cfg(test)]
mod tests;

pub use link::TunLink;
pub use nat::TunNat;

/// A device to open: its namespace, its name, and the largest packet.
#[derive(Debug)]
pub struct End {
    namespace: OwnedFd,
    device: String,
    mtu: u16,
}

impl End {
    /// Packets of Ethernet.
    pub const MTU: u16 = 1500;

    /// A device called `device` (at most 15 bytes) in `namespace`, which must be a network namespace.
    #[must_use]
    pub fn new(namespace: OwnedFd, device: &str) -> Self {
        Self {
            namespace,
            device: device.to_owned(),
            mtu: Self::MTU,
        }
    }

    /// The same by path: `/run/netns/NAME`, `/proc/PID/ns/net`, `/proc/PID/root/run/netns/NAME`.
    ///
    /// # Errors
    /// [`TunError::Namespace`] if the path cannot be opened.
    pub fn open(namespace: impl AsRef<Path>, device: &str) -> Result<Self, TunError> {
        let namespace = File::open(namespace).map_err(TunError::Namespace)?;
        Ok(Self::new(namespace.into(), device))
    }

    /// The same with another largest packet.
    #[must_use]
    pub fn with_mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }
}

/// Why a shell did not start.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The namespace is gone, or this process may not enter it.
    #[error("cannot enter the network namespace: {0}; this needs root")]
    Namespace(#[source] io::Error),
    /// The device could not be made.
    #[error("cannot make the TUN device {device}: {source}; this needs root and /dev/net/tun")]
    Device {
        /// Its name.
        device: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no pipe or no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// Threads that end when this is dropped.
#[derive(Debug)]
struct Threads {
    /// Nothing is ever written: closing it is the signal.
    signal: Option<PipeWriter>,
    watch: PipeReader,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    fn new() -> Result<Self, TunError> {
        let (watch, signal) = io::pipe().map_err(TunError::Thread)?;
        Ok(Self {
            signal: Some(signal),
            watch,
            running: Vec::new(),
        })
    }

    /// Runs `body`, which must return soon after the pipe that it is given is closed at the other end.
    fn spawn(
        &mut self,
        name: &str,
        body: impl FnOnce(PipeReader) + Send + 'static,
    ) -> Result<(), TunError> {
        let watch = self.watch.try_clone().map_err(TunError::Thread)?;
        let thread = std::thread::Builder::new().name(name.to_owned());
        self.running.push(
            thread
                .spawn(move || body(watch))
                .map_err(TunError::Thread)?,
        );
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.signal = None;
        for thread in self.running.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// Runs `body` on a thread inside a network namespace.
fn inside<T: Send>(namespace: &OwnedFd, body: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))?;
            Ok(body())
        });
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}
