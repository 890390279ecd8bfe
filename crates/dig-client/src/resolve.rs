//! From a name or a SHA-256 to content hashes.

use crate::{
    client::Inner,
    download::SEARCH,
    error::DownloadError,
    event::DownloadEvent,
    names::{Claimant, Verdict, judge},
    options::DownloadOptions,
    what::What,
};
use dig_discovery::{Answer, Discovery as _, Found, Lookup, NodeQuery as _, QueryError};
use dig_types::{ContentName, NodeId, PeerRecord, PeerSource, Sha256Hash};
use futures::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{BoxStream, FuturesUnordered, SelectAll},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// After the first claim to a name, others have this long to contradict it.
const SETTLE: Duration = Duration::from_millis(600);
/// Most contents that are tried for one SHA-256 when nodes disagree.
const MAX_CANDIDATES: usize = 3;
/// A host may take this long to compute a SHA-256 before it counts as not found.
const LONGEST_PENDING: Duration = Duration::from_secs(60);
/// After which time a peer that has nothing, or does not answer, is asked again by who waits.
const AGAIN: Duration = Duration::from_secs(2);
/// After "pending", a host has this long to be asked again and say more: who asks waits longer each time.
const ASK_AGAIN: Duration = Duration::from_secs(20);
/// How often it is looked at whether a host says "pending".
const LOOK: Duration = Duration::from_millis(200);
/// Most claims that are considered.
const MAX_CLAIMS: usize = 256;

/// A content that may be what was asked for, and who says so.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) claim: Claimant,
    pub(crate) name: Option<ContentName>,
    pub(crate) peers: Vec<PeerRecord>,
}

/// A node that was asked, with what it answered.
struct Asked {
    addrs: Vec<std::net::SocketAddr>,
    answer: Result<Answer, QueryError>,
}

/// Asks around until it is clear what is meant.
pub(crate) struct Resolution<'a> {
    client: &'a Inner,
    options: &'a DownloadOptions,
    lookup: Lookup,
    found: SelectAll<BoxStream<'static, Found>>,
    asking: FuturesUnordered<BoxFuture<'static, Asked>>,
    candidates: Vec<Candidate>,
    /// Until when others are looked for, while nobody is being asked.
    search_until: Instant,
    reached: bool,
    unreachable: bool,
}

impl<'a> Resolution<'a> {
    pub(crate) fn new(client: &'a Inner, options: &'a DownloadOptions, lookup: Lookup) -> Self {
        let mut found = SelectAll::new();
        found.push(client.discovery.find(lookup.clone()));
        found.push(client.explicit(options).map(Found::from).boxed());
        Self {
            client,
            options,
            lookup,
            found,
            asking: FuturesUnordered::new(),
            candidates: Vec::new(),
            search_until: Instant::now() + SEARCH.min(options.timeout),
            reached: false,
            unreachable: false,
        }
    }

    /// What a name stands for: the pinned owner's word, or what all claimants agree on.
    pub(crate) async fn name(
        mut self,
        name: &ContentName,
        owner: Option<NodeId>,
    ) -> Result<Candidate, DownloadError> {
        let pinned = owner.or_else(|| self.client.pins.owner(name));
        let mut give_up = self.deadline();
        while let Some(()) = self.step(give_up).await? {
            let claims = self.claims(owner);
            let settled = claims.iter().any(|claim| Some(claim.node) == pinned);
            if settled {
                break;
            }
            if !claims.is_empty() {
                let settle = Instant::now() + SETTLE;
                give_up = Some(give_up.map_or(settle, |time| time.min(settle)));
            }
        }
        match judge(&self.claims(owner), pinned, &self.options.trusted) {
            Verdict::Agreed(claim) => {
                self.client.pins.pin(name, claim.node);
                self.candidate(&claim).ok_or_else(|| self.not_found())
            }
            Verdict::Disputed(claims) => Err(DownloadError::Ambiguous {
                name: name.clone(),
                claims,
            }),
            Verdict::Nobody => Err(self.not_found()),
        }
    }

    /// The contents that are said to have a SHA-256, those of trusted nodes first. Only fetching tells which has.
    pub(crate) async fn sha256(
        mut self,
        sha256: Sha256Hash,
        mut tell: impl FnMut(DownloadEvent),
    ) -> Result<Vec<Candidate>, DownloadError> {
        let pending_until = Instant::now() + LONGEST_PENDING;
        let (mut give_up, mut told) = (self.deadline(), None);
        loop {
            let before = self.candidates.len();
            let now = Instant::now();
            if let Some(estimate) = self.client.query.estimate(&sha256) {
                let known = now + estimate;
                if told.is_none_or(|told| known > told + ASK_AGAIN) {
                    told = Some(known);
                    tell(DownloadEvent::Pending { estimate });
                }
                let patient = (now + estimate.max(ASK_AGAIN)).min(pending_until);
                give_up = give_up.map(|time| time.max(patient));
                self.search_until = self.search_until.max(patient);
            }
            // A mechanism that keeps asking a host does not tell that its answer is still pending.
            let look = self
                .over(give_up)
                .map_or(now + LOOK, |over| over.min(now + LOOK));
            if self.step(Some(look)).await?.is_none() {
                let over = self
                    .over(give_up)
                    .is_some_and(|over| Instant::now() >= over);
                if over || self.has_nothing_left() {
                    break;
                }
            }
            if self.candidates.len() > before {
                let settle = Instant::now() + SETTLE;
                give_up = Some(give_up.map_or(settle, |time| time.min(settle)));
            }
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.sort_by_key(|candidate| !self.options.trusted.contains(&candidate.claim.node));
        let mut by_hash = BTreeMap::new();
        candidates.retain(|candidate| by_hash.insert(candidate.claim.hash, ()).is_none());
        candidates.truncate(MAX_CANDIDATES);
        if candidates.is_empty() {
            Err(self.not_found())
        } else {
            Ok(candidates)
        }
    }

    fn deadline(&self) -> Option<Instant> {
        (!self.options.wait).then(|| Instant::now() + self.options.timeout)
    }

    /// When the search ends that may last until `give_up`: earlier, if nobody is being asked.
    fn over(&self, give_up: Option<Instant>) -> Option<Instant> {
        match give_up {
            Some(time) if self.asking.is_empty() => Some(time.min(self.search_until)),
            other => other,
        }
    }

    /// Whether nobody is being looked for or asked.
    fn has_nothing_left(&self) -> bool {
        self.found.is_empty() && self.asking.is_empty()
    }

    /// Takes in one piece of news; `None` when there is no more, or the time is over.
    async fn step(&mut self, give_up: Option<Instant>) -> Result<Option<()>, DownloadError> {
        let over = self.over(give_up);
        let over = async {
            match over {
                Some(time) => tokio::time::sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        if self.has_nothing_left() {
            return Ok(None);
        }
        tokio::select! {
            found = self.found.next(), if !self.found.is_empty() => {
                found.into_iter().for_each(|found| self.take(found));
            }
            asked = self.asking.next(), if !self.asking.is_empty() => {
                asked.into_iter().for_each(|asked| self.hear(asked));
            }
            () = over => return Ok(None),
        }
        Ok(Some(()))
    }

    /// A mechanism that knows no claims leaves it to us to ask the peer.
    fn take(&mut self, found: Found) {
        if !found.claims.is_empty() {
            if let Some(node) = found.peer.node {
                self.add_claims(node, found.claims, found.peer);
            }
            return;
        }
        let addrs = found.peer.addrs;
        let answer = self
            .client
            .query
            .resolve(addrs.clone(), self.lookup.clone());
        self.asking.push(
            async move {
                Asked {
                    addrs,
                    answer: answer.await,
                }
            }
            .boxed(),
        );
    }

    fn hear(&mut self, asked: Asked) {
        match asked.answer {
            Ok(Answer::Found { node, claims }) => {
                let peer = PeerRecord {
                    node: Some(node),
                    addrs: asked.addrs,
                    mapped: Vec::new(),
                    via: Vec::new(),
                    relays: Vec::new(),
                    source: PeerSource::Explicit,
                };
                self.reached = true;
                self.add_claims(node, claims, peer);
            }
            Ok(Answer::Pending { eta }) => {
                self.reached = true;
                self.ask_later(asked.addrs, eta);
            }
            Ok(Answer::NotFound) => {
                self.reached = true;
                self.ask_again(asked.addrs);
            }
            Err(error) => {
                tracing::debug!(%error, addrs = ?asked.addrs, "no answer");
                self.unreachable = true;
                self.ask_again(asked.addrs);
            }
        }
    }

    /// Who waits asks again: what is not there now may be there later.
    fn ask_again(&mut self, addrs: Vec<std::net::SocketAddr>) {
        if self.options.wait {
            self.ask_later(addrs, AGAIN);
        }
    }

    fn ask_later(&mut self, addrs: Vec<std::net::SocketAddr>, eta: Duration) {
        let answer = self
            .client
            .query
            .resolve(addrs.clone(), self.lookup.clone());
        let pause = eta.clamp(Duration::from_millis(200), Duration::from_secs(5));
        let later = async move {
            tokio::time::sleep(pause).await;
            Asked {
                addrs,
                answer: answer.await,
            }
        };
        self.asking.push(later.boxed());
    }

    fn add_claims(&mut self, node: NodeId, claims: Vec<dig_discovery::Claim>, peer: PeerRecord) {
        for claim in claims {
            let Some(hash) = claim.hash else { continue };
            let claimant = Claimant {
                node,
                hash,
                kind: claim.kind,
                size: claim.size,
            };
            let room = self.candidates.len() < MAX_CLAIMS;
            match self
                .candidates
                .iter_mut()
                .find(|known| known.claim == claimant)
            {
                Some(known) => known.peers.push(peer.clone()),
                None if room => {
                    self.candidates.push(Candidate {
                        claim: claimant,
                        name: claim.name,
                        peers: vec![peer.clone()],
                    });
                }
                None => {}
            }
        }
    }

    fn claims(&self, owner: Option<NodeId>) -> Vec<Claimant> {
        let trusted = &self.options.trusted;
        let counts = |node: &NodeId| {
            owner.is_none_or(|owner| owner == *node)
                && (trusted.is_empty() || trusted.contains(node))
        };
        let claims = self.candidates.iter().map(|candidate| &candidate.claim);
        claims
            .filter(|claim| counts(&claim.node))
            .cloned()
            .collect()
    }

    /// The chosen content with everybody who has it.
    fn candidate(&self, claim: &Claimant) -> Option<Candidate> {
        let mut chosen = self
            .candidates
            .iter()
            .find(|candidate| candidate.claim == *claim)?
            .clone();
        let others = self
            .candidates
            .iter()
            .filter(|other| other.claim.hash == claim.hash && other.claim != *claim);
        chosen
            .peers
            .extend(others.flat_map(|other| other.peers.clone()));
        Some(chosen)
    }

    fn not_found(&self) -> DownloadError {
        let what = match &self.lookup {
            Lookup::Content(hash) => What::Hash(*hash),
            Lookup::Sha256(hash) => What::Sha256(*hash),
            Lookup::Name(name) => What::Name(name.clone()),
        };
        if self.unreachable && !self.reached && !self.options.peers.is_empty() {
            return DownloadError::unreachable(&self.options.peers);
        }
        DownloadError::NotFound {
            what: what.to_string(),
        }
    }
}
