//! A usable path between two peers, whatever NATs stand between them, and a trace of every attempt.
//!
//! # What it does
//!
//! - [`traversal::NatTraversalManager`] finds a path to a peer when asked, and takes part when a peer asks (whitepaper sections 3 and 9).
//! - [`attempt::Attempt`] is one such search: local networks, public addresses, mapped ports, UDP and TCP hole punching, TCP simultaneous
//!   open, ICE, and relays; one after the other or all at once. Where one side's NAT gives each destination another port, that port is guessed.
//! - [`turn`] keeps allocations on TURN servers, and is such a server. [`traversal::upkeep`] says when to look for a path again.
//! - [`gather`] knows where this node may be reached, [`mapping`] opens ports of routers, [`report`] says how a NAT behaves, in words.
//! - [`stun`] asks servers, and is one. [`signaling`] seals what peers tell each other before there is a path;
//!   [`rendezvous`] carries it through a peer that both are connected to.
//! - [`io`] shares one UDP port and one TCP port among all of this and whatever else uses them.
//!
//! # What it refuses to do
//!
//! - It secures nothing: a path is an address or a stream on which somebody proved to belong to the attempt. Who that is, and
//!   that nobody listens, is the business of the session above (QUIC or TLS, in dig-session).
//! - It keeps no path alive, and moves no session from one path to another. It carries data over relays only, as datagrams that it does not read.
//! - It sends packets only to where the peer was seen, to networks that both are on, to at most two relayed addresses that the peer names, and to peers of our
//!   own choice; never more than [`attempt::MAX_UNANSWERED`] to addresses that do not answer.
//! - Guessed ports are the exception: more packets, to a host at which a carrier sees the peer and to no other, within one account for the whole
//!   node; [`NatConfig::birthday`](traversal::NatConfig::birthday) turns them off.
//! - It uses no relay that was not named.
//!
//! # How it is driven
//!
//! Attempts, STUN, both sides of TURN, upkeep, reports, seals and the rendezvous are state machines: they take `now` and what arrived, and say what to
//! send and when to be called again. Only [`io`], [`gather`], [`mapping`], [`turn::Relays`], [`turn::serve`], the `io` modules of [`stun`] and [`report`], and
//! [`traversal`] touch sockets, tasks and clocks; they need a tokio runtime. Whoever owns the sockets hands over what arrives on them:
//! [`io::UdpHub::receive`] for every datagram, [`io::TcpPort::sort`] for every accepted stream. The rest is asking for paths:
//!
//! ```no_run
//! use dig_identity::{Algorithm, CryptoIdentity};
//! use dig_nat::{
//!     io::{OsUdp, TcpPort, UdpHub, UdpReader},
//!     signaling::{Signaling, prekey::Prekeys},
//!     traversal::{NatConfig, NatTraversalManager, Parts, Progress, Remembered},
//! };
//! use dig_types::{Clock as _, NodeId, SystemClock};
//! use futures::StreamExt as _;
//! use std::{net::{TcpListener, UdpSocket}, sync::Arc};
//!
//! async fn reach(peer: NodeId, carrier: Arc<dyn Signaling>) -> Result<(), Box<dyn std::error::Error>> {
//!     // One port, both transports. This program has nothing else on it, so the hub reads it alone.
//!     let (udp, tcp) = (UdpSocket::bind("[::]:4433")?, TcpListener::bind("[::]:4433")?);
//!     let hub = UdpHub::new(Arc::new(OsUdp::new(&udp)?));
//!     let _reader = UdpReader::start(&udp, hub.clone(), |source, bytes| {
//!         println!("{} bytes from {source}", bytes.len());
//!     })?;
//!
//!     let identity = Arc::new(CryptoIdentity::generate(Algorithm::Ed25519)?);
//!     let nat = NatTraversalManager::new(
//!         NatConfig { stun: vec!["stun.example.org:3478".into()], ..NatConfig::default() },
//!         Parts {
//!             prekeys: Prekeys::new(SystemClock.now(), &*identity)?,
//!             signer: identity,
//!             signaling: carrier,
//!             udp: hub,
//!             tcp: Some(TcpPort::share(&tcp)?),
//!             memory: Arc::new(Remembered::default()),
//!             clock: Arc::new(SystemClock),
//!         },
//!     )?;
//!
//!     let mut connecting = nat.connect(peer);
//!     while let Some(progress) = connecting.next().await {
//!         match progress {
//!             Progress::Attempt { method, addr } => println!("{method}: {addr}"),
//!             Progress::Path(found) => {
//!                 println!("{} to {} after {:?}", found.method, found.path.remote(), found.elapsed);
//!                 // Here a session is made over it; if that fails, the loop goes on to the next path. After a relayed one it goes
//!                 // on anyway: a direct one may follow.
//!                 connecting.confirm();
//!                 if !found.relayed {
//!                     break;
//!                 }
//!             }
//!             Progress::Failed(failed) => println!("{failed}; tried: {:#?}", failed.trace),
//!             _ => {}
//!         }
//!     }
//!     nat.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! # Design assumptions
//!
//! - Carriers of signals are trusted with nothing: they may lose, repeat, reorder and invent messages. They say where they see a
//!   peer, and that is where packets go; so a carrier that lies makes us send a few packets to somebody else, and no more.
//! - Relays are trusted with nothing but to be there.
//! - NATs are not classified before they are tried: plain punching works more often than their kind suggests. What is known of them decides only whether a
//!   port is guessed afterwards.
//! - There is one attempt a pair of peers. If both begin, the offer of the lower node id stands.

pub mod attempt;
pub mod candidate;
pub mod gather;
pub mod io;
pub mod mapping;
pub mod rendezvous;
pub mod report;
pub mod signaling;
pub mod stun;
pub mod trace;
pub mod traversal;
pub mod turn;
