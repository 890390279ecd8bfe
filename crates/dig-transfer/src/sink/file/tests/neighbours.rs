//! What else may have the names that a sink uses.

use super::*;

fn hash8(sample: &Sample) -> String {
    sample.header.hash().to_string()[..8].to_owned()
}

#[test]
fn a_part_of_somebody_else_is_left_alone() {
    let sample = Sample::file(1, 3 * CHUNK_LEN);
    fs::write(sample.path("it.part"), "of another program").unwrap();
    let (mut sink, _) = sample.open();
    sample.write(&mut sink, 0..2);
    sink.sync().unwrap();
    drop(sink);
    let own = format!("it.{}.part", hash8(&sample));
    assert_eq!(
        sample.names(),
        [own.clone(), format!("{own}.journal"), "it.part".to_owned()]
    );
    let (sink, resumed) = sample.open();
    assert_eq!(list(&resumed.chunks), [0, 1]);
    sample.finish(sink, &resumed);
    assert_eq!(sample.names(), ["it", "it.part"]);
    assert_eq!(
        fs::read(sample.path("it.part")).unwrap(),
        b"of another program"
    );
}

#[test]
fn a_part_of_another_content_is_left_alone() {
    let (mut one, other) = (
        Sample::file(1, 3 * CHUNK_LEN),
        Sample::file(2, 3 * CHUNK_LEN),
    );
    one.temp = TempDir::new_in(other.temp.path()).unwrap();
    let target = Target::new(one.path("it"));
    let (mut sink, _) = one.open();
    one.write(&mut sink, 0..2);
    sink.sync().unwrap();
    drop(sink);
    let (mut sink, resumed) = other.try_open(target).unwrap();
    assert_eq!(resumed.chunks.count(), 0);
    other.write(&mut sink, 0..3);
    sink.commit().unwrap();
    let refused = one.try_open(one.target());
    assert!(
        matches!(refused, Err(SinkError::Exists(_))),
        "the name is taken"
    );
    fs::remove_file(one.path("it")).unwrap();
    let (sink, resumed) = one.open();
    assert_eq!(list(&resumed.chunks), [0, 1]);
    one.finish(sink, &resumed);
    one.check_finished();
}

#[test]
fn the_second_getter_is_refused() {
    let (mut one, other) = (
        Sample::file(1, 3 * CHUNK_LEN),
        Sample::file(2, 3 * CHUNK_LEN),
    );
    one.temp = TempDir::new_in(other.temp.path()).unwrap();
    let (sink, _) = one.open();
    let reader = sink.reader();
    assert!(matches!(
        one.try_open(one.target()),
        Err(SinkError::InUse(_))
    ));
    assert!(matches!(
        other.try_open(one.target()),
        Err(SinkError::InUse(_))
    ));
    drop(sink);
    // A reader that lives on keeps nobody out.
    let (sink, resumed) = one.open();
    one.finish(sink, &resumed);
    one.check_finished();
    drop(reader);
}

#[test]
fn a_lock_survives_the_rewriting_of_the_journal() {
    let sample = Sample::file(1, 200 * CHUNK_LEN);
    let (mut sink, _) = sample.open();
    for chunk in (0..200).step_by(3) {
        sample.write(&mut sink, chunk..chunk + 1);
        sink.sync().unwrap();
        assert!(matches!(
            sample.try_open(sample.target()),
            Err(SinkError::InUse(_))
        ));
    }
    // Each chunk has cost two records; written anew, there is one a group.
    let len = fs::metadata(sample.path("it.part.journal")).unwrap().len();
    let never_rewritten = 128 + 32 * sample.layout.nodes() + 67 * 2 * RECORD_LEN as u64;
    assert!(len < never_rewritten / 2, "{len} of {never_rewritten}");
    drop(sink);
    let (sink, resumed) = sample.open();
    assert!(resumed.chunks.iter().eq((0..200).step_by(3)));
    sample.finish(sink, &resumed);
    sample.check_finished();
}

#[test]
fn what_is_there_is_replaced_only_by_force() {
    let sample = Sample::file(1, CHUNK_LEN + 1);
    fs::write(sample.path("it"), "precious").unwrap();
    assert!(matches!(
        sample.try_open(sample.target()),
        Err(SinkError::Exists(_))
    ));
    assert_eq!(sample.names(), ["it"]);
    let target = Target {
        force: true,
        ..sample.target()
    };
    let (sink, resumed) = sample.try_open(target).unwrap();
    assert_eq!(fs::read(sample.path("it")).unwrap(), b"precious");
    sample.finish(sink, &resumed);
    sample.check_finished();
}

#[test]
fn a_name_taken_meanwhile_is_not_replaced() {
    let sample = Sample::file(1, CHUNK_LEN + 1);
    let (mut sink, _) = sample.open();
    sample.write(&mut sink, 0..2);
    fs::write(sample.path("it"), "precious").unwrap();
    assert!(matches!(sink.commit(), Err(SinkError::Exists(_))));
    drop(sink);
    assert_eq!(fs::read(sample.path("it")).unwrap(), b"precious");
    let target = Target {
        force: true,
        ..sample.target()
    };
    let (sink, resumed) = sample.try_open(target).unwrap();
    assert!(resumed.chunks.is_full());
    sample.finish(sink, &resumed);
    sample.check_finished();
}

#[test]
fn what_is_complete_is_not_fetched_again() {
    let sample = Sample::file(1, 20 * CHUNK_LEN + 1);
    assert!(
        !FileSink::new(sample.target(), sample.header.hash())
            .is_complete()
            .unwrap()
    );
    fs::write(sample.path("it"), sample.bytes()).unwrap();
    assert!(
        FileSink::new(sample.target(), sample.header.hash())
            .is_complete()
            .unwrap()
    );
    let (mut sink, resumed) = sample.open();
    assert!(resumed.complete && resumed.chunks.is_full());
    assert_eq!(sink.commit().unwrap(), Some(sample.path("it")));
    // One byte of it, in time or in place, is another file.
    tamper(
        &sample.path("it"),
        17 * CHUNK_LEN as u64,
        &[!sample.chunks[17][0]],
    );
    assert!(
        !FileSink::new(sample.target(), sample.header.hash())
            .is_complete()
            .unwrap()
    );
    assert!(matches!(
        sample.try_open(sample.target()),
        Err(SinkError::Exists(_))
    ));
}

#[test]
fn remembers_what_is_complete() {
    let sample = Sample::file(1, 20 * CHUNK_LEN + 1);
    let memory = TempDir::new().unwrap();
    let target = || Target {
        memory: Some(memory.path().to_owned()),
        ..sample.target()
    };
    let (sink, resumed) = sample.try_open(target()).unwrap();
    sample.finish(sink, &resumed);
    // Cancelled before it starts, hashing can only fail: it is not needed.
    let without_hashing = || {
        let target = target();
        target.cancel.cancel();
        FileSink::new(target, sample.header.hash()).is_complete()
    };
    assert!(without_hashing().unwrap());
    tamper(&sample.path("it"), 5, b"x");
    assert!(matches!(without_hashing(), Err(SinkError::Cancelled)));
    assert!(
        !FileSink::new(target(), sample.header.hash())
            .is_complete()
            .unwrap()
    );
    let other = Sample::file(2, 5);
    let other = FileSink::new(
        Target {
            path: target().path,
            ..target()
        },
        other.header.hash(),
    );
    assert!(!other.is_complete().unwrap());
}

#[test]
fn a_journal_left_behind_is_tidied() {
    let sample = Sample::file(1, 2 * CHUNK_LEN);
    let (mut sink, _) = sample.open();
    sample.write(&mut sink, 0..1);
    sink.sync().unwrap();
    drop(sink);
    fs::remove_file(sample.path("it.part")).unwrap();
    fs::write(sample.path("it"), sample.bytes()).unwrap();
    assert!(sample.open().1.complete);
    assert_eq!(sample.names(), ["it"]);
}

#[test]
fn names_that_the_disk_does_not_take_are_refused_first() {
    let sample = Sample::file(1, 10);
    for name in ["x".repeat(300), "ü".repeat(200)] {
        let refused = sample.try_open(Target::new(sample.path(&name)));
        assert!(matches!(refused, Err(SinkError::Name(_))), "{refused:?}");
    }
    assert!(matches!(
        sample.try_open(Target::new("/")),
        Err(SinkError::Name(_))
    ));
    let missing = sample.try_open(Target::new(sample.path("no/it")));
    assert!(matches!(missing, Err(SinkError::Io { .. })), "{missing:?}");
    assert_eq!(sample.names(), Vec::<String>::new());
    let longest = "ü".repeat(127) + "x";
    let (mut sink, _) = sample.try_open(Target::new(sample.path(&longest))).unwrap();
    sample.write(&mut sink, 0..1);
    sink.commit().unwrap();
    assert_eq!(sample.names(), [longest]);
}

#[cfg(unix)]
#[test]
fn symlinks_and_pipes_are_never_followed() {
    use std::os::unix::fs::symlink;
    let sample = Sample::file(1, 3 * CHUNK_LEN);
    let outside = TempDir::new().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, vec![1; 3 * CHUNK_LEN]).unwrap();
    let pipe = |name| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, sample.path(name), kind, mode, 0).unwrap();
    };
    let link = |to: &Path, name| symlink(to, sample.path(name)).unwrap();
    for case in 0..7 {
        match case {
            0 => link(&secret, "it.part"),
            1 => link(&outside.path().join("new"), "it.part"),
            2 => link(&secret, "it.part.journal"),
            3 => link(&outside.path().join("new"), "it.part.journal"),
            4 => pipe("it.part"),
            5 => pipe("it.part.journal"),
            _ => fs::create_dir(sample.path("it.part")).unwrap(),
        }
        let before = sample.names();
        let (sink, resumed) = sample.open();
        sample.finish(sink, &resumed);
        let mut after = before.clone();
        after.insert(0, "it".to_owned());
        assert_eq!(sample.names(), after, "case {case}");
        fs::remove_file(sample.path("it")).unwrap();
        let left = sample.path(&before[0]);
        fs::remove_file(&left)
            .or_else(|_| fs::remove_dir(&left))
            .unwrap();
    }
    // As the target: refused, and replaced itself, not what it points to, by force.
    link(&secret, "it");
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
    sample.check_finished();
    fs::remove_file(sample.path("it")).unwrap();
    pipe("it");
    let refused = sample.try_open(Target {
        force: true,
        ..sample.target()
    });
    assert!(
        matches!(refused, Err(SinkError::Exists(_))),
        "a pipe is not replaced"
    );
    assert_eq!(fs::read(&secret).unwrap(), vec![1; 3 * CHUNK_LEN]);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn more_than_there_can_be_is_refused_first() {
    let temp = TempDir::new().unwrap();
    let check = |size: u64, check_space: bool| {
        let layout = Arc::new(Layout::file(size));
        let header = layout.header(Digest([0; 32]));
        let target = Target {
            check_space,
            ..Target::new(temp.path().join("it"))
        };
        let refused = FileSink::new(target, header.hash()).open(&header, &layout, None);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        refused
    };
    for size in [MAX_SIZE + 1, 1 << 60, 1 << 63, u64::MAX] {
        for check_space in [true, false] {
            let refused = check(size, check_space);
            assert!(
                matches!(refused, Err(SinkError::TooLarge { .. })),
                "{refused:?}"
            );
        }
    }
    let refused = check(MAX_SIZE, true);
    assert!(
        matches!(
            refused,
            Err(SinkError::NoSpace {
                needed: MAX_SIZE,
                ..
            })
        ),
        "{refused:?}"
    );
}
