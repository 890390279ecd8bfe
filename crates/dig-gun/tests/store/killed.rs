//! What was said to be durable is there after SIGKILL at any moment, and a write is there whole or not at all.

use crate::child::{self, number_of, triple};
use dig_gun::{
    lex::{Lex, Query},
    store::{DiskStorage, Storage, StoreConfig, Writer, WriterLimits},
};
use dig_types::Timestamp;
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// Souls that are written over and over.
const SOULS: u32 = 50;

/// Writes for ever, each soul one number after the other, and says each that is durable.
#[test]
#[ignore = "runs as a child of the test that kills it"]
fn writes_until_killed() {
    let Some(folder) = child::folder() else {
        return;
    };
    let store = DiskStorage::open(folder.join("gun.redb"), StoreConfig::default()).unwrap();
    let store: Arc<dyn Storage> = Arc::new(store);
    let first = last_number(&*store) + 1;
    let writer = Writer::start(store, WriterLimits::default(), |_| {}).unwrap();
    let out = Arc::new(Mutex::new(std::io::stdout()));
    for number in first.. {
        let node = triple(&format!("soul {}", number % SOULS), number);
        let out = Arc::clone(&out);
        let done = move |outcome: Result<(), _>| {
            outcome.unwrap();
            let mut out = out.lock().unwrap();
            writeln!(out, "durable {number}").unwrap();
            out.flush().unwrap();
        };
        writer.submit(vec![node], Timestamp::from_millis(0), Box::new(done));
        if number % 7 == 0 || writer.waiting().submissions > 200 {
            thread::sleep(Duration::from_micros(500));
        }
    }
}

/// The largest number stored, 0 if there is none.
fn last_number(store: &dyn Storage) -> u32 {
    let all = Query::nodes(Lex::default(), 100_000);
    let nodes = store.find(&all, usize::MAX).unwrap().nodes;
    nodes.iter().map(number_of).max().unwrap_or_default()
}

#[test]
fn what_was_durable_is_there_after_a_kill_at_any_moment() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = TempDir::new().unwrap();
    let mut durable = HashMap::new();
    let mut said = 0_u32;
    for round in 0..12 {
        let mut child = child::command("killed::writes_until_killed", folder.path())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut first = true;
        let patience = Duration::from_micros(random.u64(..60_000));
        for line in lines {
            // The last line of somebody killed may be cut, but then it has no end.
            let Ok(line) = line else { break };
            let Some((_, number)) = line.split_once("durable ") else {
                continue;
            };
            let number: u32 = number.parse().unwrap();
            durable.insert(number % SOULS, number);
            said = number;
            if first {
                first = false;
                let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap());
                thread::spawn(move || {
                    thread::sleep(patience);
                    // Already dead is dead.
                    let _ =
                        rustix::process::kill_process(id.unwrap(), rustix::process::Signal::KILL);
                });
            }
        }
        let status = child.wait().unwrap();
        assert!(
            !status.success() && !first,
            "it was not killed, seed {seed}, round {round}"
        );

        let store = DiskStorage::open(folder.path().join("gun.redb"), StoreConfig::default());
        let store = store.unwrap_or_else(|error| panic!("{error}, seed {seed}, round {round}"));
        for (&rest, &number) in &durable {
            let soul = dig_gun::value::Soul::new(&format!("soul {rest}")).unwrap();
            let found = store.load(&soul).unwrap();
            let found = found.as_ref().map_or(0, number_of);
            assert!(
                found >= number,
                "soul {rest}: {found}, not {number}; seed {seed}, round {round}"
            );
            assert_eq!(found % SOULS, rest, "seed {seed}, round {round}");
        }
        assert!(store.usage().souls >= durable.len() as u64);
    }
    assert!(said > 1000, "only {said} writes were tested, seed {seed}");
}
