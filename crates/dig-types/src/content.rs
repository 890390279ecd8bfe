//! Kinds of content and the keys under which others look for it.

use crate::{ContentHash, ContentName, Sha256Hash};
use sha2::{Digest, Sha256};
use std::fmt;

/// What a content hash stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentKind {
    /// One file.
    File,
    /// A table of paths and the files it lists, as one content.
    Folder,
}

impl ContentKind {
    /// The number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::File => 0,
            Self::Folder => 1,
        }
    }

    /// The kind of a number on the wire, if it has one.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::File),
            1 => Some(Self::Folder),
            _ => None,
        }
    }
}

/// Where a content, a SHA-256 or a name is announced and looked for. A hash cannot be derived from
/// its key, so who only sees keys (a DHT node, a relay) cannot fetch (`docs/protocol.md` §5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DiscoveryKey([u8; 32]);

impl DiscoveryKey {
    /// The key of a content hash.
    pub fn content(hash: &ContentHash) -> Self {
        Self::derive("content", hash.as_bytes())
    }

    /// The key of a file's SHA-256.
    pub fn sha256(hash: &Sha256Hash) -> Self {
        Self::derive("sha256", hash.as_bytes())
    }

    /// The key of a content name.
    pub fn name(name: &ContentName) -> Self {
        Self::derive("name", &Sha256::digest(name.as_str().as_bytes()).into())
    }

    /// Wraps the raw bytes, as they come from the wire.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn derive(kind: &str, hash: &[u8; 32]) -> Self {
        let digest = Sha256::new_with_prefix("dig-disc/1")
            .chain_update(kind)
            .chain_update(hash);
        Self(digest.finalize().into())
    }
}

impl fmt::Debug for DiscoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DiscoveryKey({})",
            data_encoding::HEXLOWER.encode(&self.0[..4])
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_distinct_keys() {
        let bytes = [3; 32];
        let keys = [
            DiscoveryKey::content(&ContentHash::from_bytes(bytes)),
            DiscoveryKey::sha256(&Sha256Hash::from_bytes(bytes)),
        ];
        assert_ne!(keys[0], keys[1]);
        assert!(
            [ContentKind::File, ContentKind::Folder]
                .into_iter()
                .all(|kind| ContentKind::from_code(kind.code()) == Some(kind))
        );
        assert_eq!(ContentKind::from_code(2), None);
    }
}
