//! Many who follow.

use crate::{speaker::Speaker, wire::relay};
use dig_gun::{message::Body, relay::Limits};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_hears_of_every_change_once_and_in_order() {
    const FOLLOWERS: usize = 100;
    const CHANGES: u32 = 50;
    let (serving, url) = relay(Limits::default()).await;
    let mut writer = Speaker::connect(&url).await;
    let mut followers = JoinSet::new();
    for _ in 0..FOLLOWERS {
        let mut follower = Speaker::connect(&url).await;
        follower.get("news").await;
        followers.spawn(async move {
            for state in 1..=CHANGES {
                let message = follower.change("news", "k").await;
                let Body::Put(nodes) = message.body else {
                    unreachable!()
                };
                let states: Vec<_> = nodes[0]
                    .fields
                    .values()
                    .map(|field| field.state.get())
                    .collect();
                assert_eq!(states, [f64::from(state)]);
            }
        });
    }
    for state in 1..=CHANGES {
        writer
            .put("news", "k", &state.to_string(), f64::from(state))
            .await
            .1
            .unwrap();
    }
    while let Some(follower) = followers.join_next().await {
        follower.unwrap();
    }
    let counters = serving.counters();
    assert_eq!(counters.pushes, FOLLOWERS as u64 * u64::from(CHANGES));
    assert_eq!(counters.closed_slow, 0);
    serving.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_closed_and_the_others_hear_on() {
    let limits = Limits {
        outgoing: 256 << 10,
        ..Limits::default()
    };
    let (serving, url) = relay(limits).await;
    let mut writer = Speaker::connect(&url).await;
    let mut reader = Speaker::connect(&url).await;
    let mut sleeper = Speaker::connect(&url).await;
    reader.get("news").await;
    sleeper.get("news").await;
    let value = format!("\"{}\"", "x".repeat(100_000));
    // More than the buffers of the system and the relay hold together.
    for state in 1..=200 {
        writer
            .put("news", "k", &value, f64::from(state))
            .await
            .1
            .unwrap();
        reader.change("news", "k").await;
        if serving.counters().closed_slow > 0 {
            break;
        }
    }
    assert_eq!(serving.counters().closed_slow, 1);
    while sleeper.next().await.is_some() {}
    writer.put("news", "k", "1", 1000.0).await.1.unwrap();
    reader.change("news", "k").await;
    assert!(serving.counters().outgoing_bytes < 256 << 10);
    serving.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_answers_to_many_questions_come_whole_to_who_reads() {
    let limits = Limits {
        outgoing: 64 << 10,
        ..Limits::default()
    };
    let (serving, url) = relay(limits).await;
    let mut alice = Speaker::connect(&url).await;
    let value = format!("\"{}\"", "x".repeat(200_000));
    for number in 0..10 {
        alice
            .put(&format!("long {number}"), "k", &value, 1.0)
            .await
            .1
            .unwrap();
    }
    let questions = (0..100).map(|number| {
        format!(
            r##"{{"#":"q{number}","get":{{"#":"long {}"}}}}"##,
            number % 10
        )
    });
    alice
        .say(format!("[{}]", questions.collect::<Vec<_>>().join(",")))
        .await;
    for _ in 0..100 {
        let answer = alice.until(|message| {
            message
                .answers
                .as_ref()
                .is_some_and(|id| id.as_str().starts_with('q'))
        });
        assert!(matches!(answer.await.body, Body::Put(_)));
    }
    assert_eq!(serving.counters().closed_slow, 0);
    serving.shutdown().await;
}
