//! Who is in an attempt with us, and who may begin one.
//!
//! There is one attempt a pair of peers. Where both offer at the same time, the offer of the lower node id stands (glare): both
//! sides see both ids, so both decide alike, whichever offer arrives first or not at all.

use super::{config::NatConfig, driver::Inbox};
use crate::{attempt::Role, trace::AttemptId};
use dig_types::NodeId;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tokio::sync::mpsc;

/// The time over which beginnings are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// An attempt that is going on.
#[derive(Debug)]
pub(super) struct Entry {
    /// Tells this entry from a later one of the same peer.
    pub(super) number: u64,
    pub(super) attempt: AttemptId,
    pub(super) role: Role,
    /// Whether somebody here asked for it.
    pub(super) wanted: bool,
    pub(super) inbox: mpsc::Sender<Inbox>,
}

/// What to do with a message of a peer that begins an attempt.
#[derive(Debug)]
pub(super) enum Decision {
    /// It belongs to the attempt that is going on.
    Forward(mpsc::Sender<Inbox>),
    /// The attempt that is going on gives way to it.
    Turn(mpsc::Sender<Inbox>),
    /// It begins a new one.
    Begin,
    /// It is not answered.
    Ignore(&'static str),
}

/// Attempts that are going on.
#[derive(Debug)]
pub(super) struct Table {
    own: NodeId,
    max_outgoing: usize,
    max_incoming: usize,
    per_minute: usize,
    per_peer: usize,
    number: u64,
    entries: BTreeMap<NodeId, Entry>,
    /// What others began in the last minute.
    begun: VecDeque<(Duration, NodeId)>,
}

impl Table {
    pub(super) fn new(own: NodeId, config: &NatConfig) -> Self {
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            own,
            max_outgoing: config.max_outgoing,
            max_incoming: config.max_incoming,
            per_minute: count(config.incoming_per_minute),
            per_peer: count(config.incoming_per_peer),
            number: 0,
            entries: BTreeMap::new(),
            begun: VecDeque::new(),
        }
    }

    pub(super) fn get_mut(&mut self, peer: NodeId) -> Option<&mut Entry> {
        self.entries.get_mut(&peer)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Attempts that a peer began in the last minute.
    #[cfg(test)]
    pub(super) fn begun_by(&self, peer: NodeId) -> usize {
        self.begun
            .iter()
            .filter(|(_, begun)| *begun == peer)
            .count()
    }

    /// Whether there is room for one more attempt of our own.
    pub(super) fn has_room(&self) -> bool {
        self.entries.values().filter(|entry| entry.wanted).count() < self.max_outgoing
    }

    /// Enters an attempt; gives its number.
    pub(super) fn enter(
        &mut self,
        peer: NodeId,
        attempt: AttemptId,
        role: Role,
        inbox: mpsc::Sender<Inbox>,
    ) -> u64 {
        self.number += 1;
        let entry = Entry {
            number: self.number,
            attempt,
            role,
            wanted: role == Role::Initiator,
            inbox,
        };
        self.entries.insert(peer, entry);
        self.number
    }

    /// An attempt has ended.
    pub(super) fn leave(&mut self, peer: NodeId, number: u64) {
        if self
            .entries
            .get(&peer)
            .is_some_and(|entry| entry.number == number)
        {
            self.entries.remove(&peer);
        }
    }

    /// A peer sent a message of this attempt; `first`: one that may begin it.
    pub(super) fn on_message(
        &mut self,
        now: Duration,
        from: NodeId,
        attempt: AttemptId,
        first: bool,
    ) -> Decision {
        if let Some(entry) = self.entries.get(&from) {
            if entry.attempt == attempt {
                return Decision::Forward(entry.inbox.clone());
            }
            if first && entry.role == Role::Initiator && self.own < from {
                return Decision::Ignore("our own offer stands");
            }
        }
        if !first {
            return Decision::Ignore("that attempt is over");
        }
        let known = self.entries.get(&from).map(|entry| entry.inbox.clone());
        if let Err(why) = self.admit(now, from, known.is_some()) {
            return Decision::Ignore(why);
        }
        match known {
            Some(inbox) => {
                if let Some(entry) = self.entries.get_mut(&from) {
                    (entry.attempt, entry.role) = (attempt, Role::Responder);
                }
                Decision::Turn(inbox)
            }
            None => Decision::Begin,
        }
    }

    /// Counts the beginning of an attempt, if there may be one more.
    fn admit(&mut self, now: Duration, from: NodeId, known: bool) -> Result<(), &'static str> {
        let old = |begun: &(Duration, NodeId)| begun.0 + MINUTE <= now;
        while self.begun.front().is_some_and(old) {
            self.begun.pop_front();
        }
        let unwanted = self.entries.values().filter(|entry| !entry.wanted).count();
        if !known && unwanted >= self.max_incoming {
            return Err("too many attempts are going on");
        }
        if self.begun.len() >= self.per_minute {
            return Err("too many attempts in the last minute");
        }
        let of_peer = self.begun.iter().filter(|(_, peer)| *peer == from).count();
        if of_peer >= self.per_peer {
            return Err("too many attempts of that peer in the last minute");
        }
        self.begun.push_back((now, from));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn id(number: u8) -> AttemptId {
        AttemptId([number; 16])
    }

    fn table() -> Table {
        let config = NatConfig {
            max_incoming: 3,
            incoming_per_minute: 6,
            incoming_per_peer: 2,
            max_outgoing: 2,
            ..NatConfig::default()
        };
        Table::new(node(50), &config)
    }

    fn inbox() -> mpsc::Sender<Inbox> {
        mpsc::channel(1).0
    }

    /// An offer; what is done with it.
    fn offer(table: &mut Table, now: u64, from: u8, attempt: u8) -> &'static str {
        let decision = table.on_message(Duration::from_secs(now), node(from), id(attempt), true);
        match decision {
            Decision::Forward(_) => "forward",
            Decision::Turn(_) => "turn",
            Decision::Begin => {
                table.enter(node(from), id(attempt), Role::Responder, inbox());
                "begin"
            }
            Decision::Ignore(why) => why,
        }
    }

    #[test]
    fn the_offer_of_the_lower_node_stands() {
        for (peer, expected) in [(60, "our own offer stands"), (40, "turn")] {
            let mut table = table();
            table.enter(node(peer), id(1), Role::Initiator, inbox());
            assert_eq!(offer(&mut table, 0, peer, 2), expected);
        }
        let mut table = table();
        table.enter(node(40), id(1), Role::Initiator, inbox());
        assert_eq!(offer(&mut table, 0, 40, 2), "turn");
        assert_eq!(offer(&mut table, 0, 40, 2), "forward", "its repetition");
    }

    #[test]
    fn a_peer_that_begins_anew_replaces_its_own_attempt() {
        let mut table = table();
        assert_eq!(offer(&mut table, 0, 1, 1), "begin");
        assert_eq!(offer(&mut table, 0, 1, 1), "forward");
        assert_eq!(offer(&mut table, 1, 1, 2), "turn");
        assert_eq!(
            offer(&mut table, 2, 1, 3),
            "too many attempts of that peer in the last minute"
        );
        assert_eq!(offer(&mut table, 61, 1, 4), "turn");
    }

    #[test]
    fn others_begin_so_many_at_a_time_and_in_a_minute() {
        let mut table = table();
        for peer in 1..=3 {
            assert_eq!(offer(&mut table, 0, peer, peer), "begin");
        }
        assert_eq!(offer(&mut table, 0, 4, 4), "too many attempts are going on");
        for peer in 1..=3 {
            let number = table.get_mut(node(peer)).unwrap().number;
            table.leave(node(peer), number);
        }
        for peer in 4..=6 {
            assert_eq!(offer(&mut table, 1, peer, peer), "begin");
            table.leave(node(peer), table.number);
        }
        assert_eq!(
            offer(&mut table, 2, 7, 7),
            "too many attempts in the last minute"
        );
        assert_eq!(offer(&mut table, 60, 7, 7), "begin");
    }

    #[test]
    fn a_message_of_an_attempt_that_is_over_is_ignored() {
        let mut table = table();
        let number = table.enter(node(1), id(1), Role::Initiator, inbox());
        table.leave(node(1), number + 1);
        let forward = table.on_message(Duration::ZERO, node(1), id(1), false);
        assert!(matches!(forward, Decision::Forward(_)));
        table.leave(node(1), number);
        let over = table.on_message(Duration::ZERO, node(1), id(1), false);
        assert!(matches!(over, Decision::Ignore(_)));
    }

    #[test]
    fn own_attempts_are_bounded() {
        let mut table = table();
        table.enter(node(1), id(1), Role::Initiator, inbox());
        table.enter(node(2), id(2), Role::Responder, inbox());
        assert!(table.has_room());
        table.enter(node(3), id(3), Role::Initiator, inbox());
        assert!(!table.has_room());
    }
}
