use super::*;
use crate::local::advert::Advert;
use dig_types::{ContentHash, ContentKind};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn advert(number: usize, ip: [u8; 4]) -> Advert {
    Advert {
        name: format!("{number:04}"),
        addrs: vec![SocketAddr::from((ip, 4433))],
    }
}

fn directory(adverts: impl IntoIterator<Item = Advert>) -> Directory {
    let mut directory = Directory::default();
    for advert in adverts {
        directory.upsert(advert);
    }
    directory
}

fn search(lookup: Lookup) -> (Search, DialBudget) {
    (Search::new(lookup, 32, 8), DialBudget::default())
}

fn content() -> Lookup {
    Lookup::Content(ContentHash::from_bytes([1; 32]))
}

fn claim(hash: Option<u8>) -> Claim {
    Claim {
        hash: hash.map(|byte| ContentHash::from_bytes([byte; 32])),
        kind: ContentKind::File,
        size: 1,
        name: None,
    }
}

fn has(claims: Vec<Claim>) -> Result<Answer, QueryError> {
    let node = NodeId::from_bytes([9; 32]);
    Ok(Answer::Found { node, claims })
}

#[test]
fn nodes_are_bounded_and_so_is_what_runs_at_a_time() {
    let (mut search, mut budget) = search(content());
    search.sync(
        Duration::ZERO,
        &directory((0..1000).map(|n| advert(n, [10, 0, (n / 200) as u8, n as u8]))),
    );
    let mut asked = std::collections::BTreeSet::new();
    for second in 0..1000 {
        let now = SECOND * second;
        let asks: Vec<_> = std::iter::from_fn(|| search.next(now, &mut budget)).collect();
        assert!(asks.len() <= 8);
        for ask in asks {
            search.answered(now, &ask, Err(QueryError::Unreachable));
            asked.insert(ask.name);
        }
    }
    assert_eq!(asked.len(), 32);
    assert_eq!(search.wake(), None, "nobody left to ask");
}

#[test]
fn a_thousand_nodes_of_one_machine_do_not_hide_another() {
    let (mut search, mut budget) = search(content());
    let flood = (0..1000).map(|n| advert(n, [10, 0, 0, 66]));
    search.sync(Duration::ZERO, &directory(flood.clone()));
    for _ in 0..8 {
        search.next(Duration::ZERO, &mut budget);
    }
    search.sync(
        SECOND,
        &directory(flood.chain([advert(9999, [10, 0, 0, 1])])),
    );
    let ask = Ask {
        name: "0000".into(),
        addrs: Vec::new(),
    };
    search.answered(SECOND, &ask, Err(QueryError::TimedOut));
    assert_eq!(search.next(SECOND, &mut budget).unwrap().name, "9999");
}

#[test]
fn pending_nodes_are_asked_again_after_the_estimate_but_not_for_ever() {
    let (mut search, mut budget) = search(content());
    search.sync(Duration::ZERO, &directory([advert(1, [10, 0, 0, 1])]));
    let ask = search.next(Duration::ZERO, &mut budget).unwrap();
    let pending = |eta| Ok(Answer::Pending { eta });
    assert_eq!(search.answered(SECOND, &ask, pending(SECOND * 20)), None);
    assert_eq!(search.wake(), Some(SECOND * 21));
    assert_eq!(search.next(SECOND * 20, &mut budget), None);
    let mut now = SECOND * 21;
    let mut asks = 1;
    while let Some(ask) = search.next(now, &mut budget) {
        budget.answered(&ask.addrs[0]);
        asks += 1;
        search.answered(now, &ask, pending(Duration::ZERO));
        now = search.wake().unwrap_or(now);
    }
    assert_eq!(asks, MAX_ASKS);
    assert!(
        now > SECOND * 80,
        "\"at once\", said again and again, is believed less and less: {now:?}"
    );
    assert!(after_absurd_estimate() <= MAX_WAIT);
}

fn after_absurd_estimate() -> Duration {
    let (mut search, mut budget) = search(content());
    search.sync(Duration::ZERO, &directory([advert(1, [10, 0, 0, 1])]));
    let ask = search.next(Duration::ZERO, &mut budget).unwrap();
    search.answered(
        Duration::ZERO,
        &ask,
        Ok(Answer::Pending { eta: Duration::MAX }),
    );
    search.wake().unwrap()
}

#[test]
fn a_node_without_it_is_asked_again_later_and_found() {
    let (mut search, mut budget) = search(content());
    search.sync(Duration::ZERO, &directory([advert(1, [10, 0, 0, 1])]));
    let ask = search.next(Duration::ZERO, &mut budget).unwrap();
    assert_eq!(
        search.answered(Duration::ZERO, &ask, Ok(Answer::NotFound)),
        None
    );
    let later = search.wake().unwrap();
    assert_eq!(later, RECHECK);
    let ask = search.next(later, &mut budget).unwrap();
    let found = search
        .answered(later, &ask, has(vec![claim(None)]))
        .unwrap();
    assert_eq!(
        found.claims,
        [claim(Some(1))],
        "the hash that was asked for"
    );
    assert_eq!(search.wake(), None);
}

#[test]
fn claims_must_fit_the_question() {
    for (lookup, claims, fitting) in [
        (content(), vec![claim(Some(1)), claim(Some(2))], 1),
        (content(), vec![claim(Some(2))], 0),
        (content(), vec![], 0),
        (
            Lookup::Name("movie".parse().unwrap()),
            vec![claim(Some(1)), claim(Some(2))],
            2,
        ),
        (Lookup::Name("movie".parse().unwrap()), vec![claim(None)], 0),
        (
            Lookup::Name("movie".parse().unwrap()),
            vec![claim(Some(2)); 100],
            MAX_CLAIMS,
        ),
    ] {
        let (mut search, mut budget) = search(lookup);
        search.sync(Duration::ZERO, &directory([advert(1, [10, 0, 0, 1])]));
        let ask = search.next(Duration::ZERO, &mut budget).unwrap();
        let found = search.answered(Duration::ZERO, &ask, has(claims));
        assert_eq!(found.map_or(0, |found| found.claims.len()), fitting);
    }
}

#[test]
fn addresses_that_come_later_are_reported_and_silent_ones_spared() {
    let (mut search, mut budget) = search(content());
    let mut node = advert(1, [10, 0, 0, 1]);
    search.sync(Duration::ZERO, &directory([node.clone()]));
    let ask = search.next(Duration::ZERO, &mut budget).unwrap();
    node.addrs.push("10.0.0.2:4433".parse().unwrap());
    assert_eq!(search.sync(Duration::ZERO, &directory([node.clone()])), []);
    assert_eq!(
        search.answered(SECOND, &ask, Err(QueryError::Unreachable)),
        None
    );
    let ask = search
        .next(SECOND, &mut budget)
        .expect("at once, for the new address");
    assert_eq!(ask.addrs, node.addrs);
    assert_eq!(
        search
            .answered(SECOND, &ask, has(vec![claim(None)]))
            .unwrap()
            .peer
            .addrs,
        node.addrs
    );
    node.addrs.remove(0);
    let moved = search.sync(SECOND, &directory([node.clone()]));
    assert_eq!(moved[0].peer.addrs, node.addrs);
    assert_eq!(search.sync(SECOND, &directory([node])), [], "once");
}

#[test]
fn a_node_that_comes_back_is_asked_again() {
    let (mut search, mut budget) = search(content());
    let here = directory([advert(1, [10, 0, 0, 1])]);
    search.sync(Duration::ZERO, &here);
    let ask = search.next(Duration::ZERO, &mut budget).unwrap();
    search.answered(Duration::ZERO, &ask, Ok(Answer::NotFound));
    search.sync(SECOND, &Directory::default());
    assert_eq!(search.wake(), None, "gone");
    search.sync(SECOND * 2, &here);
    assert!(search.next(SECOND * 2, &mut budget).is_some());
}

#[test]
fn coming_and_going_does_not_earn_more_questions() {
    let (mut search, mut budget) = search(content());
    let here = directory([advert(1, [10, 0, 0, 1])]);
    let mut asks = 0;
    for second in 0..100 {
        let now = SECOND * second;
        search.sync(now, &here);
        if let Some(ask) = search.next(now, &mut budget) {
            budget.answered(&ask.addrs[0]);
            search.answered(now, &ask, Ok(Answer::NotFound));
            asks += 1;
        }
        search.sync(now, &Directory::default());
    }
    assert_eq!(asks, MAX_ASKS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever nodes come, go and answer: bounds hold, and a search with work left has a time to wake.
    #[test]
    fn bounds_hold_under_any_sequence(seed in any::<u64>()) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut search, mut budget) = search(content());
        let (mut now, mut open) = (Duration::ZERO, Vec::new());
        let mut asks: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..150 {
            now += Duration::from_millis(rng.u64(0..2000));
            let known = rng.usize(0..80);
            let host = rng.u8(1..5);
            search.sync(now, &directory((0..known).map(|n| advert(n, [10, 0, 0, host.wrapping_mul(n as u8)]))));
            while let Some(ask) = search.next(now, &mut budget) {
                *asks.entry(ask.name.clone()).or_default() += 1;
                open.push(ask);
            }
            prop_assert!(open.len() <= 8 && search.in_flight == open.len());
            prop_assert!(search.wake().is_none_or(|wake| wake > now));
            for _ in 0..rng.usize(0..8).min(open.len()) {
                let ask = open.swap_remove(rng.usize(..open.len()));
                let answer = match rng.u8(0..5) {
                    0 => has(vec![claim(None)]),
                    1 => Ok(Answer::Pending { eta: Duration::from_millis(rng.u64(..)) }),
                    2 => Ok(Answer::NotFound),
                    _ => Err(QueryError::TimedOut),
                };
                search.answered(now, &ask, answer);
            }
        }
        prop_assert!(asks.len() <= 32 && asks.values().all(|count| *count <= MAX_ASKS));
        prop_assert!(search.nodes.len() <= 80 + 32);
    }
}
