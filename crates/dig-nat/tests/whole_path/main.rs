//! The whole way of a path, on a virtual clock: attempts on both sides, the upkeep of the side that downloads, a relay, and networks
//! that change under a running transfer; judged by an oracle that knows the NATs.
//!
//! Every case follows from its seed, which is printed when something is wrong. `WHOLE_PATH_SEED=N` runs one case and tells what happened;
//! `WHOLE_PATH_CASES=N` runs another number of them.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests are no API, and tell what they measured"
)]

mod case;
mod guess;
mod judge;
mod lane;
mod net;
mod node;
mod oracle;
mod relay;
mod world;

use case::Case;
use judge::{Measured, judge};
use std::{
    panic, thread,
    time::{Duration, Instant},
};
use world::World;

const CASES: u64 = 10_000;
const THREADS: u64 = 2;
/// Of a hundred pairs with one side whose ports must be guessed, so many find them.
const GUESSED: usize = 95;
/// Failures that are told at most.
const TOLD: usize = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

/// Runs every second case, or third, …; what is wrong with which seed.
fn run(first: u64, cases: u64) -> (Measured, Vec<(u64, String)>) {
    let (mut measured, mut wrong) = (Measured::default(), Vec::new());
    for seed in (first..cases).step_by(THREADS as usize) {
        match panic::catch_unwind(|| judge(&World::run(Case::new(seed), false))) {
            Ok(Ok(more)) => measured.add(more),
            Ok(Err(error)) => wrong.push((seed, error)),
            Err(_) => wrong.push((seed, "panicked, see above".to_owned())),
        }
    }
    (measured, wrong)
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let of = |part: usize| {
        times
            .get(times.len().saturating_sub(1) * part / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{what}: {} times, median {:.2?}, p95 {:.2?}, most {:.2?}",
        times.len(),
        of(50),
        of(95),
        of(100)
    );
}

#[test]
fn every_case_is_as_good_as_its_oracle() {
    if let Some(seed) = number("WHOLE_PATH_SEED") {
        let world = World::run(Case::new(seed), true);
        println!("{:?}\n{}", world.case, world.story());
        println!(
            "{:?}",
            judge(&world).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"))
        );
        return;
    }
    let cases = number("WHOLE_PATH_CASES").unwrap_or(CASES);
    let began = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|first| thread::spawn(move || run(first, cases)))
        .collect();
    let (mut measured, mut wrong) = (Measured::default(), Vec::new());
    for thread in threads {
        let (more, also) = thread.join().expect("no case takes its thread along");
        measured.add(more);
        wrong.extend(also);
    }
    println!("{cases} cases in {:.1?}", began.elapsed());
    for (what, relayed) in [
        ("first answer, direct", false),
        ("first answer, relayed", true),
    ] {
        let times = measured.first.iter().filter(|(of, _)| *of == relayed);
        tell(what, times.map(|(_, took)| *took).collect());
    }
    tell("answers again after a change", measured.recovered);
    tell("direct once that is possible", measured.promoted);
    tell("the relay in reserve answers", measured.fallen_back);
    let (guessed, hits) = (
        measured.guessed.len(),
        measured.guessed.iter().filter(|hit| **hit).count(),
    );
    println!("ports guessed: {hits} of {guessed}");
    wrong.sort();
    for (seed, error) in wrong.iter().take(TOLD) {
        println!("seed {seed}: {error}");
    }
    assert!(
        wrong.is_empty(),
        "{} of {cases} cases fall short; see them with WHOLE_PATH_SEED",
        wrong.len()
    );
    assert!(
        hits * 100 >= guessed * GUESSED,
        "only {hits} of {guessed} pairs found the ports to guess"
    );
}

/// The oracle sees it when nobody keeps a path up.
#[test]
fn without_an_upkeep_paths_are_lost() {
    let short = (0..200).filter(|seed| judge(&World::neglect(Case::new(*seed))).is_err());
    let short = short.count();
    assert!(short >= 40, "only {short} of 200 cases fall short");
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    for seed in 0..20 {
        let story = || World::run(Case::new(seed), true).story();
        assert_eq!(story(), story(), "seed {seed}");
    }
}
