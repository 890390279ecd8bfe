//! The sink that keeps a content in memory.

use super::{ChunkReader, ContentSink, Resumed, SinkError};
use crate::{chunk::Digest, header::ContentHeader, layout::Layout, set::NumberSet, table::Table};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Keeps chunks in memory, for tests and for contents that are small.
#[derive(Debug, Default)]
pub struct MemorySink {
    content: Arc<MemoryContent>,
}

/// What a [`MemorySink`] holds; it can be looked at while and after the sink is used.
#[derive(Debug, Default)]
pub struct MemoryContent {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    layout: Option<Arc<Layout>>,
    chunks: BTreeMap<u64, Bytes>,
    committed: bool,
}

impl MemorySink {
    /// An empty sink.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it holds, now and later.
    pub fn content(&self) -> Arc<MemoryContent> {
        Arc::clone(&self.content)
    }
}

impl MemoryContent {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the sink was committed.
    pub fn is_committed(&self) -> bool {
        self.state().committed
    }

    /// The numbers of the chunks that are there.
    pub fn chunks(&self) -> Vec<u64> {
        self.state().chunks.keys().copied().collect()
    }

    /// The bytes of a file: index in the table of a folder, 0 for a content that is one file. `None` if some are missing.
    pub fn file(&self, index: usize) -> Option<Vec<u8>> {
        let state = self.state();
        let layout = state
            .layout
            .as_ref()
            .filter(|layout| index < layout.files())?;
        let mut bytes = Vec::new();
        for chunk in layout.file_chunks(index) {
            bytes.extend_from_slice(state.chunks.get(&chunk)?);
        }
        Some(bytes)
    }
}

impl ContentSink for MemorySink {
    fn open(
        &mut self,
        _header: &ContentHeader,
        layout: &Arc<Layout>,
        table: Option<&Arc<Table>>,
    ) -> Result<Resumed, SinkError> {
        let mut state = self.content.state();
        state.layout = Some(Arc::clone(layout));
        if let Some(table) = table {
            let bytes = Bytes::from(table.encode());
            for chunk in layout.table_chunks() {
                let at = layout.locate(chunk);
                let start = usize::try_from(at.offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let end = start.saturating_add(at.len).min(bytes.len());
                state.chunks.insert(chunk, bytes.slice(start..end));
            }
        }
        let mut chunks = NumberSet::empty(layout.chunks());
        for chunk in state.chunks.keys() {
            chunks.insert(*chunk);
        }
        Ok(Resumed {
            chunks,
            manifest: None,
            complete: false,
        })
    }

    fn keep_manifest(&mut self, _manifest: &[Digest]) -> Result<(), SinkError> {
        Ok(())
    }

    fn write(&mut self, first: u64, chunks: &[Bytes]) -> Result<(), SinkError> {
        let mut state = self.content.state();
        state.chunks.extend((first..).zip(chunks.iter().cloned()));
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn commit(&mut self) -> Result<Option<PathBuf>, SinkError> {
        let mut state = self.content.state();
        if let Some(layout) = &state.layout {
            let missing = (0..layout.chunks()).filter(|chunk| !state.chunks.contains_key(chunk));
            let missing: u64 = missing.map(|chunk| layout.chunk_len(chunk) as u64).sum();
            if missing > 0 {
                return Err(SinkError::Incomplete { missing });
            }
        }
        state.committed = true;
        Ok(None)
    }

    fn reader(&self) -> Option<Arc<dyn ChunkReader>> {
        Some(self.content())
    }
}

impl ChunkReader for MemoryContent {
    fn read(&self, chunk: u64) -> io::Result<Bytes> {
        self.state()
            .chunks
            .get(&chunk)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::CHUNK_LEN;

    #[test]
    fn keeps_what_is_written_and_commits_when_whole() {
        let layout = Arc::new(Layout::file(CHUNK_LEN as u64 + 3));
        let mut sink = MemorySink::new();
        let content = sink.content();
        let header = layout.header(Digest([0; 32]));
        assert_eq!(sink.open(&header, &layout, None).unwrap().chunks.count(), 0);
        sink.write(1, &[Bytes::from_static(b"end")]).unwrap();
        assert!(matches!(
            sink.commit(),
            Err(SinkError::Incomplete { missing: 65_536 })
        ));
        assert_eq!(content.file(0), None);
        sink.write(0, &[vec![7; CHUNK_LEN].into()]).unwrap();
        assert_eq!(sink.commit().unwrap(), None);
        assert!(content.is_committed());
        assert_eq!(content.file(0).unwrap().len(), CHUNK_LEN + 3);
        assert_eq!(sink.reader().unwrap().read(1).unwrap(), "end");
    }
}
