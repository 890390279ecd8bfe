//! The client over sockets, against relays that are scripts.

mod secure;
mod server;

use super::*;
use crate::{
    message::Body,
    value::{Key, Value},
};
use futures::StreamExt;
use server::Server;
use std::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn soul(text: &str) -> Soul {
    Soul::new(text).unwrap()
}

fn node(gun: &Gun, name: &str, value: &str) -> Node {
    Node::new(soul(name)).with(Key::new("k").unwrap(), Value::text(value), gun.state())
}

fn config(server: &Server) -> ClientConfig {
    ClientConfig {
        relays: vec![server.url()],
        seed: 1,
        ..ClientConfig::default()
    }
}

/// How the only relay does, once it does so.
async fn wait_for(gun: &Gun, state: impl Fn(&LinkState) -> bool) -> LinkState {
    let mut status = gun.status();
    let seen = status.wait_for(|relays| state(&relays[0].state)).await;
    seen.unwrap()[0].state.clone()
}

async fn why_down(gun: &Gun) -> String {
    match wait_for(gun, |state| matches!(state, LinkState::Down { .. })).await {
        LinkState::Down { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn writes_reads_and_hears() {
    let mut server = Server::start().await;
    let gun = Gun::start(config(&server));
    let mut relay = server.accept().await;
    assert!(gun.connected(SECOND).await);
    relay.hello().await;

    let written = node(&gun, "s", "v");
    let put = tokio::spawn({
        let (gun, written) = (gun.clone(), written.clone());
        async move { gun.put(vec![written]).await }
    });
    let message = relay.recv().await;
    assert_eq!(message.body, Body::Put(vec![written.clone()]));
    relay.ack(&message).await;
    assert_eq!(put.await.unwrap(), Ok(Stored { by: 1 }));

    let once = tokio::spawn({
        let gun = gun.clone();
        async move { gun.once(Query::node(soul("s"))).await }
    });
    let message = relay.recv().await;
    relay.answer(&message, vec![written.clone()]).await;
    assert_eq!(once.await.unwrap(), Ok(vec![written.clone()]));

    let mut heard = gun.subscribe(Query::node(soul("s")));
    let message = relay.recv().await;
    assert_eq!(message.body, Body::Get(Query::node(soul("s"))));
    relay.answer(&message, vec![written.clone()]).await;
    assert_eq!(heard.next().await, Some(written));
    // What no client should send harms nothing, and the next change is heard.
    for nonsense in [
        "",
        "x",
        "[",
        "[1,{}]",
        "{\"#\":",
        "{\"put\":{\"s\":7}}",
        "[[],\"{\\\"get\\\":1}\"]",
    ] {
        relay.text(nonsense).await;
    }
    relay.binary().await;
    let changed = node(&gun, "s", "w");
    relay.push(vec![changed.clone()]).await;
    assert_eq!(heard.next().await, Some(changed));
    assert_eq!(heard.missed(), 0);

    gun.close().await;
    assert_eq!(heard.next().await, None);
    assert_eq!(
        gun.put(vec![node(&gun, "s", "x")]).await,
        Err(PutError::Closed)
    );
    assert_eq!(
        gun.once(Query::node(soul("s"))).await,
        Err(GetError::Closed)
    );
    assert_eq!(gun.subscribe(Query::node(soul("s"))).next().await, None);
}

#[tokio::test]
async fn a_new_connection_gets_the_questions_and_the_writes_again() {
    let mut server = Server::start().await;
    let gun = Gun::start(config(&server));
    let mut relay = server.accept().await;
    relay.hello().await;
    let mut heard = gun.subscribe(Query::node(soul("s")));
    let written = node(&gun, "other", "v");
    let put = tokio::spawn({
        let (gun, written) = (gun.clone(), written.clone());
        async move { gun.put(vec![written]).await }
    });
    assert!(matches!(relay.recv().await.body, Body::Get(_)));
    assert!(matches!(relay.recv().await.body, Body::Put(_)));
    drop(relay);

    let mut relay = server.accept().await;
    relay.hello().await;
    let get = relay.recv().await;
    assert_eq!(get.body, Body::Get(Query::node(soul("s"))));
    let again = relay.recv().await;
    assert_eq!(again.body, Body::Put(vec![written]));
    relay.ack(&again).await;
    assert_eq!(put.await.unwrap(), Ok(Stored { by: 1 }));
    let changed = node(&gun, "s", "v");
    relay.answer(&get, vec![changed.clone()]).await;
    assert_eq!(heard.next().await, Some(changed));
}

#[tokio::test]
async fn what_was_written_soon_goes_out_before_the_end() {
    let mut server = Server::start().await;
    let gun = Gun::start(config(&server));
    let mut relay = server.accept().await;
    relay.hello().await;
    assert!(gun.connected(SECOND).await);
    let nodes: Vec<_> = (0..100)
        .map(|number| node(&gun, &format!("s{number}"), "v"))
        .collect();
    for node in &nodes {
        gun.put_soon(vec![node.clone()]).unwrap();
    }
    // The last one to hold it.
    drop(gun);
    for node in nodes {
        assert_eq!(relay.recv().await.body, Body::Put(vec![node]));
    }
    assert!(relay.ended().await);
}

#[tokio::test]
async fn a_relay_that_falls_silent_is_given_up() {
    let mut server = Server::start().await;
    let gun = Gun::start(config(&server));
    // It reads nothing from here on, so it answers no ping.
    let relay = server.accept().await;
    assert!(gun.connected(SECOND).await);
    let start = tokio::time::Instant::now();
    tokio::time::pause();
    assert_eq!(why_down(&gun).await, "it gives no sign of life");
    let silent = start.elapsed();
    assert!((39 * SECOND..42 * SECOND).contains(&silent), "{silent:?}");
    drop(relay);
}

#[tokio::test]
async fn a_quiet_relay_that_is_there_is_kept() {
    let mut server = Server::start().await;
    let gun = Gun::start(config(&server));
    let mut relay = server.accept().await;
    assert!(gun.connected(SECOND).await);
    relay.hello().await;
    // Reading answers pings.
    let reading = tokio::spawn(async move { relay.ended().await });
    for _ in 0..10 {
        tokio::time::pause();
        tokio::time::advance(31 * SECOND).await;
        tokio::time::resume();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(gun.status().borrow()[0].is_up());
    }
    assert!(!reading.is_finished());
}

#[tokio::test]
async fn frames_are_bounded() {
    let mut server = Server::start().await;
    let gun = Gun::start(ClientConfig {
        max_frame: 10_000,
        ..config(&server)
    });
    let mut relay = server.accept().await;
    relay.text(&"x".repeat(10_001)).await;
    assert_eq!(
        why_down(&gun).await,
        "the relay sent a frame of more bytes than are taken"
    );
}

#[tokio::test]
async fn what_is_no_relay_is_named_for_what_it_is() {
    let mut server = Server::start().await;
    let gun = Gun::start(config(&server));
    server
        .accept_http("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        .await;
    let why = why_down(&gun).await;
    assert!(why.contains("HTTP 404") && why.contains("/gun"), "{why}");
    drop(gun);

    let gun = Gun::start(config(&server));
    server.accept_http("220 mail.example ESMTP\r\n").await;
    let why = why_down(&gun).await;
    assert!(why.contains("WebSocket"), "{why}");
    drop(gun);

    let url = server.url();
    drop(server);
    let gun = Gun::start(ClientConfig {
        relays: vec![url],
        put_timeout: SECOND,
        get_patience: SECOND,
        ..ClientConfig::default()
    });
    let why = why_down(&gun).await;
    assert!(why.contains("most listen at 8765"), "{why}");
    let start = Instant::now();
    let error = gun.put(vec![node(&gun, "s", "v")]).await.unwrap_err();
    assert!(
        matches!(error, PutError::NoRelay { why: Some(_) }),
        "{error}"
    );
    let error = gun.once(Query::node(soul("s"))).await.unwrap_err();
    assert!(matches!(error, GetError::NoRelay { .. }), "{error}");
    assert!(start.elapsed() < 4 * SECOND);
}

#[tokio::test]
async fn states_only_grow_also_when_the_clock_does_not() {
    let clock = Arc::new(dig_types::VirtualClock::new(
        dig_types::Timestamp::from_millis(1_795_344_000_000),
    ));
    let config = ClientConfig {
        clock: Arc::clone(&clock) as _,
        ..ClientConfig::default()
    };
    let gun = Gun::start(config);
    let mut last = gun.state();
    assert_eq!(last.get(), 1_795_344_000_000.0);
    for _ in 0..5000 {
        let next = gun.state();
        assert!(next > last);
        last = next;
    }
    assert!(last.get() < 1_795_344_000_006.0, "{last:?}");
    clock.advance(SECOND);
    assert_eq!(gun.state().get(), 1_795_344_001_000.0);
    // Its own writes are never of the future to it.
    let mut heard = gun.subscribe(Query::node(soul("s")));
    for _ in 0..100 {
        let written = node(&gun, "s", "v");
        gun.put_soon(vec![written.clone()]).unwrap();
        assert_eq!(heard.next().await, Some(written));
    }
}

#[tokio::test]
async fn a_slow_subscriber_hears_the_last_of_each_field() {
    let gun = Gun::start(ClientConfig::default());
    let mut heard = gun.subscribe(Query::node(soul("s")));
    let mut last = None;
    for number in 0..1000 {
        let written = node(&gun, "s", &number.to_string());
        gun.put_soon(vec![written.clone()]).unwrap();
        last = Some(written);
    }
    assert_eq!(heard.next().await, last);
    assert_eq!(heard.missed(), 0);
    // What is too much is counted, and nothing outdated is told.
    let large = "x".repeat(1 << 20);
    for number in 0..8 {
        let key = Key::new(&format!("k{number}")).unwrap();
        let written = Node::new(soul("s")).with(key, Value::text(&large), gun.state());
        gun.put_soon(vec![written]).unwrap();
    }
    assert_eq!(heard.missed(), 5);
    assert_eq!(heard.next().await.unwrap().fields.len(), 3);
    let written = node(&gun, "s", "after");
    gun.put_soon(vec![written.clone()]).unwrap();
    assert_eq!(heard.next().await, Some(written));
}

#[tokio::test]
async fn nothing_to_write_is_written_at_once() {
    let gun = Gun::start(ClientConfig::default());
    assert_eq!(gun.put(Vec::new()).await, Ok(Stored { by: 0 }));
    assert_eq!(
        gun.put(vec![Node::new(soul("s"))]).await,
        Ok(Stored { by: 0 })
    );
    let refused = gun
        .put_json(soul("s"), serde_json::json!({ "list": [1, 2] }))
        .await;
    assert!(matches!(refused, Err(PutError::Invalid(_))), "{refused:?}");
}
