//! Connections, their limits and their pace.

use super::{
    Core, Now, Output, Pace,
    subscriptions::{Followed, Interest},
};
use crate::{
    message::{Dam, Message},
    relay::{
        bucket::{Bucket, Rate},
        limits::{Limits, Origin},
    },
};
use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc, time::Duration};

/// A connection of a relay, its number since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) struct ConnId(pub(super) u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum From {
    /// Somebody at this address dialled.
    Dialled(IpAddr),
    /// We dialled the relay of this number in the list of those that we join.
    Joined(usize),
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum Turned {
    /// There are [`Limits::connections`].
    #[error("this relay has as many connections as it takes; try another relay, or later")]
    Full,
    /// There are [`Limits::connections_per_origin`] from there.
    #[error("your network has as many connections to this relay as it may; close some")]
    TooMany,
}

/// What somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A client, or not known yet.
    Unknown,
    /// A relay, or what behaves like one, that came to us.
    Relay,
    /// A relay that we joined.
    Joined(usize),
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) role: Role,
    /// Whose limits it uses; a relay that we joined has none.
    pub(super) origin: Option<Origin>,
    /// Whether it said "hi".
    pub(super) greeted: bool,
    /// What it follows.
    pub(super) follows: Followed,
    /// What it was asked for, and so tells us of; and when last.
    pub(super) asked: HashMap<Interest, Duration>,
    messages: Bucket,
    bytes: Bucket,
    /// Whether it sent more than its rate, and has not been quiet since.
    over: bool,
}

fn rates(limits: &Limits) -> (Rate, Rate) {
    (
        Rate::per_second(limits.messages_per_second),
        Rate::per_second(limits.bytes_per_second),
    )
}

impl Core {
    /// Somebody is here. They are asked for their name at once, as gun.js's relay does.
    pub(in super::super) fn connected(&mut self, now: Now, from: From) -> Result<ConnId, Turned> {
        let origin = match from {
            From::Dialled(address) => Some(Origin::of(address)),
            From::Joined(_) => None,
        };
        if let Some(origin) = origin {
            if self.connections.len() >= self.limits.connections {
                self.counters.turned += 1;
                return Err(Turned::Full);
            }
            if !self.origins.connect(now.since, origin) {
                self.counters.turned += 1;
                return Err(Turned::TooMany);
            }
        }
        self.connected += 1;
        self.counters.connected += 1;
        let conn = ConnId(self.connected);
        let (messages, bytes) = rates(&self.limits);
        let connection = Connection {
            role: match from {
                From::Dialled(_) => Role::Unknown,
                From::Joined(number) => Role::Joined(number),
            },
            origin,
            greeted: false,
            follows: Followed::default(),
            asked: HashMap::new(),
            messages: Bucket::full(now.since, messages),
            bytes: Bucket::full(now.since, bytes),
            over: false,
        };
        self.connections.insert(conn, connection);
        let hello = Dam::AskPid(Some(Arc::clone(&self.pid)));
        self.output
            .push_back(Output::Send(conn, Message::dam(self.ids.next(), hello)));
        if let From::Joined(number) = from {
            self.relays.insert(conn);
            self.on_joined(now, number, conn);
        }
        Ok(conn)
    }

    /// A connection ended.
    pub(in super::super) fn gone(&mut self, now: Now, conn: ConnId) {
        let Some(connection) = self.connections.remove(&conn) else {
            return;
        };
        self.subscriptions.remove(conn, connection.follows.iter());
        self.drop_puts_of(conn);
        self.relays.remove(&conn);
        if let Some(origin) = connection.origin {
            self.origins.disconnect(now.since, origin);
        }
        if let Role::Joined(number) = connection.role {
            self.joins.parted(now.since, number, conn);
        }
        self.settle();
    }

    /// So many messages and bytes came over a connection: when they may be handled.
    pub(in super::super) fn pace(
        &mut self,
        now: Now,
        conn: ConnId,
        messages: usize,
        bytes: usize,
    ) -> Pace {
        self.time = now.since;
        let (message_rate, byte_rate) = rates(&self.limits);
        let Some(connection) = self.connections.get_mut(&conn) else {
            return Pace::Now;
        };
        self.counters.messages += messages as u64;
        self.counters.bytes_in += bytes as u64;
        let count = f64::from(u32::try_from(messages).unwrap_or(u32::MAX));
        let size = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        let quiet = connection.messages.is_full(now.since, message_rate)
            && connection.bytes.is_full(now.since, byte_rate);
        let within = connection.messages.take(now.since, message_rate, count)
            & connection.bytes.take(now.since, byte_rate, size);
        connection.over = !within || (connection.over && !quiet);
        let modest = !connection.over;
        let Some(origin) = connection.origin else {
            return Pace::Now;
        };
        if modest {
            self.modest = Some(now.since);
        }
        let wait = self.origins.read(now.since, origin, messages, bytes);
        match (wait.is_zero(), modest) {
            (true, true) => Pace::Now,
            (true, false) => Pace::InTurn,
            (false, _) => {
                self.counters.slowed += 1;
                Pace::After(wait)
            }
        }
    }

    /// Whether there is room in the queues of the store for what is to be read and, of puts, written. Those who send more
    /// than their rate leave most of it free: nearly all while somebody does who does not, so that nobody waits for what others write.
    pub(in super::super) fn has_room(&self, now: Now, for_puts: bool, in_turn: bool) -> bool {
        let part = match (in_turn, self.is_anybody_modest(now)) {
            (false, _) => 1,
            (true, false) => 8,
            (true, true) => 256,
        };
        self.unread < self.limits.unread / part
            && (!for_puts || self.commits.unwritten() < self.limits.unwritten / part)
    }

    /// Whether somebody is here who keeps to their rate.
    fn is_anybody_modest(&self, now: Now) -> bool {
        let since = self.modest.map(|last| now.since.saturating_sub(last));
        since.is_some_and(|since| since < Duration::from_secs(1))
    }

    /// Whether what comes from there is to be written at once: not from who sends more than their rate beside others who do not.
    pub(super) fn is_hurried(&self, now: Now, from: Option<ConnId>) -> bool {
        let connection = from.and_then(|conn| self.connections.get(&conn));
        !(connection.is_some_and(|connection| connection.over) && self.is_anybody_modest(now))
    }

    /// How long whoever sends more than their rate lets others go first, for so many bytes.
    pub(in super::super) fn courtesy(&self, now: Now, bytes: usize) -> Duration {
        match self.is_anybody_modest(now) {
            true => Duration::from_secs(1)
                .mul_f64(bytes as f64 / self.limits.bytes_in_turn.max(1) as f64),
            false => Duration::ZERO,
        }
    }

    /// A connection is sent so much because it asked: that counts like what it sends.
    pub(super) fn charge(&mut self, conn: ConnId, bytes: usize) {
        let (_, rate) = rates(&self.limits);
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        let size = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        connection.bytes.spend(self.time, rate, size);
        if let Some(origin) = connection.origin {
            self.origins.read(self.time, origin, 0, bytes);
        }
    }
}
