use super::{path::rs_merkle_root, *};
use data_encoding::HEXLOWER;

/// Inputs and roots of the Certificate Transparency reference tests (RFC 6962), tree sizes 1 to 8.
const CT: [(&str, &str); 8] = [
    (
        "",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    ),
    (
        "00",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    ),
    (
        "10",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    ),
    (
        "2021",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (
        "3031",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    ),
    (
        "40414243",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    ),
    (
        "5051525354555657",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    ),
    (
        "606162636465666768696a6b6c6d6e6f",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ),
];

/// RFC 9162 §2.1.1 to the letter, over nodes.
fn mth(nodes: &[Digest]) -> Digest {
    match nodes {
        [] => sha256(b""),
        [one] => *one,
        _ => {
            let (left, right) = nodes.split_at(nodes.len().next_power_of_two() / 2);
            node(&mth(left), &mth(right))
        }
    }
}

/// RFC 9162 §2.1.3.1 to the letter.
fn rfc_path(index: usize, nodes: &[Digest]) -> Vec<Digest> {
    if nodes.len() == 1 {
        return Vec::new();
    }
    let (left, right) = nodes.split_at(nodes.len().next_power_of_two() / 2);
    let (mut path, other) = match index.checked_sub(left.len()) {
        None => (rfc_path(index, left), mth(right)),
        Some(index) => (rfc_path(index, right), mth(left)),
    };
    path.push(other);
    path
}

fn nodes(count: usize) -> Vec<Digest> {
    (0..count)
        .map(|i| sha256(&(i as u64).to_be_bytes()))
        .collect()
}

#[test]
fn roots_equal_the_published_ones() {
    assert_eq!(
        empty_root().to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    let mut leaves = Vec::new();
    for (input, root) in CT {
        leaves.push(leaf_of_bytes(&HEXLOWER.decode(input.as_bytes()).unwrap()));
        assert_eq!(
            root_of_nodes(&leaves).to_string(),
            root,
            "{} leaves",
            leaves.len()
        );
        assert_eq!(rs_merkle_root(&leaves).unwrap().to_string(), root);
    }
}

#[test]
fn three_ways_to_a_root_agree() {
    for count in (0..70).chain([127, 128, 129, 511, 512, 513, 1000, 1025]) {
        let nodes = nodes(count);
        assert_eq!(root_of_nodes(&nodes), mth(&nodes), "{count} nodes");
        assert_eq!(
            rs_merkle_root(&nodes),
            (count > 0).then(|| mth(&nodes)),
            "{count} nodes"
        );
        let leaves: Vec<Digest> = nodes.iter().map(leaf).collect();
        assert_eq!(root_of_entries(&nodes), mth(&leaves), "{count} entries");
    }
}

#[test]
fn a_layer_has_the_root_of_what_is_below() {
    for count in [1, 15, 16, 17, 255, 256, 257, 1000] {
        let nodes = nodes(count);
        for width in [1, 2, 16, 64] {
            let mut layer = LayerBuilder::new(width);
            nodes.iter().for_each(|node| layer.push(*node));
            assert_eq!(
                root_of_nodes(&layer.finish()),
                mth(&nodes),
                "{count} nodes by {width}"
            );
        }
    }
}

#[test]
fn paths_are_those_of_the_rfc() {
    for count in (1..40).chain([511, 512, 513, 1024, 1025, 1537]) {
        let nodes = nodes(count);
        let (builder, root) = (PathBuilder::new(nodes.clone().into()), mth(&nodes));
        for index in (0..count).step_by(1 + count / 40).chain([count - 1]) {
            let path = builder.path(index).unwrap();
            assert_eq!(path, rfc_path(index, &nodes), "{index} of {count}");
            assert!(verify_path(
                nodes[index],
                index as u64,
                count as u64,
                &path,
                &root
            ));
        }
        assert_eq!(builder.path(count), None);
    }
}

#[test]
fn forged_paths_are_refused() {
    for count in 1_u64..40 {
        let nodes = nodes(count as usize);
        let (builder, root) = (PathBuilder::new(nodes.clone().into()), mth(&nodes));
        for index in 0..count {
            let path = builder.path(index as usize).unwrap();
            let good = nodes[index as usize];
            let check = |node, index, path: &[Digest]| verify_path(node, index, count, path, &root);
            assert!(!check(sha256(b"x"), index, &path), "another node");
            assert!(
                !check(good, index, &[&path[..], &[root]].concat()),
                "trailing hash"
            );
            assert!(!check(good, index + count, &path), "index beyond the end");
            assert!(!check(good, u64::MAX, &path), "largest index");
            for other in (0..count).filter(|other| *other != index) {
                assert!(
                    !check(good, other, &path),
                    "index {index} passed as {other} of {count}"
                );
            }
            for level in 0..path.len() {
                let mut forged = path.clone();
                forged[level].0[31] ^= 1;
                assert!(!check(good, index, &forged), "changed hash");
                forged.remove(level);
                assert!(!check(good, index, &forged), "missing hash");
            }
        }
        assert!(!verify_path(root, 0, 0, &[], &root), "no nodes at all");
    }
}

/// `rs_merkle`'s own verifier accepts these; ours has no way to ask for two indices, and checks the length.
#[test]
fn what_fools_the_library_does_not_fool_us() {
    let thirteen = nodes(13);
    let (builder, root) = (PathBuilder::new(thirteen.clone().into()), mth(&thirteen));
    let path = builder.path(3).unwrap();
    for count in (9..40).filter(|count| *count != 13) {
        let same_length = rfc_path(3, &nodes(count)).len() == path.len();
        // The count itself comes from the content's hash: within 9 to 16 a path does not tell it.
        assert_eq!(
            verify_path(thirteen[3], 3, count as u64, &path, &root),
            same_length,
            "{count}"
        );
    }
    assert!(!verify_path(root, 0, 13, &[], &root), "the root as a leaf");
    assert!(
        !verify_path(path[0], 1, 1, &[], &path[0]),
        "odd index in a tree of one"
    );
}
