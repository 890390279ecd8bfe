//! Nonces that cost nothing to hand out: the server keeps one key, not a list.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use std::{fmt, net::SocketAddr, time::Duration};

/// Makes and checks nonces (RFC 8489 §9.2). A nonce names the address that it was sent to, so whoever shows one has received
/// at that address; that, and not the password alone, is what makes an answer no reflection.
pub(super) struct Nonces {
    key: hmac::Key,
    lifetime: Duration,
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

impl Nonces {
    /// Characters of a nonce: four bytes of time and eight of proof, in an alphabet that RFC 8489 §14.10 allows.
    pub(super) const LENGTH: usize = 16;
    const PROOF: usize = 8;

    pub(super) fn new(seed: &[u8; 32], lifetime: Duration) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, seed),
            lifetime,
        }
    }

    /// A fresh one for a client at `source`.
    pub(super) fn issue(&self, now: Duration, source: SocketAddr) -> [u8; Self::LENGTH] {
        let time = seconds(now).to_be_bytes();
        let proof = self.proof(time, source);
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&time);
        bytes[4..].copy_from_slice(&proof);
        encode(bytes)
    }

    /// Whether it was issued to `source` and is still good.
    pub(super) fn is_good(&self, now: Duration, source: SocketAddr, nonce: &[u8]) -> bool {
        let Some(bytes) = decode(nonce) else {
            return false;
        };
        let [a, b, c, d, ref proof @ ..] = bytes;
        let time = [a, b, c, d];
        let age = seconds(now).checked_sub(u32::from_be_bytes(time));
        age.is_some_and(|age| u64::from(age) < self.lifetime.as_secs())
            && verify_slices_are_equal(&self.proof(time, source), proof).is_ok()
    }

    fn proof(&self, time: [u8; 4], source: SocketAddr) -> [u8; Self::PROOF] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&time);
        context.update(source.to_string().as_bytes());
        let tag = context.sign();
        let mut proof = [0; Self::PROOF];
        proof.copy_from_slice(&tag.as_ref()[..Self::PROOF]);
        proof
    }
}

fn seconds(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: [u8; 12]) -> [u8; Nonces::LENGTH] {
    let mut text = [0; Nonces::LENGTH];
    for (three, four) in bytes.chunks_exact(3).zip(text.chunks_exact_mut(4)) {
        let word = three
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        for (place, letter) in four.iter_mut().enumerate() {
            *letter = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
        }
    }
    text
}

fn decode(text: &[u8]) -> Option<[u8; 12]> {
    if text.len() != Nonces::LENGTH {
        return None;
    }
    let mut bytes = [0; 12];
    for (four, three) in text.chunks_exact(4).zip(bytes.chunks_exact_mut(3)) {
        let mut word = 0_u32;
        for letter in four {
            let value = ALPHABET.iter().position(|known| known == letter)?;
            word = word << 6 | u32::try_from(value).ok()?;
        }
        three.copy_from_slice(&word.to_be_bytes()[1..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_for_its_address_and_its_time() {
        let nonces = Nonces::new(&[7; 32], Duration::from_secs(600));
        let (start, here) = (Duration::from_secs(1000), "192.0.2.1:5".parse().unwrap());
        let nonce = nonces.issue(start, here);
        let good = |after, source: &str| {
            nonces.is_good(
                start + Duration::from_secs(after),
                source.parse().unwrap(),
                &nonce,
            )
        };
        assert!(good(0, "192.0.2.1:5") && good(599, "192.0.2.1:5"));
        assert!(!good(600, "192.0.2.1:5"), "too old");
        assert!(!good(0, "192.0.2.1:6") && !good(0, "192.0.2.2:5"));
        assert!(
            !nonces.is_good(Duration::ZERO, here, &nonce),
            "from the future"
        );
        let other = Nonces::new(&[8; 32], Duration::from_secs(600));
        assert!(!other.is_good(start, here, &nonce), "another server's");
    }

    #[test]
    fn any_change_spoils_it() {
        let nonces = Nonces::new(&[7; 32], Duration::from_secs(600));
        let (now, here) = (Duration::from_secs(9), "[2a0d::1]:5".parse().unwrap());
        let nonce = nonces.issue(now, here);
        for place in 0..nonce.len() {
            let mut wrong = nonce;
            wrong[place] = if wrong[place] == b'A' { b'B' } else { b'A' };
            assert!(!nonces.is_good(now, here, &wrong), "{place}");
        }
        assert!(!nonces.is_good(now, here, &nonce[..15]) && !nonces.is_good(now, here, b""));
    }
}
