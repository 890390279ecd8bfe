//! Both forms of a directory do the same.

use std::{ffi::OsStr, fs, io};
use tempfile::TempDir;

macro_rules! forms {
    ($($form:ident),+) => {$(
        mod $form {
            use super::super::{Kind, Replace, read_exact_at, $form::*};
            use super::*;

            fn name(text: &str) -> &OsStr {
                text.as_ref()
            }

            #[test]
            fn makes_opens_and_removes() {
                let temp = TempDir::new().unwrap();
                let directory = Directory::open(temp.path()).unwrap();
                assert!(directory.stat(name("a")).unwrap().is_none());
                let file = directory.create(name("a")).unwrap();
                assert_eq!(directory.create(name("a")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
                write_all_at(&file, &["one".into(), "".into(), "two".into(), "".into()], 2).unwrap();
                write_all_at(&file, &["".into()], 1).unwrap();
                let mut read = [1; 8];
                read_exact_at(&directory.file_to_read(name("a")).unwrap(), &mut read, 0).unwrap();
                assert_eq!(&read, b"\0\0onetwo");
                let short = read_exact_at(&file, &mut read, 1).unwrap_err();
                assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
                let stat = directory.stat(name("a")).unwrap().unwrap();
                assert_eq!((stat.kind, stat.len), (Kind::File, 8));
                assert_eq!(stat.id, Directory::stat_file(&file).unwrap().id);
                directory.make_directory(name("d")).unwrap();
                let below = directory.directory(name("d")).unwrap();
                below.create(name("b")).unwrap();
                assert!(directory.remove_directory(name("d")).is_err());
                below.remove_file(name("b")).unwrap();
                directory.remove_directory(name("d")).unwrap();
                assert_eq!(directory.directory(name("a")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
            }

            #[test]
            fn replaces_only_when_told_to() {
                let temp = TempDir::new().unwrap();
                let directory = Directory::open(temp.path()).unwrap();
                for file in ["from", "to"] {
                    fs::write(temp.path().join(file), file).unwrap();
                }
                let refused = directory.rename(name("from"), name("to"), Replace::Never).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
                assert_eq!(fs::read(temp.path().join("to")).unwrap(), b"to");
                directory.rename(name("from"), name("free"), Replace::Never).unwrap();
                directory.rename(name("free"), name("to"), Replace::File).unwrap();
                assert_eq!(fs::read(temp.path().join("to")).unwrap(), b"from");
                assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
            }

            #[cfg(unix)]
            #[test]
            fn follows_no_symlink() {
                let temp = TempDir::new().unwrap();
                let outside = TempDir::new().unwrap();
                fs::write(outside.path().join("secret"), "x").unwrap();
                let link = |to: std::path::PathBuf, name| {
                    std::os::unix::fs::symlink(to, temp.path().join(name)).unwrap();
                };
                link(outside.path().join("secret"), "file");
                link(outside.path().to_owned(), "dir");
                link(outside.path().join("new"), "dangling");
                let directory = Directory::open(temp.path()).unwrap();
                assert!(directory.file(name("file")).is_err());
                assert!(directory.file_to_read(name("file")).is_err());
                assert!(directory.directory(name("dir")).is_err());
                assert!(directory.create(name("dangling")).is_err());
                assert_eq!(directory.stat(name("file")).unwrap().unwrap().kind, Kind::Symlink);
                assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
            }
        }
    )+};
}

#[cfg(unix)]
forms!(unix, portable);
#[cfg(not(unix))]
forms!(portable);
