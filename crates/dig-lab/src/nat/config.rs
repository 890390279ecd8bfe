//! What kind of translator: every axis of RFC 4787, RFC 5382 and RFC 5508 that a peer can notice.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How much of the remote end a mapping or a filter depends on (RFC 4787 §4.1 and §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Behaviour {
    /// On nothing: one mapping for all remotes; anyone may send to it.
    Independent,
    /// On the remote address.
    AddressDependent,
    /// On the remote address and port.
    AddressAndPortDependent,
}

/// How the outside port of a new mapping is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// The inside port where it is free, else a random one, as Linux masquerading does.
    Preserve,
    /// The last one plus `delta`, passing over those in use; the first one is random.
    Sequential {
        /// The step; negative steps exist.
        delta: i16,
    },
    /// Any free port, as `masquerade fully-random` does.
    Random,
}

/// What becomes of a packet from outside that no mapping or filter lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Habit {
    /// It vanishes, as behind most home routers.
    Drop,
    /// The router's own stack answers: port unreachable, or a reset.
    Reject,
}

/// How long the entry of a rejected packet stays in the router's connection table.
///
/// Linux keeps one when its own stack answers (nothing listens at the port), and none when a firewall rule rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Poisoning {
    /// After a datagram. 30 s on Linux (`nf_conntrack_udp_timeout`).
    pub udp: Duration,
    /// After an opening segment. Zero on Linux, which forgets a connection that was answered by a reset (seen with
    /// 6.18); other routers may keep it for a while.
    pub tcp: Duration,
}

impl Poisoning {
    /// Linux with its defaults.
    pub const LINUX: Self = Self {
        udp: Duration::from_secs(30),
        tcp: Duration::ZERO,
    };
}

/// How inside hosts share several outside addresses (RFC 4787 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// A host keeps one outside address (REQ-2).
    Paired,
    /// Every mapping takes the next address.
    Arbitrary,
}

/// How long a session lives without a packet that refreshes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lifetimes {
    /// Datagrams of one side only. 30 s on Linux (RFC 4787 REQ-5 asks for 2 min).
    pub udp_unreplied: Duration,
    /// Datagrams both ways. 120 s on Linux and by RFC 4787 REQ-5.
    pub udp_replied: Duration,
    /// A connection that is not established or is closing. 240 s (RFC 5382 REQ-5).
    pub tcp_transitory: Duration,
    /// An established connection. 2 h 4 min (RFC 5382 REQ-5).
    pub tcp_established: Duration,
    /// A connection after a reset. 10 s on Linux.
    pub tcp_reset: Duration,
    /// Echo identifiers. 60 s (RFC 5508 REQ-2); Linux has 30 s.
    pub echo: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            udp_unreplied: Duration::from_secs(30),
            udp_replied: Duration::from_secs(120),
            tcp_transitory: Duration::from_secs(240),
            tcp_established: Duration::from_secs(7440),
            tcp_reset: Duration::from_secs(10),
            echo: Duration::from_secs(60),
        }
    }
}

/// One kind of translator.
///
/// The constructors name the classic kinds; every field may then be set. They drop what is unsolicited, preserve
/// ports unless they are symmetric, do not hairpin, refresh on packets from either side, and poison as Linux does
/// once [`habit`](Self::habit) is [`Habit::Reject`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatConfig {
    /// When a new remote gets a mapping of its own.
    pub mapping: Behaviour,
    /// Whom a mapping lets in.
    pub filtering: Behaviour,
    /// How outside ports are chosen.
    pub allocation: Allocation,
    /// Whether inside hosts reach each other through their outside addresses (RFC 4787 REQ-9, with the outside
    /// address as source).
    pub hairpin: bool,
    /// What happens to unsolicited packets.
    pub habit: Habit,
    /// Whether a rejected packet leaves an entry that makes a later mapping for the same pair of ends move to
    /// another port. `None` for routers that keep no such entry. Without effect under [`Habit::Drop`].
    pub poisoning: Option<Poisoning>,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// Whether packets from outside keep a session alive (RFC 4787 REQ-6 allows both).
    pub refresh_inbound: bool,
    /// How several outside addresses are shared.
    pub pooling: Pooling,
    /// Outside ports to choose from. 1024 to 65535, as Linux.
    pub ports: RangeInclusive<u16>,
    /// Sessions that fit the table; packets that would need one more are dropped. 65,536.
    pub capacity: usize,
}

impl NatConfig {
    fn kind(mapping: Behaviour, filtering: Behaviour, allocation: Allocation) -> Self {
        Self {
            mapping,
            filtering,
            allocation,
            hairpin: false,
            habit: Habit::Drop,
            poisoning: Some(Poisoning::LINUX),
            lifetimes: Lifetimes::default(),
            refresh_inbound: true,
            pooling: Pooling::Paired,
            ports: 1024..=65535,
            capacity: 65_536,
        }
    }

    /// One mapping for all, open to all.
    #[must_use]
    pub fn full_cone() -> Self {
        Self::kind(
            Behaviour::Independent,
            Behaviour::Independent,
            Allocation::Preserve,
        )
    }

    /// One mapping for all, open to addresses that were sent to.
    #[must_use]
    pub fn address_restricted() -> Self {
        Self::kind(
            Behaviour::Independent,
            Behaviour::AddressDependent,
            Allocation::Preserve,
        )
    }

    /// One mapping for all, open to ends that were sent to: Linux masquerading, most homes.
    #[must_use]
    pub fn port_restricted() -> Self {
        Self::kind(
            Behaviour::Independent,
            Behaviour::AddressAndPortDependent,
            Allocation::Preserve,
        )
    }

    /// A mapping a remote end, at random ports: `masquerade fully-random`.
    #[must_use]
    pub fn symmetric_random() -> Self {
        Self::kind(
            Behaviour::AddressAndPortDependent,
            Behaviour::AddressAndPortDependent,
            Allocation::Random,
        )
    }

    /// A mapping a remote end, at ports that step by `delta`.
    #[must_use]
    pub fn symmetric_sequential(delta: i16) -> Self {
        let sequential = Allocation::Sequential { delta };
        Self::kind(
            Behaviour::AddressAndPortDependent,
            Behaviour::AddressAndPortDependent,
            sequential,
        )
    }

    /// The same kind with another habit.
    #[must_use]
    pub fn with_habit(mut self, habit: Habit) -> Self {
        self.habit = habit;
        self
    }

    /// The same kind, which hairpins or not.
    #[must_use]
    pub fn with_hairpin(mut self, hairpin: bool) -> Self {
        self.hairpin = hairpin;
        self
    }
}
