//! How many first messages are opened: anybody may send them, and each costs a key agreement and a signature check.

use crate::signaling::bucket::{Bucket, Rate};
use dig_types::NodeId;
use std::{collections::BTreeMap, time::Duration};

/// From all together.
const ALL_FIRSTS: Rate = Rate {
    per_second: 32,
    burst: 64,
};
/// Of one sender: whoever asks twice a second in two attempts stays below.
const SENDER_FIRSTS: Rate = Rate {
    per_second: 4,
    burst: 8,
};
/// Senders that are counted one by one; beyond, they share a count.
const MAX_SENDERS: usize = 256;

/// What may still be opened, of whom the carrier says that they sent it.
#[derive(Debug)]
pub(super) struct FirstsBudget {
    all: Bucket,
    /// `None`: of whom the carrier says nothing, and of all for whom there is no room.
    senders: BTreeMap<Option<NodeId>, Bucket>,
}

impl FirstsBudget {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            all: Bucket::full(now, ALL_FIRSTS),
            senders: BTreeMap::new(),
        }
    }

    /// Takes one; `false`: too many.
    pub(super) fn take(&mut self, now: Duration, from: Option<NodeId>) -> bool {
        if !self.senders.contains_key(&from) && self.senders.len() >= MAX_SENDERS {
            self.senders
                .retain(|_, bucket| !bucket.is_full(now, SENDER_FIRSTS));
        }
        let room = self.senders.len() < MAX_SENDERS || self.senders.contains_key(&from);
        let sender = self.senders.entry(if room { from } else { None });
        let sender = sender.or_insert_with(|| Bucket::full(now, SENDER_FIRSTS));
        sender.take(now, SENDER_FIRSTS) && self.all.take(now, ALL_FIRSTS)
    }
}
