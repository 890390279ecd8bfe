//! The key that both sides of an attempt share, and what they prove with it.

use super::{event::PREAMBLE, ice::Credentials};
use crate::trace::AttemptId;
use aws_lc_rs::{constant_time, hmac};
use dig_types::Method;
use std::fmt;

/// Opens everything that an attempt sends: neither STUN (0 to 3), TURN channel data (0x40 to 0x4F), TLS (0x16) nor QUIC with its
/// fixed bit begins so (RFC 9443).
pub const MAGIC: [u8; 8] = [0x8c, b'd', b'i', b'g', b'-', b'p', b'1', 0x0a];

/// Length of the truncated HMAC-SHA256 (RFC 2104 §5 asks for at least half of it).
pub(super) const MAC: usize = 16;

const VERSION: u8 = 1;

/// Eight bytes after [`MAGIC`] by which a shared socket tells attempts apart. It is no secret and proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub [u8; 8]);

impl Tag {
    /// The tag of an attempt: the first half of its id.
    pub fn of(attempt: AttemptId) -> Self {
        let mut tag = [0; 8];
        tag.copy_from_slice(&attempt.0[..8]);
        Self(tag)
    }

    /// The tag of a datagram or of the first bytes of a stream, if they belong to an attempt at all.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let tag = bytes.strip_prefix(&MAGIC)?.first_chunk()?;
        Some(Self(*tag))
    }
}

/// Which side of an attempt. It is part of whatever is authenticated, so nothing can be reflected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Made the offer; the client of the session.
    Initiator,
    /// Answered it.
    Responder,
}

impl Role {
    /// The other side.
    pub fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Initiator => 0,
            Self::Responder => 1,
        }
    }
}

/// The keys of one attempt.
pub(super) struct Keys {
    tag: Tag,
    mac: hmac::Key,
    /// What either side's credentials for ICE are made of; the initiator's first.
    ice: [[u8; 32]; 2],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("tag", &self.tag)
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// Both sides' shares make the key (RFC 5869), so neither can make the other use a key again.
    pub(super) fn new(attempt: AttemptId, initiator: &[u8; 32], responder: &[u8; 32]) -> Self {
        let shares = [&initiator[..], &responder[..]].concat();
        let key = expand(&attempt.0, &shares, b"dig-attempt/1 mac");
        Self {
            tag: Tag::of(attempt),
            mac: hmac::Key::new(hmac::HMAC_SHA256, &key),
            ice: [
                expand(&attempt.0, &shares, b"dig-attempt/1 ice initiator"),
                expand(&attempt.0, &shares, b"dig-attempt/1 ice responder"),
            ],
        }
    }

    /// What a side proves itself with in STUN checks: 48 bits of name and 128 bits of password, as hexadecimal digits (RFC 8445 §5.3
    /// asks for 24 and 128).
    pub(super) fn credentials(&self, role: Role) -> Credentials {
        let secret = &self.ice[usize::from(role.number())];
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Credentials {
            ufrag: hex(&secret[..6]),
            password: hex(&secret[6..22]),
        }
    }

    /// The tag under which they are used.
    pub(super) fn tag(&self) -> Tag {
        self.tag
    }

    /// Writes the MAC of everything before it into the last bytes.
    pub(super) fn seal(&self, bytes: &mut [u8]) {
        let at = bytes.len().saturating_sub(MAC);
        let (text, mac) = bytes.split_at_mut(at);
        let sum = hmac::sign(&self.mac, text);
        mac.copy_from_slice(&sum.as_ref()[..mac.len()]);
    }

    /// Whether the last bytes are the MAC of everything before them.
    pub(super) fn verify(&self, bytes: &[u8]) -> bool {
        let Some(at) = bytes.len().checked_sub(MAC) else {
            return false;
        };
        let sum = hmac::sign(&self.mac, &bytes[..at]);
        constant_time::verify_slices_are_equal(&sum.as_ref()[..MAC], &bytes[at..]).is_ok()
    }

    /// What this side sends first on a stream: magic ‖ tag ‖ version ‖ role ‖ method ‖ 29 zeros ‖ MAC.
    pub(super) fn preamble(&self, role: Role, method: Method) -> [u8; PREAMBLE] {
        let mut bytes = [0; PREAMBLE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.tag.0);
        bytes[16] = VERSION;
        bytes[17] = role.number();
        bytes[18] = method_number(method);
        self.seal(&mut bytes);
        bytes
    }

    /// The method of a preamble that the other side sent for this attempt.
    pub(super) fn open_preamble(&self, bytes: &[u8; PREAMBLE], from: Role) -> Option<Method> {
        let addressed = Tag::read(bytes) == Some(self.tag)
            && bytes[16] == VERSION
            && bytes[17] == from.number();
        if !addressed || !self.verify(bytes) {
            return None;
        }
        method_of(bytes[18])
    }
}

/// 32 bytes for one purpose out of a secret: HKDF-SHA256 with a single block of output (RFC 5869 §2).
pub(super) fn expand(salt: &[u8], secret: &[u8], purpose: &[u8]) -> [u8; 32] {
    let extracted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), secret);
    let block = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref()),
        &[purpose, &[1]].concat(),
    );
    let mut out = [0; 32];
    out.copy_from_slice(&block.as_ref()[..32]);
    out
}

/// The number of a method on the wire; 0 for one that an attempt does not know.
pub(super) const fn method_number(method: Method) -> u8 {
    match method {
        Method::Local => 1,
        Method::Direct => 2,
        Method::Pcp => 3,
        Method::NatPmp => 4,
        Method::Upnp => 5,
        Method::TcpHolePunch => 6,
        Method::UdpHolePunch => 7,
        Method::TcpSimultaneousOpen => 8,
        Method::Ice => 9,
        Method::Turn => 10,
        _ => 0,
    }
}

pub(super) fn method_of(number: u8) -> Option<Method> {
    Method::ALL
        .into_iter()
        .find(|method| number != 0 && method_number(*method) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: AttemptId = AttemptId([7; 16]);

    fn keys() -> Keys {
        Keys::new(ID, &[1; 32], &[2; 32])
    }

    #[test]
    fn a_preamble_proves_attempt_and_role() {
        let bytes = keys().preamble(Role::Initiator, Method::TcpHolePunch);
        assert_eq!(Tag::read(&bytes), Some(Tag([7; 8])));
        assert_eq!(
            keys().open_preamble(&bytes, Role::Initiator),
            Some(Method::TcpHolePunch)
        );
        assert_eq!(
            keys().open_preamble(&bytes, Role::Responder),
            None,
            "reflected"
        );
        assert_eq!(
            Keys::new(ID, &[1; 32], &[3; 32]).open_preamble(&bytes, Role::Initiator),
            None,
            "other key"
        );
        assert_eq!(
            Keys::new(AttemptId([8; 16]), &[1; 32], &[2; 32])
                .open_preamble(&bytes, Role::Initiator),
            None
        );
        for at in 0..PREAMBLE {
            let mut bad = bytes;
            bad[at] ^= 1;
            assert_eq!(
                keys().open_preamble(&bad, Role::Initiator),
                None,
                "byte {at}"
            );
        }
    }

    #[test]
    fn shares_are_not_interchangeable() {
        let bytes = Keys::new(ID, &[2; 32], &[1; 32]).preamble(Role::Initiator, Method::Local);
        assert_eq!(keys().open_preamble(&bytes, Role::Initiator), None);
    }

    /// RFC 5869, test case 1, whose first 32 bytes of output are the first block.
    #[test]
    fn keys_come_from_hkdf() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let okm = expand(
            &hex("000102030405060708090a0b0c"),
            &[0x0b; 22],
            &hex("f0f1f2f3f4f5f6f7f8f9"),
        );
        assert_eq!(
            okm[..],
            hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")
        );
    }

    #[test]
    fn short_input_has_no_tag_and_verifies_not() {
        for length in 0..16 {
            assert_eq!(
                Tag::read(&keys().preamble(Role::Initiator, Method::Local)[..length]),
                None
            );
            assert!(!keys().verify(&[0; 16][..length]));
        }
    }
}
