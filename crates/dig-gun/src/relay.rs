//! A relay: keeps a graph for whoever comes, tells whoever follows a part of it of every change, and speaks with gun.js.
//!
//! What gun.js's relay does, it does; where that one is silent or loses data, it does not:
//!
//! - **Every question is answered, at once**, also with "not found", also queries by pattern. If it has joined other relays and has
//!   nothing itself, "not found" waits for them, for [`Limits::patience`] at most; what they say later comes as a change.
//! - **Every write is answered**, when it is durable: `ok`, also if it changed nothing, or `err` with the reason. A write for a time to
//!   come is acknowledged when that time has come, for only then is it kept on the disk; beyond [`Limits::deferred`]
//!   it is refused.
//! - A write that is at fault, or not signed as it must be ([`crate::sea`]), is refused whole.
//! - **To ask is to subscribe**: every change of a node is told to those who asked for it, for a field of it or for souls by its
//!   pattern, but for whoever made it; in a message of our own name, with just what changed.
//! - **It asks back**: whoever asks for a node for the first time is asked for it too. So what a client wrote while it was away comes
//!   in, and what gun.js in Node tells only those who asked.
//! - Messages stay below the 32,768 characters at which gun.js in Node loses keys, but where one value is longer.
//! - Joined relays hear of every change. They, and relays that came to us, are asked for whatever a client asks for the first time.
//!   How what was missed is made good: [`Limits::missed`].
//!
//! It does not obey `dam:"opt"`, which makes gun.js's relay dial any URL it is told; it does not pass on what is neither put nor get (the WebRTC
//! offers of browsers); and it need not remember message ids, for merging twice changes nothing.
//!
//! Nobody can make it panic, grow without bound or wait for ever: everything somebody can make grow is in [`Limits`]. Whoever sends more
//! than a busy client does shares what others leave.

mod bucket;
mod core;
mod counters;
mod ids;
mod limits;
mod reading;
mod serve;
mod writing;

pub use counters::Counters;
pub use limits::{Limits, Origin};
pub use serve::{ServeError, ServeOptions, Serving, Tls, serve};
