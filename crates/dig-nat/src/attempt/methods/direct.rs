//! Dialling public addresses, from either side.

use super::{Plan, Sides, TraversalMethod, public_host};
use dig_types::Method;

/// The peer's own public address, and the other way round (reverse dial): only one of the two needs to be reachable.
#[derive(Debug, Clone, Copy)]
pub struct Direct;

impl TraversalMethod for Direct {
    fn method(&self) -> Method {
        Method::Direct
    }

    fn plan(&self, sides: &Sides<'_>) -> Result<Plan, String> {
        let targets = sides.targets(public_host);
        if !sides.either_has(public_host) {
            return Err("neither side has a public address that the other can use".into());
        }
        Ok(Plan::at_once(&targets))
    }
}
