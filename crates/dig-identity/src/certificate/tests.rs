use super::*;
use crate::{Algorithm, CryptoIdentity, PublicKey};
use proptest::prelude::*;
use std::sync::LazyLock;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// One certificate of each algorithm, made once.
static SAMPLES: LazyLock<Vec<(PublicKey, Vec<u8>)>> = LazyLock::new(|| {
    let identities = Algorithm::ALL.map(|algorithm| CryptoIdentity::generate(algorithm).unwrap());
    let sample = |identity: &CryptoIdentity| {
        let der = issue(identity, NOW, DEFAULT_LIFETIME).unwrap().der;
        (identity.public_key().clone(), der)
    };
    identities.iter().map(sample).collect()
});

#[test]
fn what_is_issued_verifies_for_every_algorithm() {
    for (key, der) in SAMPLES.iter() {
        assert_eq!(verify(der, NOW).as_ref(), Ok(key));
    }
}

#[test]
fn the_largest_identity_fits() {
    let mut random = rsa::rand_core::UnwrapErr(getrandom::SysRng);
    let key = rsa::RsaPrivateKey::new(&mut random, 4096).unwrap();
    let pkcs8 = key.to_pkcs8_der().unwrap();
    let identity = CryptoIdentity::from_private_bytes(Algorithm::Rsa, pkcs8.as_bytes()).unwrap();
    let der = issue(&identity, NOW, MAX_LIFETIME).unwrap().der;
    assert_eq!(verify(&der, NOW).as_ref(), Ok(identity.public_key()));
    assert!(der.len() < 1600, "{} bytes", der.len());
}

#[test]
fn lifetimes_outside_the_limits_are_not_issued() {
    let identity = CryptoIdentity::generate(Algorithm::Ed25519).unwrap();
    for lifetime in [
        Duration::ZERO,
        Duration::from_millis(999),
        MAX_LIFETIME + Duration::from_nanos(1),
    ] {
        assert!(
            matches!(issue(&identity, NOW, lifetime), Err(IssueError::Lifetime)),
            "{lifetime:?}"
        );
    }
    let late = Timestamp::from_millis(NOW.as_millis() + 999);
    let der = issue(&identity, late, MAX_LIFETIME).unwrap().der;
    assert!(verify(&der, late).is_ok());
}

#[test]
fn an_identity_without_private_key_issues_nothing() {
    let identity = CryptoIdentity::public_only(SAMPLES[0].0.clone());
    assert!(matches!(
        issue(&identity, NOW, DEFAULT_LIFETIME),
        Err(IssueError::Sign(SignError::PublicOnly))
    ));
}

/// Every single bit: a changed certificate proves the same identity (the change was in a part that carries no meaning)
/// or none, and the parts that carry meaning cannot change at all.
#[test]
fn no_flipped_bit_proves_another_identity() {
    for (key, der) in &SAMPLES[..2] {
        let parts = layout::read(der).unwrap();
        let range = |part: &[u8]| {
            let start = part.as_ptr() as usize - der.as_ptr() as usize;
            start..start + part.len()
        };
        let meaningful = [range(parts.spki), range(parts.binding)];
        let mut harmless = 0;
        for bit in 0..8 * der.len() {
            let mut flipped = der.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let Ok(proved) = verify(&flipped, NOW) else {
                continue;
            };
            assert_eq!(proved, *key, "bit {bit}");
            assert!(
                !meaningful.iter().any(|part| part.contains(&(bit / 8))),
                "bit {bit}"
            );
            harmless += 1;
        }
        assert!(harmless > 0);
    }
}

#[test]
fn no_prefix_of_a_certificate_is_one() {
    for (_, der) in &SAMPLES[..2] {
        for len in 0..der.len() {
            assert_eq!(
                verify(&der[..len], NOW),
                Err(CertificateError::Malformed),
                "{len} bytes"
            );
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_no_certificate(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(verify(&bytes, NOW).is_err());
    }

    #[test]
    fn any_change_of_some_bytes_proves_no_other_identity(
        sample in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (key, der) = &SAMPLES[sample];
        let mut changed = der.clone();
        for (index, byte) in changes {
            let len = changed.len();
            changed[index.index(len)] = byte;
        }
        if let Ok(proved) = verify(&changed, NOW) {
            prop_assert_eq!(&proved, key);
        }
    }

    #[test]
    fn any_content_of_the_extension_is_refused(content in prop::collection::vec(any::<u8>(), 0..300)) {
        let result = Binding::decode(&content).map(|binding| binding.check_times(NOW));
        // Bytes that have the form are possible; certificates of them fail at the signature.
        if let Ok(Ok(())) = result {
            prop_assert!(content.len() > 22);
        }
    }

    #[test]
    fn a_certificate_is_valid_within_its_time_and_the_tolerance_only(offset in -10_000_000_i64..10_000_000) {
        let (key, der) = &SAMPLES[0];
        let now = Timestamp::from_millis(NOW.as_millis().checked_add_signed(offset * 1000).unwrap());
        let expected = if offset < -3600 {
            Err(CertificateError::NotYetValid)
        } else if offset >= 7 * 86_400 + 3600 {
            Err(CertificateError::Expired)
        } else {
            Ok(key.clone())
        };
        prop_assert_eq!(verify(der, now), expected);
    }
}
