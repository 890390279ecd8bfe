//! Signed values.

use super::{SeaError, certificate, restate::restated};
use crate::{
    graph::Field,
    text::{write_state, write_string},
    value::{Key, Soul, Value},
};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// A signed value, as the text of a field. A mistake anywhere makes it unsigned.
#[derive(Deserialize)]
struct Signed<'a> {
    #[serde(rename = ":", borrow)]
    value: &'a RawValue,
    #[serde(rename = "~", borrow)]
    signature: Cow<'a, str>,
    /// Who signed it, if that is not the owner.
    #[serde(rename = "*", borrow, default)]
    signer: Option<Cow<'a, str>>,
    /// What allows that.
    #[serde(rename = "+", borrow, default)]
    certificate: Option<&'a RawValue>,
}

/// Whether this value is signed by the node's owner or by one who has the owner's certificate.
pub(super) fn verify(owner: &str, soul: &Soul, key: &Key, field: &Field) -> Result<(), SeaError> {
    if key.as_str() == "pub" && soul.as_str().strip_prefix('~') == Some(owner) {
        let same = matches!(&field.value, Value::Text(text) if **text == *owner);
        return same.then_some(()).ok_or(SeaError::OtherAccount);
    }
    let Value::Text(text) = &field.value else {
        return Err(SeaError::Unverified);
    };
    let signed: Signed<'_> = serde_json::from_str(text).map_err(|_| SeaError::Unverified)?;
    let value = restated(signed.value.get()).ok_or(SeaError::Unverified)?;
    let statement = statement(soul, key, &value, field);
    let signer = signed.signer.as_deref().filter(|name| !name.is_empty());
    if !is_signed(signer.unwrap_or(owner), &statement, &signed.signature) {
        return Err(SeaError::Unverified);
    }
    match (signer, signed.certificate) {
        (None, _) => Ok(()),
        (Some(signer), _) if signer == owner => Ok(()),
        (Some(_), None) => Err(SeaError::Unverified),
        (Some(signer), Some(granted)) => {
            certificate::verify(granted.get(), owner, signer, soul, key, field.state)
        }
    }
}

/// The text that is signed.
fn statement(soul: &Soul, key: &Key, value: &str, field: &Field) -> String {
    let mut text =
        String::with_capacity(value.len() + soul.as_str().len() + key.as_str().len() + 48);
    text.push_str("{\"#\":");
    write_string(&mut text, soul.as_str());
    text.push_str(",\".\":");
    write_string(&mut text, key.as_str());
    text.push_str(",\":\":");
    text.push_str(value);
    text.push_str(",\">\":");
    write_state(&mut text, field.state);
    text.push('}');
    text
}

/// Whether this is the owner of this public key's signature of this text: ECDSA with P-256 and SHA-256 over the text's SHA-256, as r ‖ s.
pub(super) fn is_signed(public_key: &str, text: &str, signature: &str) -> bool {
    let (Some(point), Ok(signature)) = (point(public_key), BASE64.decode(signature.as_bytes()))
    else {
        return false;
    };
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(&Sha256::digest(text.as_bytes()), &signature)
        .is_ok()
}

/// The uncompressed point (SEC 1 §2.3.3) of a public key: both coordinates in base64url with a dot between them.
fn point(public_key: &str) -> Option<[u8; 65]> {
    let (x, y) = public_key.split_once('.')?;
    let mut point = [4; 65];
    for (text, at) in [(x, 1), (y, 33)] {
        let coordinate = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        point.get_mut(at..at + 32)?.copy_from_slice(
            coordinate
                .first_chunk::<32>()
                .filter(|_| coordinate.len() == 32)?,
        );
    }
    Some(point)
}
