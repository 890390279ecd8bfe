//! The Gun graph: a graph of nodes that every peer may write, that merges without conflict, and that gun.js speaks.
//!
//! Gun is a shared graph behind relays that anybody may run: a node has a name ([`value::Soul`]) and fields, a field has a value and the
//! time of its writing ([`graph::Field`]), and of two writes the later one wins everywhere, in whatever order they come. Whoever asks
//! for a node is told of its changes from then on. This crate has both ends of it, at one with gun.js 0.2020.1241:
//!
//! - [`client::Gun`] writes, asks and subscribes through any number of relays, and outlives their restarts;
//! - [`relay::serve`] is a relay, which answers and acknowledges all that it is asked and told, and joins others;
//! - [`store`] keeps a relay's graph in memory or on the disk;
//! - [`graph`], [`lex`], [`text`] and [`value`] are the data, its merge rule, queries, and its text exactly as JavaScript writes it;
//! - [`message`] and [`frame`] are what goes over the wire; what comes twice merges to the same, so no ids are remembered;
//! - [`sea`] checks what users of gun.js have signed.
//!
//! ```
//! use dig_gun::{
//!     client::{ClientConfig, Gun},
//!     graph::Node,
//!     lex::Query,
//!     relay::{ServeOptions, serve},
//!     store::MemoryStorage,
//!     value::{Key, Soul, Value},
//! };
//! use futures::StreamExt;
//! use std::sync::Arc;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let storage = Arc::new(MemoryStorage::default());
//! let relay = serve(ServeOptions::new(vec!["127.0.0.1:0".parse()?], storage)).await?;
//! let client = || -> Result<Gun, Box<dyn std::error::Error>> {
//!     let url = format!("ws://{}/gun", relay.addrs()[0]).parse()?;
//!     Ok(Gun::start(ClientConfig { relays: vec![url], ..ClientConfig::default() }))
//! };
//! let (alice, bob) = (client()?, client()?);
//! let mark = Soul::new("mark")?;
//! let mut heard = bob.subscribe(Query::node(mark.clone()));
//!
//! let node = Node::new(mark).with(Key::new("name")?, Value::text("Mark"), alice.state());
//! alice.put(vec![node.clone()]).await?;
//! assert_eq!(heard.next().await, Some(node));
//! # relay.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Assumptions and refusals:
//!
//! - Whoever knows a name can read and overwrite what it stands for; that is Gun. What must not be changed is signed, or stands under the hash of its
//!   own text ([`sea::content_key`]); what must not be read is encrypted by whoever writes it.
//! - A peer may send anything. It cannot make this side panic, allocate what it merely declares, or wait for ever, and everything that it
//!   can make grow has a bound.
//! - States are wall-clock time: who writes with a clock that is ahead wins until that time comes, and is kept waiting until then. Far ahead,
//!   it is refused.
//! - Text is UTF-8: a message with half a surrogate pair, which JavaScript can write, is refused.
//! - Not spoken: multicast, WebRTC between browsers, accounts and encryption of SEA (its signatures are checked), gun.js's files.
//! - Cores ([`graph`], [`message`], and those within [`client`] and [`relay`]) do no I/O and are told the time.

pub mod client;
pub mod frame;
pub mod graph;
pub mod lex;
pub mod message;
pub mod relay;
pub mod sea;
pub mod store;
pub mod text;
pub mod value;
