use super::*;
use crate::{
    index::{IndexOptions, index_path},
    source::SharedContent,
};
use std::{fs::FileTimes, os::unix::fs::FileExt as _};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const LEN: usize = (3 << 20) + 77;

struct Fixture {
    folder: TempDir,
    file: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, vec![5; LEN]).unwrap();
        Self { folder, file }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn index(&self) -> SharedContent {
        let options = IndexOptions {
            cache: Some(self.cache()),
            ..IndexOptions::default()
        };
        index_path(&self.file, &options, &|_| {}, &CancellationToken::new()).unwrap()
    }

    /// The fingerprint that the file has now.
    fn fingerprint(&self) -> Fingerprint {
        crate::source::disk::stat(&File::open(&self.file).unwrap())
            .unwrap()
            .fingerprint
    }

    fn entries(&self) -> Option<(Vec<Digest>, Option<Sha256Hash>)> {
        let mut entries = Vec::new();
        let sha256 = HashCache::new(self.cache()).load(&self.fingerprint(), |first, part| {
            assert_eq!(first, entries.len() as u64);
            entries.extend_from_slice(part);
            Ok(())
        })?;
        Some((entries, sha256))
    }

    /// Waits until the file is no longer fresh.
    fn settle(&self) {
        while self.fingerprint().is_fresh(SystemTime::now()) {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn only_file(&self) -> PathBuf {
        let files: Vec<PathBuf> = fs::read_dir(self.cache())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1);
        files[0].clone()
    }
}

#[test]
fn a_file_is_hashed_once() {
    let fixture = Fixture::new();
    fixture.index();
    assert!(fixture.entries().is_none(), "a fresh file is not kept");
    fixture.settle();
    let content = fixture.index();
    let (entries, sha256) = fixture.entries().unwrap();
    assert_eq!((entries.len(), sha256), (49, None));
    let hash = content
        .whole_sha256(&|| false, &CancellationToken::new())
        .unwrap();
    assert_eq!(fixture.entries().unwrap(), (entries, Some(hash)));

    // Served from the cache: the same content, and its SHA-256 is known at once.
    let again = fixture.index();
    assert_eq!(
        (again.hash(), again.known_sha256()),
        (content.hash(), Some(hash))
    );

    // Entries that are planted there are used, so it is the cache that was asked.
    let path = fixture.only_file();
    let mut bytes = fs::read(&path).unwrap();
    bytes[HEAD] ^= 1;
    let end = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    assert_ne!(fixture.index().hash(), content.hash());
}

#[test]
fn what_is_damaged_or_outdated_is_not_used() {
    let fixture = Fixture::new();
    fixture.settle();
    let hash = fixture.index().hash();
    let path = fixture.only_file();
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(97).chain([good.len() - 1]) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        fs::write(&path, &bytes).unwrap();
        assert!(fixture.entries().is_none(), "byte {at}");
    }
    for len in [0, 8, HEAD, good.len() - 1] {
        fs::write(&path, &good[..len]).unwrap();
        assert!(fixture.entries().is_none(), "cut at {len}");
    }
    assert_eq!(fixture.index().hash(), hash, "hashed again");

    fs::write(&path, &good).unwrap();
    assert!(fixture.entries().is_some());
    // An edit that keeps the size and sets the modification time back.
    let modified = fs::metadata(&fixture.file).unwrap().modified().unwrap();
    let file = File::options().write(true).open(&fixture.file).unwrap();
    file.write_all_at(b"x", 100).unwrap();
    file.set_times(FileTimes::new().set_modified(modified))
        .unwrap();
    assert!(fixture.entries().is_none());
    assert_ne!(fixture.index().hash(), hash);
}

#[test]
fn the_oldest_make_room() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0_u64..10 {
        let path = folder.path().join(format!("{number}.{EXTENSION}"));
        fs::write(&path, [0; 100]).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + number);
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_times(FileTimes::new().set_modified(time))
            .unwrap();
    }
    let left = folder.path().join(format!("left.{UNFINISHED}"));
    fs::write(&left, b"").unwrap();
    fs::write(folder.path().join("other"), [0; 5000]).unwrap();
    let names = || {
        let mut names: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names.join(" ")
    };
    trim(folder.path(), 450, 100).unwrap();
    assert_eq!(
        names(),
        "6.entries 7.entries 8.entries 9.entries left.tmp other"
    );
    let old = SystemTime::now() - 2 * STALE;
    File::options()
        .write(true)
        .open(left)
        .unwrap()
        .set_times(FileTimes::new().set_modified(old))
        .unwrap();
    trim(folder.path(), 450, 1).unwrap();
    assert_eq!(names(), "9.entries other");
}
