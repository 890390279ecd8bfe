//! How long an idle mapping stays (RFC 5780 §4.6).
//!
//! One socket for each age: its mapping is made, left alone for so long, and then another socket asks the server to answer
//! to it (RESPONSE-PORT). All ages are tried at the same time, so the test takes little longer than the mapping lives.

use super::MAIN;
use crate::{
    report::family::Lifetime,
    stun::{Message, Query, Request, Schedule, TransactionId},
};
use std::{net::SocketAddr, time::Duration};

/// Ages that are tried, in seconds: around the lifetimes that NATs have (20, 30, 60, 120, 180, 300 s). The first is the
/// proof that server and NAT let such answers through at all.
pub(super) const AGES: [u64; 10] = [0, 15, 25, 35, 55, 65, 115, 125, 185, 305];

/// The whole test.
#[derive(Debug)]
pub(super) struct Ageing {
    server: SocketAddr,
    schedule: Schedule,
    slots: Vec<Slot>,
    /// The first slot's socket.
    first_socket: usize,
}

/// One age.
#[derive(Debug)]
struct Slot {
    age: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The mapping is being made.
    Opening(Query),
    /// It is left alone until `due`.
    Idle { port: u16, due: Duration },
    /// The server was asked to answer to it.
    Asking(Query),
    /// The answer came.
    Alive,
    /// It did not.
    Dead,
    /// The server did not answer in the beginning, or refuses.
    Unknown,
}

impl Ageing {
    pub(super) fn new(
        now: Duration,
        server: SocketAddr,
        schedule: Schedule,
        first_socket: usize,
        mut name: impl FnMut() -> TransactionId,
    ) -> Self {
        let slots = AGES
            .iter()
            .map(|seconds| Slot {
                age: Duration::from_secs(*seconds),
                state: State::Opening(Query::new(now, server, name()).on_schedule(schedule)),
            })
            .collect();
        Self {
            server,
            schedule,
            slots,
            first_socket,
        }
    }

    /// When [`Self::poll`] has something to do; `None` when the lifetime is known, or known not to be found out.
    pub(super) fn timeout(&self) -> Option<Duration> {
        if self.is_known() {
            return None;
        }
        self.slots
            .iter()
            .filter_map(|slot| slot.state.timeout())
            .min()
    }

    /// What was found out.
    pub(super) fn lifetime(&self) -> Option<Lifetime> {
        let alive = self
            .slots
            .iter()
            .take_while(|slot| !matches!(slot.state, State::Dead));
        let at_least = alive
            .filter(|slot| matches!(slot.state, State::Alive))
            .last()?
            .age;
        let dead = self
            .slots
            .iter()
            .find(|slot| matches!(slot.state, State::Dead));
        Some(Lifetime {
            at_least,
            less_than: dead.map(|slot| slot.age),
        })
    }

    /// The next datagram: from which socket, and its bytes, for the server.
    pub(super) fn poll(
        &mut self,
        now: Duration,
        mut name: impl FnMut() -> TransactionId,
    ) -> Option<(usize, Vec<u8>)> {
        if self.is_known() {
            return None;
        }
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let State::Idle { port, due } = slot.state
                && due <= now
            {
                let request = Request {
                    response_port: Some(port),
                    ..Request::new(name())
                };
                slot.state = State::Asking(
                    Query::asking(now, self.server, request).on_schedule(self.schedule),
                );
            }
            let (socket, query, given_up) = match &mut slot.state {
                State::Opening(query) => (self.first_socket + index, query, State::Unknown),
                State::Asking(query) => (MAIN, query, State::Dead),
                State::Idle { .. } | State::Alive | State::Dead | State::Unknown => continue,
            };
            if let Some(bytes) = query.poll(now) {
                return Some((socket, bytes));
            }
            if query.outcome().is_some() {
                slot.state = given_up;
            }
        }
        None
    }

    /// A datagram came to a socket.
    pub(super) fn on_message(
        &mut self,
        now: Duration,
        socket: usize,
        source: SocketAddr,
        message: &Message,
    ) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let own = socket == self.first_socket + index;
            let refused = socket == MAIN && matches!(message, Message::Error { .. });
            slot.state = match &mut slot.state {
                State::Opening(query) if own => {
                    query.on_message(now, source, message);
                    match query.outcome() {
                        Some(Ok(answer)) => State::Idle {
                            port: answer.mapped.port(),
                            due: now + slot.age,
                        },
                        Some(Err(_)) => State::Unknown,
                        None => continue,
                    }
                }
                State::Asking(query) if own || refused => {
                    query.on_message(now, source, message);
                    match query.outcome() {
                        Some(Ok(_)) => State::Alive,
                        Some(Err(_)) => State::Unknown,
                        None => continue,
                    }
                }
                _ => continue,
            };
        }
    }

    /// Whether waiting longer would tell no more: the proof failed, or an age is dead and all younger ones are decided.
    fn is_known(&self) -> bool {
        if matches!(
            self.slots.first().map(|slot| &slot.state),
            Some(State::Dead | State::Unknown)
        ) {
            return true;
        }
        let decided = self
            .slots
            .iter()
            .take_while(|slot| slot.state.timeout().is_none());
        let decided: Vec<_> = decided.collect();
        decided.len() == self.slots.len()
            || decided.iter().any(|slot| matches!(slot.state, State::Dead))
    }
}

impl State {
    const fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Opening(query) | Self::Asking(query) => match query.timeout() {
                Some(due) => Some(due),
                // Given up, which poll has yet to note.
                None => Some(Duration::ZERO),
            },
            Self::Idle { due, .. } => Some(*due),
            Self::Alive | Self::Dead | Self::Unknown => None,
        }
    }
}
