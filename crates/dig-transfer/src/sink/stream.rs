//! The sink that writes a file to a stream, such as standard output.

use super::{ChunkReader, ContentSink, Resumed, SinkError};
use crate::{chunk::Digest, header::ContentHeader, layout::Layout, set::NumberSet, table::Table};
use bytes::Bytes;
use dig_types::ContentKind;
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Chunks that a [`StreamSink`] takes from the first unwritten one on: 32 MiB, so that the 24 MiB
/// that are in flight at most fit behind a chunk that is late.
pub const STREAM_WINDOW: u64 = 512;

/// Writes the chunks of a file in their order. What comes early waits in memory, at most [`STREAM_WINDOW`] chunks (its
/// [`window`](ContentSink::window)); what lies further ahead is refused, so ask peers for nothing beyond it.
///
/// A write blocks while the reader of the stream is slow. Nothing can be resumed and nothing read back.
pub struct StreamSink<W> {
    out: W,
    layout: Option<Arc<Layout>>,
    next: u64,
    early: BTreeMap<u64, Bytes>,
}

impl<W: Write + Send> StreamSink<W> {
    /// A sink that writes to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            layout: None,
            next: 0,
            early: BTreeMap::new(),
        }
    }
}

impl<W> fmt::Debug for StreamSink<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSink")
            .field("next", &self.next)
            .field("early", &self.early.len())
            .finish_non_exhaustive()
    }
}

fn failed(error: io::Error) -> SinkError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => SinkError::OutputClosed,
        _ => SinkError::io(Path::new("standard output"), error),
    }
}

impl<W: Write + Send> ContentSink for StreamSink<W> {
    fn open(
        &mut self,
        header: &ContentHeader,
        layout: &Arc<Layout>,
        _table: Option<&Arc<Table>>,
    ) -> Result<Resumed, SinkError> {
        if header.kind == ContentKind::Folder {
            return Err(SinkError::FolderToStream);
        }
        self.layout = Some(Arc::clone(layout));
        let chunks = NumberSet::empty(layout.chunks());
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
        for (chunk, bytes) in (first..).zip(chunks) {
            if chunk < self.next {
                continue;
            }
            if chunk - self.next >= STREAM_WINDOW {
                return Err(SinkError::OutOfWindow {
                    chunk,
                    next: self.next,
                    window: STREAM_WINDOW,
                });
            }
            self.early.insert(chunk, bytes.clone());
            while let Some(bytes) = self.early.remove(&self.next) {
                // A chunk that failed halfway must not be written twice: the stream ends with its first error.
                self.next += 1;
                self.out.write_all(&bytes).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        self.out.flush().map_err(failed)
    }

    fn commit(&mut self) -> Result<Option<PathBuf>, SinkError> {
        let layout = self.layout.as_ref();
        let chunks = layout.map_or(0, |layout| layout.chunks());
        if self.next < chunks {
            let missing = (self.next..chunks).filter(|chunk| !self.early.contains_key(chunk));
            let len = |chunk| layout.map_or(0, |layout| layout.chunk_len(chunk) as u64);
            return Err(SinkError::Incomplete {
                missing: missing.map(len).sum(),
            });
        }
        self.out.flush().map_err(failed)?;
        Ok(None)
    }

    fn reader(&self) -> Option<Arc<dyn ChunkReader>> {
        None
    }

    fn window(&self) -> Option<u64> {
        Some(STREAM_WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::CHUNK_LEN;

    fn layout(chunks: u64) -> Arc<Layout> {
        Arc::new(Layout::file(chunks * CHUNK_LEN as u64))
    }

    fn chunk(number: u64) -> Bytes {
        vec![number as u8; CHUNK_LEN].into()
    }

    #[test]
    fn writes_in_order_whatever_the_order_of_arrival() {
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut order: Vec<u64> = (0..40).collect();
            rng.shuffle(&mut order);
            let (mut out, layout) = (Vec::new(), layout(40));
            let mut sink = StreamSink::new(&mut out);
            sink.open(&layout.header(Digest([0; 32])), &layout, None)
                .unwrap();
            for number in order {
                sink.write(number, &[chunk(number)]).unwrap();
                // A chunk may come twice.
                sink.write(number, &[chunk(number)]).unwrap();
            }
            sink.commit().unwrap();
            let expected: Vec<u8> = (0..40).flat_map(|number| chunk(number).to_vec()).collect();
            assert!(out == expected, "seed {seed}");
        }
    }

    #[test]
    fn refuses_what_lies_too_far_ahead() {
        let layout = layout(STREAM_WINDOW + 1);
        let mut sink = StreamSink::new(io::sink());
        sink.open(&layout.header(Digest([0; 32])), &layout, None)
            .unwrap();
        sink.write(STREAM_WINDOW - 1, &[chunk(1)]).unwrap();
        let refused = sink.write(STREAM_WINDOW, &[chunk(1)]);
        assert!(
            matches!(refused, Err(SinkError::OutOfWindow { next: 0, .. })),
            "{refused:?}"
        );
        assert!(matches!(sink.commit(), Err(SinkError::Incomplete { .. })));
    }

    #[test]
    fn a_closed_pipe_says_so() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let layout = layout(1);
        let mut sink = StreamSink::new(writer);
        sink.open(&layout.header(Digest([0; 32])), &layout, None)
            .unwrap();
        assert!(matches!(
            sink.write(0, &[chunk(0)]),
            Err(SinkError::OutputClosed)
        ));
    }

    #[test]
    fn folders_are_refused() {
        let table = Arc::new(Table::new(Vec::new()).unwrap());
        let layout = Arc::new(Layout::folder(table.encode().len() as u64, &table));
        let mut sink = StreamSink::new(io::sink());
        let opened = sink.open(&layout.header(Digest([0; 32])), &layout, Some(&table));
        assert!(matches!(opened, Err(SinkError::FolderToStream)));
    }
}
