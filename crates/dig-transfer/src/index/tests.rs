use super::*;
use crate::{
    chunk::{CHUNK_LEN, Run},
    manifest::verify_group_to_root,
    store::{ContentStore as _, Proof},
    tree::{root_of_entries, sha256},
};
use dig_types::ContentKind;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::{
    cell::Cell,
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
};
use tempfile::TempDir;

fn index(path: &Path) -> Result<SharedContent, IndexError> {
    index_path(
        path,
        &IndexOptions::default(),
        &|_| {},
        &CancellationToken::new(),
    )
}

/// The entries of bytes, computed another way.
fn entries(bytes: &[u8]) -> Vec<Digest> {
    bytes.chunks(CHUNK_LEN).map(sha256).collect()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(i) / 251 + i) as u8)
        .collect()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

/// All bytes, read in runs.
fn read_all(content: &SharedContent) -> Vec<u8> {
    let groups = 0..content.layout().groups();
    groups
        .flat_map(|group| {
            content
                .read(Run {
                    first: group * 16,
                    count: 16,
                })
                .unwrap()
        })
        .flatten()
        .collect()
}

#[test]
fn files_of_every_shape_have_their_hash() {
    for len in [
        0,
        1,
        65_535,
        65_536,
        65_537,
        1 << 20,
        (1 << 20) + 1,
        5 << 20,
    ] {
        let bytes = pattern(len);
        let folder = folder(&[("file", &bytes)]);
        let content = index(&folder.path().join("file")).unwrap();
        let expected = ContentHeader::file(len as u64, root_of_entries(&entries(&bytes)));
        assert_eq!(content.header(), expected, "{len} bytes");
        assert_eq!(
            (content.hash(), content.name().as_str()),
            (expected.hash(), "file")
        );
        assert_eq!(read_all(&content), bytes);
        assert!(content.fingerprint_ok());
        for group in 0..content.layout().groups() {
            let (entries, path) = (
                content.entries(group).unwrap(),
                content.path(group, Proof::ToRoot).unwrap(),
            );
            verify_group_to_root(&expected, group, &entries, &path).unwrap();
            assert!(content.path(group, Proof::ToManifest).unwrap().is_empty());
        }
        let manifest = content.manifest().unwrap();
        crate::manifest::Manifest::from_nodes(&expected, manifest).unwrap();
        assert!(content.entries(content.layout().groups()).is_err());
    }
}

#[test]
fn folders_are_one_content() {
    let (big, small) = (pattern(3 << 20), pattern(70_000));
    let folder = folder(&[
        ("b/big", &big),
        ("a", &small),
        ("empty", b""),
        ("b-", b"x"),
        ("run.sh", b"#!"),
    ]);
    let path = folder.path();
    fs::create_dir_all(path.join("void/deep")).unwrap();
    fs::set_permissions(path.join("run.sh"), Permissions::from_mode(0o755)).unwrap();
    let content = index(path).unwrap();
    let table = content.table().unwrap();
    let paths: Vec<&str> = table
        .entries()
        .iter()
        .map(|entry| entry.path.as_str())
        .collect();
    assert_eq!(paths, ["a", "b-", "b/big", "empty", "run.sh", "void/deep"]);
    let flags: Vec<(bool, bool)> = table
        .entries()
        .iter()
        .map(|entry| (entry.executable, entry.directory))
        .collect();
    assert_eq!(
        flags,
        [
            (false, false),
            (false, false),
            (false, false),
            (false, false),
            (true, false),
            (false, true)
        ]
    );

    let encoded = table.encode();
    let files: [&[u8]; 4] = [&small, b"x", &big, b"#!"];
    let all = [&[&encoded[..]], &files[..]].concat();
    assert_eq!(read_all(&content), all.concat());
    let expected: Vec<Digest> = all.iter().flat_map(|bytes| entries(bytes)).collect();
    let header = content.header();
    assert_eq!(header.root, root_of_entries(&expected));
    assert_eq!(
        (header.kind, header.size),
        (ContentKind::Folder, (3 << 20) + 70_000 + 3)
    );
    assert_eq!(Table::decode(&encoded).unwrap(), **table);
    assert!(content.fingerprint_ok());
}

#[test]
fn a_file_of_a_folder_is_the_content_that_it_is_alone() {
    let (big, small) = (pattern(3 << 20), pattern(70_000));
    let folder = folder(&[("b/big", &big), ("a", &small), ("empty", b""), ("b-", b"x")]);
    fs::create_dir(folder.path().join("void")).unwrap();
    let content = index(folder.path()).unwrap();
    let entries = content.table().unwrap().entries();
    for (number, entry) in entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| !entry.directory)
    {
        let alone = index(&folder.path().join(&entry.path)).unwrap();
        let part = content.file_store(number).unwrap();
        assert_eq!(
            (entry.hash, part.hash()),
            (alone.hash(), alone.hash()),
            "{}",
            entry.path
        );
        assert_eq!(
            (part.name(), read_all(&part)),
            (alone.name(), read_all(&alone))
        );
        for group in 0..part.layout().groups() {
            assert_eq!(part.entries(group).unwrap(), alone.entries(group).unwrap());
            let path = |content: &SharedContent| content.path(group, Proof::ToRoot).unwrap();
            assert_eq!(path(&part), path(&alone));
        }
        assert!(part.fingerprint_ok());
    }
    for none in [entries.len() - 1, entries.len()] {
        assert!(matches!(content.file_store(none), Err(ReadError::Missing)));
    }
}

#[test]
fn an_empty_folder_is_a_content() {
    let folder = tempfile::tempdir().unwrap();
    let content = index(folder.path()).unwrap();
    assert_eq!(
        (
            content.header().size,
            content.header().table_len,
            content.layout().chunks()
        ),
        (0, 12, 1)
    );
    assert_eq!(read_all(&content), b"digdir1\n\0\0\0\0");
}

#[test]
fn links_and_pipes_are_left_out() {
    let folder = folder(&[("file", b"x")]);
    symlink("/etc/passwd", folder.path().join("link")).unwrap();
    symlink("..", folder.path().join("loop")).unwrap();
    fs::create_dir(folder.path().join("only")).unwrap();
    symlink("../file", folder.path().join("only/link")).unwrap();
    mknodat(
        CWD,
        folder.path().join("pipe"),
        FileType::Fifo,
        Mode::RUSR,
        0,
    )
    .unwrap();
    let content = index(folder.path()).unwrap();
    let paths: Vec<&str> = content
        .table()
        .unwrap()
        .entries()
        .iter()
        .map(|entry| entry.path.as_str())
        .collect();
    assert_eq!(paths, ["file", "only"]);
    let link = |path: &str| IndexWarning::Symlink(path.into());
    let mut expected = vec![
        link("link"),
        link("loop"),
        link("only/link"),
        IndexWarning::Special("pipe".into()),
    ];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(content.warnings(), expected);

    // A link that the user names is followed, and keeps its own name.
    symlink("file", folder.path().join("named")).unwrap();
    let named = index(&folder.path().join("named")).unwrap();
    assert_eq!(
        (named.name().as_str(), read_all(&named)),
        ("named", b"x".to_vec())
    );
    assert!(matches!(
        index(&folder.path().join("pipe")),
        Err(IndexError::Special(_))
    ));
    assert!(matches!(
        index(Path::new("/dev/null")),
        Err(IndexError::Special(_))
    ));
    let missing = index(&folder.path().join("missing"));
    assert!(
        matches!(missing, Err(IndexError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound)
    );
}

#[test]
fn names_that_cannot_be_shared_are_named() {
    let error = |name: &[u8]| {
        let folder = folder(&[("dir/ok", b"")]);
        fs::write(
            folder.path().join("dir").join(OsStr::from_bytes(name)),
            b"x",
        )
        .unwrap();
        index(folder.path()).unwrap_err()
    };
    assert!(
        matches!(error(b"\xff\xfe"), IndexError::NotUtf8(path) if path.as_os_str().as_bytes() == b"dir/\xff\xfe")
    );
    for (name, reason) in [
        ("a\u{1b}[31m", PathError::Control),
        ("a\\b", PathError::Backslash),
    ] {
        let error = error(name.as_bytes());
        assert!(
            matches!(&error, IndexError::Name { error, .. } if *error == reason),
            "{error}"
        );
        assert!(
            !error.to_string().contains('\u{1b}'),
            "an escape reaches the terminal: {error:?}"
        );
    }
}

#[test]
fn names_of_two_forms_are_one_name() {
    let alone = folder(&[("cafe\u{301}", b"x")]);
    let content = index(alone.path()).unwrap();
    assert_eq!(content.table().unwrap().entries()[0].path, "caf\u{e9}");
    assert_eq!(read_all(&content).last(), Some(&b'x'));
    let both = folder(&[("cafe\u{301}", b"x"), ("caf\u{e9}", b"y")]);
    assert!(matches!(index(both.path()), Err(IndexError::SameName(..))));
    let case = folder(&[("Readme", b"x"), ("README", b"y")]);
    let content = index(case.path()).unwrap();
    assert!(
        matches!(content.warnings(), [IndexWarning::Collision(c)] if c.first == "README" && c.second == "Readme")
    );
}

#[test]
fn sparse_files_are_hashed_without_reading_holes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let file = fs::File::create_new(&path).unwrap();
    let len = (10 << 20) + 100;
    file.set_len(len).unwrap();
    crate::source::disk::write_at(&file, b"data", (7 << 20) + 5).unwrap();
    let bytes = fs::read(&path).unwrap();
    let content = index(&path).unwrap();
    assert_eq!(content.header().root, root_of_entries(&entries(&bytes)));
    assert_eq!(read_all(&content), bytes);
}

#[test]
fn entries_of_large_files_lie_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    let file = fs::File::create_new(&path).unwrap();
    file.set_len((5 << 30) + 7).unwrap();
    let cache = folder.path().join("cache");
    let options = IndexOptions {
        cache: Some(cache.clone()),
        ..IndexOptions::default()
    };
    let content = index_path(&path, &options, &|_| {}, &CancellationToken::new()).unwrap();
    let last = content.layout().groups() - 1;
    assert_eq!(content.entries(last).unwrap(), [sha256(&[0; 7])]);
    let path = content.path(last, Proof::ToRoot).unwrap();
    verify_group_to_root(&content.header(), last, &[sha256(&[0; 7])], &path).unwrap();
    assert!(
        fs::read_dir(cache).unwrap().next().is_none(),
        "the sidecar has no name, and a fresh file is not cached"
    );
}

#[test]
fn progress_ends_at_the_total_and_cancelling_stops() {
    let folder = folder(&[("a", &pattern(20 << 20)), ("b", &pattern(5))]);
    let last = Cell::new(IndexProgress::default());
    let seen = |progress: IndexProgress| {
        assert!(progress.hashed >= last.get().hashed);
        last.set(progress);
    };
    index_path(
        folder.path(),
        &IndexOptions::default(),
        &seen,
        &CancellationToken::new(),
    )
    .unwrap();
    let total = (20 << 20) + 5;
    assert_eq!(
        last.get(),
        IndexProgress {
            files: 2,
            hashed: total,
            total
        }
    );
    let cancel = CancellationToken::new();
    let stop = |progress: IndexProgress| {
        if progress.hashed > 0 {
            cancel.cancel();
        }
    };
    let stopped = index_path(folder.path(), &IndexOptions::default(), &stop, &cancel);
    assert!(matches!(stopped, Err(IndexError::Cancelled)));
}

#[test]
fn files_that_change_while_they_are_hashed_are_refused() {
    let folder = folder(&[("a", &pattern(1000)), ("b", &pattern(1000))]);
    let change = |edit: &dyn Fn(&Path)| {
        // The first report with a total comes between listing and reading.
        let edit_once = |progress: IndexProgress| {
            if progress.total > 0 && progress.hashed == 0 {
                edit(&folder.path().join("b"));
            }
        };
        index_path(
            folder.path(),
            &IndexOptions::default(),
            &edit_once,
            &CancellationToken::new(),
        )
    };
    let is_b = |result| matches!(result, Err(IndexError::Changed(path)) if path == Path::new("b"));
    assert!(is_b(change(&|path| fs::write(path, b"shorter").unwrap())));
    assert!(is_b(change(&|path| fs::remove_file(path).unwrap())));
    fs::write(folder.path().join("b"), b"again").unwrap();
    assert!(is_b(change(&|path| {
        fs::remove_file(path).unwrap();
        symlink("/etc/passwd", path).unwrap();
    })));
}

/// What `index_path` makes of one, two and sixteen threads is the same.
#[test]
fn the_number_of_threads_makes_no_difference() {
    let folder = folder(&[
        ("a", &pattern(3 << 20)),
        ("b", &pattern(65_537)),
        ("c/d", &pattern(999)),
    ]);
    let hashes: Vec<_> = [1, 2, 16]
        .into_iter()
        .map(|threads| {
            let options = IndexOptions {
                threads: Some(threads),
                ..IndexOptions::default()
            };
            index_path(folder.path(), &options, &|_| {}, &CancellationToken::new())
                .unwrap()
                .hash()
        })
        .collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
}

#[test]
fn a_file_that_imitates_a_folder_or_a_preimage_is_a_file() {
    let real = folder(&[("x", b"payload")]);
    let content = index(real.path()).unwrap();
    let header = content.header();
    let bytes = read_all(&content);
    // The very bytes of a folder: the table, then its file, as chunks lie.
    let mut padded = content.table().unwrap().encode();
    padded.resize(CHUNK_LEN, 0);
    padded.extend_from_slice(b"payload");
    // What is hashed to make the folder's hash, a leaf and a node.
    let binding = [
        b"dig-folder/1",
        &header.size.to_be_bytes()[..],
        &header.table_len.to_be_bytes(),
        &header.root.0,
    ]
    .concat();
    let root_entries = content.entries(0).unwrap();
    let leaf_input = [&[0][..], &root_entries[0].0].concat();
    let node_input = [
        &[1][..],
        &leaf(&root_entries[0]).0,
        &leaf(&root_entries[1]).0,
    ]
    .concat();
    let targets = [
        *content.hash().as_bytes(),
        header.root.0,
        leaf(&root_entries[0]).0,
    ];
    for imitation in [bytes, padded, binding, leaf_input, node_input] {
        let folder = folder(&[("file", &imitation)]);
        let file = index(&folder.path().join("file")).unwrap();
        assert_eq!(file.header().kind, ContentKind::File);
        assert!(
            !targets.contains(file.hash().as_bytes()),
            "another content's hash"
        );
        assert!(
            !targets[1..].contains(&file.header().root.0),
            "another tree's root"
        );
        // The same numbers and root under the other kind are another content.
        let as_folder = ContentHeader {
            kind: ContentKind::Folder,
            ..file.header()
        };
        assert_ne!(as_folder.hash(), file.hash());
    }
}
