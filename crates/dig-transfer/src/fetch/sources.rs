//! Who there is to fetch from, and what became of the others.

use super::{FetchError, PathShare};
use crate::{
    lane::Carrier,
    link::{Link, LinkEnd, LinkId},
    scheduler::{LaneKey, LaneTraits, PeerKey},
    set::NumberSet,
    wire::{RefusalCode, Refused},
};
use dig_types::{InstanceId, NodeId};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Lost sources that are remembered for the error of a failed fetch.
const REMEMBERED: usize = 32;
/// Paths that are told apart; what comes over more of them counts with the last.
const MAX_PATHS: usize = 64;

/// How long who did not give the manifest is left alone, longer each time.
const MANIFEST_AGAIN: Duration = Duration::from_millis(500);

/// What is known of a source's part of the content.
#[derive(Debug, Clone)]
pub(super) enum Holds {
    /// It has not said yet.
    Unknown,
    /// All of it.
    All,
    /// These groups.
    Some(NumberSet),
}

/// A link that may give the content.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) link: Arc<Link>,
    pub(super) peer: PeerKey,
    /// The id of its `OPEN`; `None` while it waits to be asked again.
    pub(super) open: Option<u32>,
    /// When it was asked to open, or is to be asked again.
    pub(super) since: Instant,
    pub(super) holds: Holds,
    /// Number of chunks that it says the content has.
    pub(super) chunks: u64,
    /// Bytes from it that were used.
    pub(super) useful: u64,
    pub(super) last_data: Option<Instant>,
    /// How often it was asked for the manifest in vain.
    pub(super) slow_manifests: u32,
    /// When it may be asked for the manifest again.
    pub(super) manifest_at: Instant,
}

impl Source {
    pub(super) fn node(&self) -> NodeId {
        self.link.info().node
    }

    /// Whether it has said what it holds, rightly.
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.holds, Holds::Unknown)
    }

    /// It did not give the manifest: it is asked again later, and after the others.
    pub(super) fn no_manifest(&mut self, now: Instant) {
        self.slow_manifests += 1;
        self.manifest_at = now + MANIFEST_AGAIN * self.slow_manifests.min(10);
    }

    pub(super) fn lane(&self) -> LaneKey {
        LaneKey(self.link.id().0)
    }

    pub(super) fn traits(&self) -> LaneTraits {
        let info = self.link.info();
        let carrier_rank = match info.carrier {
            _ if info.relayed => LaneTraits::RELAYED,
            Carrier::Quic => 1,
            _ => 0,
        };
        LaneTraits {
            max_requests: info.max_requests,
            rtt: self.link.rtt(),
            carrier_rank,
        }
    }
}

/// Why a source is none any more.
#[derive(Debug, Clone)]
pub(super) enum Loss {
    Refused(Refused),
    Ended(LinkEnd),
    Silent,
}

impl Loss {
    /// Whether the node itself does not give the content, now or in a while.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Refused(refused) if !matches!(refused.code, RefusalCode::Busy | RefusalCode::ShuttingDown))
    }

    pub(super) fn reason(&self) -> String {
        match self {
            Self::Refused(refused) => match refused.code {
                RefusalCode::NotFound => "it does not have it".into(),
                RefusalCode::Changed => "what it shared has changed".into(),
                RefusalCode::ShuttingDown => "it is shutting down".into(),
                RefusalCode::AuthRequired => "it wants to know who is asking".into(),
                _ => format!("it refuses: {}", printable(&refused.text)),
            },
            Self::Ended(end) => end.to_string(),
            Self::Silent => "it does not answer".into(),
        }
    }
}

/// A peer's text without what could fool a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { '\u{fffd}' } else { char })
        .collect()
}

/// All links of a fetch.
#[derive(Debug, Default)]
pub(super) struct Sources {
    links: BTreeMap<LinkId, Source>,
    peers: HashMap<(NodeId, InstanceId), PeerKey>,
    banned: BTreeMap<NodeId, String>,
    lost: VecDeque<(NodeId, Loss)>,
    /// Bytes used from sources that are gone.
    past: BTreeMap<NodeId, u64>,
    paths: Vec<PathShare>,
}

impl Sources {
    /// Takes a link, unless it is known or its node is banned.
    pub(super) fn add(&mut self, link: Arc<Link>, now: Instant) -> bool {
        let info = link.info();
        if self.links.contains_key(&link.id()) || self.banned.contains_key(&info.node) {
            return false;
        }
        let next = PeerKey(self.peers.len() as u64 + 1);
        let peer = *self.peers.entry((info.node, info.instance)).or_insert(next);
        let source = Source {
            peer,
            open: None,
            since: now,
            holds: Holds::Unknown,
            chunks: 0,
            useful: 0,
            last_data: None,
            slow_manifests: 0,
            manifest_at: now,
            link: link.clone(),
        };
        self.links.insert(link.id(), source);
        true
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Source> {
        self.links.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Source> {
        self.links.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Source)> {
        self.links.iter().map(|(id, source)| (*id, source))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Takes a source out.
    pub(super) fn lose(&mut self, id: LinkId, loss: Loss) -> Option<Source> {
        let source = self.take(id)?;
        if self.lost.len() == REMEMBERED {
            self.lost.pop_front();
        }
        self.lost.push_back((source.node(), loss));
        Some(source)
    }

    fn take(&mut self, id: LinkId) -> Option<Source> {
        let source = self.links.remove(&id)?;
        *self.past.entry(source.node()).or_default() += source.useful;
        Some(source)
    }

    /// Bans a node and takes all its links out; `None` if it is banned already.
    pub(super) fn ban(&mut self, node: NodeId, reason: &str) -> Option<Vec<Source>> {
        if self.banned.contains_key(&node) {
            return None;
        }
        self.banned.insert(node, reason.to_owned());
        let ids: Vec<LinkId> = self
            .iter()
            .filter(|(_, source)| source.node() == node)
            .map(|(id, _)| id)
            .collect();
        Some(ids.into_iter().filter_map(|id| self.take(id)).collect())
    }

    /// The peers of a node, one for each run of its program.
    pub(super) fn peers_of(&self, node: NodeId) -> Vec<PeerKey> {
        self.peers
            .iter()
            .filter(|((id, _), _)| *id == node)
            .map(|(_, peer)| *peer)
            .collect()
    }

    /// Who sent how many of the bytes used, most first.
    pub(super) fn shares(&self) -> Vec<(NodeId, u64)> {
        let mut shares = self.past.clone();
        for source in self.links.values() {
            *shares.entry(source.node()).or_default() += source.useful;
        }
        let mut shares: Vec<_> = shares.into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        shares.sort_by_key(|(node, bytes)| (std::cmp::Reverse(*bytes), *node));
        shares
    }

    /// Bytes from this link were used.
    pub(super) fn used(&mut self, id: LinkId, bytes: u64) {
        let Some(source) = self.links.get_mut(&id) else {
            return;
        };
        if source.useful == 0 {
            source.link.trust();
        }
        source.useful += bytes;
        let info = source.link.info();
        let same = |path: &PathShare| {
            (path.node, path.remote, path.carrier, path.relayed)
                == (info.node, info.remote, info.carrier, info.relayed)
        };
        let known = self.paths.iter().position(same);
        let full = (self.paths.len() == MAX_PATHS).then_some(MAX_PATHS - 1);
        match known.or(full).and_then(|at| self.paths.get_mut(at)) {
            Some(path) => path.bytes += bytes,
            None => self.paths.push(PathShare {
                node: info.node,
                remote: info.remote,
                carrier: info.carrier,
                relayed: info.relayed,
                bytes,
            }),
        }
    }

    /// What came over which path, in the order in which they were first used.
    pub(super) fn paths(&self) -> &[PathShare] {
        &self.paths
    }

    /// Why the last sources were lost, each once.
    pub(super) fn reasons(&self) -> Vec<String> {
        let lost = self
            .lost
            .iter()
            .map(|(node, loss)| format!("{}: {}", node.short(), loss.reason()));
        let banned = self
            .banned
            .iter()
            .map(|(node, reason)| format!("{}: {reason}", node.short()));
        let mut reasons: Vec<String> = Vec::new();
        for reason in banned.chain(lost) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons
    }

    /// The error that the losses call for: falsehood before change before refusal before absence.
    pub(super) fn error(&self) -> FetchError {
        if let Some((node, reason)) = self.banned.first_key_value() {
            return FetchError::Verification {
                node: *node,
                reason: reason.clone(),
            };
        }
        let refused = |wanted: &[RefusalCode]| {
            self.lost.iter().rev().find_map(|(node, loss)| match loss {
                Loss::Refused(refused) if wanted.contains(&refused.code) => {
                    Some((*node, loss.reason()))
                }
                _ => None,
            })
        };
        if refused(&[RefusalCode::Changed]).is_some() {
            return FetchError::Changed;
        }
        if let Some((node, text)) = refused(&[RefusalCode::NotAllowed, RefusalCode::AuthRequired]) {
            return FetchError::Refused { node, text };
        }
        if !self.lost.is_empty() && self.lost.iter().all(|(_, loss)| is_absence(loss)) {
            return FetchError::NotFound;
        }
        let reasons = self.reasons();
        let reasons = if reasons.is_empty() {
            "nobody was connected".into()
        } else {
            reasons.join("; ")
        };
        FetchError::NoPeers { reasons }
    }
}

fn is_absence(loss: &Loss) -> bool {
    matches!(
        loss,
        Loss::Refused(Refused {
            code: RefusalCode::NotFound,
            ..
        })
    )
}
