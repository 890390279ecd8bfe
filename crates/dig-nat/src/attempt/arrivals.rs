//! What arrives from the peer itself: datagrams and streams.

use super::{
    Attempt, Role,
    check::{Check, Kind},
    checks::Heard,
    config::{RelayUse, is_public},
    event::{Output, PREAMBLE, Path, Port, StreamEvent, StreamFailure, StreamId},
    message::Message,
    methods::{Probe, Sides},
    signals::Repeat,
    streams::Stage,
};
use crate::{candidate::Transport, stun::is_stun};
use dig_types::Method;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

impl Attempt {
    /// A datagram with this attempt's [tag](Attempt::tag), or a STUN message for its [user name](Attempt::ice_ufrag) or in answer to one
    /// that it sent, came at that port. What does not prove to be the peer's does nothing.
    pub fn on_datagram(&mut self, now: Duration, at: Port, source: SocketAddr, bytes: &[u8]) {
        if !self.advance(now) {
            return;
        }
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        let came = Probe {
            from: at,
            to: source,
        };
        if is_stun(bytes) {
            self.on_stun(came, bytes);
            return;
        }
        let Some(keys) = &self.keys else { return };
        let Some(check) = Check::decode(bytes, keys, self.role.other()) else {
            return;
        };
        let usable = self.agreed(check.method) && self.may_use(check.method, came);
        if !usable || !self.admits(came, &check) {
            return;
        }
        if let (Kind::Request, Some(keys)) = (check.kind, &self.keys) {
            let answer = Check {
                kind: Kind::Response(source),
                role: self.role,
                ..check
            };
            self.outputs.push_back(Output::Datagram {
                from: at,
                to: source,
                bytes: answer.encode(keys),
                ttl: None,
            });
        }
        let until = self.running(check.method).map(|run| run.limit);
        let heard = self.checks.receive(self.now, came, &check, until);
        self.signals.settle(|repeat| {
            *repeat == Repeat::Terms && heard.is_some()
                || matches!(repeat, Repeat::Message(Message::Opened(_)))
        });
        if let Some(heard) = heard {
            self.on_heard(heard);
        }
        self.drive();
    }

    fn on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Request(method) | Heard::Response(method) => self.received(method),
            Heard::Valid {
                method,
                probe,
                rtt,
                spent,
            } => {
                self.budget.refund(spent);
                self.received(method);
                self.found(Path {
                    method,
                    transport: Transport::Udp,
                    remote: probe.to,
                    from: probe.from,
                    relays: self.relays_on(method, probe),
                    stream: None,
                    rtt: Some(rtt),
                });
            }
        }
    }

    /// Something happened to a stream that an [`Output::Connect`] asked for, or that [`on_accept`](Attempt::on_accept) named.
    pub fn on_stream(&mut self, now: Duration, id: StreamId, event: StreamEvent) {
        if !self.advance(now) {
            return;
        }
        let (now, peer) = (self.now, self.role.other());
        let Some(stream) = self.streams.get(id).filter(|stream| stream.is_alive()) else {
            return;
        };
        match event {
            StreamEvent::Connected { remote, .. } if stream.stage == Stage::Connecting => {
                stream.connected(now);
                stream.remote = remote;
                if let (Some(keys), Some(method)) = (&self.keys, stream.method) {
                    self.outputs.push_back(Output::Write {
                        id,
                        bytes: keys.preamble(self.role, method),
                    });
                }
            }
            StreamEvent::Connected { .. } => {}
            StreamEvent::Preamble(bytes) if stream.stage == Stage::Connected => {
                let proved = self
                    .keys
                    .as_ref()
                    .and_then(|keys| keys.open_preamble(&bytes, peer))
                    .is_some();
                if proved {
                    self.proved(id);
                } else {
                    stream.stage = Stage::Failed(StreamFailure::Closed);
                    self.outputs.push_back(Output::Abandon { id });
                }
            }
            StreamEvent::Preamble(_) => {}
            StreamEvent::Failed(failure) => {
                stream.stage = Stage::Failed(failure);
                self.paths.retain(|path| path.stream != Some(id));
            }
        }
        self.drive();
    }

    /// A stream was accepted whose first bytes carry this attempt's [tag](Attempt::tag). Its name from now on; `None`: close it.
    pub fn on_accept(
        &mut self,
        now: Duration,
        remote: SocketAddr,
        preamble: &[u8; PREAMBLE],
    ) -> Option<StreamId> {
        if !self.advance(now) {
            return None;
        }
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let Some(keys) = &self.keys else {
            let stage = Stage::Unproved(Box::new(*preamble));
            return self
                .streams
                .accept(self.now, remote, stage)
                .map(|stream| stream.id);
        };
        let method = keys.open_preamble(preamble, self.role.other())?;
        let stream = self.streams.accept(self.now, remote, Stage::Connected)?;
        stream.method = Some(method);
        let id = stream.id;
        self.welcome(id);
        self.drive();
        Some(id)
    }

    /// A stream on which the peer proved itself first: it is told who is here.
    fn welcome(&mut self, id: StreamId) {
        let method = self.streams.get(id).and_then(|stream| stream.method);
        if let (Some(keys), Some(method)) =
            (&self.keys, method.filter(|method| self.agreed(*method)))
        {
            self.outputs.push_back(Output::Write {
                id,
                bytes: keys.preamble(self.role, method),
            });
            self.proved(id);
        }
    }

    /// Streams that came before the keys were there.
    pub(super) fn welcome_early(&mut self) {
        let (peer, Some(keys)) = (self.role.other(), &self.keys) else {
            return;
        };
        let mut welcome = Vec::new();
        for stream in self.streams.iter_mut() {
            let Stage::Unproved(preamble) = &stream.stage else {
                continue;
            };
            stream.method = keys.open_preamble(preamble, peer);
            stream.stage = Stage::Connected;
            welcome.push((stream.id, stream.method.is_some()));
        }
        for (id, proved) in welcome {
            if proved {
                self.welcome(id);
            } else {
                let doomed = self.streams.abandon(|stream| stream.id == id);
                self.outputs
                    .extend(doomed.into_iter().map(|id| Output::Abandon { id }));
            }
        }
    }

    fn proved(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        let Some(method) = stream.method else { return };
        stream.stage = Stage::Proved;
        let path = Path {
            method,
            transport: Transport::Tcp,
            remote: stream.remote,
            from: Port::Shared,
            relays: 0,
            stream: Some(id),
            rtt: stream.rtt,
        };
        self.received(method);
        self.found(path);
    }

    /// A path. The responder tells of streams, and of the first datagram path from each port and with fewer relays than before.
    pub(super) fn found(&mut self, path: Path) {
        let same = |known: &Path| known.from == path.from && known.stream.is_none();
        let known = |known: &Path| known.remote == path.remote && known.method == path.method;
        if path.stream.is_none() && self.paths.iter().any(|path| same(path) && known(path)) {
            return;
        }
        let served = |known: &Path| same(known) && known.relays <= path.relays;
        let news = path.stream.is_some() || !self.paths.iter().any(served);
        // One from an extra socket was given to be served when the peer was first heard there.
        if self.role == Role::Responder && news && !matches!(path.from, Port::Extra(_)) {
            self.outputs.push_back(Output::Path(path));
        }
        self.paths.push(path);
    }

    /// How many relays a datagram of a method passes that takes this way. What TURN finds passes one even where the peer has not told
    /// its address yet.
    pub(super) fn relays_on(&self, method: Method, probe: Probe) -> u8 {
        let theirs = self
            .remote
            .as_ref()
            .is_some_and(|remote| remote.is_relayed(probe.to));
        let relays = u8::from(matches!(probe.from, Port::Relay(_))) + u8::from(theirs);
        relays.max(u8::from(method == Method::Turn))
    }

    /// Lets the peer's hosts in at this side's relays.
    pub(super) fn permit(&mut self) {
        let used = self.agreed(Method::Turn) || self.agreed(Method::Ice);
        let Some(remote) = self.remote.as_ref().filter(|_| used) else {
            return;
        };
        let sides = Sides::new(&self.local, remote);
        let peer = sides.peer().iter();
        let ips: BTreeSet<IpAddr> = peer
            .filter(|c| c.transport == Transport::Udp && is_public(c.addr.ip()))
            .map(|c| c.addr.ip())
            .collect();
        for relay in self.local.relays.iter().copied() {
            for ip in ips.iter().filter(|ip| ip.is_ipv4() == relay.is_ipv4()) {
                if self.permitted.insert((relay, *ip)) {
                    self.outputs.push_back(Output::Permit { relay, ip: *ip });
                }
            }
        }
    }

    /// Whether datagrams may take this way, as relays are to be used.
    pub(super) fn may_use(&self, method: Method, probe: Probe) -> bool {
        match self.config.relay {
            RelayUse::Yes => true,
            RelayUse::No => self.relays_on(method, probe) == 0,
            RelayUse::Only => matches!(probe.from, Port::Relay(_)),
        }
    }

    pub(super) fn received(&mut self, method: Method) {
        if let Some(run) = self.runs.iter_mut().find(|run| run.method == method) {
            run.received += 1;
        }
    }
}
