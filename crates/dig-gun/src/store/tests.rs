//! What a store keeps, wherever it keeps it.

mod model;
mod writer;

use super::*;
use crate::{
    lex::{KeyQuery, SoulQuery},
    value::{Number, State, Value},
};
use std::{fs, sync::Arc, time::Duration};
use tempfile::TempDir;

fn soul(text: &str) -> Soul {
    Soul::new(text).unwrap()
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// A node with one field `k` of this number.
fn small(name: &str, number: f64) -> Node {
    Node::new(soul(name)).with(
        key("k"),
        Value::Number(Number::new(number).unwrap()),
        State::new(1.0).unwrap(),
    )
}

/// A node with fields of these keys, each of this text.
fn texts(name: &str, keys: &[&str], value: &str) -> Node {
    keys.iter().fold(Node::new(soul(name)), |node, text| {
        node.with(key(text), Value::text(value), State::new(1.0).unwrap())
    })
}

/// A store of either kind with these bounds.
fn both(config: &StoreConfig) -> (TempDir, [Arc<dyn Storage>; 2]) {
    let folder = TempDir::new().unwrap();
    let disk = DiskStorage::open(folder.path().join("gun.redb"), config.clone()).unwrap();
    let memory = MemoryStorage::new(config.clone());
    (folder, [Arc::new(disk), Arc::new(memory)])
}

fn names(souls: &[Soul]) -> Vec<&str> {
    souls.iter().map(Soul::as_str).collect()
}

#[test]
fn keeps_the_later_of_two_writes_and_knows_what_it_does_not_have() {
    let (_folder, stores) = both(&StoreConfig::default());
    for store in stores {
        assert_eq!(store.load(&soul("a")).unwrap(), None);
        let changes = [small("a", 1.0), small("b", 2.0), small("a", 3.0)];
        store.commit(&changes, at(1)).unwrap();
        assert_eq!(store.load(&soul("a")).unwrap(), Some(small("a", 3.0)));
        assert_eq!(store.load(&soul("b")).unwrap(), Some(small("b", 2.0)));
        assert_eq!(store.usage().souls, 2);

        let wanted = [key("none"), key("k")];
        let found = store.load_fields(&soul("b"), &wanted).unwrap();
        assert_eq!(found, Some(small("b", 2.0)));
        let found = store.load_fields(&soul("b"), &wanted[..1]).unwrap();
        assert_eq!(found, Some(Node::new(soul("b"))));
        assert_eq!(store.load_fields(&soul("c"), &wanted).unwrap(), None);

        let before = store.usage();
        store.commit(&[Node::new(soul("empty"))], at(1)).unwrap();
        assert_eq!(store.usage(), before, "a node without fields");
    }
}

#[test]
fn finds_what_a_query_asks_for_and_no_more_than_fits() {
    let (_folder, stores) = both(&StoreConfig::default());
    for store in stores {
        let keys = ["a", "b1", "b2", "b3", "c"];
        let changes = [
            texts("chat/1", &keys, "four"),
            texts("chat/2", &keys[..1], "four"),
            texts("mail/1", &keys, "four"),
        ];
        store.commit(&changes, at(1)).unwrap();
        let find = |query: &Query, bytes| store.find(query, bytes).unwrap();

        let all = find(&Query::node(soul("chat/1")), usize::MAX);
        assert_eq!(all.nodes, changes[..1]);
        let absent = find(&Query::node(soul("chat/9")), usize::MAX);
        assert_eq!(absent, Found::default());

        let mut fields = Query::fields(soul("chat/1"), Lex::prefix("b"), 8);
        assert_eq!(
            find(&fields, usize::MAX).nodes,
            [texts("chat/1", &["b1", "b2"], "four")]
        );
        fields.reverse = true;
        assert_eq!(
            find(&fields, usize::MAX).nodes,
            [texts("chat/1", &["b2", "b3"], "four")]
        );

        let chats = Query::nodes(Lex::prefix("chat/"), 1000);
        assert_eq!(find(&chats, usize::MAX).nodes, changes[..2]);
        let one = Query::nodes(Lex::prefix("chat/"), 1);
        assert_eq!(
            find(&one, usize::MAX).nodes,
            [texts("chat/1", &["a"], "four")]
        );
        let one_key = Query {
            soul: SoulQuery::Many(Lex::default()),
            key: Some(KeyQuery::One(key("c"))),
            budget: Some(1000),
            reverse: true,
        };
        let found = find(&one_key, usize::MAX);
        let ends = [
            texts("mail/1", &["c"], "four"),
            texts("chat/1", &["c"], "four"),
        ];
        assert_eq!(found.nodes, ends);
        assert!(!found.cut);

        let cut = find(&Query::node(soul("chat/1")), 1);
        assert!(cut.cut);
        assert_eq!(
            cut.nodes,
            [texts("chat/1", &["a"], "four")],
            "one goes alone"
        );
    }
}

#[test]
fn a_query_looks_at_so_many_nodes_and_says_if_there_are_more() {
    let store = MemoryStorage::default();
    let query = Query {
        soul: SoulQuery::Many(Lex::default()),
        key: Some(KeyQuery::One(key("wanted"))),
        budget: Some(100_000),
        reverse: false,
    };
    let nodes: Vec<Node> = (0..10_000).map(|n| small(&format!("{n}"), 0.0)).collect();
    store.commit(&nodes, at(0)).unwrap();
    assert_eq!(store.find(&query, usize::MAX).unwrap(), Found::default());
    store
        .commit(&[texts("~last", &["wanted"], "x")], at(0))
        .unwrap();
    let found = store.find(&query, usize::MAX).unwrap();
    assert!(found.cut && found.nodes.is_empty(), "{found:?}");
}

#[test]
fn the_oldest_go_when_there_is_no_room_but_never_what_is_just_written() {
    let config = StoreConfig {
        max_souls: 3,
        ..StoreConfig::default()
    };
    let (_folder, stores) = both(&config);
    for store in stores {
        for (time, name) in [(0, "a"), (100, "b"), (200, "c")] {
            assert!(
                store
                    .commit(&[small(name, 1.0)], at(time))
                    .unwrap()
                    .is_empty()
            );
        }
        // Written again, and so no longer the oldest.
        assert!(
            store
                .commit(&[small("a", 2.0)], at(300))
                .unwrap()
                .is_empty()
        );
        let gone = store.commit(&[small("d", 1.0)], at(400)).unwrap();
        assert_eq!(names(&gone), ["b"]);
        assert_eq!(store.load(&soul("b")).unwrap(), None);

        // A clock that was set back makes what is written now the oldest, which yet stays.
        let gone = store.commit(&[small("e", 1.0)], at(1)).unwrap();
        assert_eq!(names(&gone), ["c"]);
        let many = ["1", "2", "3", "4", "5"].map(|name| small(name, 1.0));
        let mut gone = store.commit(&many, at(500)).unwrap();
        gone.sort();
        assert_eq!(names(&gone), ["a", "d", "e"]);
        assert_eq!(store.usage().souls, 5, "one commit may be over the bound");
        let gone = store.commit(&[small("6", 1.0)], at(500)).unwrap();
        assert_eq!(names(&gone), ["1", "2", "3"]);
    }
}

#[test]
fn bytes_are_bounded_too() {
    let config = StoreConfig {
        max_bytes: 10_000,
        ..StoreConfig::default()
    };
    let (_folder, stores) = both(&config);
    for store in stores {
        let value = "x".repeat(1000);
        for number in 0..50 {
            let node = texts(&format!("n{number}"), &["k"], &value);
            store.commit(&[node], at(number)).unwrap();
            assert!(store.usage().bytes <= 10_000, "{:?}", store.usage());
        }
        assert_eq!(store.usage().souls, 9);
        let grown = texts("n49", &["k", "l", "m"], &value);
        let gone = store.commit(&[grown], at(50)).unwrap();
        assert_eq!(
            names(&gone),
            ["n41", "n42"],
            "a node that grows takes room too"
        );
    }
}

#[test]
fn what_nobody_wrote_for_long_is_forgotten_in_portions() {
    let config = StoreConfig {
        expire_after: Some(Duration::from_secs(3600)),
        ..StoreConfig::default()
    };
    let (_folder, stores) = both(&config);
    for store in stores {
        for (time, name) in [(0, "a"), (10, "b"), (20, "c"), (3000, "d")] {
            store.commit(&[small(name, 1.0)], at(time)).unwrap();
        }
        store.commit(&[small("b", 2.0)], at(1000)).unwrap();
        assert!(store.expire(at(3599), 10).unwrap().is_empty());
        assert_eq!(names(&store.expire(at(3630), 1).unwrap()), ["a"]);
        assert_eq!(names(&store.expire(at(3630), 10).unwrap()), ["c"]);
        assert!(store.expire(at(3630), 10).unwrap().is_empty());
        assert_eq!(store.load(&soul("c")).unwrap(), None);
        assert_eq!(store.usage().souls, 2);
        assert_eq!(names(&store.expire(at(99_999), 10).unwrap()), ["b", "d"]);
        assert_eq!(store.usage(), Usage::default());
    }
}

#[test]
fn nothing_expires_if_nothing_is_to() {
    let config = StoreConfig {
        expire_after: None,
        ..StoreConfig::default()
    };
    let (_folder, stores) = both(&config);
    for store in stores {
        store.commit(&[small("a", 1.0)], at(0)).unwrap();
        let late = Timestamp::from_millis(u64::MAX);
        assert!(store.expire(late, 10).unwrap().is_empty());
    }
}

#[test]
fn what_is_longer_than_the_cache_is_kept_too() {
    let config = StoreConfig {
        cache_bytes: 1 << 20,
        ..StoreConfig::default()
    };
    let (_folder, stores) = both(&config);
    for store in stores {
        let long = texts("long", &["a", "b"], &"x".repeat(8 << 20));
        store
            .commit(&[long.clone(), small("b", 1.0)], at(0))
            .unwrap();
        assert_eq!(store.load(&soul("long")).unwrap(), Some(long));
        store
            .commit(&[texts("long", &["a", "b"], "")], at(0))
            .unwrap();
        assert!(store.usage().bytes < 1000, "{:?}", store.usage());
    }
}

#[test]
fn a_file_is_used_by_one_at_a_time() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gun.redb");
    let first = DiskStorage::open(&path, StoreConfig::default()).unwrap();
    first.commit(&[small("a", 1.0)], at(0)).unwrap();
    let second = DiskStorage::open(&path, StoreConfig::default()).unwrap_err();
    assert!(matches!(second, StoreError::Locked { .. }), "{second:?}");
    assert!(
        second.to_string().contains("gun.redb is in use by another"),
        "{second}"
    );
    drop(first);
    let again = DiskStorage::open(&path, StoreConfig::default()).unwrap();
    assert_eq!(again.load(&soul("a")).unwrap(), Some(small("a", 1.0)));
    assert_eq!(again.usage().souls, 1);
}

#[test]
fn a_file_that_cannot_be_made_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("nowhere/gun.redb");
    let error = DiskStorage::open(&path, StoreConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("nowhere/gun.redb"), "{error}");
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "dear diary, ".repeat(1000);
    fs::write(&path, &text).unwrap();
    let error = DiskStorage::open(&path, StoreConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("notes.txt is damaged or no Gun database")
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_file_of_a_later_format_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gun.redb");
    drop(DiskStorage::open(&path, StoreConfig::default()).unwrap());
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    transaction
        .open_table(meta)
        .unwrap()
        .insert("format", 7)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = DiskStorage::open(&path, StoreConfig::default()).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Format {
                found: 7,
                expected: 1,
                ..
            }
        ),
        "{error:?}"
    );
}

/// A file with a few hundred nodes, closed.
fn filled(path: &std::path::Path) {
    let store = DiskStorage::open(path, StoreConfig::default()).unwrap();
    for round in 0..8 {
        let nodes: Vec<Node> = (0..100)
            .map(|n| {
                texts(
                    &format!("node {round} {n}"),
                    &["a", "b"],
                    "some text that takes room",
                )
            })
            .collect();
        store.commit(&nodes, at(round)).unwrap();
    }
}

#[test]
fn a_damaged_file_is_an_error_or_what_was_written_but_never_something_else() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gun.redb");
    filled(&path);
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for round in 0..60 {
        let mut bytes = whole.clone();
        match round % 3 {
            0 => bytes.truncate(random.usize(1..bytes.len())),
            1 => {
                let place = random.usize(..bytes.len());
                bytes[place] ^= 1 << random.u8(..8);
            }
            _ => {
                let from = random.usize(..bytes.len());
                let to = (from + random.usize(1..9000)).min(bytes.len());
                bytes[from..to].fill_with(|| random.u8(..));
            }
        }
        fs::write(&path, &bytes).unwrap();
        let store = match DiskStorage::open(&path, StoreConfig::default()) {
            Ok(store) => store,
            Err(error) => {
                assert!(
                    matches!(error, StoreError::Damaged { .. } | StoreError::Io { .. }),
                    "{error:?}, seed {seed}"
                );
                assert!(error.to_string().contains("gun.redb"), "{error}");
                refused += 1;
                continue;
            }
        };
        let found = store.find(&Query::nodes(Lex::default(), 100_000), usize::MAX);
        for node in found.unwrap().nodes {
            let same = texts(node.soul.as_str(), &["a", "b"], "some text that takes room");
            assert_eq!(node, same, "seed {seed}");
        }
    }
    assert!(refused >= 20, "{refused} of 60, seed {seed}");
}
