//! What a name meant the first time it was used on the local network (trust on first use).

use super::{Home, HomeError, read_json, write_json};
use dig_types::{ContentName, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most pins that are kept; the oldest go first.
const MAX_PINS: usize = 10_000;

/// Who a name belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pin {
    /// The node that claimed the name.
    pub(crate) node: NodeId,
    /// When, in Unix milliseconds.
    pub(crate) since: u64,
}

/// The pins of a home.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Pins(BTreeMap<String, Pin>);

impl Pins {
    pub(crate) fn load(home: &Home) -> Self {
        read_json(&home.dir().join("pins.json")).unwrap_or_default()
    }

    pub(crate) fn of(&self, name: &ContentName) -> Option<Pin> {
        self.0.get(name.as_str()).copied()
    }

    /// Adds a pin unless the name has one, and writes the file.
    pub(crate) fn add(home: &Home, name: &ContentName, pin: Pin) -> Result<(), HomeError> {
        let mut pins = Self::load(home);
        if pins.0.contains_key(name.as_str()) {
            return Ok(());
        }
        if pins.0.len() >= MAX_PINS {
            let oldest = pins
                .0
                .iter()
                .min_by_key(|(_, pin)| pin.since)
                .map(|(name, _)| name.clone());
            oldest.and_then(|name| pins.0.remove(&name));
        }
        pins.0.insert(name.as_str().to_owned(), pin);
        home.create()?;
        write_json(&home.dir().join("pins.json"), &pins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_claimant_stays() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let name = ContentName::new("movie").unwrap();
        let first = Pin {
            node: NodeId::from_bytes([1; 32]),
            since: 5,
        };
        Pins::add(&home, &name, first).unwrap();
        Pins::add(
            &home,
            &name,
            Pin {
                node: NodeId::from_bytes([2; 32]),
                since: 6,
            },
        )
        .unwrap();
        assert_eq!(Pins::load(&home).of(&name), Some(first));
    }
}
