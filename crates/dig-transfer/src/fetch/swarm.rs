//! What a fetch has so far, served to others.

use crate::{
    chunk::{Digest, Run},
    hashing::hasher,
    header::ContentHeader,
    layout::{Layout, Shape},
    manifest::Manifest,
    set::NumberSet,
    sink::ChunkReader,
    store::{ContentStore, Holding, Proof, ReadError},
    tree::{PathBuilder, root_of_entries},
};
use bytes::Bytes;
use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use tokio::sync::watch;

#[derive(Debug)]
struct State {
    written: NumberSet,
    /// Groups that can be served.
    groups: NumberSet,
    /// Whether `groups` has grown since it was published.
    news: bool,
}

/// A content of which verified groups can be read back. Entries are hashed again when asked for, so none are kept.
pub(super) struct SwarmStore {
    header: ContentHeader,
    shape: Shape,
    name: String,
    reader: Arc<dyn ChunkReader>,
    /// The table's chunks, which not every sink keeps.
    table: Vec<Bytes>,
    manifest: OnceLock<(Manifest, PathBuilder)>,
    state: Mutex<State>,
    holding: watch::Sender<Holding>,
}

impl fmt::Debug for SwarmStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwarmStore")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl SwarmStore {
    pub(super) fn new(
        header: ContentHeader,
        layout: &Layout,
        name: String,
        reader: Arc<dyn ChunkReader>,
        table: Vec<Bytes>,
    ) -> Self {
        let shape = layout.shape();
        let groups = NumberSet::empty(shape.groups());
        let state = State {
            written: NumberSet::empty(shape.chunks()),
            groups: groups.clone(),
            news: false,
        };
        Self {
            header,
            shape,
            name,
            reader,
            table,
            manifest: OnceLock::new(),
            state: Mutex::new(state),
            holding: watch::Sender::new(Holding::Groups(Arc::new(groups))),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Without the manifest nothing can be proved, so nothing is offered before.
    pub(super) fn set_manifest(&self, manifest: Manifest) {
        let paths = PathBuilder::new(manifest.nodes().clone());
        if self.manifest.set((manifest, paths)).is_ok() {
            let chunks = 0..self.shape.chunks();
            self.gain(&mut self.state(), chunks);
        }
    }

    /// These chunks are verified and written.
    pub(super) fn written(&self, chunks: Range<u64>) {
        let mut state = self.state();
        for chunk in chunks.clone() {
            state.written.insert(chunk);
        }
        if self.manifest.get().is_some() {
            self.gain(&mut state, chunks);
        }
    }

    /// Offers what can be proved. Above a group there may be a manifest node over several (k > 4, from 128 GiB on): its path
    /// is computed from all of them, so all must be here.
    fn gain(&self, state: &mut State, chunks: Range<u64>) {
        let Some(last) = chunks.end.checked_sub(1) else {
            return;
        };
        let node = |chunk: u64| chunk >> self.shape.level();
        for node in node(chunks.start)..=node(last) {
            let groups = self.shape.node_groups(node);
            if groups.is_empty() || state.groups.contains(groups.start) {
                continue;
            }
            let first = self.shape.group_chunks(groups.start).start;
            let end = self.shape.group_chunks(groups.end - 1).end;
            if state
                .written
                .next_absent(first)
                .is_none_or(|absent| absent >= end)
            {
                groups.for_each(|group| {
                    state.groups.insert(group);
                });
                state.news = true;
            }
        }
    }

    /// Tells who watches what there is by now.
    pub(super) fn publish(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.news) {
            let holding = match state.groups.is_full() {
                true => Holding::Complete,
                false => Holding::Groups(Arc::new(state.groups.clone())),
            };
            drop(state);
            self.holding.send_replace(holding);
        }
    }

    fn chunk(&self, chunk: u64) -> Result<Bytes, ReadError> {
        let of_table = usize::try_from(chunk)
            .ok()
            .and_then(|chunk| self.table.get(chunk));
        match of_table {
            Some(bytes) => Ok(bytes.clone()),
            None => Ok(self.reader.read(chunk)?),
        }
    }

    fn check(&self, group: u64) -> Result<(), ReadError> {
        if self.state().groups.contains(group) {
            Ok(())
        } else {
            Err(ReadError::Missing)
        }
    }

    /// Whether the disk still has what was written: serving anything else would get this node banned.
    fn check_entries(&self, group: u64, entries: &[Digest]) -> Result<(), ReadError> {
        let nodes = self.proofs()?.0.nodes();
        let node = self.shape.node_of_group(group);
        let alone = self.shape.node_groups(node) == (group..group + 1);
        let node = usize::try_from(node).ok().and_then(|node| nodes.get(node));
        match node {
            Some(node) if alone && *node != root_of_entries(entries) => Err(ReadError::Changed),
            _ => Ok(()),
        }
    }

    fn proofs(&self) -> Result<&(Manifest, PathBuilder), ReadError> {
        self.manifest.get().ok_or(ReadError::Missing)
    }
}

impl ContentStore for SwarmStore {
    fn header(&self) -> ContentHeader {
        self.header
    }

    fn holding(&self) -> watch::Receiver<Holding> {
        self.holding.subscribe()
    }

    fn read(&self, run: Run) -> Result<Vec<Bytes>, ReadError> {
        self.check(run.group())?;
        run.chunks().map(|chunk| self.chunk(chunk)).collect()
    }

    fn entries(&self, group: u64) -> Result<Vec<Digest>, ReadError> {
        self.check(group)?;
        let chunks = self
            .shape
            .group_chunks(group)
            .map(|chunk| self.chunk(chunk));
        let chunks = chunks.collect::<Result<Vec<Bytes>, _>>()?;
        let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk[..]).collect();
        let mut entries = Vec::with_capacity(chunks.len());
        hasher().hash(&chunks, &mut entries);
        self.check_entries(group, &entries)?;
        Ok(entries)
    }

    fn path(&self, group: u64, proof: Proof) -> Result<Vec<Digest>, ReadError> {
        let (_, above) = self.proofs()?;
        let node = self.shape.node_of_group(group);
        let groups = self.shape.node_groups(node);
        let mut path = Vec::new();
        if groups.end - groups.start > 1 {
            let nodes = groups
                .clone()
                .map(|group| Ok(root_of_entries(&self.entries(group)?)));
            let nodes: Arc<[Digest]> = nodes.collect::<Result<_, ReadError>>()?;
            let index = usize::try_from(group - groups.start).map_err(|_| ReadError::Missing)?;
            path = PathBuilder::new(nodes)
                .path(index)
                .ok_or(ReadError::Missing)?;
        }
        if proof == Proof::ToRoot {
            let index = usize::try_from(node).map_err(|_| ReadError::Missing)?;
            path.extend(above.path(index).ok_or(ReadError::Missing)?);
        }
        Ok(path)
    }

    fn manifest(&self) -> Result<Arc<[Digest]>, ReadError> {
        Ok(self.proofs()?.0.nodes().clone())
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}
