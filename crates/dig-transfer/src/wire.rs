//! Requests and answers as frames (`docs/protocol.md` §3, §6, §7).
//!
//! Decoding is strict: a payload has exactly the bytes that its type calls for, numbers are in their bounds, text is UTF-8.
//! Data and manifest nodes are slices of the frame, never copies.

use crate::{
    chunk::{CHUNK_LEN, Digest, GROUP_CHUNKS, Run},
    header::ContentHeader,
};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use dig_types::{
    ContentHash, ContentKind, ContentName, DiscoveryKey, Frame, FrameType, Sha256Hash,
};
use std::time::Duration;

mod codec;

#[cfg(test)]
mod tests;

/// Longest text of a `REFUSED`, in bytes.
pub const MAX_TEXT: usize = 256;
/// Most nodes in one `MANIFEST`.
pub const MAX_MANIFEST_NODES: usize = 2_048;
/// Longest bitmap of a `HAVE`, in bytes.
pub const MAX_BITMAP: usize = 8_192;
/// Most records in one `RESOLVED`.
pub const MAX_RECORDS: usize = 16;
/// Most hashes of a path: the height of a tree of 2^64 chunks, less the four levels of a group.
pub const MAX_PATH: usize = 60;

/// Codes of `BYE` that this crate sends (`docs/protocol.md` §3).
pub mod bye {
    /// All is done.
    pub const DONE: u16 = 0;
    /// The other side broke the protocol.
    pub const PROTOCOL: u16 = 1;
    /// This side is shutting down.
    pub const SHUTDOWN: u16 = 5;
}

/// Types of the frames that this crate speaks (`docs/protocol.md` §3).
pub mod kind {
    use dig_types::FrameType;

    /// Asks who has a content, a SHA-256 or a name.
    pub const RESOLVE: FrameType = FrameType(0x0020);
    /// Answers `RESOLVE`.
    pub const RESOLVED: FrameType = FrameType(0x0022);
    /// Asks for a content and subscribes to news of it.
    pub const OPEN: FrameType = FrameType(0x0024);
    /// Answers `OPEN`.
    pub const INFO: FrameType = FrameType(0x0026);
    /// Asks for the manifest.
    pub const MANIFEST_GET: FrameType = FrameType(0x0028);
    /// Nodes of the manifest.
    pub const MANIFEST: FrameType = FrameType(0x002A);
    /// Asks for a run of chunks.
    pub const GET: FrameType = FrameType(0x002C);
    /// Entries of a group, and their path.
    pub const ENTRIES: FrameType = FrameType(0x002E);
    /// One chunk.
    pub const DATA: FrameType = FrameType(0x0030);
    /// Groups that a partial holder has.
    pub const HAVE: FrameType = FrameType(0x0032);
    /// The request is not answered.
    pub const REFUSED: FrameType = FrameType(0x0034);
    /// The request is no longer wanted.
    pub const CANCEL: FrameType = FrameType(0x0036);
    /// The sender holds all that it wanted.
    pub const DONE: FrameType = FrameType(0x0039);
}

/// Why a frame is not what its type calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A critical type that this version does not know: the lane must close.
    #[error("unknown critical frame type {:#06x}", .0.0)]
    UnknownType(FrameType),
    /// The payload is not what the type calls for: the lane must close.
    #[error("malformed {frame}: {what}")]
    Malformed {
        /// The name of the frame's type.
        frame: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// A request whose form is right, but which asks for something that cannot be: it is answered by `REFUSED` code 5.
    #[error("{frame} asks for the impossible: {what}")]
    BadRequest {
        /// The name of the frame's type.
        frame: &'static str,
        /// What is wrong.
        what: &'static str,
    },
}

/// What somebody looks for (`docs/protocol.md` §7).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Query {
    /// A content, by its discovery key.
    Content(DiscoveryKey),
    /// A file, by the SHA-256 of all of it.
    Sha256(Sha256Hash),
    /// A name.
    Name(ContentName),
}

/// What a node claims to have for a [`Query`]. A name's claim is the node's own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The content; `None` where the asker knows it, since it asked by its discovery key.
    pub hash: Option<ContentHash>,
    /// File or folder.
    pub kind: ContentKind,
    /// Bytes, without a folder's table.
    pub size: u64,
    /// What the node calls it; `None` if nothing, or nothing that may be shown.
    pub name: Option<ContentName>,
}

/// The answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolved {
    /// These match, 1 to 16.
    Found(Vec<Claim>),
    /// A SHA-256 that could match is still being computed.
    Pending {
        /// How long that may still take.
        estimate: Duration,
    },
}

/// What a holder says of a content. Nothing of it is believed before the content hash was recomputed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Kind, size, table, number of chunks and root, as the holder says.
    pub header: ContentHeader,
    /// Whether the holder has all of it.
    pub complete: bool,
    /// What the holder calls it: a hint; `None` if nothing, or nothing that may be shown.
    pub name: Option<ContentName>,
}

/// What is sent in front of the chunks of a `GET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Want {
    /// Only chunks.
    Chunks,
    /// The entries of the group and the path to the manifest node.
    ManifestPath,
    /// The entries of the group and the path to the root.
    RootPath,
}

impl Want {
    const fn code(self) -> u8 {
        match self {
            Self::Chunks => 0,
            Self::ManifestPath => 1,
            Self::RootPath => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Chunks),
            1 => Some(Self::ManifestPath),
            2 => Some(Self::RootPath),
            _ => None,
        }
    }
}

/// Why a request is not answered (`docs/protocol.md` §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalCode {
    /// Nothing of that hash, key or name is here.
    NotFound,
    /// The file is no longer what was announced.
    Changed,
    /// Too much to do; the refusal says when to retry.
    Busy,
    /// The asker may not have it.
    NotAllowed,
    /// The request asks for something that cannot be.
    Malformed,
    /// The asker must authenticate first.
    AuthRequired,
    /// A partial holder does not have these chunks yet.
    NotHere,
    /// The asker cancelled it.
    Cancelled,
    /// The holder is shutting down.
    ShuttingDown,
    /// A code of a later version.
    Other(u16),
}

impl RefusalCode {
    /// The number on the wire.
    pub const fn code(self) -> u16 {
        match self {
            Self::NotFound => 1,
            Self::Changed => 2,
            Self::Busy => 3,
            Self::NotAllowed => 4,
            Self::Malformed => 5,
            Self::AuthRequired => 6,
            Self::NotHere => 7,
            Self::Cancelled => 8,
            Self::ShuttingDown => 9,
            Self::Other(code) => code,
        }
    }

    /// The meaning of a number on the wire.
    pub const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::NotFound,
            2 => Self::Changed,
            3 => Self::Busy,
            4 => Self::NotAllowed,
            5 => Self::Malformed,
            6 => Self::AuthRequired,
            7 => Self::NotHere,
            8 => Self::Cancelled,
            9 => Self::ShuttingDown,
            other => Self::Other(other),
        }
    }
}

/// A request is not answered, or a content is withdrawn. It never proves the sender false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: RefusalCode,
    /// When to try again; `None` for never.
    pub retry: Option<Duration>,
    /// In words: a peer's text, so escape it before it is shown.
    pub text: String,
}

impl Refused {
    /// A refusal without a time to retry.
    pub fn new(code: RefusalCode, text: &str) -> Self {
        Self {
            code,
            retry: None,
            text: text.to_owned(),
        }
    }
}

/// The frames of `docs/protocol.md` §6 and §7, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// Asks who has something.
    Resolve(Query),
    /// Answers [`Message::Resolve`].
    Resolved(Resolved),
    /// Asks for a content and subscribes to news of it.
    Open(ContentHash),
    /// Answers [`Message::Open`].
    Info(Info),
    /// Asks for the manifest.
    ManifestGet(ContentHash),
    /// Part of the manifest.
    Manifest {
        /// Number of the first node.
        first: u32,
        /// 1 to 2,048 nodes.
        nodes: Vec<Digest>,
    },
    /// Asks for chunks.
    Get {
        /// Of which content.
        hash: ContentHash,
        /// Which, within one group.
        run: Run,
        /// What is to stand in front of them.
        want: Want,
    },
    /// The entries of a group and their path.
    Entries {
        /// All entries of the group, 1 to 16.
        entries: Vec<Digest>,
        /// The path, lowest hash first.
        path: Vec<Digest>,
    },
    /// One chunk, 1 to 65,536 bytes.
    Data(Bytes),
    /// Groups that a partial holder has.
    Have {
        /// Number of the bitmap's first group.
        first: u32,
        /// A bit for each group, most significant first; 1 to 8,192 bytes.
        bitmap: Bytes,
    },
    /// The request is not answered, or not further.
    Refused(Refused),
    /// The request is no longer wanted.
    Cancel,
    /// The sender holds all that it wanted of the content.
    Done(ContentHash),
}
