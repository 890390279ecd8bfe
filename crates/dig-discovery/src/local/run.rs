//! One search under way: drives [`Search`] with the clock, the directory and the questions.

use super::{
    LocalConfig,
    budget::DialBudget,
    directory::Directory,
    lock,
    search::{Ask, Search},
};
use crate::{
    discovery::{Found, Lookup},
    query::{Answer, NodeQuery, QueryError},
};
use futures::{
    Stream, StreamExt,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

type Asked = (Ask, Result<Answer, QueryError>);

/// A search. Dropping it ends its questions.
pub(super) struct Run {
    query: Arc<dyn NodeQuery>,
    query_timeout: Duration,
    lookup: Lookup,
    search: Search,
    budget: Arc<Mutex<DialBudget>>,
    directory: watch::Receiver<Directory>,
    started: Instant,
    questions: FuturesUnordered<BoxFuture<'static, Asked>>,
    ready: VecDeque<Found>,
}

impl Run {
    pub(super) fn new(
        config: &LocalConfig,
        query: Arc<dyn NodeQuery>,
        budget: Arc<Mutex<DialBudget>>,
        mut directory: watch::Receiver<Directory>,
        started: Instant,
        lookup: Lookup,
    ) -> Self {
        directory.mark_changed();
        Self {
            query,
            query_timeout: config.query_timeout,
            search: Search::new(lookup.clone(), config.max_nodes, config.concurrency),
            lookup,
            budget,
            directory,
            started,
            questions: FuturesUnordered::new(),
            ready: VecDeque::new(),
        }
    }

    /// What is found, until the daemon ends.
    pub(super) fn into_stream(self) -> impl Stream<Item = Found> + Send {
        stream::unfold(self, |mut run| async move {
            let found = run.next().await?;
            Some((found, run))
        })
    }

    async fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Some(found);
            }
            self.ask();
            let wake = self.search.wake();
            let wake_at = self.started + wake.unwrap_or_default();
            tokio::select! {
                Some((ask, answer)) = self.questions.next(), if !self.questions.is_empty() => {
                    self.answered(&ask, answer);
                }
                changed = self.directory.changed() => {
                    changed.ok()?;
                    let now = self.started.elapsed();
                    let moved = self.search.sync(now, &self.directory.borrow_and_update());
                    self.ready.extend(moved);
                }
                () = sleep_until(wake_at), if wake.is_some() => {}
            }
        }
    }

    fn ask(&mut self) {
        let now = self.started.elapsed();
        let mut budget = lock(&self.budget);
        while let Some(ask) = self.search.next(now, &mut budget) {
            tracing::debug!(node = ask.name, addrs = ?ask.addrs, "asking a node of the local network");
            let answer = self.query.resolve(ask.addrs.clone(), self.lookup.clone());
            let answer = timeout(self.query_timeout, answer);
            self.questions.push(Box::pin(async move {
                let answer = answer.await.unwrap_or(Err(QueryError::TimedOut));
                (ask, answer)
            }));
        }
    }

    fn answered(&mut self, ask: &Ask, answer: Result<Answer, QueryError>) {
        tracing::debug!(node = ask.name, ?answer, "answer from the local network");
        let silent = matches!(answer, Err(QueryError::Unreachable | QueryError::TimedOut));
        if !silent {
            let mut budget = lock(&self.budget);
            ask.addrs.iter().for_each(|addr| budget.answered(addr));
        }
        let now = self.started.elapsed();
        self.ready.extend(self.search.answered(now, ask, answer));
    }
}
