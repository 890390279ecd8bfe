use super::*;
use dig_identity::{Algorithm, CryptoIdentity, auth::AuthError};
use dig_types::{InstanceId, NodeId, Timestamp};
use proptest::prelude::*;
use std::collections::VecDeque;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const BINDING: [u8; 32] = [3; 32];

#[derive(Debug)]
struct Admit(bool);

impl AuthPolicy for Admit {
    fn admits(&self, _: &NodeId) -> bool {
        self.0
    }
}

fn identity() -> Arc<CryptoIdentity> {
    Arc::new(CryptoIdentity::generate(Algorithm::Ed25519).unwrap())
}

fn local(signer: &Arc<CryptoIdentity>, run: u8, policy: Option<bool>) -> Local {
    Local {
        node: signer.node_id(),
        signer: signer.clone(),
        hello: Hello {
            min_version: 1,
            max_version: 1,
            instance: InstanceId::from_bytes([run; 16]),
            demands_auth: policy.is_some(),
            serves: false,
            max_requests: 64,
            port: 0,
        },
        policy: policy.map(|admit| Arc::new(Admit(admit)) as Arc<dyn AuthPolicy>),
    }
}

fn session(peer: &Arc<CryptoIdentity>, binding: [u8; 32]) -> Session {
    Session {
        peer: peer.public_key().clone(),
        binding,
        nonce: [1; 32],
        challenge: [2; 32],
    }
}

/// Two sides of one connection, and the frames on their way to each.
struct Pair {
    sides: [Handshake; 2],
    towards: [VecDeque<Frame>; 2],
}

impl Pair {
    fn new(policies: [Option<bool>; 2], bindings: [[u8; 32]; 2]) -> Self {
        let (left, right) = (identity(), identity());
        let sides = [
            Handshake::new(local(&left, 1, policies[0]), session(&right, bindings[0])),
            Handshake::new(local(&right, 2, policies[1]), session(&left, bindings[1])),
        ];
        let mut grease = Grease::new(Some(5));
        let towards = [1, 0].map(|from: usize| sides[from].opening(&mut grease).into());
        Self { sides, towards }
    }

    /// Delivers frames in an order that `turns` chooses, until nothing is left to deliver.
    fn run(&mut self, turns: &[bool]) -> Result<(), (usize, Failure)> {
        for turn in turns.iter().copied().cycle() {
            let to = usize::from(turn);
            let to = if self.towards[to].is_empty() {
                1 - to
            } else {
                to
            };
            let Some(frame) = self.towards[to].pop_front() else {
                return Ok(());
            };
            let answers = self.sides[to]
                .on_frame(frame, NOW)
                .map_err(|failure| (to, failure))?;
            self.towards[1 - to].extend(answers);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn every_order_opens_the_lane(
        turns in proptest::collection::vec(any::<bool>(), 1..40),
        demands in any::<[bool; 2]>(),
    ) {
        let policies = demands.map(|demands| demands.then_some(true));
        let mut pair = Pair::new(policies, [BINDING; 2]);
        prop_assert!(pair.run(&turns).is_ok());
        for (side, demands) in pair.sides.into_iter().zip(demands) {
            prop_assert!(side.is_done());
            prop_assert_eq!(side.finish().unwrap().authenticated, demands);
        }
    }

    #[test]
    fn any_frames_end_in_a_verdict(
        frames in proptest::collection::vec((0_u16..0x40, any::<u32>(), proptest::collection::vec(any::<u8>(), 0..80)), 0..20),
        greeted in any::<bool>(),
        demands in any::<bool>(),
    ) {
        let (own, peer) = (identity(), identity());
        let mut side = Handshake::new(local(&own, 1, demands.then_some(true)), session(&peer, BINDING));
        if greeted {
            let hello = local(&peer, 2, Some(true)).hello.frame(0, (1, &[]));
            prop_assert!(side.on_frame(hello, NOW).is_ok());
        }
        for (kind, request, payload) in frames {
            if side.on_frame(Frame::new(FrameType(kind), request, payload.into()), NOW).is_err() {
                break;
            }
        }
        prop_assert!(!side.is_done() || !demands, "nobody authenticates by noise");
    }
}

#[test]
fn an_answer_for_another_connection_is_refused() {
    let mut pair = Pair::new([None, Some(true)], [BINDING, [4; 32]]);
    let (side, failure) = pair.run(&[true, false]).unwrap_err();
    assert_eq!(
        side, 0,
        "the client sees first that the host signed for another connection"
    );
    assert!(matches!(
        failure.error,
        HandshakeError::Auth(AuthError::Signature)
    ));
    assert!(!pair.sides[1].is_done());
}

#[test]
fn the_policy_refuses_without_a_reason() {
    let mut pair = Pair::new([None, Some(false)], [BINDING; 2]);
    let (side, failure) = pair.run(&[true, false]).unwrap_err();
    assert_eq!(side, 1);
    assert!(matches!(failure.error, HandshakeError::NotAdmitted(_)));
    assert_eq!(failure.farewell[0], verdict(auth::REFUSED));
    let heard = pair.sides[0]
        .on_frame(failure.farewell[0].clone(), NOW)
        .unwrap_err();
    assert!(matches!(heard.error, HandshakeError::AuthRefused));
}

#[test]
fn requests_before_authentication_are_refused_one_by_one() {
    let (own, peer) = (identity(), identity());
    let mut host = Handshake::new(local(&own, 1, Some(true)), session(&peer, BINDING));
    let hello = local(&peer, 2, None).hello.frame(0, (1, &[]));
    assert_eq!(host.on_frame(hello, NOW).unwrap(), []);
    for kind in wire::REQUESTS {
        let request = Frame::new(FrameType(kind), 77, Bytes::from_static(&[0; 32]));
        let answer = host.on_frame(request, NOW).unwrap();
        assert_eq!(
            (answer.len(), answer[0].kind, answer[0].request),
            (1, wire::REFUSED, 77)
        );
        assert_eq!(answer[0].payload[..6], [0, 6, 0, 0, 0, 0]);
    }
    let cancel = Frame::new(FrameType(0x0036), 77, Bytes::new());
    assert_eq!(host.on_frame(cancel, NOW).unwrap(), []);
    assert!(host.early.is_empty());
}

#[test]
fn frames_of_a_peer_that_owes_nothing_are_kept_within_limits() {
    let (own, peer) = (identity(), identity());
    let mut client = Handshake::new(local(&own, 1, None), session(&peer, BINDING));
    let hello = local(&peer, 2, Some(true)).hello.frame(0, (1, &[]));
    assert_eq!(
        client.on_frame(hello, NOW).unwrap()[0].kind,
        wire::AUTH_REQUEST
    );
    let early = Frame::new(FrameType(0x0024), 5, Bytes::from_static(&[0; 32]));
    for _ in 0..MAX_EARLY_FRAMES {
        assert_eq!(client.on_frame(early.clone(), NOW).unwrap(), []);
    }
    let failure = client.on_frame(early, NOW).unwrap_err();
    assert!(matches!(
        failure.error,
        HandshakeError::Protocol(ProtocolError::TooEarly)
    ));
}

#[test]
fn the_first_frame_is_hello_or_goodbye() {
    let (own, peer) = (identity(), identity());
    let fresh = || Handshake::new(local(&own, 1, None), session(&peer, BINDING));
    let ping = Frame::new(wire::PING, 0, Bytes::from_static(&[0; 8]));
    let failure = fresh().on_frame(ping, NOW).unwrap_err();
    assert!(matches!(
        failure.error,
        HandshakeError::Protocol(ProtocolError::HelloMissing(2))
    ));
    assert_eq!(failure.farewell[0].kind, wire::BYE);

    let bye = Bye::new(ByeCode::TOO_MANY_LANES, "full").frame();
    let failure = fresh().on_frame(bye, NOW).unwrap_err();
    let HandshakeError::RefusedByPeer { code, text } = failure.error else {
        panic!("{failure:?}");
    };
    assert_eq!((code, &*text), (ByeCode::TOO_MANY_LANES, "full"));

    let later = Hello {
        min_version: 2,
        max_version: 3,
        ..local(&peer, 2, None).hello
    };
    let failure = fresh().on_frame(later.frame(0, (1, &[])), NOW).unwrap_err();
    assert!(matches!(
        failure.error,
        HandshakeError::Version {
            ours: (1, 1),
            theirs: (2, 3)
        }
    ));
    assert_eq!(failure.farewell[0].payload[..2], [0, 2]);
    assert!(
        failure
            .error
            .to_string()
            .contains("speaks version 1, the other side versions 2 to 3")
    );

    let own_echo = local(&own, 1, None).hello.frame(0, (1, &[]));
    let mut mirrored = Handshake::new(local(&own, 1, None), session(&own, BINDING));
    assert!(matches!(
        mirrored.on_frame(own_echo, NOW).unwrap_err().error,
        HandshakeError::Oneself
    ));
}

#[test]
fn authentication_frames_that_nobody_asked_for_end_the_conversation() {
    for kind in [
        wire::AUTH_REQUEST,
        wire::AUTH_CHALLENGE,
        wire::AUTH_RESPONSE,
        wire::AUTH_RESULT,
        wire::HELLO,
    ] {
        let (own, peer) = (identity(), identity());
        let mut side = Handshake::new(local(&own, 1, None), session(&peer, BINDING));
        let hello = local(&peer, 2, None).hello.frame(0, (1, &[]));
        side.on_frame(hello, NOW).unwrap();
        let failure = side
            .on_frame(Frame::new(kind, 0, Bytes::from_static(&[1])), NOW)
            .unwrap_err();
        assert!(
            matches!(failure.error, HandshakeError::Protocol(ProtocolError::Unexpected(found)) if found == kind.0)
        );
    }
}
