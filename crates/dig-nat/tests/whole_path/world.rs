//! Two nodes, their networks, a relay and a carrier of signals on a virtual clock.

use crate::{
    case::{Case, Change, GETTER, HOST},
    lane::{Lanes, TICK},
    net::Site,
    node::Node,
    relay::{Client, Relay},
};
use bytes::Bytes;
use dig_lab::packet::Packet;
use dig_nat::{
    attempt::{Attempt, Drift, FreshPort, Path},
    trace::AttemptId,
    traversal::upkeep::{Action, Upkeep},
};
use std::{collections::BTreeMap, time::Duration};

/// More events than any case needs: something spins.
const TOO_MANY: u32 = 1_000_000;

#[derive(Debug)]
pub(crate) enum Event {
    /// A packet comes to a site from outside.
    Arrive {
        site: usize,
        packet: Packet,
    },
    /// A packet comes to a node from its own network.
    Deliver {
        packet: Packet,
    },
    /// A packet comes to the relay.
    AtRelay {
        packet: Packet,
    },
    /// Something passes the stream between a relay and its client.
    Stream {
        client: Client,
        bytes: Bytes,
        to_server: bool,
    },
    /// A message comes to a node.
    Signal {
        to: usize,
        id: AttemptId,
        bytes: Bytes,
    },
    /// Ports that an attempt asked for are open, and where the NAT stands is known.
    Ports {
        node: usize,
        id: AttemptId,
        opened: u16,
        drift: Option<Drift>,
    },
    /// A port to punch from, too, is open, and where the NAT shows it is known.
    Fresh {
        node: usize,
        id: AttemptId,
        port: FreshPort,
    },
    /// A node is to be called.
    Wake(usize),
    Tick,
    /// That of the case's changes happens.
    Change(usize),
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) case: Case,
    pub(crate) now: Duration,
    sequence: u64,
    queue: BTreeMap<(Duration, u64), Event>,
    pub(crate) sites: Vec<Site>,
    pub(crate) nodes: [Node; 2],
    pub(crate) relay: Relay,
    /// Nothing passes between two sites.
    pub(crate) blocked: bool,
    pub(crate) rng: fastrand::Rng,
    pub(crate) lanes: Lanes,
    pub(crate) upkeep: Upkeep<u32>,
    /// When the host answered on a lane, and whether that was relayed.
    pub(crate) answers: Vec<(Duration, bool)>,
    /// When a lane came up, and over what.
    pub(crate) ups: Vec<(Duration, Path)>,
    /// Whether there was a relayed lane in reserve when each of the changes happened.
    pub(crate) reserve: Vec<bool>,
    /// Nobody keeps the path up: what the upkeep asks for after the first attempt is not done.
    neglected: bool,
    /// When attempts began.
    pub(crate) begun: Vec<Duration>,
    log: Option<Vec<String>>,
}

impl World {
    /// Runs a case to its end.
    pub(crate) fn run(case: Case, log: bool) -> Self {
        Self::new(case, log).finish()
    }

    /// The same without an upkeep.
    pub(crate) fn neglect(case: Case) -> Self {
        let mut world = Self::new(case, false);
        world.neglected = true;
        world.finish()
    }

    fn finish(mut self) -> Self {
        let world = &mut self;
        world.settle();
        let mut steps = 0;
        while let Some(((when, _), event)) = world.queue.pop_first() {
            if when >= world.case.end {
                break;
            }
            steps += 1;
            assert!(
                steps < TOO_MANY,
                "seed {} spins at {when:?}",
                world.case.seed
            );
            world.now = when;
            world.happen(event);
            world.settle();
        }
        self
    }

    fn new(case: Case, log: bool) -> Self {
        let site = |number: usize| {
            let seed = case.seed.wrapping_mul(4) + number as u64;
            Site::new(number, &case.kinds[number], case.delays[number], seed)
        };
        let mut world = Self {
            now: Duration::ZERO,
            sequence: 0,
            queue: BTreeMap::new(),
            sites: vec![site(GETTER), site(HOST)],
            nodes: [GETTER, HOST].map(|node| Node::new(&case, node)),
            relay: Relay::new(),
            blocked: case.blocked,
            rng: fastrand::Rng::with_seed(case.seed),
            lanes: Lanes::default(),
            upkeep: Upkeep::new(Duration::ZERO, case.seed),
            answers: Vec::new(),
            ups: Vec::new(),
            reserve: Vec::new(),
            neglected: false,
            begun: Vec::new(),
            log: log.then(Vec::new),
            case,
        };
        world.pin();
        for (at, (when, _)) in world.case.changes.clone().into_iter().enumerate() {
            world.at(when, Event::Change(at));
        }
        world.at(TICK, Event::Tick);
        world
    }

    /// Has routers keep the ports that were mapped.
    fn pin(&mut self) {
        for node in [HOST, GETTER] {
            let end = self.nodes[node].end();
            self.sites[self.nodes[node].site].pin(end);
        }
    }

    pub(crate) fn at(&mut self, when: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((when, self.sequence), event);
    }

    pub(crate) fn logging(&self) -> bool {
        self.log.is_some()
    }

    pub(crate) fn log(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:9.3} {}", self.now.as_secs_f64(), line()));
        }
    }

    /// What happened, if it was to be told.
    pub(crate) fn story(&self) -> String {
        self.log
            .as_ref()
            .map_or_else(String::new, |log| log.join("\n"))
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { site, packet } => self.arrive(site, packet),
            Event::Deliver { packet } => self.deliver(packet),
            Event::AtRelay { packet } => self.at_relay(&packet),
            Event::Stream {
                client,
                bytes,
                to_server,
            } => self.stream(client, &bytes, to_server),
            Event::Signal { to, id, bytes } => self.signalled(to, id, &bytes),
            Event::Ports {
                node,
                id,
                opened,
                drift,
            } => self.ports_open(node, id, opened, drift),
            Event::Fresh { node, id, port } => self.fresh_open(node, id, port),
            Event::Wake(node) => self.wake(node),
            Event::Tick => {
                self.tick();
                self.permit_again();
                self.at(self.now + TICK, Event::Tick);
            }
            Event::Change(at) => {
                let (_, change) = self.case.changes[at].clone();
                self.log(|| format!("{change:?}"));
                self.reserve.push(self.lanes.has_reserve());
                self.change(&change);
            }
        }
    }

    fn wake(&mut self, node: usize) {
        if self.nodes[node].wake.is_none_or(|wake| wake > self.now) {
            return;
        }
        self.nodes[node].wake = None;
        if self.nodes[node].asleep {
            return;
        }
        if let Some(attempt) = &mut self.nodes[node].attempt {
            attempt.on_timeout(self.now);
        }
        self.turn_due(node);
        if node == GETTER {
            self.upkeep.on_timeout(self.now);
        }
    }

    /// Does whatever anybody asks for, until nobody does, and notes when they are to be called.
    fn settle(&mut self) {
        loop {
            let mut any = false;
            for node in [GETTER, HOST] {
                any |= !self.nodes[node].asleep && self.flush(node);
            }
            while !self.nodes[GETTER].asleep
                && let Some(action) = self.upkeep.poll()
            {
                any = true;
                match action {
                    _ if self.neglected && !self.begun.is_empty() => {}
                    Action::Attempt(wish) => self.begin(wish),
                    Action::Probe(lane) => self.ping(lane),
                    Action::Close(lane) => self.close_lane(lane),
                }
            }
            if !any {
                break;
            }
        }
        for node in [GETTER, HOST] {
            let upkeep = self.upkeep.deadline().filter(|_| node == GETTER);
            let due = [upkeep, self.nodes[node].deadline()]
                .into_iter()
                .flatten()
                .min();
            let Some(due) = due.map(|due| due.max(self.now)) else {
                continue;
            };
            if !self.nodes[node].asleep && self.nodes[node].wake.is_none_or(|wake| due < wake) {
                self.nodes[node].wake = Some(due);
                self.at(due, Event::Wake(node));
            }
        }
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Forget(node) => {
                let site = self.nodes[*node].site;
                self.sites[site]
                    .layers
                    .iter_mut()
                    .for_each(dig_lab::nat::Nat::flush);
            }
            Change::Reboot(node) => {
                let site = self.nodes[*node].site;
                self.build(site, 1000);
            }
            Change::Block => self.blocked = true,
            Change::Unblock => self.blocked = false,
            Change::RelayDown => self.relay.stop(),
            Change::RelayUp => self.relay.up = true,
            Change::Move(kind) => {
                let (seed, delay) = (self.case.seed.wrapping_add(77), self.case.delays[2]);
                self.sites.push(Site::new(2, kind, delay, seed));
                self.nodes[GETTER].move_to(kind, 2, GETTER);
                self.pin();
                self.turn_moved(GETTER);
                self.upkeep.network_changed(self.now);
            }
            Change::Sleep(node) => self.nodes[*node].asleep = true,
            Change::Wake(node) => {
                self.nodes[*node].asleep = false;
                self.nodes[*node].wake = None;
                if let Some(turn) = self.nodes[*node]
                    .turn
                    .as_mut()
                    .filter(|turn| turn.relayed.is_some())
                {
                    turn.want(self.now);
                }
                self.wake_up(*node);
            }
        }
    }

    /// A machine that slept finds the time passed.
    fn wake_up(&mut self, node: usize) {
        if let Some(attempt) = &mut self.nodes[node].attempt {
            Attempt::on_timeout(attempt, self.now);
        }
        self.turn_due(node);
        if node == GETTER {
            self.upkeep.network_changed(self.now);
        }
    }

    /// A site's routers begin anew.
    fn build(&mut self, number: usize, salt: u64) {
        let seed = self
            .case
            .seed
            .wrapping_mul(4)
            .wrapping_add(number as u64 + salt);
        self.sites[number] = Site::new(
            number,
            &self.case.kinds[number],
            self.case.delays[number],
            seed,
        );
        self.pin();
    }
}
