//! The hard side's packets: one from each socket that opens its NAT, and one more when the easy side has sent all of its own.

use crate::attempt::{message::Wide, tactic::PER_PORT};
use std::{net::SocketAddr, time::Duration};

/// So many leave together, then comes a gap: home routers make some ten thousand mappings in a second.
const BATCH: u16 = 16;
const GAP: Duration = Duration::from_millis(2);

/// Packets that open ports towards one end.
#[derive(Debug)]
pub(super) struct Openers {
    to: SocketAddr,
    wide: Wide,
    /// Sockets that there are; those above [`Wide::count`] are not used.
    opened: u16,
    turn: Turn,
    /// Sockets whose packet of this turn has left.
    done: u16,
    next: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The packets end before the peer's NAT: there they would take the place of what they are to let in.
    Low,
    /// The peer knows of the ports, and guesses.
    Told,
    /// The peer has sent to every port that it guesses, so its NAT lets in what comes from one of them: where the first packets lived too short
    /// for a NAT of ours, or were lost, these help.
    High,
}

impl Openers {
    pub(super) fn new(now: Duration, to: SocketAddr, wide: Wide, opened: u16) -> Self {
        Self {
            to,
            wide,
            opened,
            turn: Turn::Low,
            done: 0,
            next: Some(now),
        }
    }

    /// The next packet that is due: from which socket, where to, whether it is to live short. `quiet`: nothing was heard
    /// at these sockets.
    pub(super) fn poll(&mut self, now: Duration, quiet: bool) -> Option<(u16, SocketAddr, bool)> {
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        if self.turn == Turn::Told {
            (self.turn, self.done) = (Turn::High, 0);
        }
        if self.done == self.wide.count || self.turn == Turn::High && !quiet {
            self.next = None;
            return None;
        }
        let port = self.done;
        self.done += 1;
        if self.done.is_multiple_of(BATCH) {
            self.next = Some(now + GAP);
        }
        Some((port, self.to, self.turn == Turn::Low))
    }

    /// What the peer is to be told, once: all of them have left. The second turn comes `later`.
    pub(super) fn tell(&mut self, now: Duration, later: Duration) -> Option<Wide> {
        if self.turn != Turn::Low || self.done < self.wide.count {
            return None;
        }
        self.turn = Turn::Told;
        self.next = Some(now + later);
        Some(self.wide)
    }

    /// What the peer was told, if it was.
    pub(super) fn told(&self) -> Option<Wide> {
        (self.turn != Turn::Low).then_some(self.wide)
    }

    /// Whether that socket is one of those used.
    pub(super) fn has(&self, port: u16) -> bool {
        port < self.wide.count
    }

    /// Packets of those allowed that have not left.
    pub(super) fn unused(&self) -> u16 {
        let first = match self.turn {
            Turn::Low | Turn::Told => self.done,
            Turn::High => self.wide.count.saturating_add(self.done),
        };
        self.opened.saturating_mul(PER_PORT).saturating_sub(first)
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.next
    }
}
