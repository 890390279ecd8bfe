//! The bound on all bytes in flight, shared among the lanes.

use super::lane::Lane;

/// What a lane holds beyond a round trip, in seconds of its rate: covers the jitter of both ends (simulated 0.05 to 3).
pub(super) const SLACK: f64 = 0.1;
/// The same, where the bound on bytes in flight leaves no more.
const LEAST_SLACK: f64 = 0.01;
/// The share of the bound on bytes in flight that lanes fill; the rest waits for its verification.
const FILL: f64 = 0.9;

/// How much lanes may have on their way, so that all windows together fit the bound and no lane starves another.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    pub(super) cap: u64,
    pub(super) slack: f64,
    pub(super) scale: f64,
}

impl Allowance {
    pub(super) const fn new(cap: u64) -> Self {
        Self {
            cap,
            slack: SLACK,
            scale: 1.0,
        }
    }

    /// Shares the bound among these lanes.
    pub(super) fn share<'a>(&mut self, lanes: impl Iterator<Item = &'a Lane>) {
        let (rates, products) = lanes
            .filter_map(|lane| Some((lane.rate()?, lane.delay())))
            .fold((0.0, 0.0), |(rates, products), (rate, delay)| {
                (rates + rate, products + rate * delay)
            });
        let room = self.cap as f64 * FILL;
        self.slack = ((room - products) / rates.max(1.0)).clamp(LEAST_SLACK, SLACK);
        self.scale = (room / (products + rates * self.slack).max(1.0)).min(1.0);
    }
}
