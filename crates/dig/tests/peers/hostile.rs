//! Hosts that lie to a whole node, each in its own way: the liar is named at once, nothing gets its final name, nothing is
//! written beside the target, and an honest host makes good what the liar spoilt.

use crate::{
    content::{Content, Forged, Record},
    getter::{Fetched, Getter, builder},
    peer::{Peer, Tamper},
};
use bytes::Bytes;
use dig::{
    DownloadErrorKind, DownloadEvent, ShareOptions,
    transfer::{
        chunk::Digest,
        header::ContentHeader,
        store::ContentStore,
        wire::{Message, kind},
    },
    types::{ContentKind, Frame, PeerRecord, PeerSource, Timestamp, VirtualClock},
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

/// A liar without company is seen through in a moment, well before patience with a silent host would end (30 s).
const AT_ONCE: Duration = Duration::from_secs(5);

/// Changes messages on their way out.
fn rewriting(lie: impl Fn(Message) -> Message + Send + Sync + 'static) -> Tamper {
    Arc::new(move |frame| {
        let request = frame.request;
        match Message::from_frame(frame.clone()) {
            Ok(Some(message)) => Some(lie(message).into_frame(request)),
            _ => Some(frame),
        }
    })
}

fn about_header(lie: impl Fn(&mut ContentHeader) + Send + Sync + 'static) -> Tamper {
    rewriting(move |mut message| {
        if let Message::Info(info) = &mut message {
            lie(&mut info.header);
        }
        message
    })
}

/// Data is changed from the given chunk on, counted on all lanes together.
fn about_data(from: u32, lie: impl Fn(&Bytes) -> Bytes + Send + Sync + 'static) -> Tamper {
    let sent = AtomicU32::new(0);
    rewriting(move |message| match message {
        Message::Data(bytes) if sent.fetch_add(1, Ordering::Relaxed) >= from => {
            Message::Data(lie(&bytes))
        }
        other => other,
    })
}

/// Alone, the liar is the end of the download; beside an honest host it is only named.
async fn is_seen_through(content: &Content, what: &str, tamper: Tamper) {
    let getter = Getter::start().await;
    let liar = Peer::start(&content.store, None, tamper.clone());
    let alone = getter.get(content.hash, &[&liar]).await;
    let said = alone.failure(DownloadErrorKind::Verification, what);
    assert!(said.contains(&liar.node.to_string()), "{what}: who? {said}");
    assert_eq!(
        alone.banned().first().map(|(node, _)| *node),
        Some(liar.node),
        "{what}: {:?}",
        alone.events
    );
    assert!(
        alone.elapsed < AT_ONCE,
        "{what}: seen through after {:?}",
        alone.elapsed
    );
    getter.assert_nothing_released(what);

    // The same target, which may have a part of an earlier run. The honest one is slow, so that the liar is asked too.
    let liar = Peer::start(&content.store, None, tamper);
    let honest = Peer::limited(&content.store, 8_000_000);
    let both = getter.get(content.hash, &[&liar, &honest]).await;
    both.done();
    getter.assert_got(&content.bytes);
    assert!(
        both.banned().iter().all(|(node, _)| *node == liar.node),
        "{what}: {:?}",
        both.banned()
    );
    getter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn false_descriptions() {
    let content = Content::noise(3 << 20);
    is_seen_through(&content, "size", about_header(|header| header.size += 1)).await;
    is_seen_through(
        &content,
        "count",
        about_header(|header| header.chunks = u64::MAX),
    )
    .await;
    is_seen_through(
        &content,
        "kind",
        about_header(|header| header.kind = ContentKind::Folder),
    )
    .await;
    is_seen_through(
        &content,
        "root",
        about_header(|header| header.root = Digest([7; 32])),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn false_proofs() {
    let content = Content::noise(6 << 20);
    let nodes = rewriting(|message| match message {
        Message::Manifest { first, mut nodes } => {
            nodes[3].0[31] ^= 1;
            Message::Manifest { first, nodes }
        }
        other => other,
    });
    is_seen_through(&content, "manifest", nodes).await;
    let entries = rewriting(|message| match message {
        Message::Entries { mut entries, path } => {
            entries.swap(0, 1);
            Message::Entries { entries, path }
        }
        other => other,
    });
    is_seen_through(&content, "entries", entries).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn false_data() {
    let content = Content::noise(6 << 20);
    let last_byte = |bytes: &Bytes| {
        let mut bytes = bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 0x80;
        bytes.into()
    };
    is_seen_through(
        &content,
        "a bit in the first chunk",
        about_data(0, last_byte),
    )
    .await;
    is_seen_through(&content, "a bit in the middle", about_data(40, last_byte)).await;
    is_seen_through(
        &content,
        "short data",
        about_data(20, |bytes| bytes.slice(1..)),
    )
    .await;
}

/// What is no message at all ends the lane; the host that sends it counts as broken, and gets no second chance for ever.
#[tokio::test(flavor = "multi_thread")]
async fn broken_frames() {
    let content = Content::noise(3 << 20);
    let twice = |frame: Frame| {
        Some(if frame.kind == kind::DATA {
            Frame {
                request: 4_000_000,
                ..frame
            }
        } else {
            frame
        })
    };
    let cut = |frame: Frame| {
        let payload = frame.payload.slice(..frame.payload.len() / 2);
        Some(if frame.kind == kind::INFO {
            Frame { payload, ..frame }
        } else {
            frame
        })
    };
    let empty = |frame: Frame| {
        Some(if frame.kind == kind::DATA {
            Frame {
                payload: Bytes::new(),
                ..frame
            }
        } else {
            frame
        })
    };
    let tampers: [(&str, Tamper); 3] = [
        ("data nobody asked for", Arc::new(twice)),
        ("half an INFO", Arc::new(cut)),
        ("empty data", Arc::new(empty)),
    ];
    for (what, tamper) in tampers {
        let getter = Getter::start().await;
        let broken = Peer::start(&content.store, None, tamper);
        let alone = getter.get(content.hash, &[&broken]).await;
        let said = alone.failure(DownloadErrorKind::Verification, what);
        assert!(
            said.contains(&broken.node.to_string()),
            "{what}: who? {said}"
        );
        assert!(alone.elapsed < AT_ONCE, "{what}: after {:?}", alone.elapsed);
        getter.assert_nothing_released(what);
        let honest = Peer::honest(&content.store);
        getter.get(content.hash, &[&broken, &honest]).await.done();
        getter.assert_got(&content.bytes);
        getter.stop().await;
    }
}

/// A folder whose own hash vouches for a table that no host of ours would make: whoever made it is to blame, not who has it.
async fn is_refused(
    what: &str,
    table: &[u8],
    files: &[&[u8]],
    change: impl Fn(&mut ContentHeader),
) {
    let getter = Getter::start().await;
    let folder = Forged::folder(table, files, "folder", change);
    let host = Peer::honest(&(folder.clone() as Arc<dyn ContentStore>));
    let fetched = getter.get(folder.hash(), &[&host]).await;
    fetched.failure(DownloadErrorKind::Verification, what);
    assert!(
        fetched.elapsed < AT_ONCE,
        "{what}: after {:?}",
        fetched.elapsed
    );
    getter.assert_nothing_released(what);
    getter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_in_a_folder() {
    let data: &[u8] = b"#!/bin/sh\necho caught\n";
    let outside = std::env::temp_dir().join(format!("dig-hostile-{}", std::process::id()));
    let long = "n".repeat(300);
    let names: [&[u8]; 15] = [
        b"../escaped",
        b"a/../../escaped",
        outside.to_str().unwrap().as_bytes(),
        b"//escaped",
        b"nul\0byte",
        b"esc\x1b]0;owned\x07",
        b"line\nbreak",
        "c1\u{9b}2J".as_bytes(),
        b"back\\slash",
        b".",
        b"a/./b",
        b"a//b",
        b"",
        b"not utf-8 \xff\xfe",
        long.as_bytes(),
    ];
    for name in names {
        let table = Forged::table(&[Record::file(name, data)]);
        is_refused(
            &format!("{:?}", String::from_utf8_lossy(name)),
            &table,
            &[data],
            |_| {},
        )
        .await;
    }
    assert!(!outside.exists() && !Path::new("/escaped").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_contradict_themselves() {
    let (one, two): (&[u8], &[u8]) = (b"one", b"two!");
    let both = |first: &str, second: &str| {
        Forged::table(&[Record::file(first, one), Record::file(second, two)])
    };
    is_refused("doubled path", &both("a", "a"), &[one, two], |_| {}).await;
    is_refused("unsorted paths", &both("b", "a"), &[one, two], |_| {}).await;
    is_refused(
        "a file that is a folder",
        &both("a", "a/b"),
        &[one, two],
        |_| {},
    )
    .await;
    let good = both("a", "b");
    is_refused(
        "bytes behind the end",
        &[&good[..], b"x"].concat(),
        &[one, two],
        |_| {},
    )
    .await;
    is_refused("cut short", &good[..good.len() - 1], &[one, two], |_| {}).await;
    let mut many = good.clone();
    many[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    is_refused("four billion records", &many, &[one, two], |_| {}).await;
    is_refused("no table", b"digdir2\n\0\0\0\0", &[], |_| {}).await;
    is_refused("a smaller total", &good, &[one, two], |header| {
        header.size -= 1
    })
    .await;
    is_refused("a larger total", &good, &[one, two], |header| {
        header.size += 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_lie_about_their_files() {
    let (one, two): (&[u8], &[u8]) = (b"one", b"two!");
    let changed = |change: fn(&mut Record)| {
        let mut record = Record::file("b", two);
        change(&mut record);
        Forged::table(&[Record::file("a", one), record])
    };
    is_refused(
        "false hash of a file",
        &changed(|record| record.hash[0] ^= 1),
        &[one, two],
        |_| {},
    )
    .await;
    is_refused(
        "false size of a file",
        &changed(|record| record.size = 1 << 40),
        &[one, two],
        |_| {},
    )
    .await;
    is_refused(
        "endless size of a file",
        &changed(|record| record.size = u64::MAX),
        &[one, two],
        |_| {},
    )
    .await;
    is_refused(
        "unknown flags",
        &changed(|record| record.flags = 0x84),
        &[one, two],
        |_| {},
    )
    .await;
    is_refused(
        "a directory with bytes",
        &changed(|record| record.flags = 2),
        &[one, two],
        |_| {},
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_looks_like_a_folder_stays_a_file() {
    // The table of a folder, as a file of its own: what the hash binds says what it is.
    let table = Forged::table(&[Record::file("escaped", b"")]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), &table).unwrap();
    let host = builder(&dir.path().join("home")).start().await.unwrap();
    let share = host
        .share(dir.path().join("file"), ShareOptions::default(), |_, _| {})
        .await
        .unwrap();
    let getter = Getter::start().await;
    let record = record_of(&host);
    getter.get_with(share.hash, &[record], |_| {}).await.done();
    getter.assert_got(&table);
    assert_ne!(share.hash, Forged::folder(&table, &[], "", |_| {}).hash());
    host.stop().await;
    getter.stop().await;
}

/// The host's name for a content is only a hint, and a poor one at times.
#[tokio::test(flavor = "multi_thread")]
async fn the_name_that_a_host_gives_does_not_lead_elsewhere() {
    let bytes: &[u8] = b"bytes";
    let table = Forged::table(&[Record::file("file", bytes)]);
    for name in [
        "../../escaped",
        "/etc/escaped",
        "",
        ".",
        "..",
        "esc\x1b[2J",
        "nul\0",
        &"n".repeat(300),
    ] {
        let folder = Forged::folder(&table, &[bytes], name, |_| {});
        let host = Peer::honest(&(folder.clone() as Arc<dyn ContentStore>));
        let getter = Getter::start().await;
        std::fs::create_dir(getter.target()).unwrap();
        let fetched = getter.get(folder.hash(), &[&host]).await;
        let path = fetched.done().path.clone().unwrap();
        assert_eq!(path.parent(), Some(getter.target().as_path()), "{name:?}");
        assert_eq!(std::fs::read(path.join("file")).unwrap(), bytes, "{name:?}");
        getter.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused() {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let month = Duration::from_secs(40 * 86_400);
    for (then, word) in [(now - month, "expired"), (now + month, "not yet valid")] {
        let clock = Arc::new(VirtualClock::new(Timestamp::from_millis(
            then.as_millis() as u64
        )));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), b"bytes").unwrap();
        let host = builder(&dir.path().join("home"))
            .clock(clock)
            .start()
            .await
            .unwrap();
        let share = host
            .share(dir.path().join("file"), ShareOptions::default(), |_, _| {})
            .await
            .unwrap();
        let getter = Getter::start().await;
        let fetched = getter
            .get_with(share.hash, &[record_of(&host)], |_| {})
            .await;
        let said = fetched.failure(DownloadErrorKind::Connect, word);
        assert!(
            said.contains("certificate is not valid now: check the clocks"),
            "{said}"
        );
        assert!(fetched.elapsed < AT_ONCE, "{:?}", fetched.elapsed);
        getter.assert_nothing_released(word);
        host.stop().await;
        getter.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_who_was_asked_for_gets_no_byte() {
    let content = Content::noise(100_000);
    let (host, other) = (Peer::honest(&content.store), Peer::honest(&content.store));
    let getter = Getter::start().await;
    let record = PeerRecord {
        node: Some(other.node),
        ..host.record()
    };
    let fetched = getter.get_with(content.hash, &[record], |_| {}).await;
    let said = fetched.failure(DownloadErrorKind::Connect, "wrong identity");
    assert!(
        said.contains("identity") || said.contains(&host.node.to_string()),
        "{said}"
    );
    assert!(!was_connected(&fetched) && host.server.statistics().bytes == 0);
    getter.stop().await;
}

fn was_connected(fetched: &Fetched) -> bool {
    fetched
        .events
        .iter()
        .any(|(_, event)| matches!(event, DownloadEvent::Connected { .. }))
}

fn record_of(host: &dig::Node) -> PeerRecord {
    let addr = format!("127.0.0.1:{}", host.port()).parse().unwrap();
    PeerRecord {
        node: Some(host.id()),
        addrs: vec![addr],
        mapped: Vec::new(),
        via: Vec::new(),
        relays: Vec::new(),
        source: PeerSource::Explicit,
    }
}
