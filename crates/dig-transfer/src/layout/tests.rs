use super::*;
use crate::table::TableEntry;
use dig_types::ContentHash;
use proptest::prelude::*;

fn folder(sizes: &[u64]) -> Table {
    let entries = sizes.iter().enumerate().map(|(i, size)| TableEntry {
        path: format!("f{i:07}"),
        size: *size,
        executable: false,
        directory: false,
        hash: ContentHash::from_bytes([0; 32]),
    });
    Table::new(entries.collect()).unwrap()
}

#[test]
fn levels_keep_manifests_small() {
    for (chunks, level, nodes) in [
        (0, 4, 0),
        (1, 4, 1),
        (16, 4, 1),
        (17, 4, 2),
        (131_072 * 16, 4, 131_072), // 128 GiB
        (131_072 * 16 + 1, 5, 65_537),
        (1 << 48, 31, 131_072),
    ] {
        let shape = Shape::new(chunks);
        assert_eq!(
            (shape.level(), shape.nodes()),
            (level, nodes),
            "{chunks} chunks"
        );
    }
    assert_eq!(Shape::new(u64::MAX).nodes(), MAX_NODES);
}

#[test]
fn a_file_of_the_largest_size_has_a_layout() {
    let layout = Layout::file(u64::MAX);
    let last = layout.chunks() - 1;
    assert_eq!(
        layout.locate(last),
        Location {
            file: Some(0),
            offset: last << 16,
            len: CHUNK_LEN - 1
        }
    );
    assert_eq!(layout.chunk_len(u64::MAX), 0);
    assert_eq!(
        layout.shape().group_chunks(u64::MAX),
        layout.chunks()..layout.chunks()
    );
}

#[test]
fn a_million_files_are_looked_up_quickly() {
    let sizes: Vec<u64> = (0..1_000_000).map(|i| i % 3 * 40_000).collect();
    let layout = Layout::folder(44, &folder(&sizes));
    let found: u64 = (0..layout.chunks())
        .map(|chunk| layout.chunk_len(chunk) as u64)
        .sum();
    assert_eq!(found, 44 + layout.size());
}

#[test]
fn runs_are_clipped_to_their_group() {
    let shape = Shape::new(20);
    let run = |first, count| Run { first, count };
    assert_eq!(shape.clip(run(14, 16)), Some(run(14, 2)));
    assert_eq!(shape.clip(run(16, 16)), Some(run(16, 4)));
    for run in [run(20, 1), run(u64::MAX, 255), run(3, 0)] {
        assert_eq!(shape.clip(run), None);
    }
}

proptest! {
    #[test]
    fn every_byte_has_exactly_one_chunk(table_len in 0_u64..200_000, sizes in proptest::collection::vec(0_u64..200_000, 0..20)) {
        let layout = Layout::folder(table_len, &folder(&sizes));
        let mut chunk = 0;
        for (file, size) in std::iter::once((None, table_len)).chain(sizes.iter().enumerate().map(|(i, s)| (Some(i), *s))) {
            let mut offset = 0;
            while offset < size {
                let len = (size - offset).min(CHUNK_LEN as u64);
                prop_assert_eq!(layout.locate(chunk), Location { file, offset, len: len as usize });
                prop_assert!(file.is_none_or(|file| layout.file_chunks(file).contains(&chunk)));
                offset += len;
                chunk += 1;
            }
        }
        prop_assert_eq!(chunk, layout.chunks());
        prop_assert_eq!(layout.chunk_len(chunk), 0);
    }

    #[test]
    fn groups_and_nodes_partition_the_chunks(chunks in 0_u64..10_000_000) {
        let shape = Shape::new(chunks);
        prop_assert!(shape.nodes() <= MAX_NODES);
        prop_assert!(shape.level() == 4 || chunks.div_ceil(1 << (shape.level() - 1)) > MAX_NODES);
        let mut next = 0;
        for node in 0..shape.nodes() {
            let groups = shape.node_groups(node);
            prop_assert_eq!(groups.start, next);
            prop_assert_eq!(shape.node_of_group(groups.end - 1), node);
            next = groups.end;
        }
        prop_assert_eq!(next, shape.groups());
        prop_assert_eq!(shape.group_chunks(next.saturating_sub(1)).end, chunks);
    }
}
