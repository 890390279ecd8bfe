use super::*;
use proptest::prelude::*;

fn sample() -> Ticket {
    Ticket {
        size: Some(1 << 40),
        name: Some(ContentName::new("my movie (1).mp4").unwrap()),
        kind: Some(ContentKind::File),
        nodes: vec![TicketNode {
            node: NodeId::from_bytes([9; 32]),
            addrs: vec![
                "192.0.2.1:4433".parse().unwrap(),
                "[2001:db8::1]:4433".parse().unwrap(),
            ],
            mapped: vec![MappedAddr {
                method: Method::Upnp,
                transport: Transport::Tcp,
                addr: "192.0.2.9:40000".parse().unwrap(),
            }],
            relays: vec!["wss://relay.example/gun".into()],
            via: vec![
                format!("{}@192.0.2.7:4433", NodeId::from_bytes([8; 32]))
                    .parse()
                    .unwrap(),
            ],
        }],
        ..Ticket::new(ContentHash::from_bytes([1; 32]))
    }
}

fn word(body: &[u8]) -> String {
    let mut bytes = body.to_vec();
    bytes.extend_from_slice(&Sha256::digest(body)[..CHECKSUM_LEN]);
    format!(
        "{PREFIX}{}",
        BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
    )
}

#[test]
fn both_forms_round_trip() {
    let ticket = sample();
    assert_eq!(ticket.to_string().parse::<Ticket>().unwrap(), ticket);
    let link = ticket.to_magnet();
    // A link has no place for what only this protocol knows.
    let mut plain = Ticket {
        kind: None,
        ..ticket
    };
    for node in &mut plain.nodes {
        node.mapped.clear();
        node.via.clear();
        node.relays.clear();
    }
    assert_eq!(link.parse::<Ticket>().unwrap(), plain);
    assert!(link.contains("dn=my%20movie%20%281%29.mp4"), "{link}");
}

#[test]
fn every_truncation_and_every_typo_is_noticed() {
    let text = sample().to_string();
    for end in 0..text.len() {
        assert!(text[..end].parse::<Ticket>().is_err(), "cut at {end}");
    }
    for place in PREFIX.len()..text.len() {
        let mut typo = text.clone().into_bytes();
        typo[place] = if typo[place] == b'a' { b'b' } else { b'a' };
        assert!(
            String::from_utf8(typo).unwrap().parse::<Ticket>().is_err(),
            "typo at {place}"
        );
    }
}

#[test]
fn hostile_tickets_are_refused() {
    let mut body = vec![VERSION];
    put(&mut body, FIELD_HASH, &[1; 32]);
    let plain = body.clone();
    assert!(word(&plain).parse::<Ticket>().is_ok());

    let mut node = Vec::new();
    put(&mut node, NODE_ID, &[2; 32]);
    (0..1000_u16).for_each(|port| {
        put(
            &mut node,
            NODE_ADDR,
            &encode_addr(&([10, 0, 0, 1], port + 1).into()),
        )
    });
    put(&mut body, FIELD_NODE, &node);
    assert!(matches!(
        word(&body).parse::<Ticket>(),
        Err(TicketError::TooLong)
    ));
    assert!(matches!(
        decode_node(&node),
        Err(TicketError::Field("a node has more than 8 addresses"))
    ));

    let mut twice = plain.clone();
    put(&mut twice, FIELD_HASH, &[1; 32]);
    assert!(matches!(
        word(&twice).parse::<Ticket>(),
        Err(TicketError::Field(_))
    ));
    let mut critical = plain.clone();
    put(&mut critical, 8, &[]);
    assert!(matches!(
        word(&critical).parse::<Ticket>(),
        Err(TicketError::Field(_))
    ));
    let mut ignorable = plain;
    put(&mut ignorable, 9, b"whatever");
    assert!(word(&ignorable).parse::<Ticket>().is_ok());
    assert!(matches!(
        word(&[2]).parse::<Ticket>(),
        Err(TicketError::Version(2))
    ));
}

proptest! {
    #[test]
    fn any_text_is_answered(text in ".{0,300}") {
        let _ = text.parse::<Ticket>();
        let _ = format!("dig1{text}").parse::<Ticket>();
        let _ = format!("magnet:?{text}").parse::<Ticket>();
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = word(&bytes).parse::<Ticket>();
    }
}

#[test]
fn relays_without_tls_and_more_than_two_are_passed_over() {
    let node = |relays: &[&[u8]]| {
        let mut value = Vec::new();
        put(&mut value, NODE_ID, &[9; 32]);
        for relay in relays {
            put(&mut value, NODE_RELAY, relay);
        }
        decode_node(&value).unwrap().relays
    };
    let long = format!("wss://{}", "a".repeat(Ticket::MAX_RELAY_LEN));
    let odd: [&[u8]; 5] = [
        b"ws://a/gun",
        b"wss://",
        b"wss://a b",
        b"\xff",
        long.as_bytes(),
    ];
    assert!(node(&odd).is_empty());
    let good: [&[u8]; 4] = [
        b"ws://a/gun",
        b"wss://a/gun",
        b"wss://b/gun",
        b"wss://c/gun",
    ];
    assert_eq!(node(&good), ["wss://a/gun".into(), "wss://b/gun".into()]);
    let mut ticket = sample();
    ticket.nodes[0].relays = ["ws://a", "wss://a", "wss://b", "wss://c"]
        .map(Into::into)
        .to_vec();
    let read: Ticket = ticket.to_string().parse().unwrap();
    assert_eq!(read.nodes[0].relays, ["wss://a".into(), "wss://b".into()]);
}
