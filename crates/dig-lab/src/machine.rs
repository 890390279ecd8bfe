//! A machine: a network namespace with addresses, in which programs and closures run.

use nix::sched::{CloneFlags, setns};
use std::{
    ffi::OsStr,
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    sync::Arc,
    thread,
};

/// A machine of a laboratory; clones are the same machine.
///
/// It may outlive its laboratory, but then it has no network and no process can be started in it any more.
#[derive(Debug, Clone)]
pub struct Machine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    path: PathBuf,
    network: File,
    processes: Arc<File>,
    addresses: Vec<IpAddr>,
}

impl Machine {
    /// Opens the machine whose network namespace stands at `path`.
    pub(crate) fn open(
        name: String,
        path: PathBuf,
        processes: Arc<File>,
        addresses: Vec<IpAddr>,
    ) -> Result<Self, MachineError> {
        let network = File::open(&path).map_err(|error| MachineError::Gone {
            name: name.clone(),
            error,
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                name,
                path,
                network,
                processes,
                addresses,
            }),
        })
    }

    /// Its name, unique in the laboratory.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// A path at which this process, and whoever may look into its `/proc`, opens the network namespace.
    #[must_use]
    pub fn namespace(&self) -> &Path {
        &self.inner.path
    }

    /// Every address of its own, the main one of each family first.
    #[must_use]
    pub fn addresses(&self) -> &[IpAddr] {
        &self.inner.addresses
    }

    /// Its main IPv4 address: a private one behind a NAT.
    #[must_use]
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.inner
            .addresses
            .iter()
            .find_map(|address| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })
    }

    /// Its main IPv6 address: a global one.
    #[must_use]
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        self.inner
            .addresses
            .iter()
            .find_map(|address| match address {
                IpAddr::V6(address) => Some(*address),
                IpAddr::V4(_) => None,
            })
    }

    /// Its main address, IPv4 where it has one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.ipv4()
            .map(IpAddr::V4)
            .or_else(|| self.ipv6().map(IpAddr::V6))
    }

    /// Its main address of each family that it has, IPv4 first.
    pub fn main_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let families = [self.ipv4().map(IpAddr::V4), self.ipv6().map(IpAddr::V6)];
        families.into_iter().flatten()
    }

    /// [`Self::address`] with a port.
    #[must_use]
    pub fn at(&self, port: u16) -> Option<SocketAddr> {
        self.address().map(|address| SocketAddr::new(address, port))
    }

    /// Runs `work` on a thread that stands in this machine's network: sockets made there, and by threads begun there, belong to it.
    /// A panic in it goes on here.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, MachineError> {
        self.on_thread(|| {
            setns(&self.inner.network, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
    }

    /// Starts a program of this machine: in its network, and in the laboratory's process namespace, so that it ends with the
    /// laboratory at the latest. The child is the program itself: its number, signals and status are the program's.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, MachineError> {
        self.inside(|| command.spawn())
    }

    /// Runs a program of this machine to its end; see [`Self::spawn`].
    pub fn output(&self, command: &mut Command) -> Result<Output, MachineError> {
        self.inside(|| command.output())
    }

    /// Runs a program and returns what it wrote to its standard output; any status but success is an error.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: &[S],
    ) -> Result<String, MachineError> {
        let output = self.output(Command::new(program).args(arguments))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(MachineError::Failed {
            program: program.to_owned(),
            name: self.inner.name.clone(),
            status: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// A command that enters this machine's network by itself, for code that has to start it on its own. The child's number is the
    /// program's. Started by [`Self::spawn`] it ends with the laboratory; started otherwise it does not, and keeps the network
    /// namespace (not its connections) until it ends.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, program: S) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.inner.path.display()))
            .arg("--")
            .arg(program);
        command
    }

    fn inside<T: Send>(
        &self,
        start: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, MachineError> {
        self.on_thread(|| {
            setns(&self.inner.network, CloneFlags::CLONE_NEWNET)?;
            // This moves no thread: it decides where the next child of this thread is born.
            setns(&*self.inner.processes, CloneFlags::CLONE_NEWPID)?;
            start()
        })
    }

    fn on_thread<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> Result<T, MachineError> {
        let name = &self.inner.name;
        let result = thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name(format!("lab {name}"))
                .spawn_scoped(scope, work)?;
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        result.map_err(|error| MachineError::Enter {
            name: name.clone(),
            error,
        })
    }
}

/// Why a machine did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// There is no such network namespace (any more).
    #[error("the network of machine {name} cannot be opened: {error}")]
    Gone {
        /// The machine.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// No thread could enter it, or no program be started there: no root rights, no such program, or the laboratory has ended.
    #[error("nothing can be started on machine {name}: {error}")]
    Enter {
        /// The machine.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// A program ended without success.
    #[error("{program} on machine {name} ended with {status}: {output}")]
    Failed {
        /// The program.
        program: String,
        /// The machine.
        name: String,
        /// Its status.
        status: String,
        /// What it wrote to its standard error.
        output: String,
    },
}
