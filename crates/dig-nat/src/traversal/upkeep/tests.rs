//! The rules, one by one, on a virtual clock; and what holds whatever happens.

use super::*;
use proptest::prelude::*;

const RELAYED: bool = true;
const DIRECT: bool = false;

/// An owner that notes what it is told to do, in milliseconds.
struct Owner {
    upkeep: Upkeep<u8>,
    now: u64,
    done: Vec<(u64, Action<u8>)>,
}

impl Owner {
    fn new() -> Self {
        let mut owner = Self {
            upkeep: Upkeep::new(Duration::ZERO, 7),
            now: 0,
            done: Vec::new(),
        };
        owner.until(0);
        owner
    }

    /// Lets the time pass.
    fn until(&mut self, end: u64) -> &mut Self {
        loop {
            while let Some(action) = self.upkeep.poll() {
                self.done.push((self.now, action));
            }
            let Some(due) = self.upkeep.deadline().map(|due| due.as_millis() as u64 + 1) else {
                break;
            };
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            self.upkeep.on_timeout(Duration::from_millis(self.now));
        }
        self.now = self.now.max(end);
        self.upkeep.on_timeout(Duration::from_millis(self.now));
        while let Some(action) = self.upkeep.poll() {
            self.done.push((self.now, action));
        }
        self
    }

    /// Something happens now.
    fn tell(&mut self, event: impl FnOnce(&mut Upkeep<u8>, Duration)) -> &mut Self {
        event(&mut self.upkeep, Duration::from_millis(self.now));
        let now = self.now;
        self.until(now)
    }

    fn up(&mut self, key: u8, relayed: bool) -> &mut Self {
        self.tell(|upkeep, now| upkeep.lane_up(now, key, relayed))
    }

    fn down(&mut self, key: u8) -> &mut Self {
        self.tell(|upkeep, now| upkeep.lane_down(now, key))
    }

    fn ended(&mut self) -> &mut Self {
        self.tell(Upkeep::attempt_ended)
    }

    fn idle(&mut self) -> &mut Self {
        self.tell(|upkeep, now| upkeep.in_use(now, false))
    }

    /// What was done since this was last asked.
    fn take(&mut self) -> Vec<Action<u8>> {
        self.done.drain(..).map(|(_, action)| action).collect()
    }

    /// Lets every attempt fail after that time until the end; when they began.
    fn attempts(&mut self, takes: u64, end: u64) -> Vec<u64> {
        self.done.clear();
        let mut begun = Vec::new();
        while self.now < end {
            self.until(self.now + 10);
            for (when, action) in std::mem::take(&mut self.done) {
                if matches!(action, Action::Attempt(_)) {
                    begun.push(when);
                    self.until(when + takes).ended();
                }
            }
        }
        begun
    }
}

fn gaps(times: &[u64]) -> Vec<u64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn without_a_lane_an_attempt_begins_at_once_and_pauses_grow() {
    let mut owner = Owner::new();
    assert_eq!(owner.done, [(0, Action::Attempt(Wish::Any))]);
    owner.ended();
    let begun = owner.attempts(0, 60_000);
    let gaps = gaps(&begun);
    for (gap, middle) in gaps.iter().zip([1000, 2000, 4000, 8000, 8000]) {
        assert!(
            (middle * 3 / 4..=middle * 5 / 4 + 20).contains(gap),
            "{gaps:?}"
        );
    }
    assert!(*gaps.last().unwrap() <= 10_020, "{gaps:?}");
    // Nobody waits: they grow further, until somebody does.
    owner.idle();
    let begun = owner.attempts(0, 1_000_000);
    assert!(begun.len() < 30, "{begun:?}");
    owner.done.clear();
    owner.tell(|upkeep, now| upkeep.in_use(now, true));
    let soon = owner.now + 10_000;
    assert_eq!(owner.until(soon).take(), [Action::Attempt(Wish::Any)]);
}

#[test]
fn an_attempt_that_is_going_on_is_waited_for() {
    let mut owner = Owner::new();
    owner.take();
    owner.up(1, RELAYED).down(1).until(100_000);
    assert_eq!(owner.take(), []);
    // Unless nothing is ever heard of it.
    assert_eq!(owner.until(151_000).take(), [Action::Attempt(Wish::Any)]);
}

#[test]
fn an_attempt_that_the_owner_began_counts() {
    let mut upkeep = Upkeep::new(Duration::ZERO, 1);
    upkeep.attempt_began(Duration::ZERO, Wish::Any);
    upkeep.lane_up(Duration::from_secs(1), 1, RELAYED);
    assert_eq!(upkeep.poll(), None);
    upkeep.attempt_ended(Duration::from_secs(2));
    assert_eq!(upkeep.poll(), Some(Action::Attempt(Wish::Direct)));
    assert_eq!(upkeep.poll(), None);
}

#[test]
fn beside_a_relayed_lane_a_direct_path_is_looked_for() {
    let mut owner = Owner::new();
    owner.until(100).up(1, RELAYED).until(5000);
    assert_eq!(owner.take(), [Action::Attempt(Wish::Any)]);
    owner.ended();
    assert_eq!(owner.done, [(5000, Action::Attempt(Wish::Direct))]);
    // An attempt that takes shorter, one that takes longer.
    owner.until(5500).ended();
    let begun = owner.attempts(1000, 30_000);
    assert!(gaps(&begun).iter().all(|gap| (3000..3030).contains(gap)));
    let begun = owner.attempts(5000, 60_000);
    assert!(gaps(&begun).iter().all(|gap| (5000..5030).contains(gap)));
    owner.idle();
    let begun = owner.attempts(1000, 1_000_000);
    let gaps = gaps(&begun);
    assert!(gaps.windows(2).all(|pair| pair[0] <= pair[1]), "{gaps:?}");
    assert!((60_000..60_030).contains(gaps.last().unwrap()), "{gaps:?}");
    owner.tell(|upkeep, now| upkeep.in_use(now, true));
    let soon = owner.now + 3100;
    owner.attempts(1000, soon);
    owner.up(2, DIRECT).done.clear();
    let later = owner.now + 29_000;
    assert_eq!(owner.until(later).take(), []);
}

#[test]
fn a_lost_relay_turns_the_search_for_a_direct_path_into_one_for_any() {
    let mut owner = Owner::new();
    owner.up(1, RELAYED).ended();
    owner.until(20_000);
    assert_eq!(owner.take(), [Wish::Any, Wish::Direct].map(Action::Attempt));
    owner.down(1);
    assert_eq!(owner.take(), [Action::Attempt(Wish::Any)]);
    // The old one's end need not be told; should it be, nothing begins anew before a pause.
    owner.ended();
    assert_eq!(owner.take(), []);
}

#[test]
fn a_lane_that_dies_young_is_no_success() {
    let mut owner = Owner::new();
    owner.up(1, DIRECT).ended().until(9000);
    owner.take();
    owner.down(1);
    assert_eq!(owner.take(), []);
    assert_eq!(owner.until(9700).take(), [Action::Attempt(Wish::Any)]);
    owner.up(2, DIRECT).ended().until(20_000);
    owner.down(2);
    assert_eq!(owner.take(), [Action::Attempt(Wish::Any)]);
}

#[test]
fn a_changed_network_asks_everything_and_begins_anew() {
    let mut owner = Owner::new();
    owner.up(1, DIRECT).up(2, RELAYED).ended().until(15_000);
    owner.take();
    owner.tell(Upkeep::network_changed);
    let expected = [
        Action::Probe(1),
        Action::Probe(2),
        Action::Attempt(Wish::Any),
    ];
    assert_eq!(owner.take(), expected);
    // In place of the attempt that goes on; three at once, one a second.
    for _ in 0..20 {
        owner.tell(Upkeep::network_changed);
    }
    let attempts = |owner: &mut Owner| {
        let attempt = |action: &Action<u8>| matches!(action, Action::Attempt(_));
        owner.take().into_iter().filter(attempt).count()
    };
    assert_eq!(attempts(&mut owner), 2);
    owner.until(15_900);
    assert_eq!(attempts(&mut owner), 0);
    owner.until(16_100);
    assert_eq!(attempts(&mut owner), 1);
    owner.until(60_000);
    assert_eq!(attempts(&mut owner), 0);
}

#[test]
fn a_silent_direct_lane_is_asked_and_replaced() {
    let mut owner = Owner::new();
    owner.up(1, DIRECT).up(2, RELAYED).ended().until(15_000);
    owner.take();
    let silent = |upkeep: &mut Upkeep<u8>, now| upkeep.distress(now, 1);
    owner.tell(silent);
    let expected = [
        Action::Probe(1),
        Action::Probe(2),
        Action::Attempt(Wish::Any),
    ];
    assert_eq!(owner.take(), expected);
    owner.tell(silent);
    assert_eq!(owner.take(), []);
    // The attempt found nothing better than the relay: it goes on with direct paths.
    owner.until(20_000).ended();
    assert_eq!(owner.take(), [Action::Attempt(Wish::Direct)]);
    owner
        .tell(|upkeep, now| upkeep.answered(now, 1))
        .ended()
        .until(45_000);
    assert_eq!(owner.take(), []);
}

#[test]
fn a_silent_lane_beside_another_direct_one_is_only_asked() {
    let mut owner = Owner::new();
    owner.up(1, DIRECT).up(2, DIRECT).up(3, RELAYED).ended();
    owner.take();
    owner.tell(|upkeep, now| upkeep.distress(now, 1));
    assert_eq!(owner.take(), [Action::Probe(1)]);
    owner.tell(|upkeep, now| upkeep.distress(now, 3));
    assert_eq!(owner.take(), [Action::Probe(3)]);
    owner.down(1).down(3);
    assert_eq!(owner.take(), []);
}

#[test]
fn when_all_lanes_are_silent_any_path_is_looked_for() {
    let mut owner = Owner::new();
    owner.up(1, RELAYED).ended().until(15_000).ended();
    owner.take();
    owner.tell(|upkeep, now| upkeep.distress(now, 1));
    assert_eq!(owner.take(), [Action::Probe(1), Action::Attempt(Wish::Any)]);
}

#[test]
fn direct_lanes_that_come_and_go_are_waited_with() {
    let mut owner = Owner::new();
    owner.up(0, RELAYED).ended().until(20_000);
    let mut waits = Vec::new();
    for key in 1..=8 {
        owner.up(key, DIRECT).ended();
        let dies = owner.now + 500;
        owner.until(dies).take();
        owner.down(key);
        let begun = loop {
            let next = owner.now + 10;
            owner.until(next);
            if let Some((when, _)) = owner.done.first() {
                break *when;
            }
        };
        waits.push(begun.saturating_sub(dies));
    }
    // The first loss waits for nothing but the usual pause.
    for (wait, least) in waits.iter().zip([0, 2, 4, 8, 16, 30, 30, 30]) {
        assert!(
            (least * 1000..=least * 1000 + 3100).contains(wait),
            "{waits:?}"
        );
    }
    // One that lasts ends it.
    owner.up(20, DIRECT).ended();
    let dies = owner.now + 45_000;
    owner.until(dies).take();
    owner.down(20);
    assert_eq!(owner.take(), [Action::Attempt(Wish::Direct)]);
}

#[test]
fn a_habit_does_not_keep_a_peer_out_of_reach() {
    let mut owner = Owner::new();
    for key in 0..10 {
        owner.up(key, DIRECT).ended().take();
        let dies = owner.now + 100;
        owner.until(dies).down(key);
        let most = owner.now + 10_100;
        assert_eq!(owner.until(most).take(), [Action::Attempt(Wish::Any)]);
    }
}

#[test]
fn one_relayed_lane_is_kept_while_the_peer_is_in_use() {
    let mut owner = Owner::new();
    owner.up(1, RELAYED).until(10).up(2, RELAYED).ended();
    owner.until(20).up(3, DIRECT).ended().take();
    assert_eq!(owner.until(30_000).take(), []);
    assert_eq!(owner.until(30_100).take(), [Action::Close(1)]);
    assert_eq!(owner.down(1).until(1_000_000).take(), []);
    owner.idle();
    assert_eq!(owner.until(1_059_000).take(), []);
    assert_eq!(owner.until(1_060_100).take(), [Action::Close(2)]);
    assert_eq!(owner.down(2).until(2_000_000).take(), []);
}

#[test]
fn the_only_lane_is_never_closed() {
    let mut owner = Owner::new();
    owner.up(1, RELAYED).up(2, RELAYED).ended().idle();
    owner.attempts(1000, 500_000);
    let closed = |(_, action): &(u64, Action<u8>)| matches!(action, Action::Close(_));
    assert!(!owner.done.iter().any(closed));
    // Nor is a relay closed beside a direct lane that does not answer.
    owner
        .up(3, DIRECT)
        .tell(|upkeep, now| upkeep.distress(now, 3));
    owner.attempts(1000, 1_000_000);
    assert!(!owner.done.iter().any(closed));
}

#[derive(Debug, Clone)]
enum Event {
    Up(u8, bool),
    Down(u8),
    Distress(u8),
    Answered(u8),
    Network,
    Began(bool),
    Ended,
    InUse(bool),
    Pause(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0..4_u8, any::<bool>()).prop_map(|(key, relayed)| Event::Up(key, relayed)),
        (0..4_u8).prop_map(Event::Down),
        (0..4_u8).prop_map(Event::Distress),
        (0..4_u8).prop_map(Event::Answered),
        Just(Event::Network),
        any::<bool>().prop_map(Event::Began),
        Just(Event::Ended),
        any::<bool>().prop_map(Event::InUse),
        (0..70_000_u64).prop_map(Event::Pause),
    ];
    prop::collection::vec(event, 0..200)
}

proptest! {
    /// Whatever happens, in whatever order: what is asked for stays within its rate, only lanes that there are are named, the
    /// last lane is not closed, and a peer without a lane is looked for within ten seconds.
    #[test]
    fn rates_hold_and_nothing_is_forgotten(events in events(), seed: u64) {
        let mut owner = Owner::new();
        owner.upkeep = Upkeep::new(Duration::ZERO, seed);
        let mut lanes = BTreeMap::new();
        let mut begun = Vec::new();
        for event in events {
            let now = owner.now;
            match event {
                Event::Up(key, relayed) => {
                    lanes.insert(key, relayed);
                    owner.up(key, relayed);
                }
                Event::Down(key) => {
                    lanes.remove(&key);
                    owner.down(key);
                }
                Event::Distress(key) => drop(owner.tell(|upkeep, now| upkeep.distress(now, key))),
                Event::Answered(key) => drop(owner.tell(|upkeep, now| upkeep.answered(now, key))),
                Event::Network => drop(owner.tell(Upkeep::network_changed)),
                Event::Began(any) => {
                    let wish = if any { Wish::Any } else { Wish::Direct };
                    owner.tell(|upkeep, now| upkeep.attempt_began(now, wish));
                }
                Event::Ended => drop(owner.ended()),
                Event::InUse(in_use) => drop(owner.tell(|upkeep, now| upkeep.in_use(now, in_use))),
                Event::Pause(pause) => drop(owner.until(now + pause)),
            }
            for (when, action) in std::mem::take(&mut owner.done) {
                match action {
                    Action::Attempt(_) => begun.push(when),
                    Action::Probe(key) => prop_assert!(lanes.contains_key(&key)),
                    Action::Close(key) => {
                        prop_assert_eq!(lanes.get(&key), Some(&true));
                        prop_assert!(lanes.values().any(|relayed| !relayed));
                    }
                }
            }
        }
        // Three without a pause, one a second; beside those one every 3 s, and one every 375 ms after setbacks at most.
        for (at, first) in begun.iter().enumerate() {
            let within = begun[at..].iter().filter(|when| **when < first + 10_000).count();
            prop_assert!(within <= 13 + 4 + 27, "{within} attempts in 10 s: {begun:?}");
        }
        for key in lanes.keys() {
            owner.down(*key);
        }
        owner.tell(|upkeep, now| upkeep.in_use(now, true)).ended().done.clear();
        let end = owner.now + 10_100;
        let waited = owner.upkeep.attempt.is_some() || owner.until(end).take().contains(&Action::Attempt(Wish::Any));
        prop_assert!(waited);
    }
}
