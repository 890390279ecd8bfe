use super::*;
use crate::Signer;
use std::{collections::HashSet, sync::Barrier, thread};
use tempfile::TempDir;

fn home() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("identity.json");
    (folder, path)
}

#[test]
fn an_identity_is_created_once_and_found_again() {
    for algorithm in Algorithm::ALL {
        let (_folder, path) = home();
        let created = IdentityFile::load_or_create(&path, algorithm).unwrap();
        let text = fs::read(&path).unwrap();
        assert_eq!(created.algorithm(), algorithm);
        let found = IdentityFile::load_or_create(&path, Algorithm::Ed25519).unwrap();
        assert_eq!(found.public_key(), created.public_key());
        assert_eq!(fs::read(&path).unwrap(), text);
        let content: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(content["v"], 1);
        assert_eq!(content["algorithm"], algorithm.name());
        assert_eq!(content["private"], **created.private_hex().unwrap());
    }
}

#[cfg(unix)]
#[test]
fn file_and_folder_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("deep/home/identity.json");
    IdentityFile::load_or_create(&path, Algorithm::Ed25519).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let names: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["identity.json"]);
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_access_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = home();
    IdentityFile::load_or_create(&path, Algorithm::Ed25519).unwrap();
    for mode in [0o640, 0o604, 0o620, 0o660, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = IdentityFile::load_or_create(&path, Algorithm::Ed25519).unwrap_err();
        assert!(
            matches!(error, IdentityFileError::Exposed { mode: found, .. } if found == mode),
            "{mode:o}: {error}"
        );
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        IdentityFile::load(&path).unwrap();
    }
}

#[test]
fn those_who_create_at_once_end_with_the_same_identity() {
    let (folder, path) = home();
    let start = Barrier::new(16);
    let nodes: HashSet<_> = thread::scope(|scope| {
        let create = || {
            start.wait();
            IdentityFile::load_or_create(&path, Algorithm::Ed25519)
                .unwrap()
                .node_id()
        };
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(create)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(
        nodes,
        HashSet::from([IdentityFile::load(&path).unwrap().node_id()])
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "temporary files are left"
    );
}

#[test]
fn a_file_that_came_in_between_is_kept() {
    let (_folder, path) = home();
    let first = IdentityFile::load_or_create(&path, Algorithm::Ed25519).unwrap();
    let second = CryptoIdentity::generate(Algorithm::Ed25519).unwrap();
    assert!(!create(&path, &second).unwrap());
    assert_eq!(
        IdentityFile::load(&path).unwrap().public_key(),
        first.public_key()
    );
}

#[test]
fn damaged_files_are_refused_and_left_alone() {
    let private = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    let cases = [
        (String::new(), "Malformed"),
        ("{}".into(), "Malformed"),
        (
            format!(r#"{{"v":1,"algorithm":"ed448","private":"{private}"}}"#),
            "Malformed",
        ),
        (
            format!(r#"{{"v":1,"algorithm":"ed25519","private":"{private}","more":1}}"#),
            "Malformed",
        ),
        (
            format!(r#"{{"v":1,"algorithm":"ed25519","private":"{private}""#),
            "Malformed",
        ),
        ("[".repeat(10_000), "Malformed"),
        (" ".repeat(20_000), "Malformed"),
        (
            format!(r#"{{"v":2,"algorithm":"ed25519","private":"{private}"}}"#),
            "Version",
        ),
        (
            format!(
                r#"{{"v":1,"algorithm":"ed25519","private":"{}"}}"#,
                &private[1..]
            ),
            "Key",
        ),
        (
            format!(r#"{{"v":1,"algorithm":"rsa","private":"{private}"}}"#),
            "Key",
        ),
    ];
    for (text, expected) in cases {
        let (_folder, path) = home();
        let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.persist(&path).unwrap();
        let error = IdentityFile::load_or_create(&path, Algorithm::Ed25519).unwrap_err();
        assert!(
            format!("{error:?}").starts_with(expected),
            "{text:.100}: {error:?}"
        );
        assert!(
            !format!("{error:?} {error}").contains(&private[8..24]),
            "{error:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), text.as_bytes());
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let error = IdentityFile::load(&folder.path().join("none")).unwrap_err();
    assert!(matches!(error, IdentityFileError::Missing { .. }));
    let error = IdentityFile::load_or_create(folder.path(), Algorithm::Ed25519).unwrap_err();
    assert!(
        matches!(error, IdentityFileError::Malformed { .. }),
        "{error:?}"
    );
    let below_a_file = folder.path().join("file");
    fs::write(&below_a_file, "").unwrap();
    let error = IdentityFile::load_or_create(&below_a_file.join("identity"), Algorithm::Ed25519)
        .unwrap_err();
    assert!(matches!(error, IdentityFileError::Read { .. }), "{error:?}");
}
