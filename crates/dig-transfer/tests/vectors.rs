//! The JSON vectors of `docs/vectors/`, as far as they concern content: written by this program with
//! `DIG_WRITE_VECTORS=1`, otherwise compared with what it computes.
#![cfg(test)]

use data_encoding::HEXLOWER;
use dig_transfer::{
    chunk::{CHUNK_LEN, Digest},
    header::ContentHeader,
    index::{IndexOptions, index_path},
    layout::Shape,
    manifest::{Manifest, ProofError, verify_group_to_root},
    source::SharedContent,
    store::{ContentStore as _, Proof},
    table::{Table, TableEntry, check_path},
    tree,
};
use dig_types::{ContentHash, ContentName, DiscoveryKey, Sha256Hash};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, fs, path::Path};
use tokio_util::sync::CancellationToken;

/// Compares a file of vectors with what was computed, or writes it.
fn check(name: &str, computed: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/vectors")
        .join(name);
    if std::env::var_os("DIG_WRITE_VECTORS").is_some() {
        let mut text = serde_json::to_string_pretty(computed).unwrap();
        text.push('\n');
        fs::write(path, text).unwrap();
        return;
    }
    let text = fs::read_to_string(&path).unwrap();
    let committed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        &committed, computed,
        "{name} differs; if that is meant, write it with DIG_WRITE_VECTORS=1"
    );
}

fn hex(digest: &Digest) -> String {
    digest.to_string()
}

fn hexes(digests: &[Digest]) -> Vec<String> {
    digests.iter().map(hex).collect()
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

const PATTERN: &str = "byte i of a file is (i * i / 251 + i) mod 256, with whole division";

fn pattern(size: u64) -> Vec<u8> {
    (0..size).map(|i| (i * i / 251 + i) as u8).collect()
}

fn share(path: &Path) -> SharedContent {
    index_path(
        path,
        &IndexOptions::default(),
        &|_| {},
        &CancellationToken::new(),
    )
    .unwrap()
}

/// RFC 9162 §2.1, over trees whose entries are all the same: each size of tree is computed once, so
/// that contents of any size have their vectors.
#[derive(Default)]
struct EqualLeaves {
    roots: HashMap<u64, Digest>,
}

impl EqualLeaves {
    const ENTRY: [u8; 32] = [0x5a; 32];

    /// The root over `count` entries.
    fn root(&mut self, count: u64) -> Digest {
        if count == 1 {
            return tree::leaf(&Digest(Self::ENTRY));
        }
        if let Some(root) = self.roots.get(&count) {
            return *root;
        }
        let left = count.next_power_of_two() / 2;
        let root = tree::node(&self.root(left), &self.root(count - left));
        self.roots.insert(count, root);
        root
    }

    /// The path from a group, lowest first.
    fn path(&mut self, group: u64, chunks: u64) -> Vec<Digest> {
        if chunks <= 16 {
            return Vec::new();
        }
        let left = chunks.next_power_of_two() / 2;
        let (mut path, other) = match (group * 16).checked_sub(left) {
            None => (self.path(group, left), chunks - left),
            Some(first) => (self.path(first / 16, chunks - left), left),
        };
        path.push(self.root(other));
        path
    }
}

/// Inputs of the Certificate Transparency reference tests, whose roots for 1 to 8 of them are published.
const CT_INPUTS: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];

#[test]
fn trees() {
    let leaves: Vec<Digest> = CT_INPUTS
        .iter()
        .map(|input| tree::leaf_of_bytes(&HEXLOWER.decode(input.as_bytes()).unwrap()))
        .collect();
    let ct: Vec<String> = (0..=8)
        .map(|count| hex(&tree::root_of_nodes(&leaves[..count])))
        .collect();

    let counts = [1, 2, 3, 15, 16, 17, 31, 32, 33, 48, 100, 257];
    let entries: Vec<Digest> = (0..257_u64).map(|i| sha256(&i.to_be_bytes())).collect();
    let roots = counts.map(
        |count| json!({ "chunks": count, "root": hex(&tree::root_of_entries(&entries[..count])) }),
    );

    let mut equal = EqualLeaves::default();
    let mut groups = Vec::new();
    for (chunks, picks) in [
        (1_u64, vec![0]),
        (16, vec![0]),
        (33, vec![0, 1, 2]),
        (1_000, vec![0, 31, 61, 62]),
        (2_097_152, vec![0, 131_071]),
        (2_097_153, vec![0, 1, 131_071, 131_072]),
        (16_777_216 + 21, vec![0, 7, 8, 1_048_576, 1_048_577]),
    ] {
        let (shape, root) = (Shape::new(chunks), equal.root(chunks));
        for group in picks {
            groups.push(group_vector(&mut equal, shape, root, group));
        }
    }
    let computed = json!({
        "about": "Roots, manifests and paths (protocol.md section 5). Hashes are hex.",
        "certificate_transparency": {
            "about": "Inputs are hashed as leaves directly; roots over the first 0 to 8 of them, as published for RFC 6962.",
            "inputs": CT_INPUTS, "roots": ct,
        },
        "entries": { "about": "Entry i is SHA-256 of i as u64; roots over the first of them.", "roots": roots },
        "groups": {
            "about": "All entries are 32 bytes of 0x5a. level is k; node is the group's; to_manifest and to_root are the paths of \
                      want 1 and want 2, lowest first, to manifest_node (number manifest_index) and root.",
            "cases": groups,
        },
    });
    check("trees.json", &computed);
}

fn group_vector(equal: &mut EqualLeaves, shape: Shape, root: Digest, group: u64) -> Value {
    let chunks = shape.group_chunks(group);
    let entries = vec![Digest(EqualLeaves::ENTRY); (chunks.end - chunks.start) as usize];
    let manifest_index = shape.node_of_group(group);
    let below = shape.node_groups(manifest_index);
    let below_chunks = below.start * 16..shape.group_chunks(below.end - 1).end;
    let to_manifest = equal.path(group - below.start, below_chunks.end - below_chunks.start);
    let to_root = equal.path(group, shape.chunks());

    // Our own checks accept what was computed here by other means, and nothing that is one bit off.
    let header = ContentHeader::file(shape.chunks() * CHUNK_LEN as u64, root);
    assert_eq!(
        verify_group_to_root(&header, group, &entries, &to_root),
        Ok(())
    );
    if let Some(first) = to_root.first() {
        let mut forged = to_root.clone();
        forged[0] = tree::leaf(first);
        assert_eq!(
            verify_group_to_root(&header, group, &entries, &forged),
            Err(ProofError::Mismatch)
        );
    }
    let mut node_root = |node: u64| {
        let groups = shape.node_groups(node);
        equal.root(shape.group_chunks(groups.end - 1).end - groups.start * 16)
    };
    let nodes: Vec<Digest> = (0..shape.nodes()).map(&mut node_root).collect();
    let manifest_node = nodes[manifest_index as usize];
    let manifest = Manifest::from_nodes(&header, nodes.into()).unwrap();
    assert_eq!(manifest.verify_group(group, &entries, &to_manifest), Ok(()));
    json!({
        "chunks": shape.chunks(), "groups": shape.groups(), "level": shape.level(), "manifest_nodes": shape.nodes(), "root": hex(&root),
        "group": group, "group_chunks": entries.len(), "node": hex(&tree::root_of_entries(&entries)),
        "manifest_index": manifest_index, "manifest_node": hex(&manifest_node),
        "to_manifest": hexes(&to_manifest), "to_root": hexes(&to_root),
    })
}

#[test]
fn content() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [
        0,
        1,
        65_535,
        65_536,
        65_537,
        1 << 20,
        (1 << 20) + 1,
        3 << 20,
    ];
    let cases = sizes.map(|size| {
        let (path, bytes) = (folder.path().join(size.to_string()), pattern(size));
        fs::write(&path, &bytes).unwrap();
        let content = share(&path);
        let header = content.header();
        let whole = content.whole_sha256(&|| false, &CancellationToken::new()).unwrap();
        assert_eq!(*whole.as_bytes(), sha256(&bytes).0);
        let groups: Vec<Value> = (0..content.layout().groups())
            .map(|group| {
                let entries = content.entries(group).unwrap();
                let path = content.path(group, Proof::ToRoot).unwrap();
                json!({ "entries": hexes(&entries), "to_root": hexes(&path) })
            })
            .collect();
        json!({
            "size": size, "chunks": header.chunks, "root": hex(&header.root), "content_hash": content.hash().to_string(),
            "sha256": whole.to_string(), "level": content.layout().level(), "manifest": hexes(&content.manifest().unwrap()), "groups": groups,
        })
    });
    check(
        "content.json",
        &json!({ "about": "Files as contents (protocol.md section 5).", "bytes": PATTERN, "cases": cases }),
    );
}

/// A folder: its name, and its files by path, size of pattern, executable bit; a path that ends in `/` is an empty directory.
type Folder<'a> = (&'a str, &'a [(&'a str, u64, bool)]);

const FOLDERS: [Folder<'_>; 4] = [
    ("empty", &[]),
    ("one empty file", &[("a", 0, false)]),
    (
        "order, flags and directories",
        &[
            ("B", 1, false),
            ("a-b", 2, false),
            ("a/b", 65_536, false),
            ("a/c/run.sh", 20, true),
            ("void/deep/", 0, false),
            ("\u{e9}t\u{e9}.txt", 65_537, false),
        ],
    ),
    (
        "more than a group",
        &[("large", (1 << 20) + 1, false), ("small", 3, false)],
    ),
];

#[test]
fn folders() {
    let cases = FOLDERS.map(|(name, files)| {
        let folder = tempfile::tempdir().unwrap();
        for (path, size, executable) in files {
            let full = folder.path().join(path);
            if path.ends_with('/') {
                fs::create_dir_all(full).unwrap();
                continue;
            }
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(&full, pattern(*size)).unwrap();
            let mode = if *executable { 0o755 } else { 0o644 };
            fs::set_permissions(&full, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        }
        let content = share(folder.path());
        let (header, table) = (content.header(), content.table().unwrap());
        let files: Vec<Value> = table
            .entries()
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                let chunks = content.layout().file_chunks(index);
                json!({
                    "path": entry.path, "size": entry.size, "executable": entry.executable, "directory": entry.directory,
                    "content_hash": entry.hash.to_string(), "first_chunk": chunks.start, "chunks": chunks.end - chunks.start,
                })
            })
            .collect();
        json!({
            "name": name, "files": files, "table": HEXLOWER.encode(&table.encode()), "table_length": header.table_len, "total_size": header.size,
            "chunks": header.chunks, "root": hex(&header.root), "manifest": hexes(&content.manifest().unwrap()),
            "content_hash": content.hash().to_string(),
        })
    });
    let computed = json!({
        "about": "Folders as contents, and tables that are one or are none (protocol.md section 5).",
        "bytes": PATTERN, "folders": cases, "tables": tables(),
    });
    check("folders.json", &computed);
}

/// A record without any check.
fn record(flags: u8, size: u64, hash: u8, path: &[u8]) -> Vec<u8> {
    let len = u16::try_from(path.len()).unwrap();
    [
        &[flags][..],
        &size.to_be_bytes(),
        &[hash; 32],
        &len.to_be_bytes(),
        path,
    ]
    .concat()
}

fn file(path: &str) -> Vec<u8> {
    record(0, 5, 7, path.as_bytes())
}

fn table(count: u32, records: &[Vec<u8>]) -> Vec<u8> {
    [b"digdir1\n", &count.to_be_bytes()[..], &records.concat()].concat()
}

fn path_of_depth(depth: usize) -> String {
    vec!["d"; depth].join("/")
}

/// 16 components of 240 bytes and one of `last`.
fn long_path(last: usize) -> String {
    format!("{}/", "y".repeat(240)).repeat(16) + &"y".repeat(last)
}

type Case = (&'static str, Vec<u8>);

fn good_tables() -> Vec<Case> {
    let one = |path: &str| table(1, &[file(path)]);
    vec![
        ("no records", table(0, &[])),
        ("a file", one("a")),
        ("an executable file", table(1, &[record(1, 5, 7, b"a")])),
        ("an empty directory", table(1, &[record(2, 0, 0, b"a")])),
        (
            "sorted by bytes",
            table(3, &[file("B"), file("a"), file("\u{e9}")]),
        ),
        ("64 components", one(&path_of_depth(64))),
        ("a component of 255 bytes", one(&"x".repeat(255))),
        ("a path of 4096 bytes", one(&long_path(240))),
    ]
}

fn malformed_tables() -> Vec<Case> {
    let one = |record: Vec<u8>| table(1, &[record]);
    vec![
        ("another magic", [b"digdir2\n", &[0; 4][..]].concat()),
        ("nothing", Vec::new()),
        ("fewer records than said", table(2, &[file("a")])),
        ("more records than said", table(1, &[file("a"), file("b")])),
        ("cut in a path", one(file("abc")[..45].to_vec())),
        ("a byte behind the end", table(1, &[file("a"), vec![0]])),
        ("an unknown flag", one(record(4, 5, 7, b"a"))),
        ("a directory with a size", one(record(2, 1, 0, b"a"))),
        ("a directory with a hash", one(record(2, 0, 7, b"a"))),
        ("an executable directory", one(record(3, 0, 0, b"a"))),
        ("a path that is not UTF-8", one(record(0, 5, 7, b"\xff"))),
    ]
}

fn hostile_tables() -> Vec<Case> {
    let one = |path: &str| table(1, &[file(path)]);
    let mut cases = vec![
        ("out of order", table(2, &[file("b"), file("a")])),
        ("the same path twice", table(2, &[file("a"), file("a")])),
        (
            "a path through a file",
            table(3, &[file("a"), file("a-"), file("a/b")]),
        ),
        (
            "a path through an empty directory",
            table(2, &[record(2, 0, 0, b"a"), file("a/b")]),
        ),
        (
            "sizes beyond 64 bits",
            table(2, &[record(0, u64::MAX, 7, b"a"), file("b")]),
        ),
        ("65 components", one(&path_of_depth(65))),
        ("a component of 256 bytes", one(&"x".repeat(256))),
        ("a path of 4097 bytes", one(&long_path(241))),
    ];
    cases.extend(BAD_PATHS.map(|path| ("a path that is not allowed", one(path))));
    cases
}

fn tables() -> Vec<Value> {
    let good = good_tables().into_iter().map(|case| (case, true));
    let bad = malformed_tables().into_iter().chain(hostile_tables());
    good.chain(bad.map(|case| (case, false)))
        .map(|((name, bytes), valid)| {
            assert_eq!(Table::decode(&bytes).is_ok(), valid, "{name}");
            json!({ "name": name, "valid": valid, "table": HEXLOWER.encode(&bytes) })
        })
        .collect()
}

const GOOD_PATHS: [&str; 8] = [
    "a",
    "...",
    ".hidden",
    "a b/c",
    "\u{e9}",
    "-rf",
    "nul",
    "\u{1f600}/x",
];
const BAD_PATHS: [&str; 16] = [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/../b",
    "./a",
    "a\\b",
    "a\0b",
    "a\nb",
    "\u{1b}[31m",
    "a\u{7f}",
    "a\u{9b}b",
    "e\u{301}",
    "a/..",
];

#[test]
fn names() {
    for (paths, valid) in [(&GOOD_PATHS[..], true), (&BAD_PATHS[..], false)] {
        for path in paths {
            assert_eq!(check_path(path).is_ok(), valid, "{path:?}");
        }
    }
    let bytes: [u8; 32] = std::array::from_fn(|i| i as u8);
    let hash = HEXLOWER.encode(&bytes);
    let key = |key: DiscoveryKey| HEXLOWER.encode(key.as_bytes());
    let names = [
        "my-video",
        "\u{e9}t\u{e9}",
        "e\u{301}te\u{301}",
        "Film \u{1f3a5} 2026",
    ];
    let names = names.map(|text| {
        let name = ContentName::new(text).unwrap();
        json!({ "text": text, "normal_form_c": name.as_str(), "key": key(DiscoveryKey::name(&name)) })
    });
    let computed = json!({
        "about": "Discovery keys, and which paths a folder may list (protocol.md section 5).",
        "discovery_keys": {
            "content": { "hash": hash, "key": key(DiscoveryKey::content(&ContentHash::from_bytes(bytes))) },
            "sha256": { "hash": hash, "key": key(DiscoveryKey::sha256(&Sha256Hash::from_bytes(bytes))) },
            "name": names,
        },
        "paths": { "allowed": GOOD_PATHS, "refused": BAD_PATHS },
    });
    check("names.json", &computed);
}

/// Every table in the vectors that is one says the same when it is written again.
#[test]
fn tables_are_canonical() {
    let entry = |path: &str| TableEntry {
        path: path.to_owned(),
        size: 5,
        executable: false,
        directory: false,
        hash: ContentHash::from_bytes([7; 32]),
    };
    let table = Table::new(vec![entry("B"), entry("a"), entry("\u{e9}")]).unwrap();
    let encoded = HEXLOWER.encode(&table.encode());
    assert!(
        tables()
            .iter()
            .any(|case| case["table"] == encoded.as_str())
    );
}
