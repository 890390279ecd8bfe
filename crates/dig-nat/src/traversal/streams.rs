//! The TCP connections of one attempt.

use crate::{
    attempt::{Connect, LocalPort, PREAMBLE, StreamEvent, StreamFailure, StreamId},
    io::{Arrived, FreshPort, TcpPort, Trial},
};
use futures::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use std::{collections::BTreeMap, io, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

/// 64 bytes always fit into the buffer of a new connection: one that takes longer is broken.
const WRITE: Duration = Duration::from_millis(200);

/// Connects, exchanges preambles, and closes what is not kept.
#[derive(Debug)]
pub(super) struct Streams {
    port: Option<TcpPort>,
    fresh: Vec<Option<FreshPort>>,
    live: BTreeMap<StreamId, Live>,
    running: FuturesUnordered<BoxFuture<'static, Option<(StreamId, Happened)>>>,
}

#[derive(Debug)]
struct Live {
    /// Stops what runs for it: connecting, or reading the preamble.
    stop: AbortHandle,
    stream: Option<Arc<Trial>>,
}

#[derive(Debug)]
enum Happened {
    Connected(Trial),
    Preamble([u8; PREAMBLE]),
    Failed(io::Error),
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.live.values().for_each(|live| live.stop.abort());
    }
}

impl Streams {
    pub(super) fn new(port: Option<TcpPort>, fresh: Vec<FreshPort>) -> Self {
        Self {
            port,
            fresh: fresh.into_iter().map(Some).collect(),
            live: BTreeMap::new(),
            running: FuturesUnordered::new(),
        }
    }

    /// Begins to connect. The attempt's clock began at `start`.
    pub(super) fn connect(&mut self, connect: Connect, start: Instant) {
        let Connect {
            id,
            from,
            to,
            not_before,
            timeout: patience,
        } = connect;
        let dial: BoxFuture<'static, io::Result<Trial>> = match (from, &self.port) {
            (LocalPort::Ephemeral, _) => {
                async move { TcpStream::connect(to).await.map(Trial::new) }.boxed()
            }
            (LocalPort::Listening, Some(port)) => {
                let port = port.clone();
                async move { port.connect(to).await.map(Trial::new) }.boxed()
            }
            (LocalPort::Fresh(number), _) => {
                match self.fresh.get_mut(number).and_then(Option::take) {
                    Some(port) => async move { port.connect(to).await.map(Trial::new) }.boxed(),
                    None => no_port("this port was used before"),
                }
            }
            (LocalPort::Listening, None) => no_port("this node has no TCP port"),
        };
        let begin = start + not_before;
        self.run(id, None, async move {
            tokio::time::sleep_until(begin).await;
            let ended = timeout(patience, dial).await;
            match ended.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => Happened::Connected(stream),
                Err(error) => Happened::Failed(error),
            }
        });
    }

    /// Takes over an accepted stream, whose preamble has been read; its two ends.
    pub(super) fn accept(&mut self, id: StreamId, arrived: Arrived) {
        let (_, stop) = abortable(std::future::ready(()));
        let stream = Some(Arc::new(arrived.stream));
        self.live.insert(id, Live { stop, stream });
    }

    /// Writes a preamble.
    pub(super) async fn write(&mut self, id: StreamId, bytes: &[u8]) -> io::Result<()> {
        let stream = self.live.get(&id).and_then(|live| live.stream.clone());
        let stream = stream.ok_or(io::ErrorKind::NotConnected)?;
        let written = timeout(WRITE, write_all(stream.get(), bytes)).await;
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Closes a stream by a reset, or stops connecting.
    pub(super) fn abandon(&mut self, id: StreamId) {
        if let Some(live) = self.live.remove(&id) {
            live.stop.abort();
        }
    }

    /// The stream of a path.
    pub(super) fn keep(&mut self, id: StreamId) -> Option<TcpStream> {
        let live = self.live.remove(&id)?;
        live.stop.abort();
        Arc::into_inner(live.stream?)?.keep().ok()
    }

    /// The next thing that happens to one of them; for ever pending if there is nothing left to happen.
    pub(super) async fn next(&mut self) -> (StreamId, StreamEvent) {
        loop {
            if self.running.is_empty() {
                return std::future::pending().await;
            }
            let Some(Some((id, happened))) = self.running.next().await else {
                continue;
            };
            if let Some(event) = self.judge(id, happened) {
                return (id, event);
            }
        }
    }

    fn judge(&mut self, id: StreamId, happened: Happened) -> Option<StreamEvent> {
        if !self.live.contains_key(&id) {
            return None;
        }
        let failed = |error: &io::Error| StreamEvent::Failed(failure(error));
        Some(match happened {
            Happened::Connected(stream) => {
                let ends = stream.get().local_addr().and_then(|local| {
                    let remote = stream.get().peer_addr()?;
                    Ok((local, remote))
                });
                match ends {
                    Ok((local, remote)) => {
                        let stream = Arc::new(stream);
                        self.read(id, stream);
                        StreamEvent::Connected { local, remote }
                    }
                    Err(error) => {
                        self.live.remove(&id);
                        failed(&error)
                    }
                }
            }
            Happened::Preamble(bytes) => StreamEvent::Preamble(bytes),
            Happened::Failed(error) => {
                self.live.remove(&id);
                failed(&error)
            }
        })
    }

    fn read(&mut self, id: StreamId, stream: Arc<Trial>) {
        let reader = Arc::clone(&stream);
        self.run(id, Some(stream), async move {
            let mut preamble = [0; PREAMBLE];
            match read_exact(reader.get(), &mut preamble).await {
                Ok(()) => Happened::Preamble(preamble),
                Err(error) => Happened::Failed(error),
            }
        });
    }

    fn run(
        &mut self,
        id: StreamId,
        stream: Option<Arc<Trial>>,
        task: impl Future<Output = Happened> + Send + 'static,
    ) {
        let (task, stop) = abortable(task);
        self.live.insert(id, Live { stop, stream });
        self.running
            .push(task.map(move |ended| Some((id, ended.ok()?))).boxed());
    }
}

fn no_port(why: &'static str) -> BoxFuture<'static, io::Result<Trial>> {
    let error = io::Error::new(io::ErrorKind::AddrNotAvailable, why);
    std::future::ready(Err(error)).boxed()
}

fn failure(error: &io::Error) -> StreamFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => StreamFailure::Refused,
        io::ErrorKind::TimedOut => StreamFailure::TimedOut,
        io::ErrorKind::UnexpectedEof => StreamFailure::Closed,
        _ => StreamFailure::Other(error.to_string()),
    }
}

async fn read_exact(stream: &TcpStream, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => buffer = &mut buffer[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
