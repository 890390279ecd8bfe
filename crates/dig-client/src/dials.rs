//! The dials of one download: which are still trying, and which only look for better paths.

use crate::connector::Dial;
use dig_types::PeerRecord;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream, SelectAll},
};
use std::collections::BTreeMap;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What one stream says; `None` is its end.
type News = (u64, Option<Dial>);

/// Streams of dials, told apart.
#[derive(Default)]
pub(crate) struct Dials {
    streams: SelectAll<BoxStream<'static, News>>,
    open: BTreeMap<u64, Dialling>,
    last: u64,
}

/// A stream that has not ended.
#[derive(Debug)]
struct Dialling {
    peer: PeerRecord,
    /// All that was known of the peer has been tried.
    settled: bool,
    _stopped_with_it: DropGuard,
}

impl Dials {
    /// Takes a stream for this peer.
    pub(crate) fn add(&mut self, peer: PeerRecord, dials: BoxStream<'static, Dial>) {
        self.last += 1;
        let (id, stop) = (self.last, CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        let news = dials
            .take_until(stopped)
            .map(Some)
            .chain(stream::iter([None]));
        self.streams.push(news.map(move |news| (id, news)).boxed());
        let dialling = Dialling {
            peer,
            settled: false,
            _stopped_with_it: stop.drop_guard(),
        };
        self.open.insert(id, dialling);
    }

    /// What one of them says next, or `None` for one that has ended, or nothing if all have. Cancelling it loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Option<Dial>> {
        loop {
            let (id, dial) = self.streams.next().await?;
            match (&dial, self.open.get_mut(&id)) {
                // What a stream said before it was stopped counts no more.
                (Some(_), None) => continue,
                (Some(dial), Some(dialling)) => {
                    dialling.settled |= matches!(dial, Dial::Settled);
                }
                (None, _) => {
                    self.open.remove(&id);
                }
            }
            return Some(dial);
        }
    }

    /// Whether something that is known of a peer has not been tried yet.
    pub(crate) fn are_trying(&self) -> bool {
        self.open.values().any(|dialling| !dialling.settled)
    }

    /// Whether a peer is being looked after, be it only for a better path.
    pub(crate) fn look_after(&self, same: impl Fn(&PeerRecord) -> bool) -> bool {
        self.open.values().any(|dialling| same(&dialling.peer))
    }

    /// Whether all have ended.
    pub(crate) fn are_over(&self) -> bool {
        self.open.is_empty()
    }

    /// Stops those of some peers.
    pub(crate) fn stop(&mut self, which: impl Fn(&PeerRecord) -> bool) {
        self.open.retain(|_, dialling| !which(&dialling.peer));
    }
}
