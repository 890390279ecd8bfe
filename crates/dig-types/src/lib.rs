//! Plain values that every crate of the stack shares: node ids and content hashes, content names,
//! discovery keys, peer addresses and records, tickets, lane frames and the [`Clock`].
//!
//! Nothing here does I/O but [`SystemClock`]; every value is checked where it is built, so an
//! invalid one does not exist. The byte formats are those of `docs/protocol.md`.
//!
//! ```
//! use dig_types::{ContentHash, Ticket};
//!
//! let ticket = Ticket::new(ContentHash::from_bytes([7; 32]));
//! let text = ticket.to_string();
//! assert!(text.starts_with("dig1"));
//! assert_eq!(text.parse::<Ticket>()?, ticket);
//! # Ok::<(), dig_types::TicketError>(())
//! ```

mod clock;
mod content;
mod frame;
mod hash;
mod method;
mod name;
mod peer;
mod ticket;

pub use clock::{Clock, SystemClock, Timestamp, VirtualClock};
pub use content::{ContentKind, DiscoveryKey};
pub use frame::{Frame, FrameHeader, FrameType, MAX_FRAME_PAYLOAD};
pub use hash::{ContentHash, HexError, InstanceId, NodeId, Sha256Hash};
pub use method::{MappedAddr, Method, Transport, UnknownMethod};
pub use name::{ContentName, NameError};
pub use peer::{PeerAddr, PeerAddrError, PeerRecord, PeerSource};
pub use ticket::{Ticket, TicketError, TicketNode};
