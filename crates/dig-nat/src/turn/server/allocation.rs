//! One allocation: a port of the relay that belongs to a client, and who may reach the client through it.

use super::Client;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// How long a permission lasts (RFC 8656 §9).
pub(super) const PERMISSION: Duration = Duration::from_secs(300);
/// How long a channel lasts (RFC 8656 §12).
pub(super) const CHANNEL: Duration = Duration::from_secs(600);
/// How long after its end a channel's number and peer stay apart from others (RFC 8656 §12): what is still on the way must not
/// reach somebody else.
const COOL_DOWN: Duration = Duration::from_secs(300);

/// Names an allocation; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllocationId(pub(super) u64);

/// One allocation.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) client: Client,
    /// Who is counted for it.
    pub(super) account: String,
    /// Which network is counted for it; stays, though the client moves.
    pub(super) network: IpAddr,
    /// What peers are told.
    pub(super) relayed: SocketAddr,
    pub(super) expires: Duration,
    /// The request that made it, to answer a repetition of it alike.
    pub(super) transaction: [u8; 12],
    /// The token of the port kept beside it.
    pub(super) reservation: Option<[u8; 8]>,
    /// Its ticket, where it may move (RFC 8016), and the one before, for repetitions.
    pub(super) ticket: Option<Ticket>,
    /// Left to relay, in bytes, and since when; only where there is a limit.
    pub(super) left: (u64, Duration),
    permissions: BTreeMap<IpAddr, Duration>,
    channels: BTreeMap<u16, Channel>,
    numbers: BTreeMap<SocketAddr, u16>,
}

/// What a client shows that comes from another address.
pub(super) type Ticket = [u8; 16];

#[derive(Debug, Clone, Copy)]
struct Channel {
    peer: SocketAddr,
    expires: Duration,
}

/// Why a channel is not bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelError {
    /// Its number, or its peer, belongs to another.
    Taken,
    /// There are as many as there may be.
    Full,
}

impl Allocation {
    pub(super) fn new(
        client: Client,
        account: String,
        network: IpAddr,
        relayed: SocketAddr,
    ) -> Self {
        Self {
            client,
            account,
            network,
            relayed,
            expires: Duration::ZERO,
            transaction: [0; 12],
            reservation: None,
            ticket: None,
            left: (0, Duration::ZERO),
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// Permits all of these addresses, or none.
    pub(super) fn permit(&mut self, now: Duration, ips: &[IpAddr], most: usize) -> bool {
        let new = |allocation: &Self| {
            let new = ips
                .iter()
                .filter(|ip| !allocation.permissions.contains_key(*ip));
            new.count()
        };
        if self.permissions.len() + new(self) > most {
            self.permissions.retain(|_, expires| *expires > now);
            if self.permissions.len() + new(self) > most {
                return false;
            }
        }
        for ip in ips {
            self.permissions.insert(*ip, now + PERMISSION);
        }
        true
    }

    /// Whether data may pass from and to this address.
    pub(super) fn permits(&self, now: Duration, ip: IpAddr) -> bool {
        self.permissions
            .get(&ip)
            .is_some_and(|expires| *expires > now)
    }

    /// Binds a number to a peer, or renews it.
    pub(super) fn bind(
        &mut self,
        now: Duration,
        number: u16,
        peer: SocketAddr,
        most: usize,
    ) -> Result<(), ChannelError> {
        self.channels
            .retain(|_, channel| channel.expires + COOL_DOWN > now);
        let channels = &self.channels;
        self.numbers
            .retain(|_, number| channels.contains_key(number));
        match (self.channels.get(&number), self.numbers.get(&peer)) {
            (Some(channel), _) if channel.peer != peer => return Err(ChannelError::Taken),
            (_, Some(bound)) if *bound != number => return Err(ChannelError::Taken),
            (None, None) if self.channels.len() >= most => return Err(ChannelError::Full),
            _ => {}
        }
        if !self.permit(now, &[peer.ip()], most) {
            return Err(ChannelError::Full);
        }
        let expires = now + CHANNEL;
        self.channels.insert(number, Channel { peer, expires });
        self.numbers.insert(peer, number);
        Ok(())
    }

    /// The peer at the other end of a channel, if data may pass to it.
    pub(super) fn peer_of(&self, now: Duration, number: u16) -> Option<SocketAddr> {
        let channel = self.channels.get(&number)?;
        (channel.expires > now && self.permits(now, channel.peer.ip())).then_some(channel.peer)
    }

    /// The channel to a peer.
    pub(super) fn channel_of(&self, now: Duration, peer: SocketAddr) -> Option<u16> {
        let number = self.numbers.get(&peer)?;
        let channel = self.channels.get(number)?;
        (channel.expires > now).then_some(*number)
    }

    /// Takes bytes from what it may relay: at most `rate` a second, a second's worth at once.
    pub(super) fn spend(&mut self, now: Duration, rate: u64, bytes: usize) -> bool {
        let (left, since) = self.left;
        let micros = u64::try_from(now.saturating_sub(since).as_micros()).unwrap_or(u64::MAX);
        let more = rate.saturating_mul(micros.min(1_000_000)) / 1_000_000;
        let bytes = bytes as u64;
        let full = left.saturating_add(more).min(rate.max(1500));
        // Less than a byte's time stays on the clock.
        let since = if more > 0 { now } else { since };
        let enough = full >= bytes;
        self.left = (if enough { full - bytes } else { full }, since);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::server::Transport;

    fn allocation() -> Allocation {
        let addr = "192.0.2.1:1".parse().unwrap();
        let client = Client {
            transport: Transport::Udp,
            local: addr,
            remote: addr,
        };
        Allocation::new(client, "alice".into(), addr.ip(), addr)
    }

    fn peer(number: u16) -> SocketAddr {
        SocketAddr::from(([198, 18, (number >> 8) as u8, number as u8], 9))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_permission_lasts_five_minutes_and_is_for_an_address() {
        let mut allocation = allocation();
        assert!(allocation.permit(at(0), &[peer(1).ip()], 2));
        assert!(allocation.permits(at(299), peer(1).ip()));
        assert!(!allocation.permits(at(300), peer(1).ip()));
        assert!(!allocation.permits(at(0), peer(2).ip()));
    }

    #[test]
    fn permissions_are_bounded_and_given_all_or_none() {
        let mut allocation = allocation();
        assert!(allocation.permit(at(0), &[peer(1).ip()], 2));
        assert!(!allocation.permit(at(1), &[peer(2).ip(), peer(3).ip()], 2));
        assert!(!allocation.permits(at(1), peer(2).ip()));
        assert!(
            allocation.permit(at(1), &[peer(1).ip(), peer(2).ip()], 2),
            "one is a renewal"
        );
        assert!(
            allocation.permit(at(301), &[peer(3).ip(), peer(4).ip()], 2),
            "the others are over"
        );
    }

    #[test]
    fn a_channel_is_for_one_peer_until_it_has_cooled_down() {
        let mut allocation = allocation();
        assert_eq!(allocation.bind(at(0), 0x4000, peer(1), 4), Ok(()));
        assert_eq!(
            allocation.bind(at(1), 0x4000, peer(2), 4),
            Err(ChannelError::Taken)
        );
        assert_eq!(
            allocation.bind(at(1), 0x4001, peer(1), 4),
            Err(ChannelError::Taken)
        );
        assert_eq!(allocation.peer_of(at(299), 0x4000), Some(peer(1)));
        assert_eq!(
            allocation.peer_of(at(300), 0x4000),
            None,
            "the permission is over, the channel not"
        );
        assert_eq!(allocation.channel_of(at(599), peer(1)), Some(0x4000));
        assert_eq!(allocation.channel_of(at(600), peer(1)), None);
        assert_eq!(
            allocation.bind(at(899), 0x4000, peer(2), 4),
            Err(ChannelError::Taken)
        );
        assert_eq!(allocation.bind(at(900), 0x4000, peer(2), 4), Ok(()));
        assert_eq!(allocation.peer_of(at(900), 0x4000), Some(peer(2)));
    }

    #[test]
    fn channels_are_bounded() {
        let mut allocation = allocation();
        for number in 0..4 {
            assert_eq!(
                allocation.bind(at(0), 0x4000 + number, peer(number), 4),
                Ok(())
            );
        }
        assert_eq!(
            allocation.bind(at(0), 0x4010, peer(9), 4),
            Err(ChannelError::Full)
        );
    }

    #[test]
    fn a_rate_is_kept_to() {
        let mut allocation = allocation();
        let (mut passed, mut now) = (0, at(10));
        for _ in 0..100_000 {
            now += Duration::from_micros(50);
            passed += u64::from(allocation.spend(now, 100_000, 1000));
        }
        // Five seconds, and a second's worth at once.
        assert!(
            (590..=610).contains(&passed),
            "{passed} packets of 1,000 bytes"
        );
    }
}
