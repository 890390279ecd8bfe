//! TCP simultaneous open between fresh ports.

use super::{Dial, Pace, Plan, Sides, TraversalMethod};
use crate::attempt::event::LocalPort;
use dig_types::Method;

/// TCP connections from both sides at an agreed time, each round between ports that were never used before (RFC 9293 §3.5,
/// whitepaper section 3.4): whatever went wrong in one round, no NAT holds it against the next.
#[derive(Debug, Clone, Copy)]
pub struct TcpSimultaneousOpen;

impl TraversalMethod for TcpSimultaneousOpen {
    fn method(&self) -> Method {
        Method::TcpSimultaneousOpen
    }

    fn plan(&self, sides: &Sides<'_>) -> Result<Plan, String> {
        let own = sides.local.fresh_addresses();
        if own.is_empty() {
            return Err("where the NAT shows a fresh TCP port of this side cannot be told".into());
        }
        if sides.fresh.is_empty() {
            return Err("where the NAT shows a fresh TCP port of the peer cannot be told".into());
        }
        let mut dials = Vec::new();
        for (at, (own, peer)) in own.iter().zip(&sides.fresh).enumerate() {
            if let Some(to) = peer.filter(|peer| peer.is_ipv4() == own.is_ipv4()) {
                dials.push(Dial {
                    round: Some(at as u8),
                    from: LocalPort::Fresh(at),
                    to,
                });
            }
        }
        if dials.is_empty() {
            return Err("no fresh TCP port of the peer can be reached from here".into());
        }
        let count = own.len().min(sides.fresh.len()) as u8;
        Ok(Plan {
            pace: Pace::Synchronised,
            rounds: count,
            probes: Vec::new(),
            dials,
        })
    }
}
