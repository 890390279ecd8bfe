//! The client with this crate's relay: restarts, joined relays, crowds.

#![cfg(test)]

use dig_gun::{
    client::{ClientConfig, Gun, RelayUrl},
    graph::{Graph, Node},
    lex::{Lex, Query},
    relay::{ServeOptions, Serving, serve},
    store::{DiskStorage, MemoryStorage, Storage, StoreConfig},
    value::{Key, Soul, State, Value},
};
use futures::{StreamExt, future::join_all};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

fn soul(text: &str) -> Soul {
    Soul::new(text).unwrap()
}

fn field(name: &str, key: &str, value: &str, state: State) -> Node {
    Node::new(soul(name)).with(Key::new(key).unwrap(), Value::text(value), state)
}

async fn relay(address: &str, storage: Arc<dyn Storage>, join: Vec<RelayUrl>) -> Serving {
    let mut options = ServeOptions::new(vec![address.parse().unwrap()], storage);
    options.join = join;
    serve(options).await.unwrap()
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::default())
}

fn disk(path: &Path) -> Arc<dyn Storage> {
    Arc::new(DiskStorage::open(path, StoreConfig::default()).unwrap())
}

fn url(address: SocketAddr) -> RelayUrl {
    format!("ws://{address}/gun").parse().unwrap()
}

fn client(relays: &[SocketAddr]) -> Gun {
    Gun::start(ClientConfig {
        relays: relays.iter().copied().map(url).collect(),
        ..ClientConfig::default()
    })
}

/// What a subscriber was told, once this is so.
async fn told(heard: &mut dig_gun::client::Subscription, enough: impl Fn(&Node) -> bool) -> Node {
    let mut graph = Graph::new();
    let far = State::new(1e15).unwrap();
    let told = async {
        loop {
            let node = heard.next().await.expect("the client is closed");
            graph.merge(far, &node);
            let node = graph.get(&node.soul).unwrap();
            if enough(node) {
                return node.clone();
            }
        }
    };
    timeout(30 * SECOND, told).await.expect("not told in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_restarts_keeps_what_it_acknowledged_and_gets_what_it_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gun.redb");
    let serving = relay("127.0.0.1:0", disk(&path), Vec::new()).await;
    let address = serving.addrs()[0];
    let (writer, reader) = (client(&[address]), client(&[address]));
    let mut heard = reader.subscribe(Query::node(soul("s")));
    let before = field("s", "before", "1", writer.state());
    writer.put(vec![before]).await.unwrap();
    told(&mut heard, |node| node.fields.len() == 1).await;

    serving.shutdown().await;
    // Nobody is there to take it; the client keeps it.
    writer
        .put_soon(vec![field("s", "meanwhile", "2", writer.state())])
        .unwrap();
    let waiting = writer.put(vec![field("s", "awaited", "3", writer.state())]);
    let restart = async {
        tokio::time::sleep(SECOND).await;
        relay(&address.to_string(), disk(&path), Vec::new()).await
    };
    let (stored, serving) = tokio::join!(waiting, restart);
    stored.unwrap();
    told(&mut heard, |node| node.fields.len() == 2).await;

    let late = client(&[address]);
    let found = late.once(Query::node(soul("s"))).await.unwrap();
    assert_eq!(found[0].fields.len(), 3);
    let range = Query::nodes(Lex::prefix("s"), 1000);
    assert_eq!(late.once(range).await.unwrap(), found);
    let missing = late.once(Query::node(soul("nothing"))).await;
    assert_eq!(missing, Ok(Vec::new()));
    serving.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_joined_relays_and_of_two_relays_hear_each_other() {
    let first = relay("127.0.0.1:0", memory(), Vec::new()).await;
    let joined = vec![url(first.addrs()[0])];
    let second = relay("127.0.0.1:0", memory(), joined).await;
    let alone = relay("127.0.0.1:0", memory(), Vec::new()).await;
    let at = |serving: &Serving| serving.addrs()[0];
    let here = client(&[at(&first)]);
    let there = client(&[at(&second)]);
    let both = client(&[at(&first), at(&alone)]);
    let apart = client(&[at(&alone)]);
    let mut heard_there = there.subscribe(Query::node(soul("s")));
    let mut heard_both = both.subscribe(Query::node(soul("s")));
    here.put(vec![field("s", "k", "1", here.state())])
        .await
        .unwrap();
    told(&mut heard_there, |_| true).await;
    told(&mut heard_both, |_| true).await;
    // Who uses both writes to both.
    let mut heard_apart = apart.subscribe(Query::node(soul("t")));
    let mut heard_there = there.subscribe(Query::node(soul("t")));
    both.put(vec![field("t", "k", "2", both.state())])
        .await
        .unwrap();
    told(&mut heard_there, |_| true).await;
    told(&mut heard_apart, |_| true).await;
    for serving in [first, second, alone] {
        serving.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_ends_with_the_same_graph() {
    const CLIENTS: usize = 20;
    const WRITES: usize = 50;
    let serving = relay("127.0.0.1:0", memory(), Vec::new()).await;
    let address = serving.addrs()[0];
    let clients: Vec<_> = (0..CLIENTS).map(|_| client(&[address])).collect();
    let heard = clients
        .iter()
        .map(|gun| gun.subscribe(Query::node(soul("room"))));
    let mut heard: Vec<_> = heard.collect();
    let start = Instant::now();
    let writes = clients.iter().enumerate().map(|(number, gun)| async move {
        for write in 0..WRITES {
            // Half of the fields are everybody's.
            let own = write % 2 == 0;
            let key = if own {
                format!("{number}/{write}")
            } else {
                format!("all/{write}")
            };
            let node = field("room", &key, &format!("{number} says {write}"), gun.state());
            gun.put(vec![node]).await.unwrap();
        }
    });
    join_all(writes).await;
    let fields = CLIENTS * WRITES / 2 + WRITES / 2;
    let stored = clients[0].once(Query::node(soul("room"))).await.unwrap();
    assert_eq!(stored[0].fields.len(), fields);
    let graphs = heard
        .iter_mut()
        .map(|heard| told(heard, |node| *node == stored[0]));
    for graph in join_all(graphs).await {
        assert_eq!(graph, stored[0]);
    }
    println!(
        "{} acknowledged writes by {CLIENTS} clients in {:?}",
        CLIENTS * WRITES,
        start.elapsed()
    );
    serving.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writes_at_once_and_large_ones() {
    let serving = relay("127.0.0.1:0", memory(), Vec::new()).await;
    let gun = client(&[serving.addrs()[0]]);
    assert!(gun.connected(5 * SECOND).await);
    let start = Instant::now();
    let writes = (0..5000).map(|number| {
        let node = field(&format!("s{number}"), "k", "v", gun.state());
        gun.put(vec![node])
    });
    for stored in join_all(writes).await {
        stored.unwrap();
    }
    println!("5000 writes at once in {:?}", start.elapsed());
    // More than one message may hold, and a value that is longer than one alone.
    let mut large = Node::new(soul("large"));
    let state = gun.state();
    for number in 0..3000 {
        let key = Key::new(&format!("key{number}")).unwrap();
        large = large.with(key, Value::text("some text that takes room"), state);
    }
    large = large.with(
        Key::new("long").unwrap(),
        Value::text(&"x".repeat(200_000)),
        state,
    );
    gun.put(vec![large.clone()]).await.unwrap();
    assert_eq!(gun.once(Query::node(soul("large"))).await, Ok(vec![large]));
    serving.shutdown().await;
}
