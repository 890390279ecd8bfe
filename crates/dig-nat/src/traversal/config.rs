//! What a node does to get paths, and what others may make it do.

use crate::{attempt::Strategy, mapping::PortMapperConfig};
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
    /// Attempts that one peer may begin in a minute. Default: 12: one that fails takes about 5 s.
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
            gather_wait: Duration::from_millis(300),
            port_mapping: Some(PortMapperConfig::default()),
            peers: None,
            max_outgoing: 64,
            max_incoming: 32,
            incoming_per_minute: 600,
            incoming_per_peer: 12,
            traces: 64,
        }
    }
}
