use super::*;
use crate::discovery::Lookup;
use dig_types::{ContentHash, ContentKind, NodeId};
use proptest::{collection::vec, option, prelude::*, sample::select};
use std::collections::{BTreeSet, HashMap};

const SOURCES: [PeerSource; 6] = [
    PeerSource::Explicit,
    PeerSource::Ticket,
    PeerSource::Local,
    PeerSource::Exchange,
    PeerSource::Dht,
    PeerSource::Gun,
];

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn addr(number: u16) -> SocketAddr {
    SocketAddr::new([10, 0, (number >> 8) as u8, number as u8].into(), 4433)
}

fn report(source: PeerSource, id: Option<u8>, addrs: &[u16]) -> Found {
    Found::from(PeerRecord {
        node: id.map(node),
        addrs: addrs.iter().map(|number| addr(*number)).collect(),
        mapped: Vec::new(),
        via: Vec::new(),
        relays: Vec::new(),
        source,
    })
}

fn claim(number: u8) -> Claim {
    Claim {
        hash: Some(ContentHash::from_bytes([number; 32])),
        kind: ContentKind::File,
        size: 1,
        name: None,
    }
}

#[test]
fn one_node_is_one_peer_and_trusted_addresses_come_first() {
    let mut merge = Merge::new(512);
    assert!(
        merge
            .add(report(PeerSource::Dht, Some(1), &[1, 2]))
            .is_some()
    );
    assert!(
        merge
            .add(report(PeerSource::Dht, Some(1), &[2, 1]))
            .is_none(),
        "nothing new"
    );
    let merged = merge
        .add(report(PeerSource::Local, Some(1), &[3, 2]))
        .unwrap();
    assert_eq!(merged, report(PeerSource::Local, Some(1), &[3, 2, 1]));
    assert_eq!(merge.into_found(), [merged]);
}

#[test]
fn an_id_takes_over_only_addresses_of_equal_or_less_trust() {
    let mut merge = Merge::new(512);
    merge.add(report(PeerSource::Explicit, None, &[1]));
    merge.add(report(PeerSource::Dht, Some(66), &[1])).unwrap();
    merge.add(report(PeerSource::Gun, None, &[2]));
    let upgraded = merge.add(report(PeerSource::Local, Some(7), &[2])).unwrap();
    assert_eq!(upgraded.peer.node, Some(node(7)));
    assert_eq!(
        merge.add(report(PeerSource::Dht, None, &[2])),
        None,
        "known, and who it is"
    );
    let found = merge.into_found();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0], report(PeerSource::Explicit, None, &[1]));
}

#[test]
fn floods_leave_places_and_bounded_peers() {
    let mut merge = Merge::new(512);
    for number in 0..5000 {
        merge.add(report(PeerSource::Dht, None, &[number]));
    }
    assert_eq!(merge.peers.len(), 256);
    for number in 5000..9000 {
        merge.add(report(PeerSource::Gun, None, &[number]));
    }
    assert_eq!(merge.peers.len(), 448);
    for number in 9000..9064 {
        assert!(
            merge
                .add(report(PeerSource::Local, None, &[number]))
                .is_some()
        );
    }
    assert!(
        merge
            .add(report(PeerSource::Local, None, &[9064]))
            .is_none()
    );
    assert_eq!(merge.into_found()[0].peer.source, PeerSource::Local);

    let mut merge = Merge::new(512);
    let mut greedy = report(PeerSource::Dht, Some(1), &(0..1000).collect::<Vec<_>>());
    greedy.claims = (0..200).map(claim).collect();
    let merged = merge.add(greedy).unwrap();
    assert_eq!(
        (merged.peer.addrs.len(), merged.claims.len()),
        (MAX_ADDRS, MAX_CLAIMS)
    );
    let merged = merge
        .add(report(PeerSource::Local, Some(1), &[2000]))
        .unwrap();
    assert_eq!(merged.peer.addrs[0], addr(2000));
}

#[test]
fn claims_without_a_claimant_do_not_count() {
    let mut merge = Merge::new(512);
    let mut anonymous = report(PeerSource::Local, None, &[1]);
    anonymous.claims.push(claim(1));
    assert_eq!(merge.add(anonymous).unwrap().claims, []);
    assert_eq!(
        merge.add(report(PeerSource::Dht, None, &[])),
        None,
        "neither who nor where"
    );
    let mut zero = report(PeerSource::Dht, None, &[2]);
    zero.peer.addrs[0].set_port(0);
    assert_eq!(merge.add(zero), None);
}

fn any_report() -> impl Strategy<Value = Found> {
    let claims = vec((0_u8..30).prop_map(claim), 0..4);
    let parts = (
        select(&SOURCES[..]),
        option::of(0_u8..12),
        vec(0_u16..40, 0..12),
        claims,
    );
    parts.prop_map(|(source, id, addrs, claims)| {
        let mut found = report(source, id, &addrs);
        found.claims = claims;
        found
    })
}

proptest! {
    #[test]
    fn merged_lists_are_bounded_ordered_and_without_doubles(
        reports in vec(any_report(), 0..200), max in 0_usize..40,
    ) {
        let mut merge = Merge::new(max);
        let mut named: HashMap<SocketAddr, PeerSource> = HashMap::new();
        for report in &reports {
            let ours = report.peer.addrs.iter().copied();
            let delivered = merge.add(report.clone());
            if let Some(delivered) = &delivered {
                prop_assert!(delivered.peer.source <= report.peer.source);
                prop_assert!(report.peer.node.is_none() || delivered.peer.node == report.peer.node);
                for addr in ours {
                    let best = named.entry(addr).or_insert(report.peer.source);
                    *best = report.peer.source.min(*best);
                }
            }
            prop_assert_eq!(merge.add(report.clone()), None, "the same report twice");
        }
        let found = merge.into_found();
        prop_assert!(found.len() <= max);
        prop_assert!(found.is_sorted_by_key(|found| found.peer.source));
        let nodes: Vec<_> = found.iter().filter_map(|found| found.peer.node).collect();
        prop_assert_eq!(nodes.iter().collect::<BTreeSet<_>>().len(), nodes.len());
        for Found { peer, claims } in &found {
            let distinct: BTreeSet<_> = peer.addrs.iter().collect();
            prop_assert!(distinct.len() == peer.addrs.len() && peer.addrs.len() <= MAX_ADDRS);
            prop_assert!(peer.addrs.iter().all(|addr| named.contains_key(addr)), "no invented address");
            prop_assert!(claims.len() <= MAX_CLAIMS && (peer.node.is_some() || claims.is_empty()));
        }
    }

    #[test]
    fn what_the_user_names_stays_as_named(reports in vec(any_report(), 0..100), at in 0_usize..100) {
        let mut merge = Merge::new(512);
        let explicit = report(PeerSource::Explicit, None, &[7]);
        let hearsay = |report: &&Found| report.peer.source > PeerSource::Explicit;
        for (index, report) in reports.iter().filter(hearsay).enumerate() {
            if index == at {
                merge.add(explicit.clone());
            }
            merge.add(report.clone());
        }
        merge.add(explicit.clone());
        let found = merge.into_found();
        let kept = found.iter().any(|found| {
            found.peer.addrs.first() == Some(&addr(7)) && found.peer.node.is_none()
        });
        prop_assert!(kept, "an id given by hearsay stands before the user's address: {found:?}");
    }
}

#[test]
fn lookups_have_distinct_keys() {
    let bytes = [7; 32];
    let keys = BTreeSet::from([
        Lookup::Content(ContentHash::from_bytes(bytes)).key(),
        Lookup::Sha256(dig_types::Sha256Hash::from_bytes(bytes)).key(),
        Lookup::Name("movie".parse().unwrap()).key(),
    ]);
    assert_eq!(keys.len(), 3);
}
