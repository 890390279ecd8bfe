//! Published examples of section 16 of `docs/protocol.md`.

use super::{
    announcement::{Codec, Word},
    layout::{self, Slots, Topic},
};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use data_encoding::{BASE64, HEXLOWER};
use dig_discovery::Lookup;
use dig_gun::value::State;
use dig_identity::{Algorithm, CryptoIdentity, Signer as _};
use dig_types::{
    ContentHash, ContentKind, ContentName, NodeId, Sha256Hash, Ticket, TicketNode, Timestamp,
};
use serde_json::{Value, json};
use std::{fs, path::Path};

const NOW: Timestamp = Timestamp::from_millis(1_795_401_101_791);

struct Seal;

impl KeyType for Seal {
    fn len(&self) -> usize {
        32
    }
}

fn signer() -> CryptoIdentity {
    CryptoIdentity::from_private_bytes(Algorithm::Ed25519, &[0x42; 32]).unwrap()
}

/// The key of a seal, computed as the text says.
fn key(kind: &str, secret: &[u8]) -> String {
    let info: [&[u8]; 2] = [b"dig-gun-announce/1", kind.as_bytes()];
    let mut key = [0; 32];
    let derived = Salt::new(HKDF_SHA256, &[]).extract(secret);
    derived.expand(&info, Seal).unwrap().fill(&mut key).unwrap();
    HEXLOWER.encode(&key)
}

fn ticket(node: NodeId) -> Ticket {
    Ticket {
        size: Some(12_345),
        name: Some(ContentName::new("holiday film.mkv").unwrap()),
        kind: Some(ContentKind::File),
        nodes: vec![TicketNode {
            node,
            addrs: vec!["203.0.113.7:4433".parse().unwrap()],
            mapped: Vec::new(),
            via: Vec::new(),
            relays: Vec::new(),
        }],
        ..Ticket::new(ContentHash::from_bytes([0xC7; 32]))
    }
}

fn lookups() -> [(&'static str, Vec<u8>, Lookup); 3] {
    let (hash, sha256) = ([0xC7; 32], [0x5A; 32]);
    let name = ContentName::new("holiday film.mkv").unwrap();
    [
        (
            "content",
            hash.to_vec(),
            Lookup::Content(ContentHash::from_bytes(hash)),
        ),
        (
            "sha256",
            sha256.to_vec(),
            Lookup::Sha256(Sha256Hash::from_bytes(sha256)),
        ),
        (
            "name",
            name.as_str().as_bytes().to_vec(),
            Lookup::Name(name),
        ),
    ]
}

fn announcement(kind: &str, secret: &[u8], lookup: Lookup, ticket: Option<Ticket>) -> Value {
    let (signer, codec) = (signer(), Codec::new(lookup).unwrap());
    let (sequence, nonce) = (NOW.as_millis(), [kind.len() as u8; 12]);
    let word = Word {
        ticket,
        prekey: vec![1, 2, 3],
    };
    let record = codec.write(&signer, (sequence, NOW), &word, nonce).unwrap();
    assert_eq!(codec.read(record.as_str(), NOW).unwrap().1, word);
    json!({
        "kind": kind,
        "secret": HEXLOWER.encode(secret),
        "key": key(kind, secret),
        "topic": codec.topic().to_string(),
        "nonce": HEXLOWER.encode(&nonce),
        "ticket": word.ticket.as_ref().map(ToString::to_string),
        "record": record.as_str(),
        "field": layout::content_key(record.as_str()).unwrap().as_str(),
    })
}

/// Records of the content's topic that must be refused.
fn bad() -> Vec<Value> {
    let [(_, _, content), (.., other), _] = lookups();
    let (signer, codec) = (signer(), Codec::new(content).unwrap());
    let word = |ticket| Word {
        ticket: Some(ticket),
        prekey: Vec::new(),
    };
    let of = |codec: &Codec, ticket| {
        let record = codec
            .write(&signer, (1, NOW), &word(ticket), [7; 12])
            .unwrap();
        record.as_str().to_owned()
    };
    let own = ticket(signer.node_id());
    let good = of(&codec, own.clone());
    let cases = [
        (
            "sealed for something else",
            of(&Codec::new(other).unwrap(), own.clone()),
        ),
        (
            "speaks of another node",
            of(&codec, ticket(NodeId::from_bytes([9; 32]))),
        ),
        (
            "speaks of another content",
            of(
                &codec,
                Ticket {
                    hash: ContentHash::from_bytes([1; 32]),
                    ..own.clone()
                },
            ),
        ),
        (
            "names two nodes",
            of(
                &codec,
                Ticket {
                    nodes: [own.nodes.clone(), own.nodes.clone()].concat(),
                    ..own.clone()
                },
            ),
        ),
        ("a letter of the signature", {
            let end = good.len() - 3;
            let digit = if good.as_bytes()[end] == b'0' {
                "1"
            } else {
                "0"
            };
            [&good[..end], digit, &good[end + 1..]].concat()
        }),
    ];
    let refused = cases.into_iter().map(|(why, record)| {
        assert!(codec.read(&record, NOW).is_err(), "{why}");
        json!({"why": why, "record": record})
    });
    refused.collect()
}

fn document() -> Value {
    let node = signer().node_id();
    let announcements = lookups()
        .map(|(kind, secret, lookup)| announcement(kind, &secret, lookup, Some(ticket(node))));
    let [(kind, secret, lookup), ..] = lookups();
    let slots = |slots: Slots| {
        let slot = slots.at(NOW);
        (slot, slots.state(slot).map(State::get))
    };
    let topic = Topic::named("dig-availability");
    let place = |(slot, state): (u64, Option<f64>), soul: Option<dig_gun::value::Soul>| json!({"slot": slot, "soul": soul.unwrap().as_str(), "state": state});
    let (topics, mailboxes, prekeys) = (Slots::TOPIC, Slots::MAILBOX, Slots::PREKEY);
    json!({
        "now": NOW.as_millis(),
        "node": node,
        "private_key": "42".repeat(32),
        "topic": {"name": "dig-availability", "topic": topic.to_string()},
        "souls": {
            "topic": place(slots(topics), topic.soul(topics.at(NOW))),
            "mailbox": place(slots(mailboxes), layout::mailbox(node, mailboxes.at(NOW))),
            "prekey": place(slots(prekeys), layout::prekeys(node, prekeys.at(NOW))),
        },
        "content_key": {"text": "abc", "key": layout::content_key("abc").unwrap().as_str()},
        "announcements": announcements,
        "withdrawal": announcement(kind, &secret, lookup, None),
        "bad": bad(),
    })
}

#[test]
fn published_examples_hold() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors/gun.json");
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
fn the_key_of_a_text_is_its_hash() {
    let digest = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    assert_eq!(layout::content_key("abc").unwrap().as_str(), digest);
    assert_eq!(BASE64.decode(digest.as_bytes()).unwrap().len(), 32);
}
