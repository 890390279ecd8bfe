//! One inside end talking to one remote end: what was seen, and until when it counts.

use super::{Lifetimes, Now};
use crate::packet::{Content, Protocol};

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From inside.
    Out,
    /// From outside.
    In,
}

/// What one side of a connection has done.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    seen: bool,
    closed: bool,
}

/// The state of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    /// When it ends unless a packet refreshes it.
    pub(super) expires: Now,
    inside: Side,
    outside: Side,
    established: bool,
    reset: bool,
}

impl Session {
    /// A session that has seen nothing; it ends at `expires` unless a packet refreshes it.
    pub(super) fn new(expires: Now) -> Self {
        Self {
            expires,
            inside: Side::default(),
            outside: Side::default(),
            established: false,
            reset: false,
        }
    }

    /// Notes a packet. `refresh` says whether it may move the timer.
    pub(super) fn see(
        &mut self,
        now: Now,
        protocol: Protocol,
        content: Content,
        direction: Direction,
        refresh: bool,
        lifetimes: &Lifetimes,
    ) {
        let dead = self.reset || (self.inside.closed && self.outside.closed);
        if let Content::Tcp(flags) = content {
            if flags.syn && !flags.ack && !flags.rst && dead {
                *self = Self::new(self.expires);
            }
            self.reset |= flags.rst;
            self.established |=
                self.inside.seen && self.outside.seen && flags.ack && !flags.syn && !flags.rst;
        }
        let side = match direction {
            Direction::Out => &mut self.inside,
            Direction::In => &mut self.outside,
        };
        side.seen = true;
        side.closed |= matches!(content, Content::Tcp(flags) if flags.fin);
        if refresh {
            self.expires = now + self.lifetime(protocol, lifetimes);
        }
    }

    fn lifetime(&self, protocol: Protocol, lifetimes: &Lifetimes) -> Now {
        match protocol {
            Protocol::Udp if self.inside.seen && self.outside.seen => lifetimes.udp_replied,
            Protocol::Udp => lifetimes.udp_unreplied,
            Protocol::Tcp if self.reset => lifetimes.tcp_reset,
            Protocol::Tcp if self.inside.closed || self.outside.closed => lifetimes.tcp_transitory,
            Protocol::Tcp if self.established => lifetimes.tcp_established,
            Protocol::Tcp => lifetimes.tcp_transitory,
            Protocol::Echo => lifetimes.echo,
        }
    }
}
