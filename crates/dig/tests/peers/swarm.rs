//! Several hosts share the work. Their rates come from their own limits, so it is the distribution that is measured, not the machine.

use crate::{
    content::{Content, Part},
    getter::{Fetched, Getter},
    peer::Peer,
};
use dig::{
    DownloadEvent,
    transfer::wire::kind,
    types::{PeerRecord, PeerSource},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

const MB: u64 = 1_000_000;
/// No pause may be longer, whatever becomes of the hosts.
const STALL: Duration = Duration::from_secs(5);

/// Seconds that the hosts need at least, if none of them ever waits.
fn ideal(content: &Content, rates: &[u64]) -> f64 {
    content.bytes.len() as f64 / rates.iter().sum::<u64>() as f64
}

/// What a download took, in units of the ideal.
fn against(ideal: f64, what: &str, fetched: &Fetched) -> f64 {
    let (took, stall) = (
        fetched.done().elapsed.as_secs_f64(),
        fetched.longest_stall(),
    );
    println!(
        "{what}: {took:.2} s, ideal {ideal:.2} s, ratio {:.3}, longest stall {stall:?}",
        took / ideal
    );
    took / ideal
}

/// Each group is on three of four hosts. None of them alone could give more than three quarters of the bytes, so the best plan is to
/// keep all of them busy to the end.
#[tokio::test(flavor = "multi_thread")]
async fn four_hosts_with_a_part_each_add_up() {
    let (content, rates) = (
        Content::noise(63_000_000),
        [3 * MB / 2, 2 * MB, 3 * MB, 4 * MB],
    );
    let hosts: Vec<Peer> = (0..)
        .zip(rates)
        .map(|(number, rate)| {
            Peer::limited(&Part::of(&content.store, |group| group % 4 != number), rate)
        })
        .collect();
    let getter = Getter::start().await;
    let fetched = getter
        .get(content.hash, &hosts.iter().collect::<Vec<_>>())
        .await;
    let ratio = against(ideal(&content, &rates), "four parts", &fetched);
    getter.assert_got(&content.bytes);
    assert!(fetched.banned().is_empty(), "{:?}", fetched.banned());
    let sent: u64 = hosts
        .iter()
        .map(|host| host.server.statistics().bytes)
        .sum();
    println!("{sent} bytes sent for {}", content.bytes.len());
    assert!(ratio <= 1.1, "{ratio}");
    getter.stop().await;
}

/// Of four hosts one vanishes without a word and one begins to send garbage.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_and_a_false_one_cost_little() {
    let (content, rate) = (Content::noise(36_000_000), 3 * MB);
    let honest = [
        Peer::limited(&content.store, rate),
        Peer::limited(&content.store, rate),
    ];
    let mut killed = Peer::limited(&content.store, rate);
    let sent = AtomicU32::new(0);
    let garbage = Arc::new(move |mut frame: dig::types::Frame| {
        if frame.kind == kind::DATA && sent.fetch_add(1, Ordering::Relaxed) >= 40 {
            frame.payload = vec![0x55; frame.payload.len()].into();
        }
        Some(frame)
    });
    let liar = Peer::start(&content.store, Some(rate), garbage);
    let records = [&honest[0], &honest[1], &killed, &liar].map(Peer::record);
    let getter = Getter::start().await;
    let fetched = getter
        .get_with(content.hash, &records, |event| {
            if matches!(event, DownloadEvent::Progress(progress) if progress.bytes > 8 * MB) {
                killed.kill();
            }
        })
        .await;
    let best = ideal(&content, &[rate, rate]);
    let ratio = against(best, "one killed, one false", &fetched);
    getter.assert_got(&content.bytes);
    let banned: Vec<_> = fetched.banned().into_iter().map(|(node, _)| node).collect();
    assert_eq!(banned, [liar.node]);
    assert!(ratio <= 1.1, "{ratio}");
    assert!(fetched.longest_stall() < STALL);
    getter.stop().await;
}

/// A host goes on greeting and never sends another chunk: its requests must not be waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_falls_silent_is_not_waited_for() {
    let (content, rate) = (Content::noise(24_000_000), 2 * MB);
    let honest = [
        Peer::limited(&content.store, rate),
        Peer::limited(&content.store, rate),
    ];
    let silent = Arc::new(AtomicBool::new(false));
    let (falls, is) = (silent.clone(), silent);
    let quiet = Arc::new(move |frame| (!is.load(Ordering::Relaxed)).then_some(frame));
    let hole = Peer::start(&content.store, Some(rate), quiet);
    let records = [&honest[0], &honest[1], &hole].map(Peer::record);
    let getter = Getter::start().await;
    let fetched = getter
        .get_with(content.hash, &records, |event| {
            if matches!(event, DownloadEvent::Progress(progress) if progress.bytes > 6 * MB) {
                falls.store(true, Ordering::Relaxed);
            }
        })
        .await;
    let ratio = against(ideal(&content, &[rate, rate]), "one silent", &fetched);
    getter.assert_got(&content.bytes);
    assert!(
        fetched.banned().is_empty(),
        "silence is no lie: {:?}",
        fetched.banned()
    );
    assert!(ratio <= 1.1, "{ratio}");
    assert!(fetched.longest_stall() < STALL);
    getter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_at_50_kilobytes_costs_nothing_beside_fast_ones() {
    let (content, rate) = (Content::noise(60_000_000), 4 * MB);
    // The slow one is named first, so it is asked for the beginning.
    let slow = Peer::limited(&content.store, 50_000);
    let fast: Vec<Peer> = (0..3)
        .map(|_| Peer::limited(&content.store, rate))
        .collect();
    let getter = Getter::start().await;
    let hosts: Vec<&Peer> = std::iter::once(&slow).chain(&fast).collect();
    let fetched = getter.get(content.hash, &hosts).await;
    let ratio = against(
        ideal(&content, &[rate; 3]),
        "50 KB/s beside three fast ones",
        &fetched,
    );
    getter.assert_got(&content.bytes);
    assert!(ratio < 1.05, "{ratio}");
    getter.stop().await;
}

/// Who is still downloading serves: a second getter takes from the first what the first has.
#[tokio::test(flavor = "multi_thread")]
async fn a_getter_serves_another_one_meanwhile() {
    let (content, rate) = (Content::noise(20_000_000), 4 * MB);
    let origin = Peer::limited(&content.store, rate);
    let (first, second) = (Getter::start().await, Getter::start().await);
    let addr = format!("127.0.0.1:{}", first.node.port()).parse().unwrap();
    let first_record = PeerRecord {
        node: Some(first.node.id()),
        addrs: vec![addr],
        mapped: Vec::new(),
        via: Vec::new(),
        relays: Vec::new(),
        source: PeerSource::Explicit,
    };
    let (half, at_half) = tokio::sync::oneshot::channel();
    let mut half = Some(half);
    let origin_only = [origin.record()];
    let one = first.get_with(content.hash, &origin_only, |event| {
        if matches!(event, DownloadEvent::Progress(progress) if progress.bytes > 8 * MB)
            && let Some(half) = half.take()
        {
            let _ = half.send(());
        }
    });
    let both = [first_record, origin.record()];
    let two = async {
        at_half.await.unwrap();
        second.get_with(content.hash, &both, |_| {}).await
    };
    let (one, two) = futures::future::join(one, two).await;
    first.assert_got(&content.bytes);
    second.assert_got(&content.bytes);
    let size = content.bytes.len() as u64;
    let sent = origin.server.statistics().bytes;
    let (first_took, second_took) = (one.done().elapsed, two.done().elapsed);
    println!("origin sent {sent} for two of {size}; {first_took:?}, then {second_took:?}");
    assert!(
        sent < size + size / 2,
        "most of the second came from the origin: {sent} of {}",
        2 * size
    );
    // The origin alone, shared with the first, would take 8 s: 12 MB at half its rate, then 8 MB at all of it.
    let alone = Duration::from_secs(8);
    assert!(
        second_took < alone.mul_f64(0.8),
        "{second_took:?}, where the origin alone takes {alone:?}"
    );
    first.stop().await;
    second.stop().await;
}
