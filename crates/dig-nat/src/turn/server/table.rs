//! All allocations, found by whatever names them, and counted by whom they belong to.
//!
//! Every look-up is by hash or tree; a thousand allocations cost a packet no more than one does.

use super::{
    Client,
    allocation::{Allocation, AllocationId, Ticket},
    config::Quotas,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Ports kept for a second allocation, at most.
const RESERVATIONS: usize = 64;
/// How long a port is kept (RFC 8656 §7.2: at least 30 s).
pub(super) const RESERVATION: Duration = Duration::from_secs(30);

/// The allocations.
#[derive(Debug, Default)]
pub(super) struct Table {
    next: u64,
    all: HashMap<AllocationId, Allocation>,
    clients: HashMap<Client, AllocationId>,
    relayed: HashMap<SocketAddr, AllocationId>,
    tickets: HashMap<Ticket, AllocationId>,
    accounts: BTreeMap<String, usize>,
    networks: BTreeMap<IpAddr, usize>,
    expiries: BTreeSet<(Duration, AllocationId)>,
    reservations: BTreeMap<[u8; 8], Reservation>,
    /// Allocations that ended and whose sockets stand open.
    ended: Vec<AllocationId>,
}

/// A port kept for whoever has the token.
#[derive(Debug, Clone)]
pub(super) struct Reservation {
    pub(super) relayed: SocketAddr,
    pub(super) account: String,
    expires: Duration,
}

/// Why there is no further allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// There are as many as there may be.
    All,
    /// The account or the network has as many as it may have.
    Share,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn id_of(&self, client: Client) -> Option<AllocationId> {
        self.clients.get(&client).copied()
    }

    pub(super) fn id_at(&self, relayed: SocketAddr) -> Option<AllocationId> {
        self.relayed.get(&relayed).copied()
    }

    pub(super) fn id_by_ticket(&self, ticket: Ticket) -> Option<AllocationId> {
        self.tickets.get(&ticket).copied()
    }

    pub(super) fn get(&self, id: AllocationId) -> Option<&Allocation> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: AllocationId) -> Option<&mut Allocation> {
        self.all.get_mut(&id)
    }

    /// Whether there may be one more for these.
    pub(super) fn has_room(
        &self,
        quotas: &Quotas,
        account: &str,
        network: IpAddr,
    ) -> Result<(), Full> {
        let of_account = self.accounts.get(account).copied().unwrap_or(0);
        let of_network = self.networks.get(&network).copied().unwrap_or(0);
        if of_account >= quotas.per_user || of_network >= quotas.per_network {
            return Err(Full::Share);
        }
        if self.all.len() >= quotas.allocations {
            return Err(Full::All);
        }
        Ok(())
    }

    /// Adds one until `expires`. Its client and its relayed address must be new.
    pub(super) fn insert(&mut self, expires: Duration, mut allocation: Allocation) -> AllocationId {
        self.next += 1;
        let id = AllocationId(self.next);
        allocation.expires = expires;
        self.clients.insert(allocation.client, id);
        self.relayed.insert(allocation.relayed, id);
        *self.accounts.entry(allocation.account.clone()).or_default() += 1;
        *self.networks.entry(allocation.network).or_default() += 1;
        self.expiries.insert((expires, id));
        self.all.insert(id, allocation);
        id
    }

    /// Lets it live until `expires`.
    pub(super) fn renew(&mut self, id: AllocationId, expires: Duration) {
        if let Some(allocation) = self.all.get_mut(&id) {
            self.expiries.remove(&(allocation.expires, id));
            allocation.expires = expires;
            self.expiries.insert((expires, id));
        }
    }

    /// Gives it a ticket; the one before stays known, for repetitions of the request that it answered.
    pub(super) fn set_ticket(&mut self, id: AllocationId, ticket: Ticket) {
        if let Some(allocation) = self.all.get_mut(&id) {
            if let Some(old) = allocation.ticket.replace(ticket) {
                self.tickets.retain(|known, of| *of != id || *known == old);
            }
            self.tickets.insert(ticket, id);
        }
    }

    /// Its client is elsewhere now.
    pub(super) fn move_to(&mut self, id: AllocationId, client: Client) {
        if let Some(allocation) = self.all.get_mut(&id) {
            self.clients.remove(&allocation.client);
            allocation.client = client;
            self.clients.insert(client, id);
        }
    }

    /// Ends it.
    pub(super) fn remove(&mut self, id: AllocationId) {
        let Some(allocation) = self.all.remove(&id) else {
            return;
        };
        if self.clients.get(&allocation.client) == Some(&id) {
            self.clients.remove(&allocation.client);
        }
        self.relayed.remove(&allocation.relayed);
        if allocation.ticket.is_some() {
            self.tickets.retain(|_, of| *of != id);
        }
        self.expiries.remove(&(allocation.expires, id));
        release(&mut self.accounts, &allocation.account);
        release(&mut self.networks, &allocation.network);
        self.ended.push(id);
    }

    /// Ends what is over.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some((expires, id)) = self.expiries.first().copied() {
            if expires > now {
                break;
            }
            self.remove(id);
        }
        self.reservations
            .retain(|_, reservation| reservation.expires > now);
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let allocation = self.expiries.first().map(|(expires, _)| *expires);
        let kept = self.reservations.values().map(|kept| kept.expires).min();
        [allocation, kept].into_iter().flatten().min()
    }

    /// The next allocation that ended.
    pub(super) fn pop_ended(&mut self) -> Option<AllocationId> {
        self.ended.pop()
    }

    pub(super) fn can_reserve(&self) -> bool {
        self.reservations.len() < RESERVATIONS
    }

    pub(super) fn reserve(
        &mut self,
        now: Duration,
        token: [u8; 8],
        account: String,
        relayed: SocketAddr,
    ) {
        let reservation = Reservation {
            relayed,
            account,
            expires: now + RESERVATION,
        };
        self.reservations.insert(token, reservation);
    }

    /// Takes a port that was kept for this account.
    pub(super) fn take_reserved(&mut self, token: [u8; 8], account: &str) -> Option<SocketAddr> {
        let kept = self.reservations.get(&token)?;
        if kept.account != account {
            return None;
        }
        self.reservations.remove(&token).map(|kept| kept.relayed)
    }

    /// Whether a port is still kept.
    pub(super) fn is_reserved(&self, relayed: SocketAddr) -> bool {
        let mut kept = self.reservations.values();
        kept.any(|kept| kept.relayed == relayed)
    }
}

fn release<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
