//! Requests that wait for their answers.

use crate::{stun::TransactionId, turn::message::Method};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// The first pause before a request is repeated; RFC 8489 §6.2.1 has 500 ms for a network that it knows nothing of.
const PAUSE: Duration = Duration::from_millis(250);
/// When it is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Allocate,
    Refresh,
    /// A renewal from another address, with a ticket.
    Move,
    /// A renewal for no time.
    Release,
    Permission(IpAddr),
    Channel(SocketAddr),
    /// A Binding request: whether the server is there, and from where it sees us.
    Probe,
}

impl Purpose {
    pub(super) const fn method(self) -> Method {
        match self {
            Self::Allocate => Method::Allocate,
            Self::Refresh | Self::Move | Self::Release => Method::Refresh,
            Self::Permission(_) => Method::CreatePermission,
            Self::Channel(_) => Method::ChannelBind,
            Self::Probe => Method::Binding,
        }
    }
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: TransactionId,
    pub(super) purpose: Purpose,
    pub(super) signed: bool,
    /// How often the server wanted it said otherwise.
    pub(super) tries: u8,
    /// When it was first sent.
    pub(super) asked: Duration,
    bytes: Vec<u8>,
    due: Duration,
    pause: Duration,
}

impl Request {
    pub(super) const fn new(
        id: TransactionId,
        purpose: Purpose,
        bytes: Vec<u8>,
        signed: bool,
        tries: u8,
    ) -> Self {
        Self {
            id,
            purpose,
            signed,
            tries,
            asked: Duration::ZERO,
            bytes,
            due: Duration::ZERO,
            pause: PAUSE,
        }
    }
}

/// What is to be done about a request.
#[derive(Debug)]
pub(super) enum Due {
    Resend(Vec<u8>),
    Expired(Request),
}

#[derive(Debug)]
pub(super) struct Requests {
    open: Vec<Request>,
    /// A stream repeats by itself.
    stream: bool,
}

impl Requests {
    pub(super) const fn new(stream: bool) -> Self {
        Self {
            open: Vec::new(),
            stream,
        }
    }

    pub(super) const fn is_stream(&self) -> bool {
        self.stream
    }

    pub(super) fn open(&mut self, now: Duration, mut request: Request) {
        request.asked = now;
        request.due = now + if self.stream { PATIENCE } else { request.pause };
        self.open.push(request);
    }

    pub(super) fn has(&self, purpose: Purpose) -> bool {
        self.open.iter().any(|request| request.purpose == purpose)
    }

    pub(super) fn find(&self, id: TransactionId) -> Option<&Request> {
        self.open.iter().find(|request| request.id == id)
    }

    pub(super) fn close(&mut self, id: TransactionId) -> Option<Request> {
        let at = self.open.iter().position(|request| request.id == id)?;
        Some(self.open.swap_remove(at))
    }

    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.open.iter().map(|request| request.due).min()
    }

    pub(super) fn poll(&mut self, now: Duration) -> Option<Due> {
        let at = self.open.iter().position(|request| request.due <= now)?;
        let request = &mut self.open[at];
        let end = request.asked + PATIENCE;
        if now >= end {
            return Some(Due::Expired(self.open.swap_remove(at)));
        }
        request.pause *= 2;
        request.due = (now + request.pause).min(end);
        Some(Due::Resend(request.bytes.clone()))
    }
}
