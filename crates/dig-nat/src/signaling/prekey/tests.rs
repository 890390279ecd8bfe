#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]

use super::*;
use dig_identity::CryptoIdentity;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn identity(algorithm: Algorithm) -> CryptoIdentity {
    CryptoIdentity::generate(algorithm).unwrap()
}

fn ed25519() -> CryptoIdentity {
    identity(Algorithm::Ed25519)
}

#[test]
fn every_algorithm_signs_what_every_reader_takes() {
    for algorithm in Algorithm::ALL {
        let signer = identity(algorithm);
        let prekeys = Prekeys::new(NOW, &signer).unwrap();
        let bytes = prekeys.current().bytes();
        assert!(bytes.len() <= SignedPrekey::MAX_LEN);
        let read = SignedPrekey::parse(bytes, signer.node_id()).unwrap();
        assert_eq!(&read, prekeys.current());
        assert_eq!(read.node(), signer.node_id());
        read.check(NOW).unwrap();
    }
}

#[test]
fn another_nodes_prekey_is_refused() {
    let prekeys = Prekeys::new(NOW, &ed25519()).unwrap();
    let read = SignedPrekey::parse(prekeys.current().bytes(), ed25519().node_id());
    assert!(matches!(read, Err(PrekeyError::WrongNode)), "{read:?}");
}

#[test]
fn every_changed_byte_is_noticed() {
    let signer = ed25519();
    let prekeys = Prekeys::new(NOW, &signer).unwrap();
    let bytes = prekeys.current().bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        assert!(
            SignedPrekey::parse(&changed, signer.node_id()).is_err(),
            "byte {at}"
        );
        assert!(SignedPrekey::parse(&bytes[..at], signer.node_id()).is_err());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(SignedPrekey::parse(&longer, signer.node_id()).is_err());
}

#[test]
fn a_life_of_more_than_a_week_is_refused() {
    let signer = ed25519();
    let sign = |issued, expires| {
        SignedPrekey::sign(&signer, [7; 32], issued, expires)
            .unwrap()
            .bytes
    };
    let week = SignedPrekey::MAX_LIFETIME;
    let longer = week + Duration::from_millis(1);
    SignedPrekey::parse(&sign(NOW, NOW + week), signer.node_id()).unwrap();
    for (issued, expires) in [
        (NOW, NOW + longer),
        (NOW, NOW),
        (NOW + DAY, NOW),
        (Timestamp::from_millis(0), Timestamp::from_millis(u64::MAX)),
    ] {
        let read = SignedPrekey::parse(&sign(issued, expires), signer.node_id());
        assert!(matches!(read, Err(PrekeyError::Lifetime)), "{read:?}");
    }
}

#[test]
fn it_is_sealed_to_only_while_it_lives() {
    let prekeys = Prekeys::new(NOW, &ed25519()).unwrap();
    let prekey = prekeys.current();
    prekey.check(NOW + 6 * DAY).unwrap();
    let expired = prekey.check(NOW + 7 * DAY);
    assert!(matches!(expired, Err(PrekeyError::Expired)));
    let early = Timestamp::from_millis(NOW.as_millis() - 3_600_001);
    assert!(matches!(prekey.check(early), Err(PrekeyError::NotYetValid)));
    prekey.check(early + Duration::from_millis(1)).unwrap();
}

#[test]
fn rotates_daily_and_opens_for_a_week() {
    let signer = ed25519();
    let mut prekeys = Prekeys::new(NOW, &signer).unwrap();
    let first = prekeys.current().clone();
    let id = KeyId::of(first.key());
    assert!(!prekeys.rotate(NOW + DAY / 2, &signer).unwrap());
    assert_eq!(prekeys.current(), &first);
    for day in 1..=20 {
        let now = NOW + day * DAY;
        assert_eq!(prekeys.next_rotation(), now);
        assert!(prekeys.rotate(now, &signer).unwrap(), "day {day}");
        assert_ne!(prekeys.current().key(), first.key());
        assert_eq!(prekeys.find(now, id).is_some(), day < 7, "day {day}");
        assert!(prekeys.held.len() <= 8, "day {day}");
    }
}

#[test]
fn a_clock_set_back_makes_a_new_one() {
    let signer = ed25519();
    let mut prekeys = Prekeys::new(NOW + 30 * DAY, &signer).unwrap();
    assert!(prekeys.rotate(NOW, &signer).unwrap());
    prekeys.current().check(NOW).unwrap();
    assert!(!prekeys.rotate(NOW, &signer).unwrap());
}

#[test]
fn the_next_run_opens_what_the_last_one_published() {
    let signer = ed25519();
    let mut prekeys = Prekeys::new(NOW, &signer).unwrap();
    let first = prekeys.current().clone();
    prekeys.rotate(NOW + DAY, &signer).unwrap();
    let second = prekeys.current().clone();
    let state = prekeys.state();

    let soon = NOW + DAY + Duration::from_secs(60);
    let restored = Prekeys::restore(soon, &signer, &state).unwrap();
    assert_eq!(restored.current(), &second, "still young");
    let held = restored.find(soon, KeyId::of(first.key())).unwrap();
    assert!(held.restored);
    assert_eq!(
        held.pair.private()[..],
        prekeys
            .find(soon, KeyId::of(first.key()))
            .unwrap()
            .pair
            .private()[..]
    );

    let later = NOW + 7 * DAY;
    let restored = Prekeys::restore(later, &signer, &state).unwrap();
    assert_ne!(restored.current(), &second, "a day has passed");
    assert!(restored.find(later, KeyId::of(first.key())).is_none());
    assert!(restored.find(later, KeyId::of(second.key())).is_some());

    let restored = Prekeys::restore(NOW + 60 * DAY, &signer, &state).unwrap();
    assert_eq!(restored.held.len(), 1, "only the fresh one");
}

#[test]
fn damaged_state_is_refused() {
    let signer = ed25519();
    let prekeys = Prekeys::new(NOW, &signer).unwrap();
    let state = prekeys.state();
    for length in 0..state.len() {
        let restored = Prekeys::restore(NOW, &signer, &state[..length]);
        // Nothing behind the magic is the state of nobody's keys.
        assert_eq!(restored.is_ok(), length == STATE_MAGIC.len(), "{length}");
    }
    for at in 0..state.len() {
        let mut changed = state.to_vec();
        changed[at] ^= 0x80;
        // X25519 clamps: bits of a private key that it ignores may change.
        let ignored = at == STATE_MAGIC.len() + 31;
        assert_eq!(
            Prekeys::restore(NOW, &signer, &changed).is_ok(),
            ignored,
            "byte {at}"
        );
    }
    assert!(Prekeys::restore(NOW, &ed25519(), &state).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
        let signer = ed25519();
        prop_assert!(SignedPrekey::parse(&bytes, signer.node_id()).is_err());
        let mut versioned = bytes.clone();
        if let [version, algorithm, ..] = &mut versioned[..] {
            (*version, *algorithm) = (1, 1);
        }
        prop_assert!(SignedPrekey::parse(&versioned, signer.node_id()).is_err());
        let state = [&STATE_MAGIC[..], &bytes].concat();
        prop_assert_eq!(Prekeys::restore(NOW, &signer, &state).is_ok(), bytes.is_empty());
    }
}
