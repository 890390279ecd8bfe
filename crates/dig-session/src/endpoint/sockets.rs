//! The datagram sockets of an endpoint, and who knocks on them.

use super::Inner;
use crate::endpoint::admission::Place;
use quinn::{Endpoint, Incoming, VarInt};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio_util::sync::CancellationToken;

/// QUIC endpoints with the address each is bound to.
#[derive(Debug, Default)]
pub(super) struct Sockets(Mutex<Vec<(SocketAddr, Endpoint)>>);

impl Sockets {
    pub(super) fn add(&self, endpoint: Endpoint) -> io::Result<()> {
        let local = endpoint.local_addr()?;
        self.lock().push((local, endpoint));
        Ok(())
    }

    /// The endpoint to dial `addr` from: one of its family, else one of IPv6, which may reach IPv4 too.
    pub(super) fn towards(&self, addr: SocketAddr) -> Option<Endpoint> {
        let sockets = self.lock();
        let same = sockets
            .iter()
            .find(|(local, _)| local.is_ipv6() == addr.is_ipv6());
        let other = || sockets.iter().find(|(local, _)| local.is_ipv6());
        same.or_else(other).map(|(_, endpoint)| endpoint.clone())
    }

    /// Closes all connections and waits until the peers have been told.
    pub(super) async fn close(&self) {
        let sockets: Vec<_> = self.lock().drain(..).collect();
        for (_, endpoint) in &sockets {
            endpoint.close(VarInt::from(0_u8), b"");
        }
        for (_, endpoint) in &sockets {
            endpoint.wait_idle().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(SocketAddr, Endpoint)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers whoever knocks, until the endpoint closes.
pub(super) async fn accept(socket: Endpoint, inner: Weak<Inner>, closing: CancellationToken) {
    loop {
        let incoming = tokio::select! {
            () = closing.cancelled() => return,
            incoming = socket.accept() => incoming,
        };
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

async fn answer(inner: Arc<Inner>, incoming: Incoming, place: Place, closing: CancellationToken) {
    let remote = incoming.remote_address();
    let answered = tokio::select! {
        () = closing.cancelled() => return,
        answered = inner.answer_quic(incoming) => answered,
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
