//! A pair of sites in a laboratory of its own, a peer that introduces, and one download after the other.

use super::{
    Conditions,
    dignet::{Dignet, Program},
};
use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use dig_lab::{Coturn, CoturnSpec, Habit, Lab, Machine, Site, SiteKind};
use serde_json::Value;
use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// No download takes longer, whether it succeeds or not.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a program may take to be ready.
const READY: Duration = Duration::from_secs(10);
/// Where the peer that introduces listens: a port of the web, so that everybody reaches it.
const RENDEZVOUS: u16 = 443;
/// Where STUN is answered, and TURN served over UDP.
const STUN: u16 = 3478;
/// Where TURN is served over TCP for those who reach nothing but the web.
const WEB: u16 = 80;
/// What a download is slowed down to whose path is given time to become better, in bytes a second.
const SLOW: u32 = 256 << 10;
/// What comes at once in spite of that: what is asked for first is paid for afterwards.
const AHEAD: usize = 1 << 20;

/// Who downloads from whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    /// The site of `dignet share`.
    pub(super) host: SiteKind,
    /// The site of `dignet get`.
    pub(super) getter: SiteKind,
    /// Of the routers of both.
    pub(super) habit: Habit,
    /// Both machines are in the host's site.
    pub(super) together: bool,
    /// Who relays between them.
    pub(super) turn: Turn,
}

/// Who relays what cannot go directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Turn {
    /// Nobody.
    None,
    /// `dignet relay`.
    Relay,
    /// coturn.
    Coturn,
}

/// What both programs are told besides.
#[derive(Debug, Clone, Default)]
pub(super) struct Manner {
    /// `--methods`
    pub(super) methods: Option<String>,
    /// `--strategy`
    pub(super) strategy: Option<String>,
    /// `--timeout` of the getter.
    pub(super) timeout: Option<Duration>,
    /// Whether both are told who relays.
    pub(super) relayed: bool,
    /// How long the download is to take at least, so that its path has time to become better.
    pub(super) at_least: Option<Duration>,
}

/// A download that ended well, its bytes compared.
#[derive(Debug, Clone)]
pub(super) struct Download {
    /// The first path that was usable.
    pub(super) first: Way,
    /// The path at the end, often the same; of several direct ones at the end, the first, which would have been enough.
    pub(super) last: Way,
    /// From the start of the command to the file.
    pub(super) to_file: Duration,
}

/// A path that data took.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) method: String,
    /// Not over a relay.
    pub(super) direct: bool,
    pub(super) transport: String,
    /// From the moment both sides knew of each other to this path; without signaling, from the first dial.
    pub(super) after_signaling: Duration,
}

/// `dignet relay` on the public segment, whoever else relays there, and how they are named to others.
struct Introducer {
    relay: Dignet,
    via: Vec<(IpAddr, String)>,
    stun: Vec<String>,
    /// Whoever relays, best first.
    turn: Vec<(IpAddr, String)>,
    _coturn: Option<Coturn>,
}

/// Both sites, with everything that serves several downloads.
pub(super) struct Scene<'a> {
    // Dropped first: programs end before their network does.
    introducer: Introducer,
    host: Machine,
    getter: Machine,
    sites: Vec<Site>,
    program: &'a Program,
    dir: PathBuf,
    /// Between the sites, measured; what was configured where nothing can be measured.
    pub(super) round_trip: Duration,
    size: usize,
    seed: u64,
    downloads: u64,
    _lab: Lab,
}

impl Pair {
    /// Its name in tables and of its folder.
    pub(super) fn name(&self) -> String {
        let together = if self.together { " (one network)" } else { "" };
        format!("{} to {}{together}", self.host.name(), self.getter.name())
    }
}

/// The word of `--habit`.
pub(super) const fn habit_name(habit: Habit) -> &'static str {
    match habit {
        Habit::Drop => "drop",
        Habit::Reject => "reject",
    }
}

impl<'a> Scene<'a> {
    /// Builds the sites of a pair and starts the peer that introduces; everything of it goes to `dir`.
    pub(super) fn build(
        pair: &Pair,
        conditions: &Conditions,
        program: &'a Program,
        dir: PathBuf,
    ) -> anyhow::Result<Self> {
        let lab = Lab::with_seed(conditions.seed)?;
        let site = |kind: SiteKind, name| {
            let spec = kind.with_habit(pair.habit);
            let spec = match conditions.uplink() {
                Some(link) => spec.with_link(link),
                None => spec,
            };
            lab.site(spec, name)
        };
        let mut sites = vec![site(pair.host, "host")?];
        let host = sites[0].host(0)?;
        let getter = if pair.together {
            sites[0].host(1)?
        } else {
            sites.push(site(pair.getter, "getter")?);
            sites[1].host(0)?
        };
        let server = lab.server(0)?;
        let coturn = match pair.turn {
            Turn::Coturn => Some(lab.coturn_with(&lab.server(1)?, CoturnSpec::new().also(WEB))?),
            Turn::None | Turn::Relay => None,
        };
        let introducer =
            Introducer::start(&server, coturn, pair.turn, program, &dir.join("relay"))?;
        let configured = Duration::from_millis(conditions.delay);
        let legs = [&host, &getter].map(|machine| round_trip(machine, &server));
        let measured = legs[0].zip(legs[1]).map(|(one, other)| one + other);
        Ok(Self {
            introducer,
            host,
            getter,
            sites,
            program,
            dir,
            round_trip: measured.unwrap_or(configured),
            size: conditions.size,
            seed: conditions.seed,
            downloads: 0,
            _lab: lab,
        })
    }

    /// One download between two fresh homes, through routers that remember nothing. The error is why there is no file.
    pub(super) fn download(&mut self, manner: &Manner) -> anyhow::Result<Download> {
        self.downloads += 1;
        for site in &self.sites {
            site.forget()?;
        }
        let dir = self.dir.join(format!("{}", self.downloads));
        let (original, copy) = (dir.join("original"), dir.join("copy"));
        std::fs::create_dir_all(&dir)?;
        let size = manner.at_least.map_or(self.size, |time| {
            let slow = time.as_secs_f64() * f64::from(SLOW);
            self.size.max(AHEAD + slow as usize)
        });
        let bytes = noise(size, self.seed ^ self.downloads << 32);
        std::fs::write(&original, &bytes)?;
        let mut host = self.share(&dir, manner, &original)?;
        let (_, ready) = host
            .event("ready", Instant::now() + READY)
            .context("dignet share")?;
        let ticket = ready["ticket"].as_str().context("share shows no ticket")?;
        let outcome = self.get(&dir, manner, ticket, &copy);
        host.stop().context("dignet share")?;
        let download = outcome?;
        ensure!(std::fs::read(&copy)? == bytes, "the copy is another file");
        // What failed stays until the scene ends; so does the rest for whoever wants logs.
        if !self.program.keeps_logs() {
            std::fs::remove_dir_all(&dir)?;
        }
        Ok(download)
    }

    fn share(&self, dir: &Path, manner: &Manner, original: &Path) -> anyhow::Result<Dignet> {
        let mut args = vec!["share".to_owned()];
        args.extend(self.told(&self.host, manner));
        args.push(original.display().to_string());
        Dignet::start(&self.host, self.program, &dir.join("share"), &args)
    }

    fn get(
        &self,
        dir: &Path,
        manner: &Manner,
        ticket: &str,
        copy: &Path,
    ) -> anyhow::Result<Download> {
        let mut args = vec!["get".to_owned()];
        args.extend(self.told(&self.getter, manner));
        if let Some(timeout) = manner.timeout {
            args.extend(["--timeout".to_owned(), format!("{}ms", timeout.as_millis())]);
        }
        if manner.at_least.is_some() {
            args.extend(["--limit".to_owned(), SLOW.to_string()]);
        }
        args.extend([
            "--output".to_owned(),
            copy.display().to_string(),
            ticket.to_owned(),
        ]);
        let mut getter = Dignet::start(&self.getter, self.program, &dir.join("get"), &args)?;
        let deadline = getter.started + LIMIT;
        let (finished, _) = getter.event("done", deadline)?;
        let code = getter.wait(deadline)?;
        ensure!(code == Some(0), "it was done, but ended with {code:?}");
        Download::read(&getter, finished - getter.started)
    }

    /// What both programs are told alike.
    fn told(&self, machine: &Machine, manner: &Manner) -> Vec<String> {
        let mut told = vec!["--no-local".to_owned()];
        let speaks = |address: &IpAddr| {
            let mut own = machine.addresses().iter();
            own.any(|own| own.is_ipv4() == address.is_ipv4())
        };
        let Introducer {
            via, stun, turn, ..
        } = &self.introducer;
        for (_, via) in via.iter().filter(|(address, _)| speaks(address)) {
            told.extend(["--via".to_owned(), via.clone()]);
        }
        for stun in stun {
            told.extend(["--stun".to_owned(), stun.clone()]);
        }
        let turn = turn.iter().filter(|(address, _)| speaks(address));
        for (_, turn) in turn.filter(|_| manner.relayed) {
            told.extend(["--turn".to_owned(), turn.clone()]);
        }
        told.extend(manner.arguments());
        told
    }

    /// Copies what every program wrote to this folder.
    pub(super) fn keep_logs(&self, place: &Path) -> anyhow::Result<()> {
        if place.exists() {
            std::fs::remove_dir_all(place)?;
        }
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        // Not moved: the folders may be on different file systems.
        let mut copy = Command::new("cp");
        let status = copy.arg("-r").args([&self.dir, place]).status()?;
        ensure!(status.success(), "the logs cannot be copied");
        Ok(())
    }

    /// Ends everything and removes its files.
    pub(super) fn end(self) -> anyhow::Result<()> {
        let Self {
            introducer, dir, ..
        } = self;
        introducer.relay.stop().context("dignet relay")?;
        Ok(std::fs::remove_dir_all(dir)?)
    }
}

impl Manner {
    fn arguments(&self) -> impl Iterator<Item = String> {
        let option = |name: &str, value: &Option<String>| {
            let value = value.clone()?;
            Some([format!("--{name}"), value])
        };
        let methods = option("methods", &self.methods);
        let strategy = option("strategy", &self.strategy);
        methods.into_iter().chain(strategy).flatten()
    }
}

impl Download {
    fn read(getter: &Dignet, to_file: Duration) -> anyhow::Result<Self> {
        let mut connected = getter.seen("connected");
        let (began, first) = connected.next().context("no `connected`")?;
        let first = Way::read(first)?;
        let mut last = first.clone();
        for (came, event) in connected {
            let way = Way::read(event)?;
            if way.direct != last.direct {
                // Its own time is that of an attempt of its own.
                let after_signaling = first.after_signaling + (*came - *began);
                last = Way {
                    after_signaling,
                    ..way
                };
            }
        }
        Ok(Self {
            first,
            last,
            to_file,
        })
    }
}

impl Way {
    fn read(connected: &Value) -> anyhow::Result<Self> {
        let text = |name: &str| {
            let value = connected[name].as_str().map(str::to_owned);
            value.with_context(|| format!("no {name} in {connected}"))
        };
        let millis = |name: &str| connected[name].as_f64();
        let after = millis("after_signaling_ms").or_else(|| millis("elapsed_ms"));
        Ok(Self {
            method: text("method")?,
            direct: text("path")? == "direct",
            transport: text("transport")?,
            after_signaling: Duration::from_secs_f64(after.context("no times")? / 1000.0),
        })
    }
}

impl Introducer {
    /// Starts it, with STUN at both IPv4 addresses of the server, and with TURN if it is the one who relays.
    fn start(
        server: &Machine,
        coturn: Option<Coturn>,
        turn: Turn,
        program: &Program,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let families: Vec<IpAddr> = server.main_addresses().collect();
        let v4 = (server.addresses().iter()).filter(|address| address.is_ipv4());
        let stun: Vec<String> = v4
            .map(|address| SocketAddr::new(*address, STUN).to_string())
            .collect();
        let listen = format!("[::]:{RENDEZVOUS}");
        let mut args = ["relay", "--listen", &listen].map(str::to_owned).to_vec();
        for stun in &stun {
            args.extend(["--stun".to_owned(), stun.clone()]);
        }
        let mut relays = Vec::new();
        if turn == Turn::Relay {
            for at in turn_addresses(&families).map(|(at, _)| at.to_string()) {
                args.extend(["--turn".to_owned(), at]);
            }
            let who = format!("{}:{}", Coturn::USER, Coturn::PASSWORD);
            args.extend(["--turn-user".to_owned(), who]);
            relays.clone_from(&families);
        }
        if let Some(coturn) = &coturn {
            relays.extend(coturn.machine().main_addresses());
        }
        let mut relay = Dignet::start(server, program, dir, &args)?;
        let (_, ready) = relay
            .event("ready", Instant::now() + READY)
            .context("dignet relay")?;
        let id = ready["node_id"].as_str().context("relay shows no id")?;
        let via = |address| {
            let at = SocketAddr::new(address, RENDEZVOUS);
            (address, format!("{id}@{at}"))
        };
        let turn = turn_addresses(&relays).map(|(at, transport)| {
            let (user, password) = (Coturn::USER, Coturn::PASSWORD);
            let uri = format!("turn:{user}:{password}@{at}?transport={transport}");
            (at.ip(), uri)
        });
        Ok(Self {
            relay,
            via: families.into_iter().map(via).collect(),
            stun,
            turn: turn.collect(),
            _coturn: coturn,
        })
    }
}

/// Where TURN is served at these addresses, and by which transport it is meant to be used there.
fn turn_addresses(ips: &[IpAddr]) -> impl Iterator<Item = (SocketAddr, &'static str)> + '_ {
    ips.iter().flat_map(|ip| {
        [(STUN, "udp"), (WEB, "tcp")]
            .map(|(port, transport)| (SocketAddr::new(*ip, port), transport))
    })
}

/// The shortest of three connections to where the peer that introduces listens; `None` where none gets there.
fn round_trip(machine: &Machine, server: &Machine) -> Option<Duration> {
    let connect = |address: IpAddr| {
        let begun = Instant::now();
        let to = SocketAddr::new(address, RENDEZVOUS);
        TcpStream::connect_timeout(&to, Duration::from_secs(2)).ok()?;
        Some(begun.elapsed())
    };
    let same = |address: &&IpAddr| {
        machine
            .address()
            .is_some_and(|own| own.is_ipv4() == address.is_ipv4())
    };
    let address = *server.addresses().iter().find(same)?;
    let times = machine.enter(|| std::array::from_fn::<_, 3, _>(|_| connect(address)));
    times.ok()?.into_iter().flatten().min()
}

/// Bytes that nothing can shorten.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed ^ 0x9E37_79B9_7F4A_7C15;
    let mut bytes = vec![0; size];
    for byte in &mut bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state.to_le_bytes()[3];
    }
    bytes
}
