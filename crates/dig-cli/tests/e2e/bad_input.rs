//! Each mistake has its clear error and exit code: command lines, names, paths, peers.

use crate::{
    program::{Dignet, Ended},
    sandbox::{Sandbox, noise},
};
use std::{
    ffi::OsStr,
    fs,
    net::TcpListener,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Runs it where it can reach nobody.
pub(crate) fn run(sandbox: &Sandbox, args: &[&str]) -> Ended {
    Dignet::start(&sandbox.path("home"), args).end()
}

/// `get` on loopback.
pub(crate) fn get(sandbox: &Sandbox, what: &str, more: &[&str]) -> Ended {
    let copy = sandbox.text("copy");
    let args = [
        "get",
        what,
        "--no-local",
        "--listen",
        "127.0.0.1:0",
        "-o",
        &copy,
    ];
    run(sandbox, &[&args, more].concat())
}

#[test]
fn command_lines() {
    let sandbox = Sandbox::new();
    let hash = "ab".repeat(32);
    let (one, other) = (sandbox.text("one"), sandbox.text("other"));
    let cases: &[(&[&str], &str)] = &[
        (&[], "subcommand"),
        (&["fetch"], "fetch"),
        (&["share"], "PATH"),
        (&["get"], "WHAT"),
        (&["get", &hash, "--limit", "0"], "--limit"),
        (&["get", &hash, "--limit", "fast"], "500KiB"),
        (&["get", &hash, "--timeout", "1 fortnight"], "30s"),
        (&["get", &hash, "--sha256", "12"], "--sha256"),
        (&["get", &hash, "--peer", "nowhere"], "IP:PORT"),
        (&["get", &hash, "--peer", "127.0.0.1:0"], "port 0"),
        (&["get", &hash, "--peer", "12@127.0.0.1:4"], "node id"),
        (&["get", &hash, "--listen", "4433"], "--listen"),
        (&["get", &hash, "--trust", "me"], "--trust"),
        (&["get", &hash, "--order", "luck"], "fastest-available"),
        (&["get", &hash, "--strategy", "luck"], "sequential"),
        (&["get", &hash, "--methods", "luck"], "udp-hole-punch"),
        (&["get", &hash, "--stun", "nowhere"], "HOST:PORT"),
        (&["get", &hash, "--select", "a{b"], "a{b"),
        (&["get", &hash, "-o", "-"], "standard output"),
        (&["get", &hash, &hash, "-o", "-"], "standard output"),
        (&["share", &one, &other, "--name", "both"], "--name"),
        (&["share", &one, "--name", "../up"], "`/`"),
        (&["share", &one, "--name", ""], "empty"),
        (&["share", &one, "--name", "esc\x1b[2J"], "control"),
        (&["ls", "sha256:12"], "64"),
    ];
    for (args, word) in cases {
        let ended = run(&sandbox, args);
        let said = ended.failure(2, "usage");
        assert!(said.contains(word), "{args:?}: {said}");
        assert_plain(&ended, args);
    }
}

/// Nothing that a terminal would obey.
pub(crate) fn assert_plain(ended: &Ended, what: &[&str]) {
    let text = format!("{}{:?}", ended.stderr, ended.events);
    assert!(!text.contains('\x1b'), "{what:?}: {text}");
}

#[test]
fn words_that_mean_nothing() {
    let sandbox = Sandbox::new();
    let long = "n".repeat(300);
    let cases = [
        ("../etc/passwd", "`/`"),
        ("back\\slash", "`/` or `\\`"),
        ("", "empty"),
        ("esc\x1b]0;owned\x07", "control"),
        ("line\nbreak", "control"),
        (&long, "255"),
        ("sha256:", "64"),
        ("sha256:xyz", "64"),
        ("magnet:?xt=urn:btih:abcdef", "ticket"),
    ];
    for (what, word) in cases {
        let ended = get(&sandbox, what, &[]);
        let said = ended.failure(2, "usage");
        assert!(said.contains(word), "{what:?}: {said}");
        assert_plain(&ended, &[what]);
    }
}

#[test]
fn what_nobody_has() {
    let sandbox = Sandbox::new();
    let original = sandbox.file("file", 1_000);
    let host = sandbox.share(&[original.to_str().unwrap()]);
    let copy = sandbox.text("copy");
    let (hash, sha256) = ("ab".repeat(32), format!("sha256:{}", "cd".repeat(32)));
    for what in [hash.as_str(), &sha256, "no-such-name"] {
        let started = Instant::now();
        let said = sandbox
            .get(&host, &[what, "-o", &copy])
            .failure(3, "not-found");
        assert!(said.contains(what), "{what}: {said}");
        assert!(
            started.elapsed() < Duration::from_secs(12),
            "{what}: {:?}",
            started.elapsed()
        );
    }
    // The same with nobody to ask.
    let said = get(&sandbox, &hash, &[]).failure(3, "not-found");
    assert!(said.contains(&hash) && said.contains("--peer"), "{said}");
    // With a name of that node that it does not have.
    let name = format!("other@{}", host.node());
    sandbox
        .get(&host, &[&name, "-o", &copy])
        .failure(3, "not-found");
    assert!(!sandbox.path("copy").exists());
}

#[test]
fn who_is_not_there_or_not_who_was_asked_for() {
    let sandbox = Sandbox::new();
    let original = sandbox.file("file", 1_000);
    let host = sandbox.share(&[original.to_str().unwrap()]);
    let (hash, addr) = (host.hash(), format!("127.0.0.1:{}", host.ready["port"]));
    let wrong = "12".repeat(32);
    let ended = get(&sandbox, &hash, &["--peer", &format!("{wrong}@{addr}")]);
    let said = ended.failure(4, "connect");
    assert!(
        said.contains(&host.node()) || said.contains(&host.node()[..8]),
        "who is there? {said}"
    );
    assert!(
        ended
            .events
            .iter()
            .all(|event| event["event"] != "connected")
    );

    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let said = get(&sandbox, &hash, &["--peer", &free, "--timeout", "3s"]).failure(4, "connect");
    assert!(said.contains(&free) && said.contains("refused"), "{said}");

    // Somebody who speaks something else.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = deaf.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in deaf.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut &stream, b"SSH-2.0-OpenSSH_9.9\r\n");
        }
    });
    let said = get(&sandbox, &hash, &["--peer", &addr, "--timeout", "3s"]).failure(4, "connect");
    assert!(said.contains(&addr), "{said}");
}

/// `share` on loopback fails: what it says.
fn share_fails(sandbox: &Sandbox, path: &str) -> String {
    let args = ["share", "--no-local", "--listen", "127.0.0.1:0", path];
    let ended = run(sandbox, &args);
    assert_plain(&ended, &args);
    ended.failure(6, "local")
}

#[test]
fn paths_that_cannot_be_shared() {
    let sandbox = Sandbox::new();
    sandbox.file("file", 10);
    let pipe = Command::new("mkfifo").arg(sandbox.path("pipe")).status();
    assert!(pipe.unwrap().success());
    symlink("nowhere", sandbox.path("dangling")).unwrap();
    symlink("loop", sandbox.path("loop")).unwrap();
    for (path, word) in [
        ("missing", "No such file"),
        ("file/below", "Not a directory"),
        ("pipe", "neither a file nor a folder"),
        ("dangling", "No such file"),
        ("loop", "symbolic links"),
    ] {
        let said = share_fails(&sandbox, &sandbox.text(path));
        assert!(said.contains(word), "{path}: {said}");
    }
    share_fails(&sandbox, "/dev/zero");
    // A home that is a file.
    let taken = sandbox.text("file");
    let home = [
        "share",
        "--home",
        &taken,
        "--no-local",
        "--listen",
        "127.0.0.1:0",
        &taken,
    ];
    let said = run(&sandbox, &home).failure(6, "local");
    assert!(said.contains("--home"), "{said}");
}

#[test]
fn names_that_cannot_be_shared() {
    let sandbox = Sandbox::new();
    for name in ["odd/esc\x1b[2J", "esc\x1b]0;owned\x07", "back/a\\b"] {
        sandbox.file(name, 10);
    }
    fs::create_dir(sandbox.path("latin")).unwrap();
    let not_utf8 = OsStr::from_bytes(b"caf\xe9");
    fs::write(sandbox.path("latin").join(not_utf8), b"x").unwrap();
    for (path, word) in [
        ("odd", "rename"),
        ("esc\x1b]0;owned\x07", "--name"),
        ("back", "rename"),
        ("latin", "UTF-8"),
    ] {
        let said = share_fails(&sandbox, &sandbox.text(path));
        assert!(said.contains(word), "{path:?}: {said}");
    }
}

#[test]
fn a_file_with_an_odd_name_is_shared_under_another() {
    let sandbox = Sandbox::new();
    let odd = sandbox.file("esc\x1b[2J", 10);
    let host = sandbox.share(&[odd.to_str().unwrap(), "--name", "plain"]);
    fs::create_dir(sandbox.path("out")).unwrap();
    let get = sandbox.get(&host, &[&host.hash(), "-o", &sandbox.text("out")]);
    assert_eq!(get.done()["path"], sandbox.text("out/plain"));
}

#[test]
fn links_do_not_lead_out_of_a_shared_folder() {
    let sandbox = Sandbox::new();
    sandbox.file("tree/real", 1_000);
    sandbox.file("secret/key", 77);
    fs::create_dir(sandbox.path("tree/sub")).unwrap();
    let links = [
        ("inside", "real"),
        ("outside", "../secret/key"),
        ("sub/folder", "../../secret"),
        ("sub/up", ".."),
        ("abs", "/etc/passwd"),
    ];
    for (link, to) in links {
        symlink(to, sandbox.path("tree").join(link)).unwrap();
    }
    let host = sandbox.share(&[&sandbox.text("tree")]);
    assert_eq!(host.ready["files"], 1);
    let warnings = host.ready["warnings"].to_string();
    for (link, _) in links {
        assert!(warnings.contains(link), "{link}: {warnings}");
    }
    sandbox
        .get(&host, &[&host.hash(), "-o", &sandbox.text("copy")])
        .done();
    assert_eq!(fs::read(sandbox.path("copy/real")).unwrap(), noise(1_000));
    assert_eq!(
        fs::read_dir(sandbox.path("copy")).unwrap().count(),
        2,
        "the file, and the folder that is empty now"
    );

    // A path that is a link itself is what it leads to.
    symlink("tree/real", sandbox.path("alias")).unwrap();
    let alias = sandbox.share_as("alias-home", &[&sandbox.text("alias")]);
    assert_eq!(
        (&alias.ready["name"], &alias.ready["size"]),
        (&"alias".into(), &1_000.into())
    );
}

/// A folder put in place of one that is being shared, by a link: what lies behind the link is not served.
#[test]
fn a_folder_swapped_for_a_link_is_withdrawn() {
    let sandbox = Sandbox::new();
    sandbox.file("tree/sub/file", 100_000);
    sandbox.file("secret/file", 100_000);
    let mut host = sandbox.share(&[&sandbox.text("tree")]);
    let hash = host.hash();
    fs::rename(sandbox.path("tree/sub"), sandbox.path("moved")).unwrap();
    symlink(sandbox.path("secret"), sandbox.path("tree/sub")).unwrap();
    host.program.event("withdrawn");
    sandbox.get(
        &host,
        &[&hash, "-o", &sandbox.text("copy"), "--timeout", "2s"],
    );
    assert!(!sandbox.path("copy").exists());
}

#[test]
fn a_folder_does_not_fit_on_standard_output() {
    let sandbox = Sandbox::new();
    sandbox.file("tree/file", 10);
    let host = sandbox.share(&[&sandbox.text("tree")]);
    let output = Command::new(env!("CARGO_BIN_EXE_dignet"))
        .args([
            "get",
            &host.hash(),
            "-o",
            "-",
            "--no-local",
            "--listen",
            "127.0.0.1:0",
            "--peer",
            &host.peer(),
        ])
        .env("DIGNET_NO_DEFAULTS", "1")
        .env("DIGNET_HOME", sandbox.path("getter"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("folder") && said.contains("-o"), "{said}");
    assert!(output.stdout.is_empty());
}
