//! What a lane carries, as bytes (`docs/protocol.md` §3): cutting frames out of a stream, HELLO, BYE. Nothing here does I/O.
//!
//! Every decoder takes any bytes: it answers with a value or an error, allocates no more than it has
//! received, and never panics.

mod batch;
mod bye;
mod frame;
mod grease;
mod hello;

pub(crate) use batch::FrameBatch;
pub use bye::{Bye, ByeCode};
pub use frame::{FrameDecoder, FrameError, TooLong};
pub(crate) use grease::Grease;
pub use hello::{Hello, HelloError, VERSION, common_version};

use dig_types::FrameType;

/// First frame in each direction.
pub const HELLO: FrameType = FrameType(0x0000);
/// Asks for a [`PONG`] with the same eight bytes.
pub const PING: FrameType = FrameType(0x0002);
/// Answers a [`PING`].
pub const PONG: FrameType = FrameType(0x0004);
/// Last frame in a direction: why the sender ends the lane.
pub const BYE: FrameType = FrameType(0x0006);
/// Challenge–response: the client begins.
pub const AUTH_REQUEST: FrameType = FrameType(0x0010);
/// Challenge–response: the host proves itself and challenges.
pub const AUTH_CHALLENGE: FrameType = FrameType(0x0012);
/// Challenge–response: the client proves itself.
pub const AUTH_RESPONSE: FrameType = FrameType(0x0014);
/// Challenge–response: the host's verdict.
pub const AUTH_RESULT: FrameType = FrameType(0x0016);
/// Refuses one request.
pub const REFUSED: FrameType = FrameType(0x0034);

/// Frames that ask for an answer: RESOLVE, OPEN, MANIFEST_GET, GET.
pub(crate) const REQUESTS: [u16; 4] = [0x0020, 0x0024, 0x0028, 0x002C];

/// The session's own types end here; the layer above has the rest.
pub(crate) const FIRST_UPPER: u16 = 0x0020;

/// Odd types from here on carry noise, so that receivers keep ignoring what they do not know.
pub(crate) const FIRST_GREASE: u16 = 0xF001;
