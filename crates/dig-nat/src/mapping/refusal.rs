//! Why a router did not map.

/// Why a router did not map a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It did not answer in time.
    #[error("the router does not answer; it may be switched off in its settings")]
    NoAnswer,
    /// It does not know this protocol, or not this part of it.
    #[error("the router does not speak it")]
    Unsupported,
    /// The outside port leads to another machine already.
    #[error("every outside port that was tried is taken by another machine")]
    Conflict,
    /// It grants mappings for ever only (UPnP error 725).
    #[error("the router grants permanent mappings only")]
    OnlyPermanent,
    /// It wants the outside port to be the inside one (UPnP error 724), and that is taken.
    #[error("the router maps only the same port, and another machine has it")]
    SamePortOnly,
    /// It does not allow it.
    #[error("the router forbids it; allow port mapping for this machine in its settings")]
    Denied,
    /// It has no address outside, or one that it knows to be useless.
    #[error("the router has no public address to map; there is another NAT behind it")]
    NoOutside,
    /// It has no room, which some say too when they have no public address.
    #[error("the router has no room for another mapping, or no public address to map")]
    Exhausted,
    /// It sees us under another address than our own: it is not our own gateway.
    #[error("there is another NAT between this machine and the router that answers")]
    Distant,
    /// Its answer makes no sense, or is larger or slower than any honest one.
    #[error("the router's answer makes no sense")]
    Nonsense,
    /// Its answer points at another machine, or at a port where no such server lives.
    #[error("an answer pointed at another machine than the one that gave it, and was ignored")]
    Elsewhere,
    /// The router reports an error of its own.
    #[error("the router reports error {0}")]
    Code(u16),
    /// The system could not do it.
    #[error("the system cannot ask the router: {0}")]
    System(std::io::ErrorKind),
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            // "Port unreachable": nobody listens there.
            std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::TimedOut => Self::NoAnswer,
            kind => Self::System(kind),
        }
    }
}
