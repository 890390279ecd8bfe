//! Which direct path can exist between two sites, derived from what their NATs do (RFC 4787, RFC 5128), and what is therefore
//! expected of the program.
//!
//! The rules know nothing of how the program works: two ends learn of each other by a third, send when they like, and answer to
//! whom they hear. Guessing ports is left out: an end whose port nobody can know can only be answered.

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
    /// Its outside port is the same for every remote end.
    steady: bool,
    filter: Filter,
    /// The addresses behind it are not those that others see.
    translated: bool,
    /// Ports are opened on request, and the result is public.
    mappable: bool,
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
    /// Nothing: there is no path without guessing ports or a relay.
    Nothing,
}

const PUBLIC: Border = Border {
    steady: true,
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
        match kind {
            SiteKind::Open => v4(PUBLIC),
            SiteKind::FullCone => filter(Filter::Open),
            SiteKind::AddressRestricted => filter(Filter::Address),
            SiteKind::SymmetricRandom | SiteKind::SymmetricSequential => v4(Border {
                steady: false,
                ..HOME
            }),
            SiteKind::UpnpRouter => v4(Border {
                mappable: true,
                ..HOME
            }),
            SiteKind::UdpBlocked => Self {
                udp: false,
                ..v4(HOME)
            },
            // Not even the peer that introduces can be reached, unless it listens on a port of the web.
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
        if self.steady && other.steady {
            return Some(Meeting::Punch);
        }
        either(|border| border.steady && border.filter <= Filter::Address)
            .then_some(Meeting::Answer)
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
        tcp: best.filter(|_| host.tcp && getter.tcp),
    }
}

/// What the program must reach.
pub(super) fn expected(host: SiteKind, getter: SiteKind, habit: Habit) -> Expected {
    let possible = possible(host, getter);
    let tcp_percent = match habit {
        Habit::Drop => 100,
        // A reset that arrives in time ends the attempt, and the router remembers whom it refused.
        Habit::Reject => 90,
    };
    match (possible.udp, possible.tcp) {
        (Some(_), _) => Expected::Direct {
            timed: is_timed(host) && is_timed(getter),
        },
        (None, Some(_)) => Expected::Tcp {
            percent: tcp_percent,
        },
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
        // Behind one NAT that does not hairpin, nothing but the local network leads to the other one.
        _ if together => false,
        "direct" => reached == Some(Meeting::Dial) || both_untranslated(host, getter),
        "pcp" | "nat-pmp" | "upnp" => reached.is_some() && (mapped(host) || mapped(getter)),
        "udp-hole-punch" => punched(host, getter, possible.udp),
        "tcp-hole-punch" => punched(host, getter, possible.tcp),
        // Both have to know the other's port before its first segment leaves.
        "tcp-simultaneous-open" => possible.tcp.is_some() && both_steady(host, getter),
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

fn both_steady(host: SiteKind, getter: SiteKind) -> bool {
    let (host, getter) = (Nature::of(host), Nature::of(getter));
    let steady = |one: Option<Border>, other: Option<Border>| {
        one.is_some_and(|border| border.steady) && other.is_some_and(|border| border.steady)
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
        }
    }
}

impl Possible {
    /// Words for tables: by what, and how.
    pub(super) fn words(self) -> String {
        match (self.udp, self.tcp) {
            (None, None) => "none".to_owned(),
            (Some(udp), None) => format!("UDP: {}", udp.word()),
            (None, Some(tcp)) => format!("TCP: {}", tcp.word()),
            (Some(udp), Some(_)) => udp.word().to_owned(),
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
                    let expected = expected(host, getter, habit);
                    assert_eq!(
                        expected,
                        Expected::Direct { timed: true },
                        "{host:?} {getter:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn unknown_ports_meet_filters_that_look_at_addresses() {
        let symmetric = SiteKind::SymmetricRandom;
        for lenient in &CONES[..3] {
            let direct = Expected::Direct { timed: false };
            assert_eq!(expected(symmetric, *lenient, Habit::Drop), direct);
            assert_eq!(expected(*lenient, symmetric, Habit::Reject), direct);
        }
        for strict in [
            SiteKind::PortRestricted,
            SiteKind::CarrierGrade,
            symmetric,
            SiteKind::UpnpPrivate,
        ] {
            assert_eq!(expected(symmetric, strict, Habit::Drop), Expected::Nothing);
        }
        let mapped = possible(symmetric, SiteKind::UpnpRouter);
        assert_eq!(mapped.udp, Some(Meeting::Mapping));
    }

    #[test]
    fn without_udp_there_is_tcp_unless_ports_are_unknown() {
        for other in CONES
            .into_iter()
            .chain([SiteKind::UdpBlocked, SiteKind::DualStack])
        {
            let of = |habit| expected(SiteKind::UdpBlocked, other, habit);
            assert_eq!(of(Habit::Drop), Expected::Tcp { percent: 100 });
            assert_eq!(of(Habit::Reject), Expected::Tcp { percent: 90 });
        }
        let symmetric = SiteKind::SymmetricRandom;
        assert_eq!(
            expected(SiteKind::UdpBlocked, symmetric, Habit::Drop),
            Expected::Nothing
        );
        assert_eq!(
            expected(SiteKind::Open, SiteKind::WebOnly, Habit::Drop),
            Expected::Nothing
        );
    }

    #[test]
    fn families_do_not_mix() {
        let timed = Expected::Direct { timed: true };
        let v6 = SiteKind::Ipv6Firewall;
        assert_eq!(expected(v6, v6, Habit::Reject), timed);
        assert_eq!(expected(v6, SiteKind::DualStack, Habit::Drop), timed);
        assert_eq!(expected(v6, SiteKind::Open, Habit::Drop), Expected::Nothing);
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
            ("udp-hole-punch", UpnpRouter, SymmetricRandom, false),
            ("udp-hole-punch", UdpBlocked, PortRestricted, false),
            ("tcp-hole-punch", UdpBlocked, PortRestricted, true),
            ("tcp-simultaneous-open", SymmetricRandom, Open, false),
            ("local", PortRestricted, PortRestricted, false),
        ] {
            assert_eq!(can(method, host, getter, false), possible, "{method}");
        }
        assert!(can("local", PortRestricted, PortRestricted, true));
        assert!(!can("udp-hole-punch", PortRestricted, PortRestricted, true));
    }
}
