//! SEA: which data may stand in the graph, by who signed it, by its own hash, or by its age.
//!
//! Anybody may write anything into most nodes. In some, gun.js (`sea.js`, package 0.2020.1241) takes only what proves itself; a relay
//! that did not check would let anyone bury a user's data under newer rubbish. [`verify`] applies the same rules, with the same error texts,
//! to one field at a time:
//!
//! - `~pub…`: nodes of the user with this public key. Each value is a text `{":": value, "~": signature}` signed by that user, or by
//!   one to whom a certificate of that user (`+`, with the signer under `*`) allows it. The key `pub` of `~pub` is the public key itself.
//! - `~@alias`: public keys that go by this name. Each key is the soul it links to. `~@`: the aliases, likewise.
//! - Nodes with a `#` in their soul: each key ends with the SHA-256 of its value ([`content_key`]), so no one can change it.
//! - Souls with `<?N`: what was written more than N seconds ago is not taken.
//!
//! Deliberately narrower than gun.js:
//!
//! - A value signed by someone else than the owner (`*`) *without* a certificate is refused. gun.js takes it, so with gun.js everyone can
//!   write to everyone's nodes.
//! - Certificates with a write block (`wb`) are refused. gun.js looks the block up in its graph, and takes the write if it has not heard of it.
//! - Formats of before 2019, which gun.js still tries when a signature does not match, are refused, so are signatures that are not in
//!   standard base64 with padding.
//!
//! As with gun.js, a certificate for several users (a list under `c`) is good for none unless the list has `*`.

mod certificate;
mod restate;
mod signature;

use crate::{
    graph::Field,
    text::write_value,
    value::{Key, Soul, State, Value},
};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use sha2::{Digest, Sha256};

/// Whether fields of this node must pass [`verify`]; all others may be written by anyone.
pub fn is_protected(soul: &Soul) -> bool {
    let soul = soul.as_str();
    // Most souls have none of these, which is known soonest so.
    soul.bytes().any(|byte| matches!(byte, b'~' | b'#' | b'<'))
        && (soul.contains(['~', '#']) || soul.contains("<?"))
}

/// Whether this field may stand in this node; `clock` is the time now.
pub fn verify(clock: State, soul: &Soul, key: &Key, field: &Field) -> Result<(), SeaError> {
    if !is_protected(soul) {
        return Ok(());
    }
    let name = soul.as_str();
    if let Some(keep) = lifetime(name)
        && field.state.get() < clock.get() - keep * 1000.0
    {
        return Err(SeaError::Forgotten);
    }
    if let Some(alias) = name.strip_prefix("~@") {
        return is_listed(alias, key, &field.value);
    }
    if let Some(owner) = owner(name) {
        return signature::verify(&owner, soul, key, field);
    }
    if name.contains('#') && !is_hash_of(key, &field.value) {
        return Err(SeaError::OtherHash);
    }
    Ok(())
}

/// The key under which a value stands in a content-addressed node, or the last part of it behind a `#`: base64 of the SHA-256 of the
/// text, or of the JSON of any other value.
pub fn content_key(value: &Value) -> String {
    BASE64.encode(&digest(value))
}

fn digest(value: &Value) -> [u8; 32] {
    match value {
        Value::Text(text) => Sha256::digest(text.as_bytes()).into(),
        other => {
            let mut text = String::new();
            write_value(&mut text, other);
            Sha256::digest(text.as_bytes()).into()
        }
    }
}

fn is_hash_of(key: &Key, value: &Value) -> bool {
    let hash = key
        .as_str()
        .rsplit('#')
        .next()
        .unwrap_or_default()
        .as_bytes();
    let digest = digest(value);
    BASE64.encode(&digest).as_bytes() == hash
        || HEXLOWER_PERMISSIVE
            .decode(hash)
            .is_ok_and(|hash| hash == digest)
}

/// Whether a list of aliases (that of no alias) or of an alias's users links to where the key says.
fn is_listed(alias: &str, key: &Key, value: &Value) -> Result<(), SeaError> {
    let same = match value {
        Value::Link(soul) if alias.is_empty() => {
            soul.as_str().strip_prefix("~@") == Some(key.as_str())
        }
        Value::Link(soul) => soul.as_str() == key.as_str(),
        empty if is_empty(empty) && alias.is_empty() => return Err(SeaError::NoData),
        empty if is_empty(empty) => return Err(SeaError::NoAlias),
        _ => false,
    };
    same.then_some(()).ok_or(SeaError::OtherAlias)
}

/// Whether JavaScript takes it for false.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.get() == 0.0,
        Value::Text(text) => text.is_empty(),
        Value::Bool(true) | Value::Link(_) => false,
    }
}

/// The public key of the user who owns this node: the first two runs of letters, digits, `_` and `-` behind the first `~`.
fn owner(soul: &str) -> Option<String> {
    let name = soul.split('~').nth(1)?;
    let mut runs = name.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
    let (x, y) = (runs.next()?, runs.next()?);
    Some(format!("{x}.{y}"))
}

/// How many seconds a node keeps what is written, by its soul.
fn lifetime(soul: &str) -> Option<f64> {
    /// More digits than any number of seconds has.
    const LONGEST: usize = 24;
    let text = soul.split("<?").nth(1)?.trim_start();
    let numeric = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E');
    let end = text
        .find(|c| !numeric(c))
        .unwrap_or(text.len())
        .min(LONGEST);
    let seconds: f64 = (1..=end).rev().find_map(|end| text[..end].parse().ok())?;
    (seconds.is_finite() && seconds != 0.0).then_some(seconds)
}

/// Why a field may not stand in a node. The texts are gun.js's, so that its users know them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeaError {
    /// It is older than the node keeps (`<?`). gun.js drops it and says nothing.
    #[error("Data is older than this node keeps.")]
    Forgotten,
    /// The list of aliases would lose an alias.
    #[error("Data must exist!")]
    NoData,
    /// The list of an alias's users would lose one.
    #[error("Alias must exist!")]
    NoAlias,
    /// It is no link to where its key says.
    #[error("Alias not same!")]
    OtherAlias,
    /// The public key that a user's node states is not that of its soul.
    #[error("Account not same!")]
    OtherAccount,
    /// It is not signed by whoever may write here.
    #[error("Unverified data.")]
    Unverified,
    /// The key is not the hash of the value.
    #[error("Data hash not same as hash!")]
    OtherHash,
    /// The certificate is not the owner's, or not for this user, or not for this place.
    #[error("Certificate verification fail.")]
    BadCertificate,
    /// The certificate was no longer good when this was written.
    #[error("Certificate expired.")]
    Expired,
    /// The certificate asks for the user's name in the path or the key.
    #[error("Path \"{path}\" or key \"{key}\" must contain string \"{certificant}\".")]
    NoName {
        /// Where it was written.
        path: String,
        /// Under which key.
        key: String,
        /// Who wrote it.
        certificant: String,
    },
    /// The certificate names a write block.
    #[error("Certificates with a write block (wb) are not supported by this relay.")]
    WriteBlock,
}

#[cfg(test)]
mod tests;
