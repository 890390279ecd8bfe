//! What is asked of routers, and what they grant.

use crate::candidate::Transport;
use dig_types::Method;
use std::{net::IpAddr, time::Duration};

/// A protocol that routers map by, in the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mapping) enum Protocol {
    Pcp,
    NatPmp,
    Upnp,
}

impl Protocol {
    pub(in crate::mapping) const ALL: [Self; 3] = [Self::Pcp, Self::NatPmp, Self::Upnp];

    pub(in crate::mapping) const fn method(self) -> Method {
        match self {
            Self::Pcp => Method::Pcp,
            Self::NatPmp => Method::NatPmp,
            Self::Upnp => Method::Upnp,
        }
    }
}

/// One protocol with the gateway of one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mapping) struct Way {
    pub(in crate::mapping) protocol: Protocol,
    pub(in crate::mapping) ipv6: bool,
}

/// What is to be reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mapping) struct Want {
    pub(in crate::mapping) ipv6: bool,
    pub(in crate::mapping) transport: Transport,
}

/// One thing that one protocol may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mapping) struct Slot {
    // First, so that iteration is in the order of preference.
    pub(in crate::mapping) protocol: Protocol,
    pub(in crate::mapping) want: Want,
}

impl Slot {
    pub(in crate::mapping) const fn way(self) -> Way {
        Way {
            protocol: self.protocol,
            ipv6: self.want.ipv6,
        }
    }
}

/// What the caller is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mapping) enum Ask {
    /// Find out whether the router speaks that protocol; then [`super::Leases::found`].
    Find(Way),
    /// Ask for a mapping or its renewal; then [`super::Leases::answered`].
    Map {
        slot: Slot,
        /// The outside port to ask for.
        external_port: u16,
        /// `None` asks for a permanent one.
        lease: Option<Duration>,
        /// What [`Granted`] said, when it is a renewal.
        token: Option<u16>,
    },
}

/// What is to be removed from a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mapping) struct Removal {
    pub(in crate::mapping) slot: Slot,
    pub(in crate::mapping) external_port: u16,
    /// What [`Granted`] said.
    pub(in crate::mapping) token: Option<u16>,
}

/// What a router granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mapping) struct Granted {
    /// Its outside address, if it told.
    pub(in crate::mapping) external: Option<IpAddr>,
    pub(in crate::mapping) port: u16,
    /// `None`: for ever.
    pub(in crate::mapping) lifetime: Option<Duration>,
    /// Seconds since it forgot everything, if it tells.
    pub(in crate::mapping) epoch: Option<u32>,
    /// The number of a pinhole.
    pub(in crate::mapping) token: Option<u16>,
}
