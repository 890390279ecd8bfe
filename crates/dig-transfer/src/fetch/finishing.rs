//! The ends of a fetch: all is here, it was only to be described, or it failed.

use super::{
    FetchDone, FetchError, FetchEvent, Verified,
    driver::{Driver, Event, Phase},
    manifest::ManifestState,
    members::{Checked, Members},
    whole,
    writing::Written,
};
use crate::sink::SinkError;
use dig_types::Sha256Hash;
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long the end of a cancelled fetch waits for the disk.
const CLOSE: Duration = Duration::from_millis(700);

/// The table of a folder gives a false hash for one of its files.
pub(super) fn false_hash(path: &str) -> FetchError {
    FetchError::Malformed(format!("its table has a false hash for {path:?}"))
}

fn unreadable(error: io::Error) -> FetchError {
    let path = PathBuf::from("what was just written");
    FetchError::Sink(Arc::new(SinkError::Io { path, error }))
}

impl Driver {
    /// Everything may be here and written.
    pub(super) fn check_complete(&mut self) {
        let complete = self.stage.as_ref().is_some_and(|stage| stage.left == 0);
        if !matches!(self.phase, Phase::Fetching) || !complete || self.writing.backlog() > 0 {
            return;
        }
        let members = self.members.take().filter(Members::has_left);
        if let (Some(members), Some(reader)) = (members, self.reader.clone()) {
            self.phase = Phase::Hashing;
            self.emit(FetchEvent::Hashing);
            return members.read_back(reader, self.results.clone());
        }
        let (Some(_), Some(layout)) = (self.config.verify_sha256, self.layout.clone()) else {
            return self.commit();
        };
        self.phase = Phase::Hashing;
        self.emit(FetchEvent::Hashing);
        match self.reader.clone() {
            Some(reader) => whole::hash(reader, layout.chunks(), self.results.clone()),
            None => self.writing.whole_sha256(),
        }
    }

    /// The SHA-256 of the whole file is known.
    pub(super) fn sha256(&mut self, result: io::Result<Sha256Hash>) -> Result<(), FetchError> {
        let Some(expected) = self.config.verify_sha256 else {
            return Ok(());
        };
        let found = result.map_err(unreadable)?;
        if found != expected {
            return Err(FetchError::WrongSha256 {
                expected,
                found: Some(found),
            });
        }
        self.verified = Verified::Sha256;
        self.commit();
        Ok(())
    }

    /// The hashes of a folder's files have been looked at.
    pub(super) fn members_checked(&mut self, checked: Checked) -> Result<(), FetchError> {
        match checked {
            Checked::Right => {
                self.phase = Phase::Fetching;
                self.check_complete();
                Ok(())
            }
            Checked::False(path) => Err(false_hash(&path)),
            Checked::Unreadable(error) => Err(unreadable(error)),
        }
    }

    fn commit(&mut self) {
        self.phase = Phase::Committing;
        self.writing.commit();
    }

    /// Why it ends without being done.
    pub(super) fn failure(&self) -> FetchError {
        match self.sources.iter().any(|(_, source)| source.is_open()) {
            true => FetchError::Stalled(self.last_progress.elapsed()),
            false => self.sources.error(),
        }
    }

    pub(super) fn done(&self, path: Option<PathBuf>) -> Option<FetchDone> {
        Some(FetchDone {
            opened: self.opened.clone()?,
            path,
            bytes: self.total,
            fetched: self.fetched,
            wasted: self.wasted,
            elapsed: self.start.elapsed(),
            verified: self.verified,
            sources: self.sources.shares(),
            paths: self.sources.paths().to_vec(),
        })
    }

    /// The end of a fetch that is only to describe.
    pub(super) fn described(&self) -> Option<FetchDone> {
        self.done(None)
    }

    /// Tells the other sides, and lets the disk finish.
    pub(super) async fn close(&mut self, complete: bool) {
        for (_, source) in self.sources.iter() {
            if complete && !self.config.describe_only && source.is_open() {
                source.link.done(self.hash);
            }
            for request in self.flights.of_link(source.link.id()) {
                source.link.cancel(request);
            }
            if let Some(open) = source.open {
                source.link.cancel(open);
            }
        }
        if let ManifestState::Asked(parts) = &self.manifest
            && let Some(source) = self.sources.get(parts.from)
        {
            source.link.cancel(parts.request);
        }
        if let Some(swarm) = &self.swarm {
            swarm.publish();
        }
        if !self.writing.close() {
            return;
        }
        let closed = async {
            while let Some(event) = self.results_in.recv().await {
                if matches!(event, Event::Written(Written::Closed | Written::Failed(_))) {
                    return;
                }
            }
        };
        if timeout(CLOSE, closed).await.is_err() {
            tracing::info!("the disk is slow; what it has not taken is fetched again next time");
        }
    }
}
