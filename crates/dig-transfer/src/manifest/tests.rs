use super::*;
use crate::{
    chunk::CHUNK_LEN,
    tree::{PathBuilder, sha256},
};

fn entries(count: u64) -> Vec<Digest> {
    (0..count).map(|i| sha256(&i.to_be_bytes())).collect()
}

fn header(entries: &[Digest]) -> ContentHeader {
    ContentHeader::file(
        entries.len() as u64 * CHUNK_LEN as u64,
        root_of_entries(entries),
    )
}

fn built(entries: &[Digest]) -> Manifest {
    let mut builder = ManifestBuilder::new(Shape::new(entries.len() as u64));
    entries.chunks(7).for_each(|part| builder.push(part));
    builder.finish()
}

#[test]
fn manifests_lead_to_the_root() {
    for count in [0, 1, 15, 16, 17, 32, 33, 1000] {
        let entries = entries(count);
        let (header, manifest) = (header(&entries), built(&entries));
        assert_eq!(manifest.root(), header.root, "{count} entries");
        assert_eq!(
            Manifest::from_nodes(&header, manifest.nodes().clone()),
            Ok(manifest)
        );
    }
}

#[test]
fn false_manifests_are_refused() {
    let entries = entries(100);
    let (header, manifest) = (header(&entries), built(&entries));
    let change = |edit: &dyn Fn(&mut Vec<Digest>)| {
        let mut nodes = manifest.nodes().to_vec();
        edit(&mut nodes);
        Manifest::from_nodes(&header, nodes.into()).unwrap_err()
    };
    assert_eq!(change(&|nodes| nodes[3].0[0] ^= 1), ManifestError::Root);
    assert_eq!(change(&|nodes| nodes.swap(0, 1)), ManifestError::Root);
    assert!(matches!(
        change(&|nodes| nodes.truncate(6)),
        ManifestError::Count {
            expected: 7,
            found: 6
        }
    ));
    assert!(matches!(
        change(&|nodes| nodes.push(nodes[0])),
        ManifestError::Count { .. }
    ));
    // The layer above has the same root, but is not the manifest.
    assert!(matches!(
        change(&|nodes| *nodes = vec![header.root]),
        ManifestError::Count { .. }
    ));
}

#[test]
fn groups_are_proved_by_manifest_and_by_root() {
    let entries = entries(1000);
    let (header, manifest) = (header(&entries), built(&entries));
    let builder = PathBuilder::new(manifest.nodes().clone());
    for (group, part) in entries.chunks(16).enumerate() {
        let (group, path) = (group as u64, builder.path(group).unwrap());
        assert_eq!(manifest.verify_group(group, part, &[]), Ok(()));
        assert_eq!(verify_group_to_root(&header, group, part, &path), Ok(()));
        assert_eq!(
            manifest.verify_group(group, part, &[header.root]),
            Err(ProofError::Mismatch)
        );
        let mut forged = part.to_vec();
        forged[part.len() - 1].0[5] ^= 1;
        assert_eq!(
            manifest.verify_group(group, &forged, &[]),
            Err(ProofError::Mismatch)
        );
        assert_eq!(
            verify_group_to_root(&header, group, &forged, &path),
            Err(ProofError::Mismatch)
        );
        let short = verify_group_to_root(&header, group, &part[1..], &path);
        assert!(matches!(short, Err(ProofError::Count { .. })));
    }
    for beyond in [63, u64::MAX] {
        assert_eq!(
            manifest.verify_group(beyond, &entries[..16], &[]),
            Err(ProofError::NoSuchGroup(beyond))
        );
        assert_eq!(
            verify_group_to_root(&header, beyond, &[], &[]),
            Err(ProofError::NoSuchGroup(beyond))
        );
    }
}

/// Above 128 GiB a manifest node stands over several groups. Built over group nodes, to be quick.
#[test]
fn large_contents_prove_groups_below_a_node() {
    let group = entries(16);
    let shape = Shape::new((131_072 * 4 + 3) * 16);
    assert_eq!((shape.level(), shape.groups()), (7, 524_291));
    let group_node = root_of_entries(&group);
    let mut layer = LayerBuilder::new(8);
    (0..shape.groups()).for_each(|_| layer.push(group_node));
    let nodes = layer.finish();
    let header = ContentHeader::file(shape.chunks() * CHUNK_LEN as u64, root_of_nodes(&nodes));
    let manifest = Manifest::from_nodes(&header, nodes.clone()).unwrap();
    for number in [0, 7, 8, 524_287, 524_288, 524_290] {
        let node = shape.node_of_group(number);
        let below = shape.node_groups(node);
        let inner = PathBuilder::new(vec![group_node; (below.end - below.start) as usize].into());
        let path = inner.path((number - below.start) as usize).unwrap();
        assert_eq!(
            manifest.verify_group(number, &group, &path),
            Ok(()),
            "group {number}"
        );
        assert!(manifest.verify_group(number, &group, &path[1..]).is_err());
        let above = PathBuilder::new(nodes.clone()).path(node as usize).unwrap();
        let whole = [path, above].concat();
        assert_eq!(
            verify_group_to_root(&header, number, &group, &whole),
            Ok(()),
            "group {number}"
        );
    }
}
