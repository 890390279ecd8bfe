use super::*;
use std::fs;
use tempfile::TempDir;

const CHUNKS: u64 = 100;

fn layout() -> Layout {
    Layout::file(CHUNKS * 65_536)
}

fn binding() -> Binding {
    let header = layout().header(Digest([3; 32]));
    let part = Some(FileId {
        device: 1,
        inode: 2,
    });
    Binding {
        hash: header.hash(),
        header,
        part,
    }
}

fn open(directory: &TempDir) -> Arc<File> {
    let path = directory.path().join("journal");
    let mut options = fs::OpenOptions::new();
    Arc::new(
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap(),
    )
}

fn replay(file: Arc<File>) -> (Journal, Replay) {
    let binding = Binding::read(&file).unwrap().unwrap();
    Journal::resume(file, binding, &layout()).unwrap()
}

/// A journal of a few records, and the end of its header and manifest.
fn sample(directory: &TempDir) -> (Journal, u64) {
    let mut journal = Journal::start(open(directory), binding(), &layout()).unwrap();
    let nodes: Vec<Digest> = (0..layout().nodes())
        .map(|node| Digest([node as u8; 32]))
        .collect();
    journal.keep_manifest(&nodes).unwrap();
    journal
        .append(&[
            Record::Written {
                group: 0,
                mask: 0x8001,
            },
            Record::Synced {
                group: 1,
                groups: 2,
                mask: 0xffff,
            },
            Record::File { file: 0, inode: 77 },
        ])
        .unwrap();
    let records = journal.records;
    (journal, records)
}

#[test]
fn says_again_what_was_recorded() {
    let directory = TempDir::new().unwrap();
    drop(sample(&directory));
    let (mut journal, found) = replay(open(&directory));
    assert_eq!(*journal.binding(), binding());
    assert!(found.written.iter().eq([0, 15]));
    assert!(found.synced.iter().eq(16..48));
    assert!(found.files.into_iter().eq([(0, 77)]));
    assert_eq!(journal.manifest().unwrap().unwrap()[3], Digest([3; 32]));
    journal
        .bind(FileId {
            device: 8,
            inode: 9,
        })
        .unwrap();
    let (journal, _) = replay(open(&directory));
    assert_eq!(
        journal.binding().part,
        Some(FileId {
            device: 8,
            inode: 9
        })
    );
}

#[test]
fn is_believed_up_to_where_it_was_torn() {
    let directory = TempDir::new().unwrap();
    let (journal, records) = sample(&directory);
    let whole = fs::read(directory.path().join("journal")).unwrap();
    drop(journal);
    for len in 0..=whole.len() {
        fs::write(directory.path().join("journal"), &whole[..len]).unwrap();
        let file = open(&directory);
        let Some(binding) = Binding::read(&file).unwrap() else {
            assert!(len < HEADER_LEN);
            continue;
        };
        let (mut journal, found) = Journal::resume(file, binding, &layout()).unwrap();
        let there = (len as u64).saturating_sub(records) / RECORD_LEN as u64;
        assert_eq!(
            found.written.count(),
            if there >= 1 { 2 } else { 0 },
            "{len}"
        );
        assert_eq!(
            found.synced.count(),
            if there >= 2 { 32 } else { 0 },
            "{len}"
        );
        assert_eq!(found.files.len(), usize::from(there >= 3), "{len}");
        assert_eq!(
            journal.manifest().unwrap().is_some(),
            len as u64 >= records,
            "{len}"
        );
        // What follows a torn record counts.
        journal
            .append(&[Record::Written { group: 5, mask: 1 }])
            .unwrap();
        let (_, found) = replay(open(&directory));
        assert!(found.written.contains(80), "{len}");
    }
}

#[test]
fn no_flipped_bit_makes_a_chunk_synced() {
    let directory = TempDir::new().unwrap();
    let (journal, _) = sample(&directory);
    drop(journal);
    let path = directory.path().join("journal");
    let whole = fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let file = open(&directory);
        let Some(binding) = Binding::read(&file).unwrap() else {
            continue;
        };
        assert!(bit / 8 >= HEADER_LEN, "bit {bit} of the header");
        let (_, found) = Journal::resume(file, binding, &layout()).unwrap();
        assert!(
            found.synced.iter().all(|chunk| (16..48).contains(&chunk)),
            "bit {bit}"
        );
        assert!(
            found.written.iter().all(|chunk| [0, 15].contains(&chunk)),
            "bit {bit}"
        );
    }
}

#[test]
fn noise_says_nothing() {
    for seed in 0..200 {
        let directory = TempDir::new().unwrap();
        let journal = Journal::start(open(&directory), binding(), &layout()).unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        let noise: Vec<u8> = (0..rng.usize(0..5_000)).map(|_| rng.u8(..)).collect();
        write_all_at(&journal.file(), &[noise.into()], journal.records).unwrap();
        let (_, found) = replay(open(&directory));
        assert_eq!(
            found.synced.count() + found.written.count(),
            0,
            "seed {seed}"
        );
    }
}

#[test]
fn records_of_another_content_do_not_count() {
    let directory = TempDir::new().unwrap();
    let (journal, records) = sample(&directory);
    drop(journal);
    let mut bytes = fs::read(directory.path().join("journal")).unwrap();
    let header = layout().header(Digest([4; 32]));
    let other = Binding {
        hash: header.hash(),
        header,
        part: None,
    };
    bytes[..HEADER_LEN].copy_from_slice(&other.encode());
    assert!(bytes.len() as u64 > records);
    fs::write(directory.path().join("journal"), bytes).unwrap();
    let (_, found) = replay(open(&directory));
    assert_eq!(found.synced.count() + found.written.count(), 0);
}

#[test]
fn numbers_beyond_the_content_are_ignored() {
    let directory = TempDir::new().unwrap();
    let mut journal = Journal::start(open(&directory), binding(), &layout()).unwrap();
    for group in [7, u64::MAX / 16, u64::MAX] {
        journal
            .append(&[Record::Written {
                group,
                mask: 0xffff,
            }])
            .unwrap();
        journal
            .append(&[Record::Synced {
                group,
                groups: u64::MAX,
                mask: 0xffff,
            }])
            .unwrap();
        journal
            .append(&[Record::File {
                file: group,
                inode: 1,
            }])
            .unwrap();
    }
    let (_, found) = replay(open(&directory));
    assert_eq!(found.synced.count() + found.written.count(), 0);
    assert!(found.files.is_empty());
}

#[test]
fn alike_neighbours_share_a_record() {
    let masks = [(3, 0xffff), (4, 0xffff), (5, 0xffff), (7, 0xffff), (8, 1)];
    let records = synced_records(masks);
    assert_eq!(
        records,
        [
            Record::Synced {
                group: 3,
                groups: 3,
                mask: 0xffff
            },
            Record::Synced {
                group: 7,
                groups: 1,
                mask: 0xffff
            },
            Record::Synced {
                group: 8,
                groups: 1,
                mask: 1
            },
        ]
    );
}
