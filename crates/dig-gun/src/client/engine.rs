//! Runs the client: hands the core what comes, and does what it says.
//!
//! The core is behind a lock that is held for the time of a call and never while waiting; frames are parsed outside of it. What a call leaves to be done
//! is done under the lock too, so that a relay gets its frames in the core's order.

use super::{
    ClientConfig, GetError, PutError, RelayStatus, RelayUrl, Stored, Subscription,
    core::{Core, Moment, Output},
    dial::Dialler,
    link::{self, Line},
    subscription::Mailbox,
};
use crate::{
    graph::Node,
    lex::Query,
    message::{Message, WireLimits},
    value::State,
};
use dig_types::{Clock, Timestamp};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long [`Engine::shut_down`] waits for the connections to be closed.
const GOODBYE: Duration = Duration::from_secs(1);

/// A client that runs.
#[derive(Debug)]
pub(super) struct Engine {
    start: Instant,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    dialler: Dialler,
    limits: WireLimits,
    state: Mutex<Inner>,
    status: watch::Sender<Vec<RelayStatus>>,
    /// The core's deadline may have changed.
    woken: Notify,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Inner {
    core: Core,
    /// The latest state that was given.
    last: State,
    lines: HashMap<u32, Line>,
    puts: HashMap<u64, oneshot::Sender<Result<Stored, PutError>>>,
    gets: HashMap<u64, oneshot::Sender<Result<Vec<Node>, GetError>>>,
    mailboxes: HashMap<u64, Arc<Mailbox>>,
    deadline: Option<Duration>,
    closed: bool,
}

impl Engine {
    /// Starts the client's tasks.
    pub(super) fn start(config: ClientConfig) -> Arc<Self> {
        let limits = WireLimits {
            max_text: config.max_frame,
            ..WireLimits::default()
        };
        let engine = Arc::new(Self {
            start: Instant::now(),
            clock: Arc::clone(&config.clock),
            runtime: Handle::current(),
            dialler: Dialler::new(config.max_frame, config.roots.clone()),
            limits,
            state: Mutex::new(Inner::new(Core::new(config))),
            status: watch::Sender::new(Vec::new()),
            woken: Notify::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        engine.with(|_, _| ());
        let timer = Arc::clone(&engine).keep_time();
        engine.tasks.spawn_on(timer, &engine.runtime);
        engine
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the core, and does what it says.
    fn with<T>(self: &Arc<Self>, call: impl FnOnce(&mut Inner, Moment) -> T) -> T {
        let mut inner = self.lock();
        let at = Moment {
            now: self.start.elapsed(),
            // What this client has written is never of the future to it.
            clock: self.time().max(inner.last),
        };
        let result = call(&mut inner, at);
        while let Some(output) = inner.core.poll_output() {
            self.perform(&mut inner, at, output);
        }
        let deadline = inner.core.deadline();
        let sooner = deadline.is_some_and(|new| inner.deadline.is_none_or(|old| new < old));
        inner.deadline = deadline;
        if sooner {
            self.woken.notify_one();
        }
        result
    }

    fn perform(self: &Arc<Self>, inner: &mut Inner, at: Moment, output: Output) {
        match output {
            Output::Dial(id, url) => {
                if !inner.closed {
                    let link = link::run(Arc::clone(self), id, url, self.stop.clone());
                    self.tasks.spawn_on(link, &self.runtime);
                }
            }
            Output::Send(id, frame) => {
                if let Some(line) = inner.lines.get(&id) {
                    line.send(frame);
                }
            }
            Output::Stored(id, result) => {
                if let Some(waiter) = inner.puts.remove(&id) {
                    // Whoever asked may have lost interest.
                    let _ = waiter.send(result);
                }
            }
            Output::Found(id, result) => {
                if let Some(waiter) = inner.gets.remove(&id) {
                    let _ = waiter.send(result);
                }
            }
            Output::Changed(id, node) => {
                if let Some(mailbox) = inner.mailboxes.get(&id) {
                    mailbox.leave(node);
                }
            }
            Output::Status => {
                let status = inner.core.status(at.now);
                self.status.send_replace(status);
            }
        }
    }

    async fn keep_time(self: Arc<Self>) {
        loop {
            let deadline = self.lock().deadline;
            let due = async {
                match deadline {
                    Some(deadline) => sleep_until(self.start + deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.woken.notified() => {}
                () = due => self.with(|inner, at| inner.core.on_timeout(at)),
            }
        }
    }

    /// The time of day.
    fn time(&self) -> State {
        self.clock.now().into()
    }

    pub(super) fn state(&self) -> State {
        let mut inner = self.lock();
        inner.last = after(inner.last, self.time());
        inner.last
    }

    pub(super) fn add_relay(self: &Arc<Self>, url: RelayUrl) {
        self.with(|inner, _| inner.core.add_relay(url));
    }

    pub(super) async fn put(self: &Arc<Self>, nodes: Vec<Node>) -> Result<Stored, PutError> {
        if is_nothing(&nodes) {
            return Ok(Stored { by: 0 });
        }
        let end = self.with(|inner, at| {
            if inner.closed {
                return Err(PutError::Closed);
            }
            let id = inner.core.put(at, nodes, true)?;
            let (waiter, end) = oneshot::channel();
            inner.puts.insert(id, waiter);
            Ok(end)
        })?;
        end.await.unwrap_or(Err(PutError::Closed))
    }

    pub(super) fn put_soon(self: &Arc<Self>, nodes: Vec<Node>) -> Result<(), PutError> {
        if is_nothing(&nodes) {
            return Ok(());
        }
        self.with(|inner, at| {
            if inner.closed {
                return Err(PutError::Closed);
            }
            inner.core.put(at, nodes, false).map(drop)
        })
    }

    pub(super) async fn once(self: &Arc<Self>, query: Query) -> Result<Vec<Node>, GetError> {
        let end = self.with(|inner, at| {
            if inner.closed {
                return Err(GetError::Closed);
            }
            let id = inner.core.once(at, query)?;
            let (waiter, end) = oneshot::channel();
            inner.gets.insert(id, waiter);
            Ok(end)
        })?;
        end.await.unwrap_or(Err(GetError::Closed))
    }

    pub(super) fn subscribe(self: &Arc<Self>, query: Query) -> Subscription {
        let mailbox = Arc::new(Mailbox::default());
        let id = self.with(|inner, at| {
            if inner.closed {
                mailbox.close();
                return 0;
            }
            let id = inner.core.subscribe(at, query);
            inner.mailboxes.insert(id, Arc::clone(&mailbox));
            id
        });
        Subscription::new(id, mailbox, Arc::clone(self))
    }

    pub(super) fn unsubscribe(self: &Arc<Self>, id: u64) {
        self.with(|inner, _| {
            inner.core.unsubscribe(id);
            inner.mailboxes.remove(&id);
        });
    }

    pub(super) fn status(&self) -> watch::Receiver<Vec<RelayStatus>> {
        self.status.subscribe()
    }

    /// A connection is there.
    pub(super) fn opened(self: &Arc<Self>, id: u32, line: Line) {
        self.with(|inner, at| {
            inner.lines.insert(id, line);
            inner.core.opened(at, id);
        });
    }

    /// A connection is lost, or none came to be.
    pub(super) fn closed(self: &Arc<Self>, id: u32, why: String) {
        self.with(|inner, at| {
            inner.lines.remove(&id);
            inner.core.closed(at, id, why);
        });
    }

    /// A relay sent these.
    pub(super) fn on_messages(self: &Arc<Self>, id: u32, messages: Vec<Message>) {
        if !messages.is_empty() {
            self.with(|inner, at| inner.core.on_messages(at, id, messages));
        }
    }

    pub(super) const fn dialler(&self) -> &Dialler {
        &self.dialler
    }

    pub(super) const fn limits(&self) -> &WireLimits {
        &self.limits
    }

    /// Ends the client. What is queued still goes out if the relay takes it at once.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        // Those who wait find that nobody will answer.
        inner.puts.clear();
        inner.gets.clear();
        for mailbox in inner.mailboxes.values() {
            mailbox.close();
        }
        self.stop.cancel();
        self.tasks.close();
    }

    pub(super) async fn shut_down(&self) {
        self.close();
        // Relays that do not answer are not worth more.
        let _ = timeout(GOODBYE, self.tasks.wait()).await;
    }
}

impl Inner {
    fn new(core: Core) -> Self {
        Self {
            core,
            last: Timestamp::from_millis(0).into(),
            lines: HashMap::new(),
            puts: HashMap::new(),
            gets: HashMap::new(),
            mailboxes: HashMap::new(),
            deadline: None,
            closed: false,
        }
    }
}

fn is_nothing(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| node.fields.is_empty())
}

/// The state of something written now: later than `last`, as gun.js does it in steps of 1/999 ms, which a double can tell apart until the year 6000.
fn after(last: State, now: State) -> State {
    if now > last {
        return now;
    }
    State::new(last.get() + 1.0 / 999.0).unwrap_or(last)
}
