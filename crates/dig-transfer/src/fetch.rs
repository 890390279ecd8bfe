//! Fetches one content over many links.
//!
//! - Nothing is believed: what a holder says of the content must have the content's hash, a manifest its root, entries must
//!   lead there, and chunks must hash to their entries. Who sends anything else is banned and named; what it sent before was
//!   verified and stays. Refusals, slowness and broken links never ban.
//! - Chunks are hashed in batches and written in order of arrival, both where blocking is allowed; the tasks in between hold
//!   at most [`FetchConfig::budget`] bytes, counted from the request to the write.
//! - The first link asks for the description, the manifest and the first mebibyte at once; that much may wait unverified.
//! - A folder's table is fetched first, each group proved up to the root.

use crate::{
    lane::Carrier,
    link::{Link, LinkId},
    sink::{ContentSink, SinkError},
    store::ContentStore,
    table::Table,
};
use dig_types::{ContentHash, ContentKind, ContentName, NodeId, Sha256Hash};
use driver::Driver;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use std::{
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{broadcast, mpsc, watch};

mod asking;
mod chunks;
mod config;
mod driver;
mod finishing;
mod flight;
mod hashing;
mod manifest;
mod members;
mod meter;
mod opening;
mod sources;
mod stage;
mod swarm;
mod whole;
mod writing;

pub use config::{FetchConfig, PathFilter};

/// Events that a slow reader of [`Fetch::events`] may be behind before it misses some.
const EVENTS: usize = 1_024;

/// Makes the sink once it is known what comes, for instance what its name is.
pub type MakeSink = Box<dyn FnOnce(&Opened) -> Result<Box<dyn ContentSink>, SinkError> + Send>;

/// A [`MakeSink`] of a sink that is there already.
pub fn to(sink: impl ContentSink + 'static) -> MakeSink {
    Box::new(|_| Ok(Box::new(sink)))
}

/// What a content is, verified but for the name.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Opened {
    /// What is fetched.
    pub hash: ContentHash,
    /// File or folder.
    pub kind: ContentKind,
    /// Bytes of the file, or of all files together.
    pub size: u64,
    /// Files: 1, or those that the table lists, directories not counted.
    pub files: u64,
    /// What its holder calls it: a hint.
    pub name: Option<ContentName>,
    /// What a folder holds.
    pub table: Option<Arc<Table>>,
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Verified bytes of what is wanted, those of earlier runs included.
    pub bytes: u64,
    /// Bytes wanted.
    pub total: u64,
    /// Bytes a second over the last seconds, those of earlier runs excluded.
    pub rate: u64,
    /// Peers that data came from within the last two seconds.
    pub peers: usize,
}

/// News of a fetch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FetchEvent {
    /// It is known what comes; nothing has been written yet.
    Opened(Opened),
    /// An earlier run left this much, verified.
    Resumed {
        /// Bytes.
        bytes: u64,
    },
    /// How far it is; every 150 ms while something changes.
    Progress(Progress),
    /// A node sent something false. It is not asked again.
    Banned {
        /// Which.
        node: NodeId,
        /// What it did.
        reason: String,
    },
    /// A link ended, or its node does not give the content (any more).
    LinkLost {
        /// Whose.
        node: NodeId,
        /// Why.
        reason: String,
        /// Whether the node was asked and does not give the content, so that another link to it would be vain.
        refused: bool,
    },
    /// There are links, but none has anything that is still missing, or none delivers.
    Stalled,
    /// There is no link left to ask.
    NoPeers {
        /// Why the last ones were lost.
        reasons: Vec<String>,
    },
    /// A link has been silent for ten seconds: another one to that node may serve better.
    Redial {
        /// Whose.
        node: NodeId,
    },
    /// From now on the chunks of a node come over this link: it is the first, or measures better than the last.
    Active {
        /// Whose.
        node: NodeId,
        /// Which.
        link: LinkId,
    },
    /// All is here; the SHA-256 of the whole file is being computed.
    Hashing,
}

/// What proves that a content is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verified {
    /// Every chunk led to the content hash.
    Tree,
    /// So it did, and the whole file has the SHA-256 that was asked for.
    Sha256,
}

/// What came over one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathShare {
    /// From whom.
    pub node: NodeId,
    /// Where it is, if that can be said.
    pub remote: Option<SocketAddr>,
    /// What carried it.
    pub carrier: Carrier,
    /// Whether a relay stood between.
    pub relayed: bool,
    /// Bytes that were used.
    pub bytes: u64,
}

/// A finished fetch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FetchDone {
    /// What it is.
    pub opened: Opened,
    /// Where it is; `None` if it has no path, or was only described.
    pub path: Option<PathBuf>,
    /// Bytes wanted, all of which are here.
    pub bytes: u64,
    /// Bytes of chunks that this run received and used.
    pub fetched: u64,
    /// Bytes of chunks that came a second time or too late, or were false. No chunk is asked for once it is verified; what comes
    /// twice was asked of a second source because the first had fallen silent or was slow.
    pub wasted: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// What proves it.
    pub verified: Verified,
    /// Who sent how many of the bytes used, most first.
    pub sources: Vec<(NodeId, u64)>,
    /// The same by path, in the order in which they were first used; lanes of one peer over one kind of path count together.
    pub paths: Vec<PathShare>,
}

/// Why a fetch failed. What was verified is kept, so that it can be resumed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Every node that was asked says that it does not have it.
    #[error("none of the nodes that were asked has it")]
    NotFound,
    /// Who had it says that it changed, and nobody else has it.
    #[error("what was shared has changed, and nobody else has it; ask for a new ticket")]
    Changed,
    /// Nobody is left to ask.
    #[error(
        "the connection was lost, and nobody else has it ({reasons}); run the command again to go on"
    )]
    NoPeers {
        /// What happened to the last ones.
        reasons: String,
    },
    /// There are links, but nothing that is missing came for longer than allowed.
    #[error("nothing came for {} s; run the command again to go on", .0.as_secs())]
    Stalled(Duration),
    /// What came was false, and nobody else has it.
    #[error(
        "node {node} sends false data ({reason}), and nobody else has it; get it from another node"
    )]
    Verification {
        /// Who sent it.
        node: NodeId,
        /// What was false.
        reason: String,
    },
    /// Every chunk is right, but the file does not have the SHA-256 that was asked for.
    #[error("the file's SHA-256 is {}, not {expected}; it was not released", .found.map_or_else(|| "not defined".to_owned(), |hash| hash.to_string()))]
    WrongSha256 {
        /// What was asked for.
        expected: Sha256Hash,
        /// What it is; `None` for a folder, which has none.
        found: Option<Sha256Hash>,
    },
    /// The content contradicts itself: whoever made it is to blame, not who sent it.
    #[error("the content is malformed ({0}); whoever shares it must share it again")]
    Malformed(String),
    /// Larger than taken.
    #[error("the content has {size} bytes, more than the {max} that are taken")]
    TooLarge {
        /// Its size.
        size: u64,
        /// What is taken.
        max: u64,
    },
    /// It cannot be written.
    #[error(transparent)]
    Sink(Arc<SinkError>),
    /// The nodes that have it do not give it.
    #[error("node {node} refuses: {text}")]
    Refused {
        /// Who.
        node: NodeId,
        /// What it says, without control characters.
        text: String,
    },
    /// It was cancelled.
    #[error("cancelled; what is verified is kept, run the command again to go on")]
    Cancelled,
}

type Outcome = Option<Result<FetchDone, FetchError>>;

/// What the handle tells the task.
enum Command {
    Link(Arc<Link>),
    Cancel,
    GiveUp,
    Limit(Option<u64>),
}

/// One content being fetched. Dropping it cancels.
pub struct Fetch {
    commands: mpsc::UnboundedSender<Command>,
    events: broadcast::Sender<FetchEvent>,
    /// Holds what happens before the first reader of the events comes.
    first_reader: Mutex<Option<broadcast::Receiver<FetchEvent>>>,
    store: watch::Receiver<Option<Arc<dyn ContentStore>>>,
    outcome: watch::Receiver<Outcome>,
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").finish_non_exhaustive()
    }
}

impl Fetch {
    /// Starts to fetch a content. The sink is made once it is known what comes, where blocking is allowed ([`to`] takes one
    /// that is there already). Links come by [`add_link`](Self::add_link). Call it in a tokio runtime.
    pub fn start(hash: ContentHash, config: FetchConfig, make_sink: MakeSink) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (events, first_reader) = broadcast::channel(EVENTS);
        let (store_to, store) = watch::channel(None);
        let (outcome_to, outcome) = watch::channel(None);
        let driver = Driver::new(hash, config, make_sink, inbox, events.clone(), store_to);
        tokio::spawn(async move {
            let outcome = driver.run().await;
            // Nobody waiting is no error.
            let _ = outcome_to.send(Some(outcome));
        });
        Self {
            commands,
            events,
            first_reader: Mutex::new(Some(first_reader)),
            store,
            outcome,
        }
    }

    /// Fetches over this link too. A link may serve several fetches; one that is known already is ignored.
    pub fn add_link(&self, link: Arc<Link>) {
        self.command(Command::Link(link));
    }

    /// News. The first reader gets all from the start, as far as 1,024 events last; later ones what comes from now on.
    pub fn events(&self) -> BoxStream<'static, FetchEvent> {
        let first = self
            .first_reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let receiver = first.unwrap_or_else(|| self.events.subscribe());
        let outcome = self.outcome.clone();
        stream::unfold(
            (receiver, outcome),
            |(mut receiver, mut outcome)| async move {
                loop {
                    let event = tokio::select! {
                        biased;
                        event = receiver.recv() => event,
                        // The handle keeps the channel open beyond the end of the fetch.
                        _ = outcome.wait_for(Option::is_some) => match receiver.try_recv() {
                            Ok(event) => Ok(event),
                            Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                                Err(broadcast::error::RecvError::Lagged(missed))
                            }
                            Err(_) => return None,
                        },
                    };
                    match event {
                        Ok(event) => return Some((event, (receiver, outcome))),
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return None,
                    }
                }
            },
        )
        .boxed()
    }

    /// What is here already, to be served to others: add it to a [`Server`](crate::serve::Server). `None` before the content is
    /// opened, and where what was written cannot be read back.
    pub fn store(&self) -> Option<Arc<dyn ContentStore>> {
        self.store.borrow().clone()
    }

    /// Waits for [`store`](Self::store); `None` if there will be none.
    pub async fn served(&self) -> Option<Arc<dyn ContentStore>> {
        let mut store = self.store.clone();
        let store = store.wait_for(Option::is_some).await.ok()?;
        store.clone()
    }

    /// Changes the limit of bytes a second.
    pub fn set_limit(&self, rate: Option<u64>) {
        self.command(Command::Limit(rate));
    }

    /// Ends the fetch; what is verified is synced and kept.
    pub fn cancel(&self) {
        self.command(Command::Cancel);
    }

    /// Ends the fetch as failed, with the error that what happened calls for: no more links will come.
    pub fn give_up(&self) {
        self.command(Command::GiveUp);
    }

    /// Waits for the end.
    pub async fn finished(&self) -> Result<FetchDone, FetchError> {
        let mut outcome = self.outcome.clone();
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(FetchError::Cancelled)),
            Err(_) => Err(FetchError::Cancelled),
        }
    }

    fn command(&self, command: Command) {
        // After the end there is nothing to tell.
        let _ = self.commands.send(command);
    }
}
