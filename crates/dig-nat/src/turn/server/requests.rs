//! Requests of clients, and what is answered.

use super::{
    Client, Heard, PeerPolicy, Server,
    accounts::Known,
    allocate::Allocating,
    allocation::{Allocation, AllocationId, ChannelError, Ticket},
    code::{self, Refusal},
    wire::{Family, Method, Request, Response, attribute},
};
use std::{net::IpAddr, time::Duration};

/// How long an allocation lasts if nobody asks for more (RFC 8656 §3.2).
const LIFETIME: u32 = 600;
/// The longest that a client may ask for (RFC 8656 §7.2 recommends an hour).
const LONGEST_LIFETIME: u32 = 3600;
/// Numbers of channels: those of RFC 5766 §11, for its clients, coturn's own among them, draw from all of them. RFC 8656 §12 leaves
/// 0x4000 to 0x4FFF, so that a first byte tells more protocols apart; on these sockets there are no others.
const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x7FFF;

/// A request of somebody who has proved who they are.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) now: Duration,
    pub(super) client: Client,
    pub(super) request: &'a Request<'a>,
    pub(super) known: &'a Known,
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
            let asked = Asked {
                now,
                client,
                request,
                known: &known,
            };
            match request.method {
                Method::Allocate => match self.allocate(asked) {
                    Ok(Allocating::Open(opening)) => return Heard::Open(opening),
                    Ok(Allocating::Again(id)) => Ok(self.allocated(now, id, request)),
                    Err(refusal) => Err(refusal),
                },
                Method::Refresh => self.refresh(asked),
                Method::CreatePermission => self.permit(asked),
                Method::ChannelBind => self.bind(asked),
            }
        };
        match answer {
            Ok(response) => Heard::Reply(response.prove(&known.key)),
            Err(refusal) => Heard::Reply(self.refuse(request, refusal).prove(&known.key)),
        }
    }

    pub(super) fn refuse(&mut self, request: &Request<'_>, (code, reason): Refusal) -> Response {
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

    pub(super) fn draw<const N: usize>(&self) -> Result<[u8; N], Refusal> {
        let mut bytes = [0; N];
        let drawn = (self.random)(&mut bytes);
        drawn.then_some(bytes).ok_or((500, "No randomness"))
    }

    /// A ticket of 96 random bits, as text: coturn's client keeps tickets as C strings, which end at their first zero.
    pub(super) fn draw_ticket(&self) -> Result<Ticket, Refusal> {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let drawn: Ticket = self.draw()?;
        Ok(drawn.map(|byte| LETTERS[usize::from(byte % 64)]))
    }

    /// The allocation that a request is about; it must be this account's (RFC 8656 §5).
    fn own(&self, asked: Asked<'_>) -> Result<AllocationId, Refusal> {
        let id = self.table.id_of(asked.client);
        let id = id.ok_or((code::ALLOCATION_MISMATCH, "There is no allocation"))?;
        self.owned(id, asked.known)
    }

    fn owned(&self, id: AllocationId, known: &Known) -> Result<AllocationId, Refusal> {
        let allocation = self.table.get(id);
        match allocation.is_some_and(|allocation| allocation.account == known.account) {
            true => Ok(id),
            false => Err((code::WRONG_CREDENTIALS, "The allocation is another user's")),
        }
    }

    fn refresh(&mut self, asked: Asked<'_>) -> Result<Response, Refusal> {
        let Asked {
            now,
            client,
            request,
            known,
        } = asked;
        let id = match request.ticket {
            Some(ticket) => self.fetch(client, ticket, known)?,
            None => self.own(asked)?,
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
        let fresh = self.draw_ticket()?;
        self.table.move_to(id, client);
        self.table.set_ticket(id, fresh);
        Ok(id)
    }

    fn permit(&mut self, asked: Asked<'_>) -> Result<Response, Refusal> {
        let Asked { now, request, .. } = asked;
        let id = self.own(asked)?;
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

    fn bind(&mut self, asked: Asked<'_>) -> Result<Response, Refusal> {
        let Asked { now, request, .. } = asked;
        let id = self.own(asked)?;
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

pub(super) fn lifetime(request: &Request<'_>) -> Duration {
    let asked = request.lifetime.unwrap_or(LIFETIME);
    Duration::from_secs(asked.clamp(LIFETIME, LONGEST_LIFETIME).into())
}
