//! Reaching a peer with its help: signals through a rendezvous peer or a Gun relay, then a session over the path that was found.

use super::{
    Gun, Inner,
    dial::{Failed, Outcome, Step},
    via::Via,
};
use crate::gun::Listening;
use dig_nat::{
    attempt::Role,
    traversal::{Connecting, FoundPath, Path, Progress, Wish},
};
use dig_session::{Lane, TcpDialer};
use dig_types::{NodeId, PeerRecord};
use futures::{StreamExt as _, stream, stream::BoxStream};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a rendezvous peer may take to be reached.
const RENDEZVOUS: Duration = Duration::from_secs(5);

/// A rendezvous peer is better than a Gun relay, since it tells the peer where we are: so it gets this much time once a relay is up.
const RENDEZVOUS_FIRST: Duration = Duration::from_millis(500);

/// Tries what needs the peer's help; nothing at all where its id is unknown or nobody can introduce us.
pub(super) fn traverse(
    inner: Arc<Inner>,
    peer: &PeerRecord,
    wish: Wish,
) -> BoxStream<'static, Step> {
    let Some(node) = peer.node else {
        return stream::empty().boxed();
    };
    for via in &peer.via {
        Via::want(&inner, *via);
    }
    if let Some(gun) = &inner.gun {
        gun.add(&peer.relays);
    }
    if !inner.has_carrier() {
        return stream::empty().boxed();
    }
    let traversal = Traversal {
        _listening: inner.gun.as_ref().map(Gun::listen),
        inner,
        node,
        wish,
        stage: Stage::Rendezvous,
    };
    stream::unfold(traversal, |mut traversal| async {
        Some((traversal.next().await?, traversal))
    })
    // Whoever dials goes on asking while addresses of the peer are still being dialled.
    .fuse()
    .boxed()
}

struct Traversal {
    /// The peer answers into our mailbox.
    _listening: Option<Listening>,
    inner: Arc<Inner>,
    node: NodeId,
    wish: Wish,
    stage: Stage,
}

enum Stage {
    /// Lanes to the rendezvous peers are coming up.
    Rendezvous,
    /// The attempt is running.
    Attempt(Connecting),
    Over,
}

impl Traversal {
    async fn next(&mut self) -> Option<Step> {
        loop {
            match &mut self.stage {
                Stage::Rendezvous => {
                    if let Err(reason) = carried(&self.inner).await {
                        self.stage = Stage::Over;
                        return Some(failed(reason.to_owned()));
                    }
                    let attempt = self.inner.nat.connect_with(self.node, self.wish);
                    self.stage = Stage::Attempt(attempt);
                }
                Stage::Attempt(connecting) => match connecting.next().await {
                    Some(Progress::Attempt { method, addr }) => {
                        return Some(Step::Attempt(method, Some(addr)));
                    }
                    Some(Progress::Path(found)) => return Some(self.session(found).await),
                    Some(Progress::Failed(failure)) => {
                        self.stage = Stage::Over;
                        return Some(failed(explain(&self.inner, &failure)));
                    }
                    Some(_) => {}
                    None => self.stage = Stage::Over,
                },
                Stage::Over => return None,
            }
        }
    }

    /// A session over a path. If it fails, or the path is relayed, the attempt goes on.
    async fn session(&mut self, found: FoundPath) -> Step {
        let (method, addr, relayed) = (found.method, found.path.remote(), found.relayed);
        let (path_after, began) = (found.after_signaling, Instant::now());
        let lane = open(&self.inner, self.node, found).await;
        if lane.is_ok()
            && let Stage::Attempt(connecting) = &mut self.stage
        {
            connecting.confirm();
            if !relayed {
                self.stage = Stage::Over;
            }
        }
        Step::Done(Box::new(Outcome {
            addr: Some(addr),
            method,
            lane,
            after_signaling: Some(path_after + began.elapsed()),
        }))
    }
}

/// Waits until somebody carries signals, or says why nobody does.
async fn carried(inner: &Inner) -> Result<(), &'static str> {
    let has_via = !inner.via.is_empty();
    let mut via = pin!(async { has_via && inner.via.settled(RENDEZVOUS).await });
    let gun = async {
        match &inner.gun {
            Some(gun) => gun.up(RENDEZVOUS).await,
            None => false,
        }
    };
    tokio::select! {
        biased;
        true = &mut via => return Ok(()),
        true = gun => {
            if has_via {
                let _ = tokio::time::timeout(RENDEZVOUS_FIRST, via).await;
            }
            return Ok(());
        }
        else => {}
    }
    Err(
        match (has_via, inner.gun.as_ref().is_some_and(Gun::has_relays)) {
            (true, false) => "no rendezvous peer can be reached",
            (false, true) => "no Gun relay can be reached",
            _ => "neither a rendezvous peer nor a Gun relay can be reached",
        },
    )
}

async fn open(inner: &Inner, node: NodeId, found: FoundPath) -> Result<Lane, Failed> {
    let connected = match (found.path, found.role) {
        (Path::Udp { remote, from }, _) => {
            let socket = inner.sockets.socket_of(from);
            let socket = socket.map_err(|error| Failed::Traversal(error.to_string()))?;
            match socket {
                Some(socket) => {
                    (inner.endpoint)
                        .connect_quic_from(socket, remote, Some(node))
                        .await
                }
                None => inner.endpoint.connect_quic(remote, Some(node)).await,
            }
        }
        (Path::Tcp { stream, remote }, Role::Initiator) => {
            let _ = TcpDialer::prepare(&stream);
            (inner.endpoint)
                .connect_stream(stream, Some(remote), Some(node))
                .await
        }
        // Both sides asked at the same time and the other's attempt stands: a lane serves both, whoever is the client.
        (Path::Tcp { stream, remote }, Role::Responder) => {
            let _ = TcpDialer::prepare(&stream);
            return match inner.endpoint.accept_stream(stream, Some(remote)).await {
                Ok(lane) if lane.info().node == node => Ok(lane),
                Ok(_) => Err(Failed::Traversal("somebody else answered".to_owned())),
                Err(error) => Err(Failed::Traversal(error.to_string())),
            };
        }
    };
    connected.map_err(Failed::Session)
}

fn failed(reason: String) -> Step {
    Step::Failed(reason)
}

/// Why there is no path, what each method came to, and what became of the relays.
fn explain(inner: &Inner, failure: &dig_nat::traversal::Failed) -> String {
    let tried = (failure.trace.methods.iter())
        .map(|method| format!("{} {}", method.method, method.outcome));
    let relays = inner.nat.relays();
    let without = relays.watch().borrow().is_empty();
    let status = relays.status().borrow().clone();
    let relays = status
        .iter()
        .filter(|_| without)
        .map(|relay| format!("{}: {}", relay.server, relay.state));
    let parts: Vec<String> = tried.chain(relays).collect();
    if parts.is_empty() {
        return failure.to_string();
    }
    format!("{failure} ({})", parts.join("; "))
}
