//! A disk without space: the write fails and says so, what was there is there, and it goes on when there is space.

use crate::child::{self, small};
use dig_gun::{
    store::{DiskStorage, Storage, StoreConfig, StoreError},
    value::Soul,
};
use dig_types::Timestamp;
use std::{fs, process::Command};
use tempfile::TempDir;

/// Runs on a disk of 2 MiB, of which another file takes one.
#[test]
#[ignore = "runs as a child of the test that gives it a small disk"]
fn fills_its_disk() {
    let Some(folder) = child::folder() else {
        return;
    };
    let ballast = folder.join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let store = DiskStorage::open(folder.join("gun.redb"), StoreConfig::default()).unwrap();
    let mut written = 0;
    let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
    let error = loop {
        let nodes: Vec<_> = (written..written + 200)
            .map(|number| small(&format!("soul {number}"), number))
            .collect();
        match store.commit(&nodes, at(0)) {
            Ok(_) => written += 200,
            Err(error) => break error,
        }
        assert!(written < 1_000_000, "the disk is never full");
    };
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("gun.redb"), "{error}");
    assert!(written > 1000);

    // Opening the file again may or may not find the little room this takes.
    let one_more = [small("one more", 0)];
    for seconds in [1, 2, 10_u64] {
        if let Err(error) = store.commit(&one_more, at(seconds)) {
            assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
        }
    }
    fs::remove_file(&ballast).unwrap();
    store.commit(&one_more, at(60)).unwrap();
    for number in 0..written {
        let node = store.load(&Soul::new(&format!("soul {number}")).unwrap());
        assert_eq!(
            node.unwrap(),
            Some(small(&format!("soul {number}"), number))
        );
    }
    println!("all of {written} souls are there");
}

#[test]
fn a_full_disk_is_said_and_got_over() {
    let folder = TempDir::new().unwrap();
    let child = child::command("disk_full::fills_its_disk", folder.path());
    // A mount of its own that ends with it.
    let output = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-ec",
            "mount -t tmpfs -o size=2m none \"$0\" && exec \"$@\"",
        ])
        .arg(folder.path())
        .arg(child.get_program())
        .args(child.get_args())
        .env("STORE_TEST_FOLDER", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("souls are there"), "{said}\n{errors}");
}
