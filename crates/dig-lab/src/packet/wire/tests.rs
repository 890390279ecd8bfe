//! Rewritten packets against checksums computed from nothing, by another algorithm.

use proptest::prelude::*;

use super::*;

/// RFC 1071 word by word.
fn naive(bytes: &[u8]) -> u16 {
    let mut total = 0_u32;
    for (index, byte) in bytes.iter().enumerate() {
        total += u32::from(*byte) << if index % 2 == 0 { 8 } else { 0 };
        total = (total & 0xFFFF) + (total >> 16);
    }
    total as u16
}

fn pseudo(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() - 20) as u16;
    [&bytes[12..20], &[0, bytes[9]], &length.to_be_bytes()].concat()
}

/// Whether the header and the transport checksum hold. Bytes that sum to 0xFFFF do.
fn sound(bytes: &[u8]) -> bool {
    let mut covered = if bytes[9] == ICMP {
        Vec::new()
    } else {
        pseudo(bytes)
    };
    covered.extend_from_slice(&bytes[20..]);
    naive(&bytes[..20]) == 0xFFFF && naive(&covered) == 0xFFFF
}

fn ip(protocol: u8, source: [u8; 4], destination: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 0, 1, 2, 0x40, 0, 61, protocol, 0, 0];
    bytes[2..4].copy_from_slice(&((20 + body.len()) as u16).to_be_bytes());
    bytes.extend_from_slice(&source);
    bytes.extend_from_slice(&destination);
    let field = !naive(&bytes);
    bytes[10..12].copy_from_slice(&field.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn at(protocol: u8) -> usize {
    20 + match protocol {
        UDP => 6,
        TCP => 16,
        _ => 2,
    }
}

/// A packet with data and sound checksums; flags of a segment, type of a message.
fn packet(protocol: u8, kind: u8, ends: ([u8; 4], u16, [u8; 4], u16), data: &[u8]) -> Vec<u8> {
    let (source, from, destination, to) = ends;
    let mut body = match protocol {
        UDP => [
            &[0; 4][..],
            &((8 + data.len()) as u16).to_be_bytes(),
            &[0; 2],
        ]
        .concat(),
        TCP => {
            let mut body = vec![0; 20];
            body[4..8].copy_from_slice(&1000_u32.to_be_bytes());
            body[8..12].copy_from_slice(&2000_u32.to_be_bytes());
            (body[12], body[13]) = (0x50, kind);
            body
        }
        _ => vec![kind, 0, 0, 0, 0, 0, 0, 1],
    };
    if protocol == ICMP {
        body[4..6].copy_from_slice(&from.to_be_bytes());
    } else {
        body[..2].copy_from_slice(&from.to_be_bytes());
        body[2..4].copy_from_slice(&to.to_be_bytes());
    }
    body.extend_from_slice(data);
    finished(ip(protocol, source, destination, &body))
}

fn finished(mut bytes: Vec<u8>) -> Vec<u8> {
    let protocol = bytes[9];
    let mut covered = if protocol == ICMP {
        Vec::new()
    } else {
        pseudo(&bytes)
    };
    covered.extend_from_slice(&bytes[20..]);
    let field = match !naive(&covered) {
        0 if protocol == UDP => 0xFFFF,
        field => field,
    };
    bytes[at(protocol)..at(protocol) + 2].copy_from_slice(&field.to_be_bytes());
    assert!(sound(&bytes));
    bytes
}

fn translated(bytes: &[u8], source: SocketAddr, destination: SocketAddr) -> (Packet, Packet) {
    let from = read(bytes).unwrap();
    let to = Packet {
        source,
        destination,
        ..from.clone()
    };
    (from, to)
}

const SOME: ([u8; 4], u16, [u8; 4], u16) = ([10, 0, 0, 2], 4000, [44, 128, 0, 9], 53);

#[test]
fn packets_are_read() {
    let datagram = read(&packet(UDP, 0, SOME, b"hello")).unwrap();
    assert_eq!(datagram.source, "10.0.0.2:4000".parse().unwrap());
    assert_eq!(datagram.destination, "44.128.0.9:53".parse().unwrap());
    assert_eq!((datagram.ttl, datagram.content), (61, Content::Udp));
    let segment = read(&packet(TCP, 0x12, SOME, b"")).unwrap();
    assert_eq!(segment.content, Content::Tcp(TcpFlags::SYN_ACK));
    let request = read(&packet(ICMP, 8, SOME, b"ping")).unwrap();
    assert_eq!(
        (
            request.content,
            request.source.port(),
            request.destination.port()
        ),
        (Content::EchoRequest, 4000, 0)
    );
    let reply = read(&packet(ICMP, 0, SOME, b"ping")).unwrap();
    assert_eq!(
        (reply.content, reply.source.port(), reply.destination.port()),
        (Content::EchoReply, 0, 4000)
    );
}

#[test]
fn what_cannot_be_translated_is_not_read() {
    let good = packet(UDP, 0, SOME, b"hello");
    for (at, value, what) in [
        (0, 0x65, "version 6"),
        (0, 0x44, "a header of 16 bytes"),
        (0, 0x4F, "a header longer than the packet"),
        (6, 0x20, "a first fragment"),
        (7, 1, "a later fragment"),
        (2, 0xFF, "more than there is"),
        (9, 50, "another protocol"),
    ] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert_eq!(read(&bytes), None, "{what}");
    }
    assert_eq!(read(&packet(ICMP, 13, SOME, b"time")), None);
    for length in 0..28 {
        assert_eq!(read(&good[..length]), None, "{length} bytes");
    }
}

#[test]
fn a_datagram_without_checksum_stays_without() {
    let mut bytes = packet(UDP, 0, SOME, b"hello");
    bytes[26..28].fill(0);
    let (from, to) = translated(
        &bytes,
        "1.2.3.4:5".parse().unwrap(),
        "6.7.8.9:10".parse().unwrap(),
    );
    rewrite(&mut bytes, &from, &to, Sum::Full);
    assert_eq!(bytes[26..28], [0, 0]);
    assert_eq!(naive(&bytes[..20]), 0xFFFF);
}

#[test]
fn an_unfinished_checksum_is_finished_by_the_device_to_the_right_one() {
    for protocol in [UDP, TCP] {
        let mut bytes = packet(protocol, 0x10, SOME, b"some data");
        let field = at(protocol);
        let partial = naive(&pseudo(&bytes));
        bytes[field..field + 2].copy_from_slice(&partial.to_be_bytes());
        let (from, to) = translated(
            &bytes,
            "44.128.1.1:61000".parse().unwrap(),
            from_port(&bytes),
        );
        rewrite(&mut bytes, &from, &to, Sum::Partial);
        // What the device does: sum from the start of the transport header, the field being part of it.
        let finish = !naive(&bytes[20..]);
        bytes[field..field + 2].copy_from_slice(&finish.to_be_bytes());
        assert!(sound(&bytes), "protocol {protocol}");
    }
}

fn from_port(bytes: &[u8]) -> SocketAddr {
    read(bytes).unwrap().destination
}

#[test]
fn an_error_quotes_the_packet_as_its_reader_knows_it() {
    let (public, inside): (SocketAddr, SocketAddr) = (
        "44.128.1.1:61000".parse().unwrap(),
        "10.0.0.2:4000".parse().unwrap(),
    );
    for protocol in [UDP, TCP, ICMP] {
        // The packet as it went out after translation, quoted whole.
        let ends = ([44, 128, 1, 1], 61_000, [44, 128, 0, 9], 53);
        let outside = packet(
            protocol,
            if protocol == TCP { 0x02 } else { 8 },
            ends,
            b"data",
        );
        let message = [&[11, 0, 0, 0, 0, 0, 0, 0][..], &outside].concat();
        let mut bytes = finished(ip(ICMP, [44, 128, 77, 1], [44, 128, 1, 1], &message));
        let from = read(&bytes).unwrap();
        let Content::Error(IcmpError::TimeExceeded, about) = from.content else {
            panic!("{from}")
        };
        assert_eq!(about.source, public);
        let to = Packet {
            destination: SocketAddr::new(inside.ip(), 0),
            content: Content::Error(
                IcmpError::TimeExceeded,
                Flow {
                    source: inside,
                    ..about
                },
            ),
            ..from.clone()
        };
        rewrite(&mut bytes, &from, &to, Sum::Full);
        assert!(sound(&bytes), "the error, protocol {protocol}");
        assert!(sound(&bytes[28..]), "the quote, protocol {protocol}");
        assert_eq!(read(&bytes), Some(to));
        // Cut to what RFC 792 promises.
        let mut cut = finished(ip(
            ICMP,
            [44, 128, 77, 1],
            [44, 128, 1, 1],
            &message[..8 + 28],
        ));
        let from = read(&cut).unwrap();
        let Content::Error(error, about) = from.content else {
            panic!("{from}")
        };
        let content = Content::Error(
            error,
            Flow {
                source: inside,
                ..about
            },
        );
        let to = Packet {
            destination: SocketAddr::new(inside.ip(), 0),
            content,
            ..from.clone()
        };
        rewrite(&mut cut, &from, &to, Sum::Full);
        assert!(sound(&cut));
        assert_eq!(read(&cut), Some(to));
    }
}

#[test]
fn answers_fit_their_cause() {
    let cause = packet(UDP, 0, SOME, b"hello");
    let about = read(&cause).unwrap().flow();
    let error = Packet::error(about.destination.ip(), IcmpError::PortUnreachable, about);
    let bytes = answer(&error, &cause).unwrap();
    assert!(sound(&bytes));
    assert_eq!(read(&bytes), Some(error));
    // An opening segment is acknowledged by its reset; any other one is reset where it stands.
    for (flags, data, sequence, acknowledgement, bits) in [
        (0x02, &b""[..], 0, 1001, 0x14),
        (0x10, b"data", 2000, 0, 0x04),
        (0x01, b"data", 0, 1005, 0x14),
    ] {
        let cause = packet(TCP, flags, SOME, data);
        let seen = read(&cause).unwrap();
        let reset = Packet::tcp(seen.destination, seen.source, TcpFlags::RST);
        let bytes = answer(&reset, &cause).unwrap();
        assert!(sound(&bytes));
        assert_eq!(
            u32::from_be_bytes(bytes[24..28].try_into().unwrap()),
            sequence
        );
        assert_eq!(
            u32::from_be_bytes(bytes[28..32].try_into().unwrap()),
            acknowledgement
        );
        assert_eq!(bytes[33], bits);
    }
    assert_eq!(
        answer(
            &Packet::udp(about.source, about.destination, Bytes::new()),
            &cause
        ),
        None
    );
}

proptest! {
    #[test]
    fn rewritten_packets_are_sound(
        protocol in prop::sample::select(vec![UDP, TCP, ICMP]),
        old: ([u8; 4], u16, [u8; 4], u16),
        new: ([u8; 4], u16, [u8; 4], u16),
        data in prop::collection::vec(any::<u8>(), 0..64),
        ttl: u8,
    ) {
        let mut bytes = packet(protocol, if protocol == TCP { 0x10 } else { 8 }, old, &data);
        let to = if protocol == ICMP { 0 } else { new.3 };
        let (from, to) = translated(&bytes, (new.0, new.1).into(), (new.2, to).into());
        rewrite(&mut bytes, &from, &to, Sum::Full);
        prop_assert!(sound(&bytes));
        prop_assert_eq!(read(&bytes), Some(to.clone()));
        set_ttl(&mut bytes, ttl);
        prop_assert!(sound(&bytes));
        prop_assert_eq!(read(&bytes), Some(to.with_ttl(ttl)));
        prop_assert_eq!(&bytes[bytes.len() - data.len()..], &data[..]);
    }

    /// Whatever bytes come: no panic, and what could not be read is not touched.
    #[test]
    fn hostile_bytes_do_no_harm(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        like_a_packet: bool,
        protocol in prop::sample::select(vec![UDP, TCP, ICMP]),
        other: ([u8; 4], u16, [u8; 4], u16),
    ) {
        if like_a_packet && bytes.len() >= 20 {
            let length = bytes.len() as u16;
            bytes[0] = 0x40 | (bytes[0] & 0x0F);
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[6..8].fill(0);
            bytes[9] = protocol;
        }
        let before = bytes.clone();
        set_ttl(&mut bytes, 9);
        let Some(from) = read(&before) else {
            let made_up = Packet::udp((other.0, other.1).into(), (other.2, other.3).into(), Bytes::new());
            rewrite(&mut bytes, &made_up, &made_up, Sum::Full);
            return Ok(());
        };
        for to in [
            Packet { source: (other.0, other.1).into(), destination: (other.2, other.3).into(), ..from.clone() },
            Packet::error(other.0.into(), IcmpError::TimeExceeded, from.flow()),
            Packet::tcp(from.destination, from.source, TcpFlags::RST),
        ] {
            let mut copy = before.clone();
            rewrite(&mut copy, &from, &to, Sum::Full);
            rewrite(&mut copy, &from, &to, Sum::Partial);
            prop_assert_eq!(copy.len(), before.len());
            if let Some(answer) = answer(&to, &before) {
                prop_assert!(sound(&answer));
            }
        }
    }
}
