//! How long others wait while somebody attacks.

use crate::{process::Process, speaker::Speaker};
use std::{future::Future, net::Ipv4Addr, time::Duration};
use tokio::time::{Instant, sleep};

/// Below this, nobody notices: a few turns of a busy machine's scheduler.
const UNNOTICED: Duration = Duration::from_millis(60);
/// How long each measurement takes.
const SPELL: Duration = Duration::from_secs(4);

/// Where the others are: what an attacker uses up is not theirs.
pub(crate) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The 99th percentiles of writes and questions.
#[derive(Debug, Clone, Copy)]
struct Waits {
    put: Duration,
    get: Duration,
}

fn percentile(mut waits: Vec<Duration>) -> Duration {
    waits.sort_unstable();
    waits[waits.len() * 99 / 100]
}

/// Somebody who writes and reads all the time, one after the other.
async fn measure(url: &str, name: &str) -> Waits {
    let mut victim = Speaker::connect_from(ELSEWHERE, url).await;
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < SPELL || number < 100 {
        number += 1;
        let soul = format!("{name} {number}");
        let (wait, result) = victim.put(&soul, "k", "1", 1.0).await;
        result.unwrap();
        puts.push(wait);
        let (wait, fields) = victim.get(&soul).await;
        assert_eq!(fields, ["k=1"]);
        gets.push(wait);
        sleep(Duration::from_millis(5)).await;
    }
    Waits {
        put: percentile(puts),
        get: percentile(gets),
    }
}

/// Measures others' waits without and with an attack, which goes on until it is dropped.
pub(crate) async fn others_wait_no_longer<A>(
    name: &str,
    relay: &Process,
    attack: impl FnOnce(String) -> A,
) where
    A: Future<Output = ()> + Send + 'static,
{
    let quiet = measure(&relay.url, &format!("{name} quiet")).await;
    let attack = tokio::spawn(attack(relay.url.clone()));
    sleep(Duration::from_millis(500)).await;
    let attacked = measure(&relay.url, &format!("{name} attacked")).await;
    assert!(!attack.is_finished(), "{name}: the attack ended early");
    attack.abort();
    println!(
        "{name}: put {:.1?} -> {:.1?}, get {:.1?} -> {:.1?}, memory {} MiB",
        quiet.put,
        attacked.put,
        quiet.get,
        attacked.get,
        relay.most_memory()
    );
    for (before, after) in [(quiet.put, attacked.put), (quiet.get, attacked.get)] {
        assert!(
            after <= (before * 2).max(UNNOTICED),
            "{name}: {before:?} became {after:?}"
        );
    }
}
