//! UDP hole punching.

use super::{Pace, Plan, Probe, Sides, TraversalMethod, outside};
use crate::candidate::Transport;
use dig_types::Method;

/// Datagrams from both sides, each opening its own NAT for the other's (RFC 5128 §3.3).
///
/// A packet that reaches a NAT before its own side has opened it is not always just lost: routers that reject instead of dropping keep
/// a record of it, and give the later flow of their own side another port. Therefore the barrier.
#[derive(Debug, Clone, Copy)]
pub struct UdpHolePunch;

impl TraversalMethod for UdpHolePunch {
    fn method(&self) -> Method {
        Method::UdpHolePunch
    }

    fn plan(&self, sides: &Sides<'_>) -> Result<Plan, String> {
        let targets = sides.targets(|c| outside(c, Transport::Udp));
        if !sides.either_has(|c| outside(c, Transport::Udp)) {
            return Err(
                "neither side knows its outside UDP address; name a STUN server with --stun".into(),
            );
        }
        let probes = targets.iter().map(|c| Probe::shared(c.addr)).collect();
        Ok(Plan {
            pace: Pace::Barrier,
            rounds: 1,
            probes,
            dials: Vec::new(),
        })
    }
}
