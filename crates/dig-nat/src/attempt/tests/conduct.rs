//! How an attempt behaves towards its driver, its peer and strangers.

use super::*;
use crate::{
    attempt::{
        Attempt, CHECK, Failure, Glare, Message, Offer, Output, Port, StreamEvent, StreamFailure,
        StreamId,
    },
    trace::AttemptId,
};
use dig_types::NodeId;
use proptest::prelude::*;

fn home(habit: Habit) -> Kind {
    Kind::Nat(NatConfig::port_restricted().with_habit(habit))
}

/// A world in which sessions do not come about over the first paths.
fn picky(case: &Case) -> World {
    let mut world = case.world();
    world.confirm = false;
    world.start(|world, at| case.gather(world, at));
    world
}

#[test]
fn a_rejected_path_is_followed_by_another_until_none_is_left() {
    let case = Case::new(
        4,
        Kind::Mapped(NatConfig::port_restricted(), Method::Pcp),
        home(Habit::Drop),
    );
    let mut world = picky(&case);
    let mut tried = Vec::new();
    let mut now = Duration::ZERO;
    while world.peers[0].ended.is_none() {
        now += Duration::from_millis(250);
        assert!(
            now < Duration::from_secs(60),
            "it never ends: {}",
            Context {
                case: &case,
                world: &world
            }
        );
        world.run(now);
        if let Some(path) = path(&world).filter(|path| !tried.contains(path)) {
            tried.push(path);
            let at = world.now;
            world.peers[0]
                .attempt
                .as_mut()
                .unwrap()
                .reject_path(at, &path);
            world.flush(0);
        }
    }
    let context = Context {
        case: &case,
        world: &world,
    };
    assert!(tried.len() >= 3, "{tried:?}: {context}");
    assert_eq!(tried[0].method, Method::Pcp);
    assert!(
        tried.iter().any(|path| path.method == Method::UdpHolePunch),
        "{tried:?}: {context}"
    );
    assert_eq!(
        world.peers[0].ended.as_ref().unwrap().1,
        Ended::Failed(Failure::NoPath)
    );
    let trace = world.peers[0].attempt.as_ref().unwrap().trace();
    assert!(
        trace
            .methods
            .iter()
            .all(|run| !matches!(run.outcome, Outcome::Connected | Outcome::Running)),
        "{context}"
    );
}

#[test]
fn a_mapping_that_comes_late_is_used() {
    let late = |at: usize| {
        let kinds = [
            Kind::Nat(NatConfig::symmetric_random()),
            Kind::Nat(NatConfig::symmetric_random()),
        ];
        let case = Case::new(6, kinds[0].clone(), kinds[1].clone());
        let mut world = picky(&case);
        world.run(Duration::from_millis(600));
        assert_eq!(path(&world), None);
        let external: SocketAddr = ["44.128.1.1:7777", "44.128.2.1:7777"][at].parse().unwrap();
        pin(&mut world.sites[at].layers[0], external, case.inside(at));
        let candidate = Candidate {
            kind: CandidateKind::Mapped(Method::Upnp),
            transport: Transport::Udp,
            addr: external,
        };
        let now = world.now;
        world.peers[at]
            .attempt
            .as_mut()
            .unwrap()
            .add_candidate(now, candidate);
        world.flush(at);
        world.run(Duration::from_secs(3));
        let context = Context {
            case: &case,
            world: &world,
        };
        assert_eq!(
            path(&world).map(|path| path.method),
            Some(Method::Upnp),
            "{at}: {context}"
        );
    };
    late(0);
    late(1);
}

/// Why openers must not reach the other side: what the default would be without them.
#[test]
fn openers_that_live_too_long_spoil_the_path_where_routers_reject() {
    let case = Case::new(6, home(Habit::Reject), home(Habit::Reject)).alone(Method::UdpHolePunch);
    let mut world = case.world();
    world.peers[1].config.opener_ttl = 64;
    world.start(|world, at| case.gather(world, at));
    world.run(Duration::from_secs(60));
    assert_eq!(path(&world), None);
}

#[test]
fn without_an_answer_it_says_so() {
    let case = Case {
        loss: 1.0,
        ..Case::new(6, Kind::Open, Kind::Open)
    };
    let world = case.run();
    assert_eq!(
        world.peers[0].ended,
        Some((Duration::from_secs(5), Ended::Failed(Failure::NoSignal)))
    );
    assert_eq!(world.signals, [10, 0]);
}

#[test]
fn no_common_method_is_refused() {
    let mut config = AttemptConfig::new([1; 32]);
    config.methods = vec![Method::Local];
    let party = (NodeId::from_bytes([1; 32]), AttemptId([9; 16]));
    let mut offering = Attempt::initiate(
        Duration::ZERO,
        config,
        super::super::Local::default(),
        party.0,
        party.1,
    );
    let offer = offer_of(&mut offering);
    let mut config = AttemptConfig::new([2; 32]);
    config.methods = vec![Method::Direct];
    let answer = Attempt::respond(
        Duration::ZERO,
        config,
        super::super::Local::default(),
        party,
        offer,
        &[],
    );
    assert_eq!(answer.err(), Some(super::super::OfferRefused::NoMethod));
}

fn offer_of(attempt: &mut Attempt) -> Offer {
    let Some(Output::Signal(bytes)) = attempt.poll() else {
        panic!("no offer")
    };
    let Ok(Message::Offer(offer)) = Message::decode(&bytes) else {
        panic!("no offer")
    };
    offer
}

#[test]
fn of_two_offers_that_cross_one_stands() {
    let (low, high) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
    assert_eq!(Glare::between(low, high), Glare::Keep);
    assert_eq!(Glare::between(high, low), Glare::Yield);
}

/// An attempt of each side, both having heard of one another.
fn pair() -> [Attempt; 2] {
    let case = Case::new(1, home(Habit::Drop), home(Habit::Drop));
    let mut world = picky(&case);
    world.run(Duration::from_millis(60));
    let mut attempts = world.peers.into_iter().map(|peer| peer.attempt.unwrap());
    [attempts.next().unwrap(), attempts.next().unwrap()]
}

/// Every datagram that a stranger could make without the key, and every one that he could overhear and send back.
#[test]
fn strangers_get_no_answer() {
    let [mut a, mut b] = pair();
    let now = Duration::from_millis(61);
    let stranger: SocketAddr = "44.66.6.6:6".parse().unwrap();
    let drain = |attempt: &mut Attempt| std::iter::from_fn(|| attempt.poll()).collect::<Vec<_>>();
    drain(&mut a);
    drain(&mut b);
    let mut forged = vec![0; CHECK];
    forged[..8].copy_from_slice(&super::super::MAGIC);
    forged[8..16].copy_from_slice(&b.tag().0);
    for (at, value) in [(16, 0), (16, 1), (17, 1), (18, 7)] {
        forged[at] = value;
        b.on_datagram(now, Port::Shared, stranger, &forged);
        a.on_datagram(now, Port::Shared, stranger, &forged);
    }
    assert!(
        drain(&mut a)
            .iter()
            .chain(&drain(&mut b))
            .all(|output| !aims_at(output, stranger))
    );
    // What the initiator says, said to the initiator.
    a.on_timeout(now + Duration::from_millis(100));
    for output in drain(&mut a) {
        if let Output::Datagram { bytes, .. } = output {
            a.on_datagram(now, Port::Shared, stranger, &bytes);
        }
    }
    assert!(
        drain(&mut a)
            .iter()
            .all(|output| !aims_at(output, stranger))
    );
    assert_eq!(a.on_accept(now, stranger, &[0; 64]), None);
}

fn aims_at(output: &Output, stranger: SocketAddr) -> bool {
    matches!(output, Output::Datagram { to, .. } if *to == stranger)
}

#[test]
fn signals_may_come_twice_and_in_any_order() {
    for seed in 0..50 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let habit = if rng.bool() {
            Habit::Drop
        } else {
            Habit::Reject
        };
        let case = Case::new(seed, home(habit), home(habit));
        let case = Case {
            signal_jitter: Duration::from_millis(40),
            ..case
        };
        let mut world = case.world();
        world.repeat_signals = true;
        world.start(|world, at| case.gather(world, at));
        world.run(Duration::from_secs(60));
        let context = Context {
            case: &case,
            world: &world,
        };
        let path = path(&world).unwrap_or_else(|| panic!("no path: {context}"));
        check_path(&case, &world, path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Calls in any order, with any arguments, at any time.
    #[test]
    fn misuse_does_no_harm(calls in prop::collection::vec((0u8..12, any::<u8>(), 0u64..2000), 0..200)) {
        for mut attempt in pair() {
            let mut last = Vec::new();
            let mut datagrams = 0;
            for (call, value, time) in &calls {
                let now = Duration::from_millis(*time);
                let addr = SocketAddr::new([44, 128, *value % 4, 1].into(), u16::from(*value) + 1);
                let stream = StreamId(u32::from(*value % 8));
                match call {
                    0 => attempt.on_timeout(now),
                    1 => attempt.on_signal(now, &[1, *value % 8, *value, 1 + *value % 8], &[]),
                    2 => attempt.on_datagram(now, Port::Shared, addr, &[*value; CHECK]),
                    3 => attempt.on_stream(now, stream, StreamEvent::Connected { local: addr, remote: addr }),
                    4 => attempt.on_stream(now, stream, StreamEvent::Failed(StreamFailure::Refused)),
                    5 => attempt.on_stream(now, stream, StreamEvent::Preamble([*value; 64])),
                    6 => drop(attempt.on_accept(now, addr, &[*value; 64])),
                    7 if *value < 8 => attempt.stop(now),
                    7 => attempt.confirm(now),
                    8 => attempt.add_candidate(now, Candidate {
                        kind: CandidateKind::ServerReflexive, transport: Transport::Udp, addr,
                    }),
                    9 => attempt.on_ports(now, u16::from(*value) * 200, None),
                    10 => attempt.on_spray(now, u16::from(*value) * 200),
                    _ => last.extend(std::iter::from_fn(|| attempt.poll())),
                }
                if let Some(deadline) = attempt.deadline() {
                    prop_assert!(deadline <= Duration::from_secs(60));
                }
            }
            last.extend(std::iter::from_fn(|| attempt.poll()));
            for output in &last {
                datagrams += usize::from(matches!(output, Output::Datagram { .. }));
            }
            prop_assert!(datagrams <= 100);
            let ends = last.iter().filter(|output| matches!(output, Output::Ended(_))).count();
            prop_assert_eq!(ends, usize::from(attempt.has_ended()));
        }
    }
}

/// Carriers ask for few messages.
#[test]
fn a_race_says_little() {
    for habit in [Habit::Drop, Habit::Reject] {
        let case = Case::new(2, home(habit), home(habit));
        let world = case.run();
        check_path(&case, &world, path(&world).unwrap());
        let took = took(&world);
        assert!(took <= case.rtt() * 3 / 2, "{took:?}");
        let [initiator, responder] = world.signals;
        assert!(initiator <= 5 && responder <= 3, "{:?}", world.signals);
        let blocked = Case::new(2, Kind::NoUdp(NatConfig::port_restricted()), home(habit));
        let world = blocked.run();
        let [initiator, responder] = world.signals;
        println!("{:?}", world.signals);
        assert!(initiator <= 12 && responder <= 8, "{:?}", world.signals);
    }
}
