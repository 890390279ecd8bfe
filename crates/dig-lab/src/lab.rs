//! A laboratory: an internet of one router, a public segment, and sites.

use crate::{
    address::{MACHINES, Network, SITES},
    coturn::{Coturn, CoturnSpec},
    holder::{Holder, HolderError},
    machine::{Machine, MachineError},
    site::{AT_ONCE, Place, ROUTES, Site, SiteSpec},
    tun::TunError,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

/// The programs without which there is no laboratory, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 4] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
];

/// The name of the namespace in which the internet's router stands.
pub(crate) const INTERNET: &str = "internet";

/// A laboratory. Dropping it ends every process in it and removes every trace; so does the end, however it comes, of the process
/// that made it. Any number can exist at once; none of them sees another, or the machine's own network.
///
/// ```no_run
/// use dig_lab::{Habit, Lab, SiteKind};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lab = Lab::new()?;
/// let home = lab.site(SiteKind::PortRestricted.with_habit(Habit::Reject), "home")?;
/// let laptop = home.host(0)?;
/// let server = lab.server(0)?;
/// let socket = laptop.enter(|| std::net::UdpSocket::bind("0.0.0.0:5000"))??;
/// socket.send_to(b"hello", server.at(7).ok_or("no address")?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Lab {
    holder: Arc<Holder>,
    seed: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sites: u8,
    names: BTreeSet<String>,
    servers: BTreeMap<u8, Machine>,
}

impl Lab {
    /// An empty laboratory, with the seed of the environment variable `DIG_LAB_SEED`, else 1.
    pub fn new() -> Result<Self, LabError> {
        let seed = std::env::var("DIG_LAB_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        Self::with_seed(seed.unwrap_or(1))
    }

    /// An empty laboratory whose links and user-space NATs draw from this seed.
    pub fn with_seed(seed: u64) -> Result<Self, LabError> {
        let holder = Holder::start()?;
        let servers = Network::SERVERS.assign(1, "lan0");
        holder.run(&format!(
            "ip netns attach {INTERNET} 1\n(\n{AT_ONCE}{ROUTES})\nip -batch - <<'B'\nlink set lo up\n\
             link add lan0 type bridge mcast_snooping 0\nlink set lan0 up\n{servers}B\n"
        ))?;
        Ok(Self {
            holder: Arc::new(holder),
            seed,
            state: Mutex::default(),
        })
    }

    /// A laboratory for a test: `None`, with the reason on standard error, where none can be made, so that the test may pass
    /// without having tested anything; but not where `CI` is set, and not silently.
    ///
    /// # Panics
    ///
    /// Where `CI` is set and there can be no laboratory, or if it cannot be built although there can be one.
    #[must_use]
    pub fn for_test() -> Option<Self> {
        match Self::available() {
            Ok(()) => match Self::new() {
                Ok(lab) => Some(lab),
                Err(error) => panic!("{error}"),
            },
            Err(reason) if std::env::var_os("CI").is_some() => panic!("{reason}"),
            Err(reason) => {
                eprintln!("SKIPPED: {reason}");
                None
            }
        }
    }

    /// Whether there can be a laboratory here, or why not. Tried once a process.
    pub fn available() -> Result<(), Unavailable> {
        static TRIED: OnceLock<Result<(), Unavailable>> = OnceLock::new();
        TRIED.get_or_init(Self::attempt).clone()
    }

    fn attempt() -> Result<(), Unavailable> {
        for (program, package) in PROGRAMS {
            if Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_err()
            {
                return Err(Unavailable::Program { program, package });
            }
        }
        // Everything at once: namespaces, a pair of interfaces, a bridge, and a rule that translates.
        let attempt = "mount -t proc proc /proc && ip link add name left type veth peer name right && ip link add name middle type bridge &&
            printf 'table inet t {\\nchain c {\\ntype nat hook postrouting priority 100\\nmasquerade\\n}\\n}\\n' | nft -f -";
        let output = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                attempt,
            ])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Unavailable::Refused(error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Unavailable::Refused(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }

    /// The seed; a test that fails should print it.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Builds a site. Its name is one to ten lower-case letters, digits or hyphens, and its own.
    pub fn site(&self, spec: impl Into<SiteSpec>, name: &str) -> Result<Site, LabError> {
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty()
            || name.len() > 10
            || !name.chars().all(valid)
            || [INTERNET, "server"].contains(&name)
        {
            return Err(LabError::Name {
                name: name.to_owned(),
            });
        }
        let number = {
            let mut state = self.state();
            if state.sites == SITES {
                return Err(LabError::TooMany);
            }
            if !state.names.insert(name.to_owned()) {
                return Err(LabError::Name {
                    name: name.to_owned(),
                });
            }
            state.sites += 1;
            state.sites
        };
        Site::build(
            Arc::clone(&self.holder),
            number,
            name,
            spec.into(),
            self.seed,
        )
    }

    /// Machine `n` (0 to 99) of the public segment, built when first asked for. It has two addresses of each family, as a STUN
    /// server that tells behaviours apart needs (RFC 5780 §6), and is one router away from every site.
    pub fn server(&self, n: u8) -> Result<Machine, LabError> {
        let mut state = self.state();
        if let Some(machine) = state.servers.get(&n) {
            return Ok(machine.clone());
        }
        if n >= MACHINES {
            return Err(LabError::TooMany);
        }
        let segment = Place {
            holder: &self.holder,
            switch: INTERNET,
            network: Network::SERVERS,
        };
        let machine = segment.machine(format!("server-{n}"), n, 2)?;
        state.servers.insert(n, machine.clone());
        Ok(machine)
    }

    /// Starts coturn on a machine of the public segment that runs no other one.
    pub fn coturn(&self, machine: &Machine) -> Result<Coturn, LabError> {
        self.coturn_with(machine, CoturnSpec::new())
    }

    /// The same with other settings.
    pub fn coturn_with(&self, machine: &Machine, spec: CoturnSpec) -> Result<Coturn, LabError> {
        Coturn::start(Arc::clone(&self.holder), machine.clone(), spec)
    }

    /// Ends every process in it and removes everything, as dropping does.
    pub fn end(self) {}

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.holder.end();
    }
}

/// Why there can be no laboratory on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unavailable {
    /// A program is missing.
    Program {
        /// Its name.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// The system refused namespaces, interfaces or rules; what it said.
    Refused(String),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program { program, package } => {
                write!(
                    f,
                    "no laboratory here: {program} is missing; install the package {package}"
                )
            }
            Self::Refused(reason) => write!(
                f,
                "no laboratory here: network namespaces with NAT need root on Linux with veth, bridge and nftables ({reason})"
            ),
        }
    }
}

impl std::error::Error for Unavailable {}

/// Why a laboratory, or a part of it, was not built.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The holder failed.
    #[error(transparent)]
    Holder(#[from] HolderError),
    /// A machine failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The name is taken or not allowed.
    #[error(
        "{name:?} cannot name a site: take one to ten letters a-z, digits or hyphens that no other site has"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A user-space device failed.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// There are as many already as the address plan allows.
    #[error("the address plan has no room for more")]
    TooMany,
    /// An interface did not come up.
    #[error("an interface of the laboratory carries nothing: {0}")]
    Carrier(std::io::Error),
    /// A router's connection table could not be emptied.
    #[error("the router's connections cannot be forgotten: {0}")]
    Forget(std::io::Error),
    /// A daemon was not ready in time.
    #[error("{program} was not ready in time (Debian package {package}); its log: {log}")]
    Daemon {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
        /// What it wrote.
        log: String,
    },
}
