use super::*;
use proptest::prelude::*;

fn file(path: &str) -> TableEntry {
    TableEntry {
        path: path.to_owned(),
        size: 5,
        executable: false,
        directory: false,
        hash: ContentHash::from_bytes([7; 32]),
    }
}

fn directory(path: &str) -> TableEntry {
    TableEntry {
        size: 0,
        directory: true,
        hash: ContentHash::from_bytes([0; 32]),
        ..file(path)
    }
}

fn table(paths: &[&str]) -> Result<Table, TableError> {
    Table::new(paths.iter().map(|path| file(path)).collect())
}

/// Bytes of a table of one record, none of whose fields is checked.
fn record(flags: u8, size: u64, hash: u8, path: &[u8]) -> Vec<u8> {
    let mut out = [
        &MAGIC[..],
        &1_u32.to_be_bytes(),
        &[flags],
        &size.to_be_bytes(),
        &[hash; 32],
    ]
    .concat();
    out.extend_from_slice(&(path.len() as u16).to_be_bytes());
    out.extend_from_slice(path);
    out
}

#[test]
fn hostile_paths_are_refused() {
    let long = "a/".repeat(64) + "a";
    let component = "x".repeat(256);
    let path = ["y".repeat(255).as_str(); 17].join("/");
    for (path, error) in [
        ("", PathError::EmptyComponent),
        ("/etc/passwd", PathError::EmptyComponent),
        ("a//b", PathError::EmptyComponent),
        ("a/", PathError::EmptyComponent),
        ("..", PathError::Dots),
        ("a/../../b", PathError::Dots),
        ("./a", PathError::Dots),
        ("a\\..\\b", PathError::Backslash),
        ("C:\\x", PathError::Backslash),
        ("nul\0", PathError::Control),
        ("\u{1b}]52;c;x", PathError::Control),
        ("c1\u{9b}31m", PathError::Control),
        ("del\u{7f}", PathError::Control),
        ("e\u{301}", PathError::NotNormal),
        (&component, PathError::ComponentTooLong),
        (&long, PathError::TooDeep),
        (&path, PathError::TooLong),
    ] {
        assert_eq!(check_path(path), Err(error), "{path:?}");
        let decoded = Table::decode(&record(0, 5, 7, path.as_bytes()));
        assert_eq!(
            decoded,
            Err(TableError::Path {
                path: path.to_owned(),
                error
            })
        );
    }
    for path in [
        "a",
        "...",
        "a b/\u{e9}.txt",
        &"x".repeat(255),
        &long[2..],
        "-rf",
        "\u{202e}gnp.exe",
    ] {
        assert_eq!(check_path(path), Ok(()), "{path:?}");
    }
}

#[test]
fn malformed_bytes_are_refused() {
    let good = record(0, 5, 7, b"a");
    assert!(Table::decode(&good).is_ok());
    for len in 0..good.len() {
        assert!(Table::decode(&good[..len]).is_err(), "cut at {len}");
    }
    assert_eq!(
        Table::decode(&[&good[..], &[0]].concat()),
        Err(TableError::Trailing)
    );
    assert_eq!(
        Table::decode(&record(4, 5, 7, b"a")),
        Err(TableError::Flags(0))
    );
    assert_eq!(
        Table::decode(&record(0, 5, 7, b"\xff")),
        Err(TableError::Encoding(0))
    );
    for (flags, size, hash) in [(2, 1, 0), (2, 0, 1), (3, 0, 0)] {
        assert_eq!(
            Table::decode(&record(flags, size, hash, b"d")),
            Err(TableError::Directory("d".into()))
        );
    }
    assert!(Table::decode(&record(2, 0, 0, b"d")).is_ok());
}

#[test]
fn declared_counts_are_not_believed() {
    let declared = |count: u32| Table::decode(&[&MAGIC[..], &count.to_be_bytes()].concat());
    assert_eq!(declared(1_000_000), Err(TableError::Truncated));
    assert_eq!(declared(1_000_001), Err(TableError::TooLarge));
    assert_eq!(
        Table::decode(&vec![0; MAX_TABLE_LEN + 1]),
        Err(TableError::TooLarge)
    );
    assert!(declared(0).unwrap().entries().is_empty());
}

#[test]
fn order_and_doubles_are_checked() {
    assert_eq!(table(&["b", "a"]), Err(TableError::Order("a".into())));
    assert_eq!(table(&["a", "a"]), Err(TableError::Order("a".into())));
    assert!(table(&["B", "a", "\u{e9}"]).is_ok());
}

#[test]
fn paths_do_not_lead_through_files() {
    // `a!` and `a-` sort between `a` and `a/b`.
    let error = table(&["a", "a!", "a-", "a/b"]).unwrap_err();
    assert_eq!(
        error,
        TableError::Conflict {
            path: "a/b".into(),
            parent: "a".into()
        }
    );
    let error = Table::new(vec![directory("d"), file("d/x")]).unwrap_err();
    assert_eq!(
        error,
        TableError::Conflict {
            path: "d/x".into(),
            parent: "d".into()
        }
    );
    assert!(table(&["a!", "a/b", "ab"]).is_ok());
}

#[test]
fn sizes_that_overflow_are_refused() {
    let huge = |path| TableEntry {
        size: u64::MAX,
        ..file(path)
    };
    assert_eq!(
        Table::new(vec![huge("a"), file("b")]),
        Err(TableError::Size)
    );
    assert_eq!(Table::new(vec![huge("a")]).unwrap().total_size(), u64::MAX);
}

#[test]
fn collisions_are_found() {
    let pairs = |paths: &[&str]| -> Vec<(String, String)> {
        table(paths)
            .unwrap()
            .collisions()
            .into_iter()
            .map(|c| (c.first, c.second))
            .collect()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(pairs(&["README", "readme"]), [pair("README", "readme")]);
    assert_eq!(pairs(&["A/b", "a"]), [pair("A/b", "a")]);
    assert_eq!(pairs(&["A", "a/b"]), [pair("A", "a/b")]);
    assert_eq!(
        pairs(&["STRASSE", "stra\u{df}e"]),
        [pair("STRASSE", "stra\u{df}e")]
    );
    assert_eq!(
        pairs(&["\u{c9}t\u{e9}", "\u{e9}t\u{e9}"]),
        [pair("\u{c9}t\u{e9}", "\u{e9}t\u{e9}")]
    );
    assert_eq!(pairs(&["A/x", "a/y", "b"]), []);
}

#[test]
fn a_million_records_are_read() {
    let entries = (0..MAX_RECORDS).map(|i| file(&format!("{i:06}"))).collect();
    let bytes = Table::new(entries).unwrap().encode();
    assert_eq!(Table::decode(&bytes).unwrap().entries().len(), MAX_RECORDS);
}

proptest! {
    #[test]
    fn tables_survive_the_encoding(paths in proptest::collection::btree_set("[a-c\u{e9}]{1,3}(/[a-c]{1,2}){0,2}", 0..12), size in 0_u64..1 << 40) {
        let entries = paths.iter().enumerate().map(|(i, path)| match i % 3 {
            0 => directory(path),
            flag => TableEntry { size, executable: flag == 1, ..file(path) },
        });
        if let Ok(table) = Table::new(entries.collect()) {
            let bytes = table.encode();
            prop_assert_eq!(Table::decode(&bytes), Ok(table));
        }
    }

    #[test]
    fn what_is_read_is_written_the_same(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), flips in proptest::collection::vec((0_usize..120, any::<u8>()), 0..4)) {
        let mut mutated = table(&["a", "b/c"]).unwrap().encode();
        for (at, value) in flips {
            if let Some(byte) = mutated.get_mut(at) {
                *byte = value;
            }
        }
        for bytes in [&mut bytes, &mut mutated] {
            if let Ok(table) = Table::decode(bytes) {
                prop_assert_eq!(&table.encode(), bytes);
            }
        }
    }
}
