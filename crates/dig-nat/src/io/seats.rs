//! Room for connections, a share for each of those who make them.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

type Counts = Arc<Mutex<BTreeMap<IpAddr, usize>>>;

/// How many connections each address, or each network, has.
#[derive(Debug)]
pub(crate) struct Seats {
    counts: Counts,
    each: usize,
}

impl Seats {
    /// `each` for every one of them.
    pub(crate) fn new(each: usize) -> Self {
        Self {
            counts: Counts::default(),
            each,
        }
    }

    /// Room for one connection more of `who`, unless it has its share.
    pub(crate) fn take(&self, who: IpAddr) -> Option<Seat> {
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(who).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Seat {
            counts: Arc::clone(&self.counts),
            who,
        })
    }
}

/// One connection's seat; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    counts: Counts,
    who: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_share_and_gives_it_back() {
        let seats = Seats::new(2);
        let [one, other]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let (first, _second) = (seats.take(one).unwrap(), seats.take(one).unwrap());
        assert!(seats.take(one).is_none() && seats.take(other).is_some());
        drop(first);
        assert!(seats.take(one).is_some());
        assert_eq!(
            seats.counts.lock().unwrap().len(),
            1,
            "nothing is left of who has left"
        );
    }
}
