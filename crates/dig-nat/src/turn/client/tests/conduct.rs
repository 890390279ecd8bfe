//! What the client does, answer by answer.

use super::script::{allocation, challenge, lifetime, methods};
use super::*;

#[test]
fn a_silent_server_is_asked_five_times_in_five_seconds() {
    let mut script = Script::new("udp");
    let mut times = vec![];
    for _ in 0..=5000 {
        times.extend(script.all_sent().iter().map(|_| script.now));
        script.pass(millis(1));
    }
    assert_eq!(times, [0, 250, 750, 1750, 3750].map(millis));
    let ended = Some(Event::Ended(Some(ClientError::NoAnswer)));
    assert_eq!(script.client.poll_event(), ended);
    assert_eq!(script.client.timeout(), None);
}

#[test]
fn a_connection_is_not_repeated_into() {
    let mut script = Script::new("tcp");
    script.sent(Method::Allocate);
    script.pass(millis(4999));
    assert!(script.is_silent());
    script.pass(millis(1));
    assert!(script.client.is_ended());
}

#[test]
fn refusals_of_an_allocation_are_told_apart() {
    let elsewhere: SocketAddr = "192.0.2.7:3478".parse().unwrap();
    for (code, expected) in [
        (400, ClientError::Refused(400)),
        (403, ClientError::Refused(403)),
        (437, ClientError::Mismatch),
        (441, ClientError::Unauthorized),
        (442, ClientError::Refused(442)),
        (486, ClientError::Quota(486)),
        (508, ClientError::Quota(508)),
        (401, ClientError::Unauthorized),
        (300, ClientError::Redirected(elsewhere)),
    ] {
        let mut script = Script::new("udp");
        let request = script.sent(Method::Allocate);
        script.refuse(&request, 401, |writer| challenge(writer, b"first"));
        let request = script.sent(Method::Allocate);
        script.refuse(&request, code, |writer| match code {
            300 => writer.put(
                attribute::ALTERNATE_SERVER,
                &[0, 1, 0x0D, 0x96, 192, 0, 2, 7],
            ),
            401 => challenge(writer, b"first"),
            _ => {}
        });
        let ended = Some(Event::Ended(Some(expected)));
        assert_eq!(script.client.poll_event(), ended, "{code}");
        assert!(script.is_silent());
    }
}

#[test]
fn a_server_cannot_send_us_into_this_machine_or_to_itself() {
    for inside in [[127, 0, 0, 1], [0, 0, 0, 0], [224, 0, 0, 1], [192, 0, 2, 1]] {
        let mut script = Script::new("udp");
        let request = script.sent(Method::Allocate);
        let [a, b, c, d] = inside;
        script.refuse(&request, 300, |writer| {
            writer.put(attribute::ALTERNATE_SERVER, &[0, 1, 0x0D, 0x96, a, b, c, d]);
        });
        let ended = Some(Event::Ended(Some(ClientError::Refused(300))));
        assert_eq!(script.client.poll_event(), ended, "{inside:?}");
    }
}

#[test]
fn a_server_that_forbids_mobility_is_asked_without() {
    let mut script = Script::new("udp");
    let request = script.sent(Method::Allocate);
    let wish = |request: &[u8]| {
        let request = Message::parse(request).unwrap();
        request.value(attribute::MOBILITY_TICKET).map(<[u8]>::len)
    };
    assert_eq!(wish(&request), Some(0));
    script.refuse(&request, 401, |writer| challenge(writer, b"first"));
    let request = script.sent(Method::Allocate);
    script.refuse(&request, 405, |_| {});
    let request = script.sent(Method::Allocate);
    assert_eq!(wish(&request), None);
    assert!(!script.client.wants_mobility());
    script.accept(&request, |writer| allocation(writer, b""));
    assert!(!script.client.is_mobile() && script.client.relayed().is_some());
}

#[test]
fn stale_nonces_are_replaced_three_times_and_no_more() {
    let mut script = Script::up("udp", b"");
    script.client.permit(script.now, peer(1).ip());
    for nonce in [b"second", b"third!", b"fourth"] {
        let request = script.sent(Method::CreatePermission);
        script.refuse(&request, 438, |writer| challenge(writer, nonce));
    }
    let request = script.sent(Method::CreatePermission);
    let nonce = Message::parse(&request).unwrap();
    assert_eq!(nonce.value(attribute::NONCE), Some(&b"fourth"[..]));
    script.refuse(&request, 438, |writer| challenge(writer, b"fifth"));
    assert!(script.client.is_ended());
}

#[test]
fn the_newest_datagrams_wait_for_the_permission_in_their_order() {
    let mut script = Script::up("udp", b"");
    for number in 0..10_u8 {
        assert_eq!(script.send(peer(1), &[number]), Ok(None));
    }
    let request = script.sent(Method::CreatePermission);
    script.accept(&request, |_| {});
    let sent = script.all_sent();
    let data = sent.iter().map(|bytes| {
        let message = Message::parse(bytes).unwrap();
        assert_eq!(
            (message.class, message.method),
            (Class::Indication, Method::Send)
        );
        assert_eq!(message.address(attribute::XOR_PEER_ADDRESS), Some(peer(1)));
        message.value(attribute::DATA).unwrap()[0]
    });
    assert_eq!(data.collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn a_refused_peer_is_an_error_until_it_is_asked_for_again() {
    let mut script = Script::up("udp", b"");
    assert_eq!(script.send(peer(1), b"x"), Ok(None));
    let request = script.sent(Method::CreatePermission);
    script.refuse(&request, 403, |_| {});
    assert_eq!(script.send(peer(1), b"x"), Err(SendError::Refused));
    assert!(script.is_silent());
    script.pass(seconds(10));
    assert_eq!(script.send(peer(1), b"x"), Ok(None));
    script.sent(Method::CreatePermission);
    let ipv6 = "[2001:db8::1]:1".parse().unwrap();
    assert_eq!(script.send(ipv6, b"x"), Err(SendError::Family));
}

#[test]
fn addresses_that_are_only_tried_get_no_channel() {
    let mut script = Script::up("udp", b"");
    script.permit(peer(1).ip());
    for _ in 0..15 {
        assert!(script.send(peer(1), b"anybody?").unwrap().is_some());
    }
    assert!(script.is_silent());
    // The sixteenth, or an answer to the first, makes it worth one.
    script.send(peer(1), b"anybody?").unwrap();
    script.sent(Method::ChannelBind);
    let number = script.bind(peer(2));
    let frame = script.send(peer(2), b"12345").unwrap().unwrap();
    assert_eq!(frame[..2], number.to_be_bytes());
    assert_eq!(frame[2..], *b"\0\x0512345");
    let arrived = script.hear(&frame).unwrap();
    assert_eq!((arrived.from, arrived.data), (peer(2), 4..9));
}

#[test]
fn channel_data_is_padded_on_connections() {
    let mut script = Script::up("tcp", b"");
    script.bind(peer(1));
    let frame = script.send(peer(1), b"12345").unwrap().unwrap();
    assert_eq!(frame[2..], *b"\0\x0512345\0\0\0");
}

#[test]
fn a_channel_rests_before_its_number_is_anothers() {
    let mut script = Script::up("udp", b"");
    let first = script.bind(peer(1));
    let second = script.bind(peer(2));
    assert_ne!(first, second);
    assert!((0x4000..=0x4FFF).contains(&first));
    // Unused, it is not renewed; after ten minutes the server may not use it any more, and we do not.
    for _ in 0..13 * 60 {
        script.pass(seconds(1));
        answer_renewals(&mut script);
    }
    let mut data = first.to_be_bytes().to_vec();
    data.extend([0, 1, b'x']);
    assert_eq!(script.hear(&data), None);
    // It is still that peer's own for five minutes: asked for again, it is the same number.
    assert_eq!(script.bind(peer(1)), first);
}

/// Grants whatever keeps the allocation alive.
fn answer_renewals(script: &mut Script) {
    for request in script.all_sent() {
        match methods(std::slice::from_ref(&request))[..] {
            [Method::Refresh] => script.accept(&request, |writer| lifetime(writer, b"")),
            [Method::Binding] => {
                let seen = script.client.mapped().unwrap();
                let answer = script.answer(&request, Class::Success, None, |writer| {
                    writer.put_address(attribute::XOR_MAPPED_ADDRESS, seen);
                });
                script.hear(&answer);
            }
            ref other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_server_that_falls_silent_under_data_is_noticed() {
    let mut script = Script::up("udp", b"");
    script.bind(peer(1));
    let began = script.now;
    while !script.client.is_ended() {
        let _ = script.send(peer(1), b"is anybody there");
        script.all_sent();
        script.pass(millis(100));
        assert!(script.now < began + seconds(20));
    }
    // Three seconds of silence, a probe of five, a renewal of five.
    assert!(script.now <= began + millis(13_200), "{:?}", script.now);
    assert_eq!(
        script.client.poll_event(),
        Some(Event::Ended(Some(ClientError::NoAnswer)))
    );
}

#[test]
fn an_allocation_that_is_gone_ends_or_moves() {
    let mut script = Script::up("udp", b"");
    script.client.verify(script.now);
    let request = script.sent(Method::Refresh);
    script.refuse(&request, 437, |_| {});
    assert_eq!(
        script.client.poll_event(),
        Some(Event::Ended(Some(ClientError::Mismatch)))
    );

    let mut script = Script::up("udp", b"ticket");
    script.client.verify(script.now);
    let request = script.sent(Method::Refresh);
    script.refuse(&request, 437, |_| {});
    let request = script.sent(Method::Refresh);
    let ticket = Message::parse(&request).unwrap();
    assert_eq!(
        ticket.value(attribute::MOBILITY_TICKET),
        Some(&b"ticket"[..])
    );
    script.accept(&request, |writer| lifetime(writer, b"another"));
    see(&mut script, "203.0.113.9:6000");
    let mapped = "203.0.113.9:6000".parse().unwrap();
    assert_eq!(script.client.poll_event(), Some(Event::Moved { mapped }));
    assert!(script.client.is_mobile());
}

/// Answers a probe.
fn see(script: &mut Script, at: &str) {
    let request = script.sent(Method::Binding);
    let answer = script.answer(&request, Class::Success, None, |writer| {
        writer.put_address(attribute::XOR_MAPPED_ADDRESS, at.parse().unwrap());
    });
    script.hear(&answer);
}

#[test]
fn a_nat_that_forgot_us_is_noticed_when_idle_and_the_allocation_follows() {
    let mut script = Script::up("udp", b"ticket");
    script.client.permit(script.now, peer(1).ip());
    script.all_sent();
    script.pass(millis(4_999));
    script.pass(millis(15_001));
    let sent = script.all_sent();
    let probe = sent.last().unwrap();
    let answer = script.answer(probe, Class::Success, None, |writer| {
        writer.put_address(
            attribute::XOR_MAPPED_ADDRESS,
            "203.0.113.9:7000".parse().unwrap(),
        );
    });
    script.hear(&answer);
    // What nobody signed is not believed: only the signed grant of the move is.
    assert_eq!(
        script.client.mapped(),
        Some(script::MAPPED.parse().unwrap())
    );
    let request = script.sent(Method::Refresh);
    script.accept(&request, |writer| lifetime(writer, b"another"));
    assert_eq!(
        script.client.mapped(),
        Some("203.0.113.9:7000".parse().unwrap())
    );
    assert_eq!(
        script.client.relayed(),
        Some(script::RELAYED.parse().unwrap())
    );
}

#[test]
fn giving_back_takes_an_answer_or_five_seconds() {
    let mut script = Script::up("udp", b"");
    script.client.close(script.now);
    let request = script.sent(Method::Refresh);
    let parsed = Message::parse(&request).unwrap();
    assert_eq!(parsed.number(attribute::LIFETIME), Some(0));
    script.accept(&request, |writer| writer.put(attribute::LIFETIME, &[0; 4]));
    assert_eq!(script.client.poll_event(), Some(Event::Ended(None)));
    assert_eq!(script.send(peer(1), b"x"), Err(SendError::NotUp));

    let mut script = Script::up("udp", b"");
    script.client.close(script.now);
    script.pass(seconds(5));
    assert_eq!(script.client.poll_event(), Some(Event::Ended(None)));

    let mut script = Script::new("udp");
    script.client.close(script.now);
    assert_eq!(script.client.poll_event(), Some(Event::Ended(None)));
}
