//! TCP hole punching.

use super::{Dial, Pace, Plan, Sides, TraversalMethod, outside};
use crate::{attempt::event::LocalPort, candidate::Transport};
use dig_types::Method;

const ROUNDS: u8 = 3;

/// TCP connections from both sides at the same time, from the port that each also listens on (RFC 5128 §3.4).
///
/// The listener is what makes it work where one NAT gives every connection another port, so long as the other lets
/// strangers in: then only the first of the two can know where to connect to.
#[derive(Debug, Clone, Copy)]
pub struct TcpHolePunch;

impl TraversalMethod for TcpHolePunch {
    fn method(&self) -> Method {
        Method::TcpHolePunch
    }

    fn plan(&self, sides: &Sides<'_>) -> Result<Plan, String> {
        let mut targets = sides.targets(|c| outside(c, Transport::Tcp));
        if targets.is_empty() {
            // A connection to the right host at any port opens a NAT that filters by host, and makes the mapping that the
            // peer connects to.
            targets = sides.targets(|c| outside(c, Transport::Udp));
        }
        if !sides.either_has(|c| outside(c, Transport::Tcp)) {
            return Err("neither side knows the outside address of its TCP port: its NAT changes port numbers, or no STUN server was asked".into());
        }
        let dial = |to| Dial {
            round: None,
            from: LocalPort::Listening,
            to,
        };
        let dials = targets.iter().map(|c| dial(c.addr)).collect();
        Ok(Plan {
            pace: Pace::Synchronised,
            rounds: ROUNDS,
            probes: Vec::new(),
            dials,
        })
    }
}
