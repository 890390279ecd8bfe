//! Why a peer can be reached as it can, or cannot be.

use crate::node::Node;
use dig_client::{Connector as _, Dial, DialFailure};
use dig_nat::trace::{Reached, Trace, Verdict};
use dig_transfer::link::Link;
use dig_types::{Method, PeerRecord};
use futures::StreamExt as _;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// How long a direct path is waited for once a relayed one is up: each method has 5 s.
const BETTER: Duration = Duration::from_secs(6);
/// The trace of an attempt is kept when it has ended, which the peer is told before.
const TRACE: Duration = Duration::from_millis(500);

/// What became of an attempt to reach a peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Diagnosis {
    /// One line, and at most one remedy.
    pub verdict: Verdict,
    /// The best path that came up.
    pub path: Option<FoundLink>,
    /// What was tried with the peer's help; `None` where nobody could introduce the two, or it was not needed.
    pub trace: Option<Trace>,
    /// Addresses of the peer that did not answer, and why.
    pub failures: Vec<DialFailure>,
}

/// A path with a session over it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FoundLink {
    /// How it was found.
    pub method: Method,
    /// Whether a relay stands between.
    pub relayed: bool,
    /// The peer's end.
    pub remote: Option<SocketAddr>,
    /// What carries it.
    pub carrier: dig_transfer::lane::Carrier,
    /// From the first packet until a session was up.
    pub elapsed: Duration,
    /// The round-trip time of that session.
    pub rtt: Option<Duration>,
}

impl Node {
    /// Reaches a peer as a download would, and says how, or why not. Nothing is fetched. It takes as long as the best path does, but no
    /// longer than `patience`.
    pub async fn diagnose(&self, peer: PeerRecord, patience: Duration) -> Diagnosis {
        let mut dials = self.network().connect(peer.clone());
        let mut deadline = Instant::now() + patience;
        let (mut best, mut failures): (Option<(FoundLink, Arc<Link>)>, Vec<DialFailure>) =
            (None, Vec::new());
        while let Ok(Some(dial)) = timeout_at(deadline, dials.next()).await {
            match dial {
                Dial::Up {
                    link,
                    method,
                    timing,
                } => {
                    let info = link.info();
                    let found = FoundLink {
                        method,
                        relayed: info.relayed,
                        remote: info.remote,
                        carrier: info.carrier,
                        elapsed: timing.elapsed,
                        rtt: link.rtt(),
                    };
                    let direct = !found.relayed;
                    best = Some((found, link));
                    if direct {
                        break;
                    }
                    deadline = deadline.min(Instant::now() + BETTER);
                }
                Dial::Failed(failure) => failures.push(failure),
                _ => {}
            }
        }
        drop(dials);
        let path = best.map(|(path, _)| path);
        let trace = self.trace_of(&peer, path.as_ref()).await;
        let reached = path.as_ref().map(|path| Reached {
            method: path.method,
            relayed: path.relayed,
        });
        let mut verdict = Verdict::of(trace.as_ref(), reached);
        if self.network().is_relay_only() && reached.is_some() {
            verdict = Verdict {
                line: "relayed: nothing else was allowed".into(),
                remedy: None,
            };
        }
        Diagnosis {
            verdict,
            path,
            trace,
            failures,
        }
    }

    /// What was tried to reach that peer: of several attempts the one that tried most, since those that follow a relayed path look for less.
    async fn trace_of(&self, peer: &PeerRecord, path: Option<&FoundLink>) -> Option<Trace> {
        let node = peer.node?;
        if path.is_some() {
            sleep(TRACE).await;
        }
        let traces = self.network().traces();
        let of_it = traces.into_iter().filter(|trace| trace.peer == node);
        of_it.max_by_key(|trace| trace.methods.len())
    }
}
