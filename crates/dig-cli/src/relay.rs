//! `dignet relay`.

mod credentials;
mod gun;
mod metrics;

use crate::{
    args::{Global, RelayArgs},
    exit::{Failure, Kind},
    interrupt::Interrupt,
    node,
    output::Output,
};
use credentials::Credentials;
pub(crate) use credentials::NamedUser;
use dig::{
    Identity, Node,
    nat::{
        stun::{self, Layout},
        turn::{
            serve::{self, ServeError, ServeOptions},
            server::{PeerPolicy, ServerConfig},
        },
    },
};
use gun::Gun;
use metrics::Metrics;
use serde_json::{Map, Value, json};
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

/// The port of STUN and TURN (RFC 8489 §18.6, RFC 8656 §18.7).
const PORT: u16 = 3478;
/// The port of gun.js.
const GUN_PORT: u16 = 8765;
/// How long allocations in use may go on after the first signal: what is being transferred finds another path in less.
const DRAIN: Duration = Duration::from_secs(60);

pub(crate) async fn run(global: &Global, args: RelayArgs, output: &Output) -> Result<(), Failure> {
    let interrupt = Interrupt::listen();
    let services = Services::of(&args);
    let node = match services.rendezvous {
        true => Some(start_node(global, &args).await?),
        false => None,
    };
    let outcome: Result<(), Failure> = async {
        let running = Running {
            node: node.as_ref(),
            turn: start_turn(global, &args, &services).await?,
            stun: start_stun(&services.apart).await?,
            gun: Gun::start(global, &args, &services.gun).await?,
        };
        let ended = work(&running, &args, &services, &interrupt, output).await;
        if let Some(gun) = running.gun {
            gun.stop().await;
        }
        ended
    }
    .await;
    if let Some(node) = node {
        node.stop().await;
    }
    outcome?;
    output.say("Stopped.");
    Ok(())
}

/// Serves until the first signal, and what is in use for a while longer.
async fn work(
    running: &Running<'_>,
    args: &RelayArgs,
    services: &Services,
    interrupt: &Interrupt,
    output: &Output,
) -> Result<(), Failure> {
    let metrics = match args.metrics {
        Some(addr) => Some(Metrics::open(addr).await?),
        None => None,
    };
    announce(args, running, services, metrics.as_ref(), output);
    let serving = async {
        interrupt.wait().await;
        if let Some(turn) = &running.turn {
            drain(&turn.serving, output).await;
        }
    };
    let shown = async {
        match metrics {
            Some(metrics) => metrics.show(|| running.counters()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = serving => {}
        () = shown => {}
    }
    Ok(())
}

/// The services at work.
struct Running<'a> {
    node: Option<&'a Node>,
    turn: Option<Turn>,
    stun: Vec<stun::io::Serving>,
    gun: Option<Gun>,
}

impl Running<'_> {
    /// The counters of all services, as Prometheus reads them.
    fn counters(&self) -> String {
        let turn = self
            .turn
            .as_ref()
            .map(|turn| turn.serving.counters().to_prometheus());
        let gun = self.gun.as_ref().map(Gun::counters);
        turn.into_iter().chain(gun).collect()
    }
}

/// What runs: what was named, or all of it.
#[derive(Debug, PartialEq, Eq)]
struct Services {
    rendezvous: bool,
    /// STUN on sockets of its own.
    apart: Vec<Layout>,
    /// STUN with two addresses on sockets of which TURN has one, too.
    shared: Vec<Layout>,
    turn: Vec<SocketAddr>,
    gun: Vec<SocketAddr>,
}

impl Services {
    fn of(args: &RelayArgs) -> Self {
        let turn_wanted =
            !args.turn.is_empty() || !args.turn_user.is_empty() || args.turn_secret.is_some();
        let gun_wanted = !args.gun.is_empty();
        if args.listen.is_none() && args.stun.is_empty() && !turn_wanted && !gun_wanted {
            return Self {
                rendezvous: true,
                apart: Vec::new(),
                shared: Vec::new(),
                // TURN's port answers STUN as well.
                turn: vec![everywhere(PORT)],
                gun: vec![everywhere(GUN_PORT)],
            };
        }
        let mut gun = args.gun.clone();
        if gun.is_empty() && (!args.join.is_empty() || args.gun_cert.is_some()) {
            gun.push(everywhere(GUN_PORT));
        }
        let mut turn = args.turn.clone();
        if turn.is_empty() && turn_wanted {
            turn.push(everywhere(PORT));
        }
        let is_shared = |layout: &Layout| layout.sockets().iter().any(|addr| turn.contains(addr));
        let (shared, apart) = layouts(&args.stun).into_iter().partition(is_shared);
        Self {
            rendezvous: args.listen.is_some(),
            apart,
            shared,
            turn,
            gun,
        }
    }
}

fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

/// One server for each address; two addresses of one family are one server, which tells more (RFC 5780).
fn layouts(addrs: &[SocketAddr]) -> Vec<Layout> {
    let mut layouts = Vec::new();
    for ipv6 in [false, true] {
        let of_family = addrs.iter().filter(|addr| addr.is_ipv6() == ipv6);
        let of_family: Vec<SocketAddr> = of_family.copied().collect();
        layouts.extend(of_family.chunks(2).map(|pair| match *pair {
            [primary, mut alternate] => {
                // The same port on both addresses leaves the other port to choose.
                if alternate.port() == primary.port() && primary.port() != 0 {
                    let next = alternate.port().checked_add(1);
                    alternate.set_port(next.unwrap_or(u16::MAX - 1));
                }
                Layout::Double { primary, alternate }
            }
            _ => Layout::Single(pair[0]),
        }));
    }
    layouts
}

async fn start_node(global: &Global, args: &RelayArgs) -> Result<Node, Failure> {
    let mut paths = dig::PathOptions::default();
    paths.port_mapping = false;
    let node = Node::builder()
        .home(node::home(global)?)
        .identity(Identity::Home)
        .listen(args.listen)
        .local_discovery(false)
        .paths(paths);
    Ok(node.start().await?)
}

async fn start_stun(layouts: &[Layout]) -> Result<Vec<stun::io::Serving>, Failure> {
    let mut servers = Vec::new();
    for layout in layouts {
        let (primary, alternate) = match *layout {
            Layout::Single(addr) => (addr, None),
            Layout::Double { primary, alternate } => (primary, Some(alternate)),
        };
        servers.push(stun::io::serve(primary, alternate).await?);
    }
    Ok(servers)
}

/// The running TURN server, and what clients are to be told.
struct Turn {
    serving: serve::Serving,
    credentials: Credentials,
}

impl Turn {
    /// What clients are to name, by each transport.
    fn uris(&self) -> Vec<String> {
        let who = self.credentials.for_clients();
        let uris = self.serving.addrs().iter().flat_map(|addr| {
            ["udp", "tcp"].map(|transport| format!("turn:{who}@{addr}?transport={transport}"))
        });
        uris.collect()
    }
}

async fn start_turn(
    global: &Global,
    args: &RelayArgs,
    services: &Services,
) -> Result<Option<Turn>, Failure> {
    if services.turn.is_empty() {
        return Ok(None);
    }
    let home = node::home(global)?;
    let credentials = Credentials::new(&home, &args.turn_user, args.turn_secret.as_ref())?;
    let mut config = ServerConfig::new(credentials.users());
    config.secret = credentials.secret().map(|secret| secret.clone().into());
    config.peers = PeerPolicy::default().allow(args.allow_peer.iter().copied());
    config.quotas.bytes_per_second = args.limit;
    let mut options = ServeOptions::new(services.turn.iter().copied(), config);
    options.stun.clone_from(&services.shared);
    options.public.clone_from(&args.public_ip);
    if let Some(ports) = &args.relay_ports {
        options.ports = ports.clone();
    }
    Ok(Some(Turn {
        serving: serve::serve(options).await?,
        credentials,
    }))
}

/// Lets what is in use go on for a while.
async fn drain(serving: &serve::Serving, output: &Output) {
    serving.drain();
    let in_use = serving.counters().allocations;
    if in_use == 0 {
        return;
    }
    output.event(
        "draining",
        json!({"allocations": in_use, "at_most_ms": DRAIN.as_millis()}),
    );
    output.say(&format!(
        "{in_use} in use; ending when they are done, in {} s at the latest. Ctrl-C again ends at once.",
        DRAIN.as_secs()
    ));
    let _ = tokio::time::timeout(DRAIN, serving.idle()).await;
}

/// An address as others are to name it.
fn told(addr: SocketAddr, public: &[IpAddr]) -> SocketAddr {
    let mut same = public.iter().filter(|ip| ip.is_ipv4() == addr.is_ipv4());
    SocketAddr::new(same.next().copied().unwrap_or(addr.ip()), addr.port())
}

fn each_once<T: PartialEq>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut once = Vec::new();
    for item in items {
        if !once.contains(&item) {
            once.push(item);
        }
    }
    once
}

fn announce(
    args: &RelayArgs,
    running: &Running<'_>,
    services: &Services,
    metrics: Option<&Metrics>,
    output: &Output,
) {
    let told = |addr| told(addr, &args.public_ip);
    let apart = running
        .stun
        .iter()
        .flat_map(|server| server.layout().sockets());
    let shared = services.shared.iter().flat_map(Layout::sockets);
    let turn = running.turn.as_ref();
    let with_turn = turn.into_iter().flat_map(|turn| turn.serving.addrs());
    // Several addresses of this machine may be one to others.
    let stun = each_once(apart.chain(shared).map(told).chain(with_turn.copied()));
    let mut ready = Map::new();
    let mut options = Vec::new();
    if let Some(node) = running.node {
        let addrs = each_once(node.network().addrs().into_iter().map(told));
        options.extend(
            addrs
                .iter()
                .map(|addr| format!("--via {}@{addr}", node.id())),
        );
        ready.insert("node_id".to_owned(), json!(node.id()));
        ready.insert("port".to_owned(), json!(node.port()));
        ready.insert("addrs".to_owned(), json!(addrs));
    }
    options.extend(stun.iter().map(|addr| format!("--stun {addr}")));
    ready.insert("stun".to_owned(), json!(stun));
    let uris = each_once(turn.map(Turn::uris).unwrap_or_default());
    options.extend(uris.iter().map(|uri| format!("--turn '{uri}'")));
    ready.insert("turn".to_owned(), json!(uris));
    let urls = each_once(
        running
            .gun
            .as_ref()
            .map(|gun| gun.urls(told))
            .unwrap_or_default(),
    );
    options.extend(urls.iter().map(|url| format!("--gun {url}")));
    ready.insert("gun".to_owned(), json!(urls));
    if let Some(metrics) = metrics {
        ready.insert("metrics".to_owned(), json!(metrics.addr()));
    }
    output.event("ready", Value::Object(ready));
    output.say("Serving until Ctrl-C. Others add what they need of:\n");
    for option in options {
        output.result(&option);
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let kind = match error {
            ServeError::Config(_) | ServeError::Ports => Kind::Usage,
            _ => Kind::Local,
        };
        Self::new(kind, error)
    }
}

/// A range of ports, such as `49152-65535`.
pub(crate) fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last && first >= 1024 => Ok(first..=last),
        _ => Err("expected ports from 1024 up, such as 49152-65535".to_owned()),
    }
}

#[cfg(test)]
mod tests;
