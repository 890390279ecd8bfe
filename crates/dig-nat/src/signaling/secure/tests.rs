#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]

use super::*;
use crate::{
    candidate::Transport,
    signaling::{
        MAX_SIGNAL,
        seal::{CryptoError, KeyId, PADDING_STEP, SealedError},
    },
};
use dig_identity::{Algorithm, CryptoIdentity};
use proptest::prelude::*;
use std::sync::{LazyLock, Mutex};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

fn attempt(number: u64) -> AttemptId {
    AttemptId(u128::from(number).to_be_bytes())
}

fn earlier(time: Duration) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() - u64::try_from(time.as_millis()).unwrap())
}

/// A node, its signaling, and the identity behind it.
struct Node {
    identity: Arc<CryptoIdentity>,
    secure: SecureSignaling,
}

impl Node {
    fn new(now: Timestamp, identity: CryptoIdentity) -> Self {
        let identity = Arc::new(identity);
        let prekeys = Prekeys::new(now, &*identity).unwrap();
        let signer = Arc::clone(&identity) as Arc<dyn Signer>;
        Self {
            secure: SecureSignaling::new(now, signer, prekeys),
            identity,
        }
    }

    fn fresh() -> Self {
        Self::new(NOW, CryptoIdentity::generate(Algorithm::Ed25519).unwrap())
    }

    fn id(&self) -> NodeId {
        self.identity.node_id()
    }

    fn prekey(&self) -> Bytes {
        self.secure.prekey().clone()
    }

    fn offer(&mut self, now: Timestamp, to: &Self, number: u64, body: &[u8]) -> Bytes {
        let sealed = self
            .secure
            .seal_first(now, to.id(), &to.prekey(), attempt(number), body);
        sealed.unwrap()
    }

    fn open(&mut self, now: Timestamp, from: NodeId, bytes: &Bytes) -> Result<Opened, OpenError> {
        self.secure.open(now, carried(from, bytes))
    }
}

fn seen() -> Observed {
    Observed {
        transport: Transport::Udp,
        addr: "192.0.2.7:4433".parse().unwrap(),
    }
}

fn carried(from: NodeId, bytes: &Bytes) -> Signal {
    Signal {
        from: Some(from),
        observed: vec![seen()],
        bytes: bytes.clone(),
    }
}

/// An envelope of the given time and round, as a hostile or confused program of that signer would make it.
fn forged(
    signer: &CryptoIdentity,
    kind: Kind,
    to: NodeId,
    key: &[u8; KEY_LEN],
    change: impl FnOnce(&mut Envelope),
) -> Bytes {
    let mut envelope = Envelope {
        issued: NOW,
        attempt: attempt(1),
        round: 1,
        reply_key: *KeyPair::generate().unwrap().public(),
        body: Bytes::from_static(b"forged"),
    };
    change(&mut envelope);
    envelope.seal(signer, kind, to, key).unwrap()
}

fn prekey_of(node: &Node) -> [u8; KEY_LEN] {
    *SignedPrekey::parse(&node.prekey(), node.id())
        .unwrap()
        .key()
}

#[test]
fn an_offer_and_its_answers_arrive_whatever_the_keys() {
    for algorithm in Algorithm::ALL {
        let mut alice = Node::new(NOW, CryptoIdentity::generate(algorithm).unwrap());
        let mut bob = Node::fresh();
        let longest = vec![0x5A; Envelope::MAX_BODY];
        let offer = alice.offer(NOW, &bob, 1, &longest);
        assert!(offer.len() <= MAX_SIGNAL);
        let opened = bob.open(NOW, alice.id(), &offer).unwrap();
        assert_eq!((opened.from, opened.kind), (alice.id(), Kind::First));
        assert_eq!(&opened.key, alice.identity.public_key());
        assert_eq!(opened.attempt, attempt(1));
        assert_eq!(opened.observed, [seen()]);
        assert_eq!(opened.body, longest);

        let answer = bob.secure.reply(NOW, attempt(1), b"answer").unwrap();
        let opened = alice.open(NOW, bob.id(), &answer).unwrap();
        assert_eq!((opened.from, opened.kind), (bob.id(), Kind::Reply));
        assert_eq!(opened.body, &b"answer"[..]);

        let go = alice.secure.reply(NOW, attempt(1), b"go").unwrap();
        let opened = bob.open(NOW, alice.id(), &go).unwrap();
        assert_eq!((&opened.body[..], opened.round), (&b"go"[..], 2));
    }
}

#[test]
fn lengths_say_little() {
    let (mut alice, bob) = (Node::fresh(), Node::fresh());
    let lengths: Vec<_> = (0..600)
        .map(|length| alice.offer(NOW, &bob, 1, &vec![1; length]).len())
        .collect();
    assert!(
        lengths
            .iter()
            .all(|length| length.is_multiple_of(PADDING_STEP))
    );
    let steps: std::collections::BTreeSet<_> = lengths.into_iter().collect();
    assert_eq!(steps.into_iter().collect::<Vec<_>>(), [256, 512, 768, 1024]);
}

#[test]
fn a_body_that_does_not_fit_is_not_sealed() {
    let (mut alice, bob) = (Node::fresh(), Node::fresh());
    let body = vec![0; Envelope::MAX_BODY + 1];
    let sealed = alice
        .secure
        .seal_first(NOW, bob.id(), &bob.prekey(), attempt(1), &body);
    assert!(matches!(
        sealed,
        Err(SealError::Envelope(EnvelopeError::BodyTooLong(2817)))
    ));
}

#[test]
fn a_repeated_offer_is_refused_while_it_would_be_young() {
    let (mut alice, mut bob) = (Node::fresh(), Node::fresh());
    let offer = alice.offer(NOW, &bob, 1, b"offer");
    bob.open(NOW, alice.id(), &offer).unwrap();
    for later in [0, 1, 59, 60] {
        let again = bob.open(NOW + later * SECOND, alice.id(), &offer);
        assert!(matches!(again, Err(OpenError::Replayed)), "{again:?}");
    }
    let again = bob.open(NOW + 61 * SECOND, alice.id(), &offer);
    assert!(matches!(again, Err(OpenError::Aged)), "{again:?}");
}

#[test]
fn forgetting_an_attempt_opens_no_door() {
    let (mut alice, mut bob) = (Node::fresh(), Node::fresh());
    let offer = alice.offer(NOW, &bob, 1, b"offer");
    let late = alice.offer(NOW, &bob, 1, b"offer, repeated");
    bob.open(NOW, alice.id(), &offer).unwrap();
    let go_key = bob.secure.attempts[&attempt(1)].reply.id();
    bob.secure.forget(NOW, attempt(1));
    for bytes in [&offer, &late] {
        let again = bob.open(NOW, alice.id(), bytes);
        assert!(matches!(again, Err(OpenError::RolledBack)), "{again:?}");
    }
    assert!(bob.secure.attempts.is_empty());
    assert!(matches!(
        bob.secure.reply(NOW, attempt(1), b"?"),
        Err(SealError::UnknownAttempt)
    ));
    assert!(bob.secure.attempts.values().all(|a| a.reply.id() != go_key));
}

#[test]
fn rounds_only_rise() {
    let (mut alice, mut bob) = (Node::fresh(), Node::fresh());
    let offers: Vec<_> = (0..4)
        .map(|_| alice.offer(NOW, &bob, 1, b"offer"))
        .collect();
    assert_eq!(bob.open(NOW, alice.id(), &offers[1]).unwrap().round, 2);
    let rolled_back = bob.open(NOW, alice.id(), &offers[0]);
    assert!(matches!(rolled_back, Err(OpenError::RolledBack)));
    assert_eq!(bob.open(NOW, alice.id(), &offers[3]).unwrap().round, 4);
    let rolled_back = bob.open(NOW, alice.id(), &offers[2]);
    assert!(matches!(rolled_back, Err(OpenError::RolledBack)));

    let answers: Vec<_> = (0..2)
        .map(|_| bob.secure.reply(NOW, attempt(1), b"answer").unwrap())
        .collect();
    alice.open(NOW, bob.id(), &answers[1]).unwrap();
    let rolled_back = alice.open(NOW, bob.id(), &answers[0]);
    assert!(matches!(rolled_back, Err(OpenError::RolledBack)));
}

#[test]
fn an_offer_re_sealed_to_somebody_else_is_refused() {
    let (mut alice, mut bob, mut carol) = (Node::fresh(), Node::fresh(), Node::fresh());
    let offer = alice.offer(NOW, &bob, 1, b"offer");
    // As it is, Carol cannot open it.
    let opened = carol.open(NOW, alice.id(), &offer);
    assert!(matches!(opened, Err(OpenError::UnknownKey)), "{opened:?}");

    // Bob can, and seals text and signature, byte by byte, to Carol.
    let held = bob.secure.prekeys.find(NOW, KeyId::of(&prekey_of(&bob)));
    let text = Sealed::parse(&offer)
        .unwrap()
        .open(&held.unwrap().pair)
        .unwrap();
    let sealed = crate::signaling::seal::seal(Kind::First, &prekey_of(&carol), text.to_vec());
    let opened = carol.open(NOW, alice.id(), &sealed.unwrap().into());
    assert!(
        matches!(opened, Err(OpenError::Envelope(EnvelopeError::Signature))),
        "{opened:?}"
    );

    // Nor does it pass as an offer to another prekey of Bob, or as an answer to Bob's own one-time key.
    bob.secure.rotate(NOW + 24 * 3600 * SECOND).unwrap();
    let resealed = crate::signaling::seal::seal(Kind::First, &prekey_of(&bob), text.to_vec());
    let opened = bob.open(NOW, alice.id(), &resealed.unwrap().into());
    assert!(matches!(
        opened,
        Err(OpenError::Envelope(EnvelopeError::Signature))
    ));
    let own = bob.offer(NOW, &alice, 1, b"own");
    let one_time = *bob.secure.attempts[&attempt(1)].reply.public();
    let resealed = crate::signaling::seal::seal(Kind::Reply, &one_time, text.to_vec());
    let opened = bob.open(NOW, alice.id(), &resealed.unwrap().into());
    assert!(matches!(
        opened,
        Err(OpenError::Envelope(EnvelopeError::Signature))
    ));
    assert!(!own.is_empty());
}

#[test]
fn a_message_sent_on_by_somebody_else_is_refused() {
    let (mut alice, mut bob) = (Node::fresh(), Node::fresh());
    let mallory = Node::fresh();
    let offer = alice.offer(NOW, &bob, 1, b"offer");
    let opened = bob.open(NOW, mallory.id(), &offer);
    assert!(matches!(opened, Err(OpenError::Readdressed)), "{opened:?}");
    assert!(bob.secure.attempts.is_empty(), "nothing is remembered");
    // And that does not spoil the offer itself.
    bob.open(NOW, alice.id(), &offer).unwrap();
}

#[test]
fn addresses_count_only_with_a_carrier_that_names_the_sender() {
    let (mut alice, mut bob) = (Node::fresh(), Node::fresh());
    let mut signal = carried(alice.id(), &alice.offer(NOW, &bob, 1, b""));
    signal.from = None;
    assert_eq!(bob.secure.open(NOW, signal).unwrap().observed, []);

    let mut signal = carried(alice.id(), &alice.offer(NOW, &bob, 1, b""));
    signal.observed = vec![seen(); 1000];
    let opened = bob.secure.open(NOW, signal).unwrap();
    assert_eq!(opened.observed.len(), Signal::MAX_OBSERVED);
}

#[test]
fn old_and_future_messages_are_refused() {
    let mut bob = Node::new(
        earlier(3600 * SECOND),
        CryptoIdentity::generate(Algorithm::Ed25519).unwrap(),
    );
    let alice = Node::fresh();
    let millisecond = Duration::from_millis(1);
    let key = prekey_of(&bob);
    let mut number = 0;
    let mut at = |issued| {
        number += 1;
        let offer = forged(&alice.identity, Kind::First, bob.id(), &key, |envelope| {
            envelope.issued = issued;
            envelope.attempt = attempt(number);
        });
        bob.open(NOW, alice.id(), &offer).map(drop)
    };
    at(NOW).unwrap();
    at(earlier(MAX_AGE)).unwrap();
    at(NOW + MAX_AGE).unwrap();
    let refused = at(earlier(MAX_AGE + millisecond));
    assert!(matches!(refused, Err(OpenError::Aged)), "{refused:?}");
    let refused = at(NOW + MAX_AGE + millisecond);
    assert!(matches!(refused, Err(OpenError::Future)), "{refused:?}");
    for extreme in [0, u64::MAX] {
        assert!(at(Timestamp::from_millis(extreme)).is_err());
    }
}

#[test]
fn answers_come_only_from_the_peer_of_the_attempt() {
    let (mut alice, mut bob, mallory) = (Node::fresh(), Node::fresh(), Node::fresh());
    let offer = alice.offer(NOW, &bob, 1, b"offer");
    // Mallory was told Alice's one-time key by Bob, and answers in his stead.
    let one_time = *alice.secure.attempts[&attempt(1)].reply.public();
    let answer = forged(
        &mallory.identity,
        Kind::Reply,
        alice.id(),
        &one_time,
        |_| {},
    );
    let opened = alice.open(NOW, mallory.id(), &answer);
    assert!(matches!(opened, Err(OpenError::WrongSigner)), "{opened:?}");

    // Mallory takes part in Alice's attempt with Bob by its number.
    bob.open(NOW, alice.id(), &offer).unwrap();
    let key = prekey_of(&bob);
    let joined = forged(&mallory.identity, Kind::First, bob.id(), &key, |_| {});
    let opened = bob.open(NOW, mallory.id(), &joined);
    assert!(matches!(opened, Err(OpenError::WrongSigner)), "{opened:?}");
    let peer = bob.secure.attempts[&attempt(1)].peer;
    assert_eq!(peer, alice.id());
}

#[test]
fn an_answer_names_the_attempt_of_its_key() {
    let (mut alice, mut bob) = (Node::fresh(), Node::fresh());
    for number in [1, 2] {
        let offer = alice.offer(NOW, &bob, number, b"offer");
        bob.open(NOW, alice.id(), &offer).unwrap();
    }
    let second = *alice.secure.attempts[&attempt(2)].reply.public();
    let crossed = forged(&bob.identity, Kind::Reply, alice.id(), &second, |_| {});
    let opened = alice.open(NOW, bob.id(), &crossed);
    assert!(matches!(opened, Err(OpenError::WrongAttempt)), "{opened:?}");

    let key = prekey_of(&alice);
    let first = forged(&bob.identity, Kind::First, alice.id(), &key, |_| {});
    let opened = alice.open(NOW, bob.id(), &first);
    assert!(matches!(opened, Err(OpenError::WrongAttempt)), "{opened:?}");
}

#[test]
fn a_message_to_oneself_is_refused() {
    let mut alice = Node::fresh();
    let key = prekey_of(&alice);
    let own = forged(&alice.identity, Kind::First, alice.id(), &key, |_| {});
    let opened = alice.open(NOW, alice.id(), &own);
    assert!(matches!(opened, Err(OpenError::WrongSigner)), "{opened:?}");
}

#[test]
fn every_changed_byte_is_noticed() {
    let (mut alice, mut bob) = (Node::fresh(), Node::fresh());
    let offer = alice.offer(NOW, &bob, 1, b"offer");
    for at in 0..offer.len() {
        let mut changed = offer.to_vec();
        changed[at] ^= 0x40;
        // Slowly, so that it is not the flood that is refused.
        let now = NOW + Duration::from_millis(250) * u32::try_from(at).unwrap();
        let opened = bob.secure.open(
            now,
            Signal {
                from: None,
                observed: Vec::new(),
                bytes: changed.into(),
            },
        );
        let noticed = matches!(
            opened,
            Err(OpenError::UnknownKey
                | OpenError::Envelope(EnvelopeError::Crypto(CryptoError) | EnvelopeError::Form(_)))
        );
        assert!(noticed, "byte {at}: {opened:?}");
    }
    bob.open(NOW + 60 * SECOND, alice.id(), &offer).unwrap();
}

#[test]
fn a_weak_key_is_not_sealed_to() {
    // Points of small order make a secret that everybody knows (RFC 7748 §6.1, RFC 9180 §7.1.4).
    let (mut one, mut minus_one) = ([0; KEY_LEN], [0xFF; KEY_LEN]);
    one[0] = 1;
    (minus_one[0], minus_one[KEY_LEN - 1]) = (0xEC, 0x7F);
    let alice = Node::fresh();
    for weak in [[0; KEY_LEN], one, minus_one] {
        let envelope = Envelope {
            issued: NOW,
            attempt: attempt(1),
            round: 1,
            reply_key: weak,
            body: Bytes::new(),
        };
        let sealed = envelope.seal(&*alice.identity, Kind::First, alice.id(), &weak);
        assert!(matches!(sealed, Err(EnvelopeError::Crypto(_))), "{weak:?}");
    }

    let mut bob = Node::fresh();
    let offer = forged(
        &alice.identity,
        Kind::First,
        bob.id(),
        &prekey_of(&bob),
        |envelope| envelope.reply_key = one,
    );
    bob.open(NOW, alice.id(), &offer).unwrap();
    let answer = bob.secure.reply(NOW, attempt(1), b"answer");
    assert!(matches!(
        answer,
        Err(SealError::Envelope(EnvelopeError::Crypto(_)))
    ));
}

#[test]
fn what_is_hidden_in_the_padding_is_refused() {
    let (alice, mut bob) = (Node::fresh(), Node::fresh());
    let envelope = Envelope {
        issued: NOW,
        attempt: attempt(1),
        round: 1,
        reply_key: [9; KEY_LEN],
        body: Bytes::from_static(b"x"),
    };
    let key = prekey_of(&bob);
    let sealed = envelope
        .seal(&*alice.identity, Kind::First, bob.id(), &key)
        .unwrap();
    let pair = &bob.secure.prekeys.find(NOW, KeyId::of(&key)).unwrap().pair;
    let text = Sealed::parse(&sealed).unwrap().open(pair).unwrap().to_vec();
    let mut hidden = text.clone();
    *hidden.last_mut().unwrap() = 1;
    let longer = [&text[..], &[0; PADDING_STEP]].concat();
    for text in [hidden, longer] {
        let sealed = crate::signaling::seal::seal(Kind::First, &key, text).unwrap();
        let opened = bob.open(NOW, alice.id(), &sealed.into());
        assert!(
            matches!(opened, Err(OpenError::Envelope(EnvelopeError::Malformed))),
            "{opened:?}"
        );
    }
}

#[test]
fn a_run_refuses_what_an_earlier_one_may_have_answered() {
    let (mut alice, mut bob) = (Node::fresh(), Node::fresh());
    let offer = alice.offer(NOW, &bob, 1, b"offer");
    bob.open(NOW, alice.id(), &offer).unwrap();
    let state = bob.secure.state();

    let restarted = NOW + 5 * SECOND;
    let prekeys = Prekeys::restore(restarted, &*bob.identity, &state).unwrap();
    let signer = Arc::clone(&bob.identity) as Arc<dyn Signer>;
    bob.secure = SecureSignaling::new(restarted, signer, prekeys);
    let again = bob.open(restarted, alice.id(), &offer);
    assert!(matches!(again, Err(OpenError::BeforeStart)), "{again:?}");
    let next = alice.offer(restarted, &bob, 1, b"offer");
    bob.open(restarted, alice.id(), &next).unwrap();
}

#[test]
fn offers_to_an_expired_prekey_are_not_opened() {
    let (mut alice, mut bob) = (Node::fresh(), Node::fresh());
    let week = SignedPrekey::MAX_LIFETIME;
    let old = bob.prekey();
    let late = NOW + week;
    let sealed = alice
        .secure
        .seal_first(late, bob.id(), &old, attempt(1), b"late");
    assert!(matches!(
        sealed,
        Err(SealError::Prekey(PrekeyError::Expired))
    ));
    let key = *SignedPrekey::parse(&old, bob.id()).unwrap().key();
    let offer = forged(&alice.identity, Kind::First, bob.id(), &key, |envelope| {
        envelope.issued = late;
    });
    let opened = bob.open(late, alice.id(), &offer);
    assert!(matches!(opened, Err(OpenError::UnknownKey)), "{opened:?}");
}

#[test]
fn an_attempt_has_one_peer_and_one_side_that_began_it() {
    let (mut alice, mut bob, carol) = (Node::fresh(), Node::fresh(), Node::fresh());
    let offer = alice.offer(NOW, &bob, 1, b"offer");
    let other = |alice: &mut Node, to: &Node| {
        alice
            .secure
            .seal_first(NOW, to.id(), &to.prekey(), attempt(1), b"?")
    };
    let refused = other(&mut alice, &carol);
    assert!(matches!(refused, Err(SealError::OtherAttempt)));
    bob.open(NOW, alice.id(), &offer).unwrap();
    let refused = other(&mut bob, &alice);
    assert!(matches!(refused, Err(SealError::OtherAttempt)));
    assert!(matches!(
        alice.secure.reply(NOW, attempt(1), b"too early"),
        Err(SealError::NotAnswered)
    ));
}

#[test]
fn a_flood_of_offers_costs_little_and_starves_nobody() {
    let (mut alice, mut bob, mallory) = (Node::fresh(), Node::fresh(), Node::fresh());
    let key = prekey_of(&bob);
    let mut opened = 0;
    let mut answered = 0;
    for number in 0..2000 {
        // 1,000 a second of one stranger, and an honest offer twice a second.
        let now = NOW + Duration::from_millis(number);
        let offer = forged(&mallory.identity, Kind::First, bob.id(), &key, |envelope| {
            envelope.issued = now;
            envelope.attempt = attempt(number);
        });
        opened += usize::from(bob.open(now, mallory.id(), &offer).is_ok());
        if number.is_multiple_of(500) {
            let honest = alice.offer(now, &bob, 1 << 32, b"offer");
            answered += usize::from(bob.open(now, alice.id(), &honest).is_ok());
        }
    }
    assert!(opened <= 16, "opened {opened}");
    assert_eq!(answered, 4);
}

#[test]
fn floods_of_many_strangers_are_bounded_together() {
    let mut bob = Node::fresh();
    let key = prekey_of(&bob);
    let strangers: Vec<_> = (0..40).map(|_| Node::fresh()).collect();
    let mut opened = 0;
    for number in 0..3000_u64 {
        let now = NOW + Duration::from_millis(number);
        let stranger = &strangers[usize::try_from(number).unwrap() % strangers.len()];
        let offer = forged(
            &stranger.identity,
            Kind::First,
            bob.id(),
            &key,
            |envelope| {
                envelope.issued = now;
                envelope.attempt = attempt(number);
            },
        );
        opened += usize::from(bob.open(now, stranger.id(), &offer).is_ok());
    }
    assert!(opened <= 64 + 3 * 32, "opened {opened}");
    assert!(opened >= 100, "opened {opened}");
    assert!(bob.secure.attempts.len() <= MAX_ATTEMPTS);
}

#[test]
fn others_cannot_push_out_ones_own_attempts() {
    let (mut alice, bob, stranger) = (Node::fresh(), Node::fresh(), Node::fresh());
    alice.offer(NOW, &bob, 1 << 40, b"offer");
    let key = prekey_of(&alice);
    for number in 0..400_u64 {
        let now = NOW + Duration::from_millis(250 * number);
        // Touched now and then, as an attempt that runs is.
        alice.offer(now, &bob, 1 << 40, b"offer");
        let offer = forged(
            &stranger.identity,
            Kind::First,
            alice.id(),
            &key,
            |envelope| {
                envelope.issued = now;
                envelope.attempt = attempt(number);
            },
        );
        alice.open(now, stranger.id(), &offer).unwrap();
        assert!(alice.secure.attempts.len() <= MAX_ATTEMPTS);
    }
    assert!(alice.secure.attempts.contains_key(&attempt(1 << 40)));
    assert!(alice.secure.attempts.contains_key(&attempt(399)));
}

#[test]
fn more_than_the_most_attempts_of_ones_own_are_not_begun() {
    let (mut alice, bob) = (Node::fresh(), Node::fresh());
    for number in 0..MAX_ATTEMPTS as u64 {
        alice.offer(NOW, &bob, number, b"offer");
    }
    let begin = |alice: &mut Node, now| {
        alice
            .secure
            .seal_first(now, bob.id(), &bob.prekey(), attempt(1 << 20), b"")
    };
    let refused = begin(&mut alice, NOW);
    assert!(matches!(refused, Err(SealError::TooManyAttempts)));
    begin(&mut alice, NOW + ATTEMPT_IDLE).unwrap();
}

/// One node for all cases, as keys are costly to make, and its time, which passes so that nothing is refused as a flood.
static BOB: LazyLock<Mutex<(Node, Timestamp)>> = LazyLock::new(|| (Node::fresh(), NOW).into());

fn open_any(bytes: Vec<u8>, from: Option<NodeId>) -> Result<Opened, OpenError> {
    let mut bob = BOB.lock().unwrap();
    bob.1 = bob.1 + SECOND;
    let now = bob.1;
    let signal = Signal {
        from,
        observed: Vec::new(),
        bytes: bytes.into(),
    };
    bob.0.secure.open(now, signal)
}

proptest! {
    #[test]
    fn any_bytes_are_answered(mut bytes in proptest::collection::vec(any::<u8>(), 0..4200)) {
        let form = bytes.len().is_multiple_of(PADDING_STEP) && (1..=MAX_SIGNAL).contains(&bytes.len());
        let opened = open_any(bytes.clone(), None);
        if !form {
            let refused = matches!(opened, Err(OpenError::Envelope(EnvelopeError::Form(SealedError::Length(_)))));
            prop_assert!(refused, "{opened:?}");
        }
        bytes.resize(bytes.len().next_multiple_of(PADDING_STEP).clamp(PADDING_STEP, MAX_SIGNAL), 0);
        bytes[..2].copy_from_slice(&[1, 1]);
        let key = KeyId::of(&prekey_of(&BOB.lock().unwrap().0));
        bytes[2..10].copy_from_slice(key.as_bytes());
        let opened = open_any(bytes, None);
        prop_assert!(matches!(opened, Err(OpenError::Envelope(EnvelopeError::Crypto(_)))), "{opened:?}");
    }

    /// Whoever knows the prekey can seal anything to it: what is inside is as hostile as what is outside.
    #[test]
    fn any_text_inside_is_answered(text in proptest::collection::vec(any::<u8>(), 0..900), from: [u8; 32]) {
        let key = prekey_of(&BOB.lock().unwrap().0);
        let sealed = crate::signaling::seal::seal(Kind::First, &key, text).unwrap();
        let opened = open_any(sealed, Some(NodeId::from_bytes(from)));
        let refused = matches!(
            opened,
            Err(OpenError::Envelope(EnvelopeError::Malformed | EnvelopeError::Key | EnvelopeError::Signature))
        );
        prop_assert!(refused, "{opened:?}");
    }
}
