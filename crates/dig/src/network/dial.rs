//! Dialling a peer: QUIC and TLS over TCP at once, at every address.

use super::{Inner, NetworkManager, is_local, keeping::Keeping, traverse::traverse};
use dig_client::{Connector, Dial, DialFailure, DialFailureClass, Method, Timing};
use dig_discovery::Networks;
use dig_nat::{attempt::Strategy, traversal::Wish};
use dig_session::{ConnectError, HandshakeError, Lane};
use dig_types::{NodeId, PeerRecord, Transport};
use futures::{
    FutureExt as _, StreamExt as _,
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
        let existing = inner.links.existing(peer.node, &peer.addrs);
        let keeping = Keeping::new(inner, peer, existing);
        stream::unfold(keeping, |mut keeping| async {
            Some((keeping.next().await?, keeping))
        })
        .boxed()
    }
}

/// What one way of reaching the peer came to.
pub(super) struct Outcome {
    pub(super) addr: Option<SocketAddr>,
    pub(super) method: Method,
    pub(super) lane: Result<Lane, Failed>,
    /// Where the peer helped, since it had answered.
    pub(super) after_signaling: Option<Duration>,
}

pub(super) enum Failed {
    Session(ConnectError),
    Stream(std::io::Error),
    Traversal(String),
}

/// A peer that is being dialled.
pub(super) struct Dialling {
    inner: Arc<Inner>,
    peer: PeerRecord,
    wish: Wish,
    started: Instant,
    /// What can be told without waiting.
    ready: VecDeque<Dial>,
    /// The peer's own addresses.
    running: FuturesUnordered<BoxFuture<'static, Outcome>>,
    /// The ways that need the peer's help.
    traversal: Option<BoxStream<'static, Step>>,
    /// Whether these are over.
    helped: bool,
    /// Where the first direct lane came up; others are not waited for.
    chosen: Option<(Option<SocketAddr>, Instant)>,
    /// Whether a relayed lane is up: only the peer's help leads to a better one.
    relayed: bool,
}

/// News of the ways that need the peer's help.
pub(super) enum Step {
    /// A method tries an address.
    Attempt(Method, Option<SocketAddr>),
    /// A lane is up, or a path was of no use.
    Done(Box<Outcome>),
    /// There is no path: why.
    Failed(String),
}

impl Dialling {
    /// Begins to dial. Where only a direct path is [wished](Wish) for, the peer's own addresses have been tried.
    pub(super) fn new(inner: Arc<Inner>, peer: PeerRecord, wish: Wish) -> Self {
        let networks = Networks::current().unwrap_or_default();
        let mut dialling = Self {
            inner,
            started: Instant::now(),
            ready: VecDeque::new(),
            running: FuturesUnordered::new(),
            traversal: None,
            helped: false,
            chosen: None,
            relayed: false,
            wish,
            peer,
        };
        if dialling.inner.paths.relay_only || wish == Wish::Direct && dialling.inner.has_carrier() {
            dialling.traverse();
            return dialling;
        }
        for addr in dialling.peer.addrs.clone().into_iter().take(MAX_ADDRS) {
            let method = method(&networks, &addr);
            dialling.dial(method, addr, &[Transport::Udp, Transport::Tcp]);
        }
        for mapped in dialling.peer.mapped.clone() {
            dialling.dial(mapped.method, mapped.addr, &[mapped.transport]);
        }
        if dialling.inner.paths.strategy == Strategy::Race || dialling.running.is_empty() {
            dialling.traverse();
        }
        dialling
    }

    fn dial(&mut self, method: Method, addr: SocketAddr, transports: &[Transport]) {
        if !self.inner.paths.methods.contains(&method) {
            return;
        }
        let node = self.peer.node;
        self.ready.push_back(Dial::Attempt {
            node,
            addr: Some(addr),
            method,
        });
        for transport in transports {
            let inner = self.inner.clone();
            self.running.push(match transport {
                Transport::Udp => quic(inner, addr, node, method).boxed(),
                Transport::Tcp => tls(inner, addr, node, method).boxed(),
            });
        }
    }

    /// Begins the ways that need the peer's help, once.
    fn traverse(&mut self) {
        if self.traversal.is_none() {
            self.traversal = Some(traverse(self.inner.clone(), &self.peer, self.wish));
        }
    }

    /// News of it; `None` when nothing is left to try.
    pub(super) async fn next(&mut self) -> Option<Dial> {
        loop {
            if let Some(dial) = self.ready.pop_front() {
                return Some(dial);
            }
            let step = match self.chosen {
                None => self.step().await?,
                Some((_, since)) => {
                    tokio::time::timeout_at(since + SECOND_LANE, self.running.next())
                        .await
                        .ok()?
                        .map(|outcome| Step::Done(Box::new(outcome)))?
                }
            };
            match step {
                Step::Attempt(method, addr) => {
                    let node = self.peer.node;
                    return Some(Dial::Attempt { node, addr, method });
                }
                Step::Failed(reason) => {
                    return Some(Dial::Failed(DialFailure {
                        node: self.peer.node,
                        addr: None,
                        class: DialFailureClass::Unreachable,
                        reason,
                    }));
                }
                Step::Done(outcome) => {
                    if let Some(dial) = self.judge(*outcome) {
                        return Some(dial);
                    }
                }
            }
        }
    }

    /// What happens next; `None` when nothing is left to try.
    async fn step(&mut self) -> Option<Step> {
        loop {
            // The peer helped, and found no more than a relay: addresses that have not answered by now will not.
            if self.relayed && self.helped {
                return None;
            }
            let helps = self.traversal.is_some() && !self.helped;
            let traversal = self.traversal.as_mut();
            let help = async {
                match traversal {
                    Some(traversal) => traversal.next().await,
                    None => None,
                }
            };
            tokio::select! {
                biased;
                Some(outcome) = self.running.next() => return Some(Step::Done(Box::new(outcome))),
                step = help, if helps => match step {
                    Some(step) => return Some(step),
                    None => self.helped = true,
                },
                // One after the other: what needs the peer's help comes when its addresses have failed.
                else => match self.traversal {
                    None => self.traverse(),
                    Some(_) => return None,
                },
            }
        }
    }

    fn judge(&mut self, outcome: Outcome) -> Option<Dial> {
        let Outcome {
            addr,
            method,
            lane,
            after_signaling,
        } = outcome;
        match (lane, self.chosen) {
            (Ok(_), Some((chosen, _))) if chosen != addr => None,
            (Ok(lane), _) => {
                let relayed = self.inner.sockets.is_relayed(lane.info());
                if relayed {
                    self.relayed = true;
                } else if self.chosen.is_none() {
                    self.chosen = Some((addr, Instant::now()));
                    self.traversal = None;
                }
                let (link, _) = (self.inner.links).dialled(lane, &self.inner.server, method)?;
                Some(Dial::Up {
                    link,
                    method,
                    timing: Timing {
                        elapsed: self.started.elapsed(),
                        after_signaling,
                    },
                })
            }
            // A firewall that lets only one of both transports in is no failure.
            (Err(_), Some(_)) => None,
            (Err(failed), None) => {
                let (class, reason) = failed.explain();
                Some(Dial::Failed(DialFailure {
                    node: self.peer.node,
                    addr,
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
            Self::Traversal(reason) => (DialFailureClass::Unreachable, reason),
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

async fn quic(
    inner: Arc<Inner>,
    addr: SocketAddr,
    node: Option<NodeId>,
    method: Method,
) -> Outcome {
    let lane = inner.endpoint.connect_quic(addr, node).await;
    Outcome {
        addr: Some(addr),
        method,
        lane: lane.map_err(Failed::Session),
        after_signaling: None,
    }
}

async fn tls(inner: Arc<Inner>, addr: SocketAddr, node: Option<NodeId>, method: Method) -> Outcome {
    let dialled = tokio::time::timeout(TCP_TIMEOUT, inner.dialer.dial(addr)).await;
    let lane = match dialled.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        Ok(stream) => (inner.endpoint)
            .connect_stream(stream, Some(addr), node)
            .await
            .map_err(Failed::Session),
        Err(error) => Err(Failed::Stream(error)),
    };
    Outcome {
        addr: Some(addr),
        method,
        lane,
        after_signaling: None,
    }
}

fn method(networks: &Networks, addr: &SocketAddr) -> Method {
    if is_local(networks, addr) {
        Method::Local
    } else {
        Method::Direct
    }
}
