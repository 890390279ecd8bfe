//! Encrypted, mutually authenticated lanes over any path: QUIC over datagrams, TLS 1.3 over streams.
//!
//! An [`Endpoint`] speaks for one identity. It turns a datagram path ([`Endpoint::connect_quic`]) or a byte stream
//! ([`Endpoint::connect_stream`]) into a [`Lane`]: an ordered pipe of frames to a peer whose [`NodeId`](dig_types::NodeId) has been
//! proved. Datagrams may come and go by several sockets, relays among them ([`Endpoint::attach_datagrams_with`]). A peer may have several lanes, kept in a [`Pool`]. The formats are those of `docs/protocol.md` §2 to §4.
//!
//! Assumptions and refusals:
//!
//! - The path may do anything: lose, delay, read, change and inject bytes. It can end a lane; it cannot alter or read one.
//! - A peer may send anything. It cannot make this side panic, allocate what it merely declares, or wait for ever.
//! - Every handshake proves both identities anew: there is no resumption, no early data, no server name, no older TLS.
//! - There is no multiplexer: frames of different requests share a lane, and more throughput is more lanes.
//! - A lane over QUIC follows the side that dialled to its new address; nothing else moves. Better paths are new lanes, and who uses which is decided above.
//! - A lane asks for signs of life no oftener than its path needs, and outlives a sleep of the machine if the peer answers then.
//! - Nothing here knows how a path came to be, or what frames above 0x0020 mean.
//!
//! ```
//! use bytes::Bytes;
//! use dig_identity::{Algorithm, CryptoIdentity};
//! use dig_session::{Endpoint, SessionConfig};
//! use dig_types::{Frame, FrameType, SystemClock};
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = || -> Result<Endpoint, Box<dyn std::error::Error>> {
//!     let identity = Arc::new(CryptoIdentity::generate(Algorithm::Ed25519)?);
//!     Ok(Endpoint::new(SessionConfig::default(), identity, Arc::new(SystemClock))?)
//! };
//! let (alice, bob) = (endpoint()?, endpoint()?);
//! let (near, far) = tokio::io::duplex(4096);
//! let (dialled, accepted) = tokio::join!(
//!     alice.connect_stream(near, None, Some(bob.node_id())),
//!     bob.accept_stream(far, None),
//! );
//! let ((to_bob, _from_bob), (_to_alice, mut from_alice)) = (dialled?.split(), accepted?.split());
//! to_bob.send(Frame::new(FrameType(0x0024), 1, Bytes::from_static(b"hello"))).await?;
//! assert_eq!(from_alice.recv().await.map(|frame| frame.payload), Some(Bytes::from_static(b"hello")));
//! # Ok(())
//! # }
//! ```

mod config;
mod endpoint;
mod handshake;
mod lane;
mod pipe;
mod pool;
mod quic;
mod socket;
mod stream;
mod tls;
pub mod wire;

pub use config::{AuthPolicy, Congestion, SessionConfig};
pub use endpoint::{AcceptError, ConnectError, Endpoint, EndpointError, SocketId, SocketOptions};
pub use handshake::{HandshakeError, ProtocolError, Stage};
pub use lane::{CloseReason, Lane, LaneClosed, LaneInfo, LaneReceiver, LaneSender, Transport};
pub use pool::{Direction, PeerId, Pool, PoolCounts, PoolFull, PoolKey, PoolLimit, PoolLimits};
pub use socket::{DatagramSocket, Ecn, PlainUdp, Received, Transmit, Writable};
pub use stream::{Stream, StreamDialer, TcpDialer};
pub use tls::OwnCertificateError;
