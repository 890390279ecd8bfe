//! Transfers over loopback: files, folders, streams, limits.

use crate::sandbox::{Sandbox, noise, sha256, sha256sum};
use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

#[test]
fn files_of_every_size_arrive() {
    let sandbox = Sandbox::new();
    for size in [
        0,
        1,
        65_535,
        65_536,
        65_537,
        1 << 20,
        (1 << 20) + 1,
        5_000_000,
    ] {
        let original = sandbox.file(&format!("file-{size}"), size);
        let host = sandbox.share(&[original.to_str().unwrap()]);
        let copy = sandbox.text(&format!("copy-{size}"));
        let get = sandbox.get(&host, &[&host.hash(), "-o", &copy]);
        assert_eq!(get.done()["bytes"], size as u64);
        assert_eq!(fs::read(&copy).unwrap(), noise(size), "size {size}");
        let leftovers = fs::read_dir(sandbox.path("")).unwrap().flatten();
        assert!(
            !leftovers
                .into_iter()
                .any(|entry| entry.file_name().to_string_lossy().contains(".part"))
        );
    }
}

#[test]
fn sha256_is_what_sha256sum_says_and_fetches_the_file() {
    let sandbox = Sandbox::new();
    let original = sandbox.file("file", 2_500_000);
    let mut host = sandbox.share(&[original.to_str().unwrap()]);
    let reported = host.program.event("sha256")["sha256"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(reported, sha256sum(&original));

    let copy = sandbox.text("copy");
    let get = sandbox.get(&host, &[&format!("sha256:{reported}"), "-o", &copy]);
    assert_eq!(get.done()["verified"], "content-hash+sha256");
    assert_eq!(sha256sum(copy.as_ref()), reported);

    // Again: what is there is read, and neither replaced nor called wrong.
    let get = sandbox.get(&host, &[&format!("sha256:{reported}"), "-o", &copy]);
    assert_eq!(get.done()["verified"], "content-hash+sha256");
    assert_eq!(get.done()["fetched"], 0);
    let other = sha256(b"other");
    let get = sandbox.get(&host, &[&host.hash(), "--sha256", &other, "-o", &copy]);
    let said = get.failure(5, "verification");
    assert!(said.contains(&reported), "{said}");
    assert_eq!(sha256sum(copy.as_ref()), reported, "it stays as it is");

    let wrong = sandbox.text("wrong");
    let get = sandbox.get(
        &host,
        &[&host.hash(), "--sha256", &sha256(b"other"), "-o", &wrong],
    );
    let said = get.failure(5, "verification");
    assert!(said.contains(&reported), "{said}");
    assert!(
        !sandbox.path("wrong").exists(),
        "nothing unverified is released"
    );
}

#[test]
fn folders_arrive_whole_or_in_part() {
    let sandbox = Sandbox::new();
    for (name, size) in [
        ("tree/a.txt", 10),
        ("tree/b/deep.bin", 200_000),
        ("tree/b/ünï çödé ☂.txt", 5),
        ("tree/run.sh", 30),
        ("tree/zero", 0),
    ] {
        sandbox.file(name, size);
    }
    fs::create_dir_all(sandbox.path("tree/empty/inside")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", sandbox.path("tree/link")).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(sandbox.path("tree/run.sh"), executable).unwrap();

    let host = sandbox.share(&[&sandbox.text("tree")]);
    assert_eq!(host.ready["files"], 5);
    assert!(
        host.ready["warnings"][0].as_str().unwrap().contains("link"),
        "{}",
        host.ready
    );

    let copy = sandbox.text("copy");
    sandbox.get(&host, &[&host.hash(), "-o", &copy]).done();
    for (name, size) in [
        ("a.txt", 10),
        ("b/deep.bin", 200_000),
        ("b/ünï çödé ☂.txt", 5),
        ("run.sh", 30),
        ("zero", 0),
    ] {
        assert_eq!(
            fs::read(sandbox.path("copy").join(name)).unwrap(),
            noise(size),
            "{name}"
        );
    }
    assert!(sandbox.path("copy/empty/inside").is_dir());
    assert!(!sandbox.path("copy/link").exists());
    let mode = fs::metadata(sandbox.path("copy/run.sh"))
        .unwrap()
        .permissions();
    assert_ne!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o100, 0);

    let part = sandbox.text("part");
    sandbox
        .get(
            &host,
            &[
                &host.hash(),
                "-o",
                &part,
                "--select",
                "b/**",
                "--exclude",
                "*.txt",
            ],
        )
        .done();
    assert!(sandbox.path("part/b/deep.bin").exists());
    assert!(
        !sandbox.path("part/a.txt").exists() && !sandbox.path("part/b/ünï çödé ☂.txt").exists()
    );
}

#[test]
fn empty_folders_arrive() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("nothing")).unwrap();
    let host = sandbox.share(&[&sandbox.text("nothing")]);
    sandbox
        .get(&host, &[&host.hash(), "-o", &sandbox.text("copy")])
        .done();
    assert_eq!(fs::read_dir(sandbox.path("copy")).unwrap().count(), 0);
}

#[test]
fn getting_a_folder_again_makes_no_second_copy_inside() {
    let sandbox = Sandbox::new();
    sandbox.file("tree/one.bin", 70_000);
    sandbox.file("tree/sub/two.bin", 5);
    let host = sandbox.share(&[&sandbox.text("tree")]);
    let (hash, copy) = (host.hash(), sandbox.text("copy"));
    sandbox.get(&host, &[&hash, "-o", &copy]).done();
    let again = sandbox.get(&host, &[&hash, "-o", &copy]);
    assert_eq!(again.done()["fetched"], 0);
    assert_eq!(fs::read_dir(&copy).unwrap().count(), 2, "one.bin and sub");
    // Another folder that is there already is where the content goes into.
    fs::create_dir(sandbox.path("downloads")).unwrap();
    let into = sandbox.text("downloads");
    sandbox.get(&host, &[&hash, "-o", &into]).done();
    assert!(sandbox.path("downloads/tree/one.bin").exists());
}

#[test]
fn a_file_of_a_folder_is_a_content_of_its_own() {
    let sandbox = Sandbox::new();
    sandbox.file("tree/one.bin", 70_000);
    sandbox.file("tree/two.bin", 3_000_000);
    let folder = sandbox.share(&[&sandbox.text("tree")]);
    let alone = sandbox.share_as("alone", &[&sandbox.text("tree/two.bin")]);
    let copy = sandbox.text("copy");
    sandbox.get(&folder, &[&alone.hash(), "-o", &copy]).done();
    assert_eq!(fs::read(copy).unwrap(), noise(3_000_000));
}

#[test]
fn standard_input_goes_in_and_standard_output_comes_out() {
    let sandbox = Sandbox::new();
    let original = sandbox.file("original", 4_000_000);
    let mut share = Command::new(env!("CARGO_BIN_EXE_dignet"));
    share.args([
        "--json",
        "share",
        "-",
        "--name",
        "stream",
        "--no-local",
        "--listen",
        "127.0.0.1:0",
    ]);
    share
        .env("DIGNET_NO_DEFAULTS", "1")
        .env("DIGNET_HOME", sandbox.path("host"));
    share
        .stdin(fs::File::open(&original).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut program = crate::program::Dignet::spawn(share);
    let ready = program.event("ready");
    assert_eq!(
        (&ready["name"], &ready["size"]),
        (&"stream".into(), &4_000_000.into())
    );

    let peer = format!("127.0.0.1:{}", ready["port"]);
    let output = Command::new(env!("CARGO_BIN_EXE_dignet"))
        .args([
            "get",
            "stream",
            "-o",
            "-",
            "--no-local",
            "--listen",
            "127.0.0.1:0",
            "--peer",
            &peer,
        ])
        .env("DIGNET_NO_DEFAULTS", "1")
        .env("DIGNET_HOME", sandbox.path("getter"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.stdout == noise(4_000_000),
        "{} bytes came",
        output.stdout.len()
    );
}

#[test]
fn getting_again_is_done_at_once_without_any_peer() {
    let sandbox = Sandbox::new();
    let original = sandbox.file("file", 3_000_000);
    let host = sandbox.share(&[original.to_str().unwrap()]);
    let (hash, copy) = (host.hash(), sandbox.text("copy"));
    sandbox.get(&host, &[&hash, "-o", &copy]).done();
    let again = sandbox.get(&host, &[&hash, "-o", &copy]);
    assert_eq!(again.done()["fetched"], 0);
    drop(host);
    let args = [
        "get",
        "--no-local",
        "--listen",
        "127.0.0.1:0",
        &hash,
        "-o",
        &copy,
    ];
    let alone = crate::program::Dignet::start(&sandbox.path("getter"), &args).end();
    assert_eq!(alone.done()["fetched"], 0);
}

#[test]
fn limits_hold_and_once_ends_the_host() {
    let sandbox = Sandbox::new();
    let original = sandbox.file("file", 2_000_000);
    let host = sandbox.share(&[original.to_str().unwrap(), "--once", "--limit", "1MB"]);
    let started = Instant::now();
    sandbox
        .get(&host, &[&host.hash(), "-o", &sandbox.text("copy")])
        .done();
    assert!(
        started.elapsed() > Duration::from_millis(1_200),
        "faster than the limit: {:?}",
        started.elapsed()
    );
    assert_eq!(host.program.end().code, Some(0));
}

#[test]
fn ls_lists_a_folder_without_writing() {
    let sandbox = Sandbox::new();
    sandbox.file("tree/one.bin", 70_000);
    sandbox.file("tree/sub/two.bin", 5);
    let host = sandbox.share(&[&sandbox.text("tree")]);
    let (peer, hash) = (host.peer(), host.hash());
    let args = [
        "ls",
        &hash,
        "--no-local",
        "--listen",
        "127.0.0.1:0",
        "--peer",
        &peer,
    ];
    let listed = crate::program::Dignet::start(&sandbox.path("getter"), &args).end();
    assert_eq!(listed.code, Some(0), "{listed:#?}");
    let files: Vec<_> = listed
        .events
        .iter()
        .filter(|event| event["event"] == "file")
        .collect();
    assert_eq!(files.len(), 2);
    assert_eq!(
        (&files[1]["path"], &files[1]["size"]),
        (&"sub/two.bin".into(), &5.into())
    );
}

#[test]
fn only_trusted_nodes_are_served() {
    let sandbox = Sandbox::new();
    let original = sandbox.file("file", 1000);
    let id = Command::new(env!("CARGO_BIN_EXE_dignet"))
        .args(["id", "--home", &sandbox.text("getter")])
        .output();
    let id = String::from_utf8(id.unwrap().stdout)
        .unwrap()
        .trim()
        .to_owned();
    let host = sandbox.share(&[original.to_str().unwrap(), "--require-auth", "--trust", &id]);
    let copy = sandbox.text("copy");
    let said = sandbox
        .get(&host, &[&host.hash(), "-o", &copy])
        .failure(7, "refused");
    assert!(said.contains("dignet id"), "{said}");
    sandbox
        .get(&host, &[&host.hash(), "-o", &copy, "--identity", "home"])
        .done();
}
