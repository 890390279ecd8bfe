//! Hashing what is already on the disk.

use super::directory::read_exact_at;
use crate::{
    chunk::{CHUNK_LEN, Digest},
    hashing::hasher,
    header::{ContentHeader, chunks_of},
    layout::Shape,
    tree::{root_of_entries, root_of_nodes},
};
use bytes::Bytes;
use dig_types::ContentHash;
use std::{
    fs::File,
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use tokio_util::sync::CancellationToken;

/// Nodes for which another thread is worth its start.
const NODES_A_THREAD: usize = 8;
/// The most threads that hash at once; each holds a group in memory.
const MAX_THREADS: usize = 8;

/// The hashing was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cancelled;

/// Reads chunks, of any number of threads at once.
pub(super) type Read<'a> = &'a (dyn Fn(u64) -> io::Result<Bytes> + Sync);

/// The manifest nodes of these numbers, from the chunks below them; `None` for one of which a chunk cannot be read.
pub(super) fn nodes(
    shape: Shape,
    wanted: &[u64],
    read: Read<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<Option<Digest>>, Cancelled> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(node) = wanted.get(at) else {
                return Ok(done);
            };
            done.push((at, node_digest(shape, *node, read, cancel)?));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores
        .min(wanted.len() / NODES_A_THREAD)
        .clamp(1, MAX_THREADS);
    let mut digests = vec![None; wanted.len()];
    let parts: Vec<Result<Vec<_>, Cancelled>> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined = others
            .into_iter()
            .map(|other| other.join().unwrap_or(Err(Cancelled)));
        joined.chain([own]).collect()
    });
    for part in parts {
        for (at, digest) in part? {
            digests[at] = digest;
        }
    }
    Ok(digests)
}

fn node_digest(
    shape: Shape,
    node: u64,
    read: Read<'_>,
    cancel: &CancellationToken,
) -> Result<Option<Digest>, Cancelled> {
    let mut groups = Vec::new();
    for group in shape.node_groups(node) {
        if cancel.is_cancelled() {
            return Err(Cancelled);
        }
        let chunks: io::Result<Vec<Bytes>> = shape.group_chunks(group).map(read).collect();
        let Ok(chunks) = chunks else { return Ok(None) };
        let slices: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk[..]).collect();
        let mut entries = Vec::with_capacity(slices.len());
        hasher().hash(&slices, &mut entries);
        groups.push(root_of_entries(&entries));
    }
    Ok(Some(root_of_nodes(&groups)))
}

/// The content hash of a file of `size` bytes; `None` if it cannot be read to its end.
pub(super) fn file_hash(
    file: &File,
    size: u64,
    cancel: &CancellationToken,
) -> Result<Option<ContentHash>, Cancelled> {
    let shape = Shape::new(chunks_of(size));
    let wanted: Vec<u64> = (0..shape.nodes()).collect();
    let read = |chunk: u64| read_chunk(file, chunk * CHUNK_LEN as u64, size);
    let nodes = nodes(shape, &wanted, &read, cancel)?;
    let nodes: Option<Vec<Digest>> = nodes.into_iter().collect();
    Ok(nodes.map(|nodes| ContentHeader::file(size, root_of_nodes(&nodes)).hash()))
}

/// The chunk at `offset` of a file of `size` bytes.
fn read_chunk(file: &File, offset: u64, size: u64) -> io::Result<Bytes> {
    let len = size.saturating_sub(offset).min(CHUNK_LEN as u64);
    let mut buffer = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    read_exact_at(file, &mut buffer, offset)?;
    Ok(buffer.into())
}
