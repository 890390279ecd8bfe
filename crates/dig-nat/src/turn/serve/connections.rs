//! What clients send over connections.

use super::{LARGEST, Place, Shared, outbox::Outbox};
use crate::{
    io::{Seat, Seats},
    stun::customer,
    turn::server::{Client, Transport, frame_length},
};
use bytes::{Buf as _, BytesMut};
use socket2::SockRef;
use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// Most connections at an address: each holds some tens of KiB.
const CONNECTIONS: usize = 2048;
/// Most connections of one network: twice the allocations that it may have.
const CONNECTIONS_EACH: usize = 64;
/// How long a connection without an allocation may be silent.
const IDLE: Duration = Duration::from_secs(30);
/// How long one with an allocation may be: longer than an allocation lives without being refreshed.
const IDLE_ALLOCATED: Duration = Duration::from_secs(660);
/// How long a client may take to accept what waits for it.
const WRITE: Duration = Duration::from_secs(15);
/// Longest message, in bytes; more closes the connection.
const LONGEST: usize = LARGEST + 64;
/// Bytes that the system takes on before they are sent; what is more waits in the outbox, where it is counted. A deeper buffer
/// would only be delay.
const UNSENT: u32 = 64 << 10;
/// First two bytes of a Binding request.
const BINDING: [u8; 2] = [0, 1];

/// Accepts connections and answers on them until dropped.
pub(super) async fn answer(shared: Arc<Shared>, place: usize, listener: TcpListener) {
    let seats = Seats::new(CONNECTIONS_EACH);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, source)) if connections.len() < CONNECTIONS => {
                    if let Some(seat) = seats.take(customer(source.ip())) {
                        let shared = Arc::clone(&shared);
                        connections.spawn(converse(shared, place, stream, source, seat));
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

/// What belongs to a connection; dropped, it leaves nothing behind.
struct Registered<'a> {
    shared: &'a Shared,
    client: Client,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let now = self.shared.now();
        let mut core = self.shared.core();
        core.outboxes.remove(&self.client);
        core.server.on_gone(now, self.client);
        core.close_ended();
    }
}

async fn converse(
    shared: Arc<Shared>,
    place: usize,
    mut stream: TcpStream,
    source: SocketAddr,
    _seat: Seat,
) {
    let place = &shared.places[place];
    let client = Client {
        transport: Transport::Stream,
        local: place.local,
        remote: source,
    };
    let _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
    let outbox = Arc::new(Outbox::default());
    let registered = Registered {
        shared: &shared,
        client,
    };
    shared.core().outboxes.insert(client, Arc::clone(&outbox));
    let (mut reader, mut writer) = stream.split();
    let read = async {
        let (mut received, mut buffer) = (BytesMut::new(), Vec::new());
        loop {
            let idle = match shared.core().server.serves(client) {
                true => IDLE_ALLOCATED,
                false => IDLE,
            };
            let Ok(Ok(1..)) = timeout(idle, reader.read_buf(&mut received)).await else {
                return;
            };
            while let Some(length) = complete(&received) {
                let message = &received[..length];
                if let Some(reply) = on_message(&shared, place, client, message, &mut buffer)
                    && !outbox.push(&reply)
                {
                    // Whoever asks and does not read the answers gets no more of them.
                    return;
                }
                received.advance(length);
            }
            if !may_go_on(&received) {
                return;
            }
        }
    };
    let write = async {
        let mut buffer = Vec::new();
        loop {
            outbox.take(&mut buffer).await;
            if !matches!(timeout(WRITE, writer.write_all(&buffer)).await, Ok(Ok(()))) {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
    drop(registered);
}

/// The length of the first message, if it is all there.
fn complete(received: &[u8]) -> Option<usize> {
    let length = frame_length(*received.first_chunk()?)?;
    (length <= LONGEST && received.len() >= length).then_some(length)
}

/// Whether what is there may be the beginning of a message.
fn may_go_on(received: &[u8]) -> bool {
    match received.first_chunk() {
        Some(first) => frame_length(*first).is_some_and(|length| length <= LONGEST),
        None => true,
    }
}

fn on_message(
    shared: &Arc<Shared>,
    place: &Place,
    client: Client,
    message: &[u8],
    buffer: &mut Vec<u8>,
) -> Option<Vec<u8>> {
    if message.starts_with(&BINDING) {
        let mut server = place.stun.lock().unwrap_or_else(PoisonError::into_inner);
        return server.on_stream(shared.now(), client.remote, message);
    }
    if !place.turn {
        return None;
    }
    shared.on_client(client, message, buffer)
}
