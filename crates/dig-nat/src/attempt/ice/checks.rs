//! ICE within an attempt: its sockets are the attempt's ports, its credentials come from the attempt's key.

use super::{Ice, IceHeard, IceOutput, IcePair};
use crate::{
    attempt::{
        Attempt, MAX_CANDIDATES, Role,
        budget::Budget,
        config::RelayUse,
        event::{Output, Path, Port},
        jitter::Jitter,
        keys::Keys,
        methods::{Probe, Sides},
    },
    candidate::{Candidate, CandidateKind, Transport},
};
use bytes::{BufMut, Bytes, BytesMut};
use dig_types::Method;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// What the shared port is called within ICE, one name a family (RFC 5737, RFC 3849): the agent tells sockets apart by address, and
/// this one has any number of them. It never leaves this side.
const SHARED: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9),
    SocketAddr::new(
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        9,
    ),
];

/// Repetitions of the packet that opens a NAT: the first may be lost before it gets there.
const OPENERS: usize = 2;

/// ICE of one attempt.
#[derive(Debug)]
pub(in crate::attempt) struct IceChecks {
    ice: Ice,
    ufrag: String,
    /// Where the agent has sockets.
    sockets: Vec<SocketAddr>,
    remotes: Vec<SocketAddr>,
    /// Those of them that are relayed.
    relayed: Vec<SocketAddr>,
    /// Ways on which the peer was heard at an own relay.
    heard: BTreeSet<Probe>,
    /// Checks since the last answer, by pair.
    unanswered: BTreeMap<Probe, u32>,
}

/// What there is to do.
#[derive(Debug)]
enum Act {
    Send {
        probe: Probe,
        bytes: Bytes,
        check: bool,
    },
    Nominated(Probe, Option<Duration>),
}

impl IceChecks {
    fn new(keys: &Keys, role: Role, jitter: &mut Jitter) -> Self {
        let own = keys.credentials(role);
        let ufrag = own.ufrag.clone();
        let mut ice = Ice::new(own, role == Role::Initiator, jitter.next());
        ice.set_peer(keys.credentials(role.other()));
        Self {
            ice,
            ufrag,
            sockets: Vec::new(),
            remotes: Vec::new(),
            relayed: Vec::new(),
            heard: BTreeSet::new(),
            unanswered: BTreeMap::new(),
        }
    }

    /// Takes over what is known of either side by now.
    fn learn(&mut self, sockets: impl Iterator<Item = SocketAddr>, peer: &[Candidate]) {
        sockets.for_each(|addr| self.learn_socket(addr));
        for candidate in peer {
            if !self.remotes.contains(&candidate.addr) && self.ice.add_remote(*candidate) {
                self.remotes.push(candidate.addr);
                if candidate.kind == CandidateKind::Relayed {
                    self.relayed.push(candidate.addr);
                }
            }
        }
    }

    fn learn_socket(&mut self, addr: SocketAddr) {
        if self.sockets.contains(&addr) || self.sockets.len() >= MAX_CANDIDATES {
            return;
        }
        let kind = if SHARED.contains(&addr) {
            CandidateKind::Host
        } else {
            CandidateKind::Relayed
        };
        let transport = Transport::Udp;
        let candidate = Candidate {
            kind,
            transport,
            addr,
        };
        self.ice.add_local(candidate, addr);
        self.sockets.push(addr);
    }

    /// Whether a check may take this way: from an own relay only to a relay, or to where the peer was heard at it. What came at the
    /// peer's NAT before could spoil its mapping.
    fn is_open(&self, probe: Probe) -> bool {
        let relayed = || self.relayed.contains(&probe.to) || self.heard.contains(&probe);
        probe.from == Port::Shared || relayed()
    }

    /// What the agent calls a port towards an address; it has no others than these.
    fn socket(at: Port, peer: SocketAddr) -> Option<SocketAddr> {
        match at {
            Port::Shared => Some(SHARED[usize::from(peer.is_ipv6())]),
            Port::Relay(relayed) => Some(relayed),
            Port::Extra(_) => None,
        }
    }

    fn probe(from: SocketAddr, to: SocketAddr) -> Probe {
        let from = if SHARED.contains(&from) {
            Port::Shared
        } else {
            Port::Relay(from)
        };
        Probe { from, to }
    }

    fn receive(
        &mut self,
        now: Duration,
        came: Probe,
        bytes: &[u8],
        budget: &mut Budget,
    ) -> Option<IceHeard> {
        let local = Self::socket(came.from, came.to)?;
        self.learn_socket(local);
        let heard = self.ice.on_datagram(now, local, came.to, bytes)?;
        self.heard.insert(came);
        if heard == IceHeard::Answer {
            budget.refund(self.unanswered.remove(&came).unwrap_or(0));
        }
        Some(heard)
    }

    fn poll(&mut self, budget: &mut Budget) -> Option<Act> {
        while let Some(output) = self.ice.poll() {
            match output {
                IceOutput::Datagram {
                    from,
                    to,
                    bytes,
                    request: check,
                } => {
                    let probe = Self::probe(from, to);
                    if check {
                        if !self.is_open(probe) || !budget.spend(1) {
                            continue;
                        }
                        *self.unanswered.entry(probe).or_default() += 1;
                    }
                    return Some(Act::Send {
                        probe,
                        bytes,
                        check,
                    });
                }
                IceOutput::Nominated(IcePair { local, remote, rtt }) => {
                    return Some(Act::Nominated(Self::probe(local, remote), rtt));
                }
                // The attempt has its own idea of how long a method takes.
                IceOutput::Failed => {}
            }
        }
        None
    }

    pub(in crate::attempt) fn deadline(&self) -> Option<Duration> {
        self.ice.deadline()
    }

    /// Checks nothing more.
    pub(in crate::attempt) fn stop(&mut self) {
        self.ice.stop();
    }

    /// Takes back that a path was found there.
    pub(in crate::attempt) fn forget(&mut self, probe: Probe) {
        self.ice.discard_remote(probe.to);
    }
}

/// A Binding indication (RFC 8489 §6.1), which nobody answers.
fn indication(jitter: &mut Jitter) -> Bytes {
    let mut bytes = BytesMut::with_capacity(20);
    bytes.put_slice(&[0x00, 0x11, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42]);
    bytes.put_u64(jitter.next());
    bytes.put_u32(jitter.next() as u32);
    bytes.freeze()
}

impl Attempt {
    /// The user name fragment by which STUN checks for this attempt are known: what stands before the colon of their USERNAME
    /// (RFC 8445 §7.2.2). `None` before the peer has answered, or where ICE is not used.
    pub fn ice_ufrag(&self) -> Option<&str> {
        self.ice.as_ref().map(|checks| checks.ufrag.as_str())
    }

    /// ICE begins to be there when the keys are, if both sides allow it.
    pub(in crate::attempt) fn prepare_ice(&mut self) {
        if self.ice.is_none()
            && self.agreed(Method::Ice)
            && let Some(keys) = &self.keys
        {
            self.ice = Some(IceChecks::new(keys, self.role, &mut self.jitter));
        }
        self.update_ice();
    }

    /// More is known of either side.
    pub(in crate::attempt) fn update_ice(&mut self) {
        self.permit();
        let (Some(checks), Some(remote)) = (&mut self.ice, &self.remote) else {
            return;
        };
        let relay = self.config.relay;
        let sides = Sides::new(&self.local, remote);
        let peer = sides.peer().iter().copied();
        let peer: Vec<Candidate> = peer
            .filter(|c| relay != RelayUse::No || c.kind != CandidateKind::Relayed)
            .collect();
        let shared = SHARED.into_iter().filter(|_| relay != RelayUse::Only);
        // Towards anything but a relay, an own one is added when the peer is heard at it.
        let between = peer.iter().any(|c| c.kind == CandidateKind::Relayed);
        let relays = self.local.relays.iter().copied().filter(|_| between);
        checks.learn(shared.chain(relays), &peer);
    }

    /// Begins the checks of the run.
    pub(in crate::attempt) fn start_ice(&mut self, until: Duration) {
        self.update_ice();
        if let Some(checks) = &mut self.ice {
            checks.ice.check_until(self.now, until);
        }
    }

    /// Packets for the addresses of a plan which open this side's NAT and end before the peer's: STUN, so that a firewall which
    /// knows only that takes them for the beginning of what follows.
    pub(in crate::attempt) fn open_ice(&mut self, at: usize) {
        let fresh = |probe: &&Probe| {
            probe.from == Port::Shared
                && self.relays_on(Method::Ice, **probe) == 0
                && !self.checks.taken(**probe, Method::Ice)
        };
        let probes: Vec<Probe> = self.runs[at]
            .plan
            .probes
            .iter()
            .filter(fresh)
            .copied()
            .collect();
        for Probe { from, to } in probes {
            for _ in 0..OPENERS {
                if !self.budget.spend(1) {
                    return;
                }
                let bytes = indication(&mut self.jitter);
                let ttl = Some(self.config.opener_ttl);
                let output = Output::Datagram {
                    from,
                    to,
                    bytes,
                    ttl,
                };
                self.sent(Method::Ice, &output);
                self.outputs.push_back(output);
            }
        }
    }

    /// A STUN message came.
    pub(in crate::attempt) fn on_stun(&mut self, came: Probe, bytes: &[u8]) {
        let now = self.now;
        if !self.may_use(Method::Ice, came) {
            return;
        }
        let Some(checks) = &mut self.ice else { return };
        if checks.receive(now, came, bytes, &mut self.budget).is_some() {
            self.received(Method::Ice);
            self.drive();
        }
    }

    /// Sends the checks and answers that are due, and takes over what was nominated.
    pub(in crate::attempt) fn drive_ice(&mut self) {
        let now = self.now;
        if let Some(checks) = &mut self.ice {
            checks.ice.on_timeout(now);
        }
        while let Some(checks) = &mut self.ice
            && let Some(act) = checks.poll(&mut self.budget)
        {
            match act {
                Act::Send {
                    probe: Probe { from, to },
                    bytes,
                    check,
                } => {
                    let ttl = None;
                    let output = Output::Datagram {
                        from,
                        to,
                        bytes,
                        ttl,
                    };
                    if check {
                        self.sent(Method::Ice, &output);
                    }
                    self.outputs.push_back(output);
                }
                Act::Nominated(probe, rtt) => self.found(Path {
                    method: Method::Ice,
                    transport: Transport::Udp,
                    remote: probe.to,
                    from: probe.from,
                    relays: self.relays_on(Method::Ice, probe),
                    stream: None,
                    rtt,
                }),
            }
        }
    }
}
