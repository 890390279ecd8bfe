//! What is simulated: who stands where, and what happens to the networks meanwhile. All of it follows from the seed.

use dig_lab::nat::{Allocation, Behaviour, Habit, NatConfig};
use std::time::Duration;

/// How long a case is watched before anything changes.
const CALM: Duration = Duration::from_secs(20);
/// How long it is watched after each change.
const AFTER: Duration = Duration::from_secs(30);

/// The side that wants a path, downloads and has an upkeep.
pub(crate) const GETTER: usize = 0;
/// The side that is asked.
pub(crate) const HOST: usize = 1;

/// Where a node is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Open,
    Nat(NatConfig),
    /// Two layers: at home, and the carrier's.
    Double(NatConfig, NatConfig),
    /// A NAT with a port mapped by PCP.
    Mapped(NatConfig),
    /// A network that lets no datagrams out.
    NoUdp(NatConfig),
}

impl Kind {
    pub(crate) fn layers(&self) -> Vec<&NatConfig> {
        match self {
            Self::Open => Vec::new(),
            Self::Nat(config) | Self::Mapped(config) | Self::NoUdp(config) => vec![config],
            Self::Double(inner, outer) => vec![inner, outer],
        }
    }

    pub(crate) fn has_udp(&self) -> bool {
        !matches!(self, Self::NoUdp(_))
    }
}

/// What becomes of the networks.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// The NATs of that side forget everything.
    Forget(usize),
    /// They restart, and choose other ports than before.
    Reboot(usize),
    /// Nothing passes between the two sites but by the relay.
    Block,
    /// It passes again.
    Unblock,
    /// The relay is gone, with all it knows.
    RelayDown,
    /// It is back.
    RelayUp,
    /// The getter is on another network now.
    Move(Box<Kind>),
    /// That side's machine sleeps.
    Sleep(usize),
    /// It wakes.
    Wake(usize),
}

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) kinds: [Kind; 2],
    /// One way, from each site to the middle of the internet; the third is that of the network moved to.
    pub(crate) delays: [Duration; 3],
    pub(crate) relay_delay: Duration,
    /// Of a signal, one way, beside the way between the sites.
    pub(crate) signal_delay: Duration,
    /// Of packets and signals on the internet.
    pub(crate) loss: f64,
    /// Both behind the same NAT, which is that of the first.
    pub(crate) together: bool,
    /// Who may use the relay.
    pub(crate) turn: [bool; 2],
    /// Only the relay passes from the beginning.
    pub(crate) blocked: bool,
    pub(crate) changes: Vec<(Duration, Change)>,
    pub(crate) end: Duration,
}

impl Case {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let kinds = [any_kind(&mut rng), any_kind(&mut rng)];
        let delay = |rng: &mut fastrand::Rng| Duration::from_micros(rng.u64(200..50_000));
        let delays = [delay(&mut rng), delay(&mut rng), delay(&mut rng)];
        let loss = [0.0, 0.0, 0.0, 0.01, 0.03, 0.06][rng.usize(..6)];
        let together = rng.u8(..20) == 0 && !matches!(kinds[GETTER], Kind::Open);
        let turn = [[true, true], [true, false], [false, true], [false, false]]
            [[0, 0, 0, 1, 1, 2, 2, 3][rng.usize(..8)]];
        let mut case = Self {
            seed,
            kinds,
            delays,
            relay_delay: delay(&mut rng) / 2,
            signal_delay: delay(&mut rng) / 2,
            loss,
            together,
            turn,
            blocked: false,
            changes: Vec::new(),
            end: CALM,
        };
        case.happen(&mut rng);
        case
    }

    /// Chooses what happens.
    fn happen(&mut self, rng: &mut fastrand::Rng) {
        let side = rng.usize(..2);
        let length = Duration::from_secs([2, 10, 25, 60][rng.usize(..4)]);
        match rng.u8(..11) {
            0 => {}
            1 | 2 => self.then(AFTER, Change::Forget(side)),
            3 => self.then(AFTER, Change::Reboot(side)),
            4 => {
                self.blocked = true;
                self.then(AFTER, Change::Unblock);
            }
            5 => {
                self.then(AFTER, Change::Block);
                self.then(AFTER, Change::Unblock);
            }
            6 => {
                self.then(AFTER, Change::RelayDown);
                self.then(AFTER, Change::RelayUp);
            }
            7 => {
                self.blocked = rng.bool();
                self.then(Duration::from_millis(rng.u64(100..1000)), Change::RelayDown);
                self.then(AFTER, Change::RelayUp);
            }
            8 => {
                let kind = any_kind(rng);
                self.then(AFTER, Change::Move(Box::new(kind)));
            }
            9 => {
                self.then(length, Change::Sleep(side));
                self.then(AFTER, Change::Wake(side));
            }
            // What passes comes and goes.
            _ => {
                for _ in 0..4 {
                    let pause = |rng: &mut fastrand::Rng| Duration::from_millis(rng.u64(500..6000));
                    self.then(pause(rng), Change::Block);
                    self.then(pause(rng), Change::Unblock);
                }
                self.then(AFTER * 2, Change::Unblock);
            }
        }
    }

    /// The next thing that happens, and for how long nothing else does.
    fn then(&mut self, length: Duration, change: Change) {
        self.changes.push((self.end, change));
        self.end += length;
    }
}

fn any_nat(rng: &mut fastrand::Rng) -> NatConfig {
    let behaviours = [
        Behaviour::Independent,
        Behaviour::AddressDependent,
        Behaviour::AddressAndPortDependent,
    ];
    let sequential = Allocation::Sequential {
        delta: [1, 2, -1][rng.usize(..3)],
    };
    let habit = [Habit::Drop, Habit::Drop, Habit::Reject][rng.usize(..3)];
    let kind = match rng.u8(..8) {
        0 => NatConfig::full_cone(),
        1 => NatConfig::address_restricted(),
        2..=4 => NatConfig::port_restricted(),
        5 => NatConfig::symmetric_random(),
        6 => NatConfig::symmetric_sequential([1, 2, -1][rng.usize(..3)]),
        _ => NatConfig {
            mapping: behaviours[rng.usize(..3)],
            filtering: behaviours[rng.usize(..3)],
            allocation: [Allocation::Preserve, Allocation::Random, sequential][rng.usize(..3)],
            ..NatConfig::port_restricted()
        },
    };
    kind.with_habit(habit).with_hairpin(rng.bool())
}

fn any_kind(rng: &mut fastrand::Rng) -> Kind {
    match rng.u8(..16) {
        0 => Kind::Open,
        1 => Kind::Double(any_nat(rng), any_nat(rng)),
        2 => Kind::Mapped(any_nat(rng)),
        3 => Kind::NoUdp(any_nat(rng)),
        _ => Kind::Nat(any_nat(rng)),
    }
}
