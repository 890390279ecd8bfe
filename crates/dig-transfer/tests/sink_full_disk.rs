//! A file sink on disks that are full or read-only: small file systems of its own, in a private mount namespace.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: its helpers fail it, and a skip is said"
)]

use bytes::Bytes;
use dig_transfer::{
    chunk::{CHUNK_LEN, Digest},
    hashing::hasher,
    layout::Layout,
    sink::{ContentSink as _, FileSink, SinkError, Target},
    tree::root_of_entries,
};
use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

/// Set where the test runs in its own namespace.
const INSIDE: &str = "DIG_SINK_MOUNTS";

/// Runs a test of this file in a mount namespace of its own; `false` if this is already the inside of it, and the
/// test is to run here.
fn runs_in_namespace(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return false;
    }
    let may = Command::new("unshare")
        .args(["-m", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !may {
        assert_ne!(
            env::var("CI").as_deref(),
            Ok("true"),
            "needs the right to mount"
        );
        println!("SKIP {test}: mounting needs root and unshare");
        return true;
    }
    let own = env::current_exe().unwrap();
    let mut inside = Command::new("unshare");
    inside
        .args(["-m", "--propagation", "private", "--"])
        .arg(own);
    inside
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1");
    assert!(
        inside.status().unwrap().success(),
        "{test} failed inside its namespace"
    );
    true
}

fn mount(options: &str, at: &Path) {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
    assert!(mount.status().unwrap().success());
}

struct Content {
    layout: Arc<Layout>,
    root: Digest,
    chunks: Vec<Bytes>,
}

fn content(chunks: usize) -> Content {
    let mut rng = fastrand::Rng::with_seed(7);
    let chunk = |_| {
        let mut bytes = vec![0; CHUNK_LEN];
        rng.fill(&mut bytes);
        Bytes::from(bytes)
    };
    let chunks: Vec<Bytes> = (0..chunks).map(chunk).collect();
    let slices: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk[..]).collect();
    let mut entries = Vec::new();
    hasher().hash(&slices, &mut entries);
    let layout = Arc::new(Layout::file((chunks.len() * CHUNK_LEN) as u64));
    Content {
        layout,
        root: root_of_entries(&entries),
        chunks,
    }
}

#[test]
fn a_disk_that_is_full_keeps_what_is_there() {
    if runs_in_namespace("a_disk_that_is_full_keeps_what_is_there") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    mount("size=1m", temp.path());
    let target = || Target::new(temp.path().join("it"));

    let large = content(32);
    let header = large.layout.header(large.root);
    let mut sink = FileSink::new(target(), header.hash());
    let refused = sink.open(&header, &large.layout, None);
    let Err(SinkError::NoSpace { needed, free, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(needed >= 2 << 20 && free <= 1 << 20, "{needed} {free}");
    drop(sink);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);

    // Room for all of it at first, taken by somebody else on the way.
    let small = content(14);
    let header = small.layout.header(small.root);
    let mut sink = FileSink::new(target(), header.hash());
    sink.open(&header, &small.layout, None).unwrap();
    sink.write(0, &small.chunks[..4]).unwrap();
    let _ = fs::write(temp.path().join("other"), vec![1; 600_000]);
    let mut written = 4;
    let full = loop {
        match sink.write(written as u64, &small.chunks[written..=written]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    let SinkError::NoSpace { needed, .. } = full else {
        panic!("{full:?}")
    };
    assert_eq!(needed, ((14 - written) * CHUNK_LEN) as u64);
    assert!(sink.commit().is_err() && !temp.path().join("it").exists());
    // The same sink can go on, and so can the next.
    fs::remove_file(temp.path().join("other")).unwrap();
    sink.write(written as u64, &small.chunks[written..=written])
        .unwrap();
    sink.sync().unwrap();
    drop(sink);
    let mut sink = FileSink::new(target(), header.hash());
    let resumed = sink.open(&header, &small.layout, None).unwrap();
    assert!(
        resumed.chunks.iter().eq(0..=written as u64),
        "{:?}",
        resumed.chunks
    );
    sink.write(written as u64 + 1, &small.chunks[written + 1..])
        .unwrap();
    sink.commit().unwrap();
    assert!(fs::read(temp.path().join("it")).unwrap() == small.chunks.concat());
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn a_disk_that_is_read_only_is_refused() {
    if runs_in_namespace("a_disk_that_is_read_only_is_refused") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    mount("size=1m,ro", temp.path());
    let content = content(1);
    let header = content.layout.header(content.root);
    let mut sink = FileSink::new(Target::new(temp.path().join("it")), header.hash());
    let refused = sink.open(&header, &content.layout, None).unwrap_err();
    assert!(matches!(&refused, SinkError::Io { .. }), "{refused:?}");
    assert!(refused.to_string().contains("ead-only"), "{refused}");
}
