//! Lanes to the peers that introduce this node, kept up while the node runs.

use super::Inner;
use crate::introductions::Introductions;
use dig_session::{ConnectError, Lane, TcpDialer};
use dig_types::{Method, NodeId, PeerAddr, Transport};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// Most rendezvous peers of a node: as many as it registers with. One more takes the place of the oldest that only a ticket
/// named.
const MAX_VIA: usize = dig_nat::rendezvous::Client::MAX_CARRIERS;
/// Time before a lost or unreachable rendezvous peer is dialled again; it doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// A TCP connection that is not open by then is given up, and tried again.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
/// Once one transport is up, the other has half as long again and this: QUIC takes one round trip less than TCP and TLS, and a
/// firewall that drops one of them must not hold up an offer. What is seen later is told to the peer later.
const SECOND_TRANSPORT: Duration = Duration::from_millis(30);

/// How the lane to a rendezvous peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is being dialled for the first time.
    Dialling,
    /// It is up, with whom.
    Up(NodeId),
    /// It failed, and will be dialled again.
    Down,
}

type States = BTreeMap<(PeerAddr, Transport), State>;

/// The rendezvous peers of a node.
#[derive(Debug, Default)]
pub(super) struct Via {
    states: watch::Sender<States>,
    wanted: Mutex<Vec<Wanted>>,
}

/// A rendezvous peer that lanes are kept to.
#[derive(Debug)]
struct Wanted {
    via: PeerAddr,
    /// Named by the user, who means it for as long as the node runs.
    lasting: bool,
    /// Ends its lanes.
    stop: CancellationToken,
}

impl Via {
    fn wanted(&self) -> MutexGuard<'_, Vec<Wanted>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps lanes to a rendezvous peer from now on: those that the user named until the node stops.
    pub(super) fn want(inner: &Arc<Inner>, via: PeerAddr) {
        let lasting = inner.paths.via.contains(&via);
        let stop = {
            let mut wanted = inner.via.wanted();
            let known = |other: &Wanted| {
                other.via.addr == via.addr && (via.node.is_none() || other.via.node == via.node)
            };
            if wanted.iter().any(known) {
                return;
            }
            if wanted.len() >= MAX_VIA {
                let Some(oldest) = wanted.iter().position(|other| !other.lasting) else {
                    return;
                };
                let gone = wanted.remove(oldest);
                gone.stop.cancel();
                inner.via.states.send_modify(|states| {
                    states.retain(|(via, _), _| *via != gone.via);
                });
            }
            let stop = inner.stop.child_token();
            wanted.push(Wanted {
                via,
                lasting,
                stop: stop.clone(),
            });
            stop
        };
        // QUIC shows the rendezvous peer where our UDP port is seen, TLS where our TCP port is.
        for transport in [Transport::Udp, Transport::Tcp] {
            inner.via.set(via, transport, State::Dialling);
            let keep = keep(Arc::downgrade(inner), via, transport);
            let stop = stop.clone();
            inner.tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = keep => {}
                }
            });
        }
    }

    fn set(&self, via: PeerAddr, transport: Transport, state: State) {
        self.states.send_modify(|states| {
            states.insert((via, transport), state);
        });
    }

    /// Whether there is, or soon may be, anybody who introduces us.
    pub(super) fn is_empty(&self) -> bool {
        self.wanted().is_empty()
    }

    /// The rendezvous peers that a lane is up to, each with its id.
    pub(super) fn up(&self) -> Vec<PeerAddr> {
        let states = self.states.borrow();
        let mut up: Vec<PeerAddr> = Vec::new();
        for ((via, _), state) in states.iter() {
            if let State::Up(node) = state {
                let via = PeerAddr {
                    node: Some(*node),
                    addr: via.addr,
                };
                if !up.contains(&via) {
                    up.push(via);
                }
            }
        }
        up
    }

    /// The rendezvous peers that no lane is up to.
    pub(super) fn down(&self) -> Vec<PeerAddr> {
        let states = self.states.borrow();
        let is_up = |via: &PeerAddr| {
            let mut of_it = states.iter().filter(|((other, _), _)| other == via);
            of_it.any(|(_, state)| matches!(state, State::Up(_)))
        };
        let wanted = self.wanted();
        let wanted = wanted.iter().map(|wanted| wanted.via);
        wanted.filter(|via| !is_up(via)).collect()
    }

    /// Waits until every rendezvous peer has been reached by both transports or has failed; but no longer than `patience`, and
    /// not for the second transport once one is up and a moment has passed. Whether any is up.
    pub(super) async fn settled(&self, patience: Duration) -> bool {
        let mut states = self.states.subscribe();
        let began = Instant::now();
        let mut give_up = began + patience;
        let mut any = false;
        loop {
            {
                let states = states.borrow_and_update();
                let up = states.values().any(|state| matches!(state, State::Up(_)));
                if up && !any {
                    any = true;
                    let moment = began.elapsed() / 2 + SECOND_TRANSPORT;
                    give_up = give_up.min(Instant::now() + moment);
                }
                if !states.values().any(|state| *state == State::Dialling) {
                    return up;
                }
            }
            match tokio::time::timeout_at(give_up, states.changed()).await {
                Ok(Ok(())) => {}
                _ => return any,
            }
        }
    }
}

/// Keeps one lane up.
async fn keep(inner: Weak<Inner>, via: PeerAddr, transport: Transport) {
    let mut pause = FIRST_RETRY;
    loop {
        let Some(strong) = inner.upgrade() else {
            return;
        };
        match dial(&strong, via, transport).await {
            Ok(lane) => {
                let node = lane.info().node;
                let (links, introductions): (_, &Introductions) =
                    (&strong.links, &strong.introductions);
                if let Some((link, lane)) = links.dialled(lane, &strong.server, Method::Direct) {
                    introductions.register(lane);
                    strong.via.set(via, transport, State::Up(node));
                    pause = FIRST_RETRY;
                    drop(strong);
                    link.closed().await;
                    if let Some(strong) = inner.upgrade() {
                        strong.tell_where_seen(node);
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%via, %transport, %error, "rendezvous peer not reached");
            }
        }
        let Some(strong) = inner.upgrade() else {
            return;
        };
        strong.via.set(via, transport, State::Down);
        drop(strong);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_RETRY);
    }
}

#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("TCP: {0}")]
    Stream(#[from] io::Error),
    #[error(transparent)]
    Session(#[from] ConnectError),
}

async fn dial(inner: &Inner, via: PeerAddr, transport: Transport) -> Result<Lane, DialError> {
    Ok(match transport {
        Transport::Udp => inner.endpoint.connect_quic(via.addr, via.node).await?,
        Transport::Tcp => {
            let stream = tokio::time::timeout(TCP_TIMEOUT, inner.tcp.connect(via.addr)).await;
            let stream = stream.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            TcpDialer::prepare(&stream)?;
            (inner.endpoint)
                .connect_stream(stream, Some(via.addr), via.node)
                .await?
        }
    })
}
