use super::{portable, unix};
use crate::source::fingerprint::Kind;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use std::{fs, os::unix::fs::symlink, path::Path};
use tempfile::TempDir;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(root.join("sub/file"), b"inside").unwrap();
    fs::write(folder.path().join("secret"), b"outside").unwrap();
    symlink("../secret", root.join("link")).unwrap();
    symlink("sub", root.join("dirlink")).unwrap();
    mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    folder
}

#[test]
fn nothing_outside_the_root_is_opened() {
    let folder = folder();
    let path = folder.path().join("root");
    let unix = unix::Root::open(&path).unwrap();
    let portable = portable::Root::open(&path).unwrap();
    for hostile in [
        "link",
        "../secret",
        "dirlink/file",
        "sub/../../secret",
        "/etc/passwd",
        "",
    ] {
        assert!(unix.open_file(hostile.as_ref()).is_err(), "{hostile:?}");
        assert!(
            unix.open_step_by_step(hostile.as_ref(), OFlags::RDONLY | OFlags::NOFOLLOW)
                .is_err(),
            "{hostile:?}"
        );
        assert!(portable.open_file(hostile.as_ref()).is_err(), "{hostile:?}");
    }
    for file in [
        unix.open_file("sub/file".as_ref()).unwrap(),
        unix.open_step_by_step("sub/file".as_ref(), OFlags::RDONLY)
            .unwrap()
            .into(),
        portable.open_file("sub/file".as_ref()).unwrap(),
    ] {
        let mut bytes = Vec::new();
        unix::append_at(&file, &mut bytes, 3, 2).unwrap();
        portable::append_at(&file, &mut bytes, 3, 2).unwrap();
        assert_eq!(bytes, b"sidsid");
        assert!(unix::append_at(&file, &mut bytes, 4, 3).is_err());
        assert!(portable::append_at(&file, &mut bytes, 4, 3).is_err());
    }
}

#[test]
fn directories_are_listed_alike() {
    let folder = folder();
    let path = folder.path().join("root");
    let kinds = |mut list: Vec<(std::ffi::OsString, crate::source::fingerprint::Stat)>| {
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list.into_iter()
            .map(|(name, stat)| (name.into_string().unwrap(), stat.kind))
            .collect::<Vec<_>>()
    };
    let unix = kinds(
        unix::Root::open(&path)
            .unwrap()
            .list(Path::new(""))
            .unwrap(),
    );
    let expected = [
        ("dirlink", Kind::Symlink),
        ("link", Kind::Symlink),
        ("pipe", Kind::Special),
        ("sub", Kind::Directory),
    ];
    assert_eq!(unix, expected.map(|(name, kind)| (name.to_owned(), kind)));
    assert_eq!(
        unix,
        kinds(
            portable::Root::open(&path)
                .unwrap()
                .list(Path::new(""))
                .unwrap()
        )
    );
    assert!(
        unix::Root::open(&path)
            .unwrap()
            .list(Path::new("dirlink"))
            .is_err()
    );
    assert!(
        portable::Root::open(&path)
            .unwrap()
            .list(Path::new("dirlink"))
            .is_err()
    );
}

#[test]
fn a_pipe_does_not_block() {
    let folder = folder();
    let root = unix::Root::open(&folder.path().join("root")).unwrap();
    let pipe = root.open_file("pipe".as_ref()).unwrap();
    assert_eq!(unix::stat(&pipe).unwrap().kind, Kind::Special);
}

#[test]
fn holes_are_seen_where_the_file_system_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let file = fs::File::create_new(&path).unwrap();
    file.set_len(8 << 20).unwrap();
    unix::write_at(&file, b"x", 5 << 20).unwrap();
    let data = unix::next_data(&file, 0).unwrap();
    assert!(data <= 5 << 20, "the byte at 5 MiB is data");
    assert!(unix::next_data(&file, 5 << 20) == Some(5 << 20));
    assert_eq!(portable::next_data(&file, 7), Some(7));
}

#[test]
fn temporary_files_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (file, path) = unix::temporary(folder.path()).unwrap();
    assert!(path.is_none() && fs::read_dir(folder.path()).unwrap().next().is_none());
    let (other, path) = portable::temporary(folder.path()).unwrap();
    for file in [file, other] {
        unix::write_at(&file, b"abc", 10).unwrap();
        portable::write_at(&file, b"d", 13).unwrap();
        let mut bytes = Vec::new();
        unix::append_at(&file, &mut bytes, 4, 10).unwrap();
        assert_eq!(bytes, b"abcd");
    }
    fs::remove_file(path.unwrap()).unwrap();
}
