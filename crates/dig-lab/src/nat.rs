//! A network address translator of any kind, as a state machine: packets and the time go in, verdicts come out.
//!
//! The axes are those of RFC 4787 (datagrams), RFC 5382 (streams) and RFC 5508 (echo and errors), see [`NatConfig`].
//! Invariants:
//!
//! - An outside end belongs to one mapping; ports are never overloaded.
//! - A *session* is one inside end talking to one remote end. It has its own timer; a mapping lives as long as one of
//!   its sessions (or for ever when pinned). What a filter lets in is what the live sessions say.
//! - Whoever was let in is answered through the mapping that let it in, whatever the mapping behaviour.
//! - Under [`Habit::Reject`] with [`Poisoning`], a datagram that is not let in reaches the router itself, which then
//!   remembers the pair of ends. While it does, a new session of an inside host that would use exactly this pair goes
//!   out from another port, and takes all later sessions of that inside end with it. This is what makes early punches
//!   fail for good through routers that do not drop.
//! - The same seed and the same packets at the same times give the same verdicts.
//!
//! ```
//! use std::time::Duration;
//! use dig_lab::nat::{Nat, NatConfig, Verdict};
//! use dig_lab::packet::Packet;
//!
//! let mut nat = Nat::new(NatConfig::port_restricted(), vec!["44.128.1.1".parse().unwrap()], 7);
//! let (inside, remote) = ("192.168.0.2:4000".parse().unwrap(), "44.128.9.9:53".parse().unwrap());
//! let out = nat.outbound(Duration::ZERO, Packet::udp(inside, remote, "hello".into()));
//! let Verdict::Forward(out) = out else { panic!("{out:?}") };
//! assert_eq!(out.source, "44.128.1.1:4000".parse().unwrap());
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::packet::{Content, Flow, IcmpError, Packet, Protocol, TcpFlags};

mod config;
mod ports;
mod session;
mod table;
#[cfg(test)]
mod tests;

pub use config::{Allocation, Behaviour, Habit, Lifetimes, NatConfig, Poisoning, Pooling};

use ports::Ports;
use session::Direction;
use table::{MappingId, Scope, Table};

/// Time since any start, monotonic.
pub type Now = Duration;

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on to the other side, translated.
    Forward(Packet),
    /// Came from inside and goes back inside, translated at both ends.
    Hairpin(Packet),
    /// Is not let through; this answer goes back to the side it came from.
    Reject(Packet),
    /// Vanishes.
    Drop,
}

/// A translator: its configuration, its outside addresses and its tables.
#[derive(Debug)]
pub struct Nat {
    config: NatConfig,
    public: Vec<IpAddr>,
    ports: Ports,
    table: Table,
}

impl Nat {
    /// A translator with empty tables that owns the outside addresses `public`.
    ///
    /// Packets of an address family without an outside address are dropped. `seed` decides every random port.
    #[must_use]
    pub fn new(config: NatConfig, public: Vec<IpAddr>, seed: u64) -> Self {
        let ports = Ports::new(config.allocation, config.ports.clone(), seed);
        Self {
            config,
            public,
            ports,
            table: Table::default(),
        }
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &NatConfig {
        &self.config
    }

    /// Its outside addresses.
    #[must_use]
    pub fn public(&self) -> &[IpAddr] {
        &self.public
    }

    /// Forgets everything but pinned mappings, as a router that restarts.
    pub fn flush(&mut self) {
        self.table.flush();
    }

    /// Maps `external` to `internal` until [`unpin`](Self::unpin), open to everyone: a port mapping asked for by
    /// UPnP, NAT-PMP or PCP, or set by hand. Says whether it was free.
    pub fn pin(&mut self, protocol: Protocol, external: SocketAddr, internal: SocketAddr) -> bool {
        self.public.contains(&external.ip()) && self.table.pin(protocol, external, internal)
    }

    /// Ends a pinned mapping and its sessions. Says whether there was one.
    pub fn unpin(&mut self, protocol: Protocol, external: SocketAddr) -> bool {
        self.table.unpin(protocol, external)
    }

    /// The outside end through which `internal` talks to `remote`, if there is a session.
    #[must_use]
    pub fn external(
        &mut self,
        now: Now,
        protocol: Protocol,
        internal: SocketAddr,
        remote: SocketAddr,
    ) -> Option<SocketAddr> {
        self.table.expire(now);
        let id = self.table.session(protocol, internal, remote)?;
        self.table.mapping(id).map(|mapping| mapping.external)
    }

    /// How many sessions are alive.
    #[must_use]
    pub fn sessions(&mut self, now: Now) -> usize {
        self.table.expire(now);
        self.table.sessions()
    }

    /// A packet that arrives from inside.
    pub fn outbound(&mut self, now: Now, packet: Packet) -> Verdict {
        self.table.expire(now);
        let home = self.public.contains(&packet.destination.ip());
        if let Content::Error(error, about) = packet.content {
            return self.outbound_error(packet, error, about, home);
        }
        if home && !self.config.hairpin {
            return self.refuse(&packet);
        }
        let Some(external) = self.translate(now, &packet) else {
            return Verdict::Drop;
        };
        let mut out = packet;
        let inside = std::mem::replace(&mut out.source, external);
        if !home {
            return Verdict::Forward(out);
        }
        match self.admit(now, &out) {
            Some(internal) => {
                out.destination = internal;
                Verdict::Hairpin(out)
            }
            None => {
                out.source = inside;
                self.refuse(&out)
            }
        }
    }

    /// A packet that arrives from outside.
    pub fn inbound(&mut self, now: Now, packet: Packet) -> Verdict {
        self.table.expire(now);
        if !self.public.contains(&packet.destination.ip()) {
            return Verdict::Drop;
        }
        if let Content::Error(error, about) = packet.content {
            return self
                .inbound_error(packet, error, about)
                .map_or(Verdict::Drop, Verdict::Forward);
        }
        match self.admit(now, &packet) {
            Some(internal) => {
                let mut packet = packet;
                packet.destination = internal;
                Verdict::Forward(packet)
            }
            None => {
                self.remember(now, &packet);
                self.refuse(&packet)
            }
        }
    }

    /// The outside end that a packet from inside leaves from, and the session kept alive by it.
    fn translate(&mut self, now: Now, packet: &Packet) -> Option<SocketAddr> {
        let (protocol, internal, remote) = (packet.protocol(), packet.source, packet.destination);
        let id = match self.table.session(protocol, internal, remote) {
            Some(id) => id,
            None => self.open(packet)?,
        };
        let lifetimes = self.config.lifetimes;
        self.table.touch(now, id, remote, |session| {
            session.see(
                now,
                protocol,
                packet.content,
                Direction::Out,
                true,
                &lifetimes,
            );
        });
        self.table.mapping(id).map(|mapping| mapping.external)
    }

    /// The mapping for a new session that begins inside.
    fn open(&mut self, packet: &Packet) -> Option<MappingId> {
        match packet.content {
            Content::Tcp(flags) if !flags.syn || flags.rst => return None,
            Content::EchoReply => return None,
            _ => {}
        }
        if self.table.sessions() >= self.config.capacity {
            return None;
        }
        let (protocol, internal, remote) = (packet.protocol(), packet.source, packet.destination);
        let scope = Scope::of(self.config.mapping, remote);
        let (address, wish) = match self.table.scoped(protocol, internal, scope) {
            Some(id) => {
                let external = self.table.mapping(id)?.external;
                if !self.table.poisoned(protocol, external, remote) {
                    return Some(id);
                }
                (external.ip(), None)
            }
            None => (self.address_for(internal)?, Some(internal.port())),
        };
        let external = self
            .ports
            .take(&self.table, protocol, address, remote, wish)?;
        Some(self.table.insert(protocol, internal, external, scope))
    }

    /// The outside address for a new mapping of an inside host.
    fn address_for(&mut self, internal: SocketAddr) -> Option<IpAddr> {
        let same_family = |address: &&IpAddr| address.is_ipv4() == internal.is_ipv4();
        let count = self.public.iter().filter(same_family).count();
        let turn = match self.config.pooling {
            Pooling::Paired => self.table.host_number(internal.ip()),
            Pooling::Arbitrary => self.table.mapping_number(),
        };
        self.public
            .iter()
            .filter(same_family)
            .nth(turn.checked_rem(count)?)
            .copied()
    }

    /// The inside end that a packet from outside may go to.
    fn admit(&mut self, now: Now, packet: &Packet) -> Option<SocketAddr> {
        let (protocol, remote) = (packet.protocol(), packet.source);
        let id = self.table.at(protocol, packet.destination)?;
        let mapping = self.table.mapping(id)?;
        let internal = mapping.internal;
        let known = mapping.sessions.contains_key(&remote);
        if !known {
            let opens = match packet.content {
                Content::Udp => true,
                Content::Tcp(flags) => flags.syn && !flags.rst,
                _ => false,
            };
            if !opens || !mapping.lets_in(self.config.filtering, remote) {
                return None;
            }
            // Another mapping of the same inside end may already own this pair of ends.
            if self.table.session(protocol, internal, remote).is_some() {
                return Some(internal);
            }
            if self.table.sessions() >= self.config.capacity {
                return None;
            }
        }
        let refresh = self.config.refresh_inbound || protocol == Protocol::Tcp;
        let lifetimes = self.config.lifetimes;
        self.table.touch(now, id, remote, |session| {
            session.see(
                now,
                protocol,
                packet.content,
                Direction::In,
                refresh,
                &lifetimes,
            );
        });
        Some(internal)
    }

    /// Keeps the entry that an unsolicited packet leaves in the router's own table.
    fn remember(&mut self, now: Now, packet: &Packet) {
        let (Habit::Reject, Some(poisoning)) = (self.config.habit, self.config.poisoning) else {
            return;
        };
        let lifetime = match packet.content {
            Content::Udp => poisoning.udp,
            Content::Tcp(flags) if flags.syn && !flags.rst => poisoning.tcp,
            _ => return,
        };
        if self.table.poisons() < self.config.capacity {
            self.table.poison(
                packet.protocol(),
                packet.destination,
                packet.source,
                now + lifetime,
            );
        }
    }

    /// What the router's own stack answers, if it answers.
    fn refuse(&self, packet: &Packet) -> Verdict {
        if self.config.habit == Habit::Drop {
            return Verdict::Drop;
        }
        match packet.content {
            Content::Udp => {
                let reporter = packet.destination.ip();
                Verdict::Reject(Packet::error(
                    reporter,
                    IcmpError::PortUnreachable,
                    packet.flow(),
                ))
            }
            Content::Tcp(flags) if !flags.rst => Verdict::Reject(Packet::tcp(
                packet.destination,
                packet.source,
                TcpFlags::RST,
            )),
            _ => Verdict::Drop,
        }
    }

    /// An error that an inside host reports about a packet that it was sent (RFC 5508 §4.2).
    fn outbound_error(
        &mut self,
        packet: Packet,
        error: IcmpError,
        about: Flow,
        home: bool,
    ) -> Verdict {
        let Some(mapping) = self
            .table
            .session(about.protocol, about.destination, about.source)
            .and_then(|id| self.table.mapping(id))
        else {
            return Verdict::Drop;
        };
        let mut out = packet;
        out.source = SocketAddr::new(mapping.external.ip(), 0);
        let about = Flow {
            destination: mapping.external,
            ..about
        };
        out.content = Content::Error(error, about);
        if !home {
            return Verdict::Forward(out);
        }
        self.inbound_error(out, error, about)
            .map_or(Verdict::Drop, Verdict::Hairpin)
    }

    /// An error about a packet that left from here: time exceeded on the way, nobody there. It ends nothing
    /// (RFC 4787 REQ-12, RFC 5382 REQ-9).
    fn inbound_error(&mut self, packet: Packet, error: IcmpError, about: Flow) -> Option<Packet> {
        let id = self.table.at(about.protocol, about.source)?;
        let mapping = self.table.mapping(id)?;
        mapping.sessions.get(&about.destination)?;
        let mut packet = packet;
        packet.destination = SocketAddr::new(mapping.internal.ip(), 0);
        packet.content = Content::Error(
            error,
            Flow {
                source: mapping.internal,
                ..about
            },
        );
        Some(packet)
    }
}
