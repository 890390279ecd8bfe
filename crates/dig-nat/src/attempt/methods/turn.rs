//! Paths through TURN servers.

use super::{Pace, Plan, Probe, Sides, TraversalMethod};
use crate::candidate::{CandidateKind, Transport};
use dig_types::Method;

/// Datagrams through a relay (RFC 8656): from this side's port to an allocation of the peer's, the other way round, and from one
/// allocation to the other. One relay is enough where its server reaches both sides; which one answers first is used.
///
/// A relay lets in only whom its owner permits (RFC 8656 §9): all hosts of the peer, before anything is sent. From an own allocation
/// this side speaks to the peer's only, and to wherever the peer was heard at it. So nothing comes at a NAT before it is open.
#[derive(Debug, Clone, Copy)]
pub struct Turn;

impl TraversalMethod for Turn {
    fn method(&self) -> Method {
        Method::Turn
    }

    fn plan(&self, sides: &Sides<'_>) -> Result<Plan, String> {
        let relayed =
            sides.targets(|c| c.kind == CandidateKind::Relayed && c.transport == Transport::Udp);
        let relays = &sides.local.relays;
        if relays.is_empty() && relayed.is_empty() {
            return Err("neither side has a relay; name a TURN server with --turn".into());
        }
        let mut probes: Vec<Probe> = relayed.iter().map(|c| Probe::shared(c.addr)).collect();
        for to in relayed.iter().map(|c| c.addr) {
            let reaches = relays
                .iter()
                .filter(|relay| relay.is_ipv4() == to.is_ipv4());
            probes.extend(reaches.map(|relay| Probe::relay(*relay, to)));
        }
        Ok(Plan {
            pace: Pace::AtOnce,
            rounds: 1,
            probes,
            dials: Vec::new(),
        })
    }
}
