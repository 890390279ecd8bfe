//! Dialling a peer: QUIC and TLS over TCP at once, at every address.

use super::{Inner, NetworkManager, is_local};
use dig_client::{Connector, Dial, DialFailure, DialFailureClass, Method};
use dig_discovery::Networks;
use dig_session::{ConnectError, HandshakeError, Lane};
use dig_types::{NodeId, PeerRecord};
use futures::{
    StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream, FuturesUnordered},
};
use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Most addresses of one peer that are dialled.
const MAX_ADDRS: usize = 8;
/// A TCP connection that is not open by then will not be fast either.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
/// Once one lane is up, the other transport at the same address has this long: it is only wanted if it is near.
const SECOND_LANE: Duration = Duration::from_secs(5);

impl Connector for NetworkManager {
    fn connect(&self, peer: PeerRecord) -> BoxStream<'static, Dial> {
        let inner = self.0.clone();
        if let Some(link) = inner.links.existing(peer.node, &peer.addrs) {
            let networks = Networks::current().unwrap_or_default();
            let method = link
                .info()
                .remote
                .map_or(Method::Direct, |addr| method(&networks, &addr));
            return stream::iter([Dial::Up {
                link,
                method,
                elapsed: Duration::ZERO,
            }])
            .boxed();
        }
        stream::unfold(Dialling::new(inner, peer), |mut dialling| async {
            Some((dialling.next().await?, dialling))
        })
        .boxed()
    }
}

/// One transport at one address.
struct Outcome {
    addr: SocketAddr,
    lane: Result<Lane, Failed>,
}

enum Failed {
    Session(ConnectError),
    Stream(std::io::Error),
}

/// A peer that is being dialled.
struct Dialling {
    inner: Arc<Inner>,
    node: Option<NodeId>,
    networks: Networks,
    started: Instant,
    /// What can be told without waiting.
    ready: VecDeque<Dial>,
    running: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// Where the first lane came up; others are not waited for.
    chosen: Option<(SocketAddr, Instant)>,
}

impl Dialling {
    fn new(inner: Arc<Inner>, peer: PeerRecord) -> Self {
        let networks = Networks::current().unwrap_or_default();
        let running = FuturesUnordered::new();
        let mut ready = VecDeque::new();
        for addr in peer.addrs.into_iter().take(MAX_ADDRS) {
            ready.push_back(Dial::Attempt {
                node: peer.node,
                addr: Some(addr),
                method: method(&networks, &addr),
            });
            running.push(quic(inner.clone(), addr, peer.node));
            running.push(tls(inner.clone(), addr, peer.node));
        }
        Self {
            inner,
            node: peer.node,
            networks,
            started: Instant::now(),
            ready,
            running,
            chosen: None,
        }
    }

    async fn next(&mut self) -> Option<Dial> {
        loop {
            if let Some(dial) = self.ready.pop_front() {
                return Some(dial);
            }
            let outcome = match self.chosen {
                None => self.running.next().await?,
                Some((_, since)) => {
                    tokio::time::timeout_at(since + SECOND_LANE, self.running.next())
                        .await
                        .ok()??
                }
            };
            if let Some(dial) = self.judge(outcome) {
                return Some(dial);
            }
        }
    }

    fn judge(&mut self, outcome: Outcome) -> Option<Dial> {
        let addr = outcome.addr;
        match (outcome.lane, self.chosen) {
            (Ok(_), Some((chosen, _))) if chosen != addr => None,
            (Ok(lane), _) => {
                self.chosen.get_or_insert((addr, Instant::now()));
                let link = self.inner.links.dialled(lane, &self.inner.server)?;
                let method = method(&self.networks, &addr);
                Some(Dial::Up {
                    link,
                    method,
                    elapsed: self.started.elapsed(),
                })
            }
            // A firewall that lets only one of both transports in is no failure.
            (Err(_), Some(_)) => None,
            (Err(failed), None) => {
                let (class, reason) = failed.explain();
                Some(Dial::Failed(DialFailure {
                    node: self.node,
                    addr: Some(addr),
                    class,
                    reason,
                }))
            }
        }
    }
}

impl Failed {
    fn explain(self) -> (DialFailureClass, String) {
        match self {
            Self::Stream(error) => (DialFailureClass::Unreachable, format!("TCP: {error}")),
            Self::Session(error) => {
                let class = match &error {
                    ConnectError::Handshake(error) => class(error),
                    _ => DialFailureClass::Unreachable,
                };
                (class, error.to_string())
            }
        }
    }
}

fn class(error: &HandshakeError) -> DialFailureClass {
    match error {
        HandshakeError::WrongIdentity { .. }
        | HandshakeError::CertificateExpired
        | HandshakeError::BadCertificate(_)
        | HandshakeError::CertificateChain(_)
        | HandshakeError::NoCertificate
        | HandshakeError::CertificateRefused(_)
        | HandshakeError::NotExpectedHere
        | HandshakeError::Auth(_) => DialFailureClass::Identity,
        HandshakeError::RefusedByPeer { .. }
        | HandshakeError::AuthRefused
        | HandshakeError::NotAdmitted(_) => DialFailureClass::Refused,
        _ => DialFailureClass::Unreachable,
    }
}

fn quic(inner: Arc<Inner>, addr: SocketAddr, node: Option<NodeId>) -> BoxFuture<'static, Outcome> {
    Box::pin(async move {
        let lane = inner
            .endpoint
            .connect_quic(addr, node)
            .await
            .map_err(Failed::Session);
        Outcome { addr, lane }
    })
}

fn tls(inner: Arc<Inner>, addr: SocketAddr, node: Option<NodeId>) -> BoxFuture<'static, Outcome> {
    Box::pin(async move {
        let dialled = tokio::time::timeout(TCP_TIMEOUT, inner.dialer.dial(addr)).await;
        let lane = match dialled.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(stream) => inner
                .endpoint
                .connect_stream(stream, Some(addr), node)
                .await
                .map_err(Failed::Session),
            Err(error) => Err(Failed::Stream(error)),
        };
        Outcome { addr, lane }
    })
}

fn method(networks: &Networks, addr: &SocketAddr) -> Method {
    if is_local(networks, addr) {
        Method::Local
    } else {
        Method::Direct
    }
}
