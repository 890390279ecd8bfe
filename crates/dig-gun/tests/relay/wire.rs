//! HTTP and WebSockets.

use crate::speaker::{PATIENCE, Speaker};
use dig_gun::{
    relay::{Limits, ServeOptions, Serving, serve},
    store::{MemoryStorage, StoreConfig},
};
use futures::{SinkExt, StreamExt};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{
        Error, Message as Frame,
        protocol::frame::coding::{CloseCode, Data, OpCode},
    },
};

pub(crate) async fn relay(limits: Limits) -> (Serving, String) {
    let storage = Arc::new(MemoryStorage::new(StoreConfig::default()));
    let mut options = ServeOptions::new(vec!["127.0.0.1:0".parse().unwrap()], storage);
    options.limits = limits;
    let serving = serve(options).await.unwrap();
    let url = format!("ws://{}/gun", serving.addrs()[0]);
    (serving, url)
}

async fn http(serving: &Serving, request: &str) -> String {
    let mut stream = TcpStream::connect(serving.addrs()[0]).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("no end").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn http_has_health_a_word_for_everybody_and_no_more() {
    let (serving, _) = relay(Limits::default()).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let health = http(&serving, &get("/health")).await;
    assert!(
        health.starts_with("HTTP/1.1 200")
            && health.contains(r#"{"status":"ok","connections":0,"nodes":0}"#),
        "{health}"
    );
    for path in ["/", "/gun", "/gun/", "/gun.js", "/../../etc/passwd"] {
        let answer = http(&serving, &get(path)).await;
        assert!(
            answer.starts_with("HTTP/1.1 404") && answer.contains("Gun relay"),
            "{path}: {answer}"
        );
    }
    let old = "GET /gun HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
               sec-websocket-version: 8\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert!(http(&serving, old).await.starts_with("HTTP/1.1 426"));
    assert!(
        !http(&serving, "\x16\x03\x01\x02\x00\x01\x00")
            .await
            .contains("200"),
        "TLS to a plain port"
    );
    let metrics = serving.metrics();
    assert!(
        metrics.contains("# TYPE dig_gun_connections gauge\ndig_gun_connections 0\n"),
        "{metrics}"
    );
    serving.shutdown().await;
}

#[tokio::test]
async fn the_opening_handshake_is_that_of_the_standard() {
    let (serving, _) = relay(Limits::default()).await;
    let mut stream = TcpStream::connect(serving.addrs()[0]).await.unwrap();
    // RFC 6455 §1.3, with the path and header that gun.js's users may have.
    let request = "GET /gun?x=1 HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
                   origin: http://example.test\r\nsec-websocket-protocol: chat, superchat\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let mut len = 0;
    while !answer[..len].windows(4).any(|end| end == b"\r\n\r\n") {
        let read = timeout(PATIENCE, stream.read(&mut answer[len..]))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(read, 0);
        len += read;
    }
    let answer = String::from_utf8_lossy(&answer[..len]).to_lowercase();
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(
        answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{answer}"
    );
    assert!(
        answer.contains("sec-websocket-protocol: chat\r\n"),
        "{answer}"
    );
    serving.shutdown().await;
}

#[tokio::test]
async fn limits_of_connections_answer_in_http() {
    let limits = Limits {
        connections_per_origin: 2,
        ..Limits::default()
    };
    let (serving, url) = relay(limits).await;
    let first = Speaker::connect(&url).await;
    let _second = Speaker::connect(&url).await;
    match connect_async(&url).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 503),
        other => panic!("{other:?}"),
    }
    drop(first);
    let mut tries = 0;
    while connect_async(&url).await.is_err() {
        tries += 1;
        assert!(tries < 100);
        sleep(Duration::from_millis(20)).await;
    }
    serving.shutdown().await;
}

#[tokio::test]
async fn long_frames_come_in_fragments_and_too_long_ones_end_the_connection() {
    let limits = Limits {
        frame: 1 << 20,
        ..Limits::default()
    };
    let (serving, url) = relay(limits).await;
    let mut alice = Speaker::connect(&url).await;
    let mut bob = Speaker::connect(&url).await;
    bob.get("long").await;
    let value = format!("\"{}\"", "€".repeat(200_000));
    alice.put("long", "k", &value, 1.0).await.1.unwrap();
    bob.change("long", "k").await;
    let (_, fields) = bob.get("long").await;
    assert_eq!(fields, [format!("k={value}")]);
    for (text, last) in [
        (r##"{"#":"frag","##, false),
        (r##""get":{"#":"##, false),
        (r#""none"}}"#, true),
    ] {
        let code = if text.starts_with('{') {
            Data::Text
        } else {
            Data::Continue
        };
        let frame = tokio_tungstenite::tungstenite::protocol::frame::Frame::message(
            text,
            OpCode::Data(code),
            last,
        );
        alice.socket.send(Frame::Frame(frame)).await.unwrap();
        alice
            .socket
            .send(Frame::Ping("between".into()))
            .await
            .unwrap();
    }
    alice.answer("frag").await;
    // It may be cut off while it sends.
    let _ = alice
        .socket
        .send(Frame::text("x".repeat((1 << 20) + 1)))
        .await;
    let end = async {
        loop {
            match alice.socket.next().await {
                Some(Ok(Frame::Close(frame))) => return frame.map(|frame| frame.code),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    };
    let code = timeout(PATIENCE, end).await.expect("still connected");
    assert!(code.is_none_or(|code| code == CloseCode::Size), "{code:?}");
    assert_eq!(serving.counters().closed_frames, 1);
    let (_, fields) = bob.get("none").await;
    assert!(fields.is_empty(), "bob is served on");
    serving.shutdown().await;
}

#[tokio::test]
async fn binary_frames_are_ignored_and_the_heartbeat_is_guns() {
    let (serving, url) = relay(Limits::default()).await;
    let mut alice = Speaker::connect(&url).await;
    alice
        .socket
        .send(Frame::binary(vec![1, 2, 3]))
        .await
        .unwrap();
    alice.get("x").await;
    let heartbeat = timeout(Duration::from_secs(25), async {
        loop {
            if let Some(Ok(Frame::Text(text))) = alice.socket.next().await
                && text.as_str() == "[]"
            {
                return;
            }
        }
    });
    heartbeat.await.expect("no heartbeat");
    serving.shutdown().await;
}

#[tokio::test]
async fn the_end_is_said_and_frees_the_address() {
    let (serving, url) = relay(Limits::default()).await;
    let address = serving.addrs()[0];
    let mut alice = Speaker::connect(&url).await;
    // Somebody who says nothing does not hold it up.
    let _idle = TcpStream::connect(address).await.unwrap();
    timeout(Duration::from_secs(10), serving.shutdown())
        .await
        .expect("no end");
    assert!(alice.next().await.is_none());
    tokio::net::TcpListener::bind(address).await.unwrap();
}
