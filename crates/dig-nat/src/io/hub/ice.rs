//! Whose an ICE connectivity check is, or the answer to one (RFC 8445 §7): STUN carries no tag of ours.

use crate::{attempt::Tag, stun::TransactionId};
use std::collections::{BTreeMap, VecDeque};

/// Checks of one attempt whose answers are waited for. An agent has up to 100 pairs (RFC 8445 §6.1.2.5), each asked a few times.
const MAX_SENT: usize = 512;
/// Bytes of a STUN header, and of that of an attribute (RFC 8489 §5, §14).
const HEADER: usize = 20;
const ATTRIBUTE: usize = 4;
/// Attributes that are looked at for a name: a check has fewer than ten.
const MAX_ATTRIBUTES: usize = 24;
/// RFC 8489 §14.3.
const USERNAME: u16 = 0x0006;
/// The bits of the class in a message's type; both clear: a request (RFC 8489 §5).
const CLASS: u16 = 0x0110;
const REQUEST: u16 = 0x0000;
const INDICATION: u16 = 0x0010;

/// Which attempt which checks belong to.
#[derive(Debug, Default)]
pub(super) struct IceRoutes {
    /// By the username fragment that the attempt chose.
    fragments: BTreeMap<String, Tag>,
    /// By the transaction of a check that the attempt sent.
    sent: BTreeMap<TransactionId, Tag>,
}

impl IceRoutes {
    /// Whether nothing is routed.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.fragments.is_empty() && self.sent.is_empty()
    }

    /// Checks that name this fragment go to that attempt; whether it was free, or the attempt's already.
    pub(super) fn attach(&mut self, fragment: &str, tag: Tag) -> bool {
        if let Some(whose) = self.fragments.get(fragment) {
            return *whose == tag;
        }
        self.fragments.insert(fragment.to_owned(), tag);
        true
    }

    /// The attempt is gone.
    pub(super) fn detach(&mut self, tag: Tag) {
        self.fragments.retain(|_, whose| *whose != tag);
        self.sent.retain(|_, whose| *whose != tag);
    }

    /// Whose a STUN message is. Whether it is genuine, the attempt finds out.
    pub(super) fn whose(&self, message: &[u8]) -> Option<Tag> {
        if self.fragments.is_empty() && self.sent.is_empty() {
            return None;
        }
        let (class, transaction) = header(message)?;
        if class != REQUEST && class != INDICATION {
            return self.sent.get(&transaction).copied();
        }
        // The receiver's fragment comes first (RFC 8445 §7.2.2).
        let name = username(message)?;
        let fragment = name.split(|byte| *byte == b':').next()?;
        let fragment = std::str::from_utf8(fragment).ok()?;
        self.fragments.get(fragment).copied()
    }
}

/// The checks that an attempt sent, oldest first.
#[derive(Debug, Default)]
pub(super) struct SentChecks(VecDeque<TransactionId>);

impl SentChecks {
    /// A STUN message was sent; only requests are answered.
    pub(super) fn note(&mut self, routes: &mut IceRoutes, tag: Tag, message: &[u8]) {
        let Some((REQUEST, transaction)) = header(message) else {
            return;
        };
        if routes.sent.insert(transaction, tag).is_some() {
            return;
        }
        self.0.push_back(transaction);
        if self.0.len() > MAX_SENT
            && let Some(oldest) = self.0.pop_front()
        {
            routes.sent.remove(&oldest);
        }
    }
}

fn header(message: &[u8]) -> Option<(u16, TransactionId)> {
    let header = message.first_chunk::<HEADER>()?;
    let mut transaction = [0; 12];
    transaction.copy_from_slice(&header[8..]);
    let kind = u16::from_be_bytes([header[0], header[1]]);
    Some((kind & CLASS, TransactionId(transaction)))
}

fn username(message: &[u8]) -> Option<&[u8]> {
    let mut rest = message.get(HEADER..)?;
    for _ in 0..MAX_ATTRIBUTES {
        let [kind_high, kind_low, high, low] = *rest.first_chunk::<ATTRIBUTE>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = rest.get(ATTRIBUTE..ATTRIBUTE + length)?;
        if u16::from_be_bytes([kind_high, kind_low]) == USERNAME {
            return Some(value);
        }
        rest = rest.get(ATTRIBUTE + length.next_multiple_of(ATTRIBUTE)..)?;
    }
    None
}
