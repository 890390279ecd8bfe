//! Guessing a port where plain UDP hole punching cannot succeed: one side's NAT gives each destination a port of its own (the
//! **hard** side), the other's lets in only answers from where something was sent (the **easy** side).
//!
//! 1. The hard side opens many sockets. From each goes one packet to the easy side's outside address, which lives too short to arrive: so
//!    many ports of its NAT are open towards that address. It says so ([`Message::Wide`]).
//! 2. The easy side sends to one port after the other of the hard side's address, from its one port: first to those that a NAT
//!    with regular steps has given ([`Tactic::Prediction`]), then to others at random, none twice ([`Tactic::Birthday`]).
//! 3. The first packet that finds an open port arrives at that socket, is answered, and both sides have a path.
//!
//! The initiator begins it: with [`Message::Widen`] where the responder is the hard side, with [`Message::Wide`] where it is itself. Rules:
//!
//! - Only after the plain checks had their time, and while no direct path is there.
//! - Only towards an IPv4 host at which a carrier sees the peer, whatever the peer says. Ports from 1024 up.
//! - Every packet is allowed by the driver beforehand, which keeps account for the whole node; none of [`SPRAY`] leaves after
//!   the first that is answered.
//! - Once in an attempt. Two hard sides are left to a relay: it would take a hundred thousand packets.
//!
//! Where neither side is hard there is nothing to guess; [`fresh`] ports are tried instead.

mod fresh;
mod openers;
mod spray;

use super::{
    Attempt, Drift, Message, NatHint, Role, Wide,
    check::{Check, Kind},
    event::{Output, Path, Port},
    methods::Probe,
    run::Wait,
    signals::Repeat,
};
use crate::candidate::Transport;
use dig_types::Method;
use fresh::Fresh;
use openers::Openers;
use serde::Serialize;
use spray::Spray;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Sockets that the hard side opens. With as many open ports among 64,512, 1,200 packets miss all of them in one case of 400, and half of
/// the time 140 are enough; 256 would miss three times as often, and a process may have 1,024 files.
pub const PORTS: u16 = 320;

/// Packets of one such socket towards the peer before anything came from there.
pub const PER_PORT: u16 = 2;

/// Packets of the easy side: what an address may get in ten minutes.
pub const SPRAY: u16 = 1200;

/// Sockets that the hard side uses where its NAT goes by steps: enough to be found among the ports guessed although others use
/// the NAT, too.
const PORTS_IN_ORDER: u16 = 32;

/// Plain checks get this time, and [`PLAIN_ROUND_TRIPS`] of signaling: between NATs that let them through they take one or two.
const PLAIN: Duration = Duration::from_millis(500);
const PLAIN_ROUND_TRIPS: u32 = 4;

/// How long guessing may take from its first word: opening, the word, [`SPRAY`] packets, the openers again, and some round trips.
const LONGEST: Duration = Duration::from_secs(4);

/// The peer holds out so much longer.
const SLACK: Duration = Duration::from_secs(2);

/// When a word is said again unless something shows that it came.
const AGAIN: [Duration; 3] = [
    Duration::from_millis(150),
    Duration::from_millis(450),
    Duration::from_millis(1000),
];

/// Ports at which the peer is answered: the first may be met by packets that are lost.
const MOST_HITS: usize = 4;

/// What is done where plain checks do not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tactic {
    /// Ports are guessed at random, many on both sides: as with birthdays, some two meet sooner than one thinks.
    Birthday,
    /// Ports are guessed by the steps in which the NAT gives them; then at random.
    Prediction,
    /// Each side punches from a port that no router has heard of.
    FreshPorts,
}

impl Tactic {
    fn of(drift: Option<Drift>) -> Self {
        drift.map_or(Self::Birthday, |_| Self::Prediction)
    }
}

impl fmt::Display for Tactic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Birthday => "guessing ports at random",
            Self::Prediction => "guessing ports by the NAT's steps",
            Self::FreshPorts => "a fresh port on each side",
        })
    }
}

/// How far guessing is.
#[derive(Debug, Default)]
pub(super) struct Guess {
    stage: Stage,
    /// Sockets of ours at which the peer was heard.
    hits: Vec<u16>,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    /// The initiator gives the plain checks time, until then.
    Held(Duration),
    /// Hard: the driver opens sockets, for packets to that end.
    Opening {
        to: SocketAddr,
        round: u8,
    },
    /// Hard: they are open.
    Open(Openers),
    /// Easy: the driver says how many packets may go to that host; what the peer said, if it was the first to say something.
    Asking {
        to: IpAddr,
        wide: Option<Wide>,
    },
    /// Easy: the peer is asked to open its ports.
    Asked {
        to: IpAddr,
        granted: u16,
    },
    /// Easy: packets go out.
    Spraying(Spray),
    /// Neither is hard: both change their ports.
    Fresh(Fresh),
    Over,
}

impl Guess {
    pub(super) fn deadline(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Held(when) => Some(*when),
            Stage::Open(openers) => openers.deadline(),
            Stage::Spraying(spray) => spray.deadline(),
            Stage::Fresh(fresh) => fresh.deadline(),
            _ => None,
        }
    }
}

/// Which side of a guess this is, and where the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Hard { to: SocketAddr, ordered: bool },
    Easy { to: IpAddr },
}

impl Attempt {
    /// What became of [`Output::OpenPorts`]: so many sockets are open; where the NAT stood, if that was wanted and could be
    /// learned.
    pub fn on_ports(&mut self, now: Duration, opened: u16, drift: Option<Drift>) {
        if !self.advance(now) {
            return;
        }
        let Stage::Opening { to, round } = self.guess.stage else {
            self.waste(opened.saturating_mul(PER_PORT));
            return;
        };
        let drift = drift.filter(|drift| drift.step != 0);
        let most = if drift.is_some() {
            PORTS_IN_ORDER
        } else {
            PORTS
        };
        let count = opened.min(most);
        if count == 0 {
            self.guess.stage = Stage::Over;
            self.decline(round);
            return;
        }
        self.mark(Tactic::of(drift));
        let wide = Wide {
            round,
            count,
            drift,
        };
        let openers = Openers::new(self.now, to, wide, opened);
        self.guess.stage = Stage::Open(openers);
        self.drive();
    }

    /// What became of [`Output::AskSpray`]: so many packets may leave.
    pub fn on_spray(&mut self, now: Duration, granted: u16) {
        if !self.advance(now) {
            return;
        }
        let Stage::Asking { to, wide } = self.guess.stage else {
            self.waste(granted);
            return;
        };
        let granted = granted.min(SPRAY);
        match wide {
            _ if granted == 0 => self.guess.stage = Stage::Over,
            Some(wide) => self.spray(to, granted, wide),
            None => {
                self.guess.stage = Stage::Asked { to, granted };
                if let Some(run) = self.running(Method::UdpHolePunch) {
                    self.insist(Message::Widen(run.round));
                }
            }
        }
        self.drive();
    }

    /// The responder is asked to open its ports.
    pub(super) fn on_widen(&mut self, round: u8) {
        match &self.guess.stage {
            Stage::Idle => {}
            Stage::Open(openers) => {
                if let Some(wide) = openers.told() {
                    self.say(&Message::Wide(wide));
                }
                return;
            }
            Stage::Over => return self.decline(round),
            _ => return,
        }
        if !self.is_ripe() {
            return;
        }
        match self.side() {
            Some(Side::Hard { to, ordered }) => self.open_ports(to, ordered, round),
            _ => self.decline(round),
        }
    }

    /// The peer's ports are open.
    pub(super) fn on_wide(&mut self, wide: Wide) {
        let asked = |repeat: &Repeat| matches!(repeat, Repeat::Message(Message::Widen(_)));
        self.signals.settle(asked);
        match self.guess.stage {
            Stage::Asked { .. } if wide.count == 0 => self.end_tactic(),
            Stage::Asked { to, granted } => self.spray(to, granted, wide),
            Stage::Idle if self.role == Role::Responder && wide.count > 0 && self.is_ripe() => {
                if let Some(Side::Easy { to }) = self.side() {
                    self.ask_spray(to, Some(wide));
                }
            }
            _ => {}
        }
    }

    /// Whether a check that came counts, as far as guessed ports go: sockets opened for this hear the peer at few of them.
    pub(super) fn admits(&mut self, came: Probe, check: &Check) -> bool {
        let punching = check.method == Method::UdpHolePunch;
        let Port::Extra(port) = came.from else {
            if punching && came.from == Port::Shared {
                self.heard_while_spraying(came, check);
            }
            return true;
        };
        if self.guess.hits.contains(&port) {
            return punching;
        }
        let open = match &self.guess.stage {
            Stage::Open(openers) => openers.has(port),
            Stage::Fresh(fresh) => fresh.has(port),
            _ => false,
        };
        if !punching || !open || self.guess.hits.len() == MOST_HITS {
            return false;
        }
        self.guess.hits.push(port);
        let told = |repeat: &Repeat| matches!(repeat, Repeat::Message(Message::Wide(_)));
        self.signals.settle(told);
        if self.role == Role::Responder {
            self.outputs.push_back(Output::Path(Path {
                method: check.method,
                transport: Transport::Udp,
                remote: came.to,
                from: came.from,
                relays: 0,
                stream: None,
                rtt: None,
            }));
        }
        true
    }

    /// The first packet of the peer ends the spray; one that answers a packet of it proves the path.
    fn heard_while_spraying(&mut self, came: Probe, check: &Check) {
        let Stage::Spraying(spray) = &mut self.guess.stage else {
            return;
        };
        if !spray.is_at(came.to.ip()) {
            return;
        }
        spray.stop();
        let asked = spray.asked(came.to.port());
        if let (Kind::Response(_), Some((transaction, when))) = (check.kind, asked)
            && transaction == check.transaction
        {
            self.checks.adopt(came, check.method, (transaction, when));
        }
    }

    /// Does what is due.
    pub(super) fn drive_tactic(&mut self) {
        if self.ended {
            return;
        }
        let run = self.running(Method::UdpHolePunch);
        let plain = run.is_some_and(|run| run.wait == Wait::Nothing);
        if run.is_none() || self.has_direct() {
            self.end_tactic();
            return;
        }
        match &self.guess.stage {
            Stage::Idle
                if plain
                    && self.role == Role::Initiator
                    && (self.side().is_some() || self.suits_fresh()) =>
            {
                let trips = self.signaling.unwrap_or_default() * PLAIN_ROUND_TRIPS;
                self.guess.stage = Stage::Held(self.now + PLAIN.max(trips));
            }
            Stage::Held(when) if *when <= self.now => self.begin_tactic(),
            Stage::Open(_) => self.drive_openers(),
            Stage::Spraying(_) => self.drive_spray(),
            Stage::Fresh(_) => self.drive_fresh(),
            _ => {}
        }
    }

    fn begin_tactic(&mut self) {
        let round = self.running(Method::UdpHolePunch).map(|run| run.round);
        match (self.side(), round) {
            (Some(Side::Hard { to, ordered }), Some(round)) => self.open_ports(to, ordered, round),
            (Some(Side::Easy { to }), Some(_)) => self.ask_spray(to, None),
            (None, Some(_)) if self.suits_fresh() => self.open_fresh(None),
            _ => self.guess.stage = Stage::Over,
        }
    }

    fn open_ports(&mut self, to: SocketAddr, measure: bool, round: u8) {
        self.prolong();
        self.guess.stage = Stage::Opening { to, round };
        self.outputs.push_back(Output::OpenPorts {
            to: to.ip(),
            count: PORTS,
            measure,
        });
    }

    fn ask_spray(&mut self, to: IpAddr, wide: Option<Wide>) {
        self.prolong();
        self.guess.stage = Stage::Asking { to, wide };
        self.outputs
            .push_back(Output::AskSpray { to, packets: SPRAY });
    }

    fn spray(&mut self, to: IpAddr, granted: u16, wide: Wide) {
        self.mark(Tactic::of(wide.drift));
        self.guess.stage = Stage::Spraying(Spray::new(self.now, to, granted, wide.drift));
    }

    fn drive_openers(&mut self) {
        let (Stage::Open(openers), Some(keys)) = (&mut self.guess.stage, &self.keys) else {
            return;
        };
        let (role, ttl) = (self.role, self.config.opener_ttl);
        let quiet = self.guess.hits.is_empty();
        let mut sent = 0;
        while let Some((port, to, low)) = openers.poll(self.now, quiet) {
            let check = request(role, self.jitter.next());
            self.outputs.push_back(Output::Datagram {
                from: Port::Extra(port),
                to,
                bytes: check.encode(keys),
                ttl: low.then_some(ttl),
            });
            sent += 1;
        }
        let trip = self.signaling.unwrap_or_default();
        let told = openers.tell(self.now, spray::LENGTH + trip);
        self.count(sent);
        if let Some(wide) = told {
            self.insist(Message::Wide(wide));
        }
    }

    fn drive_spray(&mut self) {
        let (Stage::Spraying(spray), Some(keys)) = (&mut self.guess.stage, &self.keys) else {
            return;
        };
        let mut sent = 0;
        while let Some((to, transaction)) = spray.poll(self.now, &mut self.jitter) {
            self.outputs.push_back(Output::Datagram {
                from: Port::Shared,
                to,
                bytes: request(self.role, transaction).encode(keys),
                ttl: None,
            });
            sent += 1;
        }
        self.count(sent);
    }

    /// Nothing more is tried; the driver takes back what it gave.
    pub(super) fn end_tactic(&mut self) {
        let unused = match &self.guess.stage {
            Stage::Idle | Stage::Held(_) => {
                self.guess.stage = Stage::Idle;
                return;
            }
            // The driver's answer comes, and finds nobody who wants it.
            Stage::Opening { .. } | Stage::Asking { .. } | Stage::Over => None,
            Stage::Fresh(Fresh::Opening { .. }) => None,
            Stage::Fresh(Fresh::Open { .. }) => Some(0),
            Stage::Open(openers) => Some(openers.unused()),
            Stage::Asked { granted, .. } => Some(*granted),
            Stage::Spraying(spray) => Some(spray.unused()),
        };
        self.guess.stage = Stage::Over;
        self.signals.settle(|repeat| {
            matches!(
                repeat,
                Repeat::Message(Message::Widen(_) | Message::Wide(_) | Message::Fresh(_))
            )
        });
        if let Some(unused) = unused {
            let keep = self.found_at();
            self.outputs.push_back(Output::TacticEnded { keep, unused });
        }
    }

    /// The extra socket at which a path was found.
    fn found_at(&self) -> Option<u16> {
        self.paths.iter().find_map(|path| match path.from {
            Port::Extra(number) => Some(number),
            Port::Shared | Port::Relay(_) => None,
        })
    }

    /// The driver gave what is not wanted any more.
    fn waste(&mut self, unused: u16) {
        if unused > 0 {
            let keep = self.found_at();
            self.outputs.push_back(Output::TacticEnded { keep, unused });
        }
    }

    /// The responder opens no ports.
    fn decline(&mut self, round: u8) {
        if self.role == Role::Responder {
            self.say(&Message::Wide(Wide {
                round,
                count: 0,
                drift: None,
            }));
        }
    }

    fn insist(&mut self, message: Message) {
        self.say(&message);
        for again in AGAIN {
            self.signals
                .at(self.now + again, Repeat::Message(message.clone()));
        }
    }

    /// Whether the plain checks had their time, as the responder sees it: less than they get of the initiator.
    fn is_ripe(&self) -> bool {
        self.now.saturating_sub(self.start) >= PLAIN
            && self.running(Method::UdpHolePunch).is_some()
            && !self.has_direct()
    }

    fn has_direct(&self) -> bool {
        self.paths.iter().any(|path| !path.is_relayed())
    }

    /// Which side this is, if exactly one of both has a NAT that makes ports hard to know, and the peer's host is attested.
    fn side(&self) -> Option<Side> {
        let remote = self.remote.as_ref()?;
        let hard = |nat| matches!(nat, NatHint::Dependent { .. });
        match (self.terms.nat, remote.terms.nat) {
            (own, peer) if hard(own) == hard(peer) => None,
            (NatHint::Dependent { step }, _) => {
                let to = remote.attested_end(&self.local)?;
                let ordered = step.is_some();
                Some(Side::Hard { to, ordered })
            }
            _ => remote.attested_host().map(|to| Side::Easy { to }),
        }
    }

    /// Hole punching gets the time that guessing takes.
    fn prolong(&mut self) {
        let longest = match self.role {
            Role::Initiator => LONGEST,
            Role::Responder => LONGEST + SLACK,
        };
        let limit = self.now + longest;
        for run in &mut self.runs {
            if run.method == Method::UdpHolePunch && run.is_running() {
                run.limit = run.limit.max(limit);
            }
        }
    }

    fn mark(&mut self, tactic: Tactic) {
        for run in &mut self.runs {
            if run.method == Method::UdpHolePunch {
                run.tactic = Some(tactic);
            }
        }
    }

    fn count(&mut self, sent: u32) {
        for run in &mut self.runs {
            if run.method == Method::UdpHolePunch {
                run.sent += sent;
            }
        }
    }
}

fn request(role: Role, transaction: u64) -> Check {
    Check {
        kind: Kind::Request,
        role,
        method: Method::UdpHolePunch,
        transaction,
    }
}
