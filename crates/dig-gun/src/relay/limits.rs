//! How much a relay does for whom.

use crate::graph::DeferredConfig;
use std::{net::IpAddr, time::Duration};

/// Whom limits count: an IPv4 address, or the /56 of an IPv6 address, which is what one customer usually gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(IpAddr);

impl Origin {
    /// Where this address is counted. An IPv4 address in IPv6 dress is what it is.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.into()),
            IpAddr::V6(v6) => {
                let network = u128::from(v6) >> 72 << 72;
                Self(IpAddr::V6(network.into()))
            }
        }
    }
}

/// What a relay lets others do. Bytes are those of the JSON text, or about those of memory where nodes are counted.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a frame; a longer one closes its connection (1009). Default: 8 MiB, as pictures in gun.js's examples are some
    /// MB and localStorage ends at 5.
    pub frame: usize,
    /// Bytes of frames that are longer than 64 KiB and not yet here whole, of all connections; who goes beyond is closed.
    /// Default: 48 MiB.
    pub unfinished: usize,
    /// Connections in all. Default: 10,000, as gun.js has it (9,900).
    pub connections: usize,
    /// Connections of an origin. Default: 256, as many may share an address, and a laboratory has one.
    pub connections_per_origin: usize,
    /// Messages a second that a connection gets handled at once. Who sends more shares what others leave, one connection at
    /// a time, and waits. Default: 1,000; a busy page sends dozens.
    pub messages_per_second: u32,
    /// Bytes a second that a connection gets handled at once, like messages. Default: 1 MiB.
    pub bytes_per_second: u32,
    /// Bytes a second of all who send more than that, while somebody is here who does not. Default: 1 MiB, so that what they
    /// write, in frames however long, keeps the disk from others for a few percent of the time.
    pub bytes_in_turn: u32,
    /// Messages a second of an origin beyond which nothing is read, however idle the relay. Default: 200,000: more than one
    /// core handles, so that nothing is lost without need.
    pub messages_per_second_at_most: u32,
    /// Bytes a second of an origin beyond which nothing is read. Default: 64 MiB.
    pub bytes_per_second_at_most: u32,
    /// New souls of an origin a day; more are refused. Default: 500,000, a quarter of what a store keeps by default.
    pub souls_per_day: u32,
    /// Bytes that an origin may add a day; more are refused. Default: 1 GiB, what a store keeps by default.
    pub bytes_per_day: u64,
    /// Fields of a node; more are refused. Default: 50,000. gun.js itself loses puts beyond some thousand.
    pub fields: usize,
    /// Bytes of a node; more are refused. Default: 16 MiB, two of the longest frames.
    pub node: usize,
    /// Subscriptions of a connection; beyond, its oldest gives way, since Gun has no word for the end of one. Default: 20,000;
    /// pages follow hundreds.
    pub subscriptions: usize,
    /// Subscriptions in all; beyond, who follows more lets go of its oldest, or does not follow if it has none. Default:
    /// 200,000, about 40 MB.
    pub subscriptions_in_all: usize,
    /// Subscriptions of a connection to souls by pattern; every change is compared with each. Default: 16.
    pub patterns: usize,
    /// Subscriptions by pattern in all. Default: 1,024, some ten microseconds a change.
    pub patterns_in_all: usize,
    /// Bytes of changes that wait to be told to a connection; a slow reader is closed beyond, but one message goes out whatever
    /// its size. With an eighth of that waiting, answers included, nobody is listened to. Default: 8 MiB.
    pub outgoing: usize,
    /// Bytes that wait to be sent to all; beyond, whoever it is for is closed if it has more than 64 KiB waiting. Default:
    /// 64 MiB.
    pub outgoing_in_all: usize,
    /// Bytes of nodes kept in memory beside the store. Default: 16 MiB.
    pub cache: usize,
    /// Bytes of changes that are being written; beyond, no put is read until the disk has caught up. Default: 8 MiB, half of
    /// what a [`crate::store::Writer`] takes.
    pub unwritten: usize,
    /// Bytes of puts that wait for their nodes to be read from the store; beyond, nothing is listened to. Default: 8 MiB.
    pub unread: usize,
    /// Answers waiting for joined relays. Default: 4,096; beyond, answers do not wait.
    pub asked: usize,
    /// How long a "not found" waits for joined relays. Default: 400 ms: a round trip to anywhere, and less than a person
    /// notices.
    pub patience: Duration,
    /// Relays among those that came to us that are asked for what we do not have. Default: 16.
    pub asked_peers: usize,
    /// Souls that changed while a joined relay was away, and are sent when it is back; the oldest are forgotten beyond.
    /// Default: 10,000.
    pub missed: usize,
    /// Nodes in an answer to a query by pattern. Default: 10,000; the query's own budget is usually less.
    pub found: usize,
    /// What is kept that was written for a time to come.
    pub deferred: DeferredConfig,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: 8 << 20,
            unfinished: 48 << 20,
            connections: 10_000,
            connections_per_origin: 256,
            messages_per_second: 1_000,
            bytes_per_second: 1 << 20,
            bytes_in_turn: 1 << 20,
            messages_per_second_at_most: 200_000,
            bytes_per_second_at_most: 64 << 20,
            souls_per_day: 500_000,
            bytes_per_day: 1 << 30,
            fields: 50_000,
            node: 16 << 20,
            subscriptions: 20_000,
            subscriptions_in_all: 200_000,
            patterns: 16,
            patterns_in_all: 1_024,
            outgoing: 8 << 20,
            outgoing_in_all: 64 << 20,
            cache: 16 << 20,
            unwritten: 8 << 20,
            unread: 8 << 20,
            asked: 4_096,
            patience: Duration::from_millis(400),
            asked_peers: 16,
            missed: 10_000,
            found: 10_000,
            deferred: DeferredConfig::default(),
        }
    }
}
