//! What a content hash binds.

use crate::chunk::{CHUNK_LEN, Digest};
use dig_types::{ContentHash, ContentKind};
use sha2::{Digest as _, Sha256};

/// Kind, size and root of a content: everything its hash binds, and the number of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentHeader {
    /// File or folder.
    pub kind: ContentKind,
    /// Bytes of the file, or of all files of the folder together.
    pub size: u64,
    /// Bytes of the folder's table; 0 for a file.
    pub table_len: u64,
    /// Number of chunks. For a file it follows from the size; for a folder it is the table's to say.
    pub chunks: u64,
    /// Root over the entries of all chunks.
    pub root: Digest,
}

impl ContentHeader {
    /// The header of a file.
    pub const fn file(size: u64, root: Digest) -> Self {
        Self {
            kind: ContentKind::File,
            size,
            table_len: 0,
            chunks: chunks_of(size),
            root,
        }
    }

    /// The hash by which the content is asked for (`docs/protocol.md` §5).
    pub fn hash(&self) -> ContentHash {
        let digest = match self.kind {
            ContentKind::File => {
                Sha256::new_with_prefix("dig-file/1").chain_update(self.size.to_be_bytes())
            }
            ContentKind::Folder => Sha256::new_with_prefix("dig-folder/1")
                .chain_update(self.size.to_be_bytes())
                .chain_update(self.table_len.to_be_bytes()),
        };
        ContentHash::from_bytes(digest.chain_update(self.root.0).finalize().into())
    }
}

/// Chunks of a file of `size` bytes.
pub const fn chunks_of(size: u64) -> u64 {
    size.div_ceil(CHUNK_LEN as u64)
}
