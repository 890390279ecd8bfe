//! ICE (RFC 8445) over UDP: STUN connectivity checks between the candidates of two sides, usable alone.
//!
//! [`Ice`] wraps the agent of the `is` crate as the other parts of this crate are made: no sockets, no clock, no randomness. Tell it
//! what arrives ([`on_datagram`](Ice::on_datagram)) and that time has passed ([`on_timeout`](Ice::on_timeout) at
//! [`deadline`](Ice::deadline)); take from [`poll`](Ice::poll) what is to be done. Addresses may be added at any time (trickle, RFC 8838).
//!
//! - A local candidate of kind host or relayed is a socket, named by its address; others are seen of it and add no checks
//!   (RFC 8445 §6.1.2.4 prunes them), but the peer needs them.
//! - Checks begin 5 ms after one another (RFC 8445 §14.2: the least there is). An unanswered one is repeated after 100, 200, 400 and then
//!   every 800 ms: half the time that the RFC's 500 ms would take to find a path with one lost packet.
//! - The controlling side nominates the best pair that answered so far, and a better one when that answers: what is
//!   [nominated](IceOutput::Nominated) last counts. Two sides that both control agree on one (RFC 8445 §7.3.1.1).
//! - Nothing without a valid MESSAGE-INTEGRITY changes anything. An answer is never longer than what is answered.
//!
//! It ends at a time that its owner gives, and it finds paths only: whether a nominated pair goes on working is the session's to say.

mod checks;

pub(super) use checks::IceChecks;

use crate::candidate::{Candidate, CandidateKind, Transport};
use bytes::Bytes;
use is::{
    IceAgent, IceAgentEvent, IceCreds, Protocol,
    stun::{StunMessage, StunPacket},
};
use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Between two checks (Ta, RFC 8445 §14.2).
const PACE: Duration = Duration::from_millis(5);

/// The first repetition of an unanswered check; each next one waits twice as long.
const FIRST_REPEAT: Duration = Duration::from_millis(100);

/// Up to this.
const LAST_REPEAT: Duration = Duration::from_millis(800);

/// Checks of a pair before it is given up: more than fit into the time that an attempt has.
const REPEATS: usize = 16;

/// Pairs that are checked; those of least priority are left out.
const MAX_PAIRS: usize = 32;

/// Addresses from which an authenticated peer may be heard. It could send from as many as it likes, and each one is checked.
const MAX_SOURCES: usize = 16;

/// Checks whose answer is still of use: the last ones of all pairs together.
const REMEMBERED: usize = 256;

/// What one side proves itself with: its user name fragment and password (RFC 8445 §5.3), of letters, digits, `+` and `/`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// 4 to 256 characters; says for whom a check is.
    pub ufrag: String,
    /// 22 to 256 characters.
    pub password: String,
}

impl fmt::Debug for Credentials {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

impl From<Credentials> for IceCreds {
    fn from(credentials: Credentials) -> Self {
        let Credentials { ufrag, password } = credentials;
        Self {
            ufrag,
            pass: password,
        }
    }
}

/// The two ends of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcePair {
    /// The socket on this side: the address of a host or relayed candidate.
    pub local: SocketAddr,
    /// The peer's end, as seen from there.
    pub remote: SocketAddr,
    /// Round-trip time of the last check.
    pub rtt: Option<Duration>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IceOutput {
    /// Send a datagram.
    Datagram {
        /// From that socket: the address of a host or relayed candidate.
        from: SocketAddr,
        /// Where to.
        to: SocketAddr,
        /// What.
        bytes: Bytes,
        /// A check, and not the answer to one.
        request: bool,
    },
    /// Both sides checked this pair, and the controlling one chose it. The last one said stands.
    Nominated(IcePair),
    /// The time is over and no pair was nominated.
    Failed,
}

/// What a datagram was that came from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceHeard {
    /// A check, which is answered.
    Check,
    /// The answer to a check.
    Answer,
}

/// One side of an ICE session with one component.
#[derive(Debug)]
pub struct Ice {
    agent: IceAgent,
    /// What the agent's clock shows when ours shows nothing; only differences to it are used.
    origin: Instant,
    /// Until when it checks; `None` until it may.
    until: Option<Duration>,
    /// When the agent has something to do.
    next: Option<Duration>,
    sources: BTreeSet<SocketAddr>,
    /// Checks sent of late: transaction, from where, where to.
    asked: VecDeque<([u8; 12], SocketAddr, SocketAddr)>,
    nominated: bool,
    outputs: VecDeque<IceOutput>,
}

impl Ice {
    /// A side with these credentials, which leads (`controlling`) or follows. The tie breaker, 64 random bits, decides should both
    /// or neither want to lead.
    pub fn new(own: Credentials, controlling: bool, tie_breaker: u64) -> Self {
        let mut agent = IceAgent::new(own.into());
        agent.set_controlling(controlling);
        agent.set_control_tie_breaker(tie_breaker);
        agent.set_timing_advance(PACE);
        agent.set_initial_stun_rto(FIRST_REPEAT);
        agent.set_max_stun_rto(LAST_REPEAT);
        agent.set_max_stun_retransmits(REPEATS);
        agent.set_max_candidate_pairs(MAX_PAIRS);
        Self {
            agent,
            origin: Instant::now(),
            until: None,
            next: None,
            sources: BTreeSet::new(),
            asked: VecDeque::new(),
            nominated: false,
            outputs: VecDeque::new(),
        }
    }

    /// The peer's credentials: without them nothing is checked, and checks of the peer wait for them.
    pub fn set_peer(&mut self, credentials: Credentials) {
        self.agent.set_remote_credentials(credentials.into());
        self.schedule();
    }

    /// Whether this side leads: it nominates. Not what it was made for, if the peer wanted the same.
    pub fn is_controlling(&self) -> bool {
        self.agent.controlling()
    }

    /// A candidate of this side, seen of the socket `base`: itself for a host or relayed one. False if ICE has no use for it.
    pub fn add_local(&mut self, candidate: Candidate, base: SocketAddr) -> bool {
        let Some(candidate) = candidate_of(candidate, base) else {
            return false;
        };
        let added = self.agent.add_local_candidate(candidate).is_some();
        self.schedule();
        added
    }

    /// A candidate of the peer, which will be checked. False if ICE has no use for it.
    pub fn add_remote(&mut self, candidate: Candidate) -> bool {
        let Some(candidate) = candidate_of(candidate, candidate.addr) else {
            return false;
        };
        self.agent.add_remote_candidate(candidate);
        self.schedule();
        true
    }

    /// The pairs with this address of the peer are of no use.
    pub fn discard_remote(&mut self, addr: SocketAddr) {
        let known: Vec<_> = self
            .agent
            .remote_candidates()
            .filter(|known| known.addr() == addr)
            .collect();
        for candidate in known {
            self.agent.invalidate_candidate(&candidate);
        }
        self.schedule();
    }

    /// Begins to check, or goes on to, until that time. Before this it only answers.
    pub fn check_until(&mut self, now: Duration, until: Duration) {
        self.until = Some(until);
        self.next.get_or_insert(now);
        self.schedule();
    }

    /// Checks nothing more. Checks of the peer are answered as before.
    pub fn stop(&mut self) {
        self.until = None;
        self.next = None;
    }

    /// A STUN message came at the socket of that address. `None` if it is not one of the peer's for this session.
    pub fn on_datagram(
        &mut self,
        now: Duration,
        local: SocketAddr,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Option<IceHeard> {
        let message = StunMessage::parse(bytes).ok()?;
        let heard = match kind(bytes)? {
            Kind::Request => IceHeard::Check,
            Kind::Response => IceHeard::Answer,
        };
        let welcome = match heard {
            IceHeard::Check => self.sources.contains(&source) || self.sources.len() < MAX_SOURCES,
            // An answer from elsewhere proves nothing (RFC 8445 §7.2.5.2.1).
            IceHeard::Answer => {
                let sent = (transaction(bytes)?, local, source);
                self.asked.contains(&sent)
            }
        };
        if !welcome {
            return None;
        }
        let packet = StunPacket {
            proto: Protocol::Udp,
            source,
            destination: local,
            message,
        };
        if !self.agent.handle_packet(self.origin + now, packet) {
            return None;
        }
        self.sources.insert(source);
        self.drain();
        Some(heard)
    }

    /// Time has passed. Calling it early or late is harmless.
    pub fn on_timeout(&mut self, now: Duration) {
        let Some(until) = self.until else { return };
        if now >= until {
            self.stop();
            if !self.nominated {
                self.outputs.push_back(IceOutput::Failed);
            }
            return;
        }
        if self.next.is_some_and(|next| next <= now) {
            self.agent.handle_timeout(self.origin + now);
            self.drain();
        }
    }

    /// When [`on_timeout`](Self::on_timeout) is to be called next; what there is to poll does not wait for it.
    pub fn deadline(&self) -> Option<Duration> {
        let until = self.until?;
        Some(self.next.map_or(until, |next| next.min(until)))
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<IceOutput> {
        self.outputs.pop_front()
    }

    /// Takes over what the agent wants.
    fn drain(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            if let IceAgentEvent::NominatedSend {
                source,
                destination,
                ..
            } = event
            {
                self.nominated = true;
                self.outputs.push_back(IceOutput::Nominated(IcePair {
                    local: source,
                    remote: destination,
                    rtt: self.agent.nominated_pair_rtt(),
                }));
            }
        }
        while let Some(transmit) = self.agent.poll_transmit() {
            let bytes = Bytes::copy_from_slice(&transmit.contents);
            let (from, to) = (transmit.source, transmit.destination);
            let request = kind(&bytes) == Some(Kind::Request);
            if request && let Some(transaction) = transaction(&bytes) {
                self.asked.push_back((transaction, from, to));
                if self.asked.len() > REMEMBERED {
                    self.asked.pop_front();
                }
            }
            self.outputs.push_back(IceOutput::Datagram {
                from,
                to,
                bytes,
                request,
            });
        }
        self.schedule();
    }

    /// The agent tells no time before it was driven once.
    fn schedule(&mut self) {
        if self.until.is_some()
            && let Some(next) = self.agent.poll_timeout()
        {
            self.next = Some(next.saturating_duration_since(self.origin));
        }
    }
}

/// Whether a STUN message is a request or a response; `None` for an indication (RFC 8489 §5).
fn kind(bytes: &[u8]) -> Option<Kind> {
    let [high, low, ..] = *bytes else {
        return None;
    };
    match (high & 1, low & 0x10) {
        (0, 0) => Some(Kind::Request),
        (1, _) => Some(Kind::Response),
        _ => None,
    }
}

/// The transaction of a STUN message (RFC 8489 §5).
fn transaction(bytes: &[u8]) -> Option<[u8; 12]> {
    bytes.get(8..)?.first_chunk().copied()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Request,
    Response,
}

/// As the agent names it; `None` for TCP and for addresses that cannot be the end of a path.
fn candidate_of(candidate: Candidate, base: SocketAddr) -> Option<is::Candidate> {
    if candidate.transport != Transport::Udp || candidate.addr.port() == 0 {
        return None;
    }
    let addr = candidate.addr;
    match candidate.kind {
        CandidateKind::Host => is::Candidate::host(addr, Protocol::Udp),
        CandidateKind::Relayed => is::Candidate::relayed(addr, base, Protocol::Udp),
        // A mapped port and one that a check came from are seen from outside like a server-reflexive one.
        CandidateKind::Mapped(_)
        | CandidateKind::ServerReflexive
        | CandidateKind::PeerReflexive => {
            is::Candidate::server_reflexive(addr, base, Protocol::Udp)
        }
    }
    .ok()
}

#[cfg(test)]
mod tests;
