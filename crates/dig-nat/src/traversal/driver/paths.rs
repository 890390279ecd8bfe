//! The ends of paths: from which port of this node what leaves, and what is handed on.

use super::{
    super::{
        audience::PathNumber,
        progress::{FoundPath, Path, Progress, UdpFrom},
    },
    running::Running,
};
use crate::{
    attempt::{self, Port, Role},
    trace::Trace,
    turn::Relay,
};
use dig_types::Method;
use std::{io, net::SocketAddr, time::Duration};

impl Running<'_> {
    /// Sends from one of this node's ports. A relay's own server is near, whatever the time to live shall be.
    pub(super) fn send(
        &mut self,
        (from, to): (Port, SocketAddr),
        bytes: &[u8],
        ttl: Option<u8>,
    ) -> io::Result<()> {
        self.udp.note_sent(bytes);
        match from {
            Port::Shared => self.driver.shared.udp.send(to, bytes, ttl),
            Port::Extra(number) => self.extra.send(number, to, bytes, ttl),
            Port::Relay(relayed) => match self.relay(relayed) {
                Some(relay) => relay.send(to, bytes),
                None => Err(io::ErrorKind::NotConnected.into()),
            },
        }
    }

    /// An own allocation.
    pub(super) fn relay(&self, relayed: SocketAddr) -> Option<Relay> {
        let relays = self.relays.borrow();
        let mut relays = relays.iter();
        relays.find(|relay| relay.relayed() == relayed).cloned()
    }

    /// Hands a path on.
    pub(super) fn found(&mut self, found: attempt::Path) {
        let listens = self.driver.audience.is_there();
        if !listens && self.attempt.role() == Role::Initiator {
            // Whoever asked has gone.
            return;
        }
        let Some(path) = self.path(&found) else {
            let now = self.now();
            self.attempt.reject_path(now, &found);
            return;
        };
        let number = PathNumber(self.count);
        self.count = self.count.wrapping_add(1);
        self.given.insert(number, found);
        let found = FoundPath {
            peer: self.driver.peer,
            attempt: self.attempt.id(),
            role: self.attempt.role(),
            method: found.method,
            elapsed: self.began.elapsed(),
            after_signaling: after_signaling(&self.attempt.trace(), found.method),
            rtt: found.rtt,
            relayed: found.is_relayed(),
            path,
            number,
        };
        if listens {
            self.driver.audience.tell(Progress::Path(found));
        } else if self.driver.shared.incoming.try_send(found).is_err() {
            tracing::warn!(peer = %self.driver.peer, "a path was dropped because nobody takes incoming paths");
        }
    }

    /// What a path is made of, if it is still there.
    fn path(&mut self, found: &attempt::Path) -> Option<Path> {
        let remote = found.remote;
        if let Some(id) = found.stream {
            let stream = self.streams.keep(id)?;
            return Some(Path::Tcp { stream, remote });
        }
        let from = match found.from {
            Port::Shared => UdpFrom::Shared,
            Port::Relay(relayed) => UdpFrom::Relay(self.relay(relayed)?),
            Port::Extra(number) => {
                let handed = self.extra.hand_on(number).inspect_err(|error| {
                    tracing::debug!(%error, "a socket could not be handed on");
                });
                UdpFrom::Own(handed.ok()?)
            }
        };
        Some(Path::Udp { remote, from })
    }
}

/// From the moment at which the first method began, which is when the peer had answered, until this one gave a path.
fn after_signaling(trace: &Trace, method: Method) -> Duration {
    let first = trace.methods.iter().map(|run| run.started).min();
    let run = trace.methods.iter().find(|run| run.method == method);
    match (first, run) {
        (Some(first), Some(run)) => (run.started + run.took).saturating_sub(first),
        _ => Duration::ZERO,
    }
}
