//! The checks of one attempt: which addresses are asked, when, and which answered.

use super::{
    budget::Budget,
    check::{Check, Kind},
    event::Output,
    jitter::Jitter,
    keys::{Keys, Role},
    methods::Probe,
};
use dig_types::Method;
use std::{collections::VecDeque, time::Duration};

/// The first repetition of a check comes after this time; the next ones come half as long again after one another.
const FIRST_GAP: Duration = Duration::from_millis(33);

/// Up to this.
const LAST_GAP: Duration = Duration::from_millis(500);

/// Addresses checked at a time, those from which the peer was heard included.
const MAX_PAIRS: usize = 32;

/// Requests per address whose answer is still of use: the last ones.
const REMEMBERED: usize = 8;

/// Repetitions of the packet that opens a NAT: the first may be lost before it gets there.
const OPENERS: usize = 2;

/// An address that is checked.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) probe: Probe,
    pub(super) method: Method,
    /// When the next request goes out; `None`: not before something happens.
    next: Option<Duration>,
    gap: Duration,
    until: Duration,
    /// Requests of late: transaction and when it left.
    asked: VecDeque<(u64, Duration)>,
    /// The peer was heard from there.
    heard: bool,
    /// Requests sent since it last answered.
    spent: u32,
    /// Round-trip time, once one of our requests was answered.
    pub(super) rtt: Option<Duration>,
}

/// What became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// A request, which is answered.
    Request(Method),
    /// The first answer on a path.
    Valid {
        method: Method,
        probe: Probe,
        rtt: Duration,
        /// Requests that it took.
        spent: u32,
    },
    /// An answer that adds nothing.
    Response(Method),
}

/// All addresses that are checked.
#[derive(Debug)]
pub(super) struct Checks {
    role: Role,
    pairs: Vec<Pair>,
}

impl Checks {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            pairs: Vec::new(),
        }
    }

    /// Whether another method checks that address already: it would be asked the same by the same packets.
    pub(super) fn taken(&self, probe: Probe, by: Method) -> bool {
        self.pairs
            .iter()
            .any(|pair| pair.probe == probe && pair.method != by)
    }

    /// Addresses of a method.
    pub(super) fn probes(&self, method: Method) -> impl Iterator<Item = Probe> {
        self.pairs
            .iter()
            .filter(move |pair| pair.method == method)
            .map(|pair| pair.probe)
    }

    /// Holds addresses ready, without asking them.
    pub(super) fn hold(&mut self, method: Method, probes: &[Probe]) {
        for probe in probes {
            let _ = self.pair(*probe, method);
        }
    }

    /// Packets for these addresses which open this side's NAT and end before the peer's.
    pub(super) fn openers(
        &self,
        probes: &[Probe],
        method: Method,
        keys: &Keys,
        ttl: u8,
        jitter: &mut Jitter,
        budget: &mut Budget,
    ) -> Vec<Output> {
        let mut out = Vec::new();
        for &Probe { from, to } in probes {
            for _ in 0..OPENERS {
                let check = Check {
                    kind: Kind::Request,
                    role: self.role,
                    method,
                    transaction: jitter.next(),
                };
                if budget.spend(1) {
                    out.push(Output::Datagram {
                        from,
                        to,
                        bytes: check.encode(keys),
                        ttl: Some(ttl),
                    });
                }
            }
        }
        out
    }

    /// Asks every address of a method, now and then again until that time.
    pub(super) fn start(&mut self, now: Duration, method: Method, until: Duration) {
        for pair in self.pairs.iter_mut().filter(|pair| pair.method == method) {
            pair.until = until;
            if pair.next.is_none() && pair.rtt.is_none() {
                pair.next = Some(now);
                pair.gap = FIRST_GAP;
            }
        }
    }

    /// Asks one more address for a method, now and then again until that time.
    pub(super) fn ask(&mut self, now: Duration, probe: Probe, method: Method, until: Duration) {
        if let Some(pair) = self.pair(probe, method)
            && pair.rtt.is_none()
        {
            pair.until = pair.until.max(until);
            pair.next.get_or_insert(now);
        }
    }

    /// Asks nothing more for a method.
    pub(super) fn stop(&mut self, method: Method) {
        for pair in self.pairs.iter_mut().filter(|pair| pair.method == method) {
            pair.next = None;
        }
    }

    /// Takes back that a path was found there: it turned out to be of no use.
    pub(super) fn forget(&mut self, probe: Probe) {
        self.pairs.retain(|pair| pair.probe != probe);
    }

    /// A datagram that the peer sent: `came` names the port at which it did, and from where. A request is answered to where it came from, whatever the peer
    /// advertised, and asked back from there if the method is still tried.
    pub(super) fn receive(
        &mut self,
        now: Duration,
        came: Probe,
        check: &Check,
        until: Option<Duration>,
    ) -> Option<Heard> {
        match check.kind {
            Kind::Request => {
                if let Some(until) = until
                    && let Some(pair) = self.pair(came, check.method)
                    && !pair.heard
                {
                    pair.heard = true;
                    if pair.rtt.is_none() {
                        pair.until = pair.until.max(until);
                        pair.next = Some(now);
                        pair.gap = FIRST_GAP;
                    }
                }
                Some(Heard::Request(check.method))
            }
            Kind::Response(_) => {
                let pair = self.pairs.iter_mut().find(|pair| pair.probe == came)?;
                let (_, asked) = *pair
                    .asked
                    .iter()
                    .find(|(transaction, _)| *transaction == check.transaction)?;
                let (method, probe, rtt) = (pair.method, pair.probe, now.saturating_sub(asked));
                pair.next = None;
                let spent = std::mem::take(&mut pair.spent);
                if pair.rtt.replace(rtt).is_some() {
                    return Some(Heard::Response(method));
                }
                Some(Heard::Valid {
                    method,
                    probe,
                    rtt,
                    spent,
                })
            }
        }
    }

    /// A request that went to that address by other means, and was answered: it counts as one of the checks.
    pub(super) fn adopt(&mut self, probe: Probe, method: Method, asked: (u64, Duration)) {
        if self.pairs.len() == MAX_PAIRS
            && !self.pairs.iter().any(|pair| pair.probe == probe)
            && let Some(idle) = self
                .pairs
                .iter()
                .position(|pair| !pair.heard && pair.rtt.is_none())
        {
            self.pairs.remove(idle);
        }
        if let Some(pair) = self.pair(probe, method) {
            pair.asked.push_back(asked);
        }
    }

    /// The next request that is due, and for which method.
    pub(super) fn poll(
        &mut self,
        now: Duration,
        keys: &Keys,
        jitter: &mut Jitter,
        budget: &mut Budget,
    ) -> Option<(Method, Output)> {
        for pair in self
            .pairs
            .iter_mut()
            .filter(|pair| pair.next.is_some_and(|next| next <= now))
        {
            if now >= pair.until || !budget.spend(1) {
                pair.next = None;
                continue;
            }
            pair.spent += 1;
            pair.next = Some(now + pair.gap);
            pair.gap = (pair.gap * 3 / 2).min(LAST_GAP);
            let transaction = jitter.next();
            pair.asked.push_back((transaction, now));
            if pair.asked.len() > REMEMBERED {
                pair.asked.pop_front();
            }
            let check = Check {
                kind: Kind::Request,
                role: self.role,
                method: pair.method,
                transaction,
            };
            let bytes = check.encode(keys);
            return Some((
                pair.method,
                Output::Datagram {
                    from: pair.probe.from,
                    to: pair.probe.to,
                    bytes,
                    ttl: None,
                },
            ));
        }
        None
    }

    /// When the next request is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.pairs.iter().filter_map(|pair| pair.next).min()
    }

    /// The pair of an address, made if there is room for it.
    fn pair(&mut self, probe: Probe, method: Method) -> Option<&mut Pair> {
        if let Some(at) = self.pairs.iter().position(|pair| pair.probe == probe) {
            return self.pairs.get_mut(at);
        }
        if self.pairs.len() == MAX_PAIRS {
            return None;
        }
        self.pairs.push(Pair {
            probe,
            method,
            next: None,
            gap: FIRST_GAP,
            until: Duration::ZERO,
            asked: VecDeque::new(),
            heard: false,
            spent: 0,
            rtt: None,
        });
        self.pairs.last_mut()
    }
}
