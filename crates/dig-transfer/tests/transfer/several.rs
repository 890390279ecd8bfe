//! One fetch, several sources, of which some are slow, partial, or go away.

use crate::world::{Content, Fetched, Node, Part, TOO_LONG, config, fetch_from, file, finish};
use dig_transfer::{
    fetch::{self, Fetch, FetchError, FetchEvent},
    serve::ServeEvent,
    sink::MemorySink,
    wire::kind,
};
use futures::StreamExt as _;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

const MB: u64 = 1_000_000;

/// Seconds that the fetch took, in units of what the sources could do together.
fn against_ideal(seconds: f64, len: usize, rates: &[u64]) -> f64 {
    let ideal = len as f64 / rates.iter().sum::<u64>() as f64;
    println!("{seconds:.2} s, ideal {ideal:.2} s");
    seconds / ideal
}

#[tokio::test(flavor = "multi_thread")]
async fn four_limited_partial_sources_add_up() {
    let (content, rates) = (file(11, 60 << 20), [4 * MB, 6 * MB, 8 * MB, 12 * MB]);
    let nodes: Vec<Node> = (0..4_u8)
        .zip(rates)
        .map(|(number, rate)| {
            let part = Part::of(&content.store, move |group| group % 4 != u64::from(number));
            Node::limited(number, Some(rate)).with(&part)
        })
        .collect();
    let fetched = fetch_from(&content, config(), &nodes.iter().collect::<Vec<_>>()).await;
    fetched.assert_is(&content);
    let done = fetched.result.unwrap();
    let ratio = against_ideal(done.elapsed.as_secs_f64(), 60 << 20, &rates);
    assert!(ratio < 1.1, "{ratio}");
    assert!(done.wasted < 3 << 20, "{} bytes came twice", done.wasted);
    assert_eq!(done.sources.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_source_and_a_false_one_cost_little() {
    let (content, rates) = (file(12, 48 << 20), [8 * MB, 8 * MB]);
    let honest = [1, 2].map(|number| Node::limited(number, Some(8 * MB)).with(&content.store));
    let killed = Node::limited(3, Some(8 * MB)).with(&content.store);
    let sent = AtomicU32::new(0);
    let liar = Node::limited(4, Some(8 * MB))
        .with(&content.store)
        .tampering(move |mut frame| {
            if frame.kind == kind::DATA && sent.fetch_add(1, Ordering::Relaxed) > 100 {
                let mut bytes = frame.payload.to_vec();
                bytes[77] ^= 4;
                frame.payload = bytes.into();
            }
            Some(frame)
        });
    let (client, sink) = (Node::new(100), MemorySink::new());
    let memory = sink.content();
    let fetch = Fetch::start(content.hash, config(), fetch::to(sink));
    for node in honest.iter().chain([&liar]) {
        fetch.add_link(node.connect(&client));
    }
    let (link, _) = killed.link(&client);
    fetch.add_link(link.clone());
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(800)).await;
        link.close(0, "killed");
    });
    let fetched = finish(fetch, memory).await;
    fetched.assert_is(&content);
    let banned = fetched.banned();
    assert_eq!(
        banned.iter().map(|(node, _)| *node).collect::<Vec<_>>(),
        [liar.id],
        "{banned:?}"
    );
    let done = fetched.result.unwrap();
    assert!(
        done.sources
            .iter()
            .any(|(node, bytes)| *node == liar.id && *bytes >= 50 * 65_536)
    );
    let ratio = against_ideal(done.elapsed.as_secs_f64(), 48 << 20, &rates);
    assert!(ratio < 1.1, "{ratio}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_source_costs_nothing() {
    let content = file(13, 60 << 20);
    let rates = [15 * MB, 15 * MB];
    // The slow one is first, so it is asked for the beginning.
    let slow = Node::limited(1, Some(50_000)).with(&content.store);
    let fast = [2, 3].map(|number| Node::limited(number, Some(15 * MB)).with(&content.store));
    let fetched = fetch_from(&content, config(), &[&slow, &fast[0], &fast[1]]).await;
    fetched.assert_is(&content);
    let ratio = against_ideal(
        fetched.result.unwrap().elapsed.as_secs_f64(),
        60 << 20,
        &rates,
    );
    assert!(ratio < 1.05, "{ratio}");
}

/// Fetches, and withdraws the content from the first source when 5 MiB are here.
async fn withdraw_midway(content: &Content, nodes: &[&Node]) -> Fetched {
    let (client, sink) = (Node::new(100), MemorySink::new());
    let memory = sink.content();
    let fetch = Fetch::start(content.hash, config(), fetch::to(sink));
    for node in nodes {
        fetch.add_link(node.connect(&client));
    }
    let mut events = fetch.events();
    while let Some(event) = events.next().await {
        if matches!(event, FetchEvent::Progress(progress) if progress.bytes > 5 << 20) {
            break;
        }
    }
    assert!(nodes[0].server.withdraw(&content.hash));
    let mut lost = false;
    while let Some(event) = events.next().await {
        match event {
            FetchEvent::LinkLost { .. } => lost = true,
            FetchEvent::NoPeers { .. } => fetch.give_up(),
            FetchEvent::Banned { node, reason } => panic!("{node} banned: {reason}"),
            _ => {}
        }
    }
    assert!(lost);
    finish(fetch, memory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_content_comes_from_others() {
    let content = file(14, 30 << 20);
    let nodes = [1, 2].map(|number| Node::limited(number, Some(20 * MB)).with(&content.store));
    let end = withdraw_midway(&content, &[&nodes[0], &nodes[1]]).await;
    end.assert_is(&content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_content_that_nobody_else_has_has_changed() {
    let content = file(15, 30 << 20);
    let node = Node::limited(1, Some(20 * MB)).with(&content.store);
    let end = withdraw_midway(&content, &[&node]).await;
    assert!(
        matches!(end.result, Err(FetchError::Changed)),
        "{:?}",
        end.result
    );
    assert!(!end.content.is_committed());
    // Whoever asks later is told so too.
    let later = fetch_from(&content, quick(), &[&node]).await;
    assert!(
        matches!(later.result, Err(FetchError::Changed)),
        "{:?}",
        later.result
    );
}

fn quick() -> fetch::FetchConfig {
    let mut quick = config();
    quick.patience = Some(Duration::from_millis(500));
    quick
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_edited_is_withdrawn_and_never_mixed() {
    let content = file(16, 30 << 20);
    let node = Node::limited(1, Some(20 * MB)).with(&content.store);
    let mut served = node.server.events();
    let (client, sink) = (Node::new(100), MemorySink::new());
    let memory = sink.content();
    let fetch = Fetch::start(content.hash, config(), fetch::to(sink));
    fetch.add_link(node.connect(&client));
    let mut events = fetch.events();
    while let Some(event) = events.next().await {
        if matches!(event, FetchEvent::Progress(progress) if progress.bytes > 5 << 20) {
            break;
        }
    }
    std::fs::write(
        content.dir.path().join("file.bin"),
        crate::world::random_bytes(1, 30 << 20),
    )
    .unwrap();
    let withdrawn = async {
        while let Some(event) = served.next().await {
            if event == (ServeEvent::Withdrawn { hash: content.hash }) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), withdrawn)
        .await
        .unwrap();
    // The host knows it before the getter does.
    let heard = async {
        while let Some(event) = events.next().await {
            if matches!(event, FetchEvent::NoPeers { .. }) {
                return;
            }
        }
    };
    tokio::time::timeout(TOO_LONG, heard).await.unwrap();
    fetch.give_up();
    let fetched = finish(fetch, memory).await;
    assert!(
        matches!(fetched.result, Err(FetchError::Changed)),
        "{:?}",
        fetched.result
    );
    assert!(fetched.banned().is_empty() && !fetched.content.is_committed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_still_fetching_serves_others() {
    let content = file(17, 24 << 20);
    let origin = Node::limited(1, Some(8 * MB)).with(&content.store);
    let (first, second) = (Node::new(2), Node::new(3));
    let sink = MemorySink::new();
    let memory = sink.content();
    let one = Fetch::start(content.hash, config(), fetch::to(sink));
    one.add_link(origin.connect(&first));
    let store = tokio::time::timeout(TOO_LONG, one.served())
        .await
        .unwrap()
        .unwrap();
    first.server.add(store);
    let sink = MemorySink::new();
    let theirs = sink.content();
    let two = Fetch::start(content.hash, config(), fetch::to(sink));
    two.add_link(first.connect(&second));
    let (one, two) = futures::join!(finish(one, memory), finish(two, theirs));
    one.assert_is(&content);
    two.assert_is(&content);
    assert_eq!(origin.server.statistics().bytes, 24 << 20);
    let lag = two
        .result
        .unwrap()
        .elapsed
        .saturating_sub(one.result.unwrap().elapsed);
    assert!(lag < Duration::from_secs(1), "{lag:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_limit_holds() {
    let content = file(18, 12 << 20);
    let source = Node::new(1).with(&content.store);
    let mut limited = config();
    limited.limit = Some(6 << 20);
    let start = Instant::now();
    fetch_from(&content, limited, &[&source])
        .await
        .assert_is(&content);
    let seconds = start.elapsed().as_secs_f64();
    assert!((1.6..2.6).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_who_fetches() {
    let content = file(19, 3 << 20);
    let source = Node::limited(1, Some(3 * MB)).with(&content.store);
    let mut events = source.server.events();
    fetch_from(&content, config(), &[&source])
        .await
        .assert_is(&content);
    let node = crate::world::id(100);
    let (mut told, mut delivered) = (0, false);
    let end = async {
        while let Some(event) = events.next().await {
            match event {
                ServeEvent::Started { node: who, .. } => assert_eq!((who, told), (node, 0)),
                ServeEvent::Progress { bytes, .. } => {
                    assert!(bytes > told);
                    told = bytes;
                }
                ServeEvent::Delivered { node: who, .. } => delivered = who == node,
                ServeEvent::Ended { bytes, .. } => return bytes,
                other => panic!("{other:?}"),
            }
        }
        0
    };
    assert_eq!(tokio::time::timeout(TOO_LONG, end).await.unwrap(), 3 << 20);
    assert!(delivered && told > 0);
}
