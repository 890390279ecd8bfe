//! A file far larger than memory is shared in little memory. Alone in its process, since it measures that.
#![cfg(test)]
#![cfg(target_os = "linux")]

use dig_transfer::{
    chunk::Run,
    index::{IndexOptions, index_path},
    manifest::verify_group_to_root,
    store::{ContentStore as _, Proof},
};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
};
use tokio_util::sync::CancellationToken;

const LEN: u64 = 64 << 30;
/// What sharing may take of memory.
const MOST_KIB: u64 = 64 * 1024;

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn sixty_four_gib_are_shared_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge");
    let file = File::create_new(&path).unwrap();
    file.set_len(LEN).unwrap();
    file.write_all_at(b"here", LEN / 3).unwrap();
    let options = IndexOptions {
        cache: Some(folder.path().join("cache")),
        ..IndexOptions::default()
    };
    let content = index_path(&path, &options, &|_| {}, &CancellationToken::new()).unwrap();
    let header = content.header();
    for group in [0, (LEN / 3) >> 20, content.layout().groups() - 1] {
        let (entries, proof) = (
            content.entries(group).unwrap(),
            content.path(group, Proof::ToRoot).unwrap(),
        );
        verify_group_to_root(&header, group, &entries, &proof).unwrap();
        let run = Run {
            first: group * 16,
            count: 16,
        };
        assert_eq!(
            content
                .read(run)
                .unwrap()
                .iter()
                .map(bytes::Bytes::len)
                .sum::<usize>(),
            1 << 20
        );
    }
    let chunk = content
        .read(Run {
            first: (LEN / 3) >> 16,
            count: 1,
        })
        .unwrap()
        .remove(0);
    assert_eq!(&chunk[(LEN / 3) as usize % 65_536..][..4], b"here");
    let peak = peak_kib();
    assert!(peak < MOST_KIB, "{peak} KiB at the peak");
}
