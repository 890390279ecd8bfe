//! Which path can exist between two sites, derived from what their NATs do (RFC 4787, RFC 5128), and what is therefore expected of
//! the program.
//!
//! The rules know nothing of how the program works: two ends learn of each other by a third, send when they like, and answer to
//! whom they hear. An end whose port nobody can know is answered, or its port is guessed; whoever cannot be met at all is met at a
//! relay, which every site can reach.

use dig_lab::{Habit, SiteKind};

/// What an end may send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Nature {
    v4: Option<Border>,
    v6: Option<Border>,
    udp: bool,
    tcp: bool,
}

/// What stands between an end and the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Border {
    ports: Ports,
    filter: Filter,
    /// The addresses behind it are not those that others see.
    translated: bool,
    /// Ports are opened on request, and the result is public.
    mappable: bool,
}

/// Which outside ports a socket gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// One, whatever the remote end.
    Steady,
    /// One for every remote end, each the next one.
    Sequential,
    /// One for every remote end, each at random.
    Random,
}

/// Whom an outside port lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Filter {
    /// Anybody, also before the first packet left.
    Absent,
    /// Anybody, once there is a mapping.
    Open,
    /// Every port of an address that was sent to.
    Address,
    /// Whom was sent to.
    AddressAndPort,
}

/// How two ends can meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meeting {
    /// One of them is public and is dialled.
    Dial,
    /// One of them has a port mapped by its router, and is dialled there.
    Mapping,
    /// Both know where the other one appears, and send.
    Punch,
    /// One of them does not know where the other one will appear, but lets it in by its address, and answers.
    Answer,
    /// One of them has many outside ports that nobody knows, the other one finds one of them by trying.
    Guess(Guess),
}

/// What there is to guess by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Guess {
    /// The ports come one after the other.
    Steps,
    /// Nothing but numbers: many are open, and many are tried.
    Chance,
}

/// The answer of the oracle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Possible {
    pub(super) udp: Option<Meeting>,
    pub(super) tcp: Option<Meeting>,
}

/// What has to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// Direct every time; `timed`: at most three round trips and 100 ms after signaling, in 19 of 20 cases.
    Direct { timed: bool },
    /// Direct over TCP, in this many of a hundred cases.
    Tcp { percent: usize },
    /// Direct over UDP at a port that was guessed, in this many of a hundred cases.
    Guessed { percent: usize },
    /// A path over a relay every time: there is no direct one.
    Relayed,
    /// Nothing: there is no path without a relay, and no relay.
    Nothing,
}

const PUBLIC: Border = Border {
    ports: Ports::Steady,
    filter: Filter::Absent,
    translated: false,
    mappable: false,
};

const FIREWALL: Border = Border {
    filter: Filter::AddressAndPort,
    ..PUBLIC
};

const HOME: Border = Border {
    translated: true,
    ..FIREWALL
};

impl Nature {
    fn of(kind: SiteKind) -> Self {
        let v4 = |border| Self {
            v4: Some(border),
            v6: None,
            udp: true,
            tcp: true,
        };
        let filter = |filter| v4(Border { filter, ..HOME });
        let ports = |ports| v4(Border { ports, ..HOME });
        match kind {
            SiteKind::Open => v4(PUBLIC),
            SiteKind::FullCone => filter(Filter::Open),
            SiteKind::AddressRestricted => filter(Filter::Address),
            SiteKind::SymmetricRandom => ports(Ports::Random),
            SiteKind::SymmetricSequential => ports(Ports::Sequential),
            SiteKind::UpnpRouter => v4(Border {
                mappable: true,
                ..HOME
            }),
            SiteKind::UdpBlocked => Self {
                udp: false,
                ..v4(HOME)
            },
            // It reaches no peer, but the one that introduces and the relay are at ports of the web.
            SiteKind::WebOnly => Self {
                udp: false,
                tcp: false,
                ..v4(HOME)
            },
            SiteKind::Ipv6Firewall => Self {
                v4: None,
                v6: Some(FIREWALL),
                ..v4(HOME)
            },
            SiteKind::DualStack => Self {
                v6: Some(FIREWALL),
                ..v4(HOME)
            },
            // What a mapping of the inner router leads to is private, and the outer NAT filters as any other.
            _ => v4(HOME),
        }
    }
}

impl Border {
    fn meet(self, other: Self) -> Option<Meeting> {
        let either = |fits: fn(&Self) -> bool| fits(&self) || fits(&other);
        if either(|border| border.filter == Filter::Absent) {
            return Some(Meeting::Dial);
        }
        if either(|border| border.mappable) {
            return Some(Meeting::Mapping);
        }
        let unknown = match (self.ports, other.ports) {
            (Ports::Steady, Ports::Steady) => return Some(Meeting::Punch),
            (Ports::Steady, unknown) | (unknown, Ports::Steady) => unknown,
            // Both would have to guess, each for every guess of the other one.
            _ => return None,
        };
        if either(|border| border.ports == Ports::Steady && border.filter <= Filter::Address) {
            return Some(Meeting::Answer);
        }
        Some(Meeting::Guess(match unknown {
            Ports::Sequential => Guess::Steps,
            _ => Guess::Chance,
        }))
    }
}

/// Which direct paths can exist.
pub(super) fn possible(host: SiteKind, getter: SiteKind) -> Possible {
    let (host, getter) = (Nature::of(host), Nature::of(getter));
    let families = [(host.v4, getter.v4), (host.v6, getter.v6)];
    let best = families
        .into_iter()
        .filter_map(|(one, other)| one?.meet(other?))
        .min();
    Possible {
        udp: best.filter(|_| host.udp && getter.udp),
        // A connection that is not expected is refused, and there is none without several segments.
        tcp: best.filter(|best| host.tcp && getter.tcp && !matches!(best, Meeting::Guess(_))),
    }
}

/// What the program must reach, where there is a relay and where there is none.
pub(super) fn expected(host: SiteKind, getter: SiteKind, habit: Habit, relay: bool) -> Expected {
    let possible = possible(host, getter);
    let tcp_percent = match habit {
        Habit::Drop => 100,
        // A reset that arrives in time ends the attempt, and the router remembers whom it refused.
        Habit::Reject => 90,
    };
    match (possible.udp, possible.tcp) {
        (Some(Meeting::Guess(Guess::Steps)), _) => Expected::Guessed { percent: 95 },
        (Some(Meeting::Guess(Guess::Chance)), _) => Expected::Guessed { percent: 98 },
        (Some(_), _) => Expected::Direct {
            timed: is_timed(host) && is_timed(getter),
        },
        (None, Some(_)) => Expected::Tcp {
            percent: tcp_percent,
        },
        (None, None) if relay => Expected::Relayed,
        (None, None) => Expected::Nothing,
    }
}

/// Kinds whose ports are the same for every remote end, and need nobody's leave.
fn is_timed(kind: SiteKind) -> bool {
    matches!(
        kind,
        SiteKind::Open
            | SiteKind::FullCone
            | SiteKind::AddressRestricted
            | SiteKind::PortRestricted
            | SiteKind::CarrierGrade
            | SiteKind::Ipv6Firewall
            | SiteKind::DualStack
    )
}

/// Whether this method alone can connect two sites, `together` on one local network or not.
pub(super) fn can(method: &str, host: SiteKind, getter: SiteKind, together: bool) -> bool {
    let possible = possible(host, getter);
    let mapped = |kind| Nature::of(kind).v4.is_some_and(|border| border.mappable);
    let reached = possible.udp.or(possible.tcp);
    match method {
        "local" => together,
        // The relay is there for everybody.
        "turn" => true,
        // Behind one NAT that does not hairpin, nothing but the local network leads to the other one.
        _ if together => false,
        "direct" => reached == Some(Meeting::Dial) || both_untranslated(host, getter),
        "pcp" | "nat-pmp" | "upnp" => reached.is_some() && (mapped(host) || mapped(getter)),
        // Where the router is not asked for a port, one steady side is enough to guess the other's.
        "udp-hole-punch" => {
            let guessed = possible.udp == Some(Meeting::Mapping) && either_steady(host, getter);
            punched(host, getter, possible.udp) || guessed
        }
        "tcp-hole-punch" => punched(host, getter, possible.tcp),
        // Both have to know the other's port before its first segment leaves.
        "tcp-simultaneous-open" => possible.tcp.is_some() && both_steady(host, getter),
        // As plain punching: its checks go to candidates, and to where checks come from.
        "ice" => match possible.udp {
            Some(Meeting::Guess(_)) => false,
            udp => punched(host, getter, udp),
        },
        _ => false,
    }
}

fn punched(host: SiteKind, getter: SiteKind, meeting: Option<Meeting>) -> bool {
    match meeting {
        // A router that would map a port punches no better than another one.
        Some(Meeting::Mapping) => both_steady(host, getter),
        other => other.is_some(),
    }
}

/// Both dial the other's own address, which opens both firewalls.
fn both_untranslated(host: SiteKind, getter: SiteKind) -> bool {
    let own = |kind| Nature::of(kind).v6.is_some_and(|border| !border.translated);
    own(host) && own(getter)
}

/// Whether one side's port is the same for every remote end, so that the other side's can be guessed from there.
fn either_steady(host: SiteKind, getter: SiteKind) -> bool {
    let is_steady = |kind| {
        let border = Nature::of(kind).v4;
        border.is_some_and(|border| border.ports == Ports::Steady)
    };
    is_steady(host) || is_steady(getter)
}

fn both_steady(host: SiteKind, getter: SiteKind) -> bool {
    let (host, getter) = (Nature::of(host), Nature::of(getter));
    let steady = |one: Option<Border>, other: Option<Border>| {
        let is_steady = |border: Border| border.ports == Ports::Steady;
        one.is_some_and(is_steady) && other.is_some_and(is_steady)
    };
    steady(host.v4, getter.v4) || steady(host.v6, getter.v6)
}

impl Meeting {
    /// A word for tables.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Dial => "dial",
            Self::Mapping => "mapping",
            Self::Punch => "punch",
            Self::Answer => "answer",
            Self::Guess(_) => "guess",
        }
    }
}

impl Possible {
    /// Words for tables: by what, and how.
    pub(super) fn words(self) -> String {
        match (self.udp, self.tcp) {
            (None, None) => "relay".to_owned(),
            (None, Some(tcp)) => format!("TCP: {}", tcp.word()),
            // What only UDP can do needs no word that it is not done by TCP.
            (Some(udp), _) => udp.word().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONES: [SiteKind; 5] = [
        SiteKind::Open,
        SiteKind::FullCone,
        SiteKind::AddressRestricted,
        SiteKind::PortRestricted,
        SiteKind::CarrierGrade,
    ];

    #[test]
    fn steady_ports_meet_in_time_whatever_their_filters() {
        for habit in [Habit::Drop, Habit::Reject] {
            for host in CONES {
                for getter in CONES {
                    for relay in [false, true] {
                        let expected = expected(host, getter, habit, relay);
                        let timed = Expected::Direct { timed: true };
                        assert_eq!(expected, timed, "{host:?} {getter:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn unknown_ports_meet_filters_that_look_at_addresses() {
        let symmetric = SiteKind::SymmetricRandom;
        for lenient in &CONES[..3] {
            let direct = Expected::Direct { timed: false };
            assert_eq!(expected(symmetric, *lenient, Habit::Drop, false), direct);
            assert_eq!(expected(*lenient, symmetric, Habit::Reject, true), direct);
        }
        let mapped = possible(symmetric, SiteKind::UpnpRouter);
        assert_eq!(mapped.udp, Some(Meeting::Mapping));
    }

    #[test]
    fn ports_are_guessed_on_one_side_only() {
        let (random, steps) = (SiteKind::SymmetricRandom, SiteKind::SymmetricSequential);
        for easy in [
            SiteKind::PortRestricted,
            SiteKind::CarrierGrade,
            SiteKind::UpnpPrivate,
            SiteKind::DualStack,
        ] {
            for relay in [false, true] {
                let of = |hard| expected(hard, easy, Habit::Reject, relay);
                assert_eq!(of(random), Expected::Guessed { percent: 98 }, "{easy:?}");
                assert_eq!(of(steps), Expected::Guessed { percent: 95 }, "{easy:?}");
            }
            assert_eq!(possible(easy, random).tcp, None);
        }
        for (one, other) in [(random, random), (random, steps), (steps, steps)] {
            let of = |relay| expected(one, other, Habit::Drop, relay);
            assert_eq!(of(false), Expected::Nothing);
            assert_eq!(of(true), Expected::Relayed);
        }
    }

    #[test]
    fn of_six_kinds_all_pairs_but_one_are_direct() {
        let direct = |host: SiteKind| {
            let all = CONES.into_iter().chain([SiteKind::SymmetricRandom]);
            all.filter(move |getter| possible(host, *getter).udp.is_some())
                .count()
        };
        let all = CONES.into_iter().chain([SiteKind::SymmetricRandom]);
        assert_eq!(all.map(direct).sum::<usize>(), 35);
    }

    #[test]
    fn without_udp_there_is_tcp_unless_ports_are_unknown() {
        for other in CONES
            .into_iter()
            .chain([SiteKind::UdpBlocked, SiteKind::DualStack])
        {
            let of = |habit| expected(SiteKind::UdpBlocked, other, habit, false);
            assert_eq!(of(Habit::Drop), Expected::Tcp { percent: 100 });
            assert_eq!(of(Habit::Reject), Expected::Tcp { percent: 90 });
        }
        let symmetric = SiteKind::SymmetricRandom;
        for (one, other) in [
            (SiteKind::UdpBlocked, symmetric),
            (SiteKind::Open, SiteKind::WebOnly),
        ] {
            let of = |relay| expected(one, other, Habit::Drop, relay);
            assert_eq!(of(false), Expected::Nothing);
            assert_eq!(of(true), Expected::Relayed);
        }
    }

    #[test]
    fn families_do_not_mix() {
        let timed = Expected::Direct { timed: true };
        let v6 = SiteKind::Ipv6Firewall;
        assert_eq!(expected(v6, v6, Habit::Reject, false), timed);
        assert_eq!(expected(v6, SiteKind::DualStack, Habit::Drop, false), timed);
        let open = |relay| expected(v6, SiteKind::Open, Habit::Drop, relay);
        assert_eq!(open(false), Expected::Nothing);
        assert_eq!(open(true), Expected::Relayed);
    }

    #[test]
    fn the_oracle_has_no_favourite_side() {
        for host in SiteKind::ALL {
            for getter in SiteKind::ALL {
                assert_eq!(possible(host, getter), possible(getter, host));
            }
        }
    }

    #[test]
    fn methods_alone_work_where_they_should() {
        use SiteKind::{
            DualStack, Ipv6Firewall, Open, PortRestricted, SymmetricRandom, UdpBlocked,
            UpnpPrivate, UpnpRouter,
        };
        for (method, host, getter, possible) in [
            ("direct", Open, PortRestricted, true),
            ("direct", PortRestricted, PortRestricted, false),
            ("direct", Ipv6Firewall, DualStack, true),
            ("upnp", SymmetricRandom, UpnpRouter, true),
            ("upnp", UpnpPrivate, SymmetricRandom, false),
            ("udp-hole-punch", PortRestricted, PortRestricted, true),
            ("udp-hole-punch", UpnpRouter, SymmetricRandom, true),
            ("tcp-hole-punch", UpnpRouter, SymmetricRandom, false),
            ("udp-hole-punch", UdpBlocked, PortRestricted, false),
            ("tcp-hole-punch", UdpBlocked, PortRestricted, true),
            ("tcp-simultaneous-open", SymmetricRandom, Open, false),
            ("udp-hole-punch", PortRestricted, SymmetricRandom, true),
            ("ice", PortRestricted, SymmetricRandom, false),
            ("ice", PortRestricted, PortRestricted, true),
            ("turn", SymmetricRandom, SymmetricRandom, true),
            ("local", PortRestricted, PortRestricted, false),
        ] {
            assert_eq!(can(method, host, getter, false), possible, "{method}");
        }
        assert!(can("local", PortRestricted, PortRestricted, true));
        assert!(!can("udp-hole-punch", PortRestricted, PortRestricted, true));
    }
}
