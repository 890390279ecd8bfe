//! How long others wait while somebody attacks.

use crate::{process::Process, speaker::Speaker};
use std::{future::Future, net::Ipv4Addr, thread, time::Duration};
use tokio::{
    runtime,
    sync::oneshot,
    time::{Instant, sleep},
};

/// Below this, it is a few turns of the scheduler and one more of the disk.
const UNNOTICED: Duration = Duration::from_millis(10);
/// Measurements on a machine that others use too; one that is good shows that the relay holds nobody up.
const TRIES: usize = 3;
/// A measurement is made in turns, quiet and attacked, so that what else the machine does meets both alike.
const TURNS: usize = 4;
/// How long each turn takes.
const SPELL: Duration = Duration::from_millis(1500);
/// Before others are measured, an attack has begun, or is over, so long ago: what it left to be written is no quiet.
const RUN_UP: Duration = Duration::from_millis(500);

/// Where the others are: what an attacker uses up is not theirs.
pub(crate) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// How long writes and questions took.
#[derive(Debug, Default)]
struct Waits {
    puts: Vec<Duration>,
    gets: Vec<Duration>,
}

fn percentile(waits: &mut [Duration]) -> Duration {
    waits.sort_unstable();
    waits[waits.len() * 99 / 100]
}

impl Waits {
    /// Somebody writes and reads all the time, one after the other.
    async fn measure(&mut self, url: &str, name: &str) {
        let mut victim = Speaker::connect_from(ELSEWHERE, url).await;
        let start = Instant::now();
        let mut number = 0;
        while start.elapsed() < SPELL || number < 50 {
            number += 1;
            let soul = format!("{name} {number}");
            let (wait, result) = victim.put(&soul, "k", "1", 1.0).await;
            result.unwrap();
            self.puts.push(wait);
            let (wait, fields) = victim.get(&soul).await;
            assert_eq!(fields, ["k=1"]);
            self.gets.push(wait);
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The 99th percentiles.
    fn worst(&mut self) -> [Duration; 2] {
        [percentile(&mut self.puts), percentile(&mut self.gets)]
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
        let (mut quiet, mut attacked) = (Waits::default(), Waits::default());
        for turn in 0..TURNS {
            let name = |what: &str| format!("{name} {what} {number} {turn}");
            quiet.measure(&relay.url, &name("quiet")).await;
            let attacker = Attacker::start(attack(relay.url.clone()));
            sleep(RUN_UP).await;
            attacked.measure(&relay.url, &name("attacked")).await;
            assert!(attacker.end(), "the attack ended early");
            sleep(RUN_UP).await;
        }
        let (quiet, attacked) = (quiet.worst(), attacked.worst());
        let said = format!(
            "{name}: put {:.1?} -> {:.1?}, get {:.1?} -> {:.1?}, memory {} MiB",
            quiet[0],
            attacked[0],
            quiet[1],
            attacked[1],
            relay.most_memory()
        );
        println!("{said}");
        let waits = quiet.into_iter().zip(attacked);
        if waits
            .into_iter()
            .all(|(before, after)| after <= (before * 2).max(UNNOTICED))
        {
            return;
        }
        failures.push(said);
    }
    panic!("{}", failures.join("\n"));
}
