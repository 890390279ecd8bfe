//! Whether what happened is what had to: by when something answered, over what, and without which pauses.

use crate::{
    case::{Change, GETTER},
    oracle::{Possible, Situation},
    world::World,
};
use dig_nat::attempt::Path;
use std::time::Duration;

/// What a direct path may take once it is possible, beside round trips.
const DIRECT: Duration = Duration::from_secs(5);
/// The longest pause between two attempts.
const PAUSE: Duration = Duration::from_secs(10);
/// How long an attempt goes on that leads to nothing.
const ATTEMPT: Duration = Duration::from_millis(7500);
/// Attempts that may begin in a minute: three without a pause and one a second, beside one every three seconds.
const PER_MINUTE: usize = 30;

/// A time without changes.
#[derive(Debug)]
struct Phase {
    from: Duration,
    to: Duration,
    situation: Situation,
    cause: Option<Change>,
    /// Something could be had before.
    before: bool,
    /// There was a relayed lane in reserve when it began.
    reserve: bool,
}

/// What was measured in a case that is as it must be.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// From the beginning to the first answer: direct and relayed.
    pub(crate) first: Vec<(bool, Duration)>,
    /// From a change to the next answer.
    pub(crate) recovered: Vec<Duration>,
    /// From when a direct path became possible beside a relayed one until it was used.
    pub(crate) promoted: Vec<Duration>,
    /// From when a direct path was gone until the relayed one in reserve answered.
    pub(crate) fallen_back: Vec<Duration>,
    /// Whether a direct path was found in the first minute where ports must be guessed, and no NAT has a second one before it.
    pub(crate) guessed: Vec<bool>,
}

impl Measured {
    pub(crate) fn add(&mut self, other: Self) {
        self.first.extend(other.first);
        self.recovered.extend(other.recovered);
        self.promoted.extend(other.promoted);
        self.fallen_back.extend(other.fallen_back);
        self.guessed.extend(other.guessed);
    }
}

fn phases(world: &World) -> Vec<Phase> {
    let case = &world.case;
    let mut situation = Situation::new(case);
    let mut phases: Vec<Phase> = Vec::new();
    let mut starts = vec![(Duration::ZERO, None)];
    starts.extend(
        case.changes
            .iter()
            .map(|(when, change)| (*when, Some(change.clone()))),
    );
    for (at, (from, cause)) in starts.iter().enumerate() {
        let before = situation.possible();
        if let Some(change) = cause {
            situation.change(change);
        }
        phases.push(Phase {
            from: *from,
            to: starts.get(at + 1).map_or(case.end, |(next, _)| *next),
            situation: situation.clone(),
            cause: cause.clone(),
            before: before.relayed || before.direct == Some(true),
            reserve: at > 0 && world.reserve.get(at - 1) == Some(&true),
        });
    }
    phases
}

/// The times that a case allows.
struct Limits {
    /// From when a direct path is gone until the reserve has answered.
    reserve: Duration,
    usable: Duration,
    direct: Duration,
    gap: Duration,
}

impl Limits {
    fn of(world: &World, phase: &Phase, possible: Possible) -> Self {
        let case = &world.case;
        let moved = case
            .changes
            .iter()
            .any(|(when, change)| *when <= phase.from && matches!(change, Change::Move(_)));
        let getter = case.delays[if moved { 2 } else { GETTER }];
        let rtt = (getter + case.delays[1] + case.relay_delay * 2) * 2;
        let signaling = rtt + case.signal_delay * 2;
        let mut usable = signaling * 2 + rtt * 4 + Duration::from_millis(250);
        if possible.direct != Some(true) {
            // Two round trips to the relay, and what it gave is told.
            usable += rtt * 2 + Duration::from_millis(400);
        }
        let mut direct = DIRECT + rtt * 10;
        let mut gap = Duration::from_millis(300) + rtt * 2;
        if phase.cause.is_some() {
            // Silence is noticed; what is asked first may be what is gone.
            usable += Duration::from_secs(3) + rtt * 4;
            if !phase.before {
                usable += PAUSE + ATTEMPT;
            }
            // Direct paths that came and went are waited with.
            direct = direct.max(usable)
                + Duration::from_secs(if case.changes.len() > 4 { 30 } else { 0 });
        }
        if case.loss > 0.0 {
            usable = usable * 2 + Duration::from_secs(5);
            direct = direct * 2 + Duration::from_secs(8);
            gap += Duration::from_secs(5);
        }
        Self {
            reserve: Duration::from_millis(600) + rtt * 4,
            usable,
            direct,
            gap,
        }
    }
}

/// Judges a case; what is wrong with it otherwise.
pub(crate) fn judge(world: &World) -> Result<Measured, String> {
    let mut measured = Measured::default();
    for phase in phases(world) {
        let possible = phase.situation.possible();
        judge_phase(world, &phase, possible, &mut measured).map_err(|wrong| {
            format!(
                "after {:?} at {:?}, possible {possible:?}: {wrong}",
                phase.cause, phase.from
            )
        })?;
    }
    let situation = Situation::new(&world.case);
    if situation.must_guess() && world.case.loss == 0.0 {
        let calm = world
            .case
            .changes
            .first()
            .map_or(world.case.end, |(when, _)| *when);
        let direct = |(when, path): &&(Duration, Path)| *when < calm && !path.is_relayed();
        measured
            .guessed
            .push(world.ups.iter().any(|up| direct(&up)));
    }
    for (at, first) in world.begun.iter().enumerate() {
        let minute = world.begun[at..]
            .iter()
            .filter(|when| **when < *first + Duration::from_secs(60));
        let count = minute.count();
        if count > PER_MINUTE {
            return Err(format!(
                "{count} attempts began in the minute after {first:?}"
            ));
        }
    }
    Ok(measured)
}

fn judge_phase(
    world: &World,
    phase: &Phase,
    possible: Possible,
    measured: &mut Measured,
) -> Result<(), String> {
    let limits = Limits::of(world, phase, possible);
    let within: Vec<(Duration, bool)> = world
        .answers
        .iter()
        .filter(|(when, _)| (phase.from..phase.to).contains(when))
        .copied()
        .collect();
    never(phase, possible, &within)?;
    let certain = possible.relayed || possible.direct == Some(true);
    if !certain {
        return Ok(());
    }
    let first = within.first().map_or(phase.to, |(when, _)| *when) - phase.from;
    if phase.from + limits.usable < phase.to && first > limits.usable {
        return Err(format!(
            "nothing answered for {first:?}, allowed are {:?}",
            limits.usable
        ));
    }
    let falls_back = phase.reserve && matches!(phase.cause, Some(Change::Block));
    if falls_back && world.case.loss == 0.0 && phase.from + limits.reserve < phase.to {
        measured.fallen_back.push(first);
        if first > limits.reserve {
            return Err(format!(
                "the reserve took over after {first:?}, allowed are {:?}",
                limits.reserve
            ));
        }
    }
    let mut last = phase.from + limits.usable;
    for when in within.iter().map(|(when, _)| *when).chain([phase.to]) {
        if when > last {
            let gap = when - last;
            if gap > limits.gap && last > phase.from + limits.direct {
                return Err(format!(
                    "nothing answered for {gap:?} after {last:?}, allowed are {:?}",
                    limits.gap
                ));
            }
            last = when;
        }
    }
    let Some((_, relayed)) = within.first() else {
        return Ok(());
    };
    if world.case.loss == 0.0 {
        match &phase.cause {
            None => measured.first.push((*relayed, first)),
            Some(_) if phase.before => measured.recovered.push(first),
            Some(_) => {}
        }
    }
    if possible.direct == Some(true) {
        stays_direct(world, phase, &limits, &within, measured)?;
    }
    Ok(())
}

/// What is impossible does not happen, but for what was on its way.
fn never(phase: &Phase, possible: Possible, within: &[(Duration, bool)]) -> Result<(), String> {
    let late = |(when, _): &&(Duration, bool)| *when > phase.from + Duration::from_secs(1);
    for (when, relayed) in within.iter().filter(late) {
        let allowed = if *relayed {
            possible.relayed
        } else {
            possible.direct != Some(false)
        };
        if !allowed {
            return Err(format!(
                "an answer at {when:?}, relayed: {relayed}: the oracle is wrong"
            ));
        }
    }
    Ok(())
}

/// A direct path is used once there is one.
fn stays_direct(
    world: &World,
    phase: &Phase,
    limits: &Limits,
    within: &[(Duration, bool)],
    measured: &mut Measured,
) -> Result<(), String> {
    let from = phase.from + limits.direct;
    if from >= phase.to {
        return Ok(());
    }
    let late: Vec<bool> = within
        .iter()
        .filter(|(when, _)| *when > from)
        .map(|(_, relayed)| *relayed)
        .collect();
    let relayed = late.iter().filter(|relayed| **relayed).count();
    // Where packets are lost, a lane may seem silent for a moment.
    let allowed = if world.case.loss > 0.0 {
        late.len() / 5
    } else {
        0
    };
    if relayed > allowed {
        return Err(format!(
            "{relayed} of {} answers later than {from:?} were relayed",
            late.len()
        ));
    }
    if matches!(phase.cause, Some(Change::Unblock))
        && world.case.loss == 0.0
        && world.case.changes.len() <= 4
        && let Some((when, _)) = within.iter().find(|(_, relayed)| !relayed)
    {
        measured.promoted.push(*when - phase.from);
    }
    Ok(())
}
