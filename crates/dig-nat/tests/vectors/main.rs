//! The published test vectors of sealed signaling, `docs/vectors/seal.json`: built here from `docs/protocol.md` §12 alone,
//! checked against this crate, or written where `DIG_WRITE_VECTORS` is 1.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]
#![allow(
    clippy::too_many_lines,
    reason = "the lists of bad messages and prekeys read best as one list each"
)]

mod hpke;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use dig_identity::{Algorithm, CryptoIdentity, Signer};
use dig_nat::signaling::{
    Signal,
    envelope::{Envelope, EnvelopeError},
    prekey::{PrekeyError, Prekeys, SignedPrekey},
    seal::{KeyId, KeyPair, Kind, Sealed},
    secure::{OpenError, SecureSignaling},
};
use dig_types::{NodeId, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{fs, path::Path, sync::Arc, time::Duration};

const ABOUT: &str = "Sealed signaling of docs/protocol.md section 12. Bytes are hexadecimal, times Unix milliseconds, private keys of \
    identities as in section 1 (ed25519 seed, secp256k1 scalar), of X25519 as in RFC 7748. `recipient` is the node that everything is \
    for. `good`: `sealed` is opened with `key_private` and means what `means` says; `text` is what HPKE sealed, `signed_text` what the \
    sender signed, `ephemeral_private` the key that the sender drew. `bad`: refused at `now` by a recipient that holds its prekey and has \
    opened nothing. `bad_prekeys`: refused at `now` as prekeys of `node`.";

const ISSUED: u64 = 1_800_000_000_000;
const PREKEY: [u8; 32] = [0x31; 32];
const ONE_TIME: [u8; 32] = [0x32; 32];
const EPHEMERAL: [u8; 32] = [0x33; 32];

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn identity(algorithm: Algorithm, byte: u8) -> CryptoIdentity {
    CryptoIdentity::from_private_bytes(algorithm, &[byte; 32]).unwrap()
}

fn recipient() -> CryptoIdentity {
    identity(Algorithm::Ed25519, 0x21)
}

fn sender() -> CryptoIdentity {
    identity(Algorithm::Ed25519, 0x22)
}

fn field(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// A signed prekey, and what its node signed.
fn prekey(signer: &CryptoIdentity, issued: u64, expires: u64) -> (Vec<u8>, Vec<u8>) {
    let key = hpke::public(&PREKEY);
    let times = [issued.to_be_bytes(), expires.to_be_bytes()].concat();
    let signed_text = [&b"dig-prekey/1:"[..], &key, &times].concat();
    let public = signer.public_key();
    let signature = signer.sign(&signed_text).unwrap();
    let bytes = [
        &[1, public.algorithm().code()][..],
        &times,
        &key,
        &field(public.as_bytes()),
        &field(&signature),
    ]
    .concat();
    (bytes, signed_text)
}

/// One message, with everything that a hostile sender may set otherwise.
struct Made {
    sender: CryptoIdentity,
    kind: u8,
    version: u8,
    recipient: NodeId,
    /// The private half of the key that the signature says it is sealed to, and of the one that it is sealed to.
    signed_key: [u8; 32],
    key: [u8; 32],
    issued: u64,
    round: u32,
    body: Vec<u8>,
    claimed_key: Option<Vec<u8>>,
    padding: Vec<u8>,
}

impl Made {
    fn first() -> Self {
        Self {
            sender: sender(),
            kind: 1,
            version: 1,
            recipient: recipient().node_id(),
            signed_key: PREKEY,
            key: PREKEY,
            issued: ISSUED,
            round: 1,
            body: b"offer".to_vec(),
            claimed_key: None,
            padding: Vec::new(),
        }
    }

    fn reply_key() -> [u8; 32] {
        hpke::public(&[0x34; 32])
    }

    fn signed_text(&self) -> Vec<u8> {
        [
            &b"dig-signal/1:"[..],
            &[self.kind],
            self.recipient.as_bytes(),
            &hpke::public(&self.signed_key),
            &self.issued.to_be_bytes(),
            &[0x41; 16],
            &self.round.to_be_bytes(),
            &Self::reply_key(),
            &self.body,
        ]
        .concat()
    }

    fn text(&self) -> Vec<u8> {
        let public = self.sender.public_key();
        let key = self.claimed_key.clone();
        let mut text = [
            &self.issued.to_be_bytes()[..],
            &[0x41; 16],
            &self.round.to_be_bytes(),
            &Self::reply_key(),
            &[public.algorithm().code()],
            &field(&key.unwrap_or_else(|| public.as_bytes().to_vec())),
            &field(&self.body),
            &field(&self.sender.sign(&self.signed_text()).unwrap()),
            &self.padding,
        ]
        .concat();
        let padded = (text.len() + 58).next_multiple_of(256);
        text.resize(padded - 58, 0);
        text
    }

    fn sealed(&self) -> Vec<u8> {
        let to = hpke::public(&self.key);
        let mut id = Sha256::digest([&b"dig-key/1"[..], &to].concat()).to_vec();
        id.truncate(8);
        let clear = [&[self.version, self.kind][..], &id].concat();
        let (encapsulated, text) =
            hpke::seal(&EPHEMERAL, &to, b"dig-signal/1", &clear, &self.text());
        [clear, encapsulated, text].concat()
    }

    fn vector(&self, why: &str) -> Value {
        json!({
            "why": why,
            "kind": self.kind,
            "key_private": hex(self.key),
            "ephemeral_private": hex(EPHEMERAL),
            "sealed": hex(self.sealed()),
            "text": hex(self.text()),
            "signed_text": hex(self.signed_text()),
            "means": {
                "from": self.sender.node_id().to_string(),
                "sender_key": self.sender.public_key().to_hex(),
                "algorithm": self.sender.public_key().algorithm().name(),
                "attempt": hex([0x41; 16]),
                "round": self.round,
                "issued": self.issued,
                "reply_key": hex(Self::reply_key()),
                "body": hex(&self.body),
            },
        })
    }
}

fn good() -> Vec<(&'static str, Made)> {
    let first = Made::first;
    vec![
        ("an offer, sealed to the prekey", first()),
        (
            "a sender with a secp256k1 key",
            Made {
                sender: identity(Algorithm::Secp256k1, 0x23),
                ..first()
            },
        ),
        (
            "an answer, sealed to a one-time key",
            Made {
                kind: 2,
                key: ONE_TIME,
                signed_key: ONE_TIME,
                round: 7,
                body: b"answer".to_vec(),
                ..first()
            },
        ),
        (
            "no body",
            Made {
                body: Vec::new(),
                ..first()
            },
        ),
        (
            "the longest body",
            Made {
                body: vec![0x42; 2816],
                ..first()
            },
        ),
    ]
}

type Bad = (&'static str, u64, Vec<u8>, fn(&OpenError) -> bool);

fn forged(error: &OpenError) -> bool {
    matches!(error, OpenError::Envelope(EnvelopeError::Signature))
}

fn malformed(error: &OpenError) -> bool {
    matches!(error, OpenError::Envelope(EnvelopeError::Malformed))
}

fn formless(error: &OpenError) -> bool {
    matches!(error, OpenError::Envelope(EnvelopeError::Form(_)))
}

fn changed(error: &OpenError) -> bool {
    matches!(error, OpenError::Envelope(EnvelopeError::Crypto(_)))
}

fn unknown(error: &OpenError) -> bool {
    matches!(error, OpenError::UnknownKey)
}

fn bad() -> Vec<Bad> {
    let first = Made::first;
    let offer = first().sealed();
    let flipped = |at: usize| {
        let mut sealed = offer.clone();
        sealed[at] ^= 1;
        sealed
    };
    let other = identity(Algorithm::Ed25519, 0x24);
    let meant_for_another = Made {
        recipient: other.node_id(),
        ..first()
    };
    let meant_for_another_key = Made {
        signed_key: ONE_TIME,
        ..first()
    };
    let to_another_key = Made {
        key: ONE_TIME,
        ..first()
    };
    let in_anothers_name = Made {
        claimed_key: Some(other.public_key().as_bytes().to_vec()),
        ..first()
    };
    let weak_key = Made {
        claimed_key: Some(vec![0; 32]),
        ..first()
    };
    let hidden = Made {
        padding: vec![0, 1],
        ..first()
    };
    let longer = Made {
        padding: vec![0; 256],
        ..first()
    };
    let too_long = Made {
        body: vec![0x42; 2817],
        ..first()
    };
    let version_2 = Made {
        version: 2,
        ..first()
    };
    let own = Made {
        sender: recipient(),
        ..first()
    };
    let minute = 60_000;
    vec![
        (
            "signed for another recipient, and sealed again",
            ISSUED,
            meant_for_another.sealed(),
            forged,
        ),
        (
            "signed for another key of the recipient",
            ISSUED,
            meant_for_another_key.sealed(),
            forged,
        ),
        (
            "sealed to a key that the recipient has not",
            ISSUED,
            to_another_key.sealed(),
            unknown,
        ),
        (
            "signed by another key than the one it names",
            ISSUED,
            in_anothers_name.sealed(),
            forged,
        ),
        (
            "a key that is no identity key",
            ISSUED,
            weak_key.sealed(),
            |error| matches!(error, OpenError::Envelope(EnvelopeError::Key)),
        ),
        ("from the recipient itself", ISSUED, own.sealed(), |error| {
            matches!(error, OpenError::WrongSigner)
        }),
        (
            "more than a minute old",
            ISSUED + minute + 1,
            offer.clone(),
            |error| matches!(error, OpenError::Aged),
        ),
        (
            "more than a minute from the future",
            ISSUED - minute - 1,
            offer.clone(),
            |error| matches!(error, OpenError::Future),
        ),
        (
            "padding that is not zero",
            ISSUED,
            hidden.sealed(),
            malformed,
        ),
        (
            "a step of padding too many",
            ISSUED,
            longer.sealed(),
            malformed,
        ),
        (
            "a body of 2,817 bytes",
            ISSUED,
            too_long.sealed(),
            malformed,
        ),
        ("version 2", ISSUED, version_2.sealed(), formless),
        ("kind 3", ISSUED, [&[1, 3], &offer[2..]].concat(), formless),
        (
            "an offer that calls itself an answer",
            ISSUED,
            [&[1, 2], &offer[2..]].concat(),
            unknown,
        ),
        ("another key id", ISSUED, flipped(9), unknown),
        ("another encapsulated key", ISSUED, flipped(10), changed),
        ("another ciphertext", ISSUED, flipped(42), changed),
        ("another tag", ISSUED, flipped(offer.len() - 1), changed),
        (
            "a byte missing",
            ISSUED,
            offer[..offer.len() - 1].to_vec(),
            formless,
        ),
        (
            "half of it",
            ISSUED,
            offer[..offer.len() / 2].to_vec(),
            formless,
        ),
        ("nothing", ISSUED, Vec::new(), formless),
        (
            "4,352 bytes",
            ISSUED,
            [&offer[..10], &[0; 4342]].concat(),
            formless,
        ),
    ]
}

type BadPrekey = (&'static str, u64, NodeId, Vec<u8>, fn(&PrekeyError) -> bool);

fn bad_prekeys() -> Vec<BadPrekey> {
    let signer = recipient();
    let node = signer.node_id();
    let other = identity(Algorithm::Ed25519, 0x24).node_id();
    let week = 7 * 24 * 3_600_000;
    let (good, _) = prekey(&signer, ISSUED, ISSUED + week);
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    vec![
        ("of another node", ISSUED, other, good.clone(), |error| {
            matches!(error, PrekeyError::WrongNode)
        }),
        ("another X25519 key", ISSUED, node, flipped(18), |error| {
            matches!(error, PrekeyError::Signature)
        }),
        (
            "another signature",
            ISSUED,
            node,
            flipped(good.len() - 1),
            |error| matches!(error, PrekeyError::Signature),
        ),
        (
            "a life of more than 7 days",
            ISSUED,
            node,
            prekey(&signer, ISSUED, ISSUED + week + 1).0,
            |error| matches!(error, PrekeyError::Lifetime),
        ),
        (
            "no life at all",
            ISSUED,
            node,
            prekey(&signer, ISSUED, ISSUED).0,
            |error| matches!(error, PrekeyError::Lifetime),
        ),
        ("expired", ISSUED + week, node, good.clone(), |error| {
            matches!(error, PrekeyError::Expired)
        }),
        (
            "from the future",
            ISSUED - 3_600_001,
            node,
            good.clone(),
            |error| matches!(error, PrekeyError::NotYetValid),
        ),
        (
            "version 2",
            ISSUED,
            node,
            [&[2], &good[1..]].concat(),
            |error| matches!(error, PrekeyError::Version(2)),
        ),
        (
            "algorithm 0",
            ISSUED,
            node,
            [&[1, 0], &good[2..]].concat(),
            |error| matches!(error, PrekeyError::Malformed),
        ),
        (
            "a byte behind it",
            ISSUED,
            node,
            [&good[..], &[0]].concat(),
            |error| matches!(error, PrekeyError::Malformed),
        ),
        ("nothing", ISSUED, node, Vec::new(), |error| {
            matches!(error, PrekeyError::Malformed)
        }),
    ]
}

fn week_later() -> u64 {
    ISSUED + 7 * 24 * 3_600_000
}

fn document() -> Value {
    let (signed_prekey, prekey_text) = prekey(&recipient(), ISSUED, week_later());
    let good: Vec<Value> = good().iter().map(|(why, made)| made.vector(why)).collect();
    let bad: Vec<Value> = bad()
        .into_iter()
        .map(|(why, now, sealed, _)| json!({ "why": why, "now": now, "sealed": hex(sealed) }))
        .collect();
    let bad_prekeys: Vec<Value> = bad_prekeys()
        .into_iter()
        .map(|(why, now, node, bytes, _)| {
            json!({ "why": why, "now": now, "node": node.to_string(), "prekey": hex(bytes) })
        })
        .collect();
    json!({
        "about": ABOUT,
        "recipient": {
            "identity_private": hex([0x21; 32]),
            "node": recipient().node_id().to_string(),
            "prekey_private": hex(PREKEY),
            "prekey_public": hex(hpke::public(&PREKEY)),
            "prekey_id": hex(KeyId::of(&hpke::public(&PREKEY)).as_bytes()),
            "prekey_issued": ISSUED,
            "prekey_expires": week_later(),
            "prekey_signed_text": hex(prekey_text),
            "prekey": hex(signed_prekey),
        },
        "good": good,
        "bad": bad,
        "bad_prekeys": bad_prekeys,
    })
}

/// The recipient, with the prekey of the vectors in its memory.
fn signaling() -> SecureSignaling {
    let (signed, _) = prekey(&recipient(), ISSUED, week_later());
    let state = [&b"digpkey1"[..], &PREKEY, &field(&signed)].concat();
    let before = Timestamp::from_millis(ISSUED - 120_000);
    let signer = Arc::new(recipient());
    // A little later: to the clock before, the prekey would be from the future, and replaced.
    let restored = Prekeys::restore(Timestamp::from_millis(ISSUED), &*signer, &state).unwrap();
    assert_eq!(&restored.current().bytes()[..], signed);
    SecureSignaling::new(before, signer, restored)
}

fn open(now: u64, sealed: Vec<u8>) -> Result<dig_nat::signaling::secure::Opened, OpenError> {
    let signal = Signal {
        from: None,
        observed: Vec::new(),
        bytes: sealed.into(),
    };
    signaling().open(Timestamp::from_millis(now), signal)
}

#[test]
fn published_seals_hold() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors/seal.json");
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
fn good_seals_open() {
    for (why, made) in good() {
        let key = KeyPair::from_private(&made.key).unwrap();
        let sealed = made.sealed();
        let parsed = Sealed::parse(&sealed).unwrap();
        assert_eq!(
            (parsed.kind().code(), parsed.key()),
            (made.kind, key.id()),
            "{why}"
        );
        let (envelope, from) = Envelope::open(&parsed, &key, recipient().node_id()).unwrap();
        assert_eq!(&from, made.sender.public_key(), "{why}");
        assert_eq!(envelope.issued.as_millis(), made.issued, "{why}");
        assert_eq!(envelope.attempt.0, [0x41; 16], "{why}");
        assert_eq!(envelope.round, made.round, "{why}");
        assert_eq!(envelope.reply_key, Made::reply_key(), "{why}");
        assert_eq!(envelope.body, made.body, "{why}");
        if parsed.kind() == Kind::First {
            let opened = open(ISSUED, sealed).unwrap();
            assert_eq!(
                (opened.from, opened.body),
                (from.node_id(), Bytes::from(made.body)),
                "{why}"
            );
        }
    }
}

#[test]
fn bad_seals_are_refused_for_their_reason() {
    for (why, now, sealed, expected) in bad() {
        let refused = open(now, sealed).unwrap_err();
        assert!(expected(&refused), "{why}: {refused:?}");
    }
    let offer = Made::first().sealed();
    let signal = Signal {
        from: None,
        observed: Vec::new(),
        bytes: offer.into(),
    };
    let mut signaling = signaling();
    let now = Timestamp::from_millis(ISSUED) + Duration::from_secs(1);
    signaling.open(now, signal.clone()).unwrap();
    let refused = signaling.open(now, signal).unwrap_err();
    assert!(matches!(refused, OpenError::Replayed), "{refused:?}");
}

#[test]
fn bad_prekeys_are_refused_for_their_reason() {
    for (why, now, node, bytes, expected) in bad_prekeys() {
        let now = Timestamp::from_millis(now);
        let read = SignedPrekey::parse(&bytes, node);
        let refused = read.and_then(|prekey| prekey.check(now)).unwrap_err();
        assert!(expected(&refused), "{why}: {refused:?}");
    }
}
