//! Sessions over paths, as far as an upkeep notices them: they come up, they are asked and answer, they fall silent and end.
//!
//! The getter's end is a client that sends from wherever its path says; the host's end answers to wherever the last packet came
//! from, as QUIC does after a migration. A request that was not answered is silence after three round trips.

use crate::{
    case::{GETTER, HOST},
    world::World,
};
use bytes::Bytes;
use dig_nat::{
    attempt::{Path, Port},
    trace::AttemptId,
};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// How often the getter looks at its lanes and asks for more on the best.
pub(crate) const TICK: Duration = Duration::from_millis(100);
/// Repetitions of what was not answered on other lanes, and of what opens one.
const AGAIN: Duration = Duration::from_millis(250);
/// A session that has not come up by then does not.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// A lane is asked for a sign of life after so much silence.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A lane is given up after so much silence.
const DEAD: Duration = Duration::from_secs(20);

const HELLO: u8 = 0;
const WELCOME: u8 = 1;
/// A sign of life is asked for, or given.
const PING: u8 = 2;
const PONG: u8 = 3;
/// The same, of the lane that carries the transfer.
const ASK: u8 = 4;
const ANSWER: u8 = 5;
const CLOSE: u8 = 6;
const UNKNOWN: u8 = 7;

/// The getter's end.
#[derive(Debug)]
pub(crate) struct Lane {
    /// With its port as the node knows it.
    pub(crate) path: Path,
    /// As the attempt gave it.
    given: Path,
    attempt: AttemptId,
    pub(crate) up: bool,
    began: Duration,
    rtt: Duration,
    sent: Duration,
    heard: Duration,
    /// Since when something is unanswered.
    asked: Option<Duration>,
    pub(crate) silent: bool,
}

impl Lane {
    /// When it is silent.
    fn limit(&self) -> Duration {
        Duration::from_millis(100) + (self.rtt * 3).max(Duration::from_millis(300))
    }
}

/// The host's end.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) at: Port,
    heard: Duration,
}

/// All lanes of the pair.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    pub(crate) number: u32,
    pub(crate) all: BTreeMap<u32, Lane>,
    pub(crate) served: BTreeMap<u32, Served>,
}

impl Lanes {
    /// Whether there is a relayed lane that answers, besides a single direct one.
    pub(crate) fn has_reserve(&self) -> bool {
        let answering = |relayed| {
            let answers =
                |lane: &&Lane| lane.up && !lane.silent && lane.path.is_relayed() == relayed;
            self.all.values().filter(answers).count()
        };
        answering(true) > 0 && answering(false) == 1
    }

    /// The lane that carries the requests: one that answers, a direct one, a near one.
    fn active(&self) -> Option<u32> {
        let up = self.all.iter().filter(|(_, lane)| lane.up);
        let rank = |(_, lane): &(&u32, &Lane)| (lane.silent, lane.path.is_relayed(), lane.rtt);
        up.min_by_key(rank).map(|(number, _)| *number)
    }
}

fn packet(kind: u8, number: u32) -> Bytes {
    let [a, b, c, d] = number.to_be_bytes();
    Bytes::copy_from_slice(&[b'L', kind, a, b, c, d])
}

impl World {
    /// The getter has a path: it makes a session over it.
    pub(crate) fn open_lane(&mut self, attempt: AttemptId, path: Path) {
        let now = self.now;
        self.lanes.number += 1;
        let number = self.lanes.number;
        self.log(|| format!("path {number}: {path:?}"));
        let from = self.nodes[GETTER].extra.outside(path.from);
        let lane = Lane {
            path: Path { from, ..path },
            given: path,
            attempt,
            up: false,
            began: now,
            rtt: Duration::ZERO,
            sent: now,
            heard: now,
            asked: None,
            silent: false,
        };
        self.lanes.all.insert(number, lane);
        self.say(number, HELLO);
    }

    fn say(&mut self, number: u32, kind: u8) {
        let now = self.now;
        if let Some(lane) = self.lanes.all.get_mut(&number) {
            lane.sent = now;
            if matches!(kind, PING | ASK) {
                lane.asked.get_or_insert(now);
            }
            let (from, to) = (lane.path.from, lane.path.remote);
            self.emit(GETTER, from, to, packet(kind, number), None);
        }
    }

    /// Asks a lane for a sign of life.
    pub(crate) fn ping(&mut self, number: u32) {
        self.say(number, PING);
    }

    /// Closes a lane that is not needed.
    pub(crate) fn close_lane(&mut self, number: u32) {
        self.log(|| format!("lane {number} is closed"));
        self.say(number, CLOSE);
        self.drop_lane(number);
    }

    fn drop_lane(&mut self, number: u32) {
        if self.lanes.all.remove(&number).is_some_and(|lane| lane.up) {
            self.upkeep.lane_down(self.now, number);
        }
    }

    /// A packet of a lane came.
    pub(crate) fn lane_packet(&mut self, node: usize, at: Port, source: SocketAddr, bytes: &[u8]) {
        let &[_, kind, a, b, c, d] = bytes else {
            return;
        };
        let number = u32::from_be_bytes([a, b, c, d]);
        if node == HOST {
            self.serve(at, source, kind, number);
        } else {
            self.heard(kind, number);
        }
    }

    fn serve(&mut self, at: Port, remote: SocketAddr, kind: u8, number: u32) {
        let heard = self.now;
        let answer = match kind {
            HELLO => WELCOME,
            PING | ASK if !self.lanes.served.contains_key(&number) => UNKNOWN,
            PING => PONG,
            ASK => ANSWER,
            _ => {
                self.lanes.served.remove(&number);
                return;
            }
        };
        if answer != UNKNOWN {
            let served = Served { at, heard };
            self.lanes.served.insert(number, served);
        }
        self.emit(HOST, at, remote, packet(answer, number), None);
    }

    fn heard(&mut self, kind: u8, number: u32) {
        let now = self.now;
        let Some(lane) = self.lanes.all.get_mut(&number) else {
            return;
        };
        lane.heard = now;
        lane.asked = None;
        let relayed = lane.path.is_relayed();
        match kind {
            WELCOME if !lane.up => {
                lane.up = true;
                lane.rtt = now - lane.sent;
                self.lane_is_up(number);
            }
            ANSWER | PONG => {
                if std::mem::take(&mut lane.silent) {
                    self.upkeep.answered(now, number);
                    self.log(|| format!("lane {number} answers again"));
                }
                if kind == ANSWER {
                    self.answers.push((now, relayed));
                }
            }
            UNKNOWN if lane.up => {
                self.log(|| format!("lane {number} is unknown to the host"));
                self.drop_lane(number);
            }
            _ => {}
        }
    }

    fn lane_is_up(&mut self, number: u32) {
        let now = self.now;
        let Lane {
            path,
            given,
            attempt,
            ..
        } = self.lanes.all[&number];
        self.log(|| format!("lane {number} is up"));
        self.ups.push((now, path));
        self.upkeep.lane_up(now, number, path.is_relayed());
        if let Some(current) = self.nodes[GETTER].attempt.as_mut()
            && current.id() == attempt
        {
            current.confirm_path(now, &given);
        }
        let same = |lane: &Lane| lane.path.remote == path.remote && lane.path.from == path.from;
        let older: Vec<u32> = self
            .lanes
            .all
            .range(..number)
            .filter(|(_, lane)| same(lane))
            .map(|(number, _)| *number)
            .collect();
        for number in older {
            self.close_lane(number);
        }
    }

    /// Looks at the lanes.
    pub(crate) fn tick(&mut self) {
        let now = self.now;
        self.lanes
            .served
            .retain(|_, served| served.heard + DEAD > now);
        if self.nodes[GETTER].asleep {
            return;
        }
        let numbers: Vec<u32> = self.lanes.all.keys().copied().collect();
        for number in numbers {
            self.look_at(number);
        }
        if let Some(active) = self.lanes.active() {
            self.say(active, ASK);
        }
    }

    fn look_at(&mut self, number: u32) {
        let now = self.now;
        let Some(lane) = self.lanes.all.get_mut(&number) else {
            return;
        };
        if !lane.up {
            if lane.began + HANDSHAKE <= now {
                let Lane { given, attempt, .. } = *lane;
                self.log(|| format!("no session over path {number}"));
                self.lanes.all.remove(&number);
                if let Some(current) = self.nodes[GETTER].attempt.as_mut()
                    && current.id() == attempt
                {
                    current.reject_path(now, &given);
                }
            } else if lane.sent + AGAIN <= now {
                self.say(number, HELLO);
            }
            return;
        }
        let waited = lane.asked.map(|since| now - since);
        if waited.is_some() && lane.heard + DEAD <= now {
            self.log(|| format!("lane {number} is dead"));
            return self.drop_lane(number);
        }
        if waited.is_some_and(|waited| waited > lane.limit()) && !lane.silent {
            lane.silent = true;
            self.upkeep.distress(now, number);
            self.log(|| format!("lane {number} is silent"));
        }
        let lane = &self.lanes.all[&number];
        let due = if waited.is_some() { AGAIN } else { KEEP_ALIVE };
        if lane.sent + due <= now {
            self.say(number, PING);
        }
    }

    /// One of a node's ports is of no use any more.
    pub(crate) fn port_lost(&mut self, node: usize, port: Port) {
        if node == HOST {
            self.lanes.served.retain(|_, served| served.at != port);
            return;
        }
        let over = |(_, lane): &(&u32, &Lane)| lane.path.from == port;
        let lost: Vec<u32> = self
            .lanes
            .all
            .iter()
            .filter(over)
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            self.log(|| format!("lane {number} has no port any more"));
            self.drop_lane(number);
        }
    }
}
