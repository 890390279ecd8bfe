//! The server's connections.

use super::{Frames, Shared};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
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

/// How many connections each address has.
type Counts = Arc<Mutex<BTreeMap<IpAddr, usize>>>;

/// One connection's place in the counts.
struct Place {
    counts: Counts,
    ip: IpAddr,
}

impl Place {
    fn take(counts: &Counts, ip: IpAddr) -> Option<Self> {
        let mut all = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(ip).or_default();
        if *count >= CONNECTIONS_EACH {
            return None;
        }
        *count += 1;
        Some(Self {
            counts: Arc::clone(counts),
            ip,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.ip);
            }
        }
    }
}

/// Accepts connections and answers on them until dropped.
pub(super) async fn answer(shared: Arc<Shared>, listener: TcpListener) {
    let counts = Counts::default();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, source)) if connections.len() < CONNECTIONS => {
                    if let Some(place) = Place::take(&counts, source.ip()) {
                        connections.spawn(converse(Arc::clone(&shared), stream, source, place));
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

async fn converse(shared: Arc<Shared>, mut stream: TcpStream, source: SocketAddr, _place: Place) {
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
