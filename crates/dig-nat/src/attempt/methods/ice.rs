//! Interactive connectivity establishment.

use super::{Pace, Plan, Probe, Sides, TraversalMethod};
use crate::candidate::{CandidateKind, Transport};
use dig_types::Method;

/// STUN connectivity checks between all UDP candidates of both sides, relayed ones too (RFC 8445): the same addresses as the other
/// methods have, asked in words that a firewall which lets only STUN pass knows.
///
/// NATs are opened as for [UDP hole punching](super::UdpHolePunch), and for the same reason.
#[derive(Debug, Clone, Copy)]
pub struct Ice;

impl TraversalMethod for Ice {
    fn method(&self) -> Method {
        Method::Ice
    }

    fn plan(&self, sides: &Sides<'_>) -> Result<Plan, String> {
        let udp = sides.targets(|c| c.transport == Transport::Udp);
        if !sides.either_has(|c| c.transport == Transport::Udp) {
            return Err("neither side has a UDP address that the other could check".into());
        }
        // For openers, and for the trace; the agent pairs by itself.
        let direct = udp.iter().filter(|c| c.kind != CandidateKind::Relayed);
        let probes = direct.map(|c| Probe::shared(c.addr)).collect();
        Ok(Plan {
            pace: Pace::Barrier,
            rounds: 1,
            probes,
            dials: Vec::new(),
        })
    }
}
