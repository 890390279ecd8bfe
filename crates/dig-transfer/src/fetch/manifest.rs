//! The manifest on its way.

use super::{
    driver::{Driver, Event, Phase},
    sources::Source,
};
use crate::{
    chunk::Digest,
    layout::Shape,
    link::{Ask, LinkId},
    manifest::{Manifest, ManifestError},
    wire::Message,
};
use dig_types::ContentKind;
use std::time::Duration;
use tokio::time::Instant;

/// Without a node for this long, somebody else is asked: the parts of a manifest follow each other.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer to `MANIFEST_GET` as far as it is here.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) from: LinkId,
    pub(super) request: u32,
    pub(super) nodes: Vec<Digest>,
    last: Instant,
}

impl Parts {
    pub(super) const fn new(now: Instant, from: LinkId, request: u32) -> Self {
        Self {
            from,
            request,
            nodes: Vec::new(),
            last: now,
        }
    }

    /// Takes a part; `false` if it does not follow what is here.
    pub(super) fn add(&mut self, now: Instant, first: u32, nodes: &[Digest]) -> bool {
        self.last = now;
        if usize::try_from(first) != Ok(self.nodes.len()) {
            return false;
        }
        self.nodes.extend_from_slice(nodes);
        true
    }

    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > PATIENCE
    }
}

/// How far the manifest is.
#[derive(Debug)]
pub(super) enum ManifestState {
    /// Nobody is asked.
    Missing,
    /// Somebody is asked.
    Asked(Parts),
    /// All nodes are here; their root is being computed.
    Checking(LinkId),
    /// Here and right.
    Here(Manifest),
}

impl ManifestState {
    pub(super) const fn here(&self) -> Option<&Manifest> {
        match self {
            Self::Here(manifest) => Some(manifest),
            _ => None,
        }
    }

    /// Forgets an answer that will not come.
    pub(super) fn forget(&mut self, from: LinkId) {
        if matches!(self, Self::Asked(parts) if parts.from == from) {
            *self = Self::Missing;
        }
    }
}

impl Driver {
    pub(super) fn ask_manifest(&mut self, id: LinkId, now: Instant) {
        let Some(source) = self.sources.get(id) else {
            return;
        };
        if let Ok(request) = source.link.ask(
            Message::ManifestGet(self.hash),
            Ask::Manifest,
            &self.answers,
        ) {
            self.manifest = ManifestState::Asked(Parts::new(now, id, request));
        }
    }

    /// Sees to it that somebody is asked for the manifest.
    pub(super) fn check_manifest(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Fetching) {
            return;
        }
        if let ManifestState::Asked(parts) = &self.manifest
            && parts.is_stalled(now)
        {
            let (from, request) = (parts.from, parts.request);
            if let Some(source) = self.sources.get_mut(from) {
                source.no_manifest(now);
                source.link.cancel(request);
            }
            self.manifest = ManifestState::Missing;
        }
        if !matches!(self.manifest, ManifestState::Missing) {
            return;
        }
        if let Some(header) = self
            .header
            .filter(|header| Shape::new(header.chunks).nodes() <= 1)
        {
            let nodes: Vec<Digest> = (header.chunks > 0)
                .then_some(header.root)
                .into_iter()
                .collect();
            if let Ok(manifest) = Manifest::from_nodes(&header, nodes.into()) {
                return self.manifest_here(manifest, true);
            }
        }
        let open = self
            .sources
            .iter()
            .filter(|(_, source)| source.is_open() && source.manifest_at <= now);
        if let Some((id, _)) = open.min_by_key(|(_, source)| source.slow_manifests) {
            self.ask_manifest(id, now);
        }
    }

    /// Part of the manifest has come.
    pub(super) fn manifest_part(&mut self, id: LinkId, request: u32, first: u32, nodes: &[Digest]) {
        let ManifestState::Asked(parts) = &mut self.manifest else {
            return;
        };
        if (parts.from, parts.request) != (id, request) {
            return;
        }
        if parts.add(Instant::now(), first, nodes) {
            return self.manifest_complete();
        }
        if let Some(node) = self.sources.get(id).map(Source::node) {
            self.ban(node, "the parts of its manifest do not follow each other");
        }
    }

    /// All of the manifest may be here, now that more of it has come or it is known how long it is.
    pub(super) fn manifest_complete(&mut self) {
        let (ManifestState::Asked(parts), Some(header)) = (&mut self.manifest, self.header) else {
            return;
        };
        let counted = header.kind == ContentKind::File || self.opened.is_some();
        if !counted || (parts.nodes.len() as u64) < Shape::new(header.chunks).nodes() {
            return;
        }
        let (id, request, nodes) = (parts.from, parts.request, std::mem::take(&mut parts.nodes));
        if let Some(source) = self.sources.get(id) {
            source.link.settle(request);
        }
        self.manifest = ManifestState::Checking(id);
        let results = self.results.clone();
        tokio::task::spawn_blocking(move || {
            let _ = results.send(Event::Manifest(Manifest::from_nodes(&header, nodes.into())));
        });
    }

    pub(super) fn manifest_checked(&mut self, result: Result<Manifest, ManifestError>) {
        let ManifestState::Checking(id) = self.manifest else {
            return;
        };
        match result {
            Ok(manifest) => self.manifest_here(manifest, true),
            Err(error) => {
                self.manifest = ManifestState::Missing;
                if let Some(node) = self.sources.get(id).map(Source::node) {
                    self.ban(node, &error.to_string());
                }
            }
        }
    }

    pub(super) fn manifest_here(&mut self, manifest: Manifest, keep: bool) {
        if keep {
            self.writing.keep_manifest(manifest.nodes().clone());
        }
        if let Some(swarm) = &self.swarm {
            swarm.set_manifest(manifest.clone());
        }
        if let ManifestState::Asked(parts) = &self.manifest
            && let Some(source) = self.sources.get(parts.from)
        {
            source.link.cancel(parts.request);
        }
        self.manifest = ManifestState::Here(manifest);
    }
}
