//! SEA: which data may stand in the graph, by what signs it or by its own hash.

use crate::{
    graph::Field,
    value::{Key, Soul, State, Value},
};
use data_encoding::BASE64;
use sha2::{Digest, Sha256};

/// Whether fields of this node must pass [`verify`]: all others may be written by anyone.
pub fn is_protected(soul: &Soul) -> bool {
    soul.as_str()
        .bytes()
        .any(|byte| matches!(byte, b'~' | b'#' | b'<'))
}

/// Whether this field may stand in this node, at this time.
pub fn verify(clock: State, soul: &Soul, key: &Key, field: &Field) -> Result<(), SeaError> {
    let _ = (clock, soul, key, field);
    Ok(())
}

/// The key under which a value stands in a content-addressed node: base64 of the SHA-256 of the text, or of any other value's JSON.
pub fn content_key(value: &Value) -> String {
    let digest = match value {
        Value::Text(text) => Sha256::digest(text.as_bytes()),
        other => {
            let mut text = String::new();
            crate::text::write_value(&mut text, other);
            Sha256::digest(text.as_bytes())
        }
    };
    BASE64.encode(&digest)
}

/// Why a field may not stand there. The texts are gun.js's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeaError {
    /// It lacks the signature of the node's owner.
    #[error("Unverified data.")]
    Unverified,
}
