#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]

use super::*;
use crate::{candidate::Transport, signaling::prekey::Prekeys};
use dig_identity::{Algorithm, CryptoIdentity, Signer};
use dig_types::Timestamp;
use proptest::prelude::*;

const ONE: LaneId = LaneId(1);
const TWO: LaneId = LaneId(2);
const NOW: Duration = Duration::from_secs(100);

fn carrier(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// A node and the prekey that it signed.
fn bob() -> (NodeId, Bytes) {
    let identity = CryptoIdentity::generate(Algorithm::Ed25519).unwrap();
    let prekeys = Prekeys::new(Timestamp::from_millis(1_800_000_000_000), &identity).unwrap();
    (identity.node_id(), prekeys.current().bytes().clone())
}

/// A client of two carriers, whose registrations have been sent.
fn client() -> Client {
    let mut client = Client::new(Bytes::from_static(b"own prekey"));
    client.lane_up(ONE, carrier(1));
    client.lane_up(TWO, carrier(2));
    let sent = sent(&mut client);
    let prekey = Bytes::from_static(b"own prekey");
    let register = Message::Register {
        prekey,
        discreet: false,
    };
    assert_eq!(sent, [(ONE, register.clone()), (TWO, register)]);
    client
}

fn sent(client: &mut Client) -> Vec<(LaneId, Message)> {
    std::iter::from_fn(|| client.poll_transmit())
        .map(|(lane, frame)| (lane, Message::decode(&frame).unwrap().unwrap()))
        .collect()
}

fn events(client: &mut Client) -> Vec<Event> {
    std::iter::from_fn(|| client.poll_event()).collect()
}

fn receive(client: &mut Client, lane: LaneId, message: &Message) {
    client.on_frame(NOW, lane, &message.encode());
}

fn status(request: u32, status: Status) -> Message {
    Message::Result { request, status }
}

#[test]
fn the_first_true_prekey_is_the_answer() {
    let ((node, prekey), mut client) = (bob(), client());
    let request = client.find(NOW, node).unwrap();
    let asked = Message::Find { request, node };
    assert_eq!(sent(&mut client), [(TWO, asked.clone()), (ONE, asked)]);

    // One that lies, about that node or another, does not keep the true answer away.
    let found = |node, prekey: &Bytes| Message::Found {
        request,
        node,
        prekey: prekey.clone(),
    };
    receive(&mut client, TWO, &found(carrier(9), &bob().1));
    receive(&mut client, TWO, &found(node, &bob().1));
    assert_eq!(events(&mut client), []);
    // It has had its turn.
    receive(&mut client, TWO, &found(node, &prekey));
    assert_eq!(events(&mut client), []);
    receive(&mut client, ONE, &found(node, &prekey));
    assert_eq!(events(&mut client), [Event::Found { request, prekey }]);
    assert_eq!(client.poll_timeout(), None);

    // From now on messages go to the one that knows it.
    client
        .introduce(NOW, node, &Bytes::from_static(b"m"))
        .unwrap();
    let lanes: Vec<_> = sent(&mut client)
        .into_iter()
        .map(|(lane, _)| lane)
        .collect();
    assert_eq!(lanes, [ONE]);
}

#[test]
fn a_request_fails_when_nobody_is_left_who_could_answer() {
    let ((node, _), mut client) = (bob(), client());
    let request = client.find(NOW, node).unwrap();
    receive(&mut client, ONE, &status(request, Status::NotFound));
    receive(&mut client, ONE, &status(request, Status::NotFound));
    assert_eq!(events(&mut client), []);
    client.lane_down(TWO);
    let error = SignalError::NotFound(node);
    assert_eq!(events(&mut client), [Event::Failed { request, error }]);

    let request = client.find(NOW, node).unwrap();
    receive(&mut client, ONE, &status(request, Status::Busy(NOW)));
    let error = SignalError::Busy;
    assert_eq!(events(&mut client), [Event::Failed { request, error }]);

    client.lane_down(ONE);
    assert_eq!(client.find(NOW, node), Err(SignalError::NoCarrier));
}

#[test]
fn silence_ends_a_request_after_two_seconds() {
    let ((node, _), mut client) = (bob(), client());
    let request = client.find(NOW, node).unwrap();
    receive(&mut client, ONE, &status(request, Status::NotFound));
    assert_eq!(client.poll_timeout(), Some(NOW + Client::TIMEOUT));
    client.handle_timeout(NOW + Client::TIMEOUT - Duration::from_millis(1));
    assert_eq!(events(&mut client), []);
    client.handle_timeout(NOW + Client::TIMEOUT);
    let error = SignalError::NotFound(node);
    assert_eq!(events(&mut client), [Event::Failed { request, error }]);
    receive(&mut client, TWO, &status(request, Status::Done));
    assert_eq!(events(&mut client), []);
}

#[test]
fn each_carrier_is_asked_once_and_decliners_are_not() {
    let ((node, _), mut client) = (bob(), client());
    client.lane_up(LaneId(3), carrier(1));
    sent(&mut client);
    receive(&mut client, TWO, &status(0, Status::Full));
    let [Event::Declined { lane: TWO, .. }] = events(&mut client)[..] else {
        panic!("not told");
    };
    client
        .introduce(NOW, node, &Bytes::from_static(b"m"))
        .unwrap();
    let lanes: Vec<_> = sent(&mut client)
        .into_iter()
        .map(|(lane, _)| lane)
        .collect();
    assert_eq!(lanes, [LaneId(3)]);
}

#[test]
fn registers_again_when_asked_to_wait_and_with_a_new_prekey() {
    let mut client = client();
    receive(
        &mut client,
        ONE,
        &status(0, Status::Busy(Duration::from_secs(7200))),
    );
    assert_eq!(client.poll_timeout(), Some(NOW + Duration::from_secs(60)));
    client.handle_timeout(NOW + Duration::from_secs(60));
    assert_eq!(sent(&mut client).len(), 1);
    assert_eq!(client.poll_timeout(), None);
    client.publish(Bytes::from_static(b"next"));
    let prekey = Bytes::from_static(b"next");
    let register = Message::Register {
        prekey,
        discreet: false,
    };
    assert_eq!(
        sent(&mut client),
        [(ONE, register.clone()), (TWO, register)]
    );
}

#[test]
fn messages_come_with_where_their_sender_is_seen() {
    let ((node, _), mut client) = (bob(), client());
    let observed = Observed {
        transport: Transport::Tcp,
        addr: "192.0.2.9:80".parse().unwrap(),
    };
    receive(&mut client, ONE, &Message::Registered { observed });
    assert_eq!(client.observed(), [(ONE, observed)]);
    let message = Bytes::from_static(b"sealed");
    let introduced = Message::Introduced {
        from: node,
        observed: vec![observed],
        message: message.clone(),
    };
    receive(&mut client, TWO, &introduced);
    let signal = Signal {
        from: Some(node),
        observed: vec![observed],
        bytes: message.clone(),
    };
    assert_eq!(events(&mut client)[1..], [Event::Signal(signal)]);
    // The answer goes where the question came from.
    client.introduce(NOW, node, &message).unwrap();
    assert_eq!(sent(&mut client)[0].0, TWO);
    // Of a lane that is no carrier's nothing is heard.
    assert!(!client.on_frame(NOW, LaneId(9), &introduced.encode()));
    assert_eq!(events(&mut client), []);
}

#[test]
fn a_flooding_carrier_fills_nothing() {
    let ((node, prekey), mut client) = (bob(), client());
    for number in 0..10_000_u32 {
        let mut from = [0; 32];
        from[..4].copy_from_slice(&number.to_be_bytes());
        let introduced = Message::Introduced {
            from: NodeId::from_bytes(from),
            observed: Vec::new(),
            message: Bytes::from_static(b"x"),
        };
        receive(&mut client, TWO, &introduced);
    }
    assert_eq!(client.known.len(), Client::MAX_KNOWN);
    assert_eq!(client.events.len(), Client::MAX_EVENTS);
    // Ends of requests are still told.
    let request = client.find(NOW, node).unwrap();
    let found = Message::Found {
        request,
        node,
        prekey: prekey.clone(),
    };
    receive(&mut client, ONE, &found);
    let last = events(&mut client).pop();
    assert_eq!(last, Some(Event::Found { request, prekey }));
}

#[test]
fn too_many_requests_and_too_large_messages_are_refused() {
    let ((node, _), mut client) = (bob(), client());
    let large = Bytes::from(vec![0; MAX_SIGNAL + 1]);
    let refused = client.introduce(NOW, node, &large);
    assert_eq!(refused, Err(SignalError::TooLarge));
    for _ in 0..Client::MAX_PENDING {
        client.find(NOW, node).unwrap();
    }
    assert_eq!(client.find(NOW, node), Err(SignalError::Busy));
    client.handle_timeout(NOW + Client::TIMEOUT);
    assert_eq!(events(&mut client).len(), Client::MAX_PENDING);
    client.find(NOW, node).unwrap();
}

proptest! {
    #[test]
    fn any_frame_is_answered(frames in proptest::collection::vec((0..4u64, 0x3Eu16..0x50, 0..8u32, proptest::collection::vec(any::<u8>(), 0..80)), 0..100)) {
        let mut client = client();
        let begun = (0..4).filter_map(|_| client.find(NOW, carrier(7)).ok()).count();
        for (lane, kind, request, payload) in frames {
            client.on_frame(NOW, LaneId(lane), &Frame::new(dig_types::FrameType(kind), request, payload.into()));
        }
        client.handle_timeout(NOW + Client::TIMEOUT);
        let ended = events(&mut client).into_iter().filter(|event| {
            matches!(event, Event::Failed { .. } | Event::Found { .. } | Event::HandedOn { .. })
        });
        prop_assert_eq!(ended.count(), begun);
    }
}

#[test]
fn after_a_change_of_network_every_lane_is_tried_until_one_answers() {
    let mut client = Client::new(Bytes::from_static(b"own prekey"));
    // Two lanes of one carrier: over UDP and over TCP.
    client.lane_up(ONE, carrier(1));
    client.lane_up(TWO, carrier(1));
    let registered = Message::Registered {
        observed: Observed {
            transport: Transport::Udp,
            addr: "44.1.1.1:9".parse().unwrap(),
        },
    };
    receive(&mut client, TWO, &registered);
    sent(&mut client);
    let lanes_of = |client: &mut Client| -> Vec<LaneId> {
        client.find(NOW, carrier(9)).unwrap();
        sent(client).into_iter().map(|(lane, _)| lane).collect()
    };
    assert_eq!(lanes_of(&mut client), [TWO]);
    client.refresh();
    let registers: Vec<LaneId> = sent(&mut client).iter().map(|(lane, _)| *lane).collect();
    assert_eq!(registers, [ONE, TWO], "each says where it is seen now");
    assert_eq!(lanes_of(&mut client), [TWO, ONE], "either may be dead");
    receive(&mut client, ONE, &registered);
    assert_eq!(lanes_of(&mut client), [ONE], "this one is not");
    client.lane_down(TWO);
    assert_eq!(lanes_of(&mut client), [ONE]);
}
