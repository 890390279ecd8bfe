//! The published test vectors of attempts, `docs/vectors/attempt.json`: every byte is put together here from `docs/protocol.md` §14
//! alone, then checked against this crate, or written where `DIG_WRITE_VECTORS` is 1.

use crate::{
    attempt::{
        Answer, Drift, Message, MessageError, Offer, Role, Step, Strategy, Tag, Terms, Wide,
        check::{Check, Kind},
        keys::Keys,
    },
    candidate::{Candidate, CandidateKind, Transport},
    trace::AttemptId,
};
use aws_lc_rs::{hkdf, hmac};
use data_encoding::HEXLOWER;
use dig_types::Method;
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};

const ABOUT: &str = "Attempts of docs/protocol.md section 14. Bytes are hexadecimal. `keys`: the key that both sides make of the attempt's \
    id and their shares, and each one's user name fragment and password for ICE. `checks`, `preambles`: `bytes` as the side `role` of that attempt sends them, and what they mean. `messages`: bodies of \
    signals (section 12). `bad`: what the initiator of that attempt takes for nothing at all, where a message (`signal`), a \
    datagram (`datagram`) or the beginning of a stream (`stream`) of the responder belongs.";

const ATTEMPT: [u8; 16] = *b"\x51\x52\x53\x54\x55\x56\x57\x58\x59\x5a\x5b\x5c\x5d\x5e\x5f\x60";
const INITIATOR: [u8; 32] = [0x61; 32];
const RESPONDER: [u8; 32] = [0x62; 32];
const MAGIC: &[u8] = b"\x8cdig-p1\n";
const TRANSACTION: u64 = 0x0102_0304_0506_0708;
const OBSERVED: [u8; 18] = *b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xcb\0\x71\x07\x9c\x40";

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

/// HKDF-SHA256 by another implementation than the crate's own.
fn expanded(info: &[u8]) -> [u8; 32] {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &ATTEMPT)
        .extract(&[&INITIATOR[..], &RESPONDER].concat());
    let mut key = [0; 32];
    let info = [info];
    let expanded = extracted.expand(&info, Length).unwrap();
    expanded.fill(&mut key).unwrap();
    key
}

fn key() -> [u8; 32] {
    expanded(b"dig-attempt/1 mac")
}

/// User name fragment and password for ICE.
fn credentials(role: Role) -> (String, String) {
    let secret = match role {
        Role::Initiator => expanded(b"dig-attempt/1 ice initiator"),
        Role::Responder => expanded(b"dig-attempt/1 ice responder"),
    };
    (hex(&secret[..6]), hex(&secret[6..22]))
}

fn keys() -> Keys {
    Keys::new(AttemptId(ATTEMPT), &INITIATOR, &RESPONDER)
}

/// What 48 bytes become with their MAC.
fn sealed(key: &[u8], text: &[u8]) -> Vec<u8> {
    assert_eq!(text.len(), 48);
    let sum = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    [text, &sum.as_ref()[..16]].concat()
}

fn check_text(kind: u8, role: u8, method: u8, address: [u8; 18]) -> Vec<u8> {
    [
        MAGIC,
        &ATTEMPT[..8],
        &[kind, role, method, 0, 0, 0],
        &TRANSACTION.to_be_bytes(),
        &address,
    ]
    .concat()
}

fn preamble_text(version: u8, role: u8, method: u8) -> Vec<u8> {
    [MAGIC, &ATTEMPT[..8], &[version, role, method], &[0; 29]].concat()
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Initiator => "initiator",
        Role::Responder => "responder",
    }
}

/// Checks that count: why, what is said, by whom, for which method, the bytes.
fn checks() -> Vec<(&'static str, Check, Vec<u8>)> {
    let check = |kind, role, method| Check {
        kind,
        role,
        method,
        transaction: TRANSACTION,
    };
    let seen = |text: &str| Kind::Response(text.parse().unwrap());
    let mut v6 = [0; 18];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    v6[15..].copy_from_slice(&[7, 0x9c, 0x40]);
    vec![
        (
            "a request of the responder",
            check(Kind::Request, Role::Responder, Method::UdpHolePunch),
            sealed(&key(), &check_text(0, 1, 7, [0; 18])),
        ),
        (
            "the initiator's response to it, as long, of the same method and transaction",
            check(
                seen("203.0.113.7:40000"),
                Role::Initiator,
                Method::UdpHolePunch,
            ),
            sealed(&key(), &check_text(1, 0, 7, OBSERVED)),
        ),
        (
            "a response over IPv6",
            check(seen("[2001:db8::7]:40000"), Role::Responder, Method::Direct),
            sealed(&key(), &check_text(1, 1, 2, v6)),
        ),
    ]
}

fn preambles() -> Vec<(&'static str, Role, Method, Vec<u8>)> {
    let made = |role, method| sealed(&key(), &preamble_text(1, role, method));
    vec![
        (
            "of who dialled",
            Role::Initiator,
            Method::TcpHolePunch,
            made(0, 6),
        ),
        (
            "of who accepted",
            Role::Responder,
            Method::TcpHolePunch,
            made(1, 6),
        ),
        (
            "both dial",
            Role::Responder,
            Method::TcpSimultaneousOpen,
            made(1, 8),
        ),
    ]
}

/// Two candidates of every kind that there is, and a fresh port: what they mean, and their bytes.
fn terms(share: [u8; 32], revision: u8) -> (Terms, Vec<u8>) {
    let candidate = |kind, transport, addr: &str| Candidate {
        kind,
        transport,
        addr: addr.parse().unwrap(),
    };
    let terms = Terms {
        share,
        revision,
        methods: vec![
            Method::Local,
            Method::Upnp,
            Method::TcpSimultaneousOpen,
            Method::Ice,
            Method::Turn,
        ],
        candidates: vec![
            candidate(
                CandidateKind::ServerReflexive,
                Transport::Udp,
                "203.0.113.7:40000",
            ),
            candidate(
                CandidateKind::Mapped(Method::Upnp),
                Transport::Tcp,
                "203.0.113.7:4433",
            ),
            candidate(CandidateKind::Host, Transport::Udp, "[2001:db8::7]:4433"),
            candidate(CandidateKind::Relayed, Transport::Udp, "198.51.100.3:49160"),
        ],
        fresh: vec!["203.0.113.7:5000".parse().unwrap()],
        nat: crate::attempt::NatHint::Dependent { step: Some(2) },
    };
    let bytes = [
        &share[..],
        &[revision],
        &[0b0000_0011, 0b1001_0001],
        &[0, 4],
        &[1, 0, 4, 203, 0, 113, 7, 0x9c, 0x40],
        &[5, 1, 4, 203, 0, 113, 7, 0x11, 0x51],
        &[
            0, 0, 6, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x11, 0x51,
        ],
        &[2, 0, 4, 198, 51, 100, 3, 0xc0, 0x08],
        &[1],
        &[4, 203, 0, 113, 7, 0x13, 0x88],
        &[3, 0, 2],
    ]
    .concat();
    (terms, bytes)
}

fn messages() -> Vec<(&'static str, Message, Vec<u8>)> {
    let (offered, offered_bytes) = terms(INITIATOR, 0);
    let (answered, answered_bytes) = terms(RESPONDER, 3);
    let step = Step {
        round: 2,
        method: Method::TcpSimultaneousOpen,
    };
    vec![
        (
            "an offer: race",
            Message::Offer(Offer {
                terms: offered.clone(),
                stamp: 500,
                strategy: Strategy::Race,
            }),
            [&[1, 1], &offered_bytes[..], &[0, 0, 1, 0xf4, 0]].concat(),
        ),
        (
            "an offer: sequential",
            Message::Offer(Offer {
                terms: offered,
                stamp: 500,
                strategy: Strategy::Sequential,
            }),
            [&[1, 1], &offered_bytes[..], &[0, 0, 1, 0xf4, 1]].concat(),
        ),
        (
            "an answer, 7 ms after the offer came",
            Message::Answer(Answer {
                terms: answered,
                stamp: 500,
                held: Duration::from_millis(7),
            }),
            [&[1, 2], &answered_bytes[..], &[0, 0, 1, 0xf4, 0, 7]].concat(),
        ),
        ("go", Message::Go(step), vec![1, 3, 2, 8]),
        ("ready", Message::Ready(step), vec![1, 4, 2, 8]),
        ("opened", Message::Opened(0), vec![1, 5, 0]),
        (
            "stop: a session is made over a path by this method",
            Message::Stop(Some(Method::UdpHolePunch)),
            vec![1, 6, 0, 7],
        ),
        ("stop: no path", Message::Stop(None), vec![1, 6, 1, 0]),
    ]
}

/// Those about guessed ports.
fn guesses() -> Vec<(&'static str, Message, Vec<u8>)> {
    vec![
        ("widen", Message::Widen(0), vec![1, 7, 0]),
        (
            "fresh: a new port",
            Message::Fresh(Some("203.0.113.7:5001".parse().unwrap())),
            vec![1, 9, 4, 203, 0, 113, 7, 0x13, 0x89],
        ),
        (
            "fresh: no port is opened",
            Message::Fresh(None),
            vec![1, 9, 4, 0, 0, 0, 0, 0, 0],
        ),
        (
            "wide: 32 ports, after port 40000 of a NAT that goes down by two",
            Message::Wide(Wide {
                round: 0,
                count: 32,
                drift: Some(Drift {
                    last: 40_000,
                    step: -2,
                }),
            }),
            vec![1, 8, 0, 0, 32, 0x9c, 0x40, 0xff, 0xfe],
        ),
        (
            "wide: 320 ports, irregular",
            Message::Wide(Wide {
                round: 0,
                count: 320,
                drift: None,
            }),
            vec![1, 8, 0, 1, 0x40, 0, 0, 0, 0],
        ),
        (
            "wide: no port is opened",
            Message::Wide(Wide {
                round: 0,
                count: 0,
                drift: None,
            }),
            vec![1, 8, 0, 0, 0, 0, 0, 0, 0],
        ),
    ]
}

/// Bodies that are no message, and why.
fn bad_signals() -> Vec<(&'static str, Vec<u8>, MessageError)> {
    let (_, terms) = terms(INITIATOR, 0);
    let offer = [&[1, 1], &terms[..], &[0, 0, 1, 0xf4, 0]].concat();
    let mut crowded = offer.clone();
    crowded[37..39].copy_from_slice(&1000_u16.to_be_bytes());
    let mut family = offer.clone();
    family[41] = 5;
    vec![
        (
            "of another version",
            vec![2, 5, 0],
            MessageError::Version(2),
        ),
        ("of an unknown kind", vec![1, 99, 0], MessageError::Kind(99)),
        (
            "without its last byte",
            offer[..offer.len() - 1].to_vec(),
            MessageError::Short,
        ),
        (
            "announces a thousand candidates and has four",
            crowded,
            MessageError::Malformed,
        ),
        ("an address of no family", family, MessageError::Malformed),
        (
            "a step of no method",
            vec![1, 3, 0, 0],
            MessageError::Malformed,
        ),
        ("nothing", Vec::new(), MessageError::Short),
    ]
}

/// 64 bytes that are neither a check nor a preamble of the responder.
fn bad_packets() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let good = check_text(0, 1, 7, [0; 18]);
    let mut other = key();
    other[0] ^= 1;
    let mut flipped = sealed(&key(), &good);
    flipped[25] ^= 1;
    let mut tagged = good.clone();
    tagged[8] ^= 1;
    let long = [sealed(&key(), &good), vec![0]].concat();
    let check = |role, method, kind| sealed(&key(), &check_text(kind, role, method, [0; 18]));
    let preamble = |version, role, method| sealed(&key(), &preamble_text(version, role, method));
    vec![
        ("datagram", "one bit of the transaction is another", flipped),
        ("datagram", "another key", sealed(&other, &good)),
        ("datagram", "another attempt's tag", sealed(&key(), &tagged)),
        ("datagram", "reflected: of the initiator", check(0, 7, 0)),
        ("datagram", "neither request nor response", check(1, 7, 2)),
        ("datagram", "of no method", check(1, 0, 0)),
        ("datagram", "a byte too long", long),
        ("stream", "another version", preamble(2, 1, 6)),
        ("stream", "reflected: of the initiator", preamble(1, 0, 6)),
        ("stream", "of no method", preamble(1, 1, 11)),
        (
            "stream",
            "another key",
            sealed(&other, &preamble_text(1, 1, 6)),
        ),
    ]
}

fn document() -> Value {
    let checks = checks().into_iter().map(|(why, check, bytes)| {
        let (kind, observed) = match check.kind {
            Kind::Request => ("request", None),
            Kind::Response(addr) => ("response", Some(addr.to_string())),
        };
        json!({
            "why": why,
            "kind": kind,
            "role": role_name(check.role),
            "method": check.method.name(),
            "transaction": hex(check.transaction.to_be_bytes()),
            "observed": observed,
            "bytes": hex(bytes),
        })
    });
    let preambles = preambles().into_iter().map(|(why, role, method, bytes)| {
        json!({"why": why, "role": role_name(role), "method": method.name(), "bytes": hex(bytes)})
    });
    let messages = messages()
        .into_iter()
        .chain(guesses())
        .map(|(why, _, bytes)| json!({"why": why, "body": hex(bytes)}));
    let signals = bad_signals()
        .into_iter()
        .map(|(why, bytes, _)| json!({"where": "signal", "why": why, "bytes": hex(bytes)}));
    let packets = bad_packets()
        .into_iter()
        .map(|(place, why, bytes)| json!({"where": place, "why": why, "bytes": hex(bytes)}));
    json!({
        "about": ABOUT,
        "keys": {
            "attempt": hex(ATTEMPT),
            "initiator_share": hex(INITIATOR),
            "responder_share": hex(RESPONDER),
            "tag": hex(&ATTEMPT[..8]),
            "key": hex(key()),
            "ice": json!({
                "initiator": credentials(Role::Initiator),
                "responder": credentials(Role::Responder),
            }),
        },
        "checks": checks.collect::<Vec<_>>(),
        "preambles": preambles.collect::<Vec<_>>(),
        "messages": messages.collect::<Vec<_>>(),
        "bad": signals.chain(packets).collect::<Vec<_>>(),
    })
}

#[test]
fn published_attempts_hold() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors/attempt.json");
    let expected = document();
    if std::env::var_os("DIG_WRITE_VECTORS").is_some_and(|value| value == "1") {
        let text = serde_json::to_string_pretty(&expected).unwrap();
        fs::write(&path, text + "\n").unwrap();
    }
    let published: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        published, expected,
        "run the test with DIG_WRITE_VECTORS=1 and look at what changed"
    );
}

#[test]
fn good_ones_are_what_is_sent_and_understood() {
    for role in [Role::Initiator, Role::Responder] {
        let made = keys().credentials(role);
        assert_eq!((made.ufrag, made.password), credentials(role));
    }
    for (why, check, bytes) in checks() {
        assert_eq!(check.encode(&keys()), bytes, "{why}");
        assert_eq!(
            Check::decode(&bytes, &keys(), check.role),
            Some(check),
            "{why}"
        );
    }
    for (why, role, method, bytes) in preambles() {
        assert_eq!(keys().preamble(role, method)[..], bytes, "{why}");
        let bytes: [u8; 64] = bytes.try_into().unwrap();
        assert_eq!(keys().open_preamble(&bytes, role), Some(method), "{why}");
        assert_eq!(Tag::read(&bytes), Some(Tag::of(AttemptId(ATTEMPT))));
    }
    for (why, message, bytes) in messages().into_iter().chain(guesses()) {
        assert_eq!(message.encode(), bytes, "{why}");
        assert_eq!(Message::decode(&bytes), Ok(message), "{why}");
    }
}

#[test]
fn bad_ones_are_refused() {
    for (why, bytes, expected) in bad_signals() {
        assert_eq!(Message::decode(&bytes), Err(expected), "{why}");
    }
    for (place, why, bytes) in bad_packets() {
        let understood = match place {
            "datagram" => Check::decode(&bytes, &keys(), Role::Responder).is_some(),
            _ => {
                let bytes = bytes.try_into().unwrap();
                keys().open_preamble(&bytes, Role::Responder).is_some()
            }
        };
        assert!(!understood, "{place}: {why}");
    }
}
