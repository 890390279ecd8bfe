//! The second implementation of the protocol, in Python, gets what `dignet share` shares.

use crate::sandbox::{Host, Sandbox, noise};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Where the Python programs are.
fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/python")
}

/// Whether Python and its one package are here; says so if not, and fails in CI, where they must.
fn is_here() -> bool {
    let import = Command::new("python3")
        .args(["-c", "import cryptography"])
        .output();
    let here = import.is_ok_and(|output| output.status.success());
    assert!(
        here || std::env::var_os("CI").is_none(),
        "CI must have python3 and its package cryptography"
    );
    if !here {
        eprintln!("SKIP: python3 and its package cryptography are needed");
    }
    here
}

fn python(program: &str, args: &[&str]) -> Output {
    let mut command = Command::new("python3");
    // Nothing is left beside the sources.
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(programs());
    command.arg(program).args(args).output().unwrap()
}

/// Gets with the Python program.
fn get(args: &[&str]) {
    let output = python("dig_get.py", args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "dig_get.py {args:?}: {said}");
}

/// The ticket with the loopback address of the host in place of those of the machine's networks: nobody dials loopback for a ticket.
fn by_peer<'a>(host: &Host, what: &'a str, peer: &'a mut String) -> [&'a str; 3] {
    *peer = host.peer();
    [what, "--peer", peer]
}

#[test]
fn files_arrive_by_hash_name_and_ticket() {
    if !is_here() {
        return;
    }
    let sandbox = Sandbox::new();
    for size in [0, 1, 65_536, 65_537, 1 << 20, 5_000_000] {
        let original = sandbox.file(&format!("in/file {size}"), size);
        let host = sandbox.share(&[original.to_str().unwrap()]);
        let name = format!("file {size}");
        for (what, copy) in [
            (host.hash(), "by-hash"),
            (name, "by-name"),
            (host.ticket(), "by-ticket"),
        ] {
            let (copy, mut peer) = (sandbox.text(&format!("{copy}-{size}")), String::new());
            let [what, option, peer] = by_peer(&host, &what, &mut peer);
            get(&[what, option, peer, "-o", &copy]);
            assert!(
                fs::read(&copy).unwrap() == noise(size),
                "{what}: {size} bytes"
            );
        }
    }
}

#[test]
fn folders_arrive() {
    if !is_here() {
        return;
    }
    let sandbox = Sandbox::new();
    let files = [
        ("a", 0),
        ("b/c/deep.bin", 3_000_000),
        ("b/ünï ☂", 65_537),
        ("run.sh", 12),
    ];
    for (name, size) in files {
        sandbox.file(&format!("tree/{name}"), size);
    }
    fs::create_dir(sandbox.path("tree/empty")).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(sandbox.path("tree/run.sh"), executable).unwrap();
    let host = sandbox.share(&[&sandbox.text("tree")]);
    let (copy, mut peer) = (sandbox.text("copy"), String::new());
    let hash = host.hash();
    let [what, option, peer] = by_peer(&host, &hash, &mut peer);
    get(&[what, option, peer, "-o", &copy]);
    for (name, size) in files {
        assert!(
            fs::read(sandbox.path("copy").join(name)).unwrap() == noise(size),
            "{name}"
        );
    }
    assert!(sandbox.path("copy/empty").is_dir());
    let mode = fs::metadata(sandbox.path("copy/run.sh"))
        .unwrap()
        .permissions();
    assert_ne!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o100, 0);
}

/// Both programs print one ticket for one content, and a file that changed is refused to both.
#[test]
fn what_was_withdrawn_is_not_found() {
    if !is_here() {
        return;
    }
    let sandbox = Sandbox::new();
    let (original, kept) = (sandbox.file("file", 100_000), sandbox.file("kept", 10));
    let mut host = sandbox.share(&[original.to_str().unwrap(), kept.to_str().unwrap()]);
    let hash = host.hash();
    fs::remove_file(&original).unwrap();
    host.program.event("withdrawn");
    let (copy, peer) = (sandbox.text("copy"), host.peer());
    let output = python("dig_get.py", &[&hash, "--peer", &peer, "-o", &copy]);
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!sandbox.path("copy").exists());
}

#[test]
fn vectors_and_formats_agree() {
    if !is_here() {
        return;
    }
    for program in ["test_vectors.py", "test_formats.py", "test_client.py"] {
        let output = python(program, &[]);
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
