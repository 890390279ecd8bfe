//! Where things lie in the graph (`docs/protocol.md` §16): the names of nodes, and how they change with time.

use data_encoding::{BASE64, HEXLOWER};
use dig_gun::{
    graph::Node,
    value::{Key, Soul, State, Value},
};
use dig_types::{DiscoveryKey, NodeId, Timestamp};
use sha2::{Digest as _, Sha256};
use std::{fmt, time::Duration};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Names of which one holds for a while and then the next: so relays keep no node for ever, and readers start small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots {
    length: Duration,
    /// How long a slot is read after its end.
    behind: Duration,
    /// How long before the next slot begins it is read: for writers whose clock is ahead.
    ahead: Duration,
}

impl Slots {
    /// Of topics: what is believed for an hour has been written in one of three.
    pub(super) const TOPIC: Self = Self {
        length: Duration::from_secs(30 * 60),
        behind: Duration::from_secs(60 * 60),
        ahead: dig_identity::record::CLOCK_TOLERANCE,
    };
    /// Of mailboxes: a signal is good for a minute before and after. Shorter slots would rid readers of old messages, and relays of old nodes,
    /// sooner; but Gun has no way to unsubscribe, so each slot costs a relay the memory of one more subscription until the
    /// connection ends.
    pub(super) const MAILBOX: Self = Self {
        length: Duration::from_secs(300),
        behind: Duration::from_secs(60),
        ahead: Duration::from_secs(60),
    };
    /// Of prekeys.
    pub(super) const PREKEY: Self = Self {
        length: DAY,
        behind: DAY,
        ahead: Duration::from_secs(10 * 60),
    };

    const fn millis(self) -> u64 {
        self.length.as_secs() * 1000
    }

    /// The slot that a moment is in.
    pub(super) const fn at(self, now: Timestamp) -> u64 {
        now.as_millis() / self.millis()
    }

    /// The slots that are read at a moment, oldest first.
    pub(super) fn read_at(self, now: Timestamp) -> std::ops::RangeInclusive<u64> {
        let behind = u64::try_from(self.behind.as_millis()).unwrap_or(u64::MAX);
        let behind = now.as_millis().saturating_sub(behind);
        self.at(Timestamp::from_millis(behind))..=self.at(now + self.ahead)
    }

    /// How long until other slots are read.
    pub(super) fn until_change(self, now: Timestamp) -> Duration {
        let left = |now: Timestamp| self.millis() - now.as_millis() % self.millis();
        // A slot later, the remainder is the same, and nothing lies before 1970.
        let behind = now + (self.length * 2).saturating_sub(self.behind);
        Duration::from_millis(left(behind).min(left(now + self.ahead)))
    }

    /// The state of what is written in a slot: the beginning of the one before. It is the past to whoever's clock is no more than a slot
    /// behind, so nothing is held back as being from the future.
    pub(super) fn state(self, slot: u64) -> Option<State> {
        let begin = slot.saturating_sub(1).saturating_mul(self.millis());
        State::new(begin as f64)
    }

    /// The day (since 1970) that a slot is in, and its number within that day.
    const fn of_day(self, slot: u64) -> (u64, u64) {
        let a_day = DAY.as_secs() / self.length.as_secs();
        (slot / a_day, slot % a_day)
    }
}

/// What records are published under: 32 bytes that say nothing to who does not know what they stand for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic([u8; 32]);

impl Topic {
    /// The topic of this name, such as `dig-availability`.
    pub fn named(name: &str) -> Self {
        let digest = Sha256::new_with_prefix("dig-topic/1").chain_update(name);
        Self(digest.finalize().into())
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The node in which the records of a slot lie.
    pub(super) fn soul(&self, slot: u64) -> Option<Soul> {
        Soul::new(&format!("dig/1/t/{self}/{slot}#")).ok()
    }
}

impl From<DiscoveryKey> for Topic {
    /// The topic of announcements.
    fn from(key: DiscoveryKey) -> Self {
        Self(*key.as_bytes())
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({})", HEXLOWER.encode(&self.0[..4]))
    }
}

/// A digest that stands for a node on one day.
fn daily(prefix: &str, day: u64, node: NodeId) -> String {
    let day = u32::try_from(day).unwrap_or(u32::MAX);
    let digest = Sha256::new_with_prefix(prefix)
        .chain_update(day.to_be_bytes())
        .chain_update(node.as_bytes());
    HEXLOWER.encode(&digest.finalize())
}

/// Where signals for a node lie.
pub(super) fn mailbox(of: NodeId, slot: u64) -> Option<Soul> {
    let (day, number) = Slots::MAILBOX.of_day(slot);
    let name = daily("dig-mail/1", day, of);
    Soul::new(&format!("dig/1/m/{name}/{number}")).ok()
}

/// Where the prekeys of a node lie.
pub(super) fn prekeys(of: NodeId, day: u64) -> Option<Soul> {
    let name = daily("dig-key/1", day, of);
    Soul::new(&format!("dig/1/k/{name}#")).ok()
}

/// The key of a text in a node whose name has a `#`: relays refuse any other, so nobody can put something else in its place.
pub(super) fn content_key(text: &str) -> Option<Key> {
    Key::new(&BASE64.encode(&Sha256::digest(text))).ok()
}

/// A node with one text under its own hash.
pub(super) fn content(soul: Soul, text: &str, state: State) -> Option<Node> {
    Some(Node::new(soul).with(content_key(text)?, Value::text(text), state))
}

/// The texts of a node that lie under their own hash, and are no longer than `longest`.
pub(super) fn contents(node: &Node, longest: usize) -> impl Iterator<Item = &str> {
    node.fields.iter().filter_map(move |(key, field)| {
        let Value::Text(text) = &field.value else {
            return None;
        };
        let fits = text.len() <= longest && content_key(text).as_ref() == Some(key);
        fits.then_some(&**text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_documented() {
        let node = NodeId::from_bytes([7; 32]);
        let (topic, day) = (Topic::named("x"), 20_780);
        assert_eq!(
            topic.soul(1).unwrap().as_str(),
            format!(
                "dig/1/t/{}/1#",
                HEXLOWER.encode(&Sha256::digest("dig-topic/1x"))
            )
        );
        let digest = |prefix: &str| {
            HEXLOWER.encode(&Sha256::digest(
                [prefix.as_bytes(), &[0, 0, 0x51, 0x2c], &[7; 32]].concat(),
            ))
        };
        assert_eq!(
            mailbox(node, day * 288 + 287).unwrap().as_str(),
            format!("dig/1/m/{}/287", digest("dig-mail/1"))
        );
        assert_eq!(
            prekeys(node, day).unwrap().as_str(),
            format!("dig/1/k/{}#", digest("dig-key/1"))
        );
    }

    #[test]
    fn readers_are_there_before_writers_whose_clock_is_ahead() {
        let minutes = |minutes: u64| Timestamp::from_millis(minutes * 60_000);
        let slots = Slots::TOPIC;
        assert_eq!(slots.read_at(minutes(100 * 30)), 98..=100);
        assert_eq!(
            slots.until_change(minutes(100 * 30)),
            Duration::from_secs(28 * 60)
        );
        assert_eq!(slots.read_at(minutes(100 * 30 + 28)), 98..=101);
        assert_eq!(
            slots.until_change(minutes(100 * 30 + 28)),
            Duration::from_secs(120)
        );
        let mailbox = |at| {
            (
                Slots::MAILBOX.read_at(minutes(at)),
                Slots::MAILBOX.until_change(minutes(at)),
            )
        };
        let minute = Duration::from_secs(60);
        assert_eq!(mailbox(50), (9..=10, minute));
        assert_eq!(mailbox(51), (10..=10, minute * 3));
        assert_eq!(mailbox(54), (10..=11, minute * 2));
        assert_eq!(Slots::TOPIC.state(100).unwrap().get(), 99.0 * 1_800_000.0);
    }

    #[test]
    fn only_texts_under_their_own_hash_are_read() {
        let state = Slots::TOPIC.state(2).unwrap();
        let soul = Topic::named("x").soul(2).unwrap();
        let node = content(soul, "mine", state).unwrap();
        let node = node
            .with(Key::new("other").unwrap(), Value::text("theirs"), state)
            .with(content_key("gone").unwrap(), Value::Null, state);
        assert_eq!(contents(&node, 4).collect::<Vec<_>>(), ["mine"]);
        assert_eq!(contents(&node, 3).count(), 0);
    }
}
