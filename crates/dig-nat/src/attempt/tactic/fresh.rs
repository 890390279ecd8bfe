//! A fresh port on each side, for when the pair of ends that both know is spoiled.
//!
//! A router that rejects what it does not know keeps the pair of ends of every such packet for half a minute, and longer while more of them come. A
//! flow of its own side over this pair then gets another outside port than the one that the peer was told, and takes the later flows of the same inside port
//! with it. One packet is enough: a session that went on after a NAT forgot it, a check that was faster than an opener. Ports of which
//! nobody has heard are in no such record:
//!
//! 1. The initiator opens a socket, learns its outside end, and tells it ([`Message::Fresh`]).
//! 2. The responder opens one too, and learns its outside end. From there it opens its NAT with packets that live too short to reach the initiator's;
//!    then it tells its end.
//! 3. The initiator checks from its new socket, the responder answers from its own and checks back.
//!
//! Both sides do, since it cannot be known whose router it is. The end that one tells obeys the same rules as its
//! candidates, and all packets count among the attempt's [`MAX_UNANSWERED`](crate::attempt::MAX_UNANSWERED).

use super::{Stage, Tactic, request};
use crate::attempt::{
    Attempt, FreshPort, Message, NatHint, Role,
    event::{Output, Port},
    methods::Probe,
    signals::Repeat,
};
use dig_types::Method;
use std::{net::SocketAddr, time::Duration};

/// The one socket that is opened.
const SOCKET: u16 = 0;

/// Packets that open the responder's NAT: the first may be lost before it gets there.
const OPENERS: usize = 2;

/// How long after its word the responder checks unasked: a second NAT of its own may not be open. Sooner could be before the initiator's is.
const UNASKED: Duration = Duration::from_secs(1);

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fresh {
    /// The driver opens a socket. The responder knows the initiator's end.
    Opening { peer: Option<SocketAddr> },
    /// It is seen at `own`, and the peer was told.
    Open {
        own: SocketAddr,
        peer: Option<SocketAddr>,
        /// Responder: when it checks unasked.
        check: Option<Duration>,
    },
}

impl Fresh {
    /// Whether the peer may be heard at that socket.
    pub(super) fn has(self, socket: u16) -> bool {
        socket == SOCKET && matches!(self, Self::Open { .. })
    }

    pub(super) fn deadline(self) -> Option<Duration> {
        match self {
            Self::Opening { .. } => None,
            Self::Open { check, .. } => check,
        }
    }
}

impl Attempt {
    /// What became of [`Output::OpenFresh`]: the socket, if one is open.
    pub fn on_fresh(&mut self, now: Duration, port: Option<FreshPort>) {
        if !self.advance(now) {
            return;
        }
        let Stage::Fresh(Fresh::Opening { peer }) = self.guess.stage else {
            self.close_fresh(port);
            return;
        };
        let outside = port.and_then(|port| self.local.outside(&port));
        match outside.filter(|end| end.is_ipv4() && end.port() != 0) {
            Some(own) => self.tell_fresh(own, peer),
            None => {
                self.end_tactic();
                self.close_fresh(port);
                self.decline_fresh();
            }
        }
        self.drive();
    }

    /// The driver opened what is of no use.
    fn close_fresh(&mut self, port: Option<FreshPort>) {
        if port.is_some() {
            self.outputs.push_back(Output::TacticEnded {
                keep: None,
                unused: 0,
            });
        }
    }

    /// The peer has a fresh port, or opens none.
    pub(in crate::attempt) fn on_fresh_peer(&mut self, end: Option<SocketAddr>) {
        let allowed = |end: &SocketAddr| {
            let remote = self.remote.as_ref();
            let may = remote.is_some_and(|remote| remote.may_try(end.ip(), &self.local));
            may && end.is_ipv4() && end.port() != 0
        };
        let end = end.filter(allowed);
        match (self.role, &self.guess.stage, end) {
            (
                Role::Initiator,
                Stage::Fresh(Fresh::Open {
                    own, peer: None, ..
                }),
                Some(end),
            ) => {
                self.guess.stage = Stage::Fresh(Fresh::Open {
                    own: *own,
                    peer: Some(end),
                    check: None,
                });
                let told = |repeat: &Repeat| matches!(repeat, Repeat::Message(Message::Fresh(_)));
                self.signals.settle(told);
                self.check_fresh(end);
            }
            (Role::Initiator, Stage::Fresh(Fresh::Open { peer: None, .. }), None) => {
                self.end_tactic();
            }
            (Role::Responder, Stage::Idle, Some(end)) if self.suits_fresh() => {
                self.open_fresh(Some(end));
            }
            (Role::Responder, Stage::Fresh(Fresh::Open { own, .. }), _) => {
                self.say(&Message::Fresh(Some(*own)));
            }
            (Role::Responder, Stage::Idle | Stage::Over, _) => self.decline_fresh(),
            _ => {}
        }
    }

    /// Whether fresh ports may help: neither side's NAT is known to show others at another port than STUN servers.
    pub(super) fn suits_fresh(&self) -> bool {
        let hard = |nat| matches!(nat, NatHint::Dependent { .. });
        let peer = self.remote.as_ref().map(|remote| remote.terms.nat);
        let running = self.running(Method::UdpHolePunch).is_some() && !self.has_direct();
        running && !hard(self.terms.nat) && peer.is_some_and(|nat| !hard(nat))
    }

    pub(super) fn open_fresh(&mut self, peer: Option<SocketAddr>) {
        self.prolong();
        self.guess.stage = Stage::Fresh(Fresh::Opening { peer });
        self.outputs.push_back(Output::OpenFresh);
    }

    /// The initiator tells its end; so does the responder, once its NAT is open for what comes from the peer's.
    fn tell_fresh(&mut self, own: SocketAddr, peer: Option<SocketAddr>) {
        self.mark(Tactic::FreshPorts);
        self.prolong();
        let check = peer.map(|_| self.now + UNASKED);
        self.guess.stage = Stage::Fresh(Fresh::Open { own, peer, check });
        let word = Message::Fresh(Some(own));
        match peer {
            Some(peer) => {
                self.open_towards(peer);
                self.say(&word);
            }
            None => self.insist(word),
        }
    }

    fn open_towards(&mut self, peer: SocketAddr) {
        let Some(keys) = &self.keys else { return };
        let mut sent = 0;
        for _ in 0..OPENERS {
            let check = request(self.role, self.jitter.next());
            let output = Output::Datagram {
                from: Port::Extra(SOCKET),
                to: peer,
                bytes: check.encode(keys),
                ttl: Some(self.config.opener_ttl),
            };
            if self.budget.spend(1) {
                self.outputs.push_back(output);
                sent += 1;
            }
        }
        self.count(sent);
    }

    /// Does what is due.
    pub(super) fn drive_fresh(&mut self) {
        let now = self.now;
        if let Stage::Fresh(Fresh::Open { check, peer, .. }) = &mut self.guess.stage
            && check.take_if(|check| *check <= now).is_some()
            && let Some(peer) = *peer
        {
            self.check_fresh(peer);
        }
    }

    fn check_fresh(&mut self, peer: SocketAddr) {
        let Some(run) = self.running(Method::UdpHolePunch) else {
            return;
        };
        let (method, until) = (run.method, run.limit);
        let probe = Probe {
            from: Port::Extra(SOCKET),
            to: peer,
        };
        self.checks.ask(self.now, probe, method, until);
    }

    /// The responder opens no port.
    fn decline_fresh(&mut self) {
        if self.role == Role::Responder {
            self.say(&Message::Fresh(None));
        }
    }
}
