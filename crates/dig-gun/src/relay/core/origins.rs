//! What each origin has used of what it may.

use super::super::{
    bucket::{Bucket, Rate},
    limits::{Limits, Origin},
};
use std::{collections::HashMap, time::Duration};

/// Accounts that are kept of origins which have no connection any more; beyond, they begin anew.
const REMEMBERED: usize = 50_000;

/// The accounts of all origins.
#[derive(Debug)]
pub(super) struct Origins {
    accounts: HashMap<Origin, Account>,
    rates: Rates,
    per_origin: usize,
    remembered: usize,
}

#[derive(Debug, Clone, Copy)]
struct Rates {
    messages: Rate,
    bytes: Rate,
    souls: Rate,
    stored: Rate,
}

#[derive(Debug)]
struct Account {
    connections: usize,
    messages: Bucket,
    bytes: Bucket,
    souls: Bucket,
    stored: Bucket,
}

/// Why nothing more is stored for an origin today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Exhausted {
    /// Too many new souls.
    #[error(
        "your network has made as many new souls as it may a day; write to those that exist, or try tomorrow"
    )]
    Souls,
    /// Too many bytes.
    #[error("your network has stored as many bytes as it may a day; try tomorrow")]
    Bytes,
}

impl Origins {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            accounts: HashMap::new(),
            rates: Rates {
                messages: Rate::per_second(limits.messages_per_second_at_most),
                bytes: Rate::per_second(limits.bytes_per_second_at_most),
                souls: Rate::per_day(limits.souls_per_day.into()),
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "nobody counts bytes beyond 2^53"
                )]
                stored: Rate::per_day(limits.bytes_per_day as f64),
            },
            per_origin: limits.connections_per_origin,
            remembered: REMEMBERED,
        }
    }

    /// A connection comes; `false` if the origin has enough of them.
    pub(super) fn connect(&mut self, now: Duration, origin: Origin) -> bool {
        if self.accounts.len() >= self.remembered && !self.accounts.contains_key(&origin) {
            self.accounts.retain(|_, account| account.connections > 0);
        }
        let account = self.account(now, origin);
        let room = account.connections;
        if room >= self.per_origin {
            return false;
        }
        self.account(now, origin).connections += 1;
        true
    }

    /// A connection is gone.
    pub(super) fn disconnect(&mut self, now: Duration, origin: Origin) {
        let rates = self.rates;
        let Some(account) = self.accounts.get_mut(&origin) else {
            return;
        };
        account.connections = account.connections.saturating_sub(1);
        let fresh =
            account.souls.is_full(now, rates.souls) && account.stored.is_full(now, rates.stored);
        if account.connections == 0 && fresh {
            self.accounts.remove(&origin);
        }
    }

    /// Messages came; how long nothing more is to be read.
    pub(super) fn read(
        &mut self,
        now: Duration,
        origin: Origin,
        messages: usize,
        bytes: usize,
    ) -> Duration {
        let rates = self.rates;
        let account = self.account(now, origin);
        account.messages.spend(now, rates.messages, float(messages));
        account.bytes.spend(now, rates.bytes, float(bytes));
        let debts = [
            account.messages.debt(rates.messages),
            account.bytes.debt(rates.bytes),
        ];
        debts.into_iter().max().unwrap_or_default()
    }

    /// Something is to be stored.
    pub(super) fn store(
        &mut self,
        now: Duration,
        origin: Origin,
        souls: usize,
        bytes: usize,
    ) -> Result<(), Exhausted> {
        let rates = self.rates;
        let account = self.account(now, origin);
        if !account.stored.take(now, rates.stored, float(bytes)) {
            return Err(Exhausted::Bytes);
        }
        match account.souls.take(now, rates.souls, float(souls)) {
            true => Ok(()),
            false => Err(Exhausted::Souls),
        }
    }

    fn account(&mut self, now: Duration, origin: Origin) -> &mut Account {
        let rates = self.rates;
        self.accounts.entry(origin).or_insert_with(|| Account {
            connections: 0,
            messages: Bucket::full(now, rates.messages),
            bytes: Bucket::full(now, rates.bytes),
            souls: Bucket::full(now, rates.souls),
            stored: Bucket::full(now, rates.stored),
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nobody counts messages or bytes beyond 2^53"
)]
const fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn origin(last: u8) -> Origin {
        Origin::of(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    #[test]
    fn a_customer_is_one_origin() {
        let of = |text: &str| Origin::of(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8:1:200::1"), of("2001:db8:1:2ff:1::1"));
        assert_ne!(of("2001:db8:1:200::1"), of("2001:db8:1:300::1"));
    }

    #[test]
    fn a_reconnection_is_no_new_day() {
        let limits = Limits {
            souls_per_day: 2,
            connections_per_origin: 1,
            ..Limits::default()
        };
        let mut origins = Origins::new(&limits);
        let now = Duration::from_secs(5);
        let alice = origin(1);
        for _ in 0..2 {
            assert!(origins.connect(now, alice));
            assert!(!origins.connect(now, alice));
            assert_eq!(origins.store(now, alice, 1, 10), Ok(()));
            origins.disconnect(now, alice);
        }
        assert_eq!(origins.store(now, alice, 1, 10), Err(Exhausted::Souls));
        assert_eq!(origins.store(now, origin(2), 1, 10), Ok(()));
        assert_eq!(
            origins.store(now, alice, 0, 10),
            Ok(()),
            "known souls are no new ones"
        );
        let tomorrow = now + Duration::from_secs(86_400);
        assert_eq!(origins.store(tomorrow, alice, 2, 10), Ok(()));
    }

    #[test]
    fn accounts_are_bounded() {
        let mut origins = Origins::new(&Limits::default());
        origins.remembered = 10;
        for number in 0..=255 {
            assert!(origins.connect(Duration::ZERO, origin(number)));
            let _ = origins.store(Duration::ZERO, origin(number), 1, 1);
            if number > 0 {
                origins.disconnect(Duration::ZERO, origin(number));
            }
        }
        assert!(origins.accounts.len() <= 11);
        assert_eq!(origins.accounts[&origin(0)].connections, 1);
    }
}
