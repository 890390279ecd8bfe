//! The UDP sockets beside the shared one: allocations on TURN servers, and those that were opened for one path alone.

use crate::datagrams::{RelayedUdp, SharedUdp};
use dig_nat::{
    io::OwnUdp,
    traversal::{PeerRelays, UdpFrom},
    turn::Relay,
};
use dig_session::{Endpoint, EndpointError, LaneInfo, PlainUdp, SocketId, SocketOptions};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a relay carries in one datagram: with what the relay adds it still fits a DSL line (1,492 bytes).
const RELAYED_DATAGRAM: u16 = 1400;
/// A socket opened for one path is closed if no lane comes up there in this time.
const UNUSED: Duration = Duration::from_secs(15);

/// Sockets that are dialled from only if they are named.
#[derive(Debug)]
pub(super) struct Sockets {
    endpoint: Endpoint,
    peer_relays: PeerRelays,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// By relayed address.
    relays: BTreeMap<SocketAddr, SocketId>,
    /// Opened for one path, and how many lanes there are.
    own: BTreeMap<SocketId, usize>,
}

impl Sockets {
    pub(super) fn new(endpoint: Endpoint, peer_relays: PeerRelays) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            peer_relays,
            table: Mutex::default(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a lane passes a relay: ours, or the peer's.
    pub(super) fn is_relayed(&self, lane: &LaneInfo) -> bool {
        let table = self.table();
        let ours = |id: SocketId| table.relays.values().any(|relay| *relay == id);
        let theirs = |addr| self.peer_relays.contains(lane.node, addr);
        lane.socket.is_some_and(ours) || lane.remote.is_some_and(theirs)
    }

    /// A lane came up.
    pub(super) fn lane_up(&self, socket: Option<SocketId>) {
        let mut table = self.table();
        if let Some(lanes) = socket.and_then(|id| table.own.get_mut(&id)) {
            *lanes += 1;
        }
    }

    /// A lane is gone. A socket that was opened for it goes with the last one.
    pub(super) fn lane_down(&self, socket: Option<SocketId>) {
        let Some(id) = socket else { return };
        {
            let mut table = self.table();
            let Some(lanes) = table.own.get_mut(&id) else {
                return;
            };
            *lanes = lanes.saturating_sub(1);
            if *lanes > 0 {
                return;
            }
            table.own.remove(&id);
        }
        self.endpoint.detach_datagrams(id);
    }

    fn unused(&self, id: SocketId) -> bool {
        let mut table = self.table();
        let unused = table.own.get(&id) == Some(&0);
        if unused {
            table.own.remove(&id);
        }
        unused
    }

    /// The socket from which a path starts; `None`: the shared one.
    pub(super) fn socket_of(
        self: &Arc<Self>,
        from: UdpFrom,
    ) -> Result<Option<SocketId>, EndpointError> {
        match from {
            UdpFrom::Shared => Ok(None),
            UdpFrom::Relay(relay) => self.socket_of_relay(&relay).map(Some),
            UdpFrom::Own(own) => self.socket_of_its_own(own).map(Some),
        }
    }

    fn socket_of_relay(&self, relay: &Relay) -> Result<SocketId, EndpointError> {
        let mut table = self.table();
        if let Some(id) = table.relays.get(&relay.relayed()) {
            return Ok(*id);
        }
        let socket = Arc::new(RelayedUdp::new(relay.clone()));
        let id = (self.endpoint).attach_datagrams_with(socket, beside(Some(RELAYED_DATAGRAM)))?;
        table.relays.insert(relay.relayed(), id);
        Ok(id)
    }

    fn socket_of_its_own(self: &Arc<Self>, own: OwnUdp) -> Result<SocketId, EndpointError> {
        let udp = PlainUdp::from_std(own.socket)?;
        let shared = SharedUdp::new(udp, own.hub, own.port).preceded_by(own.early);
        let socket = Arc::new(shared);
        let id = self.endpoint.attach_datagrams_with(socket, beside(None))?;
        self.table().own.insert(id, 0);
        let sockets = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(UNUSED).await;
            if let Some(sockets) = sockets.upgrade()
                && sockets.unused(id)
            {
                sockets.endpoint.detach_datagrams(id);
            }
        });
        Ok(id)
    }
}

fn beside(largest_datagram: Option<u16>) -> SocketOptions {
    SocketOptions {
        by_handle_only: true,
        largest_datagram,
    }
}

/// Peers may come to any allocation that is up: a session is accepted there as on the shared socket.
pub(super) async fn attach_relays(
    sockets: Arc<Sockets>,
    mut relays: watch::Receiver<Vec<Relay>>,
    stop: CancellationToken,
) {
    loop {
        let up = relays.borrow_and_update().clone();
        let known = |addr: &SocketAddr| up.iter().any(|relay| relay.relayed() == *addr);
        let gone: Vec<SocketId> = {
            let mut table = sockets.table();
            let mut gone = Vec::new();
            table.relays.retain(|addr, id| {
                let up = known(addr);
                if !up {
                    gone.push(*id);
                }
                up
            });
            gone
        };
        for id in gone {
            sockets.endpoint.detach_datagrams(id);
        }
        for relay in &up {
            if let Err(error) = sockets.socket_of_relay(relay) {
                tracing::debug!(relay = %relay.relayed(), %error, "no session over the relay");
            }
        }
        tokio::select! {
            changed = relays.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}
