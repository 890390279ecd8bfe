//! Where in a certificate its key and the identity extension are (RFC 5280 §4.1).

use super::{CertificateError, MAX_LEN};
use der::{
    Decode, Reader, SliceReader, Tag, TagNumber,
    asn1::{AnyRef, OctetStringRef},
};

/// [`EXTENSION_OID`](super::EXTENSION_OID) in DER. Its last arc needs 63 bits, more than most parsers of object identifiers
/// hold, so it is compared as it stands.
const EXTENSION_OID_DER: [u8; 12] = [
    0x06, 0x0A, 0x69, 0xEF, 0xF5, 0xF6, 0xCD, 0xC9, 0xFA, 0xD2, 0xF4, 0x1D,
];

/// The DER of `BOOLEAN TRUE`, the only form that the critical flag of an extension has.
const TRUE_DER: [u8; 3] = [0x01, 0x01, 0xFF];

/// The two parts of a certificate that carry meaning.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// The `SubjectPublicKeyInfo`, DER with its header.
    pub(super) spki: &'a [u8],
    /// The content of the identity extension (`extnValue`).
    pub(super) binding: &'a [u8],
}

/// Finds the parts of a certificate.
pub(super) fn read(der: &[u8]) -> Result<Parts<'_>, CertificateError> {
    if der.len() > MAX_LEN {
        return Err(CertificateError::TooLarge);
    }
    let malformed = |_| CertificateError::Malformed;
    let mut reader = SliceReader::new(der).map_err(malformed)?;
    let certificate = value(&mut reader, Tag::Sequence).map_err(malformed)?;
    if !reader.is_finished() {
        return Err(CertificateError::TrailingBytes);
    }
    let (spki, extensions) = walk(certificate).map_err(malformed)?;
    Ok(Parts {
        spki,
        binding: find_binding(extensions)?,
    })
}

/// The `SubjectPublicKeyInfo` and the content of the list of extensions.
fn walk(certificate: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut certificate = SliceReader::new(certificate)?;
    let mut tbs = SliceReader::new(value(&mut certificate, Tag::Sequence)?)?;
    value(&mut certificate, Tag::Sequence)?; // signatureAlgorithm
    value(&mut certificate, Tag::BitString)?; // signatureValue
    certificate.finish()?;

    value(&mut tbs, context(0))?; // version
    value(&mut tbs, Tag::Integer)?; // serialNumber
    value(&mut tbs, Tag::Sequence)?; // signature
    value(&mut tbs, Tag::Sequence)?; // issuer
    value(&mut tbs, Tag::Sequence)?; // validity
    value(&mut tbs, Tag::Sequence)?; // subject
    Tag::peek(&tbs)?.assert_eq(Tag::Sequence)?;
    let spki = tbs.tlv_bytes()?;
    // The unique identifiers [1] and [2] may not be there (RFC 5280 §4.1.2.8).
    if tbs.is_finished() {
        return Ok((spki, &[]));
    }
    let mut extensions = SliceReader::new(value(&mut tbs, context(3))?)?;
    tbs.finish()?;
    let list = value(&mut extensions, Tag::Sequence)?;
    extensions.finish()?;
    Ok((spki, list))
}

/// The content of the one identity extension in the list; other extensions are passed over.
fn find_binding(extensions: &[u8]) -> Result<&[u8], CertificateError> {
    let malformed = |_| CertificateError::Malformed;
    let mut found = None;
    let mut list = SliceReader::new(extensions).map_err(malformed)?;
    while !list.is_finished() {
        let extension = value(&mut list, Tag::Sequence).map_err(malformed)?;
        let Some(rest) = extension.strip_prefix(&EXTENSION_OID_DER) else {
            continue;
        };
        if found.is_some() {
            return Err(CertificateError::Duplicate);
        }
        if rest.starts_with(&TRUE_DER) {
            return Err(CertificateError::Critical);
        }
        let content = <&OctetStringRef>::from_der(rest).map_err(malformed)?;
        found = Some(content.as_bytes());
    }
    found.ok_or(CertificateError::NoBinding)
}

const fn context(number: u32) -> Tag {
    Tag::ContextSpecific {
        constructed: true,
        number: TagNumber(number),
    }
}

/// The content of the next element, which must have that tag.
fn value<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<&'a [u8]> {
    let element: AnyRef<'a> = reader.decode()?;
    element.header().tag().assert_eq(tag)?;
    Ok(element.value())
}
