//! Announcements: signed records that only who knows what it looks for can open (`docs/protocol.md` §16).
//!
//! In the clear stand the topic, whether the node has it, and its prekey. Sealed stands a ticket of the node: what, how much, and where it may
//! be reached. The key comes from what is looked for itself, so opening proves knowing it, and the seal is bound to the node and the
//! topic: a sealed text that is copied into another record opens for nobody.

use super::layout::Topic;
use aws_lc_rs::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use data_encoding::BASE64;
use dig_discovery::{Claim, Found, Lookup};
use dig_identity::{
    Signer,
    record::{RecordError, SignRecordError, SignedRecord},
};
use dig_nat::signaling::prekey::SignedPrekey;
use dig_types::{NodeId, PeerRecord, PeerSource, Ticket, TicketError, Timestamp};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

/// The type of the records.
const KIND: &str = "dig.announce.v1";
/// How long an announcement is believed (whitepaper 5.1, `contentTTL`).
pub(super) const TTL: Duration = Duration::from_secs(3600);
/// Longest text that is read. One of an RSA key of 4096 bits with everything has less.
pub(super) const MAX_TEXT: usize = 12 * 1024;
/// Sealed texts have a multiple of this many bytes, so that their length says little.
const BLOCK: usize = 256;
/// Longest sealed text, nonce and tag not counted.
const MAX_SEALED: usize = 4096;

/// What a node says about one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// What and where; `None`: the node no longer has it.
    pub(super) ticket: Option<Ticket>,
    /// The signed prekey to write to the node; empty if it has none.
    pub(super) prekey: Vec<u8>,
}

/// The body of the record.
#[derive(Serialize, Deserialize)]
struct Body {
    topic: String,
    available: bool,
    prekey: String,
    sealed: String,
}

/// What is looked at before the signature, which costs a hundred times more.
#[derive(Deserialize)]
struct Glance<'a> {
    #[serde(borrow)]
    data: GlanceData<'a>,
}

#[derive(Deserialize)]
struct GlanceData<'a> {
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow)]
    sealed: Cow<'a, str>,
}

/// Seals and opens what concerns one lookup.
pub(super) struct Codec {
    lookup: Lookup,
    topic: Topic,
    key: LessSafeKey,
}

impl Codec {
    /// `None` if the key cannot be derived, which no lookup makes happen.
    pub(super) fn new(lookup: Lookup) -> Option<Self> {
        let (kind, secret): (&[u8], &[u8]) = match &lookup {
            Lookup::Content(hash) => (b"content", hash.as_bytes()),
            Lookup::Sha256(hash) => (b"sha256", hash.as_bytes()),
            Lookup::Name(name) => (b"name", name.as_str().as_bytes()),
        };
        let info: [&[u8]; 2] = [b"dig-gun-announce/1", kind];
        let key = Salt::new(HKDF_SHA256, &[]).extract(secret);
        let key = UnboundKey::from(key.expand(&info, &CHACHA20_POLY1305).ok()?);
        Some(Self {
            topic: lookup.key().into(),
            key: LessSafeKey::new(key),
            lookup,
        })
    }

    /// Where the announcements lie.
    pub(super) const fn topic(&self) -> Topic {
        self.topic
    }

    /// Makes a record of a word. `nonce` is random, and never used twice.
    pub(super) fn write(
        &self,
        signer: &dyn Signer,
        (sequence, issued): (u64, Timestamp),
        word: &Word,
        nonce: [u8; NONCE_LEN],
    ) -> Result<SignedRecord, WriteError> {
        let text = word
            .ticket
            .as_ref()
            .map(Ticket::to_bytes)
            .unwrap_or_default();
        let body = Body {
            topic: self.topic.to_string(),
            available: word.ticket.is_some(),
            prekey: BASE64.encode(&word.prekey),
            sealed: BASE64.encode(&self.seal(signer.node_id(), &text, nonce)?),
        };
        let expires = issued + TTL;
        Ok(SignedRecord::sign(
            signer, KIND, sequence, issued, expires, &body,
        )?)
    }

    /// Reads a text of the topic.
    pub(super) fn read(
        &self,
        text: &str,
        now: Timestamp,
    ) -> Result<(SignedRecord, Word), ReadError> {
        if text.len() > MAX_TEXT {
            return Err(ReadError::TooLong);
        }
        let glance: Glance<'_> = serde_json::from_str(text).map_err(|_| ReadError::Form)?;
        let node: NodeId = glance.data.node.parse().map_err(|_| ReadError::Form)?;
        let opened = self.open(node, &glance.data.sealed)?;
        let record = SignedRecord::parse(text, now)?;
        let body: Body = record.body().map_err(|_| ReadError::Form)?;
        let same = record.node_id() == node && body.sealed == glance.data.sealed;
        if record.kind() != KIND || body.topic != self.topic.to_string() || !same {
            return Err(ReadError::Elsewhere);
        }
        let ticket = match (body.available, opened.is_empty()) {
            (true, _) => Some(self.own_ticket(&opened, node)?),
            (false, true) => None,
            (false, false) => return Err(ReadError::Form),
        };
        let prekey = BASE64.decode(body.prekey.as_bytes());
        let prekey = prekey.map_err(|_| ReadError::Form)?;
        if prekey.len() > SignedPrekey::MAX_LEN {
            return Err(ReadError::TooLong);
        }
        Ok((record, Word { ticket, prekey }))
    }

    /// A ticket that speaks of its node alone, and of what was looked for.
    fn own_ticket(&self, bytes: &[u8], node: NodeId) -> Result<Ticket, ReadError> {
        let ticket = Ticket::from_bytes(bytes)?;
        let fits = match &self.lookup {
            Lookup::Content(hash) => ticket.hash == *hash,
            Lookup::Sha256(_) => true,
            Lookup::Name(name) => ticket.name.as_ref() == Some(name),
        };
        let alone = matches!(ticket.nodes.as_slice(), [own] if own.node == node);
        if fits && alone {
            Ok(ticket)
        } else {
            Err(ReadError::Elsewhere)
        }
    }

    /// Nonce ‖ ciphertext ‖ tag, of: length u16 ‖ text ‖ zeros.
    fn seal(
        &self,
        node: NodeId,
        text: &[u8],
        nonce: [u8; NONCE_LEN],
    ) -> Result<Vec<u8>, WriteError> {
        let length = u16::try_from(text.len()).map_err(|_| WriteError::TooLong)?;
        let mut plain = length.to_be_bytes().to_vec();
        plain.extend_from_slice(text);
        plain.resize(plain.len().next_multiple_of(BLOCK), 0);
        if plain.len() > MAX_SEALED {
            return Err(WriteError::TooLong);
        }
        let aad = self.bound_to(node);
        let sealing = Nonce::assume_unique_for_key(nonce);
        (self.key)
            .seal_in_place_append_tag(sealing, aad, &mut plain)
            .map_err(|_| WriteError::Seal)?;
        Ok([&nonce[..], &plain].concat())
    }

    fn open(&self, node: NodeId, sealed: &str) -> Result<Vec<u8>, ReadError> {
        let mut sealed = BASE64
            .decode(sealed.as_bytes())
            .map_err(|_| ReadError::Form)?;
        let (nonce, text) = sealed
            .split_first_chunk_mut::<NONCE_LEN>()
            .ok_or(ReadError::Form)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = (self.key)
            .open_in_place(nonce, self.bound_to(node), text)
            .map_err(|_| ReadError::Seal)?;
        let padded = plain.len().is_multiple_of(BLOCK) && plain.len() <= MAX_SEALED;
        let (length, text) = plain.split_first_chunk().ok_or(ReadError::Form)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (text, padding) = text.split_at_checked(length).ok_or(ReadError::Form)?;
        let zeros = padding.len() < BLOCK && padding.iter().all(|byte| *byte == 0);
        if padded && zeros {
            Ok(text.to_vec())
        } else {
            Err(ReadError::Form)
        }
    }

    fn bound_to(&self, node: NodeId) -> Aad<[u8; 64]> {
        let mut aad = [0; 64];
        aad[..32].copy_from_slice(node.as_bytes());
        aad[32..].copy_from_slice(self.topic.as_bytes());
        Aad::from(aad)
    }

    /// What the ticket of an announcement comes to, for discovery.
    pub(super) fn found(mut ticket: Ticket) -> Option<Found> {
        let own = ticket.nodes.pop()?;
        // Who has a part of it may not know more than the hash.
        let claim = ticket.kind.zip(ticket.size).map(|(kind, size)| Claim {
            hash: Some(ticket.hash),
            kind,
            size,
            name: ticket.name,
        });
        let peer = PeerRecord {
            node: Some(own.node),
            addrs: own.addrs,
            mapped: own.mapped,
            via: own.via,
            relays: own.relays,
            source: PeerSource::Gun,
        };
        Some(Found {
            peer,
            claims: claim.into_iter().collect(),
        })
    }
}

/// Why an announcement is not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// What is to be sealed has more bytes than a record takes.
    #[error("what is to be announced is too long")]
    TooLong,
    /// The seal failed.
    #[error("the announcement cannot be sealed")]
    Seal,
    /// The record was not made.
    #[error(transparent)]
    Record(#[from] SignRecordError),
}

/// Why a text is no announcement that concerns a lookup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadError {
    /// It has more bytes than are read.
    #[error("the announcement is too long")]
    TooLong,
    /// It is not of the form.
    #[error("the announcement is malformed")]
    Form,
    /// It was not sealed for this lookup by this node: whoever wrote it does not know what is looked for, or copied it.
    #[error("the announcement is not sealed for what is looked for")]
    Seal,
    /// The record is not to be believed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The ticket in it cannot be read.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// It speaks of another thing or node.
    #[error("the announcement is about something else")]
    Elsewhere,
}
