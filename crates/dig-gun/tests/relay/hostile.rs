//! What breaks other relays, or would fill them: each does no more than its sender's harm.

use crate::{
    attack::{ELSEWHERE, others_wait_no_longer},
    process::Process,
    speaker::{Speaker, put},
};
use futures::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::{
    io::AsyncWriteExt,
    time::{sleep, timeout},
};
use tokio_tungstenite::tungstenite::Message as Frame;

/// Memory that a relay may take whatever is done to it, in MiB: its limits together, and what allocators waste.
const MEMORY: u64 = 400;

fn relay() -> (tempfile::TempDir, Process) {
    let folder = tempfile::tempdir().unwrap();
    let relay = Process::start(&folder.path().join("gun.redb"), 0);
    (folder, relay)
}

/// Reads and forgets, while something is sent.
async fn pour(url: &str, mut frame: impl FnMut(u64) -> String + Send) {
    let speaker = Speaker::connect(url).await;
    let (mut sink, mut stream) = speaker.socket.split();
    let drain =
        tokio::spawn(
            async move { while stream.next().await.is_some_and(|frame| frame.is_ok()) {} },
        );
    for number in 0.. {
        if sink.send(Frame::text(frame(number))).await.is_err() {
            // Whoever is closed comes again.
            break;
        }
    }
    drain.abort();
}

async fn pour_for_ever(url: String, mut frame: impl FnMut(u64) -> String + Send) {
    loop {
        pour(&url, &mut frame).await;
        sleep(Duration::from_millis(50)).await;
    }
}

fn single_frames() -> Vec<String> {
    let deep =
        |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    vec![
        // The four that end gun.js's relay.
        r##"[{"#":"##.to_owned(),
        r##"{"#":"a\q1","get":{"#":"x"}}"##.to_owned(),
        r##"{"dam":"toString"}"##.to_owned(),
        r##"{"dam":"one"}"##.to_owned(),
        put("k1", "big", "toString", "1", 1.0),
        put("k2", "__proto__", "constructor", "true", 1.0),
        put("k3", "constructor", "__proto__", "null", 1.0),
        put(
            "k4",
            "hasOwnProperty",
            "valueOf",
            "{\"#\":\"__proto__\"}",
            1.0,
        ),
        r##"{"#":"__proto__","get":{"#":"__proto__"}}"##.to_owned(),
        r##"{"dam":"opt","opt":{"peers":"ws://127.0.0.1:1/gun"},"#":"o1"}"##.to_owned(),
        r##"{"dam":{"a":[1]},"#":5,"@":[],"put":7}"##.to_owned(),
        r##"{"#":"w1","put":[1,2]}"##.to_owned(),
        r##"{"#":"w2","put":{"s":null}}"##.to_owned(),
        r##"{"#":"w3","put":{"s":{"_":{"#":"t",">":{"k":1}},"k":1}}}"##.to_owned(),
        r##"{"#":"w4","put":{"s":{"_":{"#":"s",">":{"k":"x"}},"k":1}}}"##.to_owned(),
        r##"{"#":"w5","put":{"s":{"_":{"#":"s",">":{"k":1e999}},"k":1}}}"##.to_owned(),
        r##"{"#":"w6","get":{"#":{"*":7,">":[],"<":{}},"%":1e400,"-":"x"}}"##.to_owned(),
        r##"{"#":"w7","get":null}"##.to_owned(),
        r##"{"#":"w8","put":{"s":{"_":{"#":"s",">":{"k":1}},"k":"\ud83d"}}}"##.to_owned(),
        deep("[", "]"),
        format!("[{}", deep("[", "]")),
        deep(r##"{"put":"##, "}"),
        format!(
            r##"{{"#":"d","put":{{"s":{{"_":{{"#":"s",">":{{"k":1}}}},"k":{}}}}}}}"##,
            deep("{\"a\":", "}")
        ),
        "[".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        " {}".to_owned(),
        "null".to_owned(),
        "\u{0}".to_owned(),
        String::new(),
        format!("[{}]", vec!["{}"; 20_000].join(",")),
        format!(r##"{{"#":"{}","get":{{"#":"x"}}}}"##, "i".repeat(100_000)),
        format!(r##"{{"#":"l","get":{{"#":"{}"}}}}"##, "s".repeat(100_000)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_frames_that_kill_or_confuse_do_nothing() {
    let (_folder, relay) = relay();
    let mut other = Speaker::connect(&relay.url).await;
    let mut hostile = Speaker::connect(&relay.url).await;
    for (number, frame) in single_frames().into_iter().enumerate() {
        let what: String = frame.chars().take(40).collect();
        hostile.say(frame).await;
        let (_, fields) = hostile.get(&format!("after {number}")).await;
        assert!(fields.is_empty(), "{what}");
        other.put("other", "k", "1", 1.0).await.1.unwrap();
    }
    assert_eq!(other.get("big").await.1, ["toString=1"]);
    assert_eq!(other.get("__proto__").await.1, ["constructor=true"]);
    let (_, refused) = hostile.put("s", "k", "1", 32_503_680_000_000.0).await;
    assert!(
        refused.unwrap_err().contains("in the future"),
        "the year 3000"
    );
    assert!(relay.most_memory() < MEMORY, "{} MiB", relay.most_memory());
    relay.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_ten_megabytes_hold_nobody_up() {
    let (_folder, relay) = relay();
    // What is too long, and what is just short enough.
    let too_long = put(
        "x",
        "long",
        "k",
        &format!("\"{}\"", "x".repeat(10 << 20)),
        1.0,
    );
    let long = format!("\"{}\"", "y".repeat(7 << 20));
    others_wait_no_longer("10 MB frames", &relay, |url| {
        let (too_long, long) = (too_long.clone(), long.clone());
        async move {
            let again = url.clone();
            let first = pour_for_ever(url, move |_| too_long.clone());
            let second = pour_for_ever(again, move |number| {
                put("x", "long", "k", &long, number as f64)
            });
            tokio::join!(first, second);
        }
    })
    .await;
    assert!(relay.most_memory() < MEMORY, "{} MiB", relay.most_memory());
    relay.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_souls_of_one_client_hold_nobody_up() {
    let (_folder, relay) = relay();
    others_wait_no_longer("10^6 souls", &relay, |url| {
        pour_for_ever(url, |frame| {
            let souls =
                (0..100).map(|number| put("x", &format!("flood {frame} {number}"), "k", "1", 1.0));
            format!("[{}]", souls.collect::<Vec<_>>().join(","))
        })
    })
    .await;
    assert!(relay.most_memory() < MEMORY, "{} MiB", relay.most_memory());
    relay.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wide_puts_and_garbage_hold_nobody_up() {
    let (_folder, relay) = relay();
    others_wait_no_longer("wide puts and garbage", &relay, |url| async move {
        let again = url.clone();
        let wide = pour_for_ever(url, |number| {
            let keys = 0..40_000;
            let states: Vec<_> = keys
                .clone()
                .map(|key| format!("\"{key}\":{number}"))
                .collect();
            let values: Vec<_> = keys.map(|key| format!("\"{key}\":1")).collect();
            let (states, values) = (states.join(","), values.join(","));
            format!(
                r##"{{"#":"x","put":{{"wide":{{"_":{{"#":"wide",">":{{{states}}}}},{values}}}}}}}"##
            )
        });
        let garbage = pour_for_ever(again, |_| "{\"put\":{\"".repeat(50_000));
        tokio::join!(wide, garbage);
    })
    .await;
    assert!(relay.most_memory() < MEMORY, "{} MiB", relay.most_memory());
    relay.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_much_and_reads_nothing_takes_little() {
    let (_folder, relay) = relay();
    let mut writer = Speaker::connect(&relay.url).await;
    let value = format!("\"{}\"", "x".repeat(4 << 20));
    for number in 0..10 {
        writer
            .put(&format!("long {number}"), "k", &value, 1.0)
            .await
            .1
            .unwrap();
    }
    let mut sleepers = Vec::new();
    for _ in 0..50 {
        let mut sleeper = Speaker::connect(&relay.url).await;
        for number in 0..10 {
            sleeper
                .say(format!(r##"{{"#":"q","get":{{"#":"long {number}"}}}}"##))
                .await;
        }
        sleepers.push(sleeper);
    }
    sleep(Duration::from_secs(3)).await;
    let mut other = Speaker::connect_from(ELSEWHERE, &relay.url).await;
    let (wait, fields) = other.get("nothing").await;
    assert!(
        fields.is_empty() && wait < Duration::from_secs(2),
        "{wait:?}"
    );
    println!("asking without reading: memory {} MiB", relay.most_memory());
    assert!(relay.most_memory() < MEMORY, "{} MiB", relay.most_memory());
    drop(sleepers);
    relay.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_do_not_end_take_little() {
    let (_folder, relay) = relay();
    let mut kept = Vec::new();
    // The header of a frame of 8,000,000 bytes, and then all but its end.
    let mut head = vec![0x81, 0xff];
    head.extend_from_slice(&8_000_000_u64.to_be_bytes());
    head.extend_from_slice(&[0; 4]);
    head.resize(7_000_000, b'x');
    for _ in 0..40 {
        let mut speaker = Speaker::connect(&relay.url).await;
        let tokio_tungstenite::MaybeTlsStream::Plain(stream) = speaker.socket.get_mut() else {
            panic!()
        };
        // It fails where the relay closes it.
        let _ = timeout(Duration::from_secs(5), stream.write_all(&head)).await;
        kept.push(speaker);
    }
    let mut other = Speaker::connect(&relay.url).await;
    other.put("other", "k", "1", 1.0).await.1.unwrap();
    println!("unfinished frames: memory {} MiB", relay.most_memory());
    assert!(
        relay.most_memory() < MEMORY / 2,
        "{} MiB",
        relay.most_memory()
    );
    drop(kept);
    relay.end();
}
