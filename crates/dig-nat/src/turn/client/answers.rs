//! What the server's answers change, and what follows when none comes.

use super::{
    AGAIN, Allocation, Client, ClientError, Event, LONGEST, RENEWAL, SILENT, Sighting, Stage,
    peers::Leave,
    requests::{Purpose, Request},
};
use crate::turn::{
    credentials::{Challenge, Session},
    message::{Class, Message, attribute},
};
use std::{net::SocketAddr, time::Duration};

/// How often a request is said again because the server challenges it.
const CHALLENGES: u8 = 3;

impl Client {
    /// An answer to a request that is open counts if it is signed as the request was. Challenges cannot be; and RFC 8489 §9.2.5
    /// wants other unsigned refusals ignored, so that nobody ends an allocation who only heard its request.
    pub(super) fn on_answer(&mut self, now: Duration, message: &Message<'_>) {
        let Some(request) = self.requests.find(message.transaction()) else {
            return;
        };
        if request.purpose.method() != message.method {
            return;
        }
        let code = match message.class {
            Class::Error => message.error(),
            _ => None,
        };
        let is_signed = (self.session.as_ref()).is_some_and(|it| message.is_signed(it.key()));
        let counts = match code {
            Some(401 | 438) => true,
            _ => is_signed || !request.signed,
        };
        // A success that needs a signature cannot answer a request that has none.
        let bold =
            message.class == Class::Success && !request.signed && request.purpose != Purpose::Probe;
        if !counts || bold || message.class == Class::Error && code.is_none() {
            return;
        }
        let Some(request) = self.requests.close(message.transaction()) else {
            return;
        };
        self.has_heard(now);
        match code {
            None => self.on_success(now, &request, message),
            Some(code @ (401 | 438)) => {
                let challenge = match &self.session {
                    Some(session) => session.renewed(message),
                    None => Challenge::read(message),
                };
                self.on_challenge(now, &request, code, challenge);
            }
            Some(code) => self.on_error(now, &request, code, message),
        }
    }

    fn on_success(&mut self, now: Duration, request: &Request, message: &Message<'_>) {
        match request.purpose {
            Purpose::Allocate => self.on_allocated(now, message),
            Purpose::Refresh => self.on_refreshed(now, message),
            Purpose::Move => {
                self.on_refreshed(now, message);
                self.on_moved(now);
            }
            Purpose::Release => self.finish(None),
            Purpose::Permission(ip) => {
                for (to, data) in self.peers.granted(now, ip) {
                    self.send_held(now, to, &data);
                }
            }
            Purpose::Channel(peer) => self.peers.bound(now, peer),
            Purpose::Probe => self.on_seen(now, message),
        }
    }

    fn on_allocated(&mut self, now: Duration, message: &Message<'_>) {
        let relayed = message.address(attribute::XOR_RELAYED_ADDRESS);
        let mapped = message.address(attribute::XOR_MAPPED_ADDRESS);
        let usable = |addr: &SocketAddr| {
            addr.port() != 0 && !addr.ip().is_unspecified() && !addr.ip().is_multicast()
        };
        let (Some(relayed), Some(mapped), Some(lifetime)) = (
            relayed.filter(usable),
            mapped.filter(usable),
            lifetime(message),
        ) else {
            return self.end(ClientError::Malformed);
        };
        self.stage = Stage::Up(Allocation {
            relayed,
            mapped,
            ends: now + lifetime,
            renew: now + renewal(lifetime),
            ticket: ticket(message),
            sighting: Sighting::Certain,
        });
        self.events.push_back(Event::Up { relayed, mapped });
    }

    fn on_refreshed(&mut self, now: Duration, message: &Message<'_>) {
        let Some(lifetime) = lifetime(message) else {
            return self.end(ClientError::Malformed);
        };
        self.silences = 0;
        if let Stage::Up(allocation) = &mut self.stage {
            allocation.ends = now + lifetime;
            allocation.renew = now + renewal(lifetime);
            // A ticket is good for one move (RFC 8016 §3.2.1).
            allocation.ticket = ticket(message).or(allocation.ticket.take());
            if let Sighting::Doubted(seen) = allocation.sighting {
                self.note_moved(seen);
            }
        }
    }

    /// The allocation is where we are; what was open when we moved is asked for again.
    fn on_moved(&mut self, now: Duration) {
        for purpose in self.peers.unanswered() {
            self.ask(now, purpose, 0);
        }
        if let Stage::Up(allocation) = &mut self.stage {
            // The answer to a renewal does not say from where it was seen to come.
            allocation.sighting = Sighting::Wanted;
            self.ask(now, Purpose::Probe, 0);
        }
    }

    /// The server says from where it sees us. Nobody signs that: what follows from another address than before is a request
    /// that the server grants only to those whom it knows.
    fn on_seen(&mut self, now: Duration, message: &Message<'_>) {
        let (Some(seen), Stage::Up(allocation)) = (
            message.address(attribute::XOR_MAPPED_ADDRESS),
            &mut self.stage,
        ) else {
            return;
        };
        if seen == allocation.mapped {
            allocation.sighting = Sighting::Certain;
            return;
        }
        if matches!(allocation.sighting, Sighting::Wanted) {
            return self.note_moved(seen);
        }
        allocation.sighting = Sighting::Doubted(seen);
        let purpose = if allocation.ticket.is_some() {
            Purpose::Move
        } else {
            Purpose::Refresh
        };
        self.ask(now, purpose, 0);
    }

    fn note_moved(&mut self, mapped: SocketAddr) {
        if let Stage::Up(allocation) = &mut self.stage {
            allocation.mapped = mapped;
            allocation.sighting = Sighting::Certain;
            self.events.push_back(Event::Moved { mapped });
        }
    }

    fn on_challenge(
        &mut self,
        now: Duration,
        request: &Request,
        code: u16,
        challenge: Option<Challenge>,
    ) {
        if request.purpose == Purpose::Probe {
            // It answers no Binding requests of strangers; that it answers is enough.
            return;
        }
        let is_new = match (&self.session, &challenge) {
            (Some(session), Some(challenge)) => !session.answers(challenge),
            (None, challenge) => challenge.is_some(),
            (Some(_), None) => false,
        };
        // To a request that carried an answer, 401 means that it was the wrong one (RFC 8489 §9.2.5).
        let refused = code == 401 && request.signed && (request.tries > 0 || !is_new);
        match challenge {
            Some(challenge) if !refused && request.tries < CHALLENGES => {
                if is_new {
                    self.session = Some(Session::new(&self.server, challenge));
                }
                self.ask(now, request.purpose, request.tries + 1);
            }
            None => self.end(ClientError::Malformed),
            Some(_) => self.end(ClientError::Unauthorized),
        }
    }

    fn on_error(&mut self, now: Duration, request: &Request, code: u16, message: &Message<'_>) {
        match request.purpose {
            Purpose::Allocate => match code {
                // Servers that know mobility and forbid it (RFC 8016 §3.1.2).
                405 if self.mobility => {
                    self.mobility = false;
                    self.ask(now, Purpose::Allocate, request.tries);
                }
                300 => self.end(redirection(self.address, message)),
                code => self.end(refusal(code)),
            },
            Purpose::Refresh => match code {
                437 if self.is_mobile() => self.ask(now, Purpose::Move, 0),
                500..=599 => self.renew_later(now),
                code => self.end(refusal(code)),
            },
            Purpose::Move => self.end(ClientError::Mismatch),
            Purpose::Release => self.finish(None),
            Purpose::Permission(ip) => {
                self.peers.refused(now, ip);
                self.check_existence(now, code);
            }
            Purpose::Channel(peer) => {
                self.peers.unbound(now, peer);
                self.check_existence(now, code);
            }
            // Some servers answer no Binding requests; that they answer is enough.
            Purpose::Probe => {}
        }
    }

    /// A permission or channel was refused because there is no allocation (437): a renewal finds out.
    fn check_existence(&mut self, now: Duration, code: u16) {
        if code == 437 {
            self.verify(now);
        }
    }

    /// No answer came in time.
    pub(super) fn on_expired(&mut self, now: Duration, request: Request) {
        let heard_since = self.heard > request.asked;
        match request.purpose {
            Purpose::Allocate => self.end(ClientError::NoAnswer),
            Purpose::Release => self.finish(None),
            Purpose::Move => self.end(ClientError::Mismatch),
            Purpose::Permission(ip) => self.peers.lost(ip),
            Purpose::Channel(_) => {}
            // Data came: the server is there and knows us, whatever became of the question.
            Purpose::Refresh | Purpose::Probe if heard_since => self.renew_later(now),
            Purpose::Refresh | Purpose::Probe => {
                self.silences += 1;
                if self.silences >= SILENT {
                    return self.end(ClientError::NoAnswer);
                }
                self.ask(now, Purpose::Refresh, 0);
            }
        }
    }

    fn renew_later(&mut self, now: Duration) {
        if let Stage::Up(allocation) = &mut self.stage {
            let at = now + AGAIN;
            allocation.renew = if allocation.renew <= now {
                at
            } else {
                allocation.renew
            };
        }
    }

    fn send_held(&mut self, now: Duration, to: SocketAddr, data: &[u8]) {
        if let Ok(Leave::Indication { bind }) = self.peers.leave(now, to, data) {
            let mut frame = Vec::new();
            self.write_indication(to, data, &mut frame);
            self.has_sent(now);
            self.transmit(frame);
            if bind {
                self.ask(now, Purpose::Channel(to), 0);
            }
        }
    }
}

fn lifetime(message: &Message<'_>) -> Option<Duration> {
    let seconds = message.number(attribute::LIFETIME)?;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(LONGEST))
}

/// In the middle of a lifetime, or earlier.
fn renewal(lifetime: Duration) -> Duration {
    (lifetime / 2).min(RENEWAL)
}

fn ticket(message: &Message<'_>) -> Option<Vec<u8>> {
    let ticket = message.value(attribute::MOBILITY_TICKET)?;
    (!ticket.is_empty()).then(|| ticket.to_vec())
}

fn redirection(from: SocketAddr, message: &Message<'_>) -> ClientError {
    let to = message.plain_address(attribute::ALTERNATE_SERVER);
    let usable = to.filter(|to| {
        // Nobody sends us into this machine or its neighbourhood who is not there itself.
        let inside = to.ip().is_loopback() || to.ip().is_unspecified() || to.ip().is_multicast();
        to.port() != 0 && *to != from && (!inside || from.ip().is_loopback())
    });
    usable.map_or(ClientError::Refused(300), ClientError::Redirected)
}

const fn refusal(code: u16) -> ClientError {
    match code {
        437 => ClientError::Mismatch,
        441 => ClientError::Unauthorized,
        486 | 508 => ClientError::Quota(code),
        code => ClientError::Refused(code),
    }
}
