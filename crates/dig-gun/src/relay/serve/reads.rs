//! Threads that read from the store.

use super::shell::Shell;
use crate::{graph::Node, lex::Query, store::Storage, value::Soul};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

/// Threads: one may wait for the disk while the other finds in memory.
const THREADS: usize = 2;
/// What is read before the core is told, in nodes and bytes.
const AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 2 << 20;
/// Bytes of nodes in the answer to a query by pattern.
const FOUND: usize = 4 << 20;

/// Something to be read.
#[derive(Debug)]
pub(super) enum Job {
    /// A node.
    Load(Soul),
    /// The nodes of a query by pattern.
    Find(u64, Query),
}

/// Where jobs are left. The threads end when it is dropped.
#[derive(Debug)]
pub(super) struct Reads {
    jobs: Sender<Job>,
}

impl Reads {
    /// Where jobs are left, and where they are fetched.
    pub(super) fn new() -> (Self, Receiver<Job>) {
        let (jobs, fetch) = mpsc::channel();
        (Self { jobs }, fetch)
    }

    /// Leaves a job.
    pub(super) fn send(&self, job: Job) {
        // It fails after the end, when nobody waits for the answer.
        let _ = self.jobs.send(job);
    }
}

/// Starts the threads.
pub(super) fn start(shell: &Arc<Shell>, jobs: Receiver<Job>) -> io::Result<()> {
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..THREADS {
        let shell = Arc::downgrade(shell);
        let jobs = Arc::clone(&jobs);
        thread::Builder::new()
            .name("gun-reader".to_owned())
            .spawn(move || run(&shell, &jobs))?;
    }
    Ok(())
}

fn run(shell: &Weak<Shell>, jobs: &Mutex<Receiver<Job>>) {
    loop {
        // Whoever holds the lock waits for the next job; the others wait for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let (Ok(job), Some(shell)) = (job, shell.upgrade()) else {
            return;
        };
        work(&shell, jobs, job);
    }
}

fn work(shell: &Shell, jobs: &Mutex<Receiver<Job>>, first: Job) {
    let mut loaded = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(job) = next.take() {
        match job {
            Job::Load(soul) => {
                let node = load(&*shell.storage, &soul);
                bytes += node
                    .as_ref()
                    .ok()
                    .and_then(Option::as_ref)
                    .map_or(0, Node::weight);
                loaded.push((soul, node));
            }
            Job::Find(find, query) => {
                let found = shell.storage.find(&query, FOUND);
                let nodes = found.map(|found| found.nodes).unwrap_or_default();
                shell.tell(|core, _| core.found(find, nodes));
            }
        }
        if loaded.len() < AT_ONCE && bytes < BYTES_AT_ONCE {
            // If another thread waits for jobs, there are none.
            next = jobs.try_lock().ok().and_then(|jobs| jobs.try_recv().ok());
        }
    }
    if !loaded.is_empty() {
        shell.tell(|core, now| core.loaded(now, loaded));
        shell.made_room();
    }
}

fn load(storage: &dyn Storage, soul: &Soul) -> Result<Option<Node>, Arc<str>> {
    storage.load(soul).map_err(|error| {
        tracing::warn!(%error, "cannot read a node");
        Arc::from(error.to_string())
    })
}
