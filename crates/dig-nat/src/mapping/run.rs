//! The task: does what [`super::leases`] says, on whatever network this machine is.

use super::{
    Board, Command, MethodState, MethodStatus, PortMapperConfig, SHUTDOWN,
    client::{Client, Found, Wish},
    leases::{Ask, Granted, Leases, Now, Protocol, Removal, Slot, Want, Way},
    network::Network,
    refusal::Refusal,
};
use crate::candidate::Transport;
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout, timeout_at},
};

/// How often it is looked whether this machine is on another network; that reads a few small files.
const WATCH: Duration = Duration::from_secs(10);
/// What is kept of [`SHUTDOWN`] for telling who asked.
const MARGIN: Duration = Duration::from_millis(50);
/// What sending one datagram takes at most.
const SEND: Duration = Duration::from_millis(50);

/// Keeps a port mapped until told to end.
pub(super) async fn run(
    config: PortMapperConfig,
    port: u16,
    board: Board,
    mut inbox: mpsc::UnboundedReceiver<Command>,
) {
    loop {
        let network = Network::find(&config);
        let session = Session::new(&config, network, port);
        let mut session = match session {
            Ok(session) => session,
            Err(error) => {
                // Without unguessable numbers nothing else of this program works either.
                tracing::error!(%error, "the system has no random numbers; no ports are mapped");
                return;
            }
        };
        let end = session.run(&config, &board, &mut inbox).await;
        session.close().await;
        publish(&board.mappings, Vec::new());
        match end {
            End::Moved => {}
            End::Dropped => return,
            End::Told(done) => {
                // Who asked may have stopped waiting.
                let _ = done.send(());
                return;
            }
        }
    }
}

/// Why the time on one network ended.
enum End {
    Moved,
    Dropped,
    Told(oneshot::Sender<()>),
}

/// What a question brought.
enum Done {
    Searched(Way, Result<Found, Refusal>),
    Asked(Slot, Result<Granted, Refusal>),
}

/// The time on one network.
struct Session {
    began: Instant,
    client: Client,
    leases: Leases,
    /// Questions that may be dropped at any time.
    questions: JoinSet<Done>,
    /// Requests after which a router has changed, whether its answer is heard or not.
    changes: JoinSet<Done>,
}

impl Session {
    fn new(
        config: &PortMapperConfig,
        network: Network,
        port: u16,
    ) -> Result<Self, getrandom::Error> {
        let protocols: Vec<_> = (Protocol::ALL.into_iter())
            .filter(|protocol| is_on(config, *protocol))
            .collect();
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)?;
        let nonces = [false, true].into_iter().flat_map(|ipv6| {
            [Transport::Udp, Transport::Tcp].map(|transport| Want { ipv6, transport })
        });
        let nonces = nonces.map(|want| {
            let mut nonce = [0; 12];
            getrandom::fill(&mut nonce).map(|()| (want, nonce))
        });
        let lease = config.lease.as_secs().clamp(1, u32::MAX.into());
        Ok(Self {
            began: Instant::now(),
            client: Client::new(network, port, nonces.collect::<Result<_, _>>()?),
            leases: Leases::new(
                Now::ZERO,
                &protocols,
                port,
                Duration::from_secs(lease),
                [network.v4, network.v6].map(|link| link.map(|link| link.local())),
                u64::from_ne_bytes(seed),
            ),
            questions: JoinSet::new(),
            changes: JoinSet::new(),
        })
    }

    fn now(&self) -> Now {
        self.began.elapsed()
    }

    async fn run(
        &mut self,
        config: &PortMapperConfig,
        board: &Board,
        inbox: &mut mpsc::UnboundedReceiver<Command>,
    ) -> End {
        let mut moves = interval(WATCH);
        moves.set_missed_tick_behavior(MissedTickBehavior::Delay);
        moves.reset();
        loop {
            while let Some(ask) = self.leases.poll(self.now()) {
                self.begin(ask);
            }
            publish(&board.mappings, self.leases.mappings());
            publish(&board.status, self.status(config));
            let wake = self.leases.wake();
            let wake_at = self.began + wake.unwrap_or_default();
            tokio::select! {
                Some(done) = self.questions.join_next() => self.note(done),
                Some(done) = self.changes.join_next() => self.note(done),
                command = inbox.recv() => match command {
                    Some(Command::Seen(addr)) => self.leases.seen(self.now(), addr.ip()),
                    Some(Command::Shutdown(done)) => return End::Told(done),
                    None => return End::Dropped,
                },
                () = sleep_until(wake_at), if wake.is_some() => {}
                _ = moves.tick() => if Network::find(config) != *self.client.network() {
                    return End::Moved;
                },
            }
        }
    }

    fn status(&self, config: &PortMapperConfig) -> Vec<MethodStatus> {
        let mut status = self.leases.status();
        for (protocol, status) in Protocol::ALL.into_iter().zip(&mut status) {
            // Asked for, and nobody to ask.
            if status.state == MethodState::Off && is_on(config, protocol) {
                status.state = MethodState::NoGateway;
            }
        }
        status
    }

    fn begin(&mut self, ask: Ask) {
        match ask {
            Ask::Find(way) => {
                let search = self.client.find(way);
                (self.questions).spawn(async move { Done::Searched(way, search.await) });
            }
            Ask::Map {
                slot,
                external_port,
                lease,
                token,
            } => {
                let map = self.client.map(Wish {
                    slot,
                    external_port,
                    lease: lease.map_or(0, |lease| lease.as_secs() as u32),
                    token,
                });
                let job = async move { Done::Asked(slot, map.await) };
                match slot.protocol {
                    Protocol::Upnp => self.changes.spawn(job),
                    Protocol::Pcp | Protocol::NatPmp => self.questions.spawn(job),
                };
            }
        }
    }

    fn note(&mut self, done: Result<Done, tokio::task::JoinError>) {
        if let Some(removal) = self.take(done) {
            // Only while closing; `close` takes it itself then.
            tracing::debug!(?removal, "granted after the end");
        }
    }

    /// What a question brought; what is to be removed because of it.
    fn take(&mut self, done: Result<Done, tokio::task::JoinError>) -> Option<Removal> {
        let now = self.now();
        match done.ok()? {
            Done::Searched(way, result) => {
                let result = result.map(|found| self.client.keep(found));
                tracing::debug!(?way, ?result, "looked for");
                self.leases.found(now, way, result);
                None
            }
            Done::Asked(slot, answer) => {
                tracing::debug!(?slot, ?answer, "asked");
                self.leases.answered(now, slot, answer)
            }
        }
    }

    /// Removes everything, at the same time and within [`SHUTDOWN`].
    async fn close(&mut self) {
        let deadline = Instant::now() + SHUTDOWN - MARGIN;
        let mut removals = JoinSet::new();
        for removal in self.leases.close() {
            removals.spawn(self.client.remove(removal));
        }
        // A question by datagram that has no answer yet: most likely nobody listens, so nobody waits; if somebody does, the
        // removal follows the question on the same way.
        self.questions.abort_all();
        let unanswered = self.leases.asking();
        for slot in unanswered.filter(|slot| slot.protocol != Protocol::Upnp) {
            let removal = Removal {
                slot,
                external_port: 0,
                token: None,
            };
            let remove = timeout(SEND, self.client.remove(removal));
            removals.spawn(async { remove.await.unwrap_or(Err(Refusal::NoAnswer)) });
        }
        let all = async {
            loop {
                tokio::select! {
                    Some(done) = self.changes.join_next() => {
                        if let Some(removal) = self.take(done) {
                            removals.spawn(self.client.remove(removal));
                        }
                    }
                    Some(_) = removals.join_next() => {}
                    else => return,
                }
            }
        };
        if timeout_at(deadline, all).await.is_err() {
            tracing::debug!(
                "the router did not remove every mapping in time; their leases run out"
            );
        }
    }
}

const fn is_on(config: &PortMapperConfig, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Pcp => config.pcp,
        Protocol::NatPmp => config.nat_pmp,
        Protocol::Upnp => config.upnp,
    }
}

fn publish<T: PartialEq>(channel: &watch::Sender<T>, value: T) {
    channel.send_if_modified(|published| {
        let changed = *published != value;
        *published = value;
        changed
    });
}
