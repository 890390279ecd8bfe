//! Peers: who may reach us, and by which channel.

use super::{SendError, requests::Purpose};
use crate::turn::frames::CHANNELS;
use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Datagrams for an address that wait for its permission; one more pushes the oldest out.
pub(super) const HELD: usize = 8;
/// How long a permission holds (RFC 8656 §9), and when one in use is asked for again.
const PERMISSION: Duration = Duration::from_secs(300);
/// The same for channels: their renewal renews the permission too (RFC 8656 §12), so it comes as often.
const RENEWAL: Duration = Duration::from_secs(240);
/// How long a channel holds (RFC 8656 §12), and how long its number rests afterwards.
const CHANNEL: Duration = Duration::from_secs(600);
const REST: Duration = Duration::from_secs(300);
/// How long a refusal is believed.
const REFUSED: Duration = Duration::from_secs(10);
/// How long no channel is asked for after one was refused: indications do as well.
const NO_CHANNEL: Duration = Duration::from_secs(60);
/// Datagrams to a silent peer after which it gets a channel.
const WORTH_A_CHANNEL: u32 = 16;
/// How soon a renewal that nobody answered is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// Addresses at a time.
const MAX_HOSTS: usize = 256;
/// How long an address is kept from those that want its place.
const RECENT: Duration = Duration::from_secs(30);
/// Addresses with ports at a time that are counted for channels; others get indications.
const MAX_PEERS: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Peers {
    hosts: BTreeMap<IpAddr, Host>,
    peers: BTreeMap<SocketAddr, Peer>,
    numbers: BTreeMap<u16, SocketAddr>,
    /// Counts the numbers given, so that they are used again as late as possible.
    given: u16,
}

/// An address: permissions know no ports.
#[derive(Debug)]
struct Host {
    permission: Permission,
    used: Duration,
    held: VecDeque<(SocketAddr, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy)]
enum Permission {
    Asked,
    Granted(Duration),
    Refused(Duration),
    Lost,
}

#[derive(Debug)]
struct Peer {
    used: Duration,
    sent: u32,
    heard: bool,
    channel: Option<Channel>,
    /// When a channel was refused.
    refused: Option<Duration>,
}

#[derive(Debug)]
struct Channel {
    number: u16,
    /// When the server was asked last: it may have bound it even if we never heard.
    asked: Duration,
    /// When it last said yes.
    bound: Option<Duration>,
}

impl Channel {
    fn is_up(&self, now: Duration) -> bool {
        self.bound.is_some_and(|at| now < at + CHANNEL)
    }
}

/// How a datagram leaves.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// In an indication; and a channel is to be asked for.
    Indication { bind: bool },
    /// It waits; and a permission is to be asked for.
    Held { ask: bool },
}

impl Peers {
    /// The channel by which a datagram for that peer leaves now.
    pub(super) fn channel(&mut self, now: Duration, to: SocketAddr) -> Option<u16> {
        let peer = self.peers.get_mut(&to)?;
        let channel = peer.channel.as_ref().filter(|channel| channel.is_up(now))?;
        peer.used = now;
        Some(channel.number)
    }

    /// Whose channel that is, if the server may use it.
    pub(super) fn of_channel(&self, now: Duration, number: u16) -> Option<SocketAddr> {
        let from = *self.numbers.get(&number)?;
        let channel = self.peers.get(&from)?.channel.as_ref()?;
        (now < channel.asked + CHANNEL).then_some(from)
    }

    /// The address is wanted. Tells whether to ask for its permission.
    pub(super) fn permit(&mut self, now: Duration, ip: IpAddr) -> bool {
        self.host(now, ip)
            .is_ok_and(|(host, known)| host.want(now) || !known)
    }

    /// A datagram for a peer that has no channel.
    pub(super) fn leave(
        &mut self,
        now: Duration,
        to: SocketAddr,
        data: &[u8],
    ) -> Result<Leave, SendError> {
        let (host, known) = self.host(now, to.ip())?;
        let ask = host.want(now) || !known;
        match host.permission {
            Permission::Refused(_) => Err(SendError::Refused),
            Permission::Granted(_) => Ok(Leave::Indication {
                bind: self.count(now, to, |peer| peer.sent = peer.sent.saturating_add(1)),
            }),
            Permission::Asked | Permission::Lost => {
                if host.held.len() >= HELD {
                    host.held.pop_front();
                }
                host.held.push_back((to, data.to_vec()));
                Ok(Leave::Held { ask })
            }
        }
    }

    /// A datagram came in an indication. `None`, if we have not let that peer in; else whether to ask for a channel.
    pub(super) fn arrived(&mut self, now: Duration, from: SocketAddr) -> Option<bool> {
        let host = self.hosts.get(&from.ip())?;
        let open = match host.permission {
            Permission::Asked => true,
            Permission::Granted(at) => now < at + PERMISSION,
            Permission::Refused(_) | Permission::Lost => false,
        };
        open.then(|| self.count(now, from, |peer| peer.heard = true))
    }

    /// The permissions that were asked for and have no answer.
    pub(super) fn unanswered(&self) -> Vec<Purpose> {
        let asked = |host: &Host| matches!(host.permission, Permission::Asked);
        let hosts = self.hosts.iter().filter(|(_, host)| asked(host));
        hosts.map(|(ip, _)| Purpose::Permission(*ip)).collect()
    }

    /// The permission is there; what waited for it.
    pub(super) fn granted(&mut self, now: Duration, ip: IpAddr) -> Vec<(SocketAddr, Vec<u8>)> {
        let Some(host) = self.hosts.get_mut(&ip) else {
            return Vec::new();
        };
        host.permission = Permission::Granted(now);
        host.held.drain(..).collect()
    }

    /// The server says no.
    pub(super) fn refused(&mut self, now: Duration, ip: IpAddr) {
        if let Some(host) = self.hosts.get_mut(&ip) {
            host.permission = Permission::Refused(now);
            host.held.clear();
        }
    }

    /// The server says nothing.
    pub(super) fn lost(&mut self, ip: IpAddr) {
        if let Some(host) = self.hosts.get_mut(&ip)
            && matches!(host.permission, Permission::Asked)
        {
            host.permission = Permission::Lost;
            host.held.clear();
        }
    }

    /// The number for a channel to that peer: the one it had, else the next that nobody has.
    pub(super) fn number(&mut self, now: Duration, to: SocketAddr) -> u16 {
        let free = self.free_number();
        let peer = self.peers.entry(to).or_insert_with(|| Peer::new(now));
        let channel = peer.channel.get_or_insert(Channel {
            number: free,
            asked: now,
            bound: None,
        });
        channel.asked = now;
        self.numbers.insert(channel.number, to);
        channel.number
    }

    /// The channel is there.
    pub(super) fn bound(&mut self, now: Duration, to: SocketAddr) {
        if let Some(peer) = self.peers.get_mut(&to)
            && let Some(channel) = &mut peer.channel
        {
            channel.bound = Some(now);
            peer.refused = None;
        }
        if let Some(host) = self.hosts.get_mut(&to.ip()) {
            host.permission = Permission::Granted(now);
        }
    }

    /// The server gives no channel. One that it gave earlier holds as long as it said.
    pub(super) fn unbound(&mut self, now: Duration, to: SocketAddr) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.refused = Some(now);
        }
    }

    /// When something is due that is not asked for already.
    pub(super) fn timeout(&self, is_open: impl Fn(Purpose) -> bool) -> Option<Duration> {
        let hosts = self.hosts.iter().filter_map(|(ip, host)| {
            let at = host.renewal()?;
            (!is_open(Purpose::Permission(*ip))).then_some(at)
        });
        let peers = self.peers.iter().filter_map(|(to, peer)| {
            let at = peer.renewal()?;
            (!is_open(Purpose::Channel(*to))).then_some(at)
        });
        hosts.chain(peers).min()
    }

    /// What to ask for again, and what is over is forgotten.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Purpose> {
        self.peers.retain(|_, peer| !peer.is_over(now));
        self.numbers.retain(|_, to| self.peers.contains_key(to));
        let is_due = |renewal: Option<Duration>| renewal.is_some_and(|at| now >= at);
        let hosts = self.hosts.iter();
        let peers = self.peers.iter();
        hosts
            .filter(|(_, host)| is_due(host.renewal()))
            .map(|(ip, _)| Purpose::Permission(*ip))
            .chain(
                peers
                    .filter(|(_, peer)| is_due(peer.renewal()))
                    .map(|(to, _)| Purpose::Channel(*to)),
            )
            .collect()
    }

    /// The host, and whether it was there; a new one counts as asked for.
    fn host(&mut self, now: Duration, ip: IpAddr) -> Result<(&mut Host, bool), SendError> {
        let known = self.hosts.contains_key(&ip);
        if !known && self.hosts.len() >= MAX_HOSTS {
            let oldest = self.hosts.iter().min_by_key(|(_, host)| host.used);
            let oldest = oldest.filter(|(_, host)| host.used + RECENT <= now);
            let oldest = oldest.map(|(ip, _)| *ip).ok_or(SendError::TooManyPeers)?;
            self.hosts.remove(&oldest);
        }
        let host = self.hosts.entry(ip).or_insert_with(|| Host {
            permission: Permission::Asked,
            used: now,
            held: VecDeque::new(),
        });
        Ok((host, known))
    }

    /// Counts what passes between a peer and us. Tells whether it deserves a channel now.
    fn count(&mut self, now: Duration, at: SocketAddr, note: impl FnOnce(&mut Peer)) -> bool {
        if !self.peers.contains_key(&at) && self.peers.len() >= MAX_PEERS {
            let idle = self.peers.iter().filter(|(_, peer)| peer.channel.is_none());
            let Some(oldest) = idle.min_by_key(|(_, peer)| peer.used).map(|(at, _)| *at) else {
                return false;
            };
            self.peers.remove(&oldest);
        }
        let peer = self.peers.entry(at).or_insert_with(|| Peer::new(now));
        peer.used = now;
        note(peer);
        let worth = peer.sent >= WORTH_A_CHANNEL || peer.heard && peer.sent > 0;
        let refused = peer.refused.is_some_and(|at| now < at + NO_CHANNEL);
        let is_up = peer.channel.as_ref().is_some_and(|it| it.is_up(now));
        worth && !refused && !is_up
    }

    fn free_number(&mut self) -> u16 {
        let span = CHANNELS.end() - CHANNELS.start() + 1;
        loop {
            let number = CHANNELS.start() + self.given % span;
            self.given = self.given.wrapping_add(1);
            // There are many more numbers than peers.
            if !self.numbers.contains_key(&number) {
                return number;
            }
        }
    }
}

impl Host {
    /// It is used. Tells whether to ask for its permission, and if so counts it as asked for.
    fn want(&mut self, now: Duration) -> bool {
        self.used = now;
        let ask = match self.permission {
            Permission::Asked => false,
            Permission::Granted(at) => now >= at + PERMISSION,
            Permission::Refused(at) => now >= at + REFUSED,
            Permission::Lost => true,
        };
        if ask {
            self.permission = Permission::Asked;
        }
        ask
    }

    /// When to ask again, if it was used since it was granted.
    fn renewal(&self) -> Option<Duration> {
        match self.permission {
            Permission::Granted(at) if self.used > at => Some(at + RENEWAL),
            _ => None,
        }
    }
}

impl Peer {
    const fn new(now: Duration) -> Self {
        Self {
            used: now,
            sent: 0,
            heard: false,
            channel: None,
            refused: None,
        }
    }

    /// When to bind its channel again, if it was used since it was bound.
    fn renewal(&self) -> Option<Duration> {
        let channel = self.channel.as_ref()?;
        let bound = channel.bound?;
        let at = if channel.asked > bound {
            channel.asked + AGAIN
        } else {
            bound + RENEWAL
        };
        let allowed = self
            .refused
            .map_or(at, |refused| at.max(refused + NO_CHANNEL));
        (self.used > bound).then_some(allowed)
    }

    /// Whether nothing of it needs to be remembered: its number may be another's.
    fn is_over(&self, now: Duration) -> bool {
        match &self.channel {
            None => now >= self.used + REST,
            Some(channel) => {
                now >= channel.asked.max(channel.bound.unwrap_or_default()) + CHANNEL + REST
            }
        }
    }
}
