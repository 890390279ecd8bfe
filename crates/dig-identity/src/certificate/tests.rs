use super::*;
use crate::{Algorithm, CryptoIdentity};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

#[test]
fn what_is_issued_verifies_for_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let identity = CryptoIdentity::generate(algorithm).unwrap();
        let issued = issue(&identity, NOW, DEFAULT_LIFETIME).unwrap();
        assert_eq!(verify(&issued.der, NOW).as_ref(), Ok(identity.public_key()));
        println!("{algorithm}: {} bytes", issued.der.len());
    }
}
