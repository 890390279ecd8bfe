//! Requests for allocations: what is checked before a socket is opened for one, and what is answered.

use super::{
    Client, Server,
    allocation::{Allocation, AllocationId, Ticket},
    code::{self, Refusal},
    requests::{Asked, lifetime},
    table::Full,
    wire::{Family, Request, Response, attribute},
};
use crate::stun::customer;
use std::{net::SocketAddr, time::Duration};
use stun_types::message::IntegrityKey;

/// Relays are UDP (RFC 8656 §18.8).
const UDP: u8 = 17;

/// A socket that is wanted for a new allocation.
#[derive(Debug)]
pub struct Opening {
    client: Client,
    request: Vec<u8>,
    account: String,
    key: IntegrityKey,
    /// Whether its address is to be an IPv6 one.
    pub ipv6: bool,
    /// Whether its port must be even (RFC 8656 §7.2).
    pub even: bool,
    /// Whether the next port is to be kept open beside it, for 30 seconds.
    pub reserve: bool,
    /// The port that was kept for it; no other will do.
    pub reserved: Option<SocketAddr>,
}

impl Opening {
    /// For whom.
    #[must_use]
    pub const fn client(&self) -> Client {
        self.client
    }
}

/// Why there is no socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpeningError {
    /// This machine has no address of that family.
    Family,
    /// No port is free.
    Full,
}

/// What a request for an allocation comes to.
pub(super) enum Allocating {
    /// A socket is wanted.
    Open(Box<Opening>),
    /// It is the repetition of one that was answered.
    Again(AllocationId),
}

impl Server {
    pub(super) fn allocate(&mut self, asked: Asked<'_>) -> Result<Allocating, Refusal> {
        let Asked {
            now,
            client,
            request,
            known,
        } = asked;
        if let Some(id) = self.table.id_of(client) {
            let made = self.table.get(id);
            let again = made.is_some_and(|made| made.transaction == request.transaction);
            return again
                .then_some(Allocating::Again(id))
                .ok_or((code::ALLOCATION_MISMATCH, "There is an allocation already"));
        }
        match request.transport {
            Some(UDP) => {}
            Some(_) => return Err((code::TRANSPORT_NOT_SUPPORTED, "Only UDP is relayed")),
            None => return Err((code::BAD_REQUEST, "REQUESTED-TRANSPORT is missing")),
        }
        let with_port = request.family.is_some() || request.even_port.is_some();
        if request.reservation.is_some() && with_port
            || request.ticket.is_some_and(|ticket| !ticket.is_empty())
        {
            return Err((code::BAD_REQUEST, "Attributes contradict each other"));
        }
        if request.family == Some(Family::Unknown) {
            return Err((code::FAMILY_NOT_SUPPORTED, "Unknown address family"));
        }
        self.room(now, client, &known.account)?;
        let reserve = request.even_port == Some(true);
        if reserve && !self.table.can_reserve() {
            return Err((code::CAPACITY, "No port can be kept"));
        }
        let reserved = match request.reservation {
            Some(token) => {
                let kept = self.table.take_reserved(token, &known.account);
                Some(kept.ok_or((code::CAPACITY, "No port is kept by that token"))?)
            }
            None => None,
        };
        Ok(Allocating::Open(Box::new(Opening {
            client,
            request: request.bytes.to_vec(),
            account: known.account.clone(),
            key: known.key.clone(),
            ipv6: match reserved {
                Some(addr) => addr.is_ipv6(),
                None => request.family == Some(Family::V6),
            },
            even: request.even_port.is_some(),
            reserve,
            reserved,
        })))
    }

    /// Whether one more may be made.
    fn room(&mut self, now: Duration, client: Client, account: &str) -> Result<(), Refusal> {
        if self.draining {
            return Err((code::CAPACITY, "The relay is about to stop"));
        }
        let network = customer(client.remote.ip());
        match self.table.has_room(&self.config.quotas, account, network) {
            Ok(()) => {}
            Err(Full::All) => return Err((code::CAPACITY, "The relay is full")),
            Err(Full::Share) => return Err((code::QUOTA, "Too many allocations")),
        }
        if !self.openings.take(now, network) {
            return Err((code::QUOTA, "Too many new allocations a minute"));
        }
        Ok(())
    }

    /// A socket was opened for an allocation, or not: the relayed address that peers are told, and that of the port kept beside it
    /// where one was asked for.
    ///
    /// The answer goes to the client. Without an id the socket is not needed.
    pub fn on_opened(
        &mut self,
        now: Duration,
        opening: Opening,
        opened: Result<(SocketAddr, Option<SocketAddr>), OpeningError>,
    ) -> (Option<AllocationId>, Vec<u8>) {
        let Some(request) = Request::parse(&opening.request) else {
            return (None, Vec::new());
        };
        match self.open(now, &opening, &request, opened) {
            Ok(id) => {
                let response = self.allocated(now, id, &request);
                (Some(id), response.prove(&opening.key))
            }
            Err(refusal) => {
                let response = self.refuse(&request, refusal);
                (None, response.prove(&opening.key))
            }
        }
    }

    fn open(
        &mut self,
        now: Duration,
        opening: &Opening,
        request: &Request<'_>,
        opened: Result<(SocketAddr, Option<SocketAddr>), OpeningError>,
    ) -> Result<AllocationId, Refusal> {
        let (relayed, kept) = opened.map_err(|error| match error {
            OpeningError::Family => (code::FAMILY_NOT_SUPPORTED, "No address of that family"),
            OpeningError::Full => (code::CAPACITY, "No port is free"),
        })?;
        let client = opening.client;
        // Between the request and the socket others may have come.
        if self.table.id_of(client).is_some() || self.table.id_at(relayed).is_some() {
            return Err((code::ALLOCATION_MISMATCH, "There is an allocation already"));
        }
        let network = customer(client.remote.ip());
        let quotas = &self.config.quotas;
        let room = self.table.has_room(quotas, &opening.account, network);
        room.map_err(|_| (code::QUOTA, "Too many allocations"))?;
        let account = opening.account.clone();
        let mut allocation = Allocation::new(client, account.clone(), network, relayed);
        allocation.transaction = request.transaction;
        if let Some(kept) = kept {
            let token: [u8; 8] = self.draw()?;
            self.table.reserve(now, token, account, kept);
            allocation.reservation = Some(token);
        }
        let ticket: Option<Ticket> = match request.ticket {
            Some(_) => Some(self.draw_ticket()?),
            None => None,
        };
        let expires = now + lifetime(request);
        let id = self.table.insert(expires, allocation);
        if let Some(ticket) = ticket {
            self.table.set_ticket(id, ticket);
        }
        self.counters.allocations_made += 1;
        Ok(id)
    }

    /// The answer to a request that made an allocation, and to its repetitions.
    pub(super) fn allocated(
        &self,
        now: Duration,
        id: AllocationId,
        request: &Request<'_>,
    ) -> Response {
        let response = Response::success(request);
        let Some(allocation) = self.table.get(id) else {
            return response;
        };
        let left = allocation.expires.saturating_sub(now).as_secs();
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let mut response = response
            .with_address(attribute::XOR_RELAYED_ADDRESS, allocation.relayed)
            .with(attribute::LIFETIME, &left.to_be_bytes())
            .with_address(attribute::XOR_MAPPED_ADDRESS, allocation.client.remote);
        if let Some(token) = &allocation.reservation {
            response = response.with(attribute::RESERVATION_TOKEN, token);
        }
        if let Some(ticket) = &allocation.ticket {
            response = response.with(attribute::MOBILITY_TICKET, ticket);
        }
        if request.additional == Some(Family::V6) {
            let [class, number] = [4, 40];
            response = response.with(attribute::ADDRESS_ERROR_CODE, &[2, 0, class, number]);
        }
        response
    }
}
