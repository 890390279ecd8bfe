//! Verified multi-source file transfer over any pipe of frames.
//!
//! A content is cut into chunks of 64 KiB whose SHA-256 entries form an RFC 9162 tree
//! (`docs/protocol.md` §5). This crate hashes and indexes what is shared, serves it, and fetches it
//! from many peers at once; every chunk is verified before it is written, and nothing
//! unverified reaches a final file name.
//!
//! It knows nothing of TLS, QUIC or NATs: it asks for [`lane::Lane`]s, pipes of
//! [`dig_types::Frame`]s, and comes with an in-memory one.

pub mod cache;
pub mod chunk;
pub mod fetch;
pub mod hashing;
pub mod header;
pub mod index;
pub mod lane;
pub mod layout;
pub mod limit;
pub mod link;
pub mod manifest;
pub mod scheduler;
pub mod serve;
pub mod set;
pub mod sink;
pub mod source;
pub mod store;
pub mod table;
pub mod tree;
pub mod wire;
