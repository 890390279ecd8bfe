//! Long-term credentials (RFC 8489 §9.2): the server's challenge, and the key that answers it.
//!
//! Credentials with a time limit are the same to a client: a username that says when it ends, and the password that belongs to it.

use super::{
    TurnServer,
    message::{Message, Writer, attribute},
};
use aws_lc_rs::{digest, hmac};
use md5::{Digest as _, Md5};
use std::fmt;
use zeroize::Zeroizing;

/// Longest realm and nonce in bytes (RFC 8489 §14.9 and §14.10).
const MAX_TEXT: usize = 763;
/// Most password algorithms that a server may offer.
const MAX_ALGORITHMS: usize = 32;
/// How a nonce begins that says which security features the server has (RFC 8489 §9.2).
const COOKIE: &[u8] = b"obMatJos2";
/// The first bit of the 24 that follow: the server offers password algorithms.
const HAS_ALGORITHMS: u8 = 0x80;

const MD5: u16 = 1;
const SHA256: u16 = 2;

/// What a server asks of us before it believes us: `REALM`, `NONCE`, `PASSWORD-ALGORITHMS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    /// The attribute as it came, since it goes back unchanged, and which of them we take.
    algorithms: Option<(Vec<u8>, u16)>,
}

impl Challenge {
    /// Reads a 401 or 438. Nothing, if it is no challenge that can be answered, or if somebody on the way has taken the better
    /// algorithms out of it (RFC 8489 §9.2.1).
    pub(super) fn read(message: &Message<'_>) -> Option<Self> {
        let realm = text(message, attribute::REALM)?;
        let nonce = text(message, attribute::NONCE)?;
        let algorithms = match message.value(attribute::PASSWORD_ALGORITHMS) {
            Some(offered) => Some((offered.to_vec(), choose(offered)?)),
            None if promises_algorithms(&nonce) => return None,
            None => None,
        };
        Some(Self {
            realm,
            nonce,
            algorithms,
        })
    }
}

fn text(message: &Message<'_>, kind: u16) -> Option<Vec<u8>> {
    let value = message.value(kind)?;
    (!value.is_empty() && value.len() <= MAX_TEXT).then(|| value.to_vec())
}

/// The first offered algorithm that we know.
fn choose(offered: &[u8]) -> Option<u16> {
    let mut rest = offered;
    for _ in 0..MAX_ALGORITHMS {
        let [a0, a1, l0, l1] = *rest.first_chunk()?;
        let (algorithm, parameters) = (u16::from_be_bytes([a0, a1]), u16::from_be_bytes([l0, l1]));
        if matches!(algorithm, MD5 | SHA256) && parameters == 0 {
            return Some(algorithm);
        }
        rest = rest.get(4 + usize::from(parameters).next_multiple_of(4)..)?;
    }
    None
}

fn promises_algorithms(nonce: &[u8]) -> bool {
    let Some(rest) = nonce.strip_prefix(COOKIE) else {
        return false;
    };
    // Four characters of base64 are the 24 bits; the first bit is in the first character.
    let first = rest.first().map(|character| match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        _ => 63,
    });
    rest.len() >= 4 && first.is_some_and(|bits| bits << 2 & HAS_ALGORITHMS != 0)
}

/// A challenge with its answer: what every request carries from then on.
#[derive(Debug)]
pub(super) struct Session {
    username: String,
    challenge: Challenge,
    key: Key,
}

impl Session {
    pub(super) fn new(server: &TurnServer, challenge: Challenge) -> Self {
        let key = Key::derive(server, &challenge);
        Self {
            username: server.username().to_owned(),
            challenge,
            key,
        }
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// A later challenge in the same session. Some servers repeat neither their algorithms nor the promise of them; then those stay
    /// that were agreed on, so that nobody on the way can weaken them either.
    pub(super) fn renewed(&self, message: &Message<'_>) -> Option<Challenge> {
        let Challenge {
            realm, algorithms, ..
        } = &self.challenge;
        if algorithms.is_none() || message.value(attribute::PASSWORD_ALGORITHMS).is_some() {
            return Challenge::read(message);
        }
        let nonce = text(message, attribute::NONCE)?;
        (text(message, attribute::REALM).as_ref() == Some(realm)).then(|| Challenge {
            nonce,
            ..self.challenge.clone()
        })
    }

    /// Whether the server said something new.
    pub(super) fn answers(&self, challenge: &Challenge) -> bool {
        self.challenge == *challenge
    }

    /// Adds who we are, and the integrity, to a request that is complete otherwise.
    pub(super) fn sign(&self, writer: &mut Writer) {
        writer.put(attribute::USERNAME, self.username.as_bytes());
        writer.put(attribute::REALM, &self.challenge.realm);
        writer.put(attribute::NONCE, &self.challenge.nonce);
        if let Some((offered, chosen)) = &self.challenge.algorithms {
            writer.put(attribute::PASSWORD_ALGORITHMS, offered);
            let [high, low] = chosen.to_be_bytes();
            writer.put(attribute::PASSWORD_ALGORITHM, &[high, low, 0, 0]);
        }
        writer.sign(&self.key);
    }
}

/// The key of an integrity: HMAC-SHA1, or HMAC-SHA256 where the server offers password algorithms.
pub(super) struct Key {
    key: hmac::Key,
    sha256: bool,
}

impl Key {
    pub(super) fn derive(server: &TurnServer, challenge: &Challenge) -> Self {
        let secret = Zeroizing::new(
            [
                server.username().as_bytes(),
                &challenge.realm,
                server.password().as_bytes(),
            ]
            .join(&b':'),
        );
        let sha256 = challenge.algorithms.is_some();
        let algorithm = if sha256 {
            hmac::HMAC_SHA256
        } else {
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY
        };
        let key = match challenge.algorithms {
            Some((_, SHA256)) => {
                let hashed = digest::digest(&digest::SHA256, &secret);
                hmac::Key::new(algorithm, hashed.as_ref())
            }
            _ => {
                let hashed: Zeroizing<[u8; 16]> = Zeroizing::new(Md5::digest(&*secret).into());
                hmac::Key::new(algorithm, &*hashed)
            }
        };
        Self { key, sha256 }
    }

    pub(super) const fn attribute(&self) -> u16 {
        if self.sha256 {
            attribute::MESSAGE_INTEGRITY_SHA256
        } else {
            attribute::MESSAGE_INTEGRITY
        }
    }

    pub(super) const fn tag_length(&self) -> usize {
        if self.sha256 { 32 } else { 20 }
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key, bytes)
    }

    pub(super) fn verify(&self, bytes: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.key, bytes, tag).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
