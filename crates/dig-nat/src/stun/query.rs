//! One question to one server: sent, resent, answered or given up (RFC 8489 §6.2.1).

use super::message::{ErrorCode, Message, Request, TransactionId};
use std::{net::SocketAddr, time::Duration};

/// When a request is sent again, and when it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Pause between the first sending and the second; it doubles with each.
    pub first: Duration,
    /// How often the request is sent in all.
    pub tries: u32,
    /// Wait for an answer after the last sending.
    pub last: Duration,
}

impl Schedule {
    /// The letter of RFC 8489 §6.2.1: 500 ms doubling, 7 times, given up after 39.5 s.
    pub const RFC8489: Self = Self {
        first: Duration::from_millis(500),
        tries: 7,
        last: Duration::from_secs(8),
    };

    /// When the request has been sent so many times: the pause until it is sent again or given up.
    fn pause(&self, sent: u32) -> Duration {
        if sent >= self.tries {
            return self.last;
        }
        self.first * 2_u32.saturating_pow(sent.saturating_sub(1)).min(1 << 10)
    }
}

/// 250 ms doubling, 5 times, given up after 5 s: a lost datagram costs less than RFC 8489's 500 ms, and the whole no
/// more than a traversal method may take.
impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            tries: 5,
            last: Duration::from_millis(1250),
        }
    }
}

/// What a server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// From where the server saw the request come.
    pub mapped: SocketAddr,
    /// The server's other address and port, if it has them: it can then be asked how a NAT behaves (RFC 5780).
    pub other: Option<SocketAddr>,
    /// From the last sending to the answer; too short if an earlier sending was answered (see [`Self::sent`]).
    pub rtt: Duration,
    /// How often the request had been sent.
    pub sent: u32,
}

/// Why a question has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Nothing came back.
    #[error("the STUN server did not answer; UDP may be blocked, or the server be down")]
    NoAnswer,
    /// The server answered from its own address though it was asked to answer from another.
    #[error(
        "the STUN server cannot answer from another address; try a server that speaks RFC 5780"
    )]
    NotChanged,
    /// The server refused.
    #[error("the STUN server refused with error {0}; try another server")]
    Refused(ErrorCode),
}

/// A question to a server, over a socket that somebody else owns.
///
/// Call [`Self::poll`] at once and again when [`Self::timeout`] is due, send what it gives to [`Self::server`], and
/// hand over every datagram that may be an answer; then look at [`Self::outcome`].
#[derive(Debug, Clone)]
pub struct Query {
    server: SocketAddr,
    /// From where the answer must come.
    answerer: SocketAddr,
    request: Request,
    schedule: Schedule,
    sent: u32,
    sent_at: Duration,
    /// When to send again or to give up.
    due: Duration,
    outcome: Option<Result<Answer, QueryError>>,
}

impl Query {
    /// Asks `server` for our address as it sees it. The id must be drawn at random.
    pub fn new(now: Duration, server: SocketAddr, transaction: TransactionId) -> Self {
        Self::asking(now, server, Request::new(transaction))
    }

    /// Sends this request, whose answer comes from `server` itself.
    pub fn asking(now: Duration, server: SocketAddr, request: Request) -> Self {
        Self {
            server,
            answerer: server,
            request,
            schedule: Schedule::default(),
            sent: 0,
            sent_at: now,
            due: now,
            outcome: None,
        }
    }

    /// The same, answered from another address; refusals still come from the server's own.
    pub fn answered_from(mut self, answerer: SocketAddr) -> Self {
        self.answerer = answerer;
        self
    }

    /// The same on another schedule, if nothing was sent yet.
    pub fn on_schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// To whom the request goes.
    pub const fn server(&self) -> SocketAddr {
        self.server
    }

    /// The request's name.
    pub const fn transaction(&self) -> TransactionId {
        self.request.transaction
    }

    /// How often the request was sent.
    pub const fn sent(&self) -> u32 {
        self.sent
    }

    /// The answer or the reason why there is none; `None` while the question is open.
    pub const fn outcome(&self) -> Option<Result<Answer, QueryError>> {
        self.outcome
    }

    /// When [`Self::poll`] has something to do; `None` when the question is no longer open.
    pub const fn timeout(&self) -> Option<Duration> {
        match self.outcome {
            None => Some(self.due),
            Some(_) => None,
        }
    }

    /// A datagram for [`Self::server`], if it is time to send one.
    pub fn poll(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.outcome.is_some() || now < self.due {
            return None;
        }
        if self.sent >= self.schedule.tries {
            self.outcome = Some(Err(QueryError::NoAnswer));
            return None;
        }
        self.sent += 1;
        self.sent_at = now;
        self.due = now + self.schedule.pause(self.sent);
        Some(self.request.to_bytes())
    }

    /// A datagram arrived. Tells whether it ended this question; all others are left to whom they concern.
    pub fn on_datagram(&mut self, now: Duration, source: SocketAddr, datagram: &[u8]) -> bool {
        let expected = source == self.answerer || source == self.server;
        if self.outcome.is_some() || self.sent == 0 || !expected {
            return false;
        }
        match Message::parse(datagram) {
            Ok(message) => self.on_message(now, source, &message),
            Err(_) => false,
        }
    }

    /// The same for a message that was read already.
    pub(crate) fn on_message(
        &mut self,
        now: Duration,
        source: SocketAddr,
        message: &Message,
    ) -> bool {
        if self.outcome.is_some() || self.sent == 0 {
            return false;
        }
        let outcome = match message {
            Message::Success(success) if success.transaction != self.transaction() => return false,
            Message::Success(_) if source != self.answerer && source == self.server => {
                Err(QueryError::NotChanged)
            }
            Message::Success(success) if source == self.answerer => Ok(Answer {
                mapped: success.mapped,
                other: success.other,
                rtt: now.saturating_sub(self.sent_at),
                sent: self.sent,
            }),
            Message::Error { transaction, code }
                if *transaction == self.transaction() && source == self.server =>
            {
                Err(QueryError::Refused(*code))
            }
            _ => return false,
        };
        self.outcome = Some(outcome);
        true
    }
}

#[cfg(test)]
mod tests;
