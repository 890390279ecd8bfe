//! How long others wait while somebody attacks.

use crate::{process::Process, speaker::Speaker};
use std::{future::Future, net::Ipv4Addr, thread, time::Duration};
use tokio::{
    runtime,
    sync::oneshot,
    time::{Instant, sleep},
};

/// Below this, it is a few turns of the scheduler and one more of the disk.
const UNNOTICED: Duration = Duration::from_millis(15);
/// Measurements on a machine that others use too; one that is good shows that the relay holds nobody up.
const TRIES: usize = 3;
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

/// An attacker, who has a machine of its own, as far as that can be had: a thread that leaves the processors to whoever else wants them.
struct Attacker {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<bool>,
}

impl Attacker {
    fn start(attack: impl Future<Output = ()> + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            // Of this thread alone, on Linux.
            let _ = rustix::process::setpriority_process(None, 19);
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    () = attack => false,
                    _ = stopped => true,
                }
            })
        });
        Self { stop, thread }
    }

    /// Ends it; whether it went on until now.
    fn end(self) -> bool {
        let _ = self.stop.send(());
        self.thread.join().unwrap()
    }
}

/// Measures others' waits without and with an attack, which goes on until that is done: at the 99th percentile they are at most twice as long.
pub(crate) async fn others_wait_no_longer<A>(
    name: &str,
    relay: &Process,
    attack: impl Fn(String) -> A,
) where
    A: Future<Output = ()> + Send + 'static,
{
    let mut failures = Vec::new();
    for number in 0..TRIES {
        let quiet = measure(&relay.url, &format!("{name} quiet {number}")).await;
        let attacker = Attacker::start(attack(relay.url.clone()));
        sleep(Duration::from_millis(500)).await;
        let attacked = measure(&relay.url, &format!("{name} attacked {number}")).await;
        assert!(attacker.end(), "{name}: the attack ended early");
        let said = format!(
            "{name}: put {:.1?} -> {:.1?}, get {:.1?} -> {:.1?}, memory {} MiB",
            quiet.put,
            attacked.put,
            quiet.get,
            attacked.get,
            relay.most_memory()
        );
        println!("{said}");
        let waits = [(quiet.put, attacked.put), (quiet.get, attacked.get)];
        if (waits.iter()).all(|(before, after)| *after <= (*before * 2).max(UNNOTICED)) {
            return;
        }
        failures.push(said);
    }
    panic!("{}", failures.join("\n"));
}
