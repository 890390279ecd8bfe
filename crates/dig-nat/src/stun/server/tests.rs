//! What is answered, from where, to whom.

use super::*;
use crate::stun::TransactionId;
use proptest::prelude::*;

const NAME: TransactionId = TransactionId([5; 12]);
const CLIENT: &str = "9.9.9.9:4000";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn double() -> Server {
    let layout = Layout::Double {
        primary: addr("44.128.0.1:3478"),
        alternate: addr("44.128.0.3:3479"),
    };
    Server::new(layout, ServerLimits::default())
}

fn single() -> Server {
    Server::new(
        Layout::Single(addr("44.128.0.1:3478")),
        ServerLimits::default(),
    )
}

fn ask(
    server: &mut Server,
    local: &str,
    request: &Request,
) -> Option<(SocketAddr, SocketAddr, Message)> {
    let reply = server.on_datagram(
        Duration::ZERO,
        addr(local),
        addr(CLIENT),
        &request.to_bytes(),
    )?;
    Some((reply.from, reply.to, Message::parse(&reply.bytes).unwrap()))
}

#[test]
fn tells_where_a_request_came_from() {
    let (from, to, message) = ask(&mut single(), "44.128.0.1:3478", &Request::new(NAME)).unwrap();
    let expected = Success {
        transaction: NAME,
        mapped: addr(CLIENT),
        origin: None,
        other: None,
    };
    assert_eq!(
        (from, to, message),
        (
            addr("44.128.0.1:3478"),
            addr(CLIENT),
            Message::Success(expected)
        )
    );
}

#[test]
fn answers_from_where_it_is_asked_to() {
    use ChangeRequest::{Address, AddressAndPort, Port};
    for (local, change, from, other) in [
        (
            "44.128.0.1:3478",
            None,
            "44.128.0.1:3478",
            "44.128.0.3:3479",
        ),
        (
            "44.128.0.1:3478",
            Some(Port),
            "44.128.0.1:3479",
            "44.128.0.3:3479",
        ),
        (
            "44.128.0.1:3478",
            Some(Address),
            "44.128.0.3:3478",
            "44.128.0.3:3479",
        ),
        (
            "44.128.0.1:3478",
            Some(AddressAndPort),
            "44.128.0.3:3479",
            "44.128.0.3:3479",
        ),
        (
            "44.128.0.3:3479",
            Some(AddressAndPort),
            "44.128.0.1:3478",
            "44.128.0.1:3478",
        ),
        (
            "44.128.0.3:3478",
            Some(Port),
            "44.128.0.3:3479",
            "44.128.0.1:3479",
        ),
    ] {
        let request = Request {
            change,
            ..Request::new(NAME)
        };
        let (sender, to, message) = ask(&mut double(), local, &request).unwrap();
        let Message::Success(success) = message else {
            panic!("{message:?}")
        };
        assert_eq!(
            (sender, to),
            (addr(from), addr(CLIENT)),
            "{local} {change:?}"
        );
        assert_eq!(
            (success.origin, success.other),
            (Some(addr(from)), Some(addr(other)))
        );
    }
}

#[test]
fn a_server_with_one_address_says_so() {
    let request = Request {
        change: Some(ChangeRequest::Port),
        ..Request::new(NAME)
    };
    let (from, to, message) = ask(&mut single(), "44.128.0.1:3478", &request).unwrap();
    assert_eq!((from, to), (addr("44.128.0.1:3478"), addr(CLIENT)));
    assert!(matches!(
        message,
        Message::Error {
            code: ErrorCode::UNKNOWN_ATTRIBUTE,
            ..
        }
    ));
}

#[test]
fn answers_to_another_port_of_the_sender() {
    let mut request = Request {
        response_port: Some(4001),
        ..Request::new(NAME)
    };
    let (_, to, message) = ask(&mut double(), "44.128.0.1:3478", &request).unwrap();
    assert_eq!(to, addr("9.9.9.9:4001"));
    assert!(matches!(message, Message::Success(success) if success.mapped == addr(CLIENT)));
    request.response_port = Some(0);
    let (_, to, message) = ask(&mut double(), "44.128.0.1:3478", &request).unwrap();
    assert_eq!(to, addr(CLIENT));
    assert!(matches!(
        message,
        Message::Error {
            code: ErrorCode::BAD_REQUEST,
            ..
        }
    ));
}

/// PADDING would make answers as large as the sender likes.
#[test]
fn refuses_what_it_does_not_know() {
    let mut padded = Request::new(NAME).to_bytes();
    padded.extend([0x00, 0x26, 0x03, 0xE8]);
    padded.resize(padded.len() + 1000, 0);
    let length = u16::try_from(padded.len() - 20).unwrap();
    padded[2..4].copy_from_slice(&length.to_be_bytes());
    let reply = double()
        .on_datagram(
            Duration::ZERO,
            addr("44.128.0.1:3478"),
            addr(CLIENT),
            &padded,
        )
        .unwrap();
    assert!(reply.bytes.len() <= 36);
    assert_eq!(reply.bytes[28..], [0x00, 0x0A, 0, 2, 0x00, 0x26, 0, 0]);
}

#[test]
fn answers_nobody_who_is_many_or_nobody() {
    let request = Request::new(NAME).to_bytes();
    for source in [
        "224.0.0.251:5353",
        "255.255.255.255:9",
        "0.0.0.0:9",
        "9.9.9.9:0",
        "[ff02::1]:9",
        "[::]:9",
        "[::ffff:224.0.0.1]:9",
    ] {
        let reply = double().on_datagram(
            Duration::ZERO,
            addr("44.128.0.1:3478"),
            addr(source),
            &request,
        );
        assert_eq!(reply, None, "{source}");
    }
}

#[test]
fn answers_only_requests_so_that_servers_do_not_answer_each_other() {
    let (mut one, mut other) = (double(), double());
    for change in [None, Some(ChangeRequest::AddressAndPort)] {
        let request = Request {
            change,
            ..Request::new(NAME)
        };
        let first = one
            .on_datagram(
                Duration::ZERO,
                addr("44.128.0.1:3478"),
                addr(CLIENT),
                &request.to_bytes(),
            )
            .unwrap();
        assert_eq!(
            other.on_datagram(
                Duration::ZERO,
                addr("44.128.0.1:3478"),
                first.from,
                &first.bytes
            ),
            None
        );
    }
}

#[test]
fn a_flood_is_answered_in_part() {
    let mut server = double();
    let request = Request::new(NAME);
    let answered = (0..10_000)
        .filter(|_| ask(&mut server, "44.128.0.1:3478", &request).is_some())
        .count();
    assert_eq!(answered, ServerLimits::default().burst as usize);
}

#[test]
fn over_a_connection_it_tells_the_address_and_no_more() {
    let told = double()
        .on_stream(Duration::ZERO, addr(CLIENT), &Request::new(NAME).to_bytes())
        .unwrap();
    assert!(
        matches!(Message::parse(&told), Ok(Message::Success(success)) if success.mapped == addr(CLIENT))
    );
    let request = Request {
        response_port: Some(7),
        ..Request::new(NAME)
    };
    let told = double()
        .on_stream(Duration::ZERO, addr(CLIENT), &request.to_bytes())
        .unwrap();
    assert!(matches!(
        Message::parse(&told),
        Ok(Message::Error {
            code: ErrorCode::UNKNOWN_ATTRIBUTE,
            ..
        })
    ));
}

proptest! {
    /// Whatever comes, an answer goes to the sender's address, from an address of the server, and is small.
    #[test]
    fn answers_are_small_and_go_to_the_sender(
        change in 0_u32..8,
        response_port in any::<Option<u16>>(),
        source in any::<([u8; 4], u16)>(),
        garbage in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let source = SocketAddr::from(source);
        let mut request = Request { response_port, ..Request::new(NAME) }.to_bytes();
        request.extend([0, 3, 0, 4]);
        request.extend(change.to_be_bytes());
        let length = u16::try_from(request.len() - 20).unwrap();
        request[2..4].copy_from_slice(&length.to_be_bytes());
        let mut changed = request.clone();
        changed.extend_from_slice(&garbage);
        for (mut server, bytes) in [(double(), &request), (single(), &request), (double(), &changed), (double(), &garbage)] {
            let local = server.layout().sockets()[0];
            if let Some(reply) = server.on_datagram(Duration::ZERO, local, source, bytes) {
                prop_assert_eq!(reply.to.ip(), source.ip());
                prop_assert!(server.layout().sockets().contains(&reply.from));
                prop_assert!(reply.bytes.len() <= Server::MAX_REPLY);
                if reply.to.port() != source.port() {
                    prop_assert_eq!(Some(reply.to.port()), response_port);
                }
            }
            let _ = server.on_stream(Duration::ZERO, source, bytes);
        }
    }
}
