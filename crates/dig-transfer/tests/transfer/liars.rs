//! Sources that lie, each in its own way: they are named, nothing false is written, an honest source finishes the job.

use crate::world::{Content, Node, config, fetch_from, file, folder};
use bytes::Bytes;
use dig_transfer::{
    chunk::Digest,
    fetch::FetchError,
    wire::{Info, Message, kind},
};
use dig_types::{ContentKind, Frame};
use std::time::{Duration, Instant};

/// Rewrites messages of the types that a lie is about.
fn lying(
    number: u8,
    content: &Content,
    lie: impl Fn(Message) -> Message + Send + Sync + 'static,
) -> Node {
    Node::new(number)
        .with(&content.store)
        .tampering(move |frame| {
            let request = frame.request;
            match Message::from_frame(frame.clone()) {
                Ok(Some(message)) => Some(lie(message).into_frame(request)),
                _ => Some(frame),
            }
        })
}

fn about_info(
    lie: impl Fn(&mut Info) + Send + Sync + 'static,
) -> impl Fn(Message) -> Message + Send + Sync + 'static {
    move |mut message| {
        if let Message::Info(info) = &mut message {
            lie(info);
        }
        message
    }
}

/// Alone, the liar is named as the cause; beside an honest source it is banned and the content arrives.
async fn is_caught(
    content: &Content,
    lie: impl Fn(Message) -> Message + Send + Sync + Clone + 'static,
    says: &str,
) {
    let liar = lying(1, content, lie.clone());
    let start = Instant::now();
    let mut short = config();
    short.patience = Some(Duration::from_millis(600));
    let alone = fetch_from(content, short, &[&liar]).await;
    match &alone.result {
        Err(FetchError::Verification { node, reason }) => {
            assert!(*node == liar.id && reason.contains(says), "{reason}");
        }
        other => panic!("{says}: {other:?}"),
    }
    assert!(!alone.content.is_committed() && start.elapsed() < Duration::from_secs(3));

    let honest = Node::new(2).with(&content.store);
    let both = fetch_from(content, config(), &[&liar, &honest]).await;
    both.assert_is(content);
    // The liar comes first, so it is always asked for something.
    assert_eq!(
        both.banned().first().map(|(node, _)| *node),
        Some(liar.id),
        "{says}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lies_about_what_the_content_is() {
    let content = file(21, 3 << 20);
    is_caught(
        &content,
        |message| about_info(|info| info.header.size += 1)(message),
        "hash",
    )
    .await;
    is_caught(
        &content,
        |message| about_info(|info| info.header.root = Digest([3; 32]))(message),
        "hash",
    )
    .await;
    is_caught(
        &content,
        |message| about_info(|info| info.header.chunks = u64::MAX)(message),
        "chunks",
    )
    .await;
    is_caught(
        &content,
        |message| about_info(|info| info.header.table_len = 5)(message),
        "chunks",
    )
    .await;
    is_caught(
        &content,
        |message| about_info(|info| info.header.kind = ContentKind::Folder)(message),
        "hash",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lies_about_a_folder() {
    let content = folder(22, &[3 << 20, 100, 70_000]);
    is_caught(
        &content,
        |message| about_info(|info| info.header.chunks += 16)(message),
        "",
    )
    .await;
    is_caught(
        &content,
        |message| about_info(|info| info.header.chunks = 1 << 62)(message),
        "chunks",
    )
    .await;
    is_caught(
        &content,
        |message| about_info(|info| info.header.kind = ContentKind::File)(message),
        "hash",
    )
    .await;
    is_caught(
        &content,
        |message| about_info(|info| info.header.table_len += 1)(message),
        "hash",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lies_about_the_manifest() {
    let content = file(23, 40 << 20);
    let flip = |message| match message {
        Message::Manifest { first, mut nodes } => {
            nodes[1].0[0] ^= 1;
            Message::Manifest { first, nodes }
        }
        other => other,
    };
    is_caught(&content, flip, "manifest").await;
    let gap = |message| match message {
        Message::Manifest { first, nodes } => Message::Manifest {
            first: first + 1,
            nodes,
        },
        other => other,
    };
    is_caught(&content, gap, "manifest").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lies_about_entries_or_data() {
    let content = file(24, 5 << 20);
    let entries = |message| match message {
        Message::Entries { mut entries, path } => {
            entries[0].0[5] ^= 1;
            Message::Entries { entries, path }
        }
        other => other,
    };
    is_caught(&content, entries, "entries").await;
    let longer = |message| match message {
        Message::Entries { mut entries, path } => {
            entries.pop();
            Message::Entries { entries, path }
        }
        other => other,
    };
    is_caught(&content, longer, "entries").await;
    let short = |message| match message {
        Message::Data(bytes) => Message::Data(bytes.slice(1..)),
        other => other,
    };
    is_caught(&content, short, "length").await;
    let false_data = |message| match message {
        Message::Data(bytes) => Message::Data(Bytes::from(vec![0; bytes.len()])),
        other => other,
    };
    is_caught(&content, false_data, "false").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bit_anywhere_names_the_culprit() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let content = file(25, 1 << 20);
    for round in 0..30 {
        let offset = random.usize(0..1 << 20);
        let at = std::sync::atomic::AtomicUsize::new(0);
        let liar = Node::new(1).with(&content.store).tampering(move |frame| {
            if frame.kind != kind::DATA {
                return Some(frame);
            }
            let start = at.fetch_add(frame.payload.len(), std::sync::atomic::Ordering::Relaxed);
            let mut bytes = frame.payload.to_vec();
            if let Some(byte) = offset.checked_sub(start).and_then(|at| bytes.get_mut(at)) {
                *byte ^= 1;
            }
            Some(Frame::new(frame.kind, frame.request, bytes.into()))
        });
        let honest = Node::new(2).with(&content.store);
        let fetched = fetch_from(&content, config(), &[&liar, &honest]).await;
        fetched.assert_is(&content);
        let expected = format!("chunk {} is false", offset / 65_536);
        assert_eq!(
            fetched.banned(),
            [(liar.id, expected)],
            "seed {seed}, round {round}"
        );
        let done = fetched.result.unwrap();
        assert!(done.wasted <= 16 * 65_536, "{} bytes in vain", done.wasted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_polluters_beside_one_honest_source() {
    let content = file(26, 64 << 20);
    let liars: Vec<Node> = (1..10)
        .map(|number| {
            lying(number, &content, |message| match message {
                Message::Data(bytes) => Message::Data(Bytes::from(vec![1; bytes.len()])),
                other => other,
            })
        })
        .collect();
    let honest = Node::new(10).with(&content.store);
    let nodes: Vec<&Node> = liars.iter().chain([&honest]).collect();
    let fetched = fetch_from(&content, config(), &nodes).await;
    fetched.assert_is(&content);
    let done = fetched.result.unwrap();
    assert!(
        done.wasted <= 9 * 192 * 1024 + (64 << 20) / 100 + (1 << 20),
        "{} bytes in vain",
        done.wasted
    );
    assert!(fetched_banned_only(&nodes[..9], &done.sources));
}

fn fetched_banned_only(liars: &[&Node], sources: &[(dig_types::NodeId, u64)]) -> bool {
    sources
        .iter()
        .all(|(node, _)| liars.iter().all(|liar| liar.id != *node))
}
