//! What a relay did so far.

use std::fmt::Write as _;

/// Counts since the start, but for the gauges, which say what is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Gauge: allocations that live.
    pub allocations: u64,
    /// Allocations made.
    pub allocations_made: u64,
    /// Requests without a valid credential, the challenges at the start of every client included.
    pub refused_unproved: u64,
    /// Requests refused for a quota or a rate.
    pub refused_quota: u64,
    /// Peers refused for their address.
    pub refused_peers: u64,
    /// Requests refused for anything else.
    pub refused_other: u64,
    /// Datagrams forwarded to peers.
    pub packets_to_peers: u64,
    /// Bytes of data in them.
    pub bytes_to_peers: u64,
    /// Datagrams of peers forwarded to clients.
    pub packets_to_clients: u64,
    /// Bytes of data in them.
    pub bytes_to_clients: u64,
    /// Data of strangers: without an allocation, a permission or a channel.
    pub dropped_stray: u64,
    /// Data above the rate of its allocation.
    pub dropped_rate: u64,
    /// Data for which the system or a connection had no room.
    pub dropped_full: u64,
    /// Messages that were neither understood nor answered.
    pub ignored: u64,
}

impl Counters {
    /// The text format of Prometheus, version 0.0.4.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        let mut metric = |kind: &str, name: &str, help: &str, samples: &[(&str, u64)]| {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "# HELP dig_turn_{name} {help}\n# TYPE dig_turn_{name} {kind}"
            );
            for (labels, value) in samples {
                let _ = writeln!(text, "dig_turn_{name}{labels} {value}");
            }
        };
        metric(
            "gauge",
            "allocations",
            "Allocations that live.",
            &[("", self.allocations)],
        );
        metric(
            "counter",
            "allocations_made_total",
            "Allocations made.",
            &[("", self.allocations_made)],
        );
        metric(
            "counter",
            "refused_total",
            "Requests refused, by reason.",
            &self.refused(),
        );
        metric(
            "counter",
            "packets_total",
            "Datagrams forwarded, by direction.",
            &[
                ("{to=\"peers\"}", self.packets_to_peers),
                ("{to=\"clients\"}", self.packets_to_clients),
            ],
        );
        metric(
            "counter",
            "bytes_total",
            "Bytes of data forwarded, by direction.",
            &[
                ("{to=\"peers\"}", self.bytes_to_peers),
                ("{to=\"clients\"}", self.bytes_to_clients),
            ],
        );
        metric(
            "counter",
            "dropped_total",
            "Datagrams dropped, by reason.",
            &self.dropped(),
        );
        text
    }

    fn refused(&self) -> [(&'static str, u64); 4] {
        [
            ("{reason=\"unproved\"}", self.refused_unproved),
            ("{reason=\"quota\"}", self.refused_quota),
            ("{reason=\"peer\"}", self.refused_peers),
            ("{reason=\"other\"}", self.refused_other),
        ]
    }

    fn dropped(&self) -> [(&'static str, u64); 4] {
        [
            ("{reason=\"stray\"}", self.dropped_stray),
            ("{reason=\"rate\"}", self.dropped_rate),
            ("{reason=\"full\"}", self.dropped_full),
            ("{reason=\"ignored\"}", self.ignored),
        ]
    }
}
