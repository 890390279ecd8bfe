//! Links themselves: names, both directions at once, the end of a server.

use crate::world::{Node, TOO_LONG, config, fetch_from, file, finish};
use dig_transfer::{
    fetch::{self, Fetch, FetchError},
    link::{LinkEnd, RequestError},
    serve::Resolver,
    sink::MemorySink,
    wire::{Claim, Query, RefusalCode, Resolved},
};
use dig_types::{ContentKind, ContentName, DiscoveryKey, Sha256Hash};
use std::{sync::Arc, time::Duration};

/// Knows one name, and is still computing.
#[derive(Debug)]
struct Names;

impl Resolver for Names {
    fn resolve(&self, query: &Query) -> Option<Resolved> {
        match query {
            Query::Name(name) if name.as_str() == "film" => Some(Resolved::Found(vec![film()])),
            Query::Sha256(_) => Some(Resolved::Pending {
                estimate: Duration::from_secs(3),
            }),
            _ => None,
        }
    }
}

fn film() -> Claim {
    let hash = Some(dig_types::ContentHash::from_bytes([9; 32]));
    Claim {
        hash,
        kind: ContentKind::File,
        size: 77,
        name: ContentName::new("film").ok(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_resolved_over_a_link() {
    let content = file(41, 10);
    let (node, client) = (Node::new(1).with(&content.store), Node::new(2));
    node.server.set_resolver(Arc::new(Names));
    let link = node.connect(&client);
    let name = |text| Query::Name(ContentName::new(text).unwrap());
    assert_eq!(
        link.resolve(name("film")).await,
        Ok(Resolved::Found(vec![film()]))
    );
    match link.resolve(name("book")).await {
        Err(RequestError::Refused(refused)) => assert_eq!(refused.code, RefusalCode::NotFound),
        other => panic!("{other:?}"),
    }
    let pending = Resolved::Pending {
        estimate: Duration::from_secs(3),
    };
    assert_eq!(
        link.resolve(Query::Sha256(Sha256Hash::from_bytes([1; 32])))
            .await,
        Ok(pending)
    );
    // What is served is found by its key even if the resolver does not know it.
    match link
        .resolve(Query::Content(DiscoveryKey::content(&content.hash)))
        .await
    {
        Ok(Resolved::Found(claims)) => assert_eq!((claims[0].hash, claims[0].size), (None, 10)),
        other => panic!("{other:?}"),
    }
    link.close(0, "");
    assert_eq!(link.closed().await, LinkEnd::Local);
    assert_eq!(
        link.resolve(name("film")).await,
        Err(RequestError::Ended(LinkEnd::Local))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lane_carries_both_directions_at_once() {
    let contents = [file(42, 40 << 20), file(43, 40 << 20)];
    let nodes = [
        Node::new(1).with(&contents[0].store),
        Node::new(2).with(&contents[1].store),
    ];
    let (of_second, of_first) = nodes[0].link(&nodes[1]);
    let fetches = [(&contents[0], of_second), (&contents[1], of_first)].map(|(content, link)| {
        let sink = MemorySink::new();
        let memory = sink.content();
        let fetch = Fetch::start(content.hash, config(), fetch::to(sink));
        fetch.add_link(link);
        finish(fetch, memory)
    });
    for (fetched, content) in futures::future::join_all(fetches)
        .await
        .iter()
        .zip(&contents)
    {
        fetched.assert_is(content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_shuts_down_says_so() {
    let content = file(44, 30 << 20);
    let node = Node::limited(1, Some(10_000_000)).with(&content.store);
    let (client, sink) = (Node::new(2), MemorySink::new());
    let memory = sink.content();
    let fetch = Fetch::start(content.hash, config(), fetch::to(sink));
    fetch.add_link(node.connect(&client));
    tokio::time::sleep(Duration::from_millis(500)).await;
    node.server.shut_down();
    tokio::time::sleep(Duration::from_millis(300)).await;
    fetch.give_up();
    let fetched = finish(fetch, memory).await;
    match fetched.result {
        Err(FetchError::NoPeers { reasons }) => {
            assert!(reasons.contains("shutting down"), "{reasons}")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_but_sends_nothing_is_passed_over() {
    let content = file(45, 20 << 20);
    let silent = Node::new(1).with(&content.store).tampering(|frame| {
        let data = frame.kind == dig_transfer::wire::kind::DATA;
        (!data).then_some(frame)
    });
    let mute = Node::new(2).with(&content.store).tampering(|_| None);
    let honest = Node::new(3).with(&content.store);
    let fetched = fetch_from(&content, config(), &[&mute, &silent, &honest]).await;
    fetched.assert_is(&content);
    assert!(fetched.banned().is_empty());
    let elapsed = fetched.result.unwrap().elapsed;
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_dropped_lets_go_of_its_links() {
    let content = file(46, 30 << 20);
    let node = Node::limited(1, Some(10_000_000)).with(&content.store);
    let client = Node::new(2);
    let fetch = Fetch::start(content.hash, config(), fetch::to(MemorySink::new()));
    fetch.add_link(node.connect(&client));
    while node.server.statistics().fetching == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(fetch);
    let ended = async {
        while node.server.statistics().fetching > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TOO_LONG, ended).await.unwrap();
}
