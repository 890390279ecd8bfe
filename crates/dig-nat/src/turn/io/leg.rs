//! Chooses a server, keeps a line to it, and chooses again when that is lost.

use super::{
    line::{Line, LineError, World},
    link::LinkError,
    relays::Board,
};
use crate::turn::{TurnServer, client::ClientError};
use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    net::lookup_host,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

/// How long the system may look for a server's addresses.
const LOOKUP: Duration = Duration::from_secs(5);
/// Addresses of a server that are tried.
const ADDRESSES: usize = 3;

/// What legs are told. Changes of it wake them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Orders {
    /// How many want allocations.
    pub(super) wanted: usize,
    /// Counts the changes of the network.
    pub(super) networks: u64,
    pub(super) closing: bool,
}

impl Orders {
    pub(super) const fn is_wanted(self) -> bool {
        self.wanted > 0 && !self.closing
    }
}

/// Has an allocation on one server after the other, while one is wanted.
pub(super) async fn run(board: Arc<Board>, mut orders: watch::Receiver<Orders>) {
    loop {
        let now = *orders.borrow_and_update();
        if now.closing {
            return;
        }
        let wait = if now.is_wanted() {
            match board.choose(Instant::now()) {
                Ok(index) => {
                    serve(&board, index, &mut orders).await;
                    continue;
                }
                Err(again) => again,
            }
        } else {
            None
        };
        let again = async {
            match wait {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = again => {}
            changed = orders.changed() => if changed.is_err() {
                return;
            }
        }
    }
}

/// One stay on a server.
async fn serve(board: &Board, index: usize, orders: &mut watch::Receiver<Orders>) {
    let server = &board.servers[index];
    board.say(index, "connecting");
    let mut stay = Stay {
        board,
        index,
        server,
        was_up: false,
    };
    let ended = stay.run(orders).await;
    let state = match &ended {
        Ok(()) => "idle".to_owned(),
        Err(error) => explain(server, error),
    };
    if let Err(error) = &ended {
        tracing::debug!(%server, %error, "no relay");
    }
    let again = board.leave(index, ended.is_err(), stay.was_up, Instant::now());
    board.say(
        index,
        &match again {
            Some(pause) if pause >= Duration::from_secs(1) => {
                format!("{state}; tried again in {} s", pause.as_secs())
            }
            _ => state,
        },
    );
}

struct Stay<'a> {
    board: &'a Board,
    index: usize,
    server: &'a TurnServer,
    was_up: bool,
}

impl Stay<'_> {
    async fn run(&mut self, orders: &mut watch::Receiver<Orders>) -> Result<(), LegError> {
        let found = timeout(
            LOOKUP,
            lookup_host((self.server.host(), self.server.port())),
        )
        .await;
        let found = found.map_err(|_| LegError::NoName(io::ErrorKind::TimedOut.into()))?;
        let addresses: Vec<_> = found.map_err(LegError::NoName)?.take(ADDRESSES).collect();
        let mut error = LegError::NoName(io::ErrorKind::NotFound.into());
        for address in addresses {
            match self.at(address, orders).await {
                Ok(()) => return Ok(()),
                Err(lost) if self.was_up => return Err(lost),
                Err(refused) => error = refused,
            }
            if !orders.borrow().is_wanted() {
                return Ok(());
            }
        }
        Err(error)
    }

    /// At one address; and where that sends us, once (RFC 8489 §10), and from a fresh port if the one we had was known there (437).
    async fn at(
        &mut self,
        mut address: SocketAddr,
        orders: &mut watch::Receiver<Orders>,
    ) -> Result<(), LegError> {
        let (mut redirected, mut mismatched) = (false, false);
        loop {
            match self.line(address, orders).await {
                Err(LineError::Client(ClientError::Redirected(to))) if !redirected => {
                    (address, redirected) = (to, true);
                }
                Err(LineError::Client(ClientError::Mismatch)) if !self.was_up && !mismatched => {
                    mismatched = true;
                }
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn line(
        &mut self,
        address: SocketAddr,
        orders: &mut watch::Receiver<Orders>,
    ) -> Result<(), LineError> {
        let (board, index) = (self.board, self.index);
        let world = World {
            hub: &board.hub,
            roots: &board.config.roots,
            linger: board.config.linger,
        };
        let mobility = board.wants_mobility(index);
        let mut line = Line::open(world, self.server, address, mobility).await?;
        let was_up = &mut self.was_up;
        let ended = line
            .run(orders, |relay| {
                *was_up = true;
                board.say(index, &format!("relaying at {}", relay.relayed()));
                board.publish(index, relay.clone());
            })
            .await;
        board.note_mobility(index, line.wants_mobility());
        if line.relay().is_some() {
            board.withdraw(index);
        }
        ended
    }
}

/// Why there is no allocation on a server.
#[derive(Debug, thiserror::Error)]
enum LegError {
    #[error("the TURN server's name is not found: {0}; check it")]
    NoName(io::Error),
    #[error(transparent)]
    Line(#[from] LineError),
}

/// The error, and for credentials with a time limit that has passed, that.
fn explain(server: &TurnServer, error: &LegError) -> String {
    let refused = matches!(
        error,
        LegError::Line(LineError::Client(ClientError::Unauthorized))
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    match (server.expiry(), now) {
        (Some(expiry), Ok(now)) if refused && expiry <= now => format!(
            "the TURN server refuses the credentials, which ran out {} s ago; get new ones",
            (now - expiry).as_secs()
        ),
        _ => error.to_string(),
    }
}

impl From<LinkError> for LegError {
    fn from(error: LinkError) -> Self {
        Self::Line(error.into())
    }
}
