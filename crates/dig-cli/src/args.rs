//! The command line.

use crate::relay::{NamedUser, parse_ports};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use dig::gun::RelayUrl;
use dig::nat::turn::server::Network;
use dig::{
    ContentName, Method, NodeId, PathStrategy, PeerAddr, Sha256Hash, StunServer, Ticket, TurnServer,
};
use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

/// Share a file or folder, and get it on another machine: direct, encrypted, verified byte by byte.
#[derive(Debug, Parser)]
#[command(name = "dignet", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    something else went wrong
  2    usage, or a malformed ticket
  3    not found, or changed and nobody else has it
  4    could not connect (a wrong identity included)
  5    verification failed
  6    a local file problem: missing, unreadable, exists, disk full, in use
  7    refused by the other side
  130  interrupted";

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where identity, cache and settings live [default: $XDG_DATA_HOME/dignet or ~/.local/share/dignet]
    #[arg(long, global = true, env = "DIGNET_HOME", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) home: Option<PathBuf>,
    /// One JSON object a line on standard output, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Contact nobody that was not named on the command line
    #[arg(long, global = true, env = "DIGNET_NO_DEFAULTS", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) no_defaults: bool,
    /// Write a log to standard error: error, warn, info, debug or trace
    #[arg(
        long,
        global = true,
        env = "DIGNET_LOG",
        value_name = "LEVEL",
        hide = true
    )]
    pub(crate) log: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Share files and folders until Ctrl-C
    Share(ShareArgs),
    /// Get files and folders
    Get(GetArgs),
    /// List the files of a ticket before getting it
    Ls(LsArgs),
    /// Introduce peers, tell them their outside addresses (STUN), relay for those with no other path (TURN), and keep what they
    /// announce and write to each other (Gun)
    Relay(RelayArgs),
    /// Say what stands between this machine and its peers, and what would help
    Doctor(DoctorArgs),
    /// Print the node id of this home
    Id(IdArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

/// How to be reached and whom to talk to.
#[derive(Debug, Args)]
pub(crate) struct NetArgs {
    /// Where to listen; one UDP and one TCP port of that number [default: every address, the port used last]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// A peer to ask, besides those that are found (repeatable)
    #[arg(long, value_name = "[ID@]ADDR")]
    pub(crate) peer: Vec<PeerAddr>,
    /// Bytes a second in each direction, such as 500KiB or 2MB
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) limit: Option<u64>,
    /// Only deal with this node (repeatable): share serves no other, get asks no other
    #[arg(long, value_name = "NODE_ID")]
    pub(crate) trust: Vec<NodeId>,
    /// Demand that the other side proves its identity by challenge-response
    #[arg(long)]
    pub(crate) require_auth: bool,
    /// Do not announce or search on the local network
    #[arg(long)]
    pub(crate) no_local: bool,
    /// Do not use the distributed hash table
    #[arg(long)]
    pub(crate) no_dht: bool,
    /// Do not exchange peers with peers
    #[arg(long)]
    pub(crate) no_pex: bool,
    /// Do not use Gun relays, not even those that a ticket names
    #[arg(long, conflicts_with = "gun")]
    pub(crate) no_gun: bool,
    #[command(flatten)]
    pub(crate) paths: PathArgs,
}

/// How paths through NATs and firewalls are found.
#[derive(Debug, Args)]
pub(crate) struct PathArgs {
    /// A peer that both sides are connected to and that introduces them, such as a `dignet relay` (repeatable)
    #[arg(long, value_name = "[ID@]ADDR")]
    pub(crate) via: Vec<PeerAddr>,
    /// A Gun relay over which both sides announce, find and write to each other, such as wss://relay.example/gun (repeatable)
    #[arg(long, value_name = "URL")]
    pub(crate) gun: Vec<RelayUrl>,
    /// A STUN server that tells this node its outside address (repeatable) [default: public servers]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) stun: Vec<StunServer>,
    /// A TURN server that relays where nothing direct is possible, such as turn:alice:secret@192.0.2.1:3478?transport=udp; the
    /// transport may be udp, tcp or tls (repeatable)
    #[arg(long, value_name = "turn:USER:PASSWORD@HOST:PORT")]
    pub(crate) turn: Vec<TurnServer>,
    /// Use nothing but TURN servers, so that the other side learns no address of this machine
    #[arg(long, requires = "turn", conflicts_with = "methods")]
    pub(crate) relay_only: bool,
    /// Do not send many packets to one peer at a time to get through a NAT with random ports (the birthday method)
    #[arg(long)]
    pub(crate) no_birthday: bool,
    /// Only these ways of getting a path, separated by commas: local, direct, pcp, nat-pmp, upnp, tcp-hole-punch,
    /// udp-hole-punch, tcp-simultaneous-open, ice, turn
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) methods: Vec<Method>,
    /// Start all ways at once (`race`), or one after the other (`sequential`)
    #[arg(long, value_name = "race|sequential", default_value = "race")]
    pub(crate) strategy: PathStrategy,
    /// Do not ask the router to map a port (UPnP, NAT-PMP, PCP)
    #[arg(long, env = "DIGNET_NO_UPNP", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) no_upnp: bool,
}

/// `dignet share`.
#[derive(Debug, Args)]
pub(crate) struct ShareArgs {
    /// Files and folders; `-` is standard input
    #[arg(required = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// The name by which others may get it [default: the file's own name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<ContentName>,
    /// Also announce the name and the SHA-256, so that others find it by them beyond the local network
    #[arg(long)]
    pub(crate) public: bool,
    /// End after the first complete delivery
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// `dignet get`.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// A ticket, a content hash, sha256:HEX, a name, or NAME@NODE_ID
    #[arg(required = true, value_name = "WHAT")]
    pub(crate) what: Vec<String>,
    /// Where to: a file name, an existing folder, or `-` for standard output [default: here, under its own name]
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Also demand this SHA-256 of the whole file; nothing is released before it fits
    #[arg(long, value_name = "HEX", value_parser = parse_sha256)]
    pub(crate) sha256: Option<Sha256Hash>,
    /// Of a folder, only the files that match (repeatable), such as '*.jpg' or 'docs/**'
    #[arg(long, value_name = "GLOB")]
    pub(crate) select: Vec<String>,
    /// Of a folder, not the files that match (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
    /// Replace what is there
    #[arg(long)]
    pub(crate) force: bool,
    /// Wait for a source as long as it takes
    #[arg(long)]
    pub(crate) wait: bool,
    /// Give up after this long without a source or without progress, such as 30s or 5m
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "30s")]
    pub(crate) timeout: Duration,
    /// Do not serve to others what is already here while it is being fetched
    #[arg(long)]
    pub(crate) no_serve: bool,
    /// Which identity to show: `fresh`, a new one each run, or `home`, this home's own
    #[arg(long, value_enum, default_value_t = IdentityArg::Fresh)]
    pub(crate) identity: IdentityArg,
    /// Order of the pieces
    #[arg(long, value_enum, default_value_t = OrderArg::FastestAvailable)]
    pub(crate) order: OrderArg,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// `dignet ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// A ticket, a content hash, a name, or NAME@NODE_ID
    #[arg(value_name = "WHAT")]
    pub(crate) what: String,
    /// Give up after this long without a source
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "30s")]
    pub(crate) timeout: Duration,
    /// Which identity to show
    #[arg(long, value_enum, default_value_t = IdentityArg::Fresh)]
    pub(crate) identity: IdentityArg,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// `dignet relay`.
#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// Introduce peers to each other here; one UDP and one TCP port of that number [default: every address, the port used
    /// last]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Answer STUN here; given twice, with two addresses of this machine, it also lets others find out how their NAT filters
    /// (RFC 5780) [default: where TURN is]
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = parse_stun_addr)]
    pub(crate) stun: Vec<SocketAddr>,
    /// Relay data here, over UDP and TCP (TURN, repeatable) [default: every address, port 3478]
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = parse_stun_addr)]
    pub(crate) turn: Vec<SocketAddr>,
    /// Serve Gun here (repeatable) [default: every address, port 8765]
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = parse_gun_addr)]
    pub(crate) gun: Vec<SocketAddr>,
    /// Another Gun relay that has what is written here and is asked for what is not here (repeatable)
    #[arg(long, value_name = "URL")]
    pub(crate) join: Vec<RelayUrl>,
    /// Serve Gun with TLS (wss://), with this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "gun_key", value_hint = ValueHint::FilePath)]
    pub(crate) gun_cert: Option<PathBuf>,
    /// The private key of --gun-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "gun_cert", value_hint = ValueHint::FilePath)]
    pub(crate) gun_key: Option<PathBuf>,
    /// The address that others use where a router forwards the ports to this machine (one for each family)
    #[arg(long, value_name = "IP")]
    pub(crate) public_ip: Vec<IpAddr>,
    /// Who may relay data (repeatable) [default: a user of this home, with a password made up once]
    #[arg(long, value_name = "USER:PASSWORD")]
    pub(crate) turn_user: Vec<NamedUser>,
    /// Let whoever shows a time-limited credential of this secret relay data, as coturn's static-auth-secret does
    #[arg(
        long,
        env = "DIGNET_TURN_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    pub(crate) turn_secret: Option<String>,
    /// Ports for relayed data [default: 49152-65535]
    #[arg(long, value_name = "FIRST-LAST", value_parser = parse_ports)]
    pub(crate) relay_ports: Option<RangeInclusive<u16>>,
    /// Also relay to this network, though it is not public, such as 192.168.0.0/16 (repeatable)
    #[arg(long, value_name = "NETWORK")]
    pub(crate) allow_peer: Vec<Network>,
    /// Bytes a second that each allocation may relay, such as 500KiB or 2MB [default: no limit]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) limit: Option<u64>,
    /// Show counters here over HTTP, for Prometheus
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
}

/// `dignet doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Try to reach this peer, and say how that went: a ticket, ADDR:PORT, ID@ADDR:PORT, or an ID together with --via or --gun
    #[arg(value_name = "PEER")]
    pub(crate) peer: Option<DoctorPeer>,
    /// Also measure how long the NAT keeps an unused binding; takes up to five minutes
    #[arg(long, conflicts_with = "peer")]
    pub(crate) lifetime: bool,
    #[command(flatten)]
    pub(crate) paths: PathArgs,
}

/// Whom `dignet doctor` tries to reach.
#[derive(Debug, Clone)]
pub(crate) enum DoctorPeer {
    /// Whoever a ticket names first.
    Ticket(Box<Ticket>),
    /// Whoever is there.
    Addr(PeerAddr),
    /// That node, wherever those who introduce it say.
    Node(NodeId),
}

impl FromStr for DoctorPeer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("dig1") || text.starts_with("magnet:") {
            let ticket = text.parse().map_err(|error| format!("{error}"))?;
            return Ok(Self::Ticket(Box::new(ticket)));
        }
        if let Ok(node) = text.parse() {
            return Ok(Self::Node(node));
        }
        let addr = text
            .parse()
            .map_err(|error| format!("{error}; or give a ticket"))?;
        Ok(Self::Addr(addr))
    }
}

/// `dignet id`.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The key to make if this home has none: ed25519, secp256k1 or rsa
    #[arg(long, default_value = "ed25519")]
    pub(crate) algorithm: dig::Algorithm,
}

/// Which identity to show to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IdentityArg {
    /// A new one each run, so that hosts do not learn who fetches what
    Fresh,
    /// This home's own
    Home,
}

/// Order of the pieces (whitepaper 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OrderArg {
    /// Whatever comes soonest
    FastestAvailable,
    /// What the fewest have first, which helps a swarm
    RarestFirst,
    /// From front to back, to use the front early
    Sequential,
}

/// An address of this machine, with the port of STUN unless it says another.
fn parse_stun_addr(text: &str) -> Result<SocketAddr, String> {
    parse_addr(text, 3478)
}

/// An address of this machine, with gun.js's port unless it says another.
fn parse_gun_addr(text: &str) -> Result<SocketAddr, String> {
    parse_addr(text, 8765)
}

fn parse_addr(text: &str, port: u16) -> Result<SocketAddr, String> {
    let ip = || text.trim_matches(['[', ']']).parse().ok();
    let addr = text.parse().ok();
    addr.or_else(|| Some(SocketAddr::new(ip()?, port)))
        .ok_or_else(|| {
            format!("expected an IP address of this machine, such as 192.0.2.1 or 192.0.2.1:{port}")
        })
}

fn parse_sha256(text: &str) -> Result<Sha256Hash, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    hex.parse()
        .map_err(|error: dig::HexError| error.to_string())
}

fn parse_rate(text: &str) -> Result<u64, String> {
    const HELP: &str = "expected bytes a second, such as 250000, 500KiB or 2MB";
    let text = text.strip_suffix("/s").unwrap_or(text);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(HELP.to_owned()),
    };
    match digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
    {
        Some(rate) if rate > 0 => Ok(rate),
        _ => Err(HELP.to_owned()),
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    const HELP: &str = "expected a time, such as 500ms, 30s, 5m or 2h";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let millis: u64 = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(HELP.to_owned()),
    };
    let number = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(millis));
    number
        .map(Duration::from_millis)
        .ok_or_else(|| HELP.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn rates_and_times() {
        for (text, rate) in [
            ("1", 1),
            ("500KiB", 512_000),
            ("2MB", 2_000_000),
            ("1GiB/s", 1 << 30),
        ] {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        for text in ["", "0", "KiB", "1.5MB", "1XB", "99999999999GiB"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        assert!(parse_time("2d").is_err() && parse_time("").is_err());
    }
}
