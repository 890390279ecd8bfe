//! The task of one attempt: between the state machine, the sockets, the carriers and whoever asked.

mod guessing;
mod paths;
mod running;

use super::{
    Shared, Wish,
    audience::Audience,
    lock,
    progress::{Failed, Progress, TraverseError},
};
use crate::{
    attempt::{self, Attempt, AttemptConfig, Local, Message, ROUNDS, RelayUse, Tag},
    io::FreshPort,
    signaling::{SignalError, secure::Opened},
    trace::AttemptId,
    turn::Relay,
};
use bytes::Bytes;
use dig_types::{Method, NodeId};
use running::Running;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

/// Pause before a prekey is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// The time to live of packets that open our NAT, where nobody knows how far that is: one home router.
const OPENER_TTL: u8 = 2;

/// How an attempt begins.
#[derive(Debug)]
pub(super) enum Begin {
    /// We offer, under this id.
    Offer(AttemptId),
    /// We answer this offer.
    Answer(Opened),
}

/// What the task of an attempt is handed.
#[derive(Debug)]
pub(super) enum Inbox {
    /// A message of the attempt.
    Message(Opened),
    /// An offer that takes the attempt's place.
    Turn(Opened),
    /// Somebody here wants the path, too.
    Join(Audience),
}

impl Inbox {
    /// Whoever wants the path.
    pub(super) fn into_audience(self) -> Option<Audience> {
        match self {
            Self::Join(audience) => Some(audience),
            Self::Message(_) | Self::Turn(_) => None,
        }
    }
}

/// Whether a message may begin an attempt.
pub(super) fn is_offer(opened: &Opened) -> bool {
    matches!(Message::decode(&opened.body), Ok(Message::Offer(_)))
}

/// Drives attempts with one peer, one after the other.
#[derive(Debug)]
pub(super) struct Driver {
    shared: Arc<Shared>,
    peer: NodeId,
    inbox: mpsc::Receiver<Inbox>,
    audience: Audience,
}

/// Why an attempt ends before it has begun, or gives way.
enum Early {
    Turned(Box<Opened>),
    Failed(Box<TraverseError>),
    /// Whoever asked has gone.
    Gone,
}

impl Early {
    fn failed(error: TraverseError) -> Self {
        Self::Failed(Box::new(error))
    }

    fn turned(opened: Opened) -> Self {
        Self::Turned(Box::new(opened))
    }
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        peer: NodeId,
        inbox: mpsc::Receiver<Inbox>,
        audience: Audience,
    ) -> Self {
        Self {
            shared,
            peer,
            inbox,
            audience,
        }
    }

    /// Runs until there is no attempt with the peer any more; gives what was not looked at.
    pub(super) async fn run(mut self, begin: Begin) -> mpsc::Receiver<Inbox> {
        self.attempts(begin).await;
        self.inbox
    }

    async fn attempts(&mut self, mut begin: Begin) {
        let shared = Arc::clone(&self.shared);
        let _fresh = shared.gatherer.want();
        let _relays = shared
            .uses_relays(self.audience.wish())
            .then(|| shared.relays.want());
        loop {
            let id = match &begin {
                Begin::Offer(id) => *id,
                Begin::Answer(opened) => opened.attempt,
            };
            let ended = self.attempt(begin).await;
            shared.post.forget(id);
            begin = match ended {
                Ok(()) | Err(Early::Gone) => return,
                Err(Early::Turned(opened)) => Begin::Answer(*opened),
                Err(Early::Failed(error)) => {
                    let failed = Failed::before(self.peer, *error);
                    tracing::debug!(peer = %self.peer, attempt = %id, %failed, "no attempt");
                    self.audience.tell(Progress::Failed(failed));
                    return;
                }
            };
        }
    }

    async fn attempt(&mut self, begin: Begin) -> Result<(), Early> {
        let (prekey, begin) = self.prepare(begin).await?;
        let shared = Arc::clone(&self.shared);
        let (local, fresh) = shared.local(self.audience.wish());
        let mut config = (shared.attempt_config(self.audience.wish())).map_err(Early::failed)?;
        config.first = shared.memory.recall(shared.network(), self.peer);
        let now = shared.start.elapsed();
        let attempt = match begin {
            Begin::Offer(id) => Attempt::initiate(now, config, local, self.peer, id),
            Begin::Answer(opened) => {
                let Ok(Message::Offer(offer)) = Message::decode(&opened.body) else {
                    return Err(Early::Gone);
                };
                let whose = (opened.from, opened.attempt);
                match Attempt::respond(now, config, local, whose, offer, &opened.observed) {
                    Ok(attempt) => attempt,
                    Err(refused) => {
                        tracing::debug!(peer = %self.peer, %refused, "an offer was refused");
                        return Err(Early::Gone);
                    }
                }
            }
        };
        let tag = Tag::of(attempt.id());
        let tcp = shared.tcp.as_ref().map(|port| port.attach(tag));
        let (Some(udp), false) = (shared.udp.attach(tag), matches!(tcp, Some(None))) else {
            // Of two random ids with one tag, one was made to be so.
            return Err(Early::Gone);
        };
        let running = Running::new(self, attempt, prekey, (udp, tcp.flatten()), fresh);
        running.run().await
    }

    /// Waits for what an attempt needs: own addresses, and the peer's prekey for an offer.
    async fn prepare(&mut self, mut begin: Begin) -> Result<(Option<Bytes>, Begin), Early> {
        let shared = Arc::clone(&self.shared);
        let offers = matches!(begin, Begin::Offer(_));
        let peer = self.peer;
        let needed = async {
            let gathered = shared.gatherer.ready(shared.config.gather_wait);
            if offers {
                let (prekey, ()) = tokio::join!(shared.prekey_of(peer), gathered);
                prekey.map(Some)
            } else {
                gathered.await;
                Ok(None)
            }
        };
        tokio::pin!(needed);
        loop {
            tokio::select! {
                () = shared.closing.cancelled() => return Err(Early::failed(TraverseError::Closed)),
                prekey = &mut needed => {
                    let prekey = prekey.map_err(|error| Early::failed(error.into()))?;
                    return Ok((prekey, begin));
                }
                command = self.audience.next() => {
                    if command.is_none() {
                        return Err(Early::Gone);
                    }
                }
                handed = self.inbox.recv() => match handed {
                    Some(Inbox::Turn(opened)) => return Err(Early::turned(opened)),
                    Some(Inbox::Join(audience)) => self.audience = audience,
                    // An offer that is repeated, or revised, before its first copy was answered: the later one knows more.
                    Some(Inbox::Message(later)) => {
                        if let Begin::Answer(opened) = &mut begin
                            && opened.attempt == later.attempt
                            && is_offer(&later)
                        {
                            *opened = later;
                        }
                    }
                    None => return Err(Early::Gone),
                },
            }
        }
    }
}

impl Shared {
    /// The peer's prekey. Peers and carriers come and go, so it is asked for as long as an offer would be repeated.
    async fn prekey_of(&self, peer: NodeId) -> Result<Bytes, SignalError> {
        let end = Instant::now() + self.config.offer_timeout;
        loop {
            let asked = timeout(self.config.offer_timeout, self.post.prekey_of(peer)).await;
            let error = match asked {
                Ok(Ok(prekey)) => return Ok(prekey),
                Ok(Err(error)) => error,
                Err(_) => SignalError::NotFound(peer),
            };
            if Instant::now() + ASK_AGAIN >= end {
                return Err(error);
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn attempt_config(&self, wish: Wish) -> Result<AttemptConfig, TraverseError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| TraverseError::Randomness)?;
        let hops = *lock(&self.hops);
        Ok(AttemptConfig {
            methods: self.config.methods.clone(),
            strategy: self.config.strategy,
            method_timeout: self.config.method_timeout,
            offer_timeout: self.config.offer_timeout,
            relay: match (wish, self.config.relay_only) {
                (_, true) => RelayUse::Only,
                (Wish::Any, false) => RelayUse::Yes,
                (Wish::Direct, false) => RelayUse::No,
            },
            opener_ttl: hops.map_or(OPENER_TTL, |hops| hops.saturating_add(1)),
            ..AttemptConfig::new(seed)
        })
    }

    /// Whether relays help to what is wished for.
    fn uses_relays(&self, wish: Wish) -> bool {
        let allowed = |method| self.config.methods.contains(&method);
        wish == Wish::Any && (allowed(Method::Turn) || allowed(Method::Ice))
    }

    /// What this side has, and the sockets of its fresh ports.
    fn local(&self, wish: Wish) -> (Local, Vec<FreshPort>) {
        let mut local = Local {
            candidates: self.gatherer.candidates(),
            subnets: self.gatherer.subnets(),
            fresh: Vec::new(),
            relays: Vec::new(),
            nat: self.gatherer.nat_hint(),
            preserves_ports: self.gatherer.preserves_ports(),
        };
        if self.uses_relays(wish) {
            let relays = self.relays.watch();
            local.relays = relays.borrow().iter().map(Relay::relayed).collect();
        }
        let mut fresh = Vec::new();
        if !self.config.relay_only
            && let Some(tcp) = &self.tcp
            && self.config.methods.contains(&Method::TcpSimultaneousOpen)
        {
            let both = local.is_outside(false) && local.is_outside(true);
            // The peer may have one family only: with both, a round in the middle is for IPv6.
            let ipv6 = |round: usize| match both {
                true => round % 2 == 1,
                false => local.is_outside(true),
            };
            fresh.extend((0..ROUNDS).map_while(|round| tcp.fresh(ipv6(round)).ok()));
        }
        let told = fresh.iter().map(|port| attempt::FreshPort {
            port: port.port(),
            ipv6: port.is_ipv6(),
            external: None,
        });
        local.fresh = told.collect();
        (local, fresh)
    }
}
