//! Dialling ports that routers map.

use super::{Plan, Sides, TraversalMethod};
use crate::candidate::{Candidate, CandidateKind};
use dig_types::Method;

/// A port that the router of either side maps, by [`Method::Pcp`], [`Method::NatPmp`] or [`Method::Upnp`].
#[derive(Debug, Clone, Copy)]
pub struct Mapped(pub Method);

impl TraversalMethod for Mapped {
    fn method(&self) -> Method {
        self.0
    }

    fn plan(&self, sides: &Sides<'_>) -> Result<Plan, String> {
        let mapped = |candidate: &Candidate| candidate.kind == CandidateKind::Mapped(self.0);
        let targets = sides.targets(mapped);
        if !sides.either_has(mapped) {
            return Err(format!("neither side's router maps a port by {}", self.0));
        }
        Ok(Plan::at_once(&targets))
    }
}
