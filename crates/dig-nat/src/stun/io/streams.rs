//! The server's connections.

use super::{Frames, Shared};
use crate::io::{Seat, Seats};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// Most connections at an address: each holds a few KiB.
const CONNECTIONS: usize = 512;
/// Most connections of one client address.
pub(super) const CONNECTIONS_EACH: usize = 16;
/// How long a connection may be silent. Clients keep it open to keep their mapping; RFC 5382 lets NATs forget an idle
/// connection that is not established after 4 minutes.
const IDLE: Duration = Duration::from_secs(300);
/// How long a client may take to accept an answer.
const WRITE: Duration = Duration::from_secs(5);

/// Accepts connections and answers on them until dropped.
pub(super) async fn answer(shared: Arc<Shared>, listener: TcpListener) {
    let seats = Seats::new(CONNECTIONS_EACH);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, source)) if connections.len() < CONNECTIONS => {
                    if let Some(seat) = seats.take(source.ip()) {
                        connections.spawn(converse(Arc::clone(&shared), stream, source, seat));
                    }
                }
                Ok(_) => {}
                // Out of descriptors, most likely: that passes.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(shared: Arc<Shared>, mut stream: TcpStream, source: SocketAddr, _seat: Seat) {
    let (mut frames, mut buffer) = (Frames::default(), [0; 1024]);
    loop {
        let Ok(Ok(length @ 1..)) = timeout(IDLE, stream.read(&mut buffer)).await else {
            return;
        };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let Ok(taken) = frames.push(rest) else { return };
            rest = &rest[taken..];
            let Some(message) = frames.take() else {
                continue;
            };
            let reply = shared.server().on_stream(shared.now(), source, &message);
            // Whoever is not worth an answer is not worth a connection.
            let Some(reply) = reply else { return };
            if !matches!(timeout(WRITE, stream.write_all(&reply)).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}
