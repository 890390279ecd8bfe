//! The sockets of allocations, and what peers send to them.

use super::{LARGEST, Shared, ports::Kept};
use crate::turn::server::AllocationId;
use std::{collections::HashMap, net::SocketAddr, sync::Arc};
use tokio::{net::UdpSocket, task::AbortHandle};

/// Datagrams that are taken before others get their turn.
const BATCH: usize = 64;

/// The sockets.
#[derive(Debug, Default)]
pub(super) struct Relays {
    all: HashMap<AllocationId, Relay>,
    kept: HashMap<SocketAddr, UdpSocket>,
}

#[derive(Debug)]
struct Relay {
    socket: Arc<UdpSocket>,
    task: AbortHandle,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relays {
    pub(super) fn socket(&self, id: AllocationId) -> Option<Arc<UdpSocket>> {
        self.all.get(&id).map(|relay| Arc::clone(&relay.socket))
    }

    /// Serves an allocation from now on.
    pub(super) fn start(&mut self, shared: &Arc<Shared>, id: AllocationId, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let task = tokio::spawn(hand_on(Arc::clone(shared), id, Arc::clone(&socket)));
        let task = task.abort_handle();
        self.all.insert(id, Relay { socket, task });
    }

    pub(super) fn end(&mut self, id: AllocationId) {
        self.all.remove(&id);
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    /// Holds a port for a later allocation.
    pub(super) fn keep(&mut self, kept: Option<Kept>) {
        self.kept
            .extend(kept.map(|kept| (kept.relayed, kept.socket)));
    }

    pub(super) fn take_kept(&mut self, relayed: SocketAddr) -> Option<Kept> {
        let socket = self.kept.remove(&relayed)?;
        Some(Kept { relayed, socket })
    }

    pub(super) fn retain_kept(&mut self, wanted: impl Fn(SocketAddr) -> bool) {
        if !self.kept.is_empty() {
            self.kept.retain(|relayed, _| wanted(*relayed));
        }
    }
}

/// Hands datagrams of peers to the client, until aborted.
async fn hand_on(shared: Arc<Shared>, id: AllocationId, socket: Arc<UdpSocket>) {
    // One byte more than may be relayed, so that what is longer is noticed.
    let (mut datagram, mut message) = (vec![0; LARGEST + 1], Vec::with_capacity(LARGEST + 64));
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        for _ in 0..BATCH {
            match socket.try_recv_from(&mut datagram) {
                Ok((length, source)) if length <= LARGEST => {
                    let data = &datagram[..length];
                    let now = shared.now();
                    let mut core = shared.core();
                    let client = core.server.on_peer(now, id, source, data, &mut message);
                    let Some(client) = client else { continue };
                    let outbox = core.outbox(client);
                    drop(core);
                    shared.deliver(client, outbox, &message);
                }
                Ok(_) => shared.core().server.on_full(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // A peer that refused what was sent to it, as some systems report it; the others are not concerned.
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }
}
