//! Every knob of a session, with its unit, default and reason. The defaults are those of `docs/protocol.md` §11.

use dig_identity::certificate;
use dig_types::NodeId;
use std::{fmt, sync::Arc, time::Duration};

/// Decides who may have a lane, once the peer has proved by challenge–response who it is (`docs/protocol.md` §4).
pub trait AuthPolicy: Send + Sync + fmt::Debug {
    /// Whether this node is admitted.
    fn admits(&self, node: &NodeId) -> bool;
}

/// How a QUIC lane finds out what the path carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Congestion {
    /// CUBIC (RFC 9438): fair beside TCP.
    #[default]
    Cubic,
    /// BBR: for paths that lose packets without being full, such as some wireless networks.
    Bbr,
}

/// Configuration of an [`Endpoint`](crate::Endpoint).
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// HELLO says that this side serves content. Default: no.
    pub serves: bool,
    /// UDP and TCP port this side listens on, told in HELLO. Default: 0, nowhere.
    pub port: u16,
    /// `Some` demands challenge–response of every peer and then asks the policy. Default: `None`, the certificate is proof
    /// enough of who the peer is, and everyone is admitted.
    pub auth: Option<Arc<dyn AuthPolicy>>,
    /// Unanswered requests this side takes on a lane, told in HELLO, at least 4. Default 64: at 1 MiB a request more than any
    /// path holds, little enough to remember.
    pub max_requests: u16,
    /// Time for everything up to HELLO and, where demanded, challenge–response. Default 10 s: four round trips over a
    /// satellite with a lost packet, and a stranger holds a slot no longer.
    pub handshake_timeout: Duration,
    /// While a lane is in use, a PING is sent this often. Default 5 s: a transfer that has another path learns in time that this
    /// one is silent, and four answers are missed before the lane counts as dead.
    pub ping_interval: Duration,
    /// A lane is in use for this long after a frame of the layer above went or came. Default 15 s.
    pub idle_after: Duration,
    /// On an idle QUIC lane a PING is sent when nothing went or nothing came for this long; at least `ping_interval`. Default 15 s:
    /// half of the 30 s after which common NATs forget a UDP mapping that is hardly used.
    pub idle_ping_quic: Duration,
    /// The same on an idle lane over a byte stream. Default 55 s: below the minute of the most impatient NATs and firewalls; RFC 5382 §5 asks
    /// for two hours.
    pub idle_ping_stream: Duration,
    /// A lane is dead when a PING is unanswered for this long and nothing else came. Default 20 s.
    pub dead_after: Duration,
    /// A frame that has begun must go on at `slow_rate` over each span of this length. Default 30 s.
    pub slow_after: Duration,
    /// Bytes a second below which a frame is too slow. Default 1,024.
    pub slow_rate: u32,
    /// A batch of frames (at most 256 KiB) that the peer does not take for this long ends the lane. Default 2 minutes: a peer
    /// that reads less than 2 KiB/s only holds memory.
    pub write_stall: Duration,
    /// Bytes of frames that wait for the network in a lane before `send` waits. Default 1 MiB: enough to keep a core busy, little
    /// enough for a thousand lanes. At least 128 KiB.
    pub send_queue: usize,
    /// How long a certificate lives; it is renewed when a seventh of its life is left. Default 7 days.
    pub certificate_lifetime: Duration,
    /// Incoming handshakes at a time; above it, new ones are refused. Default 256.
    pub max_handshakes: usize,
    /// Incoming handshakes at a time from one network (IPv4 /24, IPv6 /48). Default 64: one network cannot fill the house.
    pub max_handshakes_per_network: usize,
    /// Incoming handshakes above which an address that dials QUIC must prove first, by a Retry, that it receives (RFC 9000 §8.1.2). Default 32.
    pub retry_above: usize,
    /// Receive window of a QUIC connection until [`LaneSender::trust`](crate::LaneSender::trust), in bytes. Default 8 MiB: what a stranger may make us hold.
    pub quic_untrusted_window: u32,
    /// Receive window of a QUIC stream, and of a trusted connection, in bytes. Default 16 MiB: 1 Gbit/s over 128 ms.
    pub quic_window: u32,
    /// Congestion control of QUIC lanes.
    pub congestion: Congestion,
    /// Seed of the noise that is sent in reserved places. Default `None`: from the operating system. Keys and challenges never
    /// come from it.
    pub noise_seed: Option<u64>,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            serves: false,
            port: 0,
            auth: None,
            max_requests: 64,
            handshake_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(5),
            idle_after: Duration::from_secs(15),
            idle_ping_quic: Duration::from_secs(15),
            idle_ping_stream: Duration::from_secs(55),
            dead_after: Duration::from_secs(20),
            slow_after: Duration::from_secs(30),
            slow_rate: 1024,
            write_stall: Duration::from_secs(120),
            send_queue: 1 << 20,
            certificate_lifetime: certificate::DEFAULT_LIFETIME,
            max_handshakes: 256,
            max_handshakes_per_network: 64,
            retry_above: 32,
            quic_untrusted_window: 8 << 20,
            quic_window: 16 << 20,
            congestion: Congestion::Cubic,
            noise_seed: None,
        }
    }
}
