//! Folders.

use super::*;
use crate::sink::Select;

/// A folder of these files: path, bytes, executable; a path that ends in `/` is an empty directory.
fn folder(files: &[(&str, Vec<u8>, bool)]) -> Sample {
    let mut chunks = Vec::new();
    let table: Vec<TableEntry> = files
        .iter()
        .map(|(path, bytes, executable)| {
            let own = split(bytes);
            let root = root_of_nodes(
                &entries(&own)
                    .chunks(16)
                    .map(root_of_entries)
                    .collect::<Vec<_>>(),
            );
            let directory = path.ends_with('/');
            let hash = ContentHeader::file(bytes.len() as u64, root).hash();
            chunks.extend(own);
            TableEntry {
                path: path.trim_end_matches('/').to_owned(),
                size: bytes.len() as u64,
                executable: *executable,
                directory,
                hash: if directory {
                    ContentHash::from_bytes([0; 32])
                } else {
                    hash
                },
            }
        })
        .collect();
    let table = Table::new(table).unwrap();
    let encoded = table.encode();
    let layout = Layout::folder(encoded.len() as u64, &table);
    let mut all = split(&encoded);
    all.extend(chunks);
    Sample::of(layout, Some(table), all)
}

fn sample() -> Sample {
    let mut rng = fastrand::Rng::with_seed(3);
    folder(&[
        ("bin/run", noise(&mut rng, 100), true),
        ("bin/tool", noise(&mut rng, 3 * CHUNK_LEN), true),
        ("data/big", noise(&mut rng, 40 * CHUNK_LEN + 1), false),
        ("data/deep/er/small", noise(&mut rng, 10), false),
        ("data/empty", Vec::new(), false),
        ("hollow/dir/", Vec::new(), false),
        ("read me", noise(&mut rng, CHUNK_LEN), false),
    ])
}

fn check(sample: &Sample, wanted: &dyn Fn(&str) -> bool) {
    let table = sample.table.as_ref().unwrap();
    let mut expected = 0;
    for (index, entry) in table.entries().iter().enumerate() {
        let path = sample.path("it").join(&entry.path);
        if !wanted(&entry.path) {
            assert!(!path.exists(), "{}", entry.path);
            continue;
        }
        expected += 1;
        if entry.directory {
            assert!(path.is_dir());
            continue;
        }
        let chunks = sample.layout.file_chunks(index);
        let bytes = sample.chunks[chunks.start as usize..chunks.end as usize].concat();
        assert!(fs::read(&path).unwrap() == bytes, "{}", entry.path);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o100 != 0, entry.executable, "{}", entry.path);
            assert_eq!(mode & 0o7000, 0, "{}", entry.path);
            let readable_and_not_executable =
                entry.executable && (mode & 0o444) >> 2 != mode & 0o111;
            assert!(!readable_and_not_executable, "{} {mode:o}", entry.path);
        }
    }
    assert!(expected > 0);
    assert_eq!(sample.names(), ["it"]);
}

#[test]
fn any_order_gives_the_folder() {
    for seed in 0..10 {
        let sample = sample();
        let (mut sink, resumed) = sample.open();
        let table = sample.layout.table_chunks();
        assert!(
            resumed.chunks.iter().eq(table.clone()),
            "the table is there from the start"
        );
        let mut order: Vec<u64> = (0..sample.layout.chunks()).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        for chunk in order {
            sample.write(&mut sink, chunk..chunk + 1);
        }
        let reader = sink.reader().unwrap();
        sink.commit().unwrap();
        check(&sample, &|_| true);
        for chunk in 0..sample.layout.chunks() {
            assert_eq!(
                reader.read(chunk).unwrap(),
                sample.chunks[chunk as usize],
                "seed {seed}"
            );
        }
    }
}

#[test]
fn an_empty_folder_arrives() {
    let sample = folder(&[]);
    let (mut sink, _) = sample.open();
    sink.commit().unwrap();
    assert!(sample.path("it").is_dir());
    assert_eq!(sample.names(), ["it"]);
}

#[test]
fn goes_on_where_it_was() {
    let sample = sample();
    let (mut sink, _) = sample.open();
    sink.keep_manifest(&sample.nodes).unwrap();
    sample.write(&mut sink, 0..10);
    sink.sync().unwrap();
    sample.write(&mut sink, 10..40);
    assert!(!sample.path("it").exists());
    drop(sink);
    let (sink, resumed) = sample.open();
    // To the end of the last whole group.
    assert!(
        resumed.chunks.iter().eq(0..32),
        "{:?}",
        list(&resumed.chunks)
    );
    sample.finish(sink, &resumed);
    check(&sample, &|_| true);
}

#[test]
fn files_that_changed_or_vanished_are_fetched_again() {
    let sample = sample();
    let big = 2;
    let chunks = sample.layout.file_chunks(big);
    for case in 0..4 {
        let (mut sink, _) = sample.open();
        sink.keep_manifest(&sample.nodes).unwrap();
        sample.write(&mut sink, 0..sample.layout.chunks());
        sink.sync().unwrap();
        drop(sink);
        // Clocks of file systems tick slowly, and freed inodes are used again at once.
        std::thread::sleep(std::time::Duration::from_millis(30));
        let path = sample.path("it.part/data/big");
        match case {
            0 => fs::remove_file(&path).unwrap(),
            1 => {
                // Another file of the same size and name.
                fs::remove_file(&path).unwrap();
                fs::write(&path, vec![1; 40 * CHUNK_LEN + 1]).unwrap();
            }
            2 => fs::File::create(&path).unwrap().set_len(5).unwrap(),
            _ => {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
            }
        }
        let (sink, resumed) = sample.open();
        assert!(
            resumed.chunks.iter().all(|chunk| !chunks.contains(&chunk)),
            "case {case}"
        );
        assert_eq!(
            resumed.chunks.count(),
            sample.layout.chunks() - 41,
            "case {case}"
        );
        if case == 3 {
            fs::remove_dir(&path).unwrap();
        }
        sample.finish(sink, &resumed);
        check(&sample, &|_| true);
        fs::remove_dir_all(sample.path("it")).unwrap();
    }
}

#[test]
fn only_what_is_selected_arrives() {
    let sample = sample();
    let select = |prefixes: &'static [&'static str]| {
        let select: Select =
            Arc::new(move |path: &str| prefixes.iter().any(|prefix| path.starts_with(prefix)));
        Target {
            select: Some(select),
            ..sample.target()
        }
    };
    let (mut sink, _) = sample.try_open(select(&["bin", "data"])).unwrap();
    sample.write(&mut sink, 0..30);
    sink.sync().unwrap();
    drop(sink);
    // A narrower choice takes away what is no longer wanted.
    let (sink, resumed) = sample.try_open(select(&["bin", "read"])).unwrap();
    assert_eq!(list(&resumed.chunks), [0, 1, 2, 3, 4]);
    assert!(
        list(&sink.wanted_chunks().unwrap())
            .into_iter()
            .eq([0, 1, 2, 3, 4, 47])
    );
    sample.finish(sink, &resumed);
    check(&sample, &|path| {
        path.starts_with("bin") || path.starts_with("read")
    });
    assert!(sample.try_open(select(&["bin"])).unwrap().1.complete);
    assert!(matches!(
        sample.try_open(select(&["data"])),
        Err(SinkError::Exists(_))
    ));
    assert!(matches!(
        sample.try_open(sample.target()),
        Err(SinkError::Exists(_))
    ));
    fs::remove_dir_all(sample.path("it")).unwrap();
    assert!(matches!(
        sample.try_open(select(&["nothing"])),
        Err(SinkError::NothingSelected)
    ));
    assert_eq!(sample.names(), Vec::<String>::new());
}

#[test]
fn a_folder_in_the_way_is_moved_aside_by_force() {
    let sample = sample();
    fs::create_dir(sample.path("it")).unwrap();
    fs::write(sample.path("it/mine"), "precious").unwrap();
    fs::write(sample.path("it.old"), "older").unwrap();
    assert!(matches!(
        sample.try_open(sample.target()),
        Err(SinkError::Exists(_))
    ));
    let (sink, resumed) = sample
        .try_open(Target {
            force: true,
            ..sample.target()
        })
        .unwrap();
    sample.finish(sink, &resumed);
    assert_eq!(fs::read(sample.path("it.old2/mine")).unwrap(), b"precious");
    assert_eq!(fs::read(sample.path("it.old")).unwrap(), b"older");
    assert!(sample.path("it/read me").exists() && !sample.path("it/mine").exists());
}

#[test]
fn a_complete_folder_is_not_fetched_again() {
    let sample = sample();
    let memory = TempDir::new().unwrap();
    let target = || Target {
        memory: Some(memory.path().to_owned()),
        ..sample.target()
    };
    let (sink, resumed) = sample.try_open(target()).unwrap();
    sample.finish(sink, &resumed);
    assert!(sample.open().1.complete, "by hashing");
    let remembered = FileSink::new(target(), sample.header.hash());
    assert!(
        remembered.is_complete().unwrap(),
        "before the table is known"
    );
    tamper(&sample.path("it/data/big"), 5, &[!sample.chunks[5][5]]);
    assert!(!remembered.is_complete().unwrap());
    assert!(matches!(
        sample.try_open(target()),
        Err(SinkError::Exists(_))
    ));
}

#[cfg(unix)]
#[test]
fn a_symlink_inside_the_part_is_not_followed() {
    let sample = sample();
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("big"), "precious").unwrap();
    let (mut sink, _) = sample.open();
    sample.write(&mut sink, 1..2);
    std::os::unix::fs::symlink(outside.path(), sample.path("it.part/data")).unwrap();
    let data = sample.layout.file_chunks(2).start;
    let refused = sink.write(data, &sample.chunks[data as usize..=data as usize]);
    assert!(matches!(refused, Err(SinkError::Io { .. })), "{refused:?}");
    assert_eq!(fs::read(outside.path().join("big")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn thousands_of_small_files() {
    let paths: Vec<String> = (0..3_000)
        .map(|n| format!("d{:02}/f{n:04}", n / 100))
        .collect();
    let files: Vec<(&str, Vec<u8>, bool)> = paths
        .iter()
        .zip(0_u32..)
        .map(|(path, number)| {
            (
                path.as_str(),
                number.to_be_bytes().repeat(50),
                number % 7 == 0,
            )
        })
        .collect();
    let sample = folder(&files);
    let (mut sink, resumed) = sample.open();
    let first = resumed.chunks.count();
    let started = std::time::Instant::now();
    for chunk in (first..sample.layout.chunks()).step_by(16) {
        sample.write(&mut sink, chunk..(chunk + 16).min(sample.layout.chunks()));
    }
    let written = started.elapsed();
    sink.sync().unwrap();
    drop(sink);
    let (mut sink, resumed) = sample.open();
    assert!(resumed.chunks.is_full());
    sink.commit().unwrap();
    println!(
        "{} files written in {written:?}, all in {:?}",
        files.len(),
        started.elapsed()
    );
    check(&sample, &|_| true);
}
