use super::*;
use crate::index::{IndexOptions, index_path};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File, FileTimes, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    time::{Duration, Instant, SystemTime},
};
use tokio_util::sync::CancellationToken;

const LEN: usize = (1 << 20) + 5000;
const RUN: Run = Run {
    first: 0,
    count: 16,
};

/// Sets the modification time alone.
fn set_modified(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn share(path: &Path) -> SharedContent {
    index_path(
        path,
        &IndexOptions::default(),
        &|_| {},
        &CancellationToken::new(),
    )
    .unwrap()
}

fn is_changed<T>(result: Result<T, ReadError>) -> bool {
    matches!(result, Err(ReadError::Changed))
}

/// Waits until times tell every change of what was written before.
fn settle() {
    std::thread::sleep(Duration::from_millis(150));
}

/// By the fingerprint alone: nothing is hashed again.
#[test]
fn edits_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let edits: [&dyn Fn(&Path); 5] = [
        &|path| fs::write(path, vec![1; LEN]).unwrap(),
        &|path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(100)
                .unwrap()
        },
        &|path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(LEN as u64 + 1)
                .unwrap()
        },
        &|path| fs::remove_file(path).unwrap(),
        &|path| {
            let other = path.with_extension("other");
            fs::write(&other, vec![0; LEN]).unwrap();
            fs::rename(other, path).unwrap();
        },
    ];
    let path = |number: usize, read: bool| folder.path().join(format!("{number}-{read}"));
    let all = (0..edits.len()).flat_map(|number| [(number, true), (number, false)]);
    for (number, read) in all.clone() {
        fs::write(path(number, read), vec![0; LEN]).unwrap();
    }
    settle();
    for (number, read) in all {
        let path = path(number, read);
        let content = share(&path);
        if read {
            assert_eq!(content.read(RUN).unwrap().len(), 16);
        }
        assert!(content.fingerprint_ok() && !content.origin.files.members()[0].is_doubtful());
        edits[number](&path);
        assert!(
            is_changed(content.read(RUN)),
            "edit {number}, read before: {read}"
        );
        assert!(!content.fingerprint_ok(), "edit {number}");
    }
}

/// An edit whose times are set back shows by the change time, and then by the hash.
#[test]
fn a_modification_time_set_back_hides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, vec![0; LEN]).unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let content = share(&path);
    disk::write_at(
        &File::options().write(true).open(&path).unwrap(),
        b"evil",
        70_000,
    )
    .unwrap();
    set_modified(&path, modified);
    assert!(is_changed(content.read(RUN)));
    assert!(is_changed(content.read(Run { first: 1, count: 1 })));
    // Chunks that are as they were are still served.
    assert_eq!(
        content
            .read(Run {
                first: 2,
                count: 14
            })
            .unwrap()
            .len(),
        14
    );
}

#[test]
fn new_permissions_and_names_do_not_withdraw_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, vec![7; LEN]).unwrap();
    settle();
    let content = share(&path);
    let doubtful = || content.origin.files.members()[0].is_doubtful();
    assert!(!doubtful());
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(&path, folder.path().join("second")).unwrap();
    assert_eq!(content.read(RUN).unwrap().len(), 16);
    assert!(content.fingerprint_ok() && doubtful());
}

/// A file changed within the coarsest tick of its times is read and hashed, whatever its times say.
#[test]
fn fresh_files_are_hashed_when_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, vec![0; LEN]).unwrap();
    let content = share(&path);
    let doubtful = || content.origin.files.members()[0].is_doubtful();
    assert!(doubtful());
    assert_eq!(content.read(RUN).unwrap().len(), 16);
    // Once it is old enough, one pass over all of it settles that.
    settle();
    content
        .whole_sha256(&|| false, &CancellationToken::new())
        .unwrap();
    assert!(!doubtful());
}

#[test]
fn many_files_need_few_handles() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..600 {
        fs::write(
            folder.path().join(format!("{number:03}")),
            number.to_string(),
        )
        .unwrap();
    }
    let content = share(folder.path());
    let open = || {
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(Result::ok)
            .filter_map(|fd| fs::read_link(fd.path()).ok())
    };
    let ours = open()
        .filter(|target| target.starts_with(folder.path()))
        .count();
    assert!(ours <= 257, "{ours} handles");
    let table = content.layout.table_chunks().end;
    for chunk in [table, table + 599, table + 300, table] {
        let bytes = content
            .read(Run {
                first: chunk,
                count: 1,
            })
            .unwrap();
        assert_eq!(bytes[0], (chunk - table).to_string());
    }
}

#[test]
fn runs_beyond_the_end_are_empty() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, vec![0; LEN]).unwrap();
    let content = share(&path);
    for run in [
        Run {
            first: 17,
            count: 1,
        },
        Run {
            first: u64::MAX,
            count: 255,
        },
        Run { first: 0, count: 0 },
    ] {
        assert!(content.read(run).unwrap().is_empty());
    }
    let lens: Vec<usize> = content
        .read(Run {
            first: 16,
            count: 16,
        })
        .unwrap()
        .iter()
        .map(Bytes::len)
        .collect();
    assert_eq!(lens, [5000]);
    assert!(
        content.path(2, Proof::ToRoot).is_err()
            && content.path(u64::MAX, Proof::ToManifest).is_err()
    );
}

#[test]
fn the_whole_hash_is_that_of_sha256sum() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for bytes in [vec![], vec![3; LEN]] {
        fs::write(&path, &bytes).unwrap();
        let content = share(&path);
        assert_eq!(content.known_sha256(), None);
        let hash = content
            .whole_sha256(&|| false, &CancellationToken::new())
            .unwrap();
        assert_eq!(*hash.as_bytes(), <[u8; 32]>::from(Sha256::digest(&bytes)));
        assert_eq!(
            (content.known_sha256(), content.sha256_progress()),
            (Some(hash), bytes.len() as u64)
        );
    }
    let content = share(folder.path());
    let of_folder = content.whole_sha256(&|| false, &CancellationToken::new());
    assert!(matches!(of_folder, Err(WholeHashError::Folder)));
    let of_file = content
        .file_store(0)
        .unwrap()
        .whole_sha256(&|| false, &CancellationToken::new())
        .unwrap();
    assert_eq!(
        *of_file.as_bytes(),
        <[u8; 32]>::from(Sha256::digest(vec![3; LEN]))
    );
}

#[test]
fn the_whole_pass_pauses_stops_and_notices() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, vec![0; LEN]).unwrap();
    let content = share(&path);
    let cancel = CancellationToken::new();
    let asked = std::cell::Cell::new(0);
    let pause = || {
        asked.set(asked.get() + 1);
        if asked.get() == 3 {
            cancel.cancel();
        }
        true
    };
    assert!(matches!(
        content.whole_sha256(&pause, &cancel),
        Err(WholeHashError::Cancelled)
    ));
    assert_eq!((asked.get(), content.sha256_progress()), (3, 0));
    disk::write_at(
        &File::options().write(true).open(&path).unwrap(),
        b"x",
        1 << 20,
    )
    .unwrap();
    let changed = content.whole_sha256(&|| false, &CancellationToken::new());
    assert!(matches!(
        changed,
        Err(WholeHashError::Read(ReadError::Changed))
    ));
}

/// While a file is swapped for a link to a secret over and over, nothing but its own bytes is ever read.
#[test]
fn a_file_swapped_for_a_link_never_leads_outside() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, vec![0xee; 70_000]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (path, kept) = (folder.path().join("file"), outside.path().join("kept"));
    fs::write(&path, vec![0x11; 70_000]).unwrap();
    settle();
    let content = share(folder.path());
    fs::rename(&path, &kept).unwrap();
    let first = content.layout.file_chunks(0).start;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut read, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                symlink(&secret, &path).unwrap();
                fs::remove_file(&path).unwrap();
                fs::hard_link(&kept, &path).unwrap();
                fs::remove_file(&path).unwrap();
            }
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        while (read < 500 || refused < 500) && Instant::now() < deadline {
            // Each round opens anew.
            *content.origin.files.open.lock().unwrap() = Default::default();
            match content.read(Run { first, count: 2 }) {
                Ok(bytes) => {
                    assert!(
                        bytes.concat().iter().all(|byte| *byte == 0x11),
                        "foreign bytes"
                    );
                    read += 1;
                }
                Err(ReadError::Changed) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
}
