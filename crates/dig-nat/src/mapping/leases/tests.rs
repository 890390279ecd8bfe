//! Leases in virtual time: a router that is a few lines, and hours that take microseconds.

use super::*;
use dig_types::Method;
use proptest::prelude::*;

const PORT: u16 = 40000;
const LEASE: Duration = Duration::from_secs(7200);
const OWN: [Option<IpAddr>; 2] = [Some(v4([192, 168, 1, 20])), None];
const OUTSIDE: IpAddr = v4([44, 128, 0, 2]);
const UDP: Want = Want {
    ipv6: false,
    transport: Transport::Udp,
};
const TCP: Want = Want {
    ipv6: false,
    transport: Transport::Tcp,
};

const fn v4([a, b, c, d]: [u8; 4]) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d))
}

const fn secs(secs: u64) -> Now {
    Duration::from_secs(secs)
}

const fn millis(millis: u64) -> Now {
    Duration::from_millis(millis)
}

fn leases(protocols: &[Protocol]) -> Leases {
    Leases::new(Now::ZERO, protocols, PORT, LEASE, OWN, 7)
}

fn granted(port: u16) -> Granted {
    Granted {
        external: Some(OUTSIDE),
        port,
        lifetime: Some(LEASE),
        epoch: None,
        token: None,
    }
}

fn asks(leases: &mut Leases, now: Now) -> Vec<Ask> {
    std::iter::from_fn(|| leases.poll(now)).collect()
}

/// (slot, outside port, lease) of every mapping asked for.
fn maps(asks: &[Ask]) -> Vec<(Slot, u16, Option<Duration>)> {
    let map = |ask: &Ask| match *ask {
        Ask::Find(_) => None,
        Ask::Map {
            slot,
            external_port,
            lease,
            ..
        } => Some((slot, external_port, lease)),
    };
    asks.iter().filter_map(map).collect()
}

const fn way(protocol: Protocol) -> Way {
    let ipv6 = false;
    Way { protocol, ipv6 }
}

const fn slot(protocol: Protocol, want: Want) -> Slot {
    Slot { protocol, want }
}

/// Answers whatever is asked until nothing is, then goes to the next deadline; until `end`. Returns when what was asked for.
fn drive(
    leases: &mut Leases,
    mut now: Now,
    end: Now,
    mut answer: impl FnMut(Now, Ask) -> Result<Granted, Refusal>,
) -> Vec<(Now, Ask)> {
    let mut log = Vec::new();
    loop {
        while let Some(ask) = leases.poll(now) {
            log.push((now, ask));
            let result = answer(now, ask);
            match ask {
                Ask::Find(way) => leases.found(now, way, result.map(drop)),
                Ask::Map { slot, .. } => assert_eq!(leases.answered(now, slot, result), None),
            }
        }
        match leases.wake() {
            Some(wake) if wake <= end => now = now.max(wake),
            _ => return log,
        }
    }
}

#[test]
fn everything_is_looked_for_at_once() {
    let mut leases = leases(&Protocol::ALL);
    let asks = asks(&mut leases, Now::ZERO);
    assert!(asks.contains(&Ask::Find(way(Protocol::NatPmp))));
    assert!(asks.contains(&Ask::Find(way(Protocol::Upnp))));
    let pcp = [UDP, TCP].map(|want| (slot(Protocol::Pcp, want), PORT, Some(LEASE)));
    assert_eq!(maps(&asks), pcp);
}

#[test]
fn each_transport_is_mapped_once_by_the_most_preferred() {
    let mut leases = leases(&Protocol::ALL);
    let log = drive(&mut leases, Now::ZERO, secs(60), |_, _| Ok(granted(PORT)));
    let mapped: Vec<_> = log.iter().map(|(_, ask)| *ask).collect();
    let slots: Vec<_> = maps(&mapped).iter().map(|(slot, ..)| *slot).collect();
    assert_eq!(slots, [UDP, TCP].map(|want| slot(Protocol::Pcp, want)));
    let mappings = leases.mappings();
    assert_eq!(mappings.len(), 2);
    for mapping in mappings {
        assert_eq!(mapping.method, Method::Pcp);
        assert_eq!(mapping.external, SocketAddr::new(OUTSIDE, PORT));
        assert_eq!(mapping.internal.to_string(), "192.168.1.20:40000");
        assert_eq!(mapping.verified, Verified::Unconfirmed);
        assert!(mapping.is_advertised());
    }
    let states: Vec<_> = leases
        .status()
        .into_iter()
        .map(|status| status.state)
        .collect();
    assert_eq!(
        states,
        [
            MethodState::Mapped,
            MethodState::Available,
            MethodState::Available
        ]
    );
}

#[test]
fn a_silent_protocol_holds_the_next_back_only_for_its_head_start() {
    let mut leases = leases(&[Protocol::Pcp, Protocol::Upnp]);
    assert_eq!(asks(&mut leases, Now::ZERO).len(), 3);
    leases.found(millis(30), way(Protocol::Upnp), Ok(()));
    assert_eq!(asks(&mut leases, millis(30)), []);
    assert_eq!(leases.wake(), Some(HEAD_START));
    let upnp = [UDP, TCP].map(|want| (slot(Protocol::Upnp, want), PORT, Some(LEASE)));
    assert_eq!(maps(&asks(&mut leases, HEAD_START)), upnp);
}

#[test]
fn a_refusal_lets_the_next_begin_at_once() {
    let mut leases = leases(&[Protocol::Pcp, Protocol::NatPmp]);
    asks(&mut leases, Now::ZERO);
    leases.found(millis(2), way(Protocol::NatPmp), Ok(()));
    for want in [UDP, TCP] {
        leases.answered(
            millis(3),
            slot(Protocol::Pcp, want),
            Err(Refusal::Unsupported),
        );
    }
    assert_eq!(maps(&asks(&mut leases, millis(3))).len(), 2);
}

#[test]
fn leases_are_renewed_at_half_time_and_again_at_half_of_what_is_left() {
    let mut leases = leases(&[Protocol::Pcp]);
    let mut broken = false;
    let mut renewals = Vec::new();
    drive(&mut leases, Now::ZERO, secs(14000), |now, ask| {
        if matches!(ask, Ask::Map { slot, .. } if slot.want == UDP) {
            renewals.push(now.as_secs());
        }
        broken = now >= secs(3600);
        if broken {
            Err(Refusal::NoAnswer)
        } else {
            Ok(granted(PORT))
        }
    });
    assert_eq!(renewals[..4], [0, 3600, 5400, 6300]);
    // It was believed until it ran out, and then wanted anew.
    let expired = renewals.iter().position(|at| *at >= 7200).unwrap();
    assert_eq!(renewals[expired], 7200);
    assert!(
        renewals[..expired]
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= MIN_RENEWAL.as_secs())
    );
    assert_eq!(leases.mappings(), []);
}

#[test]
fn what_runs_out_is_no_longer_listed() {
    let mut leases = leases(&[Protocol::Pcp]);
    drive(&mut leases, Now::ZERO, secs(0), |_, _| Ok(granted(PORT)));
    assert_eq!(leases.mappings().len(), 2);
    drive(&mut leases, secs(3600), secs(7199), |_, _| {
        Err(Refusal::NoAnswer)
    });
    assert_eq!(leases.mappings().len(), 2);
    drive(&mut leases, secs(7200), secs(7200), |_, _| {
        Err(Refusal::NoAnswer)
    });
    assert_eq!(leases.mappings(), []);
    let state = leases.status()[0].state.clone();
    assert_eq!(state, MethodState::Refused(Refusal::NoAnswer));
}

#[test]
fn a_taken_port_is_replaced_by_the_same_one_for_both_transports() {
    let mut leases = leases(&[Protocol::Upnp]);
    let log = drive(&mut leases, Now::ZERO, secs(1), |_, ask| match ask {
        Ask::Map {
            external_port: PORT,
            ..
        } => Err(Refusal::Conflict),
        Ask::Map { external_port, .. } => Ok(granted(external_port)),
        Ask::Find(_) => Ok(granted(0)),
    });
    let ports: Vec<_> = maps(&log.iter().map(|(_, ask)| *ask).collect::<Vec<_>>())
        .iter()
        .map(|(_, port, _)| *port)
        .collect();
    let other = other_port(7, 1);
    assert_eq!(ports, [PORT, other, PORT, other]);
    assert!(other >= 1024 && other != PORT);
    assert_eq!(leases.mappings()[0].external.port(), other);
    // A renewal keeps it.
    let renewal = maps(&asks(&mut leases, LEASE / 2));
    assert_eq!(renewal[0].1, other);
}

#[test]
fn a_router_where_everything_is_taken_is_asked_a_few_times_only() {
    let mut leases = leases(&[Protocol::Upnp]);
    let log = drive(&mut leases, Now::ZERO, secs(30), |_, ask| match ask {
        Ask::Map { .. } => Err(Refusal::Conflict),
        Ask::Find(_) => Ok(granted(0)),
    });
    assert_eq!(log.len(), 1 + 2 * MAX_PORTS as usize);
    let state = leases.status()[0].state.clone();
    assert_eq!(
        leases.status()[2].state,
        MethodState::Refused(Refusal::Conflict)
    );
    assert_eq!(state, MethodState::Off);
}

#[test]
fn permanent_mappings_are_taken_where_there_is_nothing_else_and_removed_at_the_end() {
    let mut leases = leases(&[Protocol::Upnp]);
    drive(&mut leases, Now::ZERO, secs(1), |_, ask| match ask {
        Ask::Map { lease: Some(_), .. } => Err(Refusal::OnlyPermanent),
        _ => Ok(Granted {
            lifetime: None,
            ..granted(PORT)
        }),
    });
    assert_eq!(leases.mappings()[0].lifetime, None);
    // Still asked for now and then: a router that started anew has lost it.
    let renewal = maps(&asks(&mut leases, LEASE / 2));
    assert_eq!(renewal.len(), 2);
    assert_eq!(renewal[0].2, None);
    let removals = leases.close();
    let slots: Vec<_> = removals.iter().map(|removal| removal.slot).collect();
    assert_eq!(slots, [UDP, TCP].map(|want| slot(Protocol::Upnp, want)));
}

#[test]
fn what_a_router_forgot_is_mapped_again() {
    let mut leases = leases(&[Protocol::Pcp]);
    let with_epoch = |epoch| Granted {
        epoch: Some(epoch),
        ..granted(PORT)
    };
    drive(&mut leases, Now::ZERO, secs(0), |_, _| {
        Ok(with_epoch(100_000))
    });
    // One of them is renewed, and the router's clock began anew; the other one follows at once.
    let renewed = slot(Protocol::Pcp, UDP);
    assert_eq!(maps(&asks(&mut leases, secs(3600))).len(), 2);
    leases.answered(
        secs(3600),
        slot(Protocol::Pcp, TCP),
        Ok(with_epoch(103_600)),
    );
    leases.answered(secs(3605), renewed, Ok(with_epoch(5)));
    let again = maps(&asks(&mut leases, secs(3605)));
    assert_eq!(again, [(slot(Protocol::Pcp, TCP), PORT, Some(LEASE))]);
    leases.answered(secs(3605), slot(Protocol::Pcp, TCP), Ok(with_epoch(5)));
    assert_eq!(asks(&mut leases, secs(3700)), []);
}

#[test]
fn a_router_that_makes_up_its_clock_is_not_asked_more_often_than_every_few_seconds() {
    let mut leases = leases(&[Protocol::Pcp]);
    let mut epoch = 0_u32;
    let log = drive(&mut leases, Now::ZERO, secs(400), |_, _| {
        epoch = epoch.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Ok(Granted {
            epoch: Some(epoch),
            ..granted(PORT)
        })
    });
    assert!(
        log.len() <= 2 * (400 / MIN_RENEWAL.as_secs() as usize + 1),
        "{}",
        log.len()
    );
}

#[test]
fn the_outside_address_is_compared_with_what_others_see() {
    let mut leases = leases(&[Protocol::Pcp]);
    drive(&mut leases, Now::ZERO, secs(0), |_, _| Ok(granted(PORT)));
    let verified = |leases: &Leases| leases.mappings()[0].verified;
    assert_eq!(verified(&leases), Verified::Unconfirmed);
    // A peer on the same network tells nothing about the router.
    leases.seen(secs(1), v4([192, 168, 1, 20]));
    leases.seen(secs(1), "2a0d::1".parse().unwrap());
    assert_eq!(verified(&leases), Verified::Unconfirmed);
    leases.seen(secs(1), "::ffff:44.128.0.2".parse().unwrap());
    assert_eq!(verified(&leases), Verified::Confirmed);
    assert_eq!(asks(&mut leases, secs(1)), []);
    let seen = v4([44, 128, 0, 9]);
    leases.seen(secs(2), seen);
    assert_eq!(verified(&leases), Verified::Contradicted { seen });
    assert!(!leases.mappings()[0].is_advertised());
    // It is asked once more, as its address may have changed; and then as usual.
    assert_eq!(leases.wake(), Some(RECHECK));
    let log = drive(&mut leases, secs(2), secs(600), |_, _| {
        Ok(Granted {
            external: Some(seen),
            ..granted(PORT)
        })
    });
    assert_eq!(log.len(), 2);
    assert_eq!(verified(&leases), Verified::Confirmed);
}

#[test]
fn a_private_outside_address_is_kept_and_not_advertised() {
    for outside in ["10.0.0.5", "100.64.3.4", "203.0.113.2", "0.0.0.0"] {
        let mut leases = leases(&[Protocol::NatPmp]);
        let external = Some(outside.parse().unwrap());
        drive(&mut leases, Now::ZERO, secs(1), |_, _| {
            Ok(Granted {
                external,
                ..granted(PORT)
            })
        });
        let mapping = leases.mappings()[0];
        assert_eq!(mapping.verified, Verified::NotPublic);
        assert!(!mapping.is_advertised());
        leases.seen(secs(1), OUTSIDE);
        assert_eq!(leases.mappings()[0].verified, Verified::NotPublic);
        assert_eq!(leases.close().len(), 2);
    }
}

#[test]
fn a_router_that_keeps_its_address_to_itself_is_at_the_one_that_others_see() {
    let mut leases = leases(&[Protocol::Upnp]);
    drive(&mut leases, Now::ZERO, secs(1), |_, _| {
        Ok(Granted {
            external: None,
            ..granted(PORT)
        })
    });
    assert_eq!(leases.mappings(), []);
    leases.seen(secs(1), OUTSIDE);
    assert_eq!(
        leases.mappings()[0].external,
        SocketAddr::new(OUTSIDE, PORT)
    );
}

#[test]
fn what_is_granted_after_the_end_is_removed_too() {
    let mut leases = leases(&[Protocol::Upnp]);
    asks(&mut leases, Now::ZERO);
    leases.found(millis(10), way(Protocol::Upnp), Ok(()));
    assert_eq!(maps(&asks(&mut leases, millis(10))).len(), 2);
    assert_eq!(leases.close(), []);
    assert_eq!(leases.asking().count(), 2);
    let udp = slot(Protocol::Upnp, UDP);
    let removal = leases.answered(millis(20), udp, Ok(granted(PORT)));
    assert_eq!(removal.map(|removal| removal.slot), Some(udp));
    let tcp = slot(Protocol::Upnp, TCP);
    assert_eq!(
        leases.answered(millis(20), tcp, Err(Refusal::Conflict)),
        None
    );
    assert_eq!(asks(&mut leases, millis(30)), []);
    assert_eq!(leases.wake(), None);
}

#[test]
fn a_router_that_went_away_is_looked_for_again() {
    let mut leases = leases(&[Protocol::Upnp]);
    let mut finds = Vec::new();
    drive(&mut leases, Now::ZERO, secs(3600), |now, ask| {
        if matches!(ask, Ask::Find(_)) {
            finds.push(now.as_secs());
            return Ok(granted(0));
        }
        Err(Refusal::NoAnswer)
    });
    assert_eq!(finds[..4], [0, 60, 180, 420]);
}

#[test]
fn pinholes_are_wanted_where_there_is_an_ipv6_address() {
    let own = [OWN[0], Some("2a0d::20".parse().unwrap())];
    let mut leases = Leases::new(Now::ZERO, &Protocol::ALL, PORT, LEASE, own, 7);
    drive(&mut leases, Now::ZERO, secs(1), |_, ask| match ask {
        Ask::Map { slot, .. } if slot.want.ipv6 => Ok(Granted {
            external: own[1],
            token: Some(9),
            ..granted(PORT)
        }),
        _ => Ok(granted(PORT)),
    });
    let external: Vec<_> = leases
        .mappings()
        .iter()
        .map(|mapping| mapping.external.ip())
        .collect();
    assert_eq!(
        external,
        [OUTSIDE, OUTSIDE, own[1].unwrap(), own[1].unwrap()]
    );
    assert_eq!(
        leases.close().last().and_then(|removal| removal.token),
        Some(9)
    );
}

/// Outside address, port, lifetime and epoch; or an error.
type Said = Result<(Option<[u8; 4]>, u16, Option<u32>, Option<u32>), u8>;

/// What a router of the property test says.
fn answers() -> impl Strategy<Value = Said> {
    let good = (
        any::<Option<[u8; 4]>>(),
        any::<u16>(),
        any::<Option<u32>>(),
        any::<Option<u32>>(),
    );
    prop_oneof![good.prop_map(Ok), any::<u8>().prop_map(Err)]
}

proptest! {
    /// Whatever a router says: no panic, no more than one question a slot at a time, no busy loop, and all that it may
    /// still hold is removed at the end.
    #[test]
    fn no_router_gets_us_to_misbehave(answers in prop::collection::vec(answers(), 1..40), seed in any::<u64>()) {
        let mut leases = Leases::new(Now::ZERO, &Protocol::ALL, PORT, LEASE, OWN, seed);
        let refusals = [
            Refusal::NoAnswer, Refusal::Conflict, Refusal::OnlyPermanent, Refusal::SamePortOnly, Refusal::Unsupported,
            Refusal::Nonsense,
        ];
        let mut n = 0;
        let log = drive(&mut leases, Now::ZERO, secs(1000), |_, _| {
            let answer = answers[n % answers.len()];
            n += 1;
            let refusal = |code: u8| refusals[usize::from(code) % refusals.len()].clone();
            let (external, port, lifetime, epoch) = answer.map_err(refusal)?;
            let lifetime = lifetime.map(|secs| Duration::from_secs(secs.into()));
            Ok(Granted { external: external.map(v4), port, lifetime, epoch, token: None })
        });
        // Six slots, at most one question in four seconds each, and a burst of ports after each failure.
        prop_assert!(log.len() < 3 + 6 * (1000 / 4 + 100), "{}", log.len());
        let held = leases.cells.values().filter(|cell| cell.held.is_some()).count();
        prop_assert_eq!(leases.close().len(), held);
        prop_assert!(leases.mappings().is_empty());
    }
}
