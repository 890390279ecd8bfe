//! STUN: asking a server on the public network from where it sees us come, and being such a server.
//!
//! RFC 8489 Binding without credentials, and the attributes of RFC 5780 that tell how a NAT behaves:
//!
//! - [`Query`] is one question to one server, resent until it is answered or given up;
//! - [`Server`] answers, with one address or, for RFC 5780, with two;
//! - [`Frames`] cuts a byte stream into messages (RFC 8489 §6.2.2);
//! - [`io`] drives them with sockets: [`io::serve`] and [`io::query_stream`].
//!
//! An answer counts only if its 96-bit transaction id is ours and it comes from where it was expected: whoever is
//! not on the way to the server can guess neither. Whoever is on the way can say anything, so an address that STUN
//! tells is a claim until a peer was reached by it.

mod frames;
pub mod io;
mod message;
mod query;
mod server;

pub use frames::Frames;
pub use message::{
    ChangeRequest, ErrorCode, Message, ParseError, Request, Success, TransactionId, is_stun,
};
pub use query::{Answer, Query, QueryError, Schedule};
pub(crate) use server::{Allowance, customer};
pub use server::{Layout, Reply, Server, ServerLimits};
