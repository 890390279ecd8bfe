use super::{Strategy, *};
use proptest::prelude::*;

fn candidate(kind: CandidateKind, transport: Transport, addr: &str) -> Candidate {
    Candidate {
        kind,
        transport,
        addr: addr.parse().unwrap(),
    }
}

fn terms() -> Terms {
    Terms {
        share: [3; 32],
        revision: 2,
        methods: vec![Method::Local, Method::Upnp, Method::TcpSimultaneousOpen],
        candidates: vec![
            candidate(CandidateKind::Host, Transport::Udp, "192.168.1.5:4000"),
            candidate(
                CandidateKind::ServerReflexive,
                Transport::Tcp,
                "44.1.2.3:4000",
            ),
            candidate(
                CandidateKind::Mapped(Method::NatPmp),
                Transport::Udp,
                "[2a0d::1]:9",
            ),
        ],
        fresh: vec!["44.1.2.3:5000".parse().unwrap()],
        nat: NatHint::Dependent { step: Some(-2) },
    }
}

fn messages() -> Vec<Message> {
    let step = Step {
        round: 2,
        method: Method::UdpHolePunch,
    };
    vec![
        Message::Offer(Offer {
            terms: terms(),
            stamp: 7,
            strategy: Strategy::Sequential,
        }),
        Message::Answer(Answer {
            terms: terms(),
            stamp: 7,
            held: Duration::from_millis(3),
        }),
        Message::Go(step),
        Message::Ready(step),
        Message::Opened(4),
        Message::Stop(Some(Method::Direct)),
        Message::Stop(None),
        Message::Widen(1),
        Message::Fresh(Some("44.1.2.3:5001".parse().unwrap())),
        Message::Fresh(None),
        Message::Wide(Wide {
            round: 1,
            count: 320,
            drift: Some(Drift {
                last: 40_000,
                step: -2,
            }),
        }),
        Message::Wide(Wide {
            round: 0,
            count: 0,
            drift: None,
        }),
    ]
}

#[test]
fn messages_survive_the_wire_and_bytes_after_them_are_ignored() {
    for message in messages() {
        let mut bytes = message.encode().to_vec();
        assert_eq!(Message::decode(&bytes), Ok(message.clone()));
        bytes.extend([1, 2, 3]);
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
}

#[test]
fn what_ends_early_is_no_message() {
    for message in messages() {
        let bytes = message.encode();
        for length in 0..bytes.len() {
            assert_eq!(
                Message::decode(&bytes[..length]),
                Err(MessageError::Short),
                "{message:?} {length}"
            );
        }
    }
}

#[test]
fn other_versions_and_kinds_are_told_apart() {
    assert_eq!(Message::decode(&[2, 1]), Err(MessageError::Version(2)));
    assert_eq!(Message::decode(&[1, 99]), Err(MessageError::Kind(99)));
    assert_eq!(
        Message::decode(&[1, 3, 0, 200]),
        Err(MessageError::Malformed)
    );
}

#[test]
fn the_largest_message_is_small() {
    let wide = |port| {
        candidate(
            CandidateKind::Host,
            Transport::Udp,
            &format!("[2a0d::1]:{port}"),
        )
    };
    let candidates = (1..=100).map(wide).collect();
    let terms = Terms {
        candidates,
        fresh: vec!["[2a0d::1]:9".parse().unwrap(); 9],
        ..terms()
    };
    let bytes = Message::Offer(Offer {
        terms,
        stamp: 1,
        strategy: Strategy::Race,
    })
    .encode();
    assert!(bytes.len() <= 500, "{}", bytes.len());
    let Ok(Message::Offer(offer)) = Message::decode(&bytes) else {
        panic!("no offer")
    };
    assert_eq!(
        (offer.terms.candidates.len(), offer.terms.fresh.len()),
        (MAX_CANDIDATES, ROUNDS)
    );
}

/// An offer that declares a thousand candidates, and brings them.
#[test]
fn of_a_thousand_candidates_sixteen_are_used() {
    let mut bytes = Message::Offer(Offer {
        terms: terms(),
        stamp: 1,
        strategy: Strategy::Race,
    })
    .encode()[..37]
        .to_vec();
    bytes.extend(1000u16.to_be_bytes());
    for port in 1..=1000u16 {
        bytes.extend([0, 0, 4, 44, 1, 1, 1]);
        bytes.extend(port.to_be_bytes());
    }
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let Ok(Message::Offer(offer)) = Message::decode(&bytes) else {
        panic!("no offer")
    };
    assert_eq!(offer.terms.candidates.len(), MAX_CANDIDATES);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn any_body_is_read_or_refused(kind in 1u8..7, bytes in prop::collection::vec(0u8..8, 0..600)) {
        let bytes = [&[VERSION, kind], &bytes[..]].concat();
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }
}
