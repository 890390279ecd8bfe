//! Each mistake has its clear error and exit code: command lines, tickets, names, paths.

use crate::{
    program::{Dignet, Ended},
    sandbox::{Cable, Sandbox, is_root, noise},
};
use data_encoding::BASE32_NOPAD;
use dig::{ContentHash, NodeId, Ticket, types::TicketNode};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    io::ErrorKind,
    net::{SocketAddr, TcpListener, UdpSocket},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Runs it where it can reach nobody.
fn run(sandbox: &Sandbox, args: &[&str]) -> Ended {
    Dignet::start(&sandbox.path("home"), args).end()
}

/// `get` on loopback.
fn get(sandbox: &Sandbox, what: &str, more: &[&str]) -> Ended {
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
        (&["get", &hash, "--strategy", "luck"], "fastest-available"),
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
fn assert_plain(ended: &Ended, what: &[&str]) {
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

/// A ticket of these fields, with a right checksum.
fn ticket_of(fields: &[(u8, Vec<u8>)]) -> String {
    let mut bytes = vec![1];
    bytes.extend(encode(fields));
    let checksum = Sha256::digest(&bytes);
    bytes.extend(&checksum[..4]);
    format!("dig1{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

fn encode(fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let field = |(id, value): &(u8, Vec<u8>)| {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[*id], &length[..], value].concat()
    };
    fields.iter().flat_map(field).collect()
}

#[test]
fn malformed_tickets() {
    let sandbox = Sandbox::new();
    let hash = || (0, vec![7; 32]);
    let node = |addrs: u16| {
        let addr = |port: u16| (2, [&[10, 0, 0, 1], &port.to_be_bytes()[..]].concat());
        let fields: Vec<_> = std::iter::once((0, vec![9; 32]))
            .chain((1..=addrs).map(addr))
            .collect();
        (2, encode(&fields))
    };
    let good = ticket_of(&[hash(), (3, b"name".to_vec())]);
    assert!(
        good.parse::<Ticket>().is_ok(),
        "else the cases below show nothing"
    );
    let mut typo = good.clone().into_bytes();
    typo[20] = if typo[20] == b'a' { b'b' } else { b'a' };
    let nodes: Vec<_> = std::iter::once(hash())
        .chain((0..17).map(|_| node(1)))
        .collect();
    let cases = [
        (
            "one character wrong",
            String::from_utf8(typo).unwrap(),
            "damaged or cut off",
        ),
        (
            "cut",
            good[..good.len() - 3].to_owned(),
            "damaged or cut off",
        ),
        (
            "only its beginning",
            "dig1".to_owned(),
            "damaged or cut off",
        ),
        (
            "upper case",
            good.to_ascii_uppercase().replacen("DIG1", "dig1", 1),
            "character",
        ),
        ("1,000 addresses", ticket_of(&[hash(), node(1_000)]), "4096"),
        ("9 addresses", ticket_of(&[hash(), node(9)]), "8 addresses"),
        ("17 nodes", ticket_of(&nodes), "16 nodes"),
        (
            "no hash",
            ticket_of(&[(3, b"name".to_vec())]),
            "no content hash",
        ),
        (
            "a name that is a path",
            ticket_of(&[hash(), (3, b"../up".to_vec())]),
            "name",
        ),
        (
            "a name with ESC",
            ticket_of(&[hash(), (3, b"\x1b[2J".to_vec())]),
            "name",
        ),
        (
            "a name with NUL",
            ticket_of(&[hash(), (3, b"a\0b".to_vec())]),
            "name",
        ),
        (
            "a later version",
            ticket_of(&[(4, vec![1])]),
            "required field",
        ),
    ];
    for (case, ticket, word) in cases {
        let ended = get(&sandbox, &ticket, &[]);
        let said = ended.failure(2, "usage");
        assert!(said.contains(word), "{case}: {said}");
        assert!(
            said.len() < 1_000,
            "{case}: nobody reads {} bytes",
            said.len()
        );
        assert_plain(&ended, &[case]);
        assert_eq!(ended.events.len(), 1, "{case}: nobody was asked");
    }
    let peers: String = (1..=1_000)
        .map(|port| format!("&x.pe=10.0.0.1:{port}"))
        .collect();
    let magnet = format!("magnet:?xt=urn:dig:{}{peers}", "ab".repeat(32));
    get(&sandbox, &magnet, &[]).failure(2, "usage");
}

/// Whoever writes a ticket does not make others knock at their own machine or in foreign networks.
#[test]
fn tickets_that_lead_inside_are_not_followed() {
    if !is_root() {
        return;
    }
    let (sandbox, cable) = (Sandbox::new(), Cable::new());
    let doors: Vec<(TcpListener, UdpSocket)> = ["127.0.0.1", "127.9.9.9"]
        .map(|ip| {
            let tcp = TcpListener::bind((ip, 0)).unwrap();
            let udp = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
            tcp.set_nonblocking(true).unwrap();
            udp.set_nonblocking(true).unwrap();
            (tcp, udp)
        })
        .into();
    let mut addrs: Vec<SocketAddr> = doors
        .iter()
        .map(|(tcp, _)| tcp.local_addr().unwrap())
        .collect();
    let port = addrs[0].port();
    for text in [
        "[::1]",
        "0.0.0.0",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ] {
        addrs.push(format!("{text}:{port}").parse().unwrap());
    }
    for text in [
        "192.168.77.7",
        "10.255.0.1",
        "172.16.0.1",
        "169.254.1.1",
        "[fd12:3456::1]",
        "224.0.0.251",
        "255.255.255.255",
    ] {
        addrs.push(format!("{text}:{port}").parse().unwrap());
    }
    let nodes = addrs.chunks(8).map(|addrs| TicketNode {
        node: NodeId::from_bytes([3; 32]),
        addrs: addrs.into(),
    });
    let ticket = Ticket {
        nodes: nodes.collect(),
        ..Ticket::new(ContentHash::from_bytes([5; 32]))
    }
    .to_string();

    // On this machine, whose loopback has the doors; and with a network of its own, where one address of the ticket is a neighbour's.
    let started = Instant::now();
    let alone = get(&sandbox, &ticket, &[]);
    let said = alone.failure(4, "connect");
    assert!(
        said.contains("127.0.0.1") && said.contains("--peer"),
        "{said}"
    );
    assert!(
        alone.events.iter().all(|event| event["event"] != "attempt"),
        "{alone:#?}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    for (tcp, udp) in &doors {
        assert_eq!(
            tcp.accept().unwrap_err().kind(),
            ErrorKind::WouldBlock,
            "somebody knocked"
        );
        assert_eq!(
            udp.recv(&mut [0; 10]).unwrap_err().kind(),
            ErrorKind::WouldBlock,
            "somebody knocked"
        );
    }

    let neighbour: SocketAddr = format!("10.83.0.2:{port}").parse().unwrap();
    let mut addrs = addrs;
    addrs[0] = neighbour;
    let nodes = addrs.chunks(8).map(|addrs| TicketNode {
        node: NodeId::from_bytes([3; 32]),
        addrs: addrs.into(),
    });
    let ticket = Ticket {
        nodes: nodes.collect(),
        ..Ticket::new(ContentHash::from_bytes([5; 32]))
    }
    .to_string();
    let args = [
        "get",
        "--no-local",
        "--timeout",
        "2s",
        &ticket,
        "-o",
        &sandbox.text("copy"),
    ];
    let near = cable.start(0, &sandbox.path("near"), &args).end();
    near.failure(4, "connect");
    let dialled: Vec<_> = near
        .events
        .iter()
        .filter(|event| event["event"] == "attempt")
        .collect();
    assert!(
        !dialled.is_empty()
            && dialled
                .iter()
                .all(|event| event["addr"] == neighbour.to_string()),
        "{dialled:#?}"
    );
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

#[test]
fn paths_that_cannot_be_shared() {
    let sandbox = Sandbox::new();
    sandbox.file("file", 10);
    sandbox.file("odd/esc\x1b[2J", 10);
    sandbox.file("esc\x1b]0;owned\x07", 10);
    sandbox.file("back/a\\b", 10);
    fs::create_dir(sandbox.path("latin")).unwrap();
    let mut latin = sandbox.path("latin").into_os_string().into_encoded_bytes();
    latin.extend(b"/caf\xe9");
    let latin: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(latin);
    fs::write(&latin, b"x").unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(sandbox.path("pipe"))
            .status()
            .unwrap()
            .success()
    );
    std::os::unix::fs::symlink("nowhere", sandbox.path("dangling")).unwrap();
    std::os::unix::fs::symlink("loop", sandbox.path("loop")).unwrap();
    let cases = [
        ("missing", "No such file"),
        ("file/below", "Not a directory"),
        ("pipe", "neither a file nor a folder"),
        ("dangling", "No such file"),
        ("loop", "symbolic links"),
        ("odd", "rename"),
        ("esc\x1b]0;owned\x07", "--name"),
        ("back", "rename"),
        ("latin", "UTF-8"),
    ];
    for (path, word) in cases {
        let path = sandbox.text(path);
        let ended = run(
            &sandbox,
            &["share", "--no-local", "--listen", "127.0.0.1:0", &path],
        );
        let said = ended.failure(6, "local");
        assert!(said.contains(word), "{path:?}: {said}");
        assert_plain(&ended, &[&path]);
    }
    let device = run(
        &sandbox,
        &[
            "share",
            "--no-local",
            "--listen",
            "127.0.0.1:0",
            "/dev/zero",
        ],
    );
    device.failure(6, "local");
    // A folder that cannot be read in the middle: nothing of it is shared in silence.
    let taken = sandbox.text("file");
    let home = run(
        &sandbox,
        &[
            "share",
            "--home",
            &taken,
            "--no-local",
            "--listen",
            "127.0.0.1:0",
            &taken,
        ],
    );
    let said = home.failure(6, "local");
    assert!(said.contains("--home"), "{said}");
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
        std::os::unix::fs::symlink(to, sandbox.path("tree").join(link)).unwrap();
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
    std::os::unix::fs::symlink("tree/real", sandbox.path("alias")).unwrap();
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
    std::os::unix::fs::symlink(sandbox.path("secret"), sandbox.path("tree/sub")).unwrap();
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
