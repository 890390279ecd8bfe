//! Relays and peers that should come to hold the same graph.

use crate::{
    held::{self, Held},
    peer::{Kind, Peer},
    relay::{Relay, Software},
    script::PATIENCE,
};
use futures::future::join_all;
use serde_json::Value as Json;
use std::{path::Path, time::Duration};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(20);
/// gun.js's relay does not tell its peers of all that it takes, when it takes much at a time; whoever lacks something so long asks again. Our client
/// does so by itself, as often, unless all relays are ours: there it must be told.
const UNTOLD: Duration = Duration::from_secs(5);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(86_400);

/// Relays and their peers.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) relays: Vec<Relay>,
    pub(crate) peers: Vec<Peer>,
    folder: TempDir,
}

impl Bed {
    /// Relays of this software; each is told, by its place, of those that it dials. Peers of these kinds, spread over the relays.
    pub(crate) async fn start(relays: &[(Software, &[usize])], kinds: &[(Kind, usize)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Nobody else is in this namespace.
        let port = |place: usize| 8765 + u16::try_from(place).unwrap();
        let mut started = Vec::new();
        for (place, &(software, dials)) in relays.iter().enumerate() {
            let dials = dials
                .iter()
                .map(|place| format!("ws://127.0.0.1:{}/gun", port(*place)));
            let own = folder.path().join(format!("relay-{place}"));
            started.push(Relay::start(software, port(place), own, dials.collect()).await);
        }
        let mut bed = Self {
            relays: started,
            peers: Vec::new(),
            folder,
        };
        let peers = kinds.iter().enumerate().map(|(number, &(kind, relay))| {
            let name = format!("{kind:?}-{number}").to_lowercase();
            bed.peer(kind, name, relay)
        });
        bed.peers = join_all(peers).await;
        bed
    }

    /// One more peer, which is not among those that must agree.
    pub(crate) async fn peer(&self, kind: Kind, name: String, relay: usize) -> Peer {
        let url = self.relays[relay].url();
        let refresh = if self.all_ours() { NEVER } else { UNTOLD };
        Peer::start(kind, &name, relay, &url, refresh, self.path()).await
    }

    /// Where peers have their files.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The peers of this kind.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(move |peer| peer.kind == kind)
    }

    /// The first peer of this kind.
    pub(crate) fn a(&self, kind: Kind) -> &Peer {
        self.of_kind(kind).next().unwrap()
    }

    /// Those whose writes come to be known. gun.js's relay never asks `require('gun')` in Node for what it has, so that keeps its own.
    pub(crate) fn writers(&self) -> impl Iterator<Item = &Peer> {
        let is_heard = |peer: &&Peer| {
            peer.kind != Kind::Default || self.relays[peer.relay].software == Software::Ours
        };
        self.peers.iter().filter(is_heard)
    }

    /// Whether all relays are ours.
    pub(crate) fn all_ours(&self) -> bool {
        self.relays
            .iter()
            .all(|relay| relay.software == Software::Ours)
    }

    /// Has all peers follow these nodes.
    pub(crate) async fn follow(&self, souls: &[&str]) {
        join_all(self.peers.iter().map(|peer| peer.follow(souls))).await;
    }

    /// Waits until all relays and peers hold exactly these nodes, `{soul: {key: value}}`, with the same states everywhere. Peers of our
    /// relay must be told; those of gun.js's may have to ask.
    ///
    /// # Panics
    ///
    /// If that does not come.
    pub(crate) async fn agree(&self, wanted: &Json) {
        self.agree_but(&[], wanted).await;
    }

    /// The same without the peers of some kinds.
    pub(crate) async fn agree_but(&self, without: &[Kind], wanted: &Json) {
        let souls: Vec<&str> = wanted
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let end = Instant::now() + PATIENCE;
        let mut ask = Instant::now() + UNTOLD;
        loop {
            let held = self.held_but(without, &souls).await;
            let Some(difference) = disagreement(&held, wanted) else {
                return;
            };
            assert!(Instant::now() < end, "{difference}");
            if Instant::now() >= ask {
                println!("asked again, for {difference}");
                self.ask(&souls).await;
                ask = Instant::now() + UNTOLD;
            }
            sleep(STEP).await;
        }
    }

    /// Has the relays of gun.js, and their peers, ask for these nodes once more.
    async fn ask(&self, souls: &[&str]) {
        join_all(self.relays.iter().map(|relay| relay.ask(souls))).await;
        let untold =
            (self.peers.iter()).filter(|peer| self.relays[peer.relay].software != Software::Ours);
        join_all(untold.map(|peer| peer.ask(souls))).await;
    }

    /// What every relay and peer holds of these nodes, with its name.
    pub(crate) async fn held(&self, souls: &[&str]) -> Vec<(String, Held)> {
        self.held_but(&[], souls).await
    }

    async fn held_but(&self, without: &[Kind], souls: &[&str]) -> Vec<(String, Held)> {
        let relays = self.relays.iter().map(|relay| async move {
            let name = format!("{:?} relay", relay.software);
            (name, relay.graph(souls).await)
        });
        let peers = self
            .peers
            .iter()
            .filter(|peer| !without.contains(&peer.kind));
        let peers = peers.map(|peer| async move {
            let name = format!("{} of relay {}", peer.name, peer.relay);
            (name, peer.graph(souls).await)
        });
        let mut held = join_all(relays).await;
        held.extend(join_all(peers).await);
        held
    }
}

/// Waits until something is so.
///
/// # Panics
///
/// If that does not come.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let end = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < end, "never: {what}");
        sleep(STEP).await;
    }
}

/// Who holds something else than is wanted, or has another state of it than the first.
fn disagreement(held: &[(String, Held)], wanted: &Json) -> Option<String> {
    let wrong: Vec<String> = held
        .iter()
        .filter_map(|(name, held)| {
            let difference = held::differs(held, wanted)?;
            Some(format!("{name} {difference}"))
        })
        .collect();
    if !wrong.is_empty() {
        return Some(wrong.join("\n"));
    }
    let (first, same) = held.first()?;
    let other = held.iter().find(|(_, held)| held != same);
    other.map(|(name, held)| {
        let (held, same) = (held::cut(held), held::cut(same));
        format!("states differ: {name} {held}, {first} {same}")
    })
}
