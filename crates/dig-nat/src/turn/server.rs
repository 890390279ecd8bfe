//! A TURN server (RFC 8656, UDP relays), with mobility (RFC 8016); sans-IO.
//!
//! Over the program it has one advantage, that its addresses are reachable, and whoever abuses a relay wants just that. So:
//!
//! - nothing is forwarded, and nothing kept, for whoever has not shown a credential, and a nonce that was sent to the address
//!   that it comes from;
//! - before that an answer is at most [`Server::MAX_AMPLIFICATION`] times as long as the request, or there is none, and a
//!   network gets a limited number of answers a second;
//! - data goes only to peers that [`PeerPolicy`] admits, whatever their address is dressed as, and to the relay's own
//!   addresses only at ports that are allocated: those it hands over itself, without a socket;
//! - data comes only from addresses that the client permitted;
//! - everything a client can make grow has a limit ([`Quotas`]).
//!
//! Not built, and refused as RFC 8656 says: TCP relays (442), two families in one allocation (440 for the second),
//! DONT-FRAGMENT (420), SHA-256 credentials (the challenge does not offer them).
//!
//! # How it is driven
//!
//! Whoever owns the sockets gives what comes from clients to [`Server::on_client`], what comes to relayed addresses to
//! [`Server::on_peer`], and does what the answers say. After each call, [`Server::pop_ended`] names allocations whose sockets are to
//! be closed, and [`Server::deadline`] when [`Server::on_timeout`] is due.

mod accounts;
mod allocate;
mod allocation;
mod code;
mod config;
mod counters;
mod network;
mod nonce;
mod peers;
mod requests;
mod table;
mod wire;

pub use accounts::time_limited_password;
pub use allocate::{Opening, OpeningError};
pub use allocation::AllocationId;
pub use config::{ConfigError, Quotas, ServerConfig, User};
pub use counters::Counters;
pub use network::{Network, NetworkError};
pub use peers::PeerPolicy;
pub use wire::frame_length;

use crate::stun::{Allowance, ServerLimits};
use accounts::Accounts;
use nonce::Nonces;
use std::{net::SocketAddr, time::Duration};
use table::Table;
use wire::Request;

/// Between a client and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A connection: TCP, or whatever is laid over it.
    Stream,
}

/// A client, as RFC 8656 §3 names it: by both ends of the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client {
    /// How it talks.
    pub transport: Transport,
    /// The address of the server that it talks to.
    pub local: SocketAddr,
    /// Its own address, as the server sees it.
    pub remote: SocketAddr,
}

/// What to do about a message of a client.
#[derive(Debug)]
pub enum Heard<'a> {
    /// Nothing.
    Nothing,
    /// Answer the client.
    Reply(Vec<u8>),
    /// Open a socket for it, then call [`Server::on_opened`].
    Open(Box<Opening>),
    /// Send data from the socket of an allocation.
    Forward {
        /// The allocation.
        from: AllocationId,
        /// The peer.
        to: SocketAddr,
        /// What.
        data: &'a [u8],
    },
    /// Hand data from one allocation to another: call [`Server::on_peer`].
    Between {
        /// The allocation that it is for.
        to: AllocationId,
        /// The relayed address that it comes from.
        source: SocketAddr,
        /// What.
        data: &'a [u8],
    },
}

/// The server.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    accounts: Accounts,
    nonces: Nonces,
    table: Table,
    /// Answers to whoever has not proved anything.
    answers: Allowance,
    /// New allocations.
    openings: Allowance,
    counters: Counters,
    /// The Unix time when `now` was nothing.
    epoch: u64,
    /// Where tokens and tickets are drawn from.
    random: fn(&mut [u8]) -> bool,
    draining: bool,
}

impl Server {
    /// Bytes of an answer for a byte of a request of somebody who has not proved to be there.
    pub const MAX_AMPLIFICATION: usize = 3;

    /// A server. `seed` keys the nonces and must be random; `epoch` is the Unix time, in seconds, at which `now` is nothing, by
    /// which time-limited credentials expire; `random` fills bytes that nobody can guess, or says that it cannot.
    pub fn new(
        config: ServerConfig,
        seed: &[u8; 32],
        epoch: u64,
        random: fn(&mut [u8]) -> bool,
    ) -> Result<Self, ConfigError> {
        if config.realm.is_empty() || config.realm.len() > ServerConfig::LONGEST_REALM {
            return Err(ConfigError::Realm);
        }
        let per_minute = config.quotas.new_per_minute;
        let openings = ServerLimits {
            per_second: per_minute.div_ceil(60),
            burst: per_minute,
            ..ServerLimits::default()
        };
        Ok(Self {
            accounts: Accounts::new(&config)?,
            nonces: Nonces::new(seed, config.nonce_lifetime),
            table: Table::default(),
            answers: Allowance::new(ServerLimits::default()),
            openings: Allowance::new(openings),
            counters: Counters::default(),
            epoch,
            random,
            draining: false,
            config,
        })
    }

    /// The Unix time, in seconds, at which `now` was nothing: tell it again where clocks are set or a machine slept.
    pub fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// A message came from a client; over a connection, one message with its padding.
    ///
    /// Binding requests are not looked at: give them to a [`crate::stun::Server`].
    pub fn on_client<'a>(&mut self, now: Duration, client: Client, bytes: &'a [u8]) -> Heard<'a> {
        // The two kinds are told apart by their first bits (RFC 8656 §12).
        match bytes.first().map(|byte| byte >> 6) {
            Some(0) => {}
            Some(1) => return self.on_channel_data(now, client, bytes),
            _ => return self.ignore(),
        }
        if let Some((peer, data)) = wire::send_indication(bytes) {
            return self.on_send(now, client, peer, data);
        }
        match Request::parse(bytes) {
            Some(request) => self.on_request(now, client, &request),
            None => self.ignore(),
        }
    }

    fn ignore<'a>(&mut self) -> Heard<'a> {
        self.counters.ignored += 1;
        Heard::Nothing
    }

    fn stray<'a>(&mut self) -> Heard<'a> {
        self.counters.dropped_stray += 1;
        Heard::Nothing
    }

    fn on_channel_data<'a>(&mut self, now: Duration, client: Client, bytes: &'a [u8]) -> Heard<'a> {
        let Some((number, data)) = wire::channel_data(bytes) else {
            return self.ignore();
        };
        let Some(id) = self.table.id_of(client) else {
            return self.stray();
        };
        let allocation = self.table.get(id);
        match allocation.and_then(|allocation| allocation.peer_of(now, number)) {
            Some(peer) => self.forward(now, id, peer, data),
            None => self.stray(),
        }
    }

    fn on_send<'a>(
        &mut self,
        now: Duration,
        client: Client,
        peer: SocketAddr,
        data: &'a [u8],
    ) -> Heard<'a> {
        let Some(id) = self.table.id_of(client) else {
            return self.stray();
        };
        let allocation = self.table.get(id);
        match allocation.is_some_and(|allocation| allocation.permits(now, peer.ip())) {
            true => self.forward(now, id, peer, data),
            false => self.stray(),
        }
    }

    /// Data that the client may send to that address.
    fn forward<'a>(
        &mut self,
        now: Duration,
        id: AllocationId,
        peer: SocketAddr,
        data: &'a [u8],
    ) -> Heard<'a> {
        let Some(allocation) = self.table.get_mut(id) else {
            return self.stray();
        };
        if let Some(rate) = self.config.quotas.bytes_per_second
            && !allocation.spend(now, rate, data.len())
        {
            self.counters.dropped_rate += 1;
            return Heard::Nothing;
        }
        let source = allocation.relayed;
        let heard = if self.config.peers.is_own(peer.ip()) {
            match self.table.id_at(peer) {
                Some(to) => Heard::Between { to, source, data },
                None => return self.stray(),
            }
        } else if peer.port() == 0 {
            return self.stray();
        } else {
            Heard::Forward {
                from: id,
                to: peer,
                data,
            }
        };
        self.counters.packets_to_peers += 1;
        self.counters.bytes_to_peers += data.len() as u64;
        heard
    }

    /// A datagram came from `source` to the socket of an allocation. Writes what its client is to get into `out`, which it empties
    /// first, and says who that is.
    pub fn on_peer(
        &mut self,
        now: Duration,
        id: AllocationId,
        source: SocketAddr,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Client> {
        out.clear();
        let allocation = self.table.get_mut(id);
        let Some(allocation) = allocation.filter(|found| found.permits(now, source.ip())) else {
            self.counters.dropped_stray += 1;
            return None;
        };
        if let Some(rate) = self.config.quotas.bytes_per_second
            && !allocation.spend(now, rate, data.len())
        {
            self.counters.dropped_rate += 1;
            return None;
        }
        let client = allocation.client;
        match allocation.channel_of(now, source) {
            Some(number) => {
                let padded = client.transport == Transport::Stream;
                wire::write_channel_data(out, number, data, padded);
            }
            None => {
                // An indication is not answered, so its name need not be a secret (RFC 8489 §5 wants it to differ).
                let mut transaction = [0; 12];
                transaction[..8].copy_from_slice(&self.counters.packets_to_clients.to_be_bytes());
                wire::write_data_indication(out, transaction, source, data);
            }
        }
        self.counters.packets_to_clients += 1;
        self.counters.bytes_to_clients += data.len() as u64;
        Some(client)
    }

    /// A connection of a client ended, and with it its allocation; one that may move stays for a minute, to be fetched.
    pub fn on_gone(&mut self, now: Duration, client: Client) {
        const GRACE: Duration = Duration::from_secs(60);
        let Some(id) = self.table.id_of(client) else {
            return;
        };
        match self.table.get(id) {
            Some(allocation) if allocation.ticket.is_some() => {
                let expires = allocation.expires.min(now + GRACE);
                self.table.renew(id, expires);
            }
            _ => self.table.remove(id),
        }
    }

    /// Data found no room on its way out.
    pub fn on_full(&mut self) {
        self.counters.dropped_full += 1;
    }

    /// Time passed.
    pub fn on_timeout(&mut self, now: Duration) {
        self.table.expire(now);
    }

    /// When [`Self::on_timeout`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.table.deadline()
    }

    /// The next allocation that ended: its socket is to be closed.
    pub fn pop_ended(&mut self) -> Option<AllocationId> {
        self.table.pop_ended()
    }

    /// Whether a port that [`Opening::reserve`] asked for is still kept.
    #[must_use]
    pub fn is_reserved(&self, relayed: SocketAddr) -> bool {
        self.table.is_reserved(relayed)
    }

    /// Whether a client has an allocation.
    #[must_use]
    pub fn serves(&self, client: Client) -> bool {
        self.table.id_of(client).is_some()
    }

    /// Takes no new allocations any more; those that live go on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            allocations: self.table.len() as u64,
            ..self.counters
        }
    }
}

#[cfg(test)]
mod tests;
