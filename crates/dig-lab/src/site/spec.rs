//! What kind of site to build.

use crate::{
    link::Link,
    nat::{Habit, NatConfig},
};

/// The kind of network in which somebody sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SiteKind {
    /// Public addresses, nothing filtered.
    Open,
    /// NAT, endpoint-independent mapping and filtering.
    FullCone,
    /// NAT, endpoint-independent mapping, address-dependent filtering.
    AddressRestricted,
    /// NAT, endpoint-independent mapping, address and port-dependent filtering: most homes.
    PortRestricted,
    /// NAT, a random port for every remote end.
    SymmetricRandom,
    /// NAT, a port for every remote end, each the last one plus one ([`crate::tun::TunNat`]).
    SymmetricSequential,
    /// A home router behind the NAT of a carrier (RFC 6598 addresses between them).
    CarrierGrade,
    /// A home router that opens ports on request: UPnP IGD, NAT-PMP, PCP.
    UpnpRouter,
    /// The same behind a second router: its own outside address is private.
    UpnpPrivate,
    /// NAT, no UDP leaves.
    UdpBlocked,
    /// NAT, nothing but TCP to ports 80 and 443 leaves.
    WebOnly,
    /// IPv6 alone, global addresses, a stateful firewall.
    Ipv6Firewall,
    /// [`Self::PortRestricted`] for IPv4, [`Self::Ipv6Firewall`] for IPv6.
    DualStack,
    /// NAT of any kind that [`NatConfig`] describes ([`crate::tun::TunNat`]): built from one, see [`SiteSpec`].
    UserNat,
}

impl SiteKind {
    /// Every kind that a name describes: all but [`Self::UserNat`].
    pub const ALL: [Self; 13] = [
        Self::Open,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::SymmetricRandom,
        Self::SymmetricSequential,
        Self::CarrierGrade,
        Self::UpnpRouter,
        Self::UpnpPrivate,
        Self::UdpBlocked,
        Self::WebOnly,
        Self::Ipv6Firewall,
        Self::DualStack,
    ];

    /// Its name in tables and on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::FullCone => "full-cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::SymmetricRandom => "symmetric-random",
            Self::SymmetricSequential => "symmetric-sequential",
            Self::CarrierGrade => "carrier-grade",
            Self::UpnpRouter => "upnp",
            Self::UpnpPrivate => "upnp-private",
            Self::UdpBlocked => "udp-blocked",
            Self::WebOnly => "web-only",
            Self::Ipv6Firewall => "ipv6-firewall",
            Self::DualStack => "dual-stack",
            Self::UserNat => "user-nat",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// This kind with a habit.
    #[must_use]
    pub fn with_habit(self, habit: Habit) -> SiteSpec {
        SiteSpec::from(self).with_habit(habit)
    }

    /// This kind behind a link.
    #[must_use]
    pub fn with_link(self, link: Link) -> SiteSpec {
        SiteSpec::from(self).with_link(link)
    }
}

/// A site to be built. A [`SiteKind`] alone stands for one that drops what is unsolicited, does not hairpin, has the address
/// families of its kind and a perfect link; a [`NatConfig`] alone for one with a router of that kind.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteSpec {
    /// Its kind.
    pub kind: SiteKind,
    /// What its routers do with unsolicited packets.
    pub habit: Habit,
    /// Whether its outermost NAT lets machines behind it reach each other through its outside address.
    pub hairpin: bool,
    /// Whether it has IPv6 (behind a stateful firewall where there is a NAT) even if its kind does not say so.
    pub ipv6: bool,
    /// Its link to the internet: outwards, inwards. `None` is perfect, and faster than a perfect emulated one.
    pub link: Option<(Link, Link)>,
    /// The NAT of [`SiteKind::UserNat`], habit and hairpin as in the fields above.
    pub(crate) nat: Option<NatConfig>,
}

impl From<SiteKind> for SiteSpec {
    fn from(kind: SiteKind) -> Self {
        let nat = match kind {
            SiteKind::SymmetricSequential => Some(NatConfig::symmetric_sequential(1)),
            SiteKind::UserNat => Some(NatConfig::port_restricted()),
            _ => None,
        };
        Self {
            kind,
            habit: Habit::Drop,
            hairpin: false,
            ipv6: false,
            link: None,
            nat,
        }
    }
}

impl From<NatConfig> for SiteSpec {
    fn from(nat: NatConfig) -> Self {
        let (habit, hairpin) = (nat.habit, nat.hairpin);
        Self {
            habit,
            hairpin,
            nat: Some(nat),
            ..SiteKind::UserNat.into()
        }
    }
}

impl SiteSpec {
    /// The same site with another habit.
    #[must_use]
    pub fn with_habit(self, habit: Habit) -> Self {
        Self { habit, ..self }
    }

    /// The same site, whose outermost NAT hairpins.
    #[must_use]
    pub fn with_hairpin(self) -> Self {
        Self {
            hairpin: true,
            ..self
        }
    }

    /// The same site with IPv6 as well.
    #[must_use]
    pub fn with_ipv6(self) -> Self {
        Self { ipv6: true, ..self }
    }

    /// The same site behind this link, the same both ways: a `delay` counts once each way.
    #[must_use]
    pub fn with_link(self, link: Link) -> Self {
        self.with_links(link, link)
    }

    /// The same site behind a link that differs by direction.
    #[must_use]
    pub fn with_links(self, outwards: Link, inwards: Link) -> Self {
        Self {
            link: Some((outwards, inwards)),
            ..self
        }
    }

    /// The configuration of its user-space NAT.
    pub(crate) fn user_nat(&self) -> Option<NatConfig> {
        let nat = self.nat.clone()?;
        Some(nat.with_habit(self.habit).with_hairpin(self.hairpin))
    }
}
