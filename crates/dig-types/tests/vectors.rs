//! The published test vectors of tickets, `docs/vectors/tickets.json`: checked against this crate,
//! or written where `DIG_WRITE_VECTORS` is 1.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]
#![allow(
    clippy::too_many_lines,
    reason = "the list of bad tickets reads best as one list"
)]

use data_encoding::BASE32_NOPAD;
use dig_types::{
    ContentHash, ContentKind, ContentName, MappedAddr, Method, NodeId, PeerAddr, Ticket,
    TicketNode, Transport,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{fs, path::Path};

const ABOUT: &str = "Tickets of docs/protocol.md section 8. `good`: `ticket` means the given values (null: not \
    stated), and whoever makes a ticket of them writes exactly this; `magnet` is its link, which says neither the kind nor \
    nodes without address. `readable`: means the given values, but is written by nobody yet. `bad`: refused. `paths`: who introduces to a node, \
    and where routers map ports to it; whoever makes a ticket of them writes exactly this. `bad_paths`: refused by whoever reads these fields. \
    Hashes and node ids are hexadecimal.";

fn plain() -> Ticket {
    Ticket::new(ContentHash::from_bytes([0x11; 32]))
}

fn full() -> Ticket {
    let node = |byte: u8, addrs: &[&str]| TicketNode {
        node: NodeId::from_bytes([byte; 32]),
        addrs: addrs.iter().map(|addr| addr.parse().unwrap()).collect(),
        mapped: Vec::new(),
        via: Vec::new(),
        relays: Vec::new(),
    };
    Ticket {
        size: Some(8_589_934_592),
        name: Some(ContentName::new("caf\u{e9} (1).mp4").unwrap()),
        kind: Some(ContentKind::File),
        nodes: vec![
            node(0x22, &["192.168.1.5:4433", "[2001:db8::1]:4433"]),
            node(0x33, &[]),
        ],
        ..plain()
    }
}

fn folder() -> Ticket {
    Ticket {
        size: Some(0),
        name: Some(ContentName::new("empty").unwrap()),
        kind: Some(ContentKind::Folder),
        ..plain()
    }
}

/// One node that is mapped by every protocol, and introduced by two peers.
fn paths() -> Ticket {
    let mapped = |method, transport, addr: &str| MappedAddr {
        method,
        transport,
        addr: addr.parse().unwrap(),
    };
    let via = |byte: u8, addr: &str| PeerAddr {
        node: Some(NodeId::from_bytes([byte; 32])),
        addr: addr.parse().unwrap(),
    };
    let node = TicketNode {
        node: NodeId::from_bytes([0x22; 32]),
        addrs: vec!["192.168.1.5:4433".parse().unwrap()],
        mapped: vec![
            mapped(Method::Pcp, Transport::Udp, "203.0.113.7:40000"),
            mapped(Method::NatPmp, Transport::Tcp, "203.0.113.7:40001"),
            mapped(Method::Upnp, Transport::Udp, "[2001:db8::7]:4433"),
        ],
        via: vec![
            via(0x44, "198.51.100.1:4433"),
            via(0x55, "[2001:db8::5]:4433"),
        ],
        relays: vec![
            "wss://relay.example.org:8765/gun".into(),
            "wss://[2001:db8::9]/gun".into(),
        ],
    };
    Ticket {
        nodes: vec![node],
        ..plain()
    }
}

/// Tickets whose rendezvous peers or mapped addresses cannot be read.
fn bad_paths() -> Vec<(&'static str, String)> {
    let of = |fields: &[Vec<u8>]| {
        let node = [&[field(0, &[0x22; 32])], fields].concat().concat();
        with(&[field(2, &node)])
    };
    let mapped = |bytes: &[u8]| of(&[field(9, bytes)]);
    let via = |bytes: &[u8]| of(&[field(7, &[&[0x44; 32][..], bytes].concat())]);
    vec![
        ("a mapped address of one byte", mapped(&[1])),
        (
            "a mapped address of 5 bytes",
            mapped(&[1, 17, 203, 0, 113, 7, 1]),
        ),
        ("a mapped port 0", mapped(&[1, 17, 203, 0, 113, 7, 0, 0])),
        ("a rendezvous peer without address", via(&[])),
        ("a rendezvous peer at port 0", via(&[198, 51, 100, 1, 0, 0])),
        (
            "a rendezvous peer with half an id",
            of(&[field(7, &[0x44; 16])]),
        ),
    ]
}

/// The word of any bytes, with the checksum they need.
fn word(body: &[u8]) -> String {
    let mut bytes = body.to_vec();
    bytes.extend_from_slice(&Sha256::digest(body)[..4]);
    format!("dig1{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

fn field(id: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[id], &length[..], value].concat()
}

/// A ticket of version 1 with these fields behind its content hash.
fn with(fields: &[Vec<u8>]) -> String {
    word(&[vec![1], field(0, &[0x11; 32]), fields.concat()].concat())
}

fn bad() -> Vec<(&'static str, String)> {
    let good = full().to_string();
    let node = field(0, &[0x22; 32]);
    let address = field(2, &[192, 0, 2, 1, 0x11, 0x51]);
    let far_too_many = [node.clone(), address.repeat(9)].concat();
    vec![
        ("another prefix", good.replacen("dig1", "dig2", 1)),
        (
            "upper case",
            format!("dig1{}", good["dig1".len()..].to_ascii_uppercase()),
        ),
        ("padding", format!("{}==", plain())),
        ("cut off", good[..good.len() - 1].to_owned()),
        ("half", good[..good.len() / 2].to_owned()),
        ("mistyped", good.replacen("irce", "irbe", 1)),
        ("a space inside", format!("{} {}", &good[..20], &good[20..])),
        ("nothing", "dig1".to_owned()),
        (
            "version 2",
            word(&[&[2][..], &field(0, &[0x11; 32])].concat()),
        ),
        (
            "no content hash",
            word(&[&[1][..], &field(1, &[0; 8])].concat()),
        ),
        ("two content hashes", with(&[field(0, &[0x12; 32])])),
        ("two sizes", with(&[field(1, &[0; 8]), field(1, &[0; 8])])),
        ("a size of 4 bytes", with(&[field(1, &[0; 4])])),
        ("kind 2", with(&[field(5, &[2])])),
        ("an unknown required field", with(&[field(4, b"x")])),
        (
            "an unknown required field of a node",
            with(&[field(2, &[node.clone(), field(4, b"x")].concat())]),
        ),
        ("a node without id", with(&[field(2, &address)])),
        (
            "an address of 5 bytes",
            with(&[field(
                2,
                &[node.clone(), field(2, &[192, 0, 2, 1, 1])].concat(),
            )]),
        ),
        (
            "port 0",
            with(&[field(
                2,
                &[node.clone(), field(2, &[192, 0, 2, 1, 0, 0])].concat(),
            )]),
        ),
        ("9 addresses of a node", with(&[field(2, &far_too_many)])),
        ("17 nodes", with(&vec![field(2, &node); 17])),
        ("a field that ends too early", with(&[vec![7, 0, 9, 1]])),
        ("a name that is a path", with(&[field(3, b"../secret")])),
        (
            "a name with an escape character",
            with(&[field(3, b"\x1b[2J")]),
        ),
        ("a name of 256 bytes", with(&[field(3, &[b'a'; 256])])),
        ("an empty name", with(&[field(3, b"")])),
        ("a name that is not UTF-8", with(&[field(3, b"\xff")])),
        ("4,100 characters", with(&[field(9, &[0; 2_600])])),
    ]
}

fn meaning(ticket: &Ticket) -> Value {
    let nodes: Vec<Value> = ticket
        .nodes
        .iter()
        .map(|node| {
            let addresses: Vec<String> = node.addrs.iter().map(ToString::to_string).collect();
            json!({ "node": node.node.to_string(), "addresses": addresses })
        })
        .collect();
    json!({
        "hash": ticket.hash.to_string(),
        "size": ticket.size,
        "name": ticket.name.as_ref().map(ToString::to_string),
        "kind": ticket.kind.map(|kind| match kind {
            ContentKind::File => "file",
            ContentKind::Folder => "folder",
        }),
        "nodes": nodes,
    })
}

fn paths_document() -> Value {
    let ticket = paths();
    let node = &ticket.nodes[0];
    let mapped: Vec<Value> = node
        .mapped
        .iter()
        .map(|mapped| {
            json!({
                "method": mapped.method.name(),
                "transport": mapped.transport.to_string(),
                "address": mapped.addr.to_string(),
            })
        })
        .collect();
    let relays: Vec<&str> = node.relays.iter().map(AsRef::as_ref).collect();
    let via: Vec<String> = node.via.iter().map(ToString::to_string).collect();
    json!({
        "ticket": ticket.to_string(),
        "means": meaning(&ticket),
        "mapped": mapped,
        "rendezvous": via,
        "relays": relays,
    })
}

fn document() -> Value {
    let good: Vec<Value> = [plain(), full(), folder()]
        .iter()
        .map(|ticket| json!({ "ticket": ticket.to_string(), "magnet": ticket.to_magnet(), "means": meaning(ticket) }))
        .collect();
    let later = with(&[
        field(7, b"later"),
        field(2, &[field(0, &[0x22; 32]), field(3, b"prekey")].concat()),
    ]);
    let means = meaning(&later.parse().unwrap());
    let refused = |list: Vec<(&str, String)>| -> Vec<Value> {
        list.into_iter()
            .map(|(why, ticket)| json!({ "why": why, "ticket": ticket }))
            .collect()
    };
    json!({
        "about": ABOUT,
        "good": good,
        "readable": [{ "why": "unknown optional fields", "ticket": later, "means": means }],
        "bad": refused(bad()),
        "paths": paths_document(),
        "bad_paths": refused(bad_paths()),
    })
}

#[test]
fn published_tickets_hold() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors/tickets.json");
    let expected = document();
    if std::env::var_os("DIG_WRITE_VECTORS").is_some_and(|value| value == "1") {
        let text = serde_json::to_string_pretty(&expected).unwrap();
        fs::write(&path, text + "\n").unwrap();
    }
    let published: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(
        published, expected,
        "run the test with DIG_WRITE_VECTORS=1 and look at what changed"
    );
}

#[test]
fn tickets_mean_what_they_say() {
    for ticket in [plain(), full(), folder(), paths()] {
        assert_eq!(ticket.to_string().parse::<Ticket>().unwrap(), ticket);
    }
    for (why, text) in bad().into_iter().chain(bad_paths()) {
        assert!(text.parse::<Ticket>().is_err(), "{why}: {text}");
    }
}
