//! kill -9.

use crate::{
    process::Process,
    speaker::{Speaker, put},
};
use dig_gun::message::Body;
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_and_the_port_is_taken_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gun.redb");
    let mut port = 0;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let relay = Process::start(&file, port);
        port = relay.port();
        let mut alice = Speaker::connect(&relay.url).await;
        for number in &acknowledged {
            let (_, fields) = alice.get(&format!("soul {number}")).await;
            assert_eq!(
                fields,
                [format!("k={number}")],
                "seed {seed}, round {round}"
            );
        }
        let first = round * 10_000;
        let batch = (first..first + 500).map(|number| {
            put(
                &number.to_string(),
                &format!("soul {number}"),
                "k",
                &number.to_string(),
                1.0,
            )
        });
        alice
            .say(format!("[{}]", batch.collect::<Vec<_>>().join(",")))
            .await;
        let death = Duration::from_millis(random.u64(1..60));
        let relay = tokio::spawn(async move {
            sleep(death).await;
            relay.kill();
        });
        while let Some(message) = alice.next().await {
            if let (Body::Ack { ok: true, .. }, Some(id)) = (message.body, message.answers) {
                acknowledged.push(id.as_str().parse::<u32>().unwrap());
            }
        }
        relay.await.unwrap();
    }
    let relay = Process::start(&file, port);
    let mut alice = Speaker::connect(&relay.url).await;
    alice.put("last", "k", "1", 1.0).await.1.unwrap();
    drop(alice);
    relay.end();
    println!("{} acknowledged writes", acknowledged.len());
}
