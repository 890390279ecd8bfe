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
    /// Subscriptions that were not taken, or gave way to later ones, for a limit.
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

/// A number with its name, what it says, and what tells it from others of that name.
type Sample = (&'static str, &'static str, &'static str, u64);

impl Counters {
    /// The text format of Prometheus, version 0.0.4.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        let kinds = [
            ("gauge", self.gauges()),
            ("counter", self.talk()),
            ("counter", self.work()),
        ];
        for (kind, samples) in kinds {
            let mut last = "";
            for (name, help, labels, value) in samples {
                // Writing to a string does not fail.
                if name != last {
                    let _ = writeln!(text, "# HELP dig_gun_{name} {help}");
                    let _ = writeln!(text, "# TYPE dig_gun_{name} {kind}");
                }
                let _ = writeln!(text, "dig_gun_{name}{labels} {value}");
                last = name;
            }
        }
        text
    }

    fn gauges(&self) -> Vec<Sample> {
        vec![
            ("connections", "Connections.", "", self.connections),
            ("relays", "Connections to relays.", "", self.relays),
            (
                "subscriptions",
                "Souls and fields followed.",
                "",
                self.subscriptions,
            ),
            ("patterns", "Patterns of souls followed.", "", self.patterns),
            ("cached_nodes", "Nodes in memory.", "", self.cached_nodes),
            (
                "cached_bytes",
                "Bytes of nodes in memory.",
                "",
                self.cached_bytes,
            ),
            (
                "deferred",
                "Fields that wait for their time.",
                "",
                self.deferred,
            ),
            (
                "unwritten_bytes",
                "Bytes on their way to the store.",
                "",
                self.unwritten_bytes,
            ),
            ("stored_nodes", "Nodes in the store.", "", self.stored_nodes),
            ("stored_bytes", "Bytes in the store.", "", self.stored_bytes),
            (
                "outgoing_bytes",
                "Bytes that wait to be sent.",
                "",
                self.outgoing_bytes,
            ),
        ]
    }

    /// Who came, and what was said.
    fn talk(&self) -> Vec<Sample> {
        const CLOSED: (&str, &str) = ("connections_closed_total", "Connections ended, by reason.");
        const MESSAGES: (&str, &str) = ("messages_total", "Messages that came, by kind.");
        const BYTES: (&str, &str) = ("bytes_total", "Bytes of frames, by direction.");
        vec![
            ("connections_total", "Connections made.", "", self.connected),
            (
                "connections_turned_total",
                "Connections turned away.",
                "",
                self.turned,
            ),
            (CLOSED.0, CLOSED.1, "{for=\"slow\"}", self.closed_slow),
            (CLOSED.0, CLOSED.1, "{for=\"frame\"}", self.closed_frames),
            (
                "slowed_total",
                "Times that a connection had to wait.",
                "",
                self.slowed,
            ),
            (MESSAGES.0, MESSAGES.1, "{kind=\"put\"}", self.puts),
            (MESSAGES.0, MESSAGES.1, "{kind=\"get\"}", self.gets),
            (
                MESSAGES.0,
                MESSAGES.1,
                "{kind=\"answer\"}",
                self.answers_heard,
            ),
            (MESSAGES.0, MESSAGES.1, "{kind=\"ignored\"}", self.ignored),
            (BYTES.0, BYTES.1, "{direction=\"in\"}", self.bytes_in),
            (BYTES.0, BYTES.1, "{direction=\"out\"}", self.bytes_out),
        ]
    }

    /// What was done.
    fn work(&self) -> Vec<Sample> {
        const NODES: (&str, &str) = ("nodes_total", "Nodes that came, by effect.");
        vec![
            (NODES.0, NODES.1, "{effect=\"changed\"}", self.changes),
            (NODES.0, NODES.1, "{effect=\"none\"}", self.unchanged),
            ("acks_total", "Writes acknowledged.", "", self.acks),
            ("refused_total", "Messages refused.", "", self.refused),
            ("answers_total", "Answers given.", "", self.answers),
            ("asks_total", "Questions asked.", "", self.asks),
            (
                "pushes_total",
                "Changes told to followers.",
                "",
                self.pushes,
            ),
            (
                "unfollowed_total",
                "Subscriptions not taken, or given up for later ones.",
                "",
                self.unfollowed,
            ),
            ("loads_total", "Nodes read from the store.", "", self.loads),
            (
                "commits_total",
                "Groups of changes written.",
                "",
                self.commits,
            ),
            (
                "store_errors_total",
                "Reads and writes that failed.",
                "",
                self.store_errors,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_text_is_as_prometheus_wants_it() {
        let counters = Counters {
            puts: 3,
            closed_slow: 2,
            ..Counters::default()
        };
        let text = counters.to_prometheus();
        assert!(
            text.contains("\ndig_gun_messages_total{kind=\"put\"} 3\n"),
            "{text}"
        );
        assert!(
            text.contains("\ndig_gun_connections_closed_total{for=\"slow\"} 2\n"),
            "{text}"
        );
        let mut samples = BTreeSet::new();
        let mut headed = BTreeSet::new();
        for line in text.lines() {
            match line.strip_prefix("# HELP ") {
                Some(head) => assert!(headed.insert(head.split(' ').next()), "twice: {line}"),
                None if line.starts_with("# TYPE ") => {}
                None => assert!(
                    samples.insert(line.rsplit_once(' ').map(|(name, _)| name)),
                    "twice: {line}"
                ),
            }
        }
        assert_eq!(samples.len(), 33);
    }
}
