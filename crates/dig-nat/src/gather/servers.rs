//! STUN servers: asked by datagram, and over a connection from the port that listens.

use super::Shared;
use crate::{
    candidate::Transport,
    io::{TcpPort, Trial, canonical},
    stun::io::query_stream,
};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tokio::time::timeout;

/// A connection that is not there by then: the server does not do TCP, or a firewall does not.
const CONNECT: Duration = Duration::from_secs(3);
/// A name that is not found by then is left out.
const RESOLVE: Duration = Duration::from_secs(3);
/// Addresses that are asked: more of them tell nothing new.
const MOST: usize = 8;

/// The servers, and the connections to them. These stay open from one question to the next, because a NAT keeps the mapping of a
/// TCP port as long as a connection uses it.
#[derive(Debug)]
pub(super) struct Servers {
    names: Vec<String>,
    streams: BTreeMap<SocketAddr, Trial>,
}

/// A question to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// By what.
    pub(super) transport: Transport,
    /// Whom.
    pub(super) server: SocketAddr,
    /// Its place among the questions that were sent in order, if the answer is one to the first sending.
    pub(super) place: Option<usize>,
}

/// What came of a question.
struct Answered {
    asked: Asked,
    mapped: Option<SocketAddr>,
    stream: Option<Trial>,
}

impl Servers {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self {
            names,
            streams: BTreeMap::new(),
        }
    }

    /// Closes the connections.
    pub(super) fn hang_up(&mut self) {
        self.streams.clear();
    }

    /// Asks every server, all at once; each answer counts when it is there.
    pub(super) async fn ask(&mut self, shared: &Shared) {
        let mut asking: FuturesUnordered<BoxFuture<'_, Answered>> = FuturesUnordered::new();
        for (place, server) in self.resolve(shared.udp).await.into_iter().enumerate() {
            // They are polled, and so sent, in the order in which they are pushed.
            asking.push(by_datagram(shared, server, place).boxed());
            if let Some(port) = &shared.tcp {
                let stream = self.streams.remove(&server);
                asking.push(by_stream(port, server, stream).boxed());
            }
        }
        self.streams.clear();
        while let Some(answered) = asking.next().await {
            shared.seen(answered.asked, answered.mapped);
            if let Some(stream) = answered.stream {
                self.streams.insert(answered.asked.server, stream);
            }
        }
    }

    async fn resolve(&self, bound: SocketAddr) -> Vec<SocketAddr> {
        let lookups = self.names.iter().map(|name| async move {
            match timeout(RESOLVE, tokio::net::lookup_host(name)).await {
                Ok(Ok(addrs)) => pick(addrs, bound),
                Ok(Err(error)) => {
                    tracing::debug!(%name, %error, "no such STUN server");
                    Vec::new()
                }
                Err(_) => {
                    tracing::debug!(%name, "the name of a STUN server was not found in time");
                    Vec::new()
                }
            }
        });
        let mut found: Vec<SocketAddr> = Vec::new();
        for addr in futures::future::join_all(lookups).await.concat() {
            if !found.contains(&addr) && found.len() < MOST {
                found.push(addr);
            }
        }
        found
    }
}

async fn by_datagram(shared: &Shared, server: SocketAddr, place: usize) -> Answered {
    let answer = shared.hub.ask(server).await;
    if let Err(error) = &answer {
        tracing::debug!(%server, %error, "no answer from the STUN server");
    }
    let answer = answer.ok();
    let first = answer.is_some_and(|answer| answer.sent == 1);
    Answered {
        asked: Asked {
            transport: Transport::Udp,
            server,
            place: first.then_some(place),
        },
        mapped: answer.map(|answer| answer.mapped),
        stream: None,
    }
}

/// Asks over the connection that is there, or over a new one.
async fn by_stream(port: &TcpPort, server: SocketAddr, known: Option<Trial>) -> Answered {
    let asked = Asked {
        transport: Transport::Tcp,
        server,
        place: None,
    };
    let mut answered = Answered {
        asked,
        mapped: None,
        stream: None,
    };
    if let Some(mut stream) = known
        && let Ok(mapped) = query_stream(stream.get_mut()).await
    {
        (answered.mapped, answered.stream) = (Some(mapped), Some(stream));
        return answered;
    }
    let connected = timeout(CONNECT, port.connect(server)).await;
    let Ok(Ok(stream)) = connected else {
        tracing::debug!(%server, "no connection to the STUN server");
        return answered;
    };
    let mut stream = Trial::new(stream);
    match query_stream(stream.get_mut()).await {
        Ok(mapped) => (answered.mapped, answered.stream) = (Some(mapped), Some(stream)),
        Err(error) => tracing::debug!(%server, %error, "no answer over TCP"),
    }
    answered
}

/// One address of each family in which the port can send.
fn pick(addrs: impl Iterator<Item = SocketAddr>, bound: SocketAddr) -> Vec<SocketAddr> {
    let mut picked: Vec<SocketAddr> = Vec::new();
    for addr in addrs.map(canonical) {
        let sends = match bound {
            SocketAddr::V6(bound) => addr.is_ipv6() || bound.ip().is_unspecified(),
            SocketAddr::V4(_) => addr.is_ipv4(),
        };
        if sends && picked.iter().all(|other| other.is_ipv4() != addr.is_ipv4()) {
            picked.push(addr);
        }
    }
    picked
}
