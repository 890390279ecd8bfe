//! One allocation on a TURN server, without sockets (RFC 8656, RFC 8016).
//!
//! # How it is driven
//!
//! Hand over every datagram, or every frame of a stream, that came from the server: [`Client::on_frame`]. Send what
//! [`Client::poll_transmit`] gives and look at [`Client::poll_event`] after every call, and call [`Client::on_timeout`] when
//! [`Client::timeout`] says so. `now` is the time since any fixed moment; it must not run backwards.
//!
//! # Rules
//!
//! - One request of a kind at a time: the renewal, a permission for an address, a channel for a peer. Requests are repeated after
//!   250 ms, doubling, and given up after 5 s: a server that is there answers in less, and another one may be better.
//! - An answer counts if it names a request that is open, and carries the integrity that the credentials give; only a challenge (401, 438)
//!   and what answers an unsigned request may lack it.
//! - A peer's first datagrams wait for the permission, at most eight an address. Then they go as indications, and once the peer has
//!   answered, or sixteen have gone, by a channel: addresses that are only tried get none.
//! - What is not used is not renewed: permissions and channels end by themselves, and a channel's number rests five minutes.
//! - Silence is looked into: after three seconds without an answer to data, or when the NAT on the way would forget us, the server is
//!   asked where it sees us; from another address than before, the allocation is moved there.

mod answers;
mod asking;
mod event;
mod ids;
mod peers;
mod requests;

use super::{
    TurnServer, TurnTransport,
    credentials::Session,
    frames::{CHANNEL_HEADER, read_channel, write_channel},
    message::{Class, Message, Method, attribute},
};
pub use event::{Arrival, ClientError, Event, SendError, Sent};
use ids::Ids;
use peers::{HELD, Leave, Peers};
use requests::{Due, Purpose, Requests};
use std::{
    collections::VecDeque,
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// How long an allocation is asked to live (RFC 8656 §7.2 has the same as its default).
const LIFETIME: Duration = Duration::from_secs(600);
/// When it is renewed at the latest: two renewals may be lost before it ends.
const RENEWAL: Duration = Duration::from_secs(300);
/// The longest lifetime that is believed (RFC 8656 §7.2 proposes it as a server's maximum).
const LONGEST: Duration = Duration::from_secs(3600);
/// After how long a renewal that the server could not do is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// When nothing was sent for that long, NATs with the shortest memory (30 s) are reminded.
const IDLE_UDP: Duration = Duration::from_secs(20);
/// The same for connections, which NATs remember longer.
const IDLE_STREAM: Duration = Duration::from_secs(55);
/// How long data may go unanswered before the server is asked whether it still knows us.
const SUSPICIOUS: Duration = Duration::from_secs(3);
/// Renewals in a row without an answer after which the server is gone.
const SILENT: u8 = 2;
/// Messages that wait for [`Client::poll_transmit`]; what is more pushes the oldest out.
const WAITING: usize = 64 + HELD * 64;
/// The longest datagram for a peer: what fits into a message with all that is around it.
const MAX_DATA: usize = 65_000;

/// One allocation.
pub struct Client {
    server: TurnServer,
    address: SocketAddr,
    ids: Ids,
    session: Option<Session>,
    stage: Stage,
    requests: Requests,
    peers: Peers,
    out: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    /// Whether the server is asked to let the allocation move.
    mobility: bool,
    /// When anything came last, and when anything left.
    heard: Duration,
    spoke: Duration,
    /// Since when data has gone without anything coming back.
    unanswered: Option<Duration>,
    silences: u8,
}

#[derive(Debug)]
enum Stage {
    Allocating,
    Up(Allocation),
    Releasing,
    Ended,
}

#[derive(Debug)]
struct Allocation {
    relayed: SocketAddr,
    mapped: SocketAddr,
    /// When the server forgets it, and when to renew it.
    ends: Duration,
    renew: Duration,
    /// What moves it (RFC 8016 §3.1.1).
    ticket: Option<Vec<u8>>,
    sighting: Sighting,
}

/// How sure it is where the server sees us.
#[derive(Debug, Clone, Copy)]
enum Sighting {
    Certain,
    /// We moved; the next sighting is the new one.
    Wanted,
    /// It was elsewhere; a renewal decides.
    Doubted(SocketAddr),
}

impl Client {
    /// Asks the server at `address`, which the owner has found by [`TurnServer::host`], for an allocation. The seed must be
    /// unguessable: whoever knows the transactions could answer in the server's place.
    ///
    /// `mobility` asks for an allocation that can move with us; servers that know of it and do not want it cost a round trip.
    pub fn new(
        now: Duration,
        server: TurnServer,
        address: SocketAddr,
        seed: [u8; 32],
        mobility: bool,
    ) -> Self {
        let mut client = Self {
            requests: Requests::new(server.transport() != TurnTransport::Udp),
            server,
            address,
            ids: Ids::new(seed),
            session: None,
            stage: Stage::Allocating,
            peers: Peers::default(),
            out: VecDeque::new(),
            events: VecDeque::new(),
            mobility,
            heard: now,
            spoke: now,
            unanswered: None,
            silences: 0,
        };
        client.ask(now, Purpose::Allocate, 0);
        client
    }

    /// The server's address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where peers reach us, while the allocation is up.
    pub fn relayed(&self) -> Option<SocketAddr> {
        self.allocation().map(|allocation| allocation.relayed)
    }

    /// Where the server sees us, while the allocation is up.
    pub fn mapped(&self) -> Option<SocketAddr> {
        self.allocation().map(|allocation| allocation.mapped)
    }

    /// Whether the server moves the allocation to where we are ([`Self::moved`]).
    pub fn is_mobile(&self) -> bool {
        self.allocation()
            .is_some_and(|allocation| allocation.ticket.is_some())
    }

    /// Whether the server was found not to want mobility, so that the next one need not ask.
    pub const fn wants_mobility(&self) -> bool {
        self.mobility
    }

    /// Whether it is over.
    pub const fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Lets datagrams from that address in, from every port, if there is room for another address.
    pub fn permit(&mut self, now: Duration, ip: IpAddr) {
        let ip = ip.to_canonical();
        if self.check_peer(ip).is_ok() && self.peers.permit(now, ip) {
            self.ask(now, Purpose::Permission(ip), 0);
        }
    }

    /// A datagram for a peer. If it is to leave now, `frame` holds what to send to the server; what else is in `frame` is lost.
    pub fn send(
        &mut self,
        now: Duration,
        to: SocketAddr,
        data: &[u8],
        frame: &mut Vec<u8>,
    ) -> Result<Sent, SendError> {
        if !matches!(self.stage, Stage::Up(_)) {
            return Err(SendError::NotUp);
        }
        if data.len() > MAX_DATA {
            return Err(SendError::TooLong);
        }
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        if let Some(channel) = self.peers.channel(now, to) {
            write_channel(frame, channel, data, self.requests.is_stream());
            self.has_sent(now);
            return Ok(Sent::Frame);
        }
        self.check_peer(to.ip())?;
        match self.peers.leave(now, to, data)? {
            Leave::Indication { bind } => {
                self.write_indication(to, data, frame);
                self.has_sent(now);
                if bind {
                    self.ask(now, Purpose::Channel(to), 0);
                }
                Ok(Sent::Frame)
            }
            Leave::Held { ask } => {
                if ask {
                    self.ask(now, Purpose::Permission(to.ip()), 0);
                }
                Ok(Sent::Held)
            }
        }
    }

    /// A datagram, or a frame of a stream, arrived from `source`. Returns what a peer sent, if it is that.
    pub fn on_frame(&mut self, now: Duration, source: SocketAddr, frame: &[u8]) -> Option<Arrival> {
        if source != self.address || matches!(self.stage, Stage::Ended) {
            return None;
        }
        if let Some((channel, length)) = read_channel(frame) {
            let from = self.peers.of_channel(now, channel)?;
            self.has_heard(now);
            return Some(Arrival {
                from,
                data: CHANNEL_HEADER..CHANNEL_HEADER + length,
            });
        }
        let message = Message::parse(frame)?;
        match (message.class, message.method) {
            (Class::Indication, Method::Data) => self.on_data(now, &message),
            (Class::Success | Class::Error, _) => {
                self.on_answer(now, &message);
                None
            }
            _ => None,
        }
    }

    /// Asks the server now whether the allocation is still there: for when this machine slept, or its network changed.
    pub fn verify(&mut self, now: Duration) {
        if matches!(self.stage, Stage::Up(_)) {
            self.ask(now, Purpose::Refresh, 0);
        }
    }

    /// We speak to the server from elsewhere now: the allocation moves there, or ends if it cannot.
    pub fn moved(&mut self, now: Duration) {
        match self.allocation() {
            None => {}
            Some(allocation) if allocation.ticket.is_none() => self.end(ClientError::Moved),
            Some(_) => {
                self.requests.forget();
                self.out.clear();
                self.ask(now, Purpose::Move, 0);
            }
        }
    }

    /// Gives the allocation back. It has ended when the server has said so, or after a request's time without an answer.
    pub fn close(&mut self, now: Duration) {
        if matches!(self.stage, Stage::Releasing | Stage::Ended) {
            return;
        }
        self.requests.forget();
        if self.session.is_none() {
            return self.finish(None);
        }
        // Also if it is only being made: the request for it may be on its way.
        self.stage = Stage::Releasing;
        self.ask(now, Purpose::Release, 0);
    }

    /// The next message for the server.
    pub fn poll_transmit(&mut self, now: Duration) -> Option<Vec<u8>> {
        let message = self.out.pop_front()?;
        self.spoke = now;
        Some(message)
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Self::on_timeout`].
    pub fn timeout(&self) -> Option<Duration> {
        let mut due = self.requests.timeout();
        let mut note = |at: Duration| due = Some(due.map_or(at, |due| due.min(at)));
        if let Stage::Up(allocation) = &self.stage {
            note(allocation.ends);
            if !self.is_renewing() {
                note(allocation.renew);
                if !self.requests.has(Purpose::Probe) {
                    note(self.probe_at());
                }
            }
            if let Some(at) = self.peers.timeout(|purpose| self.requests.has(purpose)) {
                note(at);
            }
        }
        due
    }

    /// Does what is due.
    pub fn on_timeout(&mut self, now: Duration) {
        while let Some(due) = self.requests.poll(now) {
            match due {
                Due::Resend(bytes) => self.transmit(bytes),
                Due::Expired(request) => self.on_expired(now, request),
            }
        }
        let Stage::Up(allocation) = &self.stage else {
            return;
        };
        if now >= allocation.ends {
            return self.end(ClientError::NoAnswer);
        }
        if !self.is_renewing() {
            if now >= allocation.renew {
                self.ask(now, Purpose::Refresh, 0);
            } else if now >= self.probe_at() && !self.requests.has(Purpose::Probe) {
                self.ask(now, Purpose::Probe, 0);
            }
        }
        for purpose in self.peers.due(now) {
            self.ask(now, purpose, 0);
        }
    }

    fn allocation(&self) -> Option<&Allocation> {
        match &self.stage {
            Stage::Up(allocation) => Some(allocation),
            _ => None,
        }
    }

    fn is_renewing(&self) -> bool {
        self.requests.has(Purpose::Refresh) || self.requests.has(Purpose::Move)
    }

    /// When to ask whether the server still sees us where it did.
    fn probe_at(&self) -> Duration {
        let idle = if self.requests.is_stream() {
            IDLE_STREAM
        } else {
            IDLE_UDP
        };
        let idle = self.spoke + idle;
        self.unanswered
            .map_or(idle, |since| idle.min(since + SUSPICIOUS))
    }

    fn has_sent(&mut self, now: Duration) {
        self.spoke = now;
        self.unanswered.get_or_insert(now);
    }

    fn has_heard(&mut self, now: Duration) {
        self.heard = now;
        self.unanswered = None;
    }

    fn check_peer(&self, ip: IpAddr) -> Result<(), SendError> {
        match self.allocation() {
            None => Err(SendError::NotUp),
            Some(allocation) if allocation.relayed.is_ipv4() != ip.is_ipv4() => {
                Err(SendError::Family)
            }
            Some(_) => Ok(()),
        }
    }

    fn on_data(&mut self, now: Duration, message: &Message<'_>) -> Option<Arrival> {
        let from = message.address(attribute::XOR_PEER_ADDRESS)?;
        let (at, data) = message.find(attribute::DATA)?;
        let bind = self.peers.arrived(now, from)?;
        self.has_heard(now);
        if bind {
            self.ask(now, Purpose::Channel(from), 0);
        }
        Some(Arrival {
            from,
            data: at..at + data.len(),
        })
    }

    fn end(&mut self, error: ClientError) {
        // What is being given back has no more reasons to end.
        let given_back = matches!(self.stage, Stage::Releasing);
        self.finish((!given_back).then_some(error));
    }

    fn finish(&mut self, error: Option<ClientError>) {
        self.requests.forget();
        self.out.clear();
        if !self.is_ended() {
            self.stage = Stage::Ended;
            self.events.push_back(Event::Ended(error));
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("server", &self.server)
            .field("address", &self.address)
            .field("relayed", &self.relayed())
            .field("mapped", &self.mapped())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
