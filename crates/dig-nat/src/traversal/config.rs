//! What a node does to get paths, and what others may make it do.

use crate::{attempt::Strategy, mapping::PortMapperConfig, turn::TurnServer};
use dig_types::{Method, NodeId};
use std::{collections::BTreeSet, time::Duration};

/// How [`NatTraversalManager`](super::NatTraversalManager) works.
#[derive(Debug, Clone)]
pub struct NatConfig {
    /// Methods that may be used, whatever their order. Default: all.
    pub methods: Vec<Method>,
    /// In which order they are tried. Default: [`Strategy::Race`], as fast as the fastest of them.
    pub strategy: Strategy,
    /// How long one method may take. Default: 5 s (design §7); a lost SYN is sent again after 1 s and after 3 s.
    pub method_timeout: Duration,
    /// How long the peer may take to answer the offer. Default: 5 s; an offer is repeated twice a second.
    pub offer_timeout: Duration,
    /// STUN servers, each as `HOST:PORT`. Default: none; peers that introduce us say where they see us come from.
    pub stun: Vec<String>,
    /// TURN servers; the first ones are used, at most two at a time, and only while an attempt or somebody else wants relays.
    /// Default: none.
    pub turn: Vec<TurnServer>,
    /// Whether this side names and uses nothing but relays, so that peers do not learn its addresses from it. Default: no.
    pub relay_only: bool,
    /// Whether hundreds of small packets may be sent to guess the port of a peer behind a NAT that gives every destination another
    /// one. Default: yes, within the bounds of `docs/protocol.md` §14; no where the router's table is small.
    pub birthday: bool,
    /// How long the first attempt waits for STUN servers that were not asked before. Default: 300 ms: answers
    /// take one round trip, and what comes later is told to the peer later.
    pub gather_wait: Duration,
    /// How ports are mapped; `None`: not at all. Default: by UPnP, NAT-PMP and PCP.
    pub port_mapping: Option<PortMapperConfig>,
    /// The only peers that may begin an attempt; others learn nothing. Default: everybody may.
    pub peers: Option<BTreeSet<NodeId>>,
    /// Attempts of our own at a time. Default: 64; each holds a few sockets for some seconds.
    pub max_outgoing: usize,
    /// Attempts of others at a time, one of each. Default: 32.
    pub max_incoming: usize,
    /// Attempts that others may begin in a minute, all together. Default: 600, ten a second: each makes us send up to a hundred
    /// small packets to addresses at which the peer was observed.
    pub incoming_per_minute: u32,
    /// Attempts that one peer may begin in a minute. Default: 30: while only a relayed path is up, one every 3 s looks for a direct one.
    pub incoming_per_peer: u32,
    /// Traces of ended attempts that are kept. Default: 64.
    pub traces: usize,
}

impl Default for NatConfig {
    fn default() -> Self {
        Self {
            methods: Method::ALL.to_vec(),
            strategy: Strategy::Race,
            method_timeout: Duration::from_secs(5),
            offer_timeout: Duration::from_secs(5),
            stun: Vec::new(),
            turn: Vec::new(),
            relay_only: false,
            birthday: true,
            gather_wait: Duration::from_millis(300),
            port_mapping: Some(PortMapperConfig::default()),
            peers: None,
            max_outgoing: 64,
            max_incoming: 32,
            incoming_per_minute: 600,
            incoming_per_peer: 30,
            traces: 64,
        }
    }
}
