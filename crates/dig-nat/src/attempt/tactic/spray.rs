//! The easy side's packets: one to each port that is guessed.

use crate::attempt::{jitter::Jitter, message::Drift, tactic::SPRAY};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// One packet follows another after this time: what a home router's table and a slow line bear.
const GAP: Duration = Duration::from_millis(1);

/// A driver that is late sends so many together at most.
const CATCH_UP: u32 = 10;

/// In the middle comes a pause: nine of ten guesses need no more than the first half, and what was hit has time to say so.
const HALF: u16 = SPRAY / 2;
const PAUSE: Duration = Duration::from_millis(100);

/// How long all of it takes, and a little more.
pub(super) const LENGTH: Duration = Duration::from_millis(1500);

/// Ports after the last known one that are guessed by its steps: twice as many as are open, as others use the NAT, too.
const PREDICTED: u16 = 64;

/// Ports below are never guessed: services have them, and NATs do not give them (RFC 6335 §6).
const LOWEST: u16 = 1024;

/// Packets to guessed ports of one host.
#[derive(Debug)]
pub(super) struct Spray {
    to: IpAddr,
    granted: u16,
    drift: Option<Drift>,
    /// Steps taken from where the NAT stood.
    steps: u16,
    /// Transaction and time of what went to each port.
    asked: BTreeMap<u16, (u64, Duration)>,
    next: Option<Duration>,
}

impl Spray {
    pub(super) fn new(now: Duration, to: IpAddr, granted: u16, drift: Option<Drift>) -> Self {
        Self {
            to,
            granted,
            drift,
            steps: 0,
            asked: BTreeMap::new(),
            next: Some(now),
        }
    }

    /// The next packet that is due: where to, and its transaction.
    pub(super) fn poll(&mut self, now: Duration, jitter: &mut Jitter) -> Option<(SocketAddr, u64)> {
        let next = self.next.filter(|next| *next <= now)?;
        if self.sent() >= self.granted {
            self.next = None;
            return None;
        }
        let port = self.port(jitter);
        let transaction = jitter.next();
        self.asked.insert(port, (transaction, now));
        let next = next.max(now.saturating_sub(GAP * CATCH_UP)) + GAP;
        let pause = if self.sent() == HALF {
            PAUSE
        } else {
            Duration::ZERO
        };
        self.next = Some(next + pause);
        Some((SocketAddr::new(self.to, port), transaction))
    }

    fn port(&mut self, jitter: &mut Jitter) -> u16 {
        while let Some(drift) = self.drift.filter(|_| self.steps < PREDICTED) {
            self.steps += 1;
            let port = stepped(drift, self.steps);
            if !self.asked.contains_key(&port) {
                return port;
            }
        }
        // A fiftieth of all ports is asked at most, so a second draw is rare.
        loop {
            let all = u64::from(u16::MAX - LOWEST) + 1;
            let port = LOWEST + (jitter.next() % all) as u16;
            if !self.asked.contains_key(&port) {
                return port;
            }
        }
    }

    /// Nothing more leaves.
    pub(super) fn stop(&mut self) {
        self.next = None;
    }

    /// Whether packets go to that host.
    pub(super) fn is_at(&self, host: IpAddr) -> bool {
        self.to == host
    }

    /// What went to a port, if something did.
    pub(super) fn asked(&self, port: u16) -> Option<(u64, Duration)> {
        self.asked.get(&port).copied()
    }

    fn sent(&self) -> u16 {
        u16::try_from(self.asked.len()).unwrap_or(u16::MAX)
    }

    /// Packets of those allowed that have not left.
    pub(super) fn unused(&self) -> u16 {
        self.granted.saturating_sub(self.sent())
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.next
    }
}

/// The port so many steps on, around the ports that are guessed.
fn stepped(drift: Drift, steps: u16) -> u16 {
    let all = i32::from(u16::MAX - LOWEST) + 1;
    let from = i32::from(drift.last) - i32::from(LOWEST);
    let port = (from + i32::from(drift.step) * i32::from(steps)).rem_euclid(all);
    LOWEST + port as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> IpAddr {
        [44, 1, 1, 1].into()
    }

    fn due(spray: &mut Spray, now: Duration, jitter: &mut Jitter) -> Vec<u16> {
        std::iter::from_fn(|| spray.poll(now, jitter))
            .map(|(to, _)| to.port())
            .collect()
    }

    #[test]
    fn packets_leave_one_by_one_with_a_pause_in_the_middle_until_all_are_sent() {
        let mut jitter = Jitter::new(&[1; 32]);
        let mut spray = Spray::new(Duration::ZERO, host(), SPRAY, None);
        let mut sent = 0;
        while let Some(now) = spray.deadline() {
            let now_due = due(&mut spray, now, &mut jitter).len();
            assert!(now_due <= 1, "{now:?}");
            sent += now_due;
            assert!(now <= LENGTH, "{now:?}");
        }
        assert_eq!((sent, spray.unused()), (usize::from(SPRAY), 0));
    }

    #[test]
    fn a_late_driver_does_not_send_a_burst() {
        let mut jitter = Jitter::new(&[1; 32]);
        let mut spray = Spray::new(Duration::ZERO, host(), SPRAY, None);
        let late = due(&mut spray, Duration::from_secs(1), &mut jitter);
        assert_eq!(late.len(), CATCH_UP as usize + 1);
        assert_eq!(spray.unused(), SPRAY - CATCH_UP as u16 - 1);
    }

    #[test]
    fn nothing_leaves_once_it_is_stopped() {
        let mut jitter = Jitter::new(&[1; 32]);
        let mut spray = Spray::new(Duration::ZERO, host(), 5, None);
        assert_eq!(due(&mut spray, Duration::ZERO, &mut jitter).len(), 1);
        spray.stop();
        assert!(due(&mut spray, Duration::from_secs(9), &mut jitter).is_empty());
        assert_eq!((spray.deadline(), spray.unused()), (None, 4));
    }

    #[test]
    fn steps_go_on_from_the_last_port_and_around() {
        let stepped = |last, step, steps| stepped(Drift { last, step }, steps);
        assert_eq!(stepped(40_000, 2, 1), 40_002);
        assert_eq!(stepped(40_000, -1, 3), 39_997);
        assert_eq!(stepped(u16::MAX, 1, 1), LOWEST);
        assert_eq!(stepped(LOWEST, -1, 1), u16::MAX);
        for step in [i16::MIN, -7, 1, i16::MAX] {
            assert!((1..=PREDICTED).all(|steps| stepped(0, step, steps) >= LOWEST));
        }
    }
}
