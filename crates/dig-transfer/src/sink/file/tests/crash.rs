//! Kills, power cuts, torn journals: whatever happens, a chunk that is trusted is right.

use super::*;
use std::collections::BTreeSet;

/// Every chunk that is trusted has its bytes in the `.part`.
fn check_trusted(sample: &Sample, resumed: &Resumed, what: &str) {
    let part = fs::File::open(sample.path("it.part")).unwrap();
    for chunk in resumed.chunks.iter() {
        let at = sample.layout.locate(chunk);
        let mut bytes = vec![0; at.len];
        read_exact_at(&part, &mut bytes, at.offset).unwrap();
        assert!(
            bytes == sample.chunks[chunk as usize],
            "chunk {chunk} is wrong: {what}"
        );
    }
}

#[test]
fn after_a_kill_whole_groups_are_hashed_and_count() {
    let sample = Sample::file(1, 40 * CHUNK_LEN);
    let (mut sink, _) = sample.open();
    sink.keep_manifest(&sample.nodes).unwrap();
    sample.write(&mut sink, 0..3);
    sink.sync().unwrap();
    sample.write(&mut sink, 16..35);
    drop(sink);
    let (mut sink, resumed) = sample.open();
    // Of the last group only a part is there, which nothing proves.
    assert!(
        resumed.chunks.iter().eq((0..3).chain(16..32)),
        "{:?}",
        list(&resumed.chunks)
    );
    sink.sync().unwrap();
    drop(sink);
    // Once hashed and synced they need no hashing: without manifest they count.
    tamper(&sample.path("it.part.journal"), 128, &[0; 32]);
    let (sink, resumed) = sample.open();
    assert!(resumed.chunks.iter().eq((0..3).chain(16..32)));
    sample.finish(sink, &resumed);
    sample.check_finished();
}

#[test]
fn written_data_that_never_reached_the_disk_does_not_count() {
    let sample = Sample::file(1, 48 * CHUNK_LEN);
    let (mut sink, _) = sample.open();
    sink.keep_manifest(&sample.nodes).unwrap();
    sample.write(&mut sink, 0..48);
    drop(sink);
    tamper(&sample.path("it.part"), 20 * CHUNK_LEN as u64, &[0; 4096]);
    let (sink, resumed) = sample.open();
    assert!(resumed.chunks.iter().eq((0..16).chain(32..48)));
    check_trusted(&sample, &resumed, "after a power cut");
    sample.finish(sink, &resumed);
    sample.check_finished();
}

#[test]
fn a_part_that_was_edited_is_hashed_again() {
    let sample = Sample::file(1, 40 * CHUNK_LEN);
    for manifest in [true, false] {
        let (mut sink, _) = sample.open();
        if manifest {
            sink.keep_manifest(&sample.nodes).unwrap();
        }
        sample.write(&mut sink, 0..40);
        sink.sync().unwrap();
        drop(sink);
        std::thread::sleep(std::time::Duration::from_millis(60));
        let part = fs::OpenOptions::new()
            .write(true)
            .open(sample.path("it.part"))
            .unwrap();
        let edit = Bytes::from_static(b"edit");
        super::super::super::directory::write_all_at(&part, &[edit], 3).unwrap();
        let (sink, resumed) = sample.open();
        let expected: Vec<u64> = if manifest {
            (16..40).collect()
        } else {
            Vec::new()
        };
        assert_eq!(list(&resumed.chunks), expected, "manifest {manifest}");
        sample.finish(sink, &resumed);
        sample.check_finished();
        fs::remove_file(sample.path("it")).unwrap();
    }
}

#[test]
fn a_copy_of_part_and_journal_is_hashed_and_goes_on() {
    let sample = Sample::file(1, 40 * CHUNK_LEN);
    let (mut sink, _) = sample.open();
    sink.keep_manifest(&sample.nodes).unwrap();
    sample.write(&mut sink, 0..24);
    sink.sync().unwrap();
    drop(sink);
    fs::copy(sample.path("it.part"), sample.path("copy")).unwrap();
    fs::rename(sample.path("copy"), sample.path("it.part")).unwrap();
    let (sink, resumed) = sample.open();
    assert!(resumed.chunks.iter().eq(0..16));
    sample.finish(sink, &resumed);
    sample.check_finished();
}

#[test]
fn a_shorter_part_is_hashed_again() {
    let sample = Sample::file(1, 40 * CHUNK_LEN);
    let (mut sink, _) = sample.open();
    sink.keep_manifest(&sample.nodes).unwrap();
    sample.write(&mut sink, 0..40);
    sink.sync().unwrap();
    drop(sink);
    let part = fs::OpenOptions::new()
        .write(true)
        .open(sample.path("it.part"))
        .unwrap();
    part.set_len(33 * CHUNK_LEN as u64).unwrap();
    let (sink, resumed) = sample.open();
    assert!(resumed.chunks.iter().eq(0..32));
    sample.finish(sink, &resumed);
    sample.check_finished();
}

#[test]
fn a_part_that_vanished_is_made_again() {
    let sample = Sample::file(1, 3 * CHUNK_LEN);
    let (mut sink, _) = sample.open();
    sample.write(&mut sink, 0..2);
    sink.sync().unwrap();
    drop(sink);
    fs::remove_file(sample.path("it.part")).unwrap();
    let (sink, resumed) = sample.open();
    assert_eq!(resumed.chunks.count(), 0);
    sample.finish(sink, &resumed);
    sample.check_finished();
}

#[test]
fn the_journal_may_be_torn_anywhere() {
    let sample = Sample::file(9, 18 * CHUNK_LEN + 5);
    let (mut sink, _) = sample.open();
    sink.keep_manifest(&sample.nodes).unwrap();
    sample.write(&mut sink, 2..4);
    sink.sync().unwrap();
    sample.write(&mut sink, 16..19);
    drop(sink);
    let (journal, part) = (sample.path("it.part.journal"), sample.path("it.part"));
    let whole = fs::read(&journal).unwrap();
    let before = fs::read(&part).unwrap();
    let modified = fs::metadata(&part).unwrap().modified().unwrap();
    for len in 0..=whole.len() {
        fs::write(&journal, &whole[..len]).unwrap();
        let (sink, resumed) = sample.open();
        if len < 128 {
            // A part without its header is nobody's, and stays.
            assert_eq!(resumed.chunks.count(), 0, "{len}");
        } else {
            check_trusted(&sample, &resumed, &format!("torn at {len}"));
        }
        if len == whole.len() {
            assert_eq!(list(&resumed.chunks), [2, 3, 16, 17, 18]);
        }
        drop(sink);
        assert!(fs::read(&part).unwrap() == before, "torn at {len}");
        let file = fs::OpenOptions::new().write(true).open(&part).unwrap();
        file.set_modified(modified).unwrap();
    }
}

/// A run with random writes, syncs and a crash in the end, and what is known of the disk.
struct Run<'a> {
    sample: &'a Sample,
    rng: fastrand::Rng,
    /// The `.part` and the length of the journal when the last sync had ended.
    durable: Vec<u8>,
    durable_journal: (u64, u64),
    written: BTreeSet<u64>,
}

impl Run<'_> {
    fn note_sync(&mut self) {
        self.durable = fs::read(self.sample.path("it.part")).unwrap();
        self.durable_journal = self.journal();
        self.written.clear();
    }

    /// Inode and length.
    fn journal(&self) -> (u64, u64) {
        use std::os::unix::fs::MetadataExt as _;
        let journal = fs::metadata(self.sample.path("it.part.journal")).unwrap();
        (journal.ino(), journal.len())
    }

    fn write_and_sync(&mut self, sink: &mut FileSink, missing: &[u64]) {
        for chunk in missing.iter().take(self.rng.usize(..=missing.len())) {
            let end = (chunk + self.rng.u64(1..20)).min(self.sample.layout.chunks());
            self.sample.write(sink, *chunk..end);
            self.written.extend(*chunk..end);
            if self.rng.u8(..8) == 0 {
                sink.sync().unwrap();
                self.note_sync();
            }
        }
    }

    /// Of what no sync covered, chunks and journal bytes are lost at random.
    fn cut_power(&mut self) {
        let part = self.sample.path("it.part");
        let lost: Vec<u64> = self
            .written
            .iter()
            .copied()
            .filter(|_| self.rng.bool())
            .collect();
        for chunk in lost {
            let at = self.sample.layout.locate(chunk);
            let start = at.offset as usize;
            let old = &self.durable[start..start + at.len];
            // Down to the middle of a chunk.
            tamper(&part, at.offset, &old[..self.rng.usize(1..=old.len())]);
        }
        let (inode, len) = self.journal();
        let from = if inode == self.durable_journal.0 {
            self.durable_journal.1
        } else {
            len
        };
        let path = self.sample.path("it.part.journal");
        let journal = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let modified = journal.metadata().unwrap().modified().unwrap();
        let kept = self.rng.u64(from..=len.max(from));
        if self.rng.bool() {
            journal.set_len(kept).unwrap();
        } else if kept > from {
            tamper(&path, self.rng.u64(from..kept), &[0; 7]);
        }
        journal.set_modified(modified).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn random_lives_end_right() {
    for seed in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let size = rng.usize(1..70 * CHUNK_LEN);
        let sample = Sample::file(seed, size);
        let durable = vec![0; size];
        let mut run = Run {
            sample: &sample,
            rng,
            durable,
            durable_journal: (0, 0),
            written: BTreeSet::new(),
        };
        for life in 0..6 {
            let (mut sink, resumed) = sample.open();
            let what = format!("seed {seed}, life {life}");
            check_trusted(&sample, &resumed, &what);
            if run.rng.bool() {
                sink.keep_manifest(&sample.nodes).unwrap();
            }
            // The journal was just written anew and is durable; the data that it trusts was durable before or
            // hashed now, and what was hashed only is lost by a cut again.
            run.durable_journal = run.journal();
            let mut missing: Vec<u64> = (0..sample.layout.chunks())
                .filter(|chunk| !resumed.chunks.contains(*chunk))
                .collect();
            run.rng.shuffle(&mut missing);
            run.write_and_sync(&mut sink, &missing);
            if run.rng.bool() {
                sink.sync().unwrap();
                run.note_sync();
            }
            drop(sink);
            if !sample.path("it.part").exists() {
                // Nothing had been written, so nothing was left.
                run.durable = vec![0; size];
                run.written.clear();
                continue;
            }
            if run.rng.bool() {
                run.cut_power();
                run.durable = fs::read(sample.path("it.part")).unwrap();
                run.written.clear();
            }
        }
        let (sink, resumed) = sample.open();
        check_trusted(&sample, &resumed, &format!("seed {seed}, last life"));
        sample.finish(sink, &resumed);
        sample.check_finished();
    }
}

#[test]
fn a_record_written_before_its_data_was_durable_would_be_noticed() {
    // The control: a journal that says too much must fail the check that all other tests rely on.
    let sample = Sample::file(1, 40 * CHUNK_LEN);
    let (mut sink, _) = sample.open();
    sample.write(&mut sink, 0..1);
    {
        let mut log = lock(&sink.writing().unwrap().log);
        log.journal
            .append(&[Record::Synced {
                group: 1,
                groups: 1,
                mask: 1,
            }])
            .unwrap();
    }
    drop(sink);
    let (_sink, resumed) = sample.open();
    let caught = std::panic::catch_unwind(|| check_trusted(&sample, &resumed, "control"));
    assert!(caught.is_err());
}
