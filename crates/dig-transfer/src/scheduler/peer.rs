//! One peer: its lanes, and which of them carry data.

use super::{LaneKey, Now, holding::Holding, lane::Lane};
use std::{collections::BTreeMap, time::Duration};

/// What a lane must measure better by to take over from another.
const HYSTERESIS: f64 = 1.2;
/// By how much the total must rise for one lane more to stay.
const WORTH: f64 = 1.1;
/// How long a further lane has to come up to its rate before it is measured.
const SETTLE: Duration = Duration::from_secs(1);
/// How long goodput is measured for a comparison.
const MEASURE: Duration = Duration::from_secs(2);
/// When the first trial may begin, and the longest pause between two.
const PAUSES: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(64));
/// Failures in a row after which a lane is no longer preferred.
const FRAIL: u32 = 3;
/// From this rate on, what a byte costs the processor decides, and a dearer carrier is not tried.
const FAST: f64 = 100e6;

/// One more lane, on trial.
#[derive(Debug)]
struct Trial {
    lane: LaneKey,
    before: f64,
    measures: Now,
    ends: Now,
}

/// Bytes counted since a time: what moving averages of two lanes cannot tell when one path feeds both.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    since: Now,
    bytes: u64,
}

impl Count {
    fn rate(self, now: Now, bytes: u64) -> f64 {
        bytes.saturating_sub(self.bytes) as f64
            / now.saturating_sub(self.since).as_secs_f64().max(0.001)
    }
}

/// The state of a peer.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) holding: Holding,
    pub(super) banned: bool,
    /// Its bit in the sets of holders, while it has a lane.
    pub(super) slot: Option<u8>,
    /// All lanes that are up.
    pub(super) lanes: Vec<LaneKey>,
    /// Those that are asked for data, the first one for most of it.
    pub(super) active: Vec<LaneKey>,
    /// Content bytes that came over lanes that are gone.
    pub(super) received: u64,
    /// Verified first from here, over lanes that are gone.
    pub(super) verified: u64,
    count: Count,
    /// Goodput of the last full measure.
    counted: Option<f64>,
    trial: Option<Trial>,
    pause: Duration,
    next_trial: Now,
    next_judgement: Now,
}

type Lanes = BTreeMap<LaneKey, Lane>;

impl Peer {
    /// A lane came up. One on a better carrier takes over at once; any other waits in reserve.
    pub(super) fn lane_up(&mut self, now: Now, key: LaneKey, lanes: &Lanes) {
        self.lanes.push(key);
        let rank = |key: &LaneKey| {
            lanes
                .get(key)
                .map_or(u8::MAX, |lane| lane.traits.carrier_rank)
        };
        let usable = |key: &&LaneKey| lanes.get(key).is_some_and(|lane| lane.stall.is_none());
        if self
            .active
            .iter()
            .find(usable)
            .is_none_or(|active| rank(&key) < rank(active))
        {
            self.lead(now, key);
        }
    }

    /// A lane is gone.
    pub(super) fn lane_down(&mut self, now: Now, key: LaneKey, lanes: &Lanes) {
        self.lanes.retain(|lane| *lane != key);
        self.set_aside(now, key, lanes);
    }

    /// A lane is not to be asked for now; the best of the others steps in where it was the only one.
    pub(super) fn set_aside(&mut self, now: Now, key: LaneKey, lanes: &Lanes) {
        self.active.retain(|lane| *lane != key);
        // Whether the lane on trial went or the one that it was measured against: there is nothing left to compare.
        self.trial = None;
        if !self.active.is_empty() {
            return;
        }
        if let Some(best) = self
            .reserve(lanes, lanes.get(&key))
            .or_else(|| self.lanes.first().copied())
        {
            self.lead(now, best);
        }
    }

    /// A silent lane answers again. It leads again if nobody else does, or if its carrier is the better one and it is trusted;
    /// whether it is to wait for that.
    pub(super) fn recovered(&mut self, now: Now, key: LaneKey, lanes: &Lanes) -> bool {
        let Some(lane) = lanes.get(&key) else {
            return false;
        };
        let working = || {
            let active = self.active.iter().filter_map(|other| lanes.get(other));
            active.filter(|other| other.stall.is_none())
        };
        let behind = |other: &Lane| other.traits.carrier_rank > lane.traits.carrier_rank;
        if !working().all(behind) {
            return false;
        }
        let waits = working().next().is_some() && !lane.life.is_trusted(now);
        if !waits {
            self.lead(now, key);
        }
        waits
    }

    fn lead(&mut self, now: Now, key: LaneKey) {
        self.active = vec![key];
        self.trial = None;
        self.pause = PAUSES.0;
        self.next_trial = now + self.pause;
        self.next_judgement = now + PAUSES.0;
    }

    /// The best lane that is not asked for now: fewest failures, then best rate measured, then cheapest. In place of a
    /// `silent` one it is before all one that has answered since, and if none has, one on another kind of path.
    fn reserve(&self, lanes: &Lanes, silent: Option<&Lane>) -> Option<LaneKey> {
        let idle = self.lanes.iter().filter(|key| !self.active.contains(key));
        let usable = idle
            .filter_map(|key| Some((*key, lanes.get(key).filter(|lane| lane.stall.is_none())?)));
        let doubt = |lane: &Lane| {
            silent.map_or(0, |silent| {
                match lane.life.answered_since(silent.life.last()) {
                    Some(true) => 0,
                    None => 1,
                    Some(false) if lane.traits.is_relayed() != silent.traits.is_relayed() => 2,
                    Some(false) => 3,
                }
            })
        };
        let best = usable.min_by(|(_, a), (_, b)| {
            let failures = |lane: &Lane| lane.life.failures() / FRAIL;
            let rates = b.rate().unwrap_or(0.0).total_cmp(&a.rate().unwrap_or(0.0));
            (doubt(a), failures(a))
                .cmp(&(doubt(b), failures(b)))
                .then(rates)
                .then(a.traits.carrier_rank.cmp(&b.traits.carrier_rank))
        });
        best.map(|(key, _)| key)
    }

    /// A lane that answered again and may be trusted by now, if one that is worse leads.
    pub(super) fn pardoned(&self, now: Now, lanes: &Lanes) -> Option<LaneKey> {
        let lead = lanes.get(self.active.first()?)?;
        let waiting = |key: &&LaneKey| {
            lanes.get(key).is_some_and(|lane| {
                lane.awaits
                    && lane.stall.is_none()
                    && lane.life.is_trusted(now)
                    && lane.traits.carrier_rank < lead.traits.carrier_rank
            })
        };
        self.lanes.iter().find(waiting).copied()
    }

    /// Measures lanes against each other, and tries whether one more raises the total.
    pub(super) fn judge(&mut self, now: Now, lanes: &Lanes, most: u8) {
        let Some(lead) = self.active.first().and_then(|key| lanes.get(key)) else {
            return;
        };
        let bytes = self
            .lanes
            .iter()
            .filter_map(|key| lanes.get(key))
            .map(|lane| lane.received)
            .sum();
        let busy = lead
            .filled
            .is_some_and(|at| now.saturating_sub(at) < Duration::from_millis(500));
        let Some(rate) = lead.rate().filter(|_| busy && lead.is_settled()) else {
            (self.count, self.counted) = (Count { since: now, bytes }, None);
            return;
        };
        if self.trial.is_some() {
            self.go_on_trying(now, bytes, lanes);
            return;
        }
        if now.saturating_sub(self.count.since) >= MEASURE {
            self.counted = Some(self.count.rate(now, bytes));
            self.count = Count { since: now, bytes };
        }
        let Some((reserve, other)) = self
            .reserve(lanes, None)
            .and_then(|key| Some((key, lanes.get(&key)?)))
            .filter(|(_, lane)| !lane.awaits)
        else {
            return;
        };
        let better = (lead.traits.is_relayed() || !other.traits.is_relayed())
            && other.is_settled()
            && other.rate().is_some_and(|other| other > rate * HYSTERESIS);
        if better && self.active.len() == 1 && now >= self.next_judgement {
            self.lead(now, reserve);
            return;
        }
        let dearer = other.traits.carrier_rank > lead.traits.carrier_rank;
        let may = now >= self.next_trial
            && self.active.len() < usize::from(most)
            && !(dearer && rate > FAST);
        if let Some(before) = self.counted.filter(|_| may) {
            let measures = now + SETTLE;
            self.trial = Some(Trial {
                lane: reserve,
                before,
                measures,
                ends: measures + MEASURE,
            });
            self.active.push(reserve);
        }
    }

    fn go_on_trying(&mut self, now: Now, bytes: u64, lanes: &Lanes) {
        let Some(trial) = &self.trial else { return };
        if now < trial.measures {
            self.count = Count { since: now, bytes };
        }
        if now < trial.ends {
            return;
        }
        let (lane, before) = (trial.lane, trial.before);
        let total = self.count.rate(now, bytes);
        (self.trial, self.counted, self.count) = (None, None, Count { since: now, bytes });
        // What both measured while they shared the path is not what either measures alone.
        self.next_judgement = now + PAUSES.0;
        if total < before * WORTH {
            self.end_trial(now, lane, lanes);
        }
        self.next_trial = now + self.pause;
    }

    /// A lane more did not raise the total: the two share a bottleneck, so that neither is better alone. The cheaper one does.
    fn end_trial(&mut self, now: Now, added: LaneKey, lanes: &Lanes) {
        let known = |key: &LaneKey| {
            lanes
                .get(key)
                .map(|lane| (lane.traits.carrier_rank, lane.rate().unwrap_or(0.0)))
        };
        let pause = (self.pause * 2).min(PAUSES.1);
        let (new, old) = (known(&added), self.active.first().and_then(known));
        if new
            .zip(old)
            .is_some_and(|(new, old)| new.0 < old.0 && new.1 >= old.1)
        {
            self.lead(now, added);
        } else {
            self.active.retain(|key| *key != added);
        }
        self.pause = pause;
    }

    /// Goodput of the active lanes.
    pub(super) fn total(&self, lanes: &Lanes) -> f64 {
        self.active
            .iter()
            .filter_map(|key| lanes.get(key)?.rate())
            .sum()
    }
}
