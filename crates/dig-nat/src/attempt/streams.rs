//! The TCP connections of one attempt.

use super::{
    event::{Connect, LocalPort, PREAMBLE, StreamFailure, StreamId},
    methods::Dial,
};
use dig_types::Method;
use std::{net::SocketAddr, time::Duration};

/// Streams that were accepted and have not proved themselves.
const MAX_UNPROVED: usize = 8;

/// Streams in all, those that failed included.
const MAX_STREAMS: usize = 64;

/// How far a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// The system tries.
    Connecting,
    /// It is connected; the peer's preamble has not come.
    Connected,
    /// It was accepted before there were keys to check its preamble with.
    Unproved(Box<[u8; PREAMBLE]>),
    /// Both preambles were exchanged.
    Proved,
    /// It is gone.
    Failed(StreamFailure),
    /// It was given up here.
    Abandoned,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    /// `None` until the preamble of an accepted stream says it.
    pub(super) method: Option<Method>,
    pub(super) round: u8,
    /// From which port, for one made by us.
    from: Option<LocalPort>,
    pub(super) remote: SocketAddr,
    not_before: Duration,
    pub(super) rtt: Option<Duration>,
    pub(super) stage: Stage,
}

impl Stream {
    /// Whether the driver still has it.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.stage, Stage::Failed(_) | Stage::Abandoned)
    }

    /// The system says that it is connected.
    pub(super) fn connected(&mut self, now: Duration) {
        self.stage = Stage::Connected;
        self.rtt = Some(now.saturating_sub(self.not_before));
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Streams {
    all: Vec<Stream>,
}

impl Streams {
    /// A new connection, unless the same is being made or there.
    pub(super) fn connect(
        &mut self,
        method: Method,
        round: u8,
        dial: &Dial,
        not_before: Duration,
        timeout: Duration,
    ) -> Option<Connect> {
        let same = |stream: &Stream| {
            let port = stream.from == Some(dial.from) && dial.from != LocalPort::Ephemeral;
            stream.is_alive() && stream.remote == dial.to && (port || stream.method == Some(method))
        };
        if self.all.len() >= MAX_STREAMS || self.all.iter().any(same) {
            return None;
        }
        let id = self.add(
            Some(method),
            round,
            Some(dial.from),
            dial.to,
            not_before,
            Stage::Connecting,
        );
        Some(Connect {
            id,
            from: dial.from,
            to: dial.to,
            not_before,
            timeout,
        })
    }

    /// A stream that the peer made.
    pub(super) fn accept(
        &mut self,
        now: Duration,
        remote: SocketAddr,
        stage: Stage,
    ) -> Option<&mut Stream> {
        let unproved = self
            .all
            .iter()
            .filter(|stream| matches!(stream.stage, Stage::Unproved(_)))
            .count();
        let crowded = matches!(stage, Stage::Unproved(_)) && unproved >= MAX_UNPROVED;
        if crowded || self.all.len() >= MAX_STREAMS {
            return None;
        }
        self.add(None, 0, None, remote, now, stage);
        self.all.last_mut()
    }

    pub(super) fn get(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.all.iter_mut().find(|stream| stream.id == id)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.all.iter_mut()
    }

    /// Streams that this side makes for a method.
    pub(super) fn of(&self, method: Method) -> impl Iterator<Item = &Stream> {
        self.all
            .iter()
            .filter(move |stream| stream.method == Some(method))
    }

    /// Gives up the streams for which that holds; which those were.
    pub(super) fn abandon(&mut self, which: impl Fn(&Stream) -> bool) -> Vec<StreamId> {
        let doomed = self
            .all
            .iter_mut()
            .filter(|stream| stream.is_alive() && which(stream));
        doomed
            .map(|stream| {
                stream.stage = Stage::Abandoned;
                stream.id
            })
            .collect()
    }

    fn add(
        &mut self,
        method: Option<Method>,
        round: u8,
        from: Option<LocalPort>,
        remote: SocketAddr,
        not_before: Duration,
        stage: Stage,
    ) -> StreamId {
        let id = StreamId(self.all.len() as u32);
        self.all.push(Stream {
            id,
            method,
            round,
            from,
            remote,
            not_before,
            rtt: None,
            stage,
        });
        id
    }
}
