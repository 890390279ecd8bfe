//! Dialling addresses on a common network.

use super::{Plan, Sides, TraversalMethod};
use crate::candidate::CandidateKind;
use dig_types::Method;

/// Addresses on a network that both are on, whatever the internet would do with them.
#[derive(Debug, Clone, Copy)]
pub struct LocalNetwork;

impl TraversalMethod for LocalNetwork {
    fn method(&self) -> Method {
        Method::Local
    }

    fn plan(&self, sides: &Sides<'_>) -> Result<Plan, String> {
        let shared = |addr| sides.local.shares_network(addr);
        let targets = sides.targets(|c| c.kind == CandidateKind::Host && shared(c.addr.ip()));
        if targets.is_empty() {
            return Err("the peer has no address on a network of this machine".into());
        }
        Ok(Plan::at_once(&targets))
    }
}
