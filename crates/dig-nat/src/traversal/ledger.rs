//! What guessing ports may cost: one account for the whole node.
//!
//! Whoever guesses ports of a host sends it packets that nobody there asked for, and fills the table of its own router. So whatever peers
//! ask for, in as many attempts and under as many names as they like:
//!
//! - one guess at a time;
//! - [`HOST_MOST`] packets to one host in [`HOST_TIME`], openers included;
//! - one guess with a peer in [`PEER_TIME`];
//! - [`NODE_MOST`] packets in [`NODE_TIME`] altogether.
//!
//! Where packets may go at all is the attempt's business: only to hosts at which a carrier sees the peer.

use crate::{attempt::SPRAY, trace::AttemptId};
use dig_types::NodeId;
use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// Packets to one host in [`HOST_TIME`] (design §6): one guess that fails.
const HOST_MOST: u32 = SPRAY as u32;
const HOST_TIME: Duration = Duration::from_secs(600);

/// Between guesses with one peer: what made the first one fail is mostly still there.
const PEER_TIME: Duration = Duration::from_secs(60);

/// Packets in [`NODE_TIME`]. Routers keep an entry for each for 30 s or more, and some home routers have room for 4,096.
const NODE_MOST: u32 = 2400;
const NODE_TIME: Duration = Duration::from_secs(60);

/// A guess that does not end is taken to have ended: sockets are closed by then.
const LONGEST: Duration = Duration::from_secs(25);

/// Less than one in so many of the packets wanted is not worth the while.
const WORTH: u32 = 4;

/// The account.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Oldest first.
    guesses: VecDeque<Guess>,
    /// The one that goes on, and since when.
    current: Option<(AttemptId, Duration)>,
}

#[derive(Debug)]
struct Guess {
    when: Duration,
    attempt: AttemptId,
    peer: NodeId,
    host: IpAddr,
    packets: u32,
}

impl Ledger {
    /// How many of so many packets to a host an attempt with a peer may send; none, if it is not the time for a guess. From then on it goes on
    /// until [`settle`](Self::settle).
    pub(super) fn take(
        &mut self,
        now: Duration,
        (peer, attempt): (NodeId, AttemptId),
        host: IpAddr,
        packets: u16,
    ) -> u16 {
        let host = site(host);
        let age = |guess: &Guess| now.saturating_sub(guess.when);
        self.guesses.retain(|guess| age(guess) < HOST_TIME);
        if self
            .current
            .is_some_and(|(_, since)| now.saturating_sub(since) < LONGEST)
        {
            return 0;
        }
        let recent = |guess: &&Guess| guess.peer == peer && age(guess) < PEER_TIME;
        if self.guesses.iter().any(|guess| recent(&guess)) {
            return 0;
        }
        let spent = |counts: &dyn Fn(&Guess) -> bool| -> u32 {
            let counted = self.guesses.iter().filter(|guess| counts(guess));
            counted.map(|guess| guess.packets).sum()
        };
        let by_host = HOST_MOST.saturating_sub(spent(&|guess| guess.host == host));
        let by_node = NODE_MOST.saturating_sub(spent(&|guess| age(guess) < NODE_TIME));
        let wanted = u32::from(packets);
        let granted = wanted.min(by_host).min(by_node);
        if granted == 0 || granted * WORTH < wanted {
            return 0;
        }
        self.guesses.push_back(Guess {
            when: now,
            attempt,
            peer,
            host,
            packets: granted,
        });
        self.current = Some((attempt, now));
        u16::try_from(granted).unwrap_or(u16::MAX)
    }

    /// The guess of an attempt has ended, and so many of its packets have not left. Of no effect if it has none.
    pub(super) fn settle(&mut self, attempt: AttemptId, unused: u16) {
        if self.current.is_none_or(|(current, _)| current != attempt) {
            return;
        }
        self.current = None;
        if let Some(guess) = self
            .guesses
            .iter_mut()
            .rfind(|guess| guess.attempt == attempt)
        {
            guess.packets = guess.packets.saturating_sub(unused.into());
        }
    }
}

/// What counts as one host: an IPv4 address, or an IPv6 network of one (RFC 8981 §3.2).
fn site(host: IpAddr) -> IpAddr {
    match host.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn who(peer: u8, attempt: u8) -> (NodeId, AttemptId) {
        (NodeId::from_bytes([peer; 32]), AttemptId([attempt; 16]))
    }

    fn host(last: u8) -> IpAddr {
        [44, 1, 1, last].into()
    }

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn one_guess_goes_on_at_a_time() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.take(secs(0), who(1, 1), host(1), 640), 640);
        assert_eq!(ledger.take(secs(1), who(2, 2), host(2), 640), 0);
        assert_eq!(
            ledger.take(secs(1), who(1, 1), host(1), 640),
            0,
            "once more"
        );
        ledger.settle(who(2, 2).1, 640);
        assert_eq!(
            ledger.take(secs(2), who(2, 2), host(2), 640),
            0,
            "not its own"
        );
        ledger.settle(who(1, 1).1, 0);
        assert_eq!(ledger.take(secs(2), who(2, 2), host(2), 640), 640);
        assert_eq!(
            ledger.take(secs(28), who(3, 3), host(3), 640),
            640,
            "forgotten"
        );
    }

    #[test]
    fn a_host_gets_no_more_than_one_failed_guess_in_ten_minutes() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.take(secs(0), who(1, 1), host(1), 1200), 1200);
        ledger.settle(who(1, 1).1, 0);
        for at in [61, 300, 599] {
            assert_eq!(ledger.take(secs(at), who(2, 2), host(1), 1200), 0, "{at}");
        }
        assert_eq!(ledger.take(secs(600), who(2, 2), host(1), 1200), 1200);
    }

    #[test]
    fn what_was_not_sent_is_given_back() {
        let mut ledger = Ledger::default();
        ledger.take(secs(0), who(1, 1), host(1), 1200);
        ledger.settle(who(1, 1).1, 900);
        assert_eq!(ledger.take(secs(1), who(2, 2), host(1), 1200), 900);
        ledger.settle(who(2, 2).1, u16::MAX);
        assert_eq!(ledger.take(secs(2), who(3, 3), host(1), 1200), 900);
        ledger.settle(who(3, 3).1, 0);
        assert_eq!(ledger.take(secs(3), who(4, 4), host(1), 1200), 0);
    }

    #[test]
    fn a_peer_has_one_guess_a_minute_wherever_it_is() {
        let mut ledger = Ledger::default();
        ledger.take(secs(0), who(1, 1), host(1), 640);
        ledger.settle(who(1, 1).1, 640);
        assert_eq!(ledger.take(secs(59), who(1, 2), host(2), 640), 0);
        assert_eq!(ledger.take(secs(60), who(1, 2), host(2), 640), 640);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_host() {
        let mut ledger = Ledger::default();
        ledger.take(secs(0), who(1, 1), "2a0d:1:2:3::1".parse().unwrap(), 1200);
        ledger.settle(who(1, 1).1, 0);
        let mut take =
            |peer, to: &str| ledger.take(secs(1), who(peer, peer), to.parse().unwrap(), 1200);
        assert_eq!(take(2, "2a0d:1:2:3:4::2"), 0);
        assert_eq!(take(3, "2a0d:1:2:4::1"), 1200);
    }

    proptest! {
        /// Many peers, many names, many hosts, settled or not.
        #[test]
        fn no_limit_is_ever_passed(
            asked in prop::collection::vec((0u64..20, 0u8..4, 0u8..3, 1u16..2000, any::<bool>(), 0u16..1500), 1..300),
        ) {
            let mut ledger = Ledger::default();
            let mut sent: Vec<(Duration, u8, u8, u32)> = Vec::new();
            let mut now = Duration::ZERO;
            for (number, (later, peer, to, packets, settled, unused)) in asked.into_iter().enumerate() {
                now += secs(later);
                let mut id = [0; 16];
                id[..8].copy_from_slice(&number.to_be_bytes());
                let (peer_id, attempt) = (NodeId::from_bytes([peer; 32]), AttemptId(id));
                let granted = ledger.take(now, (peer_id, attempt), host(to), packets);
                prop_assert!(granted <= packets);
                if granted == 0 {
                    continue;
                }
                let used = if settled { granted.saturating_sub(unused) } else { granted };
                if settled {
                    ledger.settle(attempt, unused);
                }
                prop_assert!(sent.iter().all(|(when, of, ..)| *of != peer || now - *when >= PEER_TIME));
                sent.push((now, peer, to, used.into()));
                let within = |time: Duration, to: Option<u8>| -> u32 {
                    let counts = |entry: &&(Duration, u8, u8, u32)| {
                        now - entry.0 < time && to.is_none_or(|to| entry.2 == to)
                    };
                    sent.iter().filter(counts).map(|entry| entry.3).sum()
                };
                prop_assert!(within(HOST_TIME, Some(to)) <= HOST_MOST);
                prop_assert!(within(NODE_TIME, None) <= NODE_MOST);
                prop_assert!(ledger.guesses.len() <= 200);
            }
        }
    }
}
