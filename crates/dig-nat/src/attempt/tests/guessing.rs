//! Ports that are guessed: how often and how fast it succeeds, what it costs, and whom it can never be turned against.

use super::*;
use crate::{
    attempt::{PER_PORT, PORTS, Tactic},
    trace::MethodTrace,
};

/// As long the plain checks go on alone, at least.
const PLAIN: Duration = Duration::from_millis(500);

const HABITS: [Habit; 2] = [Habit::Drop, Habit::Reject];

fn home(habit: Habit) -> Kind {
    Kind::Nat(NatConfig::port_restricted().with_habit(habit))
}

fn random(habit: Habit) -> Kind {
    Kind::Nat(NatConfig::symmetric_random().with_habit(habit))
}

fn regular(delta: i16, habit: Habit) -> Kind {
    Kind::Nat(NatConfig::symmetric_sequential(delta).with_habit(habit))
}

/// At distances as they are: round trips of 5 to 200 ms between the peers, signals by way of a third one.
fn case(seed: u64, easy: Kind, hard: Kind, hosts_hard: bool) -> Case {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut delay = |most| Duration::from_micros(rng.u64(1_000..most));
    let delays = [delay(50_000), delay(50_000)];
    let signal_delay = delay(30_000);
    let (a, b) = if hosts_hard {
        (easy, hard)
    } else {
        (hard, easy)
    };
    Case {
        delays,
        signal_delay,
        hints: true,
        ..Case::new(seed, a, b)
    }
}

fn tactic(world: &World, at: usize) -> Option<Tactic> {
    let trace = world.peers[at].attempt.as_ref()?.trace();
    let run = |run: &&MethodTrace| run.method == Method::UdpHolePunch;
    trace.methods.iter().find(run)?.tactic
}

/// What a series of cases came to.
#[derive(Default)]
struct Series {
    times: Vec<Duration>,
    all: usize,
}

impl Series {
    fn add(&mut self, case: &Case, world: &World) {
        self.all += 1;
        if let Some(path) = path(world) {
            check_path(case, world, path);
            self.times.push(took(world));
        }
    }

    fn check(mut self, what: &str, percent: usize, limit: Duration) {
        self.times.sort();
        let of =
            |part: usize| self.times[(self.times.len() * part / 100).min(self.times.len() - 1)];
        let connected = self.times.len();
        println!(
            "{what}: {connected} of {}, median {:?}, p95 {:?}, most {:?}",
            self.all,
            of(50),
            of(95),
            of(100)
        );
        assert!(
            connected * 100 >= self.all * percent,
            "{what}: {connected} of {}",
            self.all
        );
        assert!(of(95) <= limit, "{what}: {:?}", of(95));
    }
}

fn run(case: &Case, change: impl FnOnce(&mut World)) -> World {
    let mut world = case.world();
    change(&mut world);
    world.start(|world, at| case.gather(world, at));
    world.run(Duration::from_secs(90));
    let context = Context {
        case,
        world: &world,
    };
    assert!(world.peers[0].ended.is_some(), "it never ends: {context}");
    assert!(world.peers[1].ended.is_some(), "it never ends: {context}");
    world
}

/// Both habits of both routers.
fn habits() -> impl Iterator<Item = (Habit, Habit)> {
    HABITS
        .into_iter()
        .flat_map(|easy| HABITS.map(|hard| (easy, hard)))
}

#[test]
fn random_ports_are_met_whoever_hosts_and_whatever_routers_do() {
    for hosts_hard in [false, true] {
        let mut series = Series::default();
        for (easy, hard) in habits() {
            for seed in 0..75 {
                let case = case(seed, home(easy), random(hard), hosts_hard);
                let world = run(&case, |_| {});
                series.add(&case, &world);
                for at in 0..2 {
                    assert_eq!(tactic(&world, at), Some(Tactic::Birthday), "seed {seed}");
                }
            }
        }
        series.check("random ports", 98, Duration::from_secs(2));
    }
}

#[test]
fn regular_ports_are_predicted_though_others_use_the_nat() {
    for hosts_hard in [false, true] {
        for delta in [1, -1, 4] {
            let mut series = Series::default();
            for (easy, hard) in habits() {
                for seed in 0..25 {
                    let case = case(seed, home(easy), regular(delta, hard), hosts_hard);
                    let world = run(&case, |world| world.others = (seed % 20) as u16);
                    series.add(&case, &world);
                    assert_eq!(tactic(&world, 0), Some(Tactic::Prediction), "seed {seed}");
                }
            }
            let what = format!("steps of {delta}");
            series.check(&what, 98, Duration::from_millis(1500));
        }
    }
}

/// The second STUN server often answers after the offer has left: only then is it known that ports differ by destination.
#[test]
fn a_nat_that_is_known_late_is_told_late() {
    for hosts_hard in [false, true] {
        let mut series = Series::default();
        for seed in 0..40 {
            let case = Case {
                hints: false,
                ..case(seed, home(Habit::Drop), random(Habit::Drop), hosts_hard)
            };
            let mut world = case.world();
            world.start(|world, at| case.gather(world, at));
            world.run(Duration::from_millis(seed * 5));
            let hard = usize::from(hosts_hard);
            let now = world.now;
            if let Some(attempt) = &mut world.peers[hard].attempt {
                attempt.set_nat(now, NatHint::Dependent { step: None });
            } else {
                world.peers[hard].local.nat = NatHint::Dependent { step: None };
            }
            world.flush(hard);
            world.run(Duration::from_secs(90));
            series.add(&case, &world);
        }
        series.check("known late", 95, Duration::from_secs(2));
    }
}

#[test]
fn what_cannot_be_measured_is_guessed_at_random() {
    let mut series = Series::default();
    for seed in 0..40 {
        let case = case(
            seed,
            home(Habit::Drop),
            regular(1, Habit::Drop),
            seed % 2 == 0,
        );
        let world = run(&case, |world| world.measurable = false);
        series.add(&case, &world);
        assert_eq!(tactic(&world, 0), Some(Tactic::Birthday), "seed {seed}");
    }
    series.check("not measured", 95, Duration::from_secs(2));
}

#[test]
fn other_strategies_and_lines_that_lose_packets_get_there_too() {
    for (strategy, loss) in [(Strategy::Sequential, 0.0), (Strategy::Race, 0.03)] {
        let mut series = Series::default();
        for seed in 0..40 {
            let case = case(seed, home(Habit::Drop), random(Habit::Drop), seed % 2 == 0);
            let case = Case {
                strategy,
                loss,
                ..case.alone(Method::UdpHolePunch)
            };
            series.add(&case, &run(&case, |_| {}));
        }
        series.check(
            &format!("{strategy}, loss {loss}"),
            95,
            Duration::from_secs(3),
        );
    }
}

/// The packets of the second turn reach through what those of the first did not open.
#[test]
fn a_second_nat_that_nobody_knows_of_costs_time_only() {
    let mut series = Series::default();
    for seed in 0..40 {
        let outer = NatConfig::symmetric_random();
        let hard = Kind::Double(NatConfig::port_restricted(), outer);
        let case = case(seed, home(Habit::Drop), hard, seed % 2 == 0);
        let world = run(&case, |world| {
            for peer in &mut world.peers {
                peer.config.opener_ttl = 2;
            }
        });
        series.add(&case, &world);
    }
    series.check("a second NAT", 95, Duration::from_secs(4));
}

#[test]
fn two_hard_sides_and_whoever_knows_nothing_guess_nothing() {
    let kinds = [
        (random(Habit::Drop), random(Habit::Drop), true),
        (random(Habit::Drop), regular(1, Habit::Drop), true),
        (home(Habit::Drop), random(Habit::Drop), false),
    ];
    for (a, b, hints) in kinds {
        let case = Case {
            hints,
            ..case(1, a, b, true)
        };
        let world = run(&case, |_| {});
        assert_eq!(path(&world), None);
        for peer in &world.peers {
            // Whoever knows nothing may change its port.
            assert!(peer.extra.is_empty() && (peer.unused.is_empty() || !hints));
        }
        assert!(world.sent.len() < 100, "{}", world.sent.len());
    }
}

#[test]
fn nobody_guesses_who_does_not_want_to() {
    for (sockets, packets) in [(0, u16::MAX), (u16::MAX, 0), (0, 0)] {
        for hosts_hard in [false, true] {
            let case = case(2, home(Habit::Drop), random(Habit::Drop), hosts_hard);
            let world = run(&case, |world| {
                for peer in &mut world.peers {
                    (peer.sockets, peer.packets) = (sockets, packets);
                }
            });
            assert_eq!(path(&world), None);
            let easy = usize::from(!hosts_hard);
            let sprayed = world.sent.iter().filter(|(peer, _)| *peer == easy).count();
            assert!(sprayed < 100, "{sockets} {packets}: {sprayed}");
            assert!(world.peers.iter().all(|peer| peer.extra.is_empty()));
        }
    }
}

/// What one guess costs: never more than allowed, never twice to one port, at most one packet a millisecond, and nothing after the peer
/// was heard.
#[test]
fn a_guess_costs_what_was_allowed_and_ends_with_the_first_hit() {
    let host: IpAddr = "44.128.2.1".parse().unwrap();
    let mut missed = 0;
    for seed in 0..60 {
        let case = case(seed, home(Habit::Drop), random(Habit::Drop), true);
        let world = run(&case, |world| world.peers[0].packets = 500);
        let context = Context {
            case: &case,
            world: &world,
        };
        let mut guesses: Vec<(Duration, SocketAddr)> = world
            .left
            .iter()
            .filter(|(when, peer, _)| *peer == 0 && *when >= world.answered.unwrap() + PLAIN)
            .map(|(when, _, to)| (*when, *to))
            .collect();
        assert!(
            guesses
                .iter()
                .all(|(_, to)| to.ip() == host && to.port() >= 1024),
            "{context}"
        );
        let began = guesses[0].0;
        let found = world.peers[0].found.first().map(|(when, _)| *when);
        let gap = Duration::from_millis(1);
        // A few plain checks are among them.
        for (number, (when, _)) in guesses.iter().enumerate().skip(60) {
            assert!(*when >= began + gap * (number as u32 - 60), "{context}");
        }
        guesses.sort_by_key(|(_, to)| to.port());
        let twice = guesses
            .windows(2)
            .filter(|pair| pair[0].1 == pair[1].1)
            .count();
        // Data, and checks of the peer's packets, go to the port that was hit; plain checks to the one that the peer names.
        assert!(twice <= 60, "{twice}: {context}");
        let unused = world.peers[0].unused[0];
        match found {
            Some(when) => assert!(guesses.iter().filter(|(left, _)| *left > when).count() <= 60),
            None => {
                missed += 1;
                assert_eq!(unused, 0, "{context}");
            }
        }
        assert!(guesses.len() <= 500 + 60, "{context}");
        let sent = 500 - usize::from(unused);
        assert!(
            sent <= guesses.len() && guesses.len() <= sent + 60,
            "{context}"
        );
        // Openers: one turn, or both.
        let spent = PORTS * PER_PORT - world.peers[1].unused[0];
        assert!(
            spent == PORTS || found.is_none() && spent == PORTS * 2,
            "{spent}: {context}"
        );
        assert!(world.peers[1].extra.len() <= 4, "{context}");
    }
    assert!(
        (1..15).contains(&missed),
        "{missed} of 60 missed with 500 packets"
    );
}
