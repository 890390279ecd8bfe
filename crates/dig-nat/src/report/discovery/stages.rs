//! What is asked in each stage, and what the answers say.

use super::{
    AGED, Ageing, Ask, Discovery, FILTER, HAIRPIN, MAIN, Purpose, Stage, Trace,
    samples::{self, Sample},
};
use crate::{
    report::{
        Behaviour,
        family::{CarrierSign, is_shared},
    },
    stun::{Answer, ChangeRequest, Query, QueryError, Request, Schedule},
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// How long a server that can do more is waited for once one has answered.
const PATIENCE: Duration = Duration::from_millis(300);
/// Pause between requests whose order at the NAT matters.
const PACE: Duration = Duration::from_millis(10);

/// The first requests: 4 times in 3 s. They decide whether UDP passes at all.
const REACH: Schedule = Schedule {
    first: Duration::from_millis(250),
    tries: 4,
    last: Duration::from_millis(1250),
};

/// Whether answers from elsewhere came in; `None`: not tried, or the server does not send them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FilterTests {
    from_address_and_port: Option<bool>,
    from_port: Option<bool>,
}

impl FilterTests {
    fn take(&mut self, change: ChangeRequest, outcome: Result<Answer, QueryError>) {
        let came = match outcome {
            Ok(_) => Some(true),
            Err(QueryError::NoAnswer) => Some(false),
            Err(QueryError::NotChanged | QueryError::Refused(_)) => None,
        };
        match change {
            ChangeRequest::AddressAndPort | ChangeRequest::Address => {
                self.from_address_and_port = came
            }
            ChangeRequest::Port => self.from_port = came,
        }
    }

    /// RFC 5780 §4.4.
    const fn verdict(self) -> Option<Behaviour> {
        match (self.from_address_and_port, self.from_port) {
            (Some(true), _) => Some(Behaviour::EndpointIndependent),
            (Some(false), Some(true)) => Some(Behaviour::AddressDependent),
            (Some(false), Some(false)) => Some(Behaviour::AddressAndPortDependent),
            (None, _) | (Some(false), None) => None,
        }
    }
}

/// The server's other address and port, if they are of use. A server must not aim our tests at what strangers cannot
/// reach: a public one has a public alternate.
pub(super) fn alternate(server: SocketAddr, answer: &Answer) -> Option<SocketAddr> {
    let other = answer.other?;
    let distinct = other.ip() != server.ip() && other.port() != server.port() && other.port() != 0;
    let sane = is_local(other.ip()) == is_local(server.ip())
        && !other.ip().is_multicast()
        && !other.ip().is_unspecified();
    (distinct && sane && other.is_ipv4() == server.is_ipv4()).then_some(other)
}

/// Not an address of the public network.
fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || is_shared(ip.into())
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

impl Discovery {
    pub(super) fn begin_reach(&mut self, now: Duration, server: SocketAddr) {
        let request = Request::new(self.names.draw());
        self.ask(
            Purpose::Sample,
            MAIN,
            Query::asking(now, server, request).on_schedule(REACH),
        );
    }

    /// Until when servers that have not answered yet are waited for.
    pub(super) fn patience(&self) -> Option<Duration> {
        let first = self.first_answer.filter(|_| self.stage == Stage::Reach)?;
        Some(first + PATIENCE)
    }

    /// Notes what has ended, and goes on to the next stage if all has; tells whether there may be more to send.
    pub(super) fn advance(&mut self, now: Duration) -> bool {
        self.harvest(now);
        let begun = self.stage;
        match self.stage {
            Stage::Reach if self.has_reached(now) => self.begin_map(now),
            Stage::Map if self.asks.is_empty() => self.begin_probe(now),
            Stage::Probe if self.has_probed() => self.end(),
            Stage::Reach | Stage::Map | Stage::Probe | Stage::Done => {}
        }
        self.stage != begun
    }

    fn ask(&mut self, purpose: Purpose, socket: usize, query: Query) {
        self.asks.push(Ask {
            purpose,
            socket,
            order: self.asked,
            query,
        });
        self.asked += 1;
    }

    fn harvest(&mut self, now: Duration) {
        let ended: Vec<Ask> = self
            .asks
            .extract_if(.., |ask| ask.query.outcome().is_some())
            .collect();
        for ask in ended {
            match (ask.purpose, ask.query.outcome()) {
                (Purpose::Sample, Some(Ok(answer))) => self.take_sample(now, &ask, answer),
                (Purpose::Filter(change), Some(outcome)) => self.filtering.take(change, outcome),
                (Purpose::Hairpin, Some(_)) => {
                    self.report.hairpin = Some(self.report.hairpin == Some(true))
                }
                (_, Some(Err(_)) | None) => {}
            }
        }
    }

    fn take_sample(&mut self, now: Duration, ask: &Ask, answer: Answer) {
        let server = ask.query.server();
        let sample = Sample {
            socket: ask.socket,
            local: self.config.sockets[ask.socket],
            destination: server,
            mapped: answer.mapped,
            order: ask.order,
            in_order: answer.sent == 1,
        };
        let place = self
            .samples
            .partition_point(|known| known.order < sample.order);
        self.samples.insert(place, sample);
        if answer.sent == 1 {
            let shortest = self
                .round_trip
                .map_or(answer.rtt, |known| known.min(answer.rtt));
            self.round_trip = Some(shortest);
        }
        if self.stage == Stage::Reach {
            self.first_answer.get_or_insert(now);
            self.report.servers.push(server);
            self.prefer(server, answer);
        }
    }

    /// Servers with two addresses first, then in the order in which they were named.
    fn prefer(&mut self, server: SocketAddr, answer: Answer) {
        let rank = |server: SocketAddr, answer: &Answer| {
            let place = self
                .config
                .servers
                .iter()
                .position(|known| *known == server);
            (alternate(server, answer).is_none(), place)
        };
        if self
            .primary
            .is_none_or(|(known, held)| rank(server, &answer) < rank(known, &held))
        {
            self.primary = Some((server, answer));
        }
    }

    fn has_reached(&self, now: Duration) -> bool {
        let complete = self
            .primary
            .is_some_and(|(server, answer)| alternate(server, &answer).is_some());
        complete || self.asks.is_empty() || self.patience().is_some_and(|until| until <= now)
    }

    fn begin_map(&mut self, now: Duration) {
        self.asks.clear();
        let Some((server, answer)) = self.primary else {
            self.stage = Stage::Done;
            return;
        };
        self.stage = Stage::Map;
        self.report.public = Some(answer.mapped.ip());
        self.report.translated = Some(answer.mapped != self.config.sockets[MAIN]);
        let mut destinations = Vec::new();
        if let Some(other) = alternate(server, &answer) {
            let other_address = SocketAddr::new(other.ip(), server.port());
            let other_port = SocketAddr::new(server.ip(), other.port());
            destinations.extend([(MAIN, other_address), (MAIN, other), (MAIN, other_port)]);
        }
        destinations.extend([(FILTER, server), (HAIRPIN, server)]);
        let mut begin = now;
        for (socket, destination) in destinations {
            let request = Request::new(self.names.draw());
            let query = Query::asking(begin, destination, request).on_schedule(self.paced());
            self.ask(Purpose::Sample, socket, query);
            begin += PACE;
        }
    }

    fn begin_probe(&mut self, now: Duration) {
        let Some((server, answer)) = self.primary else {
            self.stage = Stage::Done;
            return;
        };
        self.stage = Stage::Probe;
        let verdict = samples::mapping(&self.samples);
        self.report.mapping = verdict.mapping;
        self.report.mapping_varies = verdict.varies;
        self.report.port_preservation = samples::preservation(&self.samples);
        self.report.port_delta = samples::port_delta(&self.samples);
        let schedule = self.paced();
        if let Some(other) = alternate(server, &answer) {
            self.test_filter(now, server, other, schedule);
        }
        if self.report.translated != Some(true) {
            return;
        }
        self.test_hairpin(now, schedule);
        let names = &mut self.names;
        if server.is_ipv4() {
            self.trace = Some(Trace::new(now, server, schedule.first * 2, || names.draw()));
        }
        if self.config.lifetime {
            self.ageing = Some(Ageing::new(now, server, schedule, AGED, || names.draw()));
        }
    }

    /// Asks for answers from elsewhere, from where answers are known to come if nothing filters them.
    fn test_filter(
        &mut self,
        now: Duration,
        server: SocketAddr,
        other: SocketAddr,
        schedule: Schedule,
    ) {
        let tests = [
            (ChangeRequest::AddressAndPort, other),
            (
                ChangeRequest::Port,
                SocketAddr::new(server.ip(), other.port()),
            ),
        ];
        for (change, answerer) in tests {
            if self.mapped(MAIN, answerer).is_none() || self.mapped(FILTER, server).is_none() {
                continue;
            }
            let request = Request {
                change: Some(change),
                ..Request::new(self.names.draw())
            };
            let query = Query::asking(now, server, request);
            self.ask(
                Purpose::Filter(change),
                FILTER,
                query.answered_from(answerer).on_schedule(schedule),
            );
        }
    }

    /// Two sockets send to each other's outside address, which opens filters as hole punching does.
    fn test_hairpin(&mut self, now: Duration, schedule: Schedule) {
        let Some((server, _)) = self.primary else {
            return;
        };
        let (Some(main), Some(hairpin)) = (self.mapped(MAIN, server), self.mapped(HAIRPIN, server))
        else {
            return;
        };
        for (socket, to) in [(HAIRPIN, main), (MAIN, hairpin)] {
            let request = Request::new(self.names.draw());
            self.ask(
                Purpose::Hairpin,
                socket,
                Query::asking(now, to, request).on_schedule(schedule),
            );
        }
    }

    /// From where a server saw a socket come.
    fn mapped(&self, socket: usize, destination: SocketAddr) -> Option<SocketAddr> {
        let known = |sample: &&Sample| sample.socket == socket && sample.destination == destination;
        self.samples.iter().find(known).map(|sample| sample.mapped)
    }

    fn has_probed(&self) -> bool {
        let traced = self
            .trace
            .as_ref()
            .is_none_or(|trace| trace.timeout().is_none());
        let aged = self
            .ageing
            .as_ref()
            .is_none_or(|ageing| ageing.timeout().is_none());
        self.asks.is_empty() && traced && aged
    }

    fn end(&mut self) {
        self.stage = Stage::Done;
        self.report.filtering = self.filtering.verdict();
        self.report.lifetime = self.ageing.take().and_then(|ageing| ageing.lifetime());
        if is_shared(self.report.local) {
            self.report
                .carrier_nat
                .push(CarrierSign::SharedLocalAddress(self.report.local));
        }
        if let Some(trace) = self.trace.take() {
            self.report.take_hops(trace.into_hops());
        }
    }

    /// Twice the round trip that was seen and some slack, doubling, four times in all: 1.4 s on a fast way, 4.1 s at 200 ms.
    fn paced(&self) -> Schedule {
        let round_trip = self.round_trip.unwrap_or(Duration::from_millis(250));
        let first = round_trip * 2 + Duration::from_millis(50);
        let first = first.clamp(Duration::from_millis(150), Duration::from_millis(500));
        Schedule {
            first,
            tries: 4,
            last: first * 2,
        }
    }
}
