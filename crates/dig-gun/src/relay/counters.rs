//! What a relay did so far.

use std::fmt::Write as _;

/// Counts since the start, but for the gauges, which say what is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Gauge: connections.
    pub connections: u64,
    /// Gauge: connections to relays, joined or come to us.
    pub relays: u64,
    /// Gauge: souls and fields that are followed, by each connection.
    pub subscriptions: u64,
    /// Gauge: patterns that are followed.
    pub patterns: u64,
    /// Gauge: nodes in memory.
    pub cached_nodes: u64,
    /// Gauge: about the bytes that they take.
    pub cached_bytes: u64,
    /// Gauge: fields that wait for their time.
    pub deferred: u64,
    /// Gauge: about the bytes on their way to the store.
    pub unwritten_bytes: u64,
    /// Gauge: nodes in the store.
    pub stored_nodes: u64,
    /// Gauge: bytes in the store.
    pub stored_bytes: u64,
    /// Gauge: bytes that wait to be sent.
    pub outgoing_bytes: u64,
    /// Connections made.
    pub connected: u64,
    /// Connections turned away for a limit.
    pub turned: u64,
    /// Connections ended because they read too slowly.
    pub closed_slow: u64,
    /// Connections ended for a frame too long, or too many unfinished ones.
    pub closed_frames: u64,
    /// Times that a connection was made to wait for its origin's rate.
    pub slowed: u64,
    /// Messages that came.
    pub messages: u64,
    /// Bytes of frames that came.
    pub bytes_in: u64,
    /// Bytes of frames that were sent.
    pub bytes_out: u64,
    /// Writes that came.
    pub puts: u64,
    /// Nodes that came in writes and answers and changed something.
    pub changes: u64,
    /// Nodes that came and changed nothing.
    pub unchanged: u64,
    /// Writes that were acknowledged or, when they could not be stored, refused.
    pub acks: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Questions that came.
    pub gets: u64,
    /// Answers given.
    pub answers: u64,
    /// Questions asked.
    pub asks: u64,
    /// Answers with data that came.
    pub answers_heard: u64,
    /// Changes told, once for each who was told.
    pub pushes: u64,
    /// Questions whose answers are not followed by changes, for a limit.
    pub unfollowed: u64,
    /// Messages, or frames, that mean nothing here.
    pub ignored: u64,
    /// Nodes read from the store.
    pub loads: u64,
    /// Groups of changes written to the store.
    pub commits: u64,
    /// Reads and writes that the store failed.
    pub store_errors: u64,
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
                "# HELP dig_gun_{name} {help}\n# TYPE dig_gun_{name} {kind}"
            );
            for (labels, value) in samples {
                let _ = writeln!(text, "dig_gun_{name}{labels} {value}");
            }
        };
        for (name, help, value) in self.gauges() {
            metric("gauge", name, help, &[("", value)]);
        }
        for (name, help, samples) in self.totals() {
            metric("counter", name, help, &samples);
        }
        text
    }

    const fn gauges(&self) -> [(&'static str, &'static str, u64); 11] {
        [
            ("connections", "Connections.", self.connections),
            ("relays", "Connections to relays.", self.relays),
            (
                "subscriptions",
                "Souls and fields that are followed.",
                self.subscriptions,
            ),
            (
                "patterns",
                "Patterns of souls that are followed.",
                self.patterns,
            ),
            ("cached_nodes", "Nodes in memory.", self.cached_nodes),
            (
                "cached_bytes",
                "Bytes of nodes in memory.",
                self.cached_bytes,
            ),
            (
                "deferred",
                "Fields that wait for their time.",
                self.deferred,
            ),
            (
                "unwritten_bytes",
                "Bytes on their way to the store.",
                self.unwritten_bytes,
            ),
            ("stored_nodes", "Nodes in the store.", self.stored_nodes),
            ("stored_bytes", "Bytes in the store.", self.stored_bytes),
            (
                "outgoing_bytes",
                "Bytes that wait to be sent.",
                self.outgoing_bytes,
            ),
        ]
    }

    fn totals(&self) -> Vec<(&'static str, &'static str, Vec<(&'static str, u64)>)> {
        vec![
            (
                "connections_total",
                "Connections made.",
                vec![("", self.connected)],
            ),
            (
                "connections_turned_total",
                "Connections turned away.",
                vec![("", self.turned)],
            ),
            (
                "connections_closed_total",
                "Connections ended by the relay, by reason.",
                vec![
                    ("{for=\"slow\"}", self.closed_slow),
                    ("{for=\"frame\"}", self.closed_frames),
                ],
            ),
            (
                "slowed_total",
                "Times that a connection was made to wait.",
                vec![("", self.slowed)],
            ),
            (
                "messages_total",
                "Messages that came, by kind.",
                vec![
                    ("{kind=\"put\"}", self.puts),
                    ("{kind=\"get\"}", self.gets),
                    ("{kind=\"answer\"}", self.answers_heard),
                    ("{kind=\"ignored\"}", self.ignored),
                ],
            ),
            (
                "bytes_total",
                "Bytes of frames, by direction.",
                vec![
                    ("{direction=\"in\"}", self.bytes_in),
                    ("{direction=\"out\"}", self.bytes_out),
                ],
            ),
            (
                "nodes_total",
                "Nodes that came, by effect.",
                vec![
                    ("{effect=\"changed\"}", self.changes),
                    ("{effect=\"none\"}", self.unchanged),
                ],
            ),
            ("acks_total", "Writes acknowledged.", vec![("", self.acks)]),
            (
                "refused_total",
                "Messages refused.",
                vec![("", self.refused)],
            ),
            ("answers_total", "Answers given.", vec![("", self.answers)]),
            ("asks_total", "Questions asked.", vec![("", self.asks)]),
            (
                "pushes_total",
                "Changes told to followers.",
                vec![("", self.pushes)],
            ),
            (
                "unfollowed_total",
                "Subscriptions not taken for a limit.",
                vec![("", self.unfollowed)],
            ),
            (
                "loads_total",
                "Nodes read from the store.",
                vec![("", self.loads)],
            ),
            (
                "commits_total",
                "Groups of changes written to the store.",
                vec![("", self.commits)],
            ),
            (
                "store_errors_total",
                "Reads and writes that failed.",
                vec![("", self.store_errors)],
            ),
        ]
    }
}
