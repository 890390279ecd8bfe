//! Reading names that change with time, as if they were one.

use super::{graph::SharedGraph, layout::Slots};
use dig_gun::{
    graph::Node,
    value::{Soul, Value},
};
use dig_types::Clock;
use futures::{
    StreamExt as _,
    stream::{BoxStream, SelectAll},
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The clock may be set in between: it is looked at as often as this at least.
const LOOK: Duration = Duration::from_secs(30);

/// What is read of one slot at most; what comes beyond is not read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Fields.
    pub(super) fields: usize,
    /// Bytes of keys and texts.
    pub(super) bytes: usize,
}

/// A subscription to the slots that are read now.
pub(super) struct Rolling {
    graph: Arc<dyn SharedGraph>,
    clock: Arc<dyn Clock>,
    slots: Slots,
    bounds: Bounds,
    soul: Box<dyn Fn(u64) -> Option<Soul> + Send + Sync>,
    streams: SelectAll<BoxStream<'static, (u64, Node)>>,
    open: BTreeMap<u64, Open>,
}

/// A slot that is read.
struct Open {
    left: Bounds,
    /// `None`: its bounds are used up.
    stop: Option<DropGuard>,
}

impl Rolling {
    pub(super) fn new(
        graph: Arc<dyn SharedGraph>,
        clock: Arc<dyn Clock>,
        (slots, bounds): (Slots, Bounds),
        soul: impl Fn(u64) -> Option<Soul> + Send + Sync + 'static,
    ) -> Self {
        Self {
            graph,
            clock,
            slots,
            bounds,
            soul: Box::new(soul),
            streams: SelectAll::new(),
            open: BTreeMap::new(),
        }
    }

    /// The slots and the fields that come next. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> (u64, Node) {
        loop {
            let change = self.turn();
            tokio::select! {
                Some((slot, node)) = self.streams.next() => {
                    if self.spend(slot, &node) {
                        return (slot, node);
                    }
                }
                () = tokio::time::sleep(change) => {}
            }
        }
    }

    /// Opens the slots whose time has come, and closes those whose time is over; when to look again.
    fn turn(&mut self) -> Duration {
        let now = self.clock.now();
        let read = self.slots.read_at(now);
        self.open.retain(|slot, _| read.contains(slot));
        // The latest word is in the latest slot: what it replaces should come after it.
        for slot in read.rev() {
            if self.open.contains_key(&slot) {
                continue;
            }
            let Some(soul) = (self.soul)(slot) else {
                continue;
            };
            let stop = CancellationToken::new();
            let stream = self.graph.subscribe(soul);
            let stream = stream.take_until(stop.clone().cancelled_owned());
            self.streams
                .push(stream.map(move |node| (slot, node)).boxed());
            let open = Open {
                left: self.bounds,
                stop: Some(stop.drop_guard()),
            };
            self.open.insert(slot, open);
        }
        self.slots.until_change(now).min(LOOK)
    }

    /// Whether these fields are within the bounds of their slot.
    fn spend(&mut self, slot: u64, node: &Node) -> bool {
        let Some(open) = self.open.get_mut(&slot) else {
            return false;
        };
        let bytes: usize = node
            .fields
            .iter()
            .map(|(key, field)| weight(key.as_str(), &field.value))
            .sum();
        let fields = open.left.fields.checked_sub(node.fields.len());
        let bytes = open.left.bytes.checked_sub(bytes);
        match (fields, bytes) {
            (Some(fields), Some(bytes)) => {
                open.left = Bounds { fields, bytes };
                open.stop.is_some()
            }
            _ => {
                if open.stop.take().is_some() {
                    tracing::debug!(slot, "more in one slot of the Gun graph than is read");
                }
                false
            }
        }
    }
}

fn weight(key: &str, value: &Value) -> usize {
    let value = match value {
        Value::Text(text) => text.len(),
        _ => 0,
    };
    key.len() + value
}

impl fmt::Debug for Rolling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open: Vec<_> = self.open.keys().collect();
        f.debug_struct("Rolling")
            .field("open", &open)
            .finish_non_exhaustive()
    }
}
