//! The content of the identity extension, field by field.

use super::{CLOCK_TOLERANCE, CertificateError, MAX_LIFETIME};
use crate::Algorithm;
use der::{Decode, Encode, asn1::OctetStringRef};
use dig_types::Timestamp;

const VERSION: u8 = 1;

/// What an identity key says about a certificate. Times are Unix seconds.
#[derive(Debug)]
pub(super) struct Binding<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) issued: u64,
    pub(super) expires: u64,
    pub(super) key: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// What the identity key signs.
pub(super) fn signed_text(spki: &[u8], issued: u64, expires: u64) -> Vec<u8> {
    [
        b"dig-tls/1:",
        spki,
        &issued.to_be_bytes(),
        &expires.to_be_bytes(),
    ]
    .concat()
}

impl<'a> Binding<'a> {
    /// The content of the extension: the DER OCTET STRING of the fields. `None` if a field is too long for its length.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut fields = vec![VERSION, self.algorithm.code()];
        fields.extend(self.issued.to_be_bytes());
        fields.extend(self.expires.to_be_bytes());
        for field in [self.key, self.signature] {
            fields.extend(u16::try_from(field.len()).ok()?.to_be_bytes());
            fields.extend(field);
        }
        OctetStringRef::new(&fields).ok()?.to_der().ok()
    }

    /// Reads the content of the extension.
    pub(super) fn decode(content: &'a [u8]) -> Result<Self, CertificateError> {
        let malformed = CertificateError::BindingMalformed;
        let octets = <&OctetStringRef>::from_der(content).map_err(|_| malformed)?;
        let mut rest = octets.as_bytes();
        let [version] = take(&mut rest).ok_or(malformed)?;
        if version != VERSION {
            return Err(CertificateError::Version(version));
        }
        let [code] = take(&mut rest).ok_or(malformed)?;
        let algorithm = Algorithm::from_code(code).ok_or(CertificateError::Algorithm(code))?;
        let issued = u64::from_be_bytes(take(&mut rest).ok_or(malformed)?);
        let expires = u64::from_be_bytes(take(&mut rest).ok_or(malformed)?);
        let key = take_field(&mut rest).ok_or(malformed)?;
        let signature = take_field(&mut rest).ok_or(malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::BindingTrailingBytes);
        }
        Ok(Self {
            algorithm,
            issued,
            expires,
            key,
            signature,
        })
    }

    /// The rules of `docs/protocol.md` §2 about time.
    pub(super) fn check_times(&self, now: Timestamp) -> Result<(), CertificateError> {
        let now = now.as_secs();
        let tolerance = CLOCK_TOLERANCE.as_secs();
        match self.expires.checked_sub(self.issued) {
            None | Some(0) => return Err(CertificateError::Lifetime),
            Some(life) if life > MAX_LIFETIME.as_secs() => return Err(CertificateError::Lifetime),
            Some(_) => {}
        }
        if self.issued > now.saturating_add(tolerance) {
            return Err(CertificateError::NotYetValid);
        }
        if now >= self.expires.saturating_add(tolerance) {
            return Err(CertificateError::Expired);
        }
        Ok(())
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*field)
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::from(u16::from_be_bytes(take(rest)?));
    let (field, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(field)
}
