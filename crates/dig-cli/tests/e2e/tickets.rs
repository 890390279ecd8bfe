//! Tickets that are damaged, malformed, or mean harm.

use crate::{
    bad_input::{assert_plain, get},
    sandbox::{Cable, Sandbox, is_root},
};
use data_encoding::BASE32_NOPAD;
use dig::{ContentHash, NodeId, Ticket, types::TicketNode};
use sha2::{Digest as _, Sha256};
use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener, UdpSocket},
    time::{Duration, Instant},
};

type Field = (u8, Vec<u8>);

/// A ticket of these fields, with a right checksum.
fn ticket_of(fields: &[Field]) -> String {
    let mut bytes = vec![1];
    bytes.extend(encode(fields));
    let checksum = Sha256::digest(&bytes);
    bytes.extend(&checksum[..4]);
    format!("dig1{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

fn encode(fields: &[Field]) -> Vec<u8> {
    let field = |(id, value): &Field| {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[*id], &length[..], value].concat()
    };
    fields.iter().flat_map(field).collect()
}

fn hash() -> Field {
    (0, vec![7; 32])
}

fn name(name: &[u8]) -> Field {
    (3, name.to_vec())
}

/// A node of so many addresses.
fn node(addrs: u16) -> Field {
    let addr = |port: u16| (2, [&[10, 0, 0, 1], &port.to_be_bytes()[..]].concat());
    let id = std::iter::once((0, vec![9; 32]));
    let fields: Vec<Field> = id.chain((1..=addrs).map(addr)).collect();
    (2, encode(&fields))
}

/// It is refused with this word, briefly, and nobody is asked.
fn is_malformed(case: &str, ticket: &str, word: &str) {
    let sandbox = Sandbox::new();
    let ended = get(&sandbox, ticket, &[]);
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

#[test]
fn damaged() {
    let good = ticket_of(&[hash(), name(b"name")]);
    assert!(
        good.parse::<Ticket>().is_ok(),
        "else the cases below show nothing"
    );
    let mut typo = good.clone().into_bytes();
    typo[20] = if typo[20] == b'a' { b'b' } else { b'a' };
    let typo = String::from_utf8(typo).unwrap();
    is_malformed("one character wrong", &typo, "damaged or cut off");
    is_malformed("cut", &good[..good.len() - 3], "damaged or cut off");
    is_malformed("only its beginning", "dig1", "damaged or cut off");
    let upper = good.to_ascii_uppercase().replacen("DIG1", "dig1", 1);
    is_malformed("upper case", &upper, "character");
}

#[test]
fn malformed() {
    let nodes: Vec<Field> = std::iter::once(hash())
        .chain((0..17).map(|_| node(1)))
        .collect();
    let cases: [(&str, &[Field], &str); 8] = [
        ("1,000 addresses", &[hash(), node(1_000)], "4096"),
        ("9 addresses", &[hash(), node(9)], "8 addresses"),
        ("17 nodes", &nodes, "16 nodes"),
        ("no hash", &[name(b"name")], "no content hash"),
        ("a name that is a path", &[hash(), name(b"../up")], "name"),
        ("a name with ESC", &[hash(), name(b"\x1b[2J")], "name"),
        ("a name with NUL", &[hash(), name(b"a\0b")], "name"),
        ("of a later version", &[(4, vec![1])], "required field"),
    ];
    for (case, fields, word) in cases {
        is_malformed(case, &ticket_of(fields), word);
    }
    let peers = (1..=1_000).map(|port| format!("&x.pe=10.0.0.1:{port}"));
    let magnet = format!(
        "magnet:?xt=urn:dig:{}{}",
        "ab".repeat(32),
        peers.collect::<String>()
    );
    is_malformed("magnet of 1,000 addresses", &magnet, "4096");
}

/// A TCP and a UDP port at which nobody may knock.
struct Door(TcpListener, UdpSocket);

impl Door {
    fn at(ip: &str) -> Self {
        let tcp = TcpListener::bind((ip, 0)).unwrap();
        let udp = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        Self(tcp, udp)
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn assert_nobody_knocked(&self) {
        let blocked = ErrorKind::WouldBlock;
        assert_eq!(
            self.0.accept().unwrap_err().kind(),
            blocked,
            "somebody knocked"
        );
        assert_eq!(
            self.1.recv(&mut [0; 10]).unwrap_err().kind(),
            blocked,
            "somebody knocked"
        );
    }
}

/// Addresses inside a machine or in networks that no test machine is on.
const INSIDE: [&str; 13] = [
    "[::1]",
    "0.0.0.0",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "192.168.77.7",
    "10.255.0.1",
    "172.16.0.1",
    "169.254.1.1",
    "[fd12:3456::1]",
    "224.0.0.251",
    "255.255.255.255",
];

fn ticket_to(addrs: &[SocketAddr]) -> String {
    let node = |addrs: &[SocketAddr]| TicketNode {
        node: NodeId::from_bytes([3; 32]),
        addrs: addrs.into(),
        mapped: Vec::new(),
        via: Vec::new(),
        relays: Vec::new(),
    };
    let nodes = addrs.chunks(8).map(node).collect();
    let hash = ContentHash::from_bytes([5; 32]);
    Ticket {
        nodes,
        ..Ticket::new(hash)
    }
    .to_string()
}

/// Whoever writes a ticket does not make others knock at their own machine or in foreign networks.
#[test]
fn no_ticket_leads_inside() {
    let sandbox = Sandbox::new();
    let doors = [Door::at("127.0.0.1"), Door::at("127.9.9.9")];
    let port = doors[0].addr().port();
    let inside = INSIDE.map(|ip| format!("{ip}:{port}").parse().unwrap());
    let addrs = [&doors.each_ref().map(Door::addr)[..], &inside].concat();
    let started = Instant::now();
    let get = get(&sandbox, &ticket_to(&addrs), &[]);
    let said = get.failure(4, "connect");
    assert!(
        said.contains("127.0.0.1") && said.contains("--peer"),
        "{said}"
    );
    assert!(
        get.events.iter().all(|event| event["event"] != "attempt"),
        "{get:#?}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    doors.iter().for_each(Door::assert_nobody_knocked);
}

#[test]
fn a_neighbour_among_foreign_addresses_is_dialled_alone() {
    if !is_root() {
        return;
    }
    let (sandbox, cable) = (Sandbox::new(), Cable::new());
    let neighbour = "10.83.0.2:4433";
    let inside = INSIDE.map(|ip| format!("{ip}:4433").parse().unwrap());
    let addrs = [&[neighbour.parse().unwrap()][..], &inside].concat();
    let (ticket, copy) = (ticket_to(&addrs), sandbox.text("copy"));
    let args = ["get", "--no-local", "--timeout", "2s", &ticket, "-o", &copy];
    let get = cable.start(0, &sandbox.path("getter"), &args).end();
    get.failure(4, "connect");
    let attempts = get
        .events
        .iter()
        .filter(|event| event["event"] == "attempt");
    let dialled: Vec<_> = attempts
        .map(|event| event["addr"].as_str().unwrap())
        .collect();
    assert!(
        !dialled.is_empty() && dialled.iter().all(|addr| *addr == neighbour),
        "{dialled:?}"
    );
}
