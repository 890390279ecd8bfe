//! A relay at work: sockets, HTTP, WebSockets, disk and time around the core.

mod http;
mod join;
mod line;
mod listen;
mod outbox;
mod reads;
mod session;
mod shell;
mod stream;

pub use listen::Tls;

use super::{core::Core, counters::Counters, limits::Limits};
use crate::{
    client::{RelayUrl, dial::Dialler},
    store::{Storage, Writer, WriterLimits},
};
use axum::serve::serve as serve_http;
use dig_types::Timestamp;
use http::House;
use listen::Doors;
use reads::Reads;
use shell::{Committed, Shell};
use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use stream::Peer;
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::spawn_blocking,
    time::{Instant, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Longest wait for threads that read when the relay ends.
const READING: Duration = Duration::from_secs(2);
/// How often the store may forget what nobody wrote for long.
const EXPIRY: Duration = Duration::from_secs(60);

/// A relay to be started.
#[derive(Debug)]
pub struct ServeOptions {
    /// Where it listens; port 0 is any free one. At least one address.
    pub listen: Vec<SocketAddr>,
    /// With it, all of these speak TLS (`wss://`).
    pub tls: Option<Tls>,
    /// Where nodes are kept.
    pub storage: Arc<dyn Storage>,
    /// What it lets others do.
    pub limits: Limits,
    /// Relays that it joins: they hear of every change, and are asked for what is not here.
    pub join: Vec<RelayUrl>,
    /// Certificates in DER that these relays may have, beside those that the system trusts.
    pub join_roots: Vec<Vec<u8>>,
}

impl ServeOptions {
    /// A relay at these addresses, without TLS, with default limits, joined to nobody.
    pub fn new(listen: Vec<SocketAddr>, storage: Arc<dyn Storage>) -> Self {
        Self {
            listen,
            tls: None,
            storage,
            limits: Limits::default(),
            join: Vec::new(),
            join_roots: Vec::new(),
        }
    }
}

/// Starts a relay. It needs a runtime of tokio, and serves until it is shut down or dropped.
pub async fn serve(options: ServeOptions) -> Result<Serving, ServeError> {
    let tls = options.tls.as_ref().map(Tls::acceptor).transpose()?;
    let (sockets, addresses) = listen(&options.listen).await?;
    let [seed, id_seed, join_seed] = random()?;
    let (reads, jobs) = Reads::new();
    let (committed, commits) = mpsc::unbounded_channel();
    let core = Core::new(options.limits.clone(), seed, options.join.len());
    let shell = Shell::new(
        core,
        options.limits,
        id_seed,
        options.storage,
        reads,
        committed,
    );
    let shell = Arc::new(shell);
    reads::start(&shell, jobs).map_err(ServeError::Threads)?;
    shell.set_writer(Some(start_writer(&shell)?));
    let tasks = TaskTracker::new();
    let end = CancellationToken::new();
    let limits = &shell.limits;
    let doors = Doors::open(sockets, tls, limits.connections, limits.unfinished, &tasks);
    let doors = doors.map_err(ServeError::NoAddress)?;
    let house = House {
        shell: Arc::downgrade(&shell),
        tasks: tasks.clone(),
        end: end.clone(),
    };
    let service = http::router(house).into_make_service_with_connect_info::<Peer>();
    let at_end = end.clone();
    tasks.spawn(async move {
        tokio::select! {
            _ = async { serve_http(doors, service).await } => {}
            () = at_end.cancelled() => {}
        }
    });
    tasks.spawn(until(
        end.clone(),
        hear_commits(Arc::clone(&shell), commits),
    ));
    tasks.spawn(until(end.clone(), keep_time(Arc::clone(&shell))));
    tasks.spawn(until(end.clone(), expire(Arc::clone(&shell))));
    join_others(
        &shell,
        options.join,
        options.join_roots,
        join_seed,
        &tasks,
        &end,
    );
    tasks.close();
    Ok(Serving {
        shell,
        addresses,
        tasks,
        end,
    })
}

async fn listen(
    addresses: &[SocketAddr],
) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), ServeError> {
    let mut sockets = Vec::new();
    let mut local = Vec::new();
    for address in addresses {
        let listen = |source| ServeError::Listen {
            address: *address,
            source,
        };
        let socket = TcpListener::bind(address).await.map_err(listen)?;
        local.push(socket.local_addr().map_err(listen)?);
        sockets.push(socket);
    }
    Ok((sockets, local))
}

fn join_others(
    shell: &Arc<Shell>,
    urls: Vec<RelayUrl>,
    roots: Vec<Vec<u8>>,
    seed: u64,
    tasks: &TaskTracker,
    end: &CancellationToken,
) {
    let dialler = Arc::new(Dialler::new(shell.limits.frame, roots));
    for (number, url) in urls.into_iter().enumerate() {
        let seed = seed.wrapping_add(number as u64);
        let (shell, dialler) = (Arc::clone(shell), Arc::clone(&dialler));
        tasks.spawn(join::keep(shell, number, url, dialler, seed, end.clone()));
    }
}

fn start_writer(shell: &Arc<Shell>) -> Result<Writer, ServeError> {
    let limits = WriterLimits {
        // Above what the core lets wait, so that nobody hears that it is busy.
        waiting: usize::MAX,
        waiting_bytes: usize::MAX,
        ..WriterLimits::default()
    };
    let teller = Arc::downgrade(shell);
    let forgotten = move |souls| {
        if let Some(shell) = teller.upgrade() {
            shell.tell(|core, _| core.forgotten(souls));
        }
    };
    Writer::start(Arc::clone(&shell.storage), limits, forgotten).map_err(ServeError::Threads)
}

/// Tells the core of commits.
async fn hear_commits(shell: Arc<Shell>, mut commits: mpsc::UnboundedReceiver<Committed>) {
    let mut done = Vec::new();
    while commits.recv_many(&mut done, 1024).await > 0 {
        shell.tell(|core, _| {
            for committed in done.drain(..) {
                core.committed(committed);
            }
        });
        shell.made_room();
    }
}

async fn keep_time(shell: Arc<Shell>) {
    shell.keep_time().await;
}

/// Lets the store forget.
async fn expire(shell: Arc<Shell>) {
    let mut tick = interval(EXPIRY);
    loop {
        tick.tick().await;
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        shell.expire(Timestamp::from_millis(0) + since);
    }
}

async fn until(end: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = task => {}
        () = end.cancelled() => {}
    }
}

fn random<const N: usize>() -> Result<[u64; N], ServeError> {
    let mut seeds = [0; N];
    for seed in &mut seeds {
        *seed = getrandom::u64().map_err(|error| ServeError::Random(error.to_string()))?;
    }
    Ok(seeds)
}

/// A relay at work; it ends when this is dropped, and ends well when it is [shut down](Serving::shutdown).
#[derive(Debug)]
pub struct Serving {
    shell: Arc<Shell>,
    addresses: Vec<SocketAddr>,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Serving {
    /// Where it listens, in the order of [`ServeOptions::listen`].
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it did so far.
    pub fn counters(&self) -> Counters {
        self.shell.counters()
    }

    /// What it did so far, in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.counters().to_prometheus()
    }

    /// Ends every connection, writes what is to be written, and returns when all of it is on the disk.
    pub async fn shutdown(self) {
        self.end.cancel();
        self.tasks.wait().await;
        if let Some(writer) = self.shell.set_writer(None) {
            // It fails if it panicked, which is reported there.
            let _ = spawn_blocking(move || writer.close()).await;
        }
        // Threads that were reading let go of the store, which may be opened again then.
        let end = Instant::now() + READING;
        while Arc::strong_count(&self.shell) > 1 && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Why a relay cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened at.
    #[error(
        "cannot listen at {address} ({source}); is another program there? Name another port, or stop it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no address to listen at.
    #[error("a relay listens somewhere ({0}); name an address and a port")]
    NoAddress(#[source] io::Error),
    /// The certificate or its key is not good.
    #[error("cannot use {} ({reason}); it must be a PEM file, and certificate and key must belong together", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no more threads.
    #[error("cannot start a thread ({0}); the system has too many")]
    Threads(#[source] io::Error),
    /// The system has no randomness.
    #[error("the system gives no random numbers ({0})")]
    Random(String),
}
