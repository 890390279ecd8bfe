//! Two agents in virtual time: what they agree on, how fast, and what strangers can do.

use super::*;
use std::collections::BTreeMap;

fn credentials(name: &str) -> Credentials {
    Credentials {
        ufrag: format!("{name}0123"),
        password: format!("{name}0123456789012345678901"),
    }
}

fn candidate(kind: CandidateKind, addr: &str) -> Candidate {
    Candidate {
        kind,
        transport: Transport::Udp,
        addr: addr.parse().unwrap(),
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A way on which packets pass, in one direction: from a socket of a side to the peer, who sees it come from there at that socket.
type Ways = BTreeMap<(usize, SocketAddr, SocketAddr), (SocketAddr, SocketAddr)>;

struct World {
    now: Duration,
    sides: [Ice; 2],
    ways: Ways,
    delay: Duration,
    queue: BTreeMap<(Duration, u64), (usize, SocketAddr, SocketAddr, Bytes)>,
    sequence: u64,
    /// Everything sent: when, by whom, where to, how much, whether it is a check.
    sent: Vec<(Duration, usize, SocketAddr, usize, bool)>,
    nominated: [Vec<(Duration, IcePair)>; 2],
    failed: [bool; 2],
}

impl World {
    fn new(controlling: [bool; 2]) -> Self {
        let mut sides = [("left", 0), ("right", 1)]
            .map(|(name, at)| Ice::new(credentials(name), controlling[at], 100 + at as u64));
        sides[0].set_peer(credentials("right"));
        sides[1].set_peer(credentials("left"));
        Self {
            now: Duration::ZERO,
            sides,
            ways: Ways::new(),
            delay: Duration::from_millis(20),
            queue: BTreeMap::new(),
            sequence: 0,
            sent: Vec::new(),
            nominated: [Vec::new(), Vec::new()],
            failed: [false; 2],
        }
    }

    /// Packets pass both ways between two sockets, which see each other as they are.
    fn join(&mut self, left: &str, right: &str) {
        let (left, right) = (addr(left), addr(right));
        self.ways.insert((0, left, right), (left, right));
        self.ways.insert((1, right, left), (right, left));
    }

    /// Both have these candidates and know of each other's.
    fn introduce(&mut self, left: &[Candidate], right: &[Candidate]) {
        for (at, own, other) in [(0, left, right), (1, right, left)] {
            for candidate in own {
                assert!(self.sides[at].add_local(*candidate, candidate.addr));
            }
            for candidate in other {
                assert!(self.sides[at].add_remote(*candidate));
            }
        }
    }

    fn flush(&mut self) {
        for at in 0..2 {
            while let Some(output) = self.sides[at].poll() {
                match output {
                    IceOutput::Datagram {
                        from,
                        to,
                        bytes,
                        request,
                    } => {
                        self.sent.push((self.now, at, to, bytes.len(), request));
                        if let Some((source, socket)) = self.ways.get(&(at, from, to)) {
                            self.sequence += 1;
                            self.queue.insert(
                                (self.now + self.delay, self.sequence),
                                (1 - at, *source, *socket, bytes),
                            );
                        }
                    }
                    IceOutput::Nominated(pair) => self.nominated[at].push((self.now, pair)),
                    IceOutput::Failed => self.failed[at] = true,
                }
            }
        }
    }

    fn run(&mut self, until: Duration) {
        for steps in 0.. {
            assert!(steps < 100_000, "it spins at {:?}", self.now);
            self.flush();
            let arrival = self.queue.keys().next().map(|(when, _)| *when);
            let timers = self.sides.iter().filter_map(Ice::deadline).min();
            let Some(next) = arrival.into_iter().chain(timers).min() else {
                return;
            };
            if next > until {
                return;
            }
            self.now = self.now.max(next);
            let arrived = self
                .queue
                .first_entry()
                .filter(|first| first.key().0 <= self.now)
                .map(|first| first.remove());
            if let Some((at, source, socket, bytes)) = arrived {
                self.sides[at].on_datagram(self.now, socket, source, &bytes);
            }
            for side in &mut self.sides {
                side.on_timeout(self.now);
            }
        }
    }

    fn start(&mut self) {
        for side in &mut self.sides {
            side.check_until(Duration::ZERO, Duration::from_secs(5));
        }
    }

    fn agreed(&self) -> Option<(SocketAddr, SocketAddr)> {
        let [left, right] = self.nominated.each_ref().map(|all| all.last());
        let (left, right) = (left?.1, right?.1);
        assert_eq!((left.local, left.remote), (right.remote, right.local));
        Some((left.local, left.remote))
    }
}

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn the_best_pair_that_works_is_agreed_on_within_two_round_trips() {
    let host = |addr: &str| candidate(CandidateKind::Host, addr);
    let mut world = World::new([true, false]);
    world.introduce(
        &[
            host("10.1.0.1:1"),
            host("44.1.1.1:1"),
            candidate(CandidateKind::Relayed, "44.9.9.9:1"),
        ],
        &[host("10.2.0.1:1"), host("44.2.2.2:1")],
    );
    world.join("44.1.1.1:1", "44.2.2.2:1");
    world.join("44.9.9.9:1", "44.2.2.2:1");
    world.start();
    world.run(MS(5000));
    assert_eq!(
        world.agreed(),
        Some((addr("44.1.1.1:1"), addr("44.2.2.2:1")))
    );
    for side in &world.nominated {
        let (when, pair) = side[0];
        assert!(when <= MS(80 + 6 * 5), "{when:?}");
        assert_eq!(pair.rtt, Some(MS(40)));
    }
    assert!(!world.failed[0] && !world.failed[1]);
}

#[test]
fn a_relayed_pair_is_nominated_until_a_better_one_answers() {
    let mut world = World::new([true, false]);
    let (relay, left, right) = ("44.9.9.9:1", "44.1.1.1:1", "44.2.2.2:1");
    world.introduce(
        &[
            candidate(CandidateKind::Host, left),
            candidate(CandidateKind::Relayed, relay),
        ],
        &[candidate(CandidateKind::Host, right)],
    );
    world.join(relay, right);
    world.start();
    world.run(MS(1000));
    assert_eq!(world.agreed(), Some((addr(relay), addr(right))));
    // The firewall opens.
    world.join(left, right);
    world.run(MS(5000));
    assert_eq!(world.agreed(), Some((addr(left), addr(right))));
    let (when, _) = world.nominated[0][1];
    assert!(when < MS(1000 + 800 + 200), "{when:?}");
}

#[test]
fn a_peer_is_answered_where_it_is_seen() {
    // The right side's NAT gives the way to the left one a port of its own, which nobody can have told.
    let mut world = World::new([true, false]);
    let (left, inside, outside) = (addr("44.1.1.1:1"), addr("10.2.0.1:1"), addr("44.2.2.2:777"));
    world.sides[0].add_local(candidate(CandidateKind::Host, "44.1.1.1:1"), left);
    world.sides[0].add_remote(candidate(CandidateKind::ServerReflexive, "44.2.2.2:1"));
    world.sides[1].add_local(candidate(CandidateKind::Host, "10.2.0.1:1"), inside);
    world.sides[1].add_remote(candidate(CandidateKind::Host, "44.1.1.1:1"));
    world.ways.insert((1, inside, left), (outside, left));
    world.ways.insert((0, left, outside), (left, inside));
    world.start();
    world.run(MS(5000));
    let [one, other] = world.nominated.each_ref().map(|all| all.last().unwrap().1);
    assert_eq!((one.local, one.remote), (left, outside));
    assert_eq!((other.local, other.remote), (inside, left));
}

#[test]
fn two_that_want_the_same_role_agree_on_one() {
    for controlling in [[true, true], [false, false]] {
        let mut world = World::new(controlling);
        world.introduce(
            &[candidate(CandidateKind::Host, "44.1.1.1:1")],
            &[candidate(CandidateKind::Host, "44.2.2.2:1")],
        );
        world.join("44.1.1.1:1", "44.2.2.2:1");
        world.start();
        world.run(MS(5000));
        assert_ne!(
            world.sides[0].is_controlling(),
            world.sides[1].is_controlling(),
            "{controlling:?}"
        );
        assert!(world.agreed().is_some(), "{controlling:?}");
    }
}

#[test]
fn it_fails_in_time_with_few_packets_well_spaced() {
    let mut world = World::new([true, false]);
    world.introduce(
        &[candidate(CandidateKind::Host, "44.1.1.1:1")],
        &[
            candidate(CandidateKind::Host, "44.2.2.2:1"),
            candidate(CandidateKind::Host, "44.2.2.3:1"),
        ],
    );
    world.start();
    world.run(MS(60_000));
    assert_eq!((world.now, world.failed), (MS(5000), [true, true]));
    for to in ["44.2.2.2:1", "44.2.2.3:1"] {
        let times: Vec<Duration> = (world.sent.iter())
            .filter(|(_, _, addr, ..)| *addr == to.parse().unwrap())
            .map(|(when, ..)| *when)
            .collect();
        assert!((7..=10).contains(&times.len()), "{times:?}");
    }
    let mut left: Vec<Duration> = (world.sent.iter())
        .filter(|(_, at, ..)| *at == 0)
        .map(|(when, ..)| *when)
        .collect();
    left.dedup();
    assert!(left.windows(2).all(|pair| pair[1] - pair[0] >= PACE));
}

#[test]
fn candidates_may_come_late_and_credentials_too() {
    let mut sides = [
        Ice::new(credentials("left"), true, 1),
        Ice::new(credentials("right"), false, 2),
    ];
    let (left, right) = (addr("44.1.1.1:1"), addr("44.2.2.2:1"));
    for side in &mut sides {
        side.check_until(MS(0), MS(5000));
        side.on_timeout(MS(0));
        assert_eq!(side.poll(), None);
    }
    sides[0].add_local(candidate(CandidateKind::Host, "44.1.1.1:1"), left);
    sides[1].add_local(candidate(CandidateKind::Host, "44.2.2.2:1"), right);
    sides[0].add_remote(candidate(CandidateKind::Host, "44.2.2.2:1"));
    sides[0].on_timeout(MS(100));
    assert_eq!(sides[0].poll(), None, "no credentials");
    sides[0].set_peer(credentials("right"));
    sides[1].set_peer(credentials("left"));
    let mut world = World {
        sides,
        now: MS(100),
        ..World::new([true, false])
    };
    world.join("44.1.1.1:1", "44.2.2.2:1");
    world.run(MS(1000));
    assert_eq!(world.agreed(), Some((left, right)));
}

/// A running pair of sides, and the last check of the left one.
fn running() -> (World, Bytes) {
    let mut world = World::new([true, false]);
    world.introduce(
        &[candidate(CandidateKind::Host, "44.1.1.1:1")],
        &[candidate(CandidateKind::Host, "44.2.2.2:1")],
    );
    world.start();
    world.sides[0].on_timeout(MS(0));
    let Some(IceOutput::Datagram { bytes, .. }) = world.sides[0].poll() else {
        panic!("no check")
    };
    (world, bytes)
}

#[test]
fn strangers_change_nothing() {
    let (mut world, check) = running();
    let (socket, stranger) = (addr("44.2.2.2:1"), addr("44.6.6.6:6"));
    let right = &mut world.sides[1];
    for at in 0..check.len() {
        let mut bad = check.to_vec();
        bad[at] ^= 1;
        // The fingerprint, the last eight bytes, proves nothing, and is not needed.
        if at < check.len() - 8 {
            assert_eq!(
                right.on_datagram(MS(1), socket, stranger, &bad),
                None,
                "{at}"
            );
        }
    }
    for length in 0..check.len() {
        assert_eq!(
            right.on_datagram(MS(1), socket, stranger, &check[..length]),
            None
        );
    }
    assert_eq!(right.poll(), None);
}

#[test]
fn an_answer_is_no_longer_than_the_check_and_counts_only_from_where_it_was_asked() {
    let (mut world, check) = running();
    let (left, right) = (addr("44.1.1.1:1"), addr("44.2.2.2:1"));
    assert_eq!(
        world.sides[1].on_datagram(MS(1), right, left, &check),
        Some(IceHeard::Check)
    );
    let Some(IceOutput::Datagram { bytes, request, .. }) = world.sides[1].poll() else {
        panic!("no answer")
    };
    assert!(!request && bytes.len() <= check.len(), "{}", bytes.len());
    let elsewhere = addr("44.2.2.3:1");
    let own = &mut world.sides[0];
    assert_eq!(own.on_datagram(MS(2), left, elsewhere, &bytes), None);
    assert_eq!(own.poll(), None);
    assert_eq!(
        own.on_datagram(MS(2), left, right, &bytes),
        Some(IceHeard::Answer)
    );
    assert!(matches!(own.poll(), Some(IceOutput::Nominated(_))));
}

#[test]
fn a_peer_that_speaks_from_everywhere_is_heard_at_few_places() {
    let (mut world, check) = running();
    let right = &mut world.sides[1];
    let socket = addr("44.2.2.2:1");
    let heard = (1..=1000_u16)
        .filter(|port| {
            let source = SocketAddr::new([44, 6, 6, 6].into(), *port);
            right.on_datagram(MS(1), socket, source, &check).is_some()
        })
        .count();
    assert_eq!(heard, MAX_SOURCES);
    let mut checked = 0;
    for ms in 0..5000 {
        right.on_timeout(MS(ms));
        while let Some(output) = right.poll() {
            checked += usize::from(matches!(output, IceOutput::Datagram { request: true, .. }));
        }
    }
    assert!(checked <= (MAX_SOURCES + 1) * 10, "{checked}");
}

#[test]
fn a_peer_that_falls_silent_costs_no_more_than_one_that_never_spoke() {
    let mut world = World::new([true, false]);
    world.introduce(
        &[candidate(CandidateKind::Host, "44.1.1.1:1")],
        &[candidate(CandidateKind::Host, "44.2.2.2:1")],
    );
    world.join("44.1.1.1:1", "44.2.2.2:1");
    world.start();
    world.run(MS(1000));
    assert!(world.agreed().is_some());
    world.ways.clear();
    world.sent.clear();
    world.run(MS(60_000));
    assert!(world.sent.len() <= 30, "{}", world.sent.len());
    assert_eq!(world.now, MS(5000));
}

proptest::proptest! {
    #[test]
    fn any_bytes_do_no_harm(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), at in 0usize..100, keep in 20usize..108) {
        let (mut world, check) = running();
        let (left, right) = (addr("44.1.1.1:1"), addr("44.2.2.2:1"));
        let mut mixed = check[..keep.min(check.len())].to_vec();
        for (offset, byte) in bytes.iter().enumerate() {
            match mixed.get_mut(at + offset) {
                Some(old) => *old = *byte,
                None => mixed.push(*byte),
            }
        }
        let body = mixed.len().saturating_sub(20);
        if mixed.len() >= 4 {
            mixed[2..4].copy_from_slice(&(body as u16).to_be_bytes());
        }
        for bytes in [&bytes, &mixed] {
            let _ = world.sides[1].on_datagram(MS(1), right, left, bytes);
            let _ = world.sides[0].on_datagram(MS(1), left, right, bytes);
        }
    }
}
