//! Requests of clients, and what is answered.

use super::{
    Client, Heard, PeerPolicy, Server,
    accounts::Known,
    allocation::{Allocation, AllocationId, ChannelError, Ticket},
    table::Full,
    wire::{Family, Method, Request, Response, attribute},
};
use crate::stun::customer;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use stun_types::message::IntegrityKey;

/// How long an allocation lasts if nobody asks for more (RFC 8656 §3.2).
const LIFETIME: u32 = 600;
/// The longest that a client may ask for (RFC 8656 §7.2 recommends an hour).
const LONGEST_LIFETIME: u32 = 3600;
/// Relays are UDP (RFC 8656 §18.8).
const UDP: u8 = 17;
/// Numbers of channels: those of RFC 5766 §11, for its clients, coturn's own among them, draw from all of them. RFC 8656 §12 leaves
/// 0x4000 to 0x4FFF, so that a first byte tells more protocols apart; on these sockets there are no others.
const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x7FFF;

/// Codes of refusals (RFC 8489 §14.8, RFC 8656 §19, RFC 8016 §4).
mod code {
    pub(super) const BAD_REQUEST: u16 = 400;
    pub(super) const UNAUTHENTICATED: u16 = 401;
    pub(super) const FORBIDDEN: u16 = 403;
    pub(super) const UNKNOWN_ATTRIBUTE: u16 = 420;
    pub(super) const ALLOCATION_MISMATCH: u16 = 437;
    pub(super) const STALE_NONCE: u16 = 438;
    pub(super) const FAMILY_NOT_SUPPORTED: u16 = 440;
    pub(super) const WRONG_CREDENTIALS: u16 = 441;
    pub(super) const TRANSPORT_NOT_SUPPORTED: u16 = 442;
    pub(super) const FAMILY_MISMATCH: u16 = 443;
    pub(super) const QUOTA: u16 = 486;
    pub(super) const CAPACITY: u16 = 508;
}

/// A refusal: code, and reason in words.
type Refusal = (u16, &'static str);

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

impl Server {
    pub(super) fn on_request<'a>(
        &mut self,
        now: Duration,
        client: Client,
        request: &Request<'_>,
    ) -> Heard<'a> {
        let known = match self.prove(now, client, request) {
            Ok(known) => known,
            Err(challenge) => return self.challenge(now, client, request, challenge),
        };
        if !request.unknown.is_empty() {
            self.counters.refused_other += 1;
            let named = request.unknown.iter().take(8);
            let named: Vec<u8> = named.flat_map(|kind| kind.to_be_bytes()).collect();
            let response = Response::error(request, code::UNKNOWN_ATTRIBUTE, "Unknown attribute");
            let response = response.with(attribute::UNKNOWN_ATTRIBUTES, &named);
            return Heard::Reply(response.prove(&known.key));
        }
        let answer = if request.malformed {
            Err((code::BAD_REQUEST, "An attribute is malformed"))
        } else {
            match request.method {
                Method::Allocate => match self.allocate(now, client, request, &known) {
                    Ok(Allocating::Open(opening)) => return Heard::Open(opening),
                    Ok(Allocating::Again(id)) => Ok(self.allocated(now, id, request)),
                    Err(refusal) => Err(refusal),
                },
                Method::Refresh => self.refresh(now, client, request, &known),
                Method::CreatePermission => self.permit(now, client, request, &known),
                Method::ChannelBind => self.bind(now, client, request, &known),
            }
        };
        match answer {
            Ok(response) => Heard::Reply(response.prove(&known.key)),
            Err(refusal) => Heard::Reply(self.refuse(request, refusal).prove(&known.key)),
        }
    }

    fn refuse(&mut self, request: &Request<'_>, (code, reason): Refusal) -> Response {
        let counter = match code {
            code::FORBIDDEN => &mut self.counters.refused_peers,
            code::QUOTA | code::CAPACITY => &mut self.counters.refused_quota,
            _ => &mut self.counters.refused_other,
        };
        *counter += 1;
        Response::error(request, code, reason)
    }

    /// Who asks, if that is proved (RFC 8489 §9.2.4).
    fn prove(
        &self,
        now: Duration,
        client: Client,
        request: &Request<'_>,
    ) -> Result<Known, Refusal> {
        const WHO: Refusal = (code::UNAUTHENTICATED, "Unauthorized");
        if !request.proved {
            return Err(WHO);
        }
        let (Some(name), Some(realm), Some(nonce)) =
            (request.username, request.realm, request.nonce)
        else {
            return Err((code::BAD_REQUEST, "Credentials are incomplete"));
        };
        if realm != self.config.realm.as_bytes() {
            return Err(WHO);
        }
        if !self.nonces.is_good(now, client.remote, nonce) {
            return Err((code::STALE_NONCE, "Stale nonce"));
        }
        let known = self.accounts.find(self.epoch + now.as_secs(), name);
        let known = known.filter(|known| request.is_proved_by(&known.key));
        let known = known.ok_or(WHO)?;
        if known.expired {
            return Err((code::UNAUTHENTICATED, "The credential has expired"));
        }
        Ok(known)
    }

    /// Answers whoever has not proved who they are, if that is not more than they may cause.
    fn challenge<'a>(
        &mut self,
        now: Duration,
        client: Client,
        request: &Request<'_>,
        (code, reason): Refusal,
    ) -> Heard<'a> {
        self.counters.refused_unproved += 1;
        if !self.answers.take(now, client.remote.ip()) {
            return Heard::Nothing;
        }
        let most = request.bytes.len() * Self::MAX_AMPLIFICATION;
        let answer = |reason| {
            let response = Response::error(request, code, reason);
            if code == code::BAD_REQUEST {
                return response.finish();
            }
            let nonce = self.nonces.issue(now, client.remote);
            response
                .with(attribute::REALM, self.config.realm.as_bytes())
                .with(attribute::NONCE, &nonce)
                .finish()
        };
        let answers = [answer(reason), answer("")];
        let short_enough = answers.into_iter().find(|answer| answer.len() <= most);
        short_enough.map_or(Heard::Nothing, Heard::Reply)
    }

    fn allocate(
        &mut self,
        now: Duration,
        client: Client,
        request: &Request<'_>,
        known: &Known,
    ) -> Result<Allocating, Refusal> {
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
            Some(_) => Some(self.draw()?),
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

    fn draw<const N: usize>(&self) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        let drawn = (self.random)(&mut bytes);
        drawn.then_some(bytes).ok_or((500, "No randomness"))
    }

    /// The answer to a request that made an allocation, and to its repetitions.
    fn allocated(&self, now: Duration, id: AllocationId, request: &Request<'_>) -> Response {
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

    /// The allocation that a request is about; it must be this account's (RFC 8656 §5).
    fn own(&self, client: Client, known: &Known) -> Result<AllocationId, Refusal> {
        let id = self.table.id_of(client);
        let id = id.ok_or((code::ALLOCATION_MISMATCH, "There is no allocation"))?;
        self.owned(id, known)
    }

    fn owned(&self, id: AllocationId, known: &Known) -> Result<AllocationId, Refusal> {
        let allocation = self.table.get(id);
        match allocation.is_some_and(|allocation| allocation.account == known.account) {
            true => Ok(id),
            false => Err((code::WRONG_CREDENTIALS, "The allocation is another user's")),
        }
    }

    fn refresh(
        &mut self,
        now: Duration,
        client: Client,
        request: &Request<'_>,
        known: &Known,
    ) -> Result<Response, Refusal> {
        let id = match request.ticket {
            Some(ticket) => self.fetch(client, ticket, known)?,
            None => self.own(client, known)?,
        };
        let relayed = self.table.get(id).map(|allocation| allocation.relayed);
        if let (Some(family), Some(relayed)) = (request.family, relayed)
            && family != Family::of_ip(relayed.ip())
        {
            return Err((
                code::FAMILY_MISMATCH,
                "The allocation is of the other family",
            ));
        }
        if request.lifetime == Some(0) {
            self.table.remove(id);
            let none = 0_u32.to_be_bytes();
            return Ok(Response::success(request).with(attribute::LIFETIME, &none));
        }
        let lifetime = lifetime(request);
        self.table.renew(id, now + lifetime);
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(LIFETIME);
        let response = Response::success(request).with(attribute::LIFETIME, &seconds.to_be_bytes());
        let kept = self.table.get(id).and_then(|allocation| allocation.ticket);
        let ticket = request.ticket.and(kept);
        Ok(match ticket {
            Some(ticket) => response
                .with_address(attribute::XOR_MAPPED_ADDRESS, client.remote)
                .with(attribute::MOBILITY_TICKET, &ticket),
            None => response,
        })
    }

    /// Moves the allocation of a ticket to where its client is now (RFC 8016 §3.2.2). The nonce has proved that the client is there.
    fn fetch(
        &mut self,
        client: Client,
        ticket: &[u8],
        known: &Known,
    ) -> Result<AllocationId, Refusal> {
        let ticket = ticket.try_into().ok();
        let id = ticket.and_then(|ticket| self.table.id_by_ticket(ticket));
        let id = id.ok_or((code::BAD_REQUEST, "Unknown ticket"))?;
        self.owned(id, known)?;
        match self.table.id_of(client) {
            // A repetition, or a client that never moved.
            Some(there) if there == id => return Ok(id),
            Some(_) => return Err((code::ALLOCATION_MISMATCH, "There is an allocation already")),
            None => {}
        }
        let fresh = self.draw()?;
        self.table.move_to(id, client);
        self.table.set_ticket(id, fresh);
        Ok(id)
    }

    fn permit(
        &mut self,
        now: Duration,
        client: Client,
        request: &Request<'_>,
        known: &Known,
    ) -> Result<Response, Refusal> {
        let id = self.own(client, known)?;
        if request.peers.is_empty() {
            return Err((code::BAD_REQUEST, "XOR-PEER-ADDRESS is missing"));
        }
        let (most, policy) = (self.config.quotas.peers, &self.config.peers);
        let allocation = self.table.get_mut(id).ok_or(NONE)?;
        let mut ips = Vec::with_capacity(request.peers.len());
        for peer in &request.peers {
            admit(policy, allocation, peer.ip())?;
            if !ips.contains(&peer.ip()) {
                ips.push(peer.ip());
            }
        }
        match allocation.permit(now, &ips, most) {
            true => Ok(Response::success(request)),
            false => Err((code::CAPACITY, "Too many permissions")),
        }
    }

    fn bind(
        &mut self,
        now: Duration,
        client: Client,
        request: &Request<'_>,
        known: &Known,
    ) -> Result<Response, Refusal> {
        let id = self.own(client, known)?;
        let (Some(number), [peer]) = (request.channel, request.peers.as_slice()) else {
            return Err((code::BAD_REQUEST, "A channel has one number and one peer"));
        };
        if !CHANNELS.contains(&number) || peer.port() == 0 {
            return Err((code::BAD_REQUEST, "No such channel or peer"));
        }
        let (most, policy) = (self.config.quotas.peers, &self.config.peers);
        if policy.is_own(peer.ip()) && self.table.id_at(*peer).is_none() {
            return Err((code::FORBIDDEN, "The relay is no peer"));
        }
        let allocation = self.table.get_mut(id).ok_or(NONE)?;
        admit(policy, allocation, peer.ip())?;
        match allocation.bind(now, number, *peer, most) {
            Ok(()) => Ok(Response::success(request)),
            Err(ChannelError::Taken) => Err((code::BAD_REQUEST, "Channel or peer is taken")),
            Err(ChannelError::Full) => Err((code::CAPACITY, "Too many channels")),
        }
    }
}

/// What a request for an allocation comes to.
enum Allocating {
    /// A socket is wanted.
    Open(Box<Opening>),
    /// It is the repetition of one that was answered.
    Again(AllocationId),
}

const NONE: Refusal = (code::ALLOCATION_MISMATCH, "There is no allocation");

/// Whether an allocation may have this peer.
fn admit(policy: &PeerPolicy, allocation: &Allocation, peer: IpAddr) -> Result<(), Refusal> {
    if !policy.admits(peer) {
        return Err((code::FORBIDDEN, "That address is no peer"));
    }
    if Family::of_ip(peer) != Family::of_ip(allocation.relayed.ip()) {
        return Err((code::FAMILY_MISMATCH, "The peer is of the other family"));
    }
    Ok(())
}

fn lifetime(request: &Request<'_>) -> Duration {
    let asked = request.lifetime.unwrap_or(LIFETIME);
    Duration::from_secs(asked.clamp(LIFETIME, LONGEST_LIFETIME).into())
}
