//! Signed records: small JSON statements of a node, with sequence number and expiry
//! (`docs/protocol.md` §10).
//!
//! Rules:
//!
//! 1. Everything that is believed stands inside the signed text: type, algorithm, key, node,
//!    sequence number, times and body.
//! 2. A record has one text. What is received must be the RFC 8785 form of what it says, envelope
//!    included, or it is refused; so duplicate keys, other spacing and other number forms never reach
//!    a signature check.
//! 3. A record replaces an older one by its sequence number only ([`SignedRecord::succeeds`]); clocks
//!    decide only whether it is still to be believed.

use crate::{
    Algorithm, KeyError, PublicKey, SignError, Signer, UnsignableError,
    json::{self, MAX_INTEGER},
};
use data_encoding::HEXLOWER;
use dig_types::{NodeId, Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{fmt, time::Duration};

#[cfg(test)]
mod tests;

/// Longest life of a record: a forgotten one is gone after a month.
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How far in the future a record may have been issued: two minutes cover the clocks of machines that
/// keep time, and a record dated further ahead would outlive honest ones.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(120);

/// Largest text of a record, in bytes.
pub const MAX_LEN: usize = 16 * 1024;

/// The fields of `data` that are not the body's.
const RESERVED: [&str; 7] = ["alg", "exp", "iat", "key", "node", "seq", "t"];

/// A record whose signature, node id and form have been checked. Its text is what
/// [`to_string`](ToString::to_string) gives.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRecord {
    text: String,
    kind: String,
    key: PublicKey,
    sequence: u64,
    issued: Timestamp,
    expires: Timestamp,
    body: Map<String, Value>,
}

impl SignedRecord {
    /// Makes a record of type `kind` (such as `dig.name.v1`), issued at `issued` and believed until
    /// `expires`. The body must be written as a JSON object of values that
    /// [may be signed](UnsignableError), without the fields `alg`, `exp`, `iat`, `key`, `node`, `seq` and `t`.
    pub fn sign<T: Serialize + ?Sized>(
        signer: &dyn Signer,
        kind: &str,
        sequence: u64,
        issued: Timestamp,
        expires: Timestamp,
        body: &T,
    ) -> Result<Self, SignRecordError> {
        let Ok(Value::Object(body)) = serde_json::to_value(body) else {
            return Err(SignRecordError::NotAnObject);
        };
        if let Some(name) = RESERVED.into_iter().find(|name| body.contains_key(*name)) {
            return Err(SignRecordError::Reserved { name });
        }
        if !life_is_valid(issued, expires) {
            return Err(SignRecordError::Lifetime);
        }
        let key = signer.public_key().clone();
        let mut data = body.clone();
        data.insert("t".into(), kind.into());
        data.insert("alg".into(), key.algorithm().name().into());
        data.insert("key".into(), key.to_hex().into());
        data.insert("node".into(), key.node_id().to_string().into());
        data.insert("seq".into(), sequence.into());
        data.insert("iat".into(), issued.as_millis().into());
        data.insert("exp".into(), expires.as_millis().into());
        let data = Value::Object(data);
        json::check(&data)?;
        let signed = json::canonical(&data)?;
        let signature = HEXLOWER.encode(&signer.sign(signed.as_bytes())?);
        let text = format!(r#"{{"data":{signed},"signature":"{signature}"}}"#);
        if text.len() > MAX_LEN {
            return Err(SignRecordError::TooLarge { bytes: text.len() });
        }
        Ok(Self {
            text,
            kind: kind.into(),
            key,
            sequence,
            issued,
            expires,
            body,
        })
    }

    /// Reads and checks a record that somebody sent.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, RecordError> {
        if text.len() > MAX_LEN {
            return Err(RecordError::TooLarge);
        }
        let (data, signature) = open_envelope(text)?;
        json::check(&data)?;
        let signed = json::canonical(&data)?;
        if text != format!(r#"{{"data":{signed},"signature":"{signature}"}}"#) {
            return Err(RecordError::NotCanonical);
        }
        let Value::Object(mut fields) = data else {
            return Err(RecordError::Envelope);
        };

        let kind = take_text(&mut fields, "t")?;
        let algorithm: Algorithm = take_text(&mut fields, "alg")?
            .parse()
            .map_err(|_| RecordError::Field { name: "alg" })?;
        let key = take_hex(&mut fields, "key")?;
        let node = take_text(&mut fields, "node")?;
        let sequence = take_integer(&mut fields, "seq")?;
        let issued = Timestamp::from_millis(take_integer(&mut fields, "iat")?);
        let expires = Timestamp::from_millis(take_integer(&mut fields, "exp")?);
        check_times(issued, expires, now)?;

        let key = PublicKey::from_canonical(algorithm, &key)?;
        if node != key.node_id().to_string() {
            return Err(RecordError::Node);
        }
        let signature = HEXLOWER
            .decode(signature.as_bytes())
            .map_err(|_| RecordError::Envelope)?;
        key.verify(signed.as_bytes(), &signature)
            .map_err(|_| RecordError::Signature)?;
        Ok(Self {
            text: text.into(),
            kind,
            key,
            sequence,
            issued,
            expires,
            body: fields,
        })
    }

    /// The text, as sent and received.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The type of the record, such as `dig.name.v1`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The key that signed it.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The node that says it.
    pub const fn node_id(&self) -> NodeId {
        self.key.node_id()
    }

    /// The number that orders the records of one node about one thing.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it was issued, by the clock of its node.
    pub const fn issued(&self) -> Timestamp {
        self.issued
    }

    /// When it is no longer to be believed.
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// What it says, without the fields of the record itself.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        T::deserialize(Value::Object(self.body.clone()))
            .map_err(|error| BodyError(error.to_string()))
    }

    /// Whether this record may take the place of one seen before, of the same node about the same thing
    /// (which things are the same is the caller's to know).
    pub fn succeeds(&self, seen: &Self) -> Result<Succession, SuccessionError> {
        if self.node_id() != seen.node_id() || self.kind != seen.kind {
            return Err(SuccessionError::Unrelated);
        }
        match self.sequence {
            sequence if sequence > seen.sequence => Ok(Succession::Newer),
            sequence if sequence < seen.sequence => Err(SuccessionError::Older),
            _ if self.text == seen.text => Ok(Succession::Same),
            _ => Err(SuccessionError::Conflict),
        }
    }
}

impl fmt::Display for SignedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SignedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SignedRecord({} #{} by {})",
            self.kind,
            self.sequence,
            self.node_id().short()
        )
    }
}

/// The two members of the outer object, which has no others.
fn open_envelope(text: &str) -> Result<(Value, String), RecordError> {
    let Ok(Value::Object(mut envelope)) = serde_json::from_str(text) else {
        return Err(RecordError::NotJson);
    };
    match (
        envelope.remove("data"),
        envelope.remove("signature"),
        envelope.is_empty(),
    ) {
        (Some(data @ Value::Object(_)), Some(Value::String(signature)), true) => {
            Ok((data, signature))
        }
        _ => Err(RecordError::Envelope),
    }
}

fn take_text(fields: &mut Map<String, Value>, name: &'static str) -> Result<String, RecordError> {
    match fields.remove(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(RecordError::Field { name }),
    }
}

fn take_hex(fields: &mut Map<String, Value>, name: &'static str) -> Result<Vec<u8>, RecordError> {
    let text = take_text(fields, name)?;
    HEXLOWER
        .decode(text.as_bytes())
        .map_err(|_| RecordError::Field { name })
}

fn take_integer(fields: &mut Map<String, Value>, name: &'static str) -> Result<u64, RecordError> {
    let value = fields.remove(name);
    value
        .and_then(|value| value.as_u64())
        .ok_or(RecordError::Field { name })
}

fn life_is_valid(issued: Timestamp, expires: Timestamp) -> bool {
    issued < expires && expires <= issued + MAX_LIFETIME && expires.as_millis() <= MAX_INTEGER
}

fn check_times(issued: Timestamp, expires: Timestamp, now: Timestamp) -> Result<(), RecordError> {
    if !life_is_valid(issued, expires) {
        return Err(RecordError::Lifetime);
    }
    if issued > now + CLOCK_TOLERANCE {
        return Err(RecordError::NotYetValid);
    }
    if expires <= now {
        return Err(RecordError::Expired);
    }
    Ok(())
}

/// How a record stands to one that was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Succession {
    /// It replaces the one seen.
    Newer,
    /// It is the one seen.
    Same,
}

/// Why a record does not replace one that was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SuccessionError {
    /// Its sequence number is lower: a replay.
    #[error("a newer record of this node was already seen")]
    Older,
    /// It has the same sequence number and another text: the node contradicts itself.
    #[error("another record of this node with the same sequence number was already seen")]
    Conflict,
    /// It is of another node or type.
    #[error("the records are of different nodes or types")]
    Unrelated,
}

/// The body of a record does not have the form that was asked for; the text names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body of the record has another form: {0}")]
pub struct BodyError(String);

/// Why a record was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignRecordError {
    /// The body is not written as a JSON object.
    #[error("the body of a record must be a JSON object")]
    NotAnObject,
    /// The body has a field that belongs to the record.
    #[error("the body of a record must not have a field {name:?}: the record sets it")]
    Reserved {
        /// The field.
        name: &'static str,
    },
    /// The body has values that may not be signed.
    #[error(transparent)]
    Unsignable(#[from] UnsignableError),
    /// The record would expire before it is issued, or live longer than [`MAX_LIFETIME`].
    #[error("a record must expire after it is issued, and within 30 days")]
    Lifetime,
    /// The text would be larger than [`MAX_LEN`].
    #[error("the record would have {bytes} bytes; at most 16384 are allowed")]
    TooLarge {
        /// Bytes of the text.
        bytes: usize,
    },
    /// The signer did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Why a record that was received is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Larger than [`MAX_LEN`].
    #[error("the record has more than 16 KiB")]
    TooLarge,
    /// Not a JSON object.
    #[error("the record is not a JSON object")]
    NotJson,
    /// The outer object is not `{"data": {…}, "signature": HEX}`.
    #[error("the record does not consist of data and signature")]
    Envelope,
    /// It holds values that have no single reading.
    #[error(transparent)]
    Unsignable(#[from] UnsignableError),
    /// The text is not its own RFC 8785 form (spacing, order, escapes, duplicate keys).
    #[error("the record is not in canonical form (RFC 8785)")]
    NotCanonical,
    /// A field of the record is missing or has the wrong type.
    #[error("the field {name:?} of the record is missing or malformed")]
    Field {
        /// The field.
        name: &'static str,
    },
    /// The key is refused.
    #[error("the key of the record is refused: {0}")]
    Key(#[from] KeyError),
    /// The node id is not that of the key.
    #[error("the node id of the record is not that of its key")]
    Node,
    /// It expires before it is issued, or lives longer than [`MAX_LIFETIME`].
    #[error("the record does not expire within 30 days of its issue")]
    Lifetime,
    /// Issued in the future by more than [`CLOCK_TOLERANCE`].
    #[error("the record was issued in the future: check the clocks of both machines")]
    NotYetValid,
    /// Expired.
    #[error("the record has expired")]
    Expired,
    /// The key did not sign this text.
    #[error("the signature of the record is false")]
    Signature,
}
