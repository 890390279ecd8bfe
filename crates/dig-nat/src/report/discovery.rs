//! The tests of RFC 5780 as a state machine, for one address family.

mod lifetime;
mod samples;
mod stages;
mod trace;

use super::family::FamilyReport;
use crate::stun::{Answer, ChangeRequest, Message, Query, TransactionId};
use lifetime::{AGES, Ageing};
use samples::Sample;
use sha2::{Digest, Sha256};
use stages::FilterTests;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use trace::Trace;

/// The socket whose mappings are compared.
const MAIN: usize = 0;
/// The socket that is answered from elsewhere: it never sends but to one address, so that it opens no filter.
const FILTER: usize = 1;
/// The socket that is sent to by its outside address.
const HAIRPIN: usize = 2;
/// The socket whose datagrams die on the way.
const TRACE: usize = 3;
/// The first socket that tests how long mappings stay.
const AGED: usize = 4;

/// Most servers that are asked.
const MAX_SERVERS: usize = 4;
/// What to find out, and with what.
#[derive(Debug, Clone)]
pub struct DiscoveryConfig {
    /// The local addresses of [`DiscoveryConfig::sockets_needed`] fresh sockets of one family, with the IP address that
    /// they have on the way to the servers.
    pub sockets: Vec<SocketAddr>,
    /// STUN servers of the same family, the most wanted first; at most four are asked.
    pub servers: Vec<SocketAddr>,
    /// Whether to find out how long mappings stay, which takes as long as they do, at most five minutes.
    pub lifetime: bool,
    /// What transaction ids are drawn from: 32 random bytes.
    pub seed: [u8; 32],
}

impl DiscoveryConfig {
    /// The socket whose datagrams have a short time to live: the one to watch for [`Discovery::on_time_exceeded`].
    pub const DYING: usize = TRACE;

    /// How many sockets the tests take.
    pub const fn sockets_needed(lifetime: bool) -> usize {
        if lifetime { AGED + AGES.len() } else { AGED }
    }
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Index of the socket in [`DiscoveryConfig::sockets`].
    pub socket: usize,
    /// To whom.
    pub to: SocketAddr,
    /// Time to live; `None` is the system's own.
    pub ttl: Option<u8>,
    /// What.
    pub bytes: Vec<u8>,
}

/// The tests, one family's.
///
/// Drain [`Self::poll`] after every call and when [`Self::timeout`] is due; hand over what arrives. When there is no
/// timeout left, [`Self::into_report`].
#[derive(Debug)]
pub struct Discovery {
    config: DiscoveryConfig,
    names: Names,
    stage: Stage,
    asks: Vec<Ask>,
    /// How many questions were begun.
    asked: usize,
    samples: Vec<Sample>,
    /// The server that the later tests use, and what it answered.
    primary: Option<(SocketAddr, Answer)>,
    first_answer: Option<Duration>,
    /// The shortest round trip of a request that was sent once.
    round_trip: Option<Duration>,
    filtering: FilterTests,
    trace: Option<Trace>,
    ageing: Option<Ageing>,
    report: FamilyReport,
}

/// What is being done; each begins when the one before has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Asking every server where we come from.
    Reach,
    /// Making mappings, in order.
    Map,
    /// Everything that may go on at the same time.
    Probe,
    /// Nothing more.
    Done,
}

/// An open question.
#[derive(Debug)]
struct Ask {
    purpose: Purpose,
    /// The socket that asks.
    socket: usize,
    /// How many questions were begun before.
    order: usize,
    query: Query,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Where do we come from?
    Sample,
    /// Does an answer from there come in?
    Filter(ChangeRequest),
    /// Does a request to our own outside address come in?
    Hairpin,
}

/// Transaction ids: a hash of a random seed and a counter.
#[derive(Debug, Clone)]
struct Names {
    seed: [u8; 32],
    drawn: u64,
}

impl Names {
    fn draw(&mut self) -> TransactionId {
        self.drawn += 1;
        let digest = Sha256::new()
            .chain_update(self.seed)
            .chain_update(self.drawn.to_be_bytes())
            .finalize();
        let mut id = [0; 12];
        id.copy_from_slice(&digest[..12]);
        TransactionId(id)
    }
}

impl Discovery {
    /// Begins at once. Does nothing if there are no servers or too few sockets.
    pub fn new(now: Duration, config: DiscoveryConfig) -> Self {
        let local = config
            .sockets
            .first()
            .map_or(IpAddr::from([0; 4]), SocketAddr::ip);
        let enough = config.sockets.len() >= DiscoveryConfig::sockets_needed(config.lifetime);
        let mut discovery = Self {
            names: Names {
                seed: config.seed,
                drawn: 0,
            },
            stage: Stage::Reach,
            asks: Vec::new(),
            asked: 0,
            samples: Vec::new(),
            primary: None,
            first_answer: None,
            round_trip: None,
            filtering: FilterTests::default(),
            trace: None,
            ageing: None,
            report: FamilyReport::new(local),
            config,
        };
        if enough {
            for server in discovery
                .config
                .servers
                .clone()
                .into_iter()
                .take(MAX_SERVERS)
            {
                discovery.begin_reach(now, server);
            }
        }
        discovery.advance(now);
        discovery
    }

    /// When [`Self::poll`] has something to do; `None` when all is done.
    pub fn timeout(&self) -> Option<Duration> {
        if self.stage == Stage::Done {
            return None;
        }
        let asks = self.asks.iter().filter_map(|ask| ask.query.timeout());
        let trace = self.trace.as_ref().and_then(Trace::timeout);
        let ageing = self.ageing.as_ref().and_then(Ageing::timeout);
        asks.chain(self.patience()).chain(trace).chain(ageing).min()
    }

    /// What was found out.
    pub fn into_report(self) -> FamilyReport {
        self.report
    }

    /// The next datagram to send, if any.
    pub fn poll(&mut self, now: Duration) -> Option<Probe> {
        loop {
            if let Some(probe) = self.poll_asks(now).or_else(|| self.poll_probes(now)) {
                return Some(probe);
            }
            if !self.advance(now) {
                return None;
            }
        }
    }

    /// A datagram arrived at a socket.
    pub fn on_datagram(
        &mut self,
        now: Duration,
        socket: usize,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        let Ok(message) = Message::parse(datagram) else {
            return;
        };
        if socket == TRACE {
            if let Some(trace) = &mut self.trace {
                trace.on_datagram(source, datagram);
            }
        } else if let Message::Request { request, .. } = &message {
            self.on_hairpin(socket, request.transaction);
        } else {
            let asked = |ask: &&mut Ask| ask.socket == socket && ask.purpose != Purpose::Hairpin;
            for ask in self.asks.iter_mut().filter(asked) {
                ask.query.on_message(now, source, &message);
            }
            if let Some(ageing) = &mut self.ageing {
                ageing.on_message(now, socket, source, &message);
            }
        }
        self.advance(now);
    }

    /// A router says that the time to live of a datagram ended there, and quotes the datagram's first bytes, or none.
    pub fn on_time_exceeded(
        &mut self,
        now: Duration,
        socket: usize,
        router: IpAddr,
        quoted: &[u8],
    ) {
        if let (TRACE, Some(trace)) = (socket, &mut self.trace) {
            trace.on_time_exceeded(now, router, quoted);
        }
        self.advance(now);
    }

    fn on_hairpin(&mut self, socket: usize, transaction: TransactionId) {
        let ours =
            |ask: &Ask| ask.purpose == Purpose::Hairpin && ask.query.transaction() == transaction;
        if socket == HAIRPIN && self.asks.iter().any(ours) {
            self.asks.retain(|ask| !ours(ask));
            self.report.hairpin = Some(true);
        }
    }

    fn poll_asks(&mut self, now: Duration) -> Option<Probe> {
        self.asks.iter_mut().find_map(|ask| {
            ask.query.poll(now).map(|bytes| Probe {
                socket: ask.socket,
                to: ask.query.server(),
                ttl: None,
                bytes,
            })
        })
    }

    fn poll_probes(&mut self, now: Duration) -> Option<Probe> {
        let (server, _) = self.primary?;
        if let Some((ttl, bytes)) = self.trace.as_mut().and_then(|trace| trace.poll(now)) {
            return Some(Probe {
                socket: TRACE,
                to: server,
                ttl: Some(ttl),
                bytes,
            });
        }
        let names = &mut self.names;
        let (socket, bytes) = self.ageing.as_mut()?.poll(now, || names.draw())?;
        Some(Probe {
            socket,
            to: server,
            ttl: None,
            bytes,
        })
    }
}

#[cfg(test)]
mod tests;
