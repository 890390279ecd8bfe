//! One client that always has so many requests under way.

use super::{
    message::{Packer, Request, answered, now},
    socket::{Socket, wait},
};
use anyhow::ensure;
use std::time::{Duration, Instant};

/// A relay that says nothing for so long will not answer any more. gun.js pauses for seconds when it collects garbage.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) request: Request,
    /// First letter of the messages' ids, which no other load of this connection has.
    pub(super) letter: char,
    /// Requests under way.
    pub(super) window: usize,
    pub(super) until: Until,
}

/// When it has done enough.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    /// After so long.
    Time(Duration),
    /// After so many requests.
    Count(usize),
}

/// What came of it.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// Answers within the time.
    pub(super) answered: usize,
    pub(super) elapsed: Duration,
    /// Requests that were never answered.
    pub(super) lost: usize,
    /// How long each took, the shortest first.
    pub(super) latencies: Vec<Duration>,
}

impl Outcome {
    pub(super) fn rate(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency that this share of the requests did not exceed.
    pub(super) fn latency(&self, share: f64) -> Duration {
        let place = (self.latencies.len() as f64 * share) as usize;
        let place = place.min(self.latencies.len().saturating_sub(1));
        self.latencies.get(place).copied().unwrap_or_default()
    }
}

impl Load {
    pub(super) fn run(self, socket: Socket) -> anyhow::Result<(Socket, Outcome)> {
        let mut flight = Flight {
            load: self,
            begin: Instant::now(),
            sent: Vec::new(),
            under_way: 0,
            latencies: Vec::new(),
        };
        let mut sockets = [socket];
        let (mut heard, mut in_time) = (Instant::now(), None);
        loop {
            let open = flight.is_open();
            if !open {
                in_time.get_or_insert((flight.latencies.len(), flight.begin.elapsed()));
            }
            if open {
                flight.fill(&mut sockets[0]);
            } else if flight.under_way == 0 || heard.elapsed() > PATIENCE {
                break;
            }
            sockets[0].flush()?;
            if !wait(&sockets, Duration::from_millis(100))?.is_empty() {
                let before = flight.under_way;
                let mut refused = None;
                sockets[0].receive(|text| {
                    if text.contains(r#""err":"#) {
                        refused.get_or_insert_with(|| text.to_owned());
                    }
                    flight.answer(text);
                })?;
                ensure!(refused.is_none(), "the relay refuses: {refused:?}");
                if flight.under_way < before {
                    heard = Instant::now();
                }
            }
        }
        let [socket] = sockets;
        Ok((socket, flight.outcome(in_time, heard)))
    }
}

/// Requests under way.
struct Flight {
    load: Load,
    begin: Instant,
    /// When each was sent; `None` once it is answered.
    sent: Vec<Option<Instant>>,
    under_way: usize,
    latencies: Vec<Duration>,
}

impl Flight {
    /// Whether more are to be sent.
    fn is_open(&self) -> bool {
        match self.load.until {
            Until::Time(time) => self.begin.elapsed() < time,
            Until::Count(count) => self.sent.len() < count,
        }
    }

    fn fill(&mut self, socket: &mut Socket) {
        let mut packer = Packer::default();
        let Load {
            request, letter, ..
        } = self.load;
        let (now, state) = (Instant::now(), now().to_string());
        while self.under_way < self.load.window && self.is_open() {
            let number = self.sent.len();
            let full = packer.add(|out| request.write(letter, number, &state, out));
            full.into_iter().for_each(|frame| socket.queue(&frame));
            self.sent.push(Some(now));
            self.under_way += 1;
        }
        packer
            .take()
            .into_iter()
            .for_each(|frame| socket.queue(&frame));
    }

    /// gun.js answers some questions twice; only the first answer counts.
    fn answer(&mut self, frame: &str) {
        for number in answered(frame, self.load.letter) {
            if let Some(sent) = self.sent.get_mut(number).and_then(Option::take) {
                self.under_way -= 1;
                self.latencies.push(sent.elapsed());
            }
        }
    }

    fn outcome(mut self, in_time: Option<(usize, Duration)>, heard: Instant) -> Outcome {
        let all = (self.latencies.len(), self.begin.elapsed());
        let (answered, elapsed) = match self.load.until {
            Until::Time(_) => in_time.unwrap_or(all),
            // What is never answered is not waited for here.
            Until::Count(_) => (all.0, heard - self.begin),
        };
        self.latencies.sort();
        Outcome {
            answered,
            elapsed,
            lost: self.under_way,
            latencies: self.latencies,
        }
    }
}
