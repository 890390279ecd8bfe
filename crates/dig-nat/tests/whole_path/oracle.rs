//! What must be possible, told from the kinds of the NATs alone.

use crate::case::{Case, Change, GETTER, HOST, Kind};
use dig_lab::nat::{Allocation, Behaviour, NatConfig};

/// How things stand between two changes.
#[derive(Debug, Clone)]
pub(crate) struct Situation {
    pub(crate) kinds: [Kind; 2],
    pub(crate) together: bool,
    pub(crate) blocked: bool,
    pub(crate) relay: bool,
    pub(crate) turn: [bool; 2],
    pub(crate) asleep: [bool; 2],
}

/// What can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Possible {
    /// A direct path: always, never, or nothing is claimed.
    pub(crate) direct: Option<bool>,
    pub(crate) relayed: bool,
}

impl Situation {
    pub(crate) fn new(case: &Case) -> Self {
        let host = if case.together { GETTER } else { HOST };
        Self {
            kinds: [case.kinds[GETTER].clone(), case.kinds[host].clone()],
            together: case.together,
            blocked: case.blocked && !case.together,
            relay: true,
            turn: case.turn,
            asleep: [false; 2],
        }
    }

    pub(crate) fn change(&mut self, change: &Change) {
        match change {
            Change::Forget(_) | Change::Reboot(_) => {}
            Change::Block => self.blocked = !self.together,
            Change::Unblock => self.blocked = false,
            Change::RelayDown => self.relay = false,
            Change::RelayUp => self.relay = true,
            Change::Move(kind) => {
                self.kinds[GETTER] = Kind::clone(kind);
                self.together = false;
            }
            Change::Sleep(side) => self.asleep[*side] = true,
            Change::Wake(side) => self.asleep[*side] = false,
        }
    }

    /// Whether one side's ports must be guessed, and the other's are known: the pair that guessing is for.
    pub(crate) fn must_guess(&self) -> bool {
        let [a, b] = &self.kinds;
        let hard = |kind: &Kind| {
            let random = |nat: &NatConfig| nat.allocation != Allocation::Preserve;
            matches!(kind, Kind::Nat(nat) if !is_stable(nat) && random(nat)
                && nat.filtering == Behaviour::AddressAndPortDependent)
        };
        let easy = |kind: &Kind| {
            matches!(kind, Kind::Nat(nat) if is_stable(nat)
                && nat.filtering == Behaviour::AddressAndPortDependent)
        };
        let pair = hard(a) && easy(b) || hard(b) && easy(a);
        pair && !self.together && !self.blocked && self.relay
    }

    pub(crate) fn possible(&self) -> Possible {
        if self.asleep.contains(&true) {
            return Possible {
                direct: Some(false),
                relayed: false,
            };
        }
        let [a, b] = &self.kinds;
        let direct = if self.together {
            Some(true)
        } else if self.blocked || !a.has_udp() || !b.has_udp() {
            Some(false)
        } else {
            punchable(a, b)
        };
        // The peer of an allocation needs datagrams, or an allocation of its own.
        let leg = |own: usize, peer: usize| {
            self.turn[own] && (self.kinds[peer].has_udp() || self.turn[peer])
        };
        Possible {
            direct,
            relayed: self.relay && (leg(GETTER, HOST) || leg(HOST, GETTER)),
        }
    }
}

/// Whether datagrams can get through by plain punching: one side can be reached at the address that it knows of itself. `None`: it
/// depends. A NAT with a mapping a peer that lets anybody into each of them can be reached at the one that a server saw,
/// but may answer from another; symmetric NATs that happen to keep ports look stable; and ports can be guessed.
fn punchable(a: &Kind, b: &Kind) -> Option<bool> {
    let either = |strange| reachable(a, b, strange) || reachable(b, a, strange);
    match (either(true), either(false)) {
        (true, true) => Some(true),
        (false, false) if !guessable(a, b) && !guessable(b, a) => Some(false),
        _ => None,
    }
}

fn is_stable(config: &NatConfig) -> bool {
    config.mapping == Behaviour::Independent
}

fn stable(kind: &Kind) -> bool {
    matches!(kind, Kind::Mapped(_)) || kind.layers().iter().all(|config| is_stable(config))
}

/// Each layer must let in what comes to the mapping that a server saw, which must also be that towards the peer: from anybody, from a
/// host that it sent to, or from an end that it sent to, which then must be one that could be known.
fn reachable(to: &Kind, from: &Kind, strange: bool) -> bool {
    if matches!(to, Kind::Mapped(_)) {
        return true;
    }
    let mut steady = true;
    to.layers().iter().all(|layer| {
        steady &= is_stable(layer);
        match layer.filtering {
            Behaviour::Independent => steady || strange,
            Behaviour::AddressDependent => steady,
            Behaviour::AddressAndPortDependent => steady && stable(from),
        }
    })
}

/// Whether one side's ports might be found by luck while the other's is known.
fn guessable(hard: &Kind, easy: &Kind) -> bool {
    let keeps = |kind: &Kind| {
        let layers = kind.layers();
        let mut all = layers.iter();
        all.all(|nat| is_stable(nat) || nat.allocation == Allocation::Preserve)
    };
    !stable(hard) && (stable(easy) || keeps(easy)) || keeps(hard) && keeps(easy)
}
