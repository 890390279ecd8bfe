#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]

use super::*;
use crate::candidate::Transport;
use proptest::prelude::*;

const ALICE: LaneId = LaneId(1);
const BOB: LaneId = LaneId(2);
const EVE: LaneId = LaneId(3);

fn node(lane: LaneId) -> NodeId {
    NodeId::from_bytes([u8::try_from(lane.0).unwrap(); 32])
}

fn seen(number: u16) -> Observed {
    Observed {
        transport: Transport::Udp,
        addr: ([192, 0, 2, 1], number).into(),
    }
}

const fn instance(number: u8) -> InstanceId {
    InstanceId::from_bytes([number; 16])
}

/// A broker with a lane to each of three nodes, of which Alice and Bob are registered.
fn broker() -> Broker {
    let mut broker = Broker::new(BrokerLimits::default());
    for lane in [ALICE, BOB, EVE] {
        let from = seen(u16::try_from(lane.0).unwrap());
        broker.lane_up(Duration::ZERO, lane, node(lane), instance(0), from);
    }
    for lane in [ALICE, BOB] {
        let answers = register(&mut broker, lane);
        assert!(matches!(answers[..], [(_, Message::Registered { .. })]));
    }
    broker
}

fn ask(
    broker: &mut Broker,
    now: Duration,
    lane: LaneId,
    message: &Message,
) -> Vec<(LaneId, Message)> {
    let frames = broker.on_frame(now, lane, &message.encode());
    frames
        .into_iter()
        .map(|(lane, frame)| (lane, Message::decode(&frame).unwrap().unwrap()))
        .collect()
}

fn register(broker: &mut Broker, lane: LaneId) -> Vec<(LaneId, Message)> {
    register_as(broker, lane, &format!("prekey {}", lane.0))
}

fn register_as(broker: &mut Broker, lane: LaneId, prekey: &str) -> Vec<(LaneId, Message)> {
    let message = Message::Register {
        prekey: Bytes::copy_from_slice(prekey.as_bytes()),
        discreet: false,
    };
    ask(broker, Duration::ZERO, lane, &message)
}

fn introduction(to: NodeId) -> Message {
    Message::Introduce {
        request: 5,
        to,
        message: Bytes::from_static(b"sealed"),
    }
}

fn result(lane: LaneId, status: Status) -> (LaneId, Message) {
    let request = 5;
    (lane, Message::Result { request, status })
}

#[test]
fn introduces_who_is_registered_and_says_where_the_sender_is() {
    let mut broker = broker();
    let found = ask(
        &mut broker,
        Duration::ZERO,
        ALICE,
        &Message::Find {
            request: 4,
            node: node(BOB),
        },
    );
    let expected = Message::Found {
        request: 4,
        node: node(BOB),
        prekey: Bytes::from_static(b"prekey 2"),
    };
    assert_eq!(found, [(ALICE, expected)]);

    let frames = ask(&mut broker, Duration::ZERO, ALICE, &introduction(node(BOB)));
    let introduced = Message::Introduced {
        from: node(ALICE),
        observed: vec![seen(1)],
        message: Bytes::from_static(b"sealed"),
    };
    assert_eq!(frames, [(BOB, introduced), result(ALICE, Status::Done)]);
}

#[test]
fn of_who_is_discreet_nobody_learns_where_it_is() {
    let mut broker = broker();
    let observed = |broker: &mut Broker| {
        let frames = ask(broker, Duration::ZERO, ALICE, &introduction(node(BOB)));
        let told = frames.into_iter().find_map(|(_, message)| match message {
            Message::Introduced { observed, .. } => Some(observed),
            _ => None,
        });
        told.unwrap()
    };
    assert_eq!(observed(&mut broker), [seen(1)]);
    for (discreet, expected) in [(true, Vec::new()), (false, vec![seen(1)])] {
        let prekey = Bytes::from_static(b"prekey 1");
        let register = Message::Register { prekey, discreet };
        ask(&mut broker, Duration::ZERO, ALICE, &register);
        assert_eq!(observed(&mut broker), expected);
    }
}

#[test]
fn both_must_be_registered() {
    let mut broker = broker();
    let now = Duration::ZERO;
    let declined = ask(&mut broker, now, EVE, &introduction(node(BOB)));
    assert_eq!(declined, [result(EVE, Status::NotRegistered)]);
    let find = Message::Find {
        request: 5,
        node: node(BOB),
    };
    let declined = ask(&mut broker, now, EVE, &find);
    assert_eq!(declined, [result(EVE, Status::NotRegistered)]);
    let declined = ask(&mut broker, now, ALICE, &introduction(node(EVE)));
    assert_eq!(declined, [result(ALICE, Status::NotFound)]);

    // Taking it back.
    let withdraw = Message::Register {
        discreet: false,
        prekey: Bytes::new(),
    };
    ask(&mut broker, now, BOB, &withdraw);
    let declined = ask(&mut broker, now, ALICE, &introduction(node(BOB)));
    assert_eq!(declined, [result(ALICE, Status::NotFound)]);

    // Going.
    register(&mut broker, BOB);
    broker.lane_down(BOB);
    let declined = ask(&mut broker, now, ALICE, &introduction(node(BOB)));
    assert_eq!(declined, [result(ALICE, Status::NotFound)]);
    assert_eq!(broker.registered(), 1);
    let unknown = ask(&mut broker, now, BOB, &introduction(node(ALICE)));
    assert_eq!(unknown, []);
}

#[test]
fn all_lanes_of_the_sending_program_are_told_and_none_of_the_recipient() {
    let mut broker = broker();
    let now = Duration::ZERO;
    let mut up = |lane, of, program, from| {
        broker.lane_up(now, LaneId(lane), node(of), instance(program), seen(from));
    };
    up(11, ALICE, 0, 1001);
    up(12, ALICE, 0, 1001);
    up(13, ALICE, 9, 666);
    up(14, BOB, 0, 999);
    for more in 0..20_u16 {
        up(100 + u64::from(more), ALICE, 0, 2000 + more);
    }
    // Over a lane that never registered itself.
    let frames = ask(&mut broker, now, LaneId(11), &introduction(node(BOB)));
    let [(BOB, Message::Introduced { observed, .. }), (LaneId(11), _)] = &frames[..] else {
        panic!("{frames:?}");
    };
    assert_eq!(observed[..2], [seen(1001), seen(1)]);
    assert_eq!(observed.len(), Signal::MAX_OBSERVED);
    assert!(
        observed
            .iter()
            .all(|seen| ![666, 999, 2].contains(&seen.addr.port()))
    );
}

#[test]
fn each_program_of_a_node_gets_one_copy() {
    let mut broker = broker();
    let now = Duration::ZERO;
    for (lane, program) in [(20, 0), (21, 1), (22, 2), (23, 3), (24, 4)] {
        broker.lane_up(now, LaneId(lane), node(BOB), instance(program), seen(9));
        register_as(&mut broker, LaneId(lane), "another");
    }
    let frames = ask(&mut broker, now, ALICE, &introduction(node(BOB)));
    let lanes: Vec<_> = frames.iter().map(|(lane, _)| lane.0).collect();
    assert_eq!(lanes, [24, 23, 22, 21, ALICE.0]);
    broker.lane_down(LaneId(24));
    broker.lane_down(LaneId(20));
    let frames = ask(&mut broker, now, ALICE, &introduction(node(BOB)));
    let lanes: Vec<_> = frames.iter().map(|(lane, _)| lane.0).collect();
    assert_eq!(lanes, [23, 22, 21, BOB.0, ALICE.0]);
}

#[test]
fn nobody_is_introduced_to_itself() {
    let mut broker = broker();
    let declined = ask(
        &mut broker,
        Duration::ZERO,
        ALICE,
        &introduction(node(ALICE)),
    );
    assert_eq!(declined, [result(ALICE, Status::NotFound)]);
}

#[test]
fn a_lane_has_a_rate() {
    let mut broker = broker();
    let find = Message::Find {
        request: 5,
        node: node(BOB),
    };
    let mut found = 0;
    for step in 0..10_000 {
        let now = Duration::from_micros(step * 1000);
        let answers = ask(&mut broker, now, ALICE, &find);
        assert_eq!(answers.len(), 1);
        found += usize::from(matches!(answers[0].1, Message::Found { .. }));
    }
    // 32 at once, one of them to register, and 16 a second.
    assert!((31 + 159..=31 + 160).contains(&found), "{found}");
}

#[test]
fn a_pair_and_a_recipient_have_rates() {
    let mut broker = broker();
    let handed_on = |broker: &mut Broker, now, from: LaneId| {
        let frames = ask(broker, now, from, &introduction(node(BOB)));
        frames.iter().any(|(lane, _)| *lane == BOB)
    };
    let second = Duration::from_secs(1);
    let first = (0..30)
        .filter(|_| handed_on(&mut broker, second, ALICE))
        .count();
    assert_eq!(first, 16);

    // Two hundred senders, each within its own rates.
    let mut total = 0;
    for number in 30..230 {
        let lane = LaneId(number);
        broker.lane_up(second, lane, node(lane), instance(0), seen(7));
        register_as(&mut broker, lane, "x");
        total += (0..3)
            .filter(|_| handed_on(&mut broker, second, lane))
            .count();
    }
    assert_eq!(first + total, 128);
    assert!(!handed_on(&mut broker, second, EVE));
    assert!(handed_on(&mut broker, 2 * second, LaneId(30)));
    assert!(
        broker.pairs.len() <= 2,
        "{} pairs are remembered",
        broker.pairs.len()
    );
}

#[test]
fn registrations_are_bounded() {
    let limits = BrokerLimits {
        registered: 2,
        ..BrokerLimits::default()
    };
    let mut broker = Broker::new(limits);
    for lane in [ALICE, BOB, EVE] {
        broker.lane_up(Duration::ZERO, lane, node(lane), instance(0), seen(1));
    }
    register(&mut broker, ALICE);
    register(&mut broker, BOB);
    let declined = register(&mut broker, EVE);
    let full = Message::Result {
        request: 0,
        status: Status::Full,
    };
    assert_eq!(declined, [(EVE, full)]);
    assert!(matches!(
        register(&mut broker, BOB)[0].1,
        Message::Registered { .. }
    ));
    broker.lane_down(ALICE);
    assert!(matches!(
        register(&mut broker, EVE)[0].1,
        Message::Registered { .. }
    ));
}

#[test]
fn too_large_is_declined() {
    let mut broker = broker();
    let mut payload = node(BOB).as_bytes().to_vec();
    payload.resize(32 + crate::signaling::MAX_SIGNAL + 1, 0);
    let kind = introduction(node(BOB)).encode().kind;
    let frames = broker.on_frame(Duration::ZERO, ALICE, &Frame::new(kind, 5, payload.into()));
    let [(ALICE, frame)] = &frames[..] else {
        panic!("{frames:?}");
    };
    let (_, malformed) = result(ALICE, Status::Malformed);
    assert_eq!(Message::decode(frame), Ok(Some(malformed)));
}

proptest! {
    /// Whatever happens in whatever order: at most one answer and a few copies, and nothing left when all have gone.
    #[test]
    fn any_events_leave_nothing_behind(events in proptest::collection::vec((0..4u8, 0..6u64, 0..4u8, 0x3Eu16..0x50, proptest::collection::vec(any::<u8>(), 0..80)), 0..200)) {
        let mut broker = Broker::new(BrokerLimits::default());
        for (step, (event, lane, who, kind, mut payload)) in events.into_iter().enumerate() {
            let now = Duration::from_millis(step as u64 * 20);
            let lane = LaneId(lane);
            match event {
                0 => broker.lane_up(now, lane, NodeId::from_bytes([who; 32]), instance(who % 2), seen(1)),
                1 => broker.lane_down(lane),
                _ => {
                    let named = payload.len().min(32);
                    payload[..named].fill(who);
                    let sent = broker.on_frame(now, lane, &Frame::new(dig_types::FrameType(kind), 1, payload.into()));
                    prop_assert!(sent.len() <= 1 + Broker::MAX_PROGRAMS);
                    prop_assert!(sent.iter().all(|(lane, _)| broker.lanes.contains_key(lane)));
                }
            }
            prop_assert!(broker.nodes.values().all(|node| !node.lanes.is_empty()));
        }
        for lane in 0..6 {
            broker.lane_down(LaneId(lane));
        }
        prop_assert!(broker.nodes.is_empty() && broker.programs.is_empty() && broker.lanes.is_empty());
    }
}
