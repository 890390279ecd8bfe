//! The datagram sockets of an endpoint, and who knocks on them.

use super::Inner;
use crate::{endpoint::admission::Place, quic::Quic, socket::QuinnSocket};
use quinn::{Endpoint, Incoming, VarInt};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Time in which the lanes of a detached socket say goodbye by themselves; what is left is cut.
const FAREWELL: Duration = Duration::from_millis(280);

/// Time in which the connections that were cut tell their peers.
const CUT: Duration = Duration::from_millis(20);

/// Names a datagram socket of an endpoint. An endpoint never gives the same one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(u64);

/// How a datagram socket may be used. The default is that of a socket of the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketOptions {
    /// Dialled from only by name ([`Endpoint::connect_quic_from`](crate::Endpoint::connect_quic_from)), never chosen by
    /// [`Endpoint::connect_quic`](crate::Endpoint::connect_quic): a relayed socket, or one opened for a single peer. It accepts
    /// all the same. Default: no.
    pub by_handle_only: bool,
    /// Size of the largest datagram that this socket carries, in bytes without IP and UDP headers, at least 1,200 (RFC 9000
    /// §14). The path's size is then not probed, the peer is told (`max_udp_payload_size`), and datagrams are given to the socket one at
    /// a time. Default: `None`, the size is found out (RFC 8899) and batches are segmented by the system.
    pub largest_datagram: Option<u16>,
}

/// A socket that is in use.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) id: SocketId,
    pub(super) endpoint: Endpoint,
    pub(super) quic: Quic,
    /// Cancelled when it is detached.
    pub(super) detached: CancellationToken,
    local: SocketAddr,
    by_handle_only: bool,
    socket: Arc<QuinnSocket>,
}

/// All sockets that are in use.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    next: AtomicU64,
    attached: Mutex<Vec<Arc<Attached>>>,
}

impl Sockets {
    pub(super) fn add(
        &self,
        endpoint: Endpoint,
        quic: Quic,
        socket: Arc<QuinnSocket>,
        options: SocketOptions,
    ) -> io::Result<Arc<Attached>> {
        let attached = Arc::new(Attached {
            id: SocketId(self.next.fetch_add(1, Ordering::Relaxed)),
            local: endpoint.local_addr()?,
            endpoint,
            quic,
            detached: CancellationToken::new(),
            by_handle_only: options.by_handle_only,
            socket,
        });
        self.lock().push(Arc::clone(&attached));
        Ok(attached)
    }

    /// The socket to dial `addr` from: one of its family, else one of IPv6, which may reach IPv4 too.
    pub(super) fn towards(&self, addr: SocketAddr) -> Option<Arc<Attached>> {
        let sockets = self.lock();
        let of_family = |ipv6| {
            sockets
                .iter()
                .find(|socket| !socket.by_handle_only && socket.local.is_ipv6() == ipv6)
        };
        of_family(addr.is_ipv6())
            .or_else(|| of_family(true))
            .cloned()
    }

    pub(super) fn get(&self, id: SocketId) -> Option<Arc<Attached>> {
        self.lock().iter().find(|socket| socket.id == id).cloned()
    }

    /// Forgets a socket and tells all that use it.
    pub(super) fn remove(&self, id: SocketId) -> bool {
        let mut sockets = self.lock();
        let Some(at) = sockets.iter().position(|socket| socket.id == id) else {
            return false;
        };
        sockets.remove(at).detached.cancel();
        true
    }

    /// Closes all connections and waits until the peers have been told.
    pub(super) async fn close(&self) {
        let sockets: Vec<_> = self.lock().drain(..).collect();
        for socket in &sockets {
            socket.endpoint.close(VarInt::from(0_u8), b"");
        }
        for socket in &sockets {
            socket.endpoint.wait_idle().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Attached>>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attached {
    /// Ends what is left of the connections, and gives the socket back.
    async fn release(&self) {
        let _ = timeout(FAREWELL, self.endpoint.wait_idle()).await;
        self.endpoint.close(VarInt::from(0_u8), b"");
        let _ = timeout(CUT, self.endpoint.wait_idle()).await;
        self.socket.release();
    }
}

/// Serves a socket until the endpoint closes or the socket is detached; then lets it go.
pub(super) async fn serve(socket: Arc<Attached>, inner: Weak<Inner>, closing: CancellationToken) {
    let answers = async {
        answer_all(&socket, inner, &closing).await;
        // Nobody knocks any more, but the socket may still be in use.
        std::future::pending().await
    };
    tokio::select! {
        () = closing.cancelled() => {}
        () = socket.detached.cancelled() => {}
        () = answers => {}
    }
    socket.release().await;
}

/// Answers whoever knocks.
async fn answer_all(socket: &Arc<Attached>, inner: Weak<Inner>, closing: &CancellationToken) {
    loop {
        let incoming = socket.endpoint.accept().await;
        let (Some(incoming), Some(inner)) = (incoming, inner.upgrade()) else {
            return;
        };
        let remote = incoming.remote_address();
        if !incoming.remote_address_validated()
            && inner.admission.open() >= inner.config.retry_above
        {
            tracing::trace!(%remote, "must prove its address first");
            // An address that has proved itself is not asked again.
            let _ = incoming.retry();
            continue;
        }
        match inner.admission.enter(Some(remote)) {
            Some(place) => drop(tokio::spawn(answer(
                inner,
                Arc::clone(socket),
                incoming,
                place,
                closing.clone(),
            ))),
            None => {
                tracing::debug!(%remote, "refused: too many handshakes");
                incoming.refuse();
            }
        }
    }
}

async fn answer(
    inner: Arc<Inner>,
    socket: Arc<Attached>,
    incoming: Incoming,
    place: Place,
    closing: CancellationToken,
) {
    let remote = incoming.remote_address();
    let answered = tokio::select! {
        () = closing.cancelled() => return,
        () = socket.detached.cancelled() => return,
        answered = inner.answer_quic(&socket, incoming) => answered,
    };
    drop(place);
    match answered {
        // A full queue means that nobody accepts; the lane ends by being dropped.
        Ok(lane) => {
            if inner.accepted.try_send(lane).is_err() {
                tracing::warn!(%remote, "a lane was dropped because nobody accepts lanes");
            }
        }
        Err(error) => tracing::debug!(%remote, %error, "no lane"),
    }
}
