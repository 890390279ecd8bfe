//! A graph in memory that several nodes of one process share, for tests and simulations.

use super::graph::{GraphError, SharedGraph};
use dig_gun::{
    graph::{Field, Node},
    value::{Key, Soul, Value},
};
use futures::{
    FutureExt as _, StreamExt as _,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{mpsc, watch};

/// A graph without relays: what one writes the others have at once. Clones are the same.
///
/// Like a relay it keeps to the rule for names with a `#` and lets the later state win; of two equal states `null` wins, and the
/// known value otherwise.
#[derive(Debug, Clone)]
pub struct MemoryGraph {
    table: Arc<Mutex<Table>>,
    up: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Default)]
struct Table {
    nodes: BTreeMap<Soul, Node>,
    readers: Vec<(Soul, mpsc::UnboundedSender<Node>)>,
}

impl MemoryGraph {
    /// An empty graph, connected.
    pub fn new() -> Self {
        Self {
            table: Arc::default(),
            up: Arc::new(watch::Sender::new(true)),
        }
    }

    /// Every node that there is.
    pub fn nodes(&self) -> Vec<Node> {
        self.lock().nodes.values().cloned().collect()
    }

    /// Forgets everything, as a relay does that lost its disk.
    pub fn forget(&self) {
        self.lock().nodes.clear();
    }

    /// Connects or disconnects the only relay that there is, for everybody. What is written or read meanwhile fails.
    pub fn connect(&self, up: bool) {
        self.up.send_replace(up);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, node: Node) -> Result<(), GraphError> {
        if !*self.up.borrow() {
            return Err(GraphError::Unreachable);
        }
        let addressed = node.soul.as_str().contains('#');
        let fits = |(key, field): (&Key, &Field)| match &field.value {
            Value::Text(text) => super::layout::content_key(text).as_ref() == Some(key),
            _ => false,
        };
        if addressed && !node.fields.iter().all(fits) {
            return Err(GraphError::Refused("Data hash not same as hash!".into()));
        }
        self.lock().merge(node);
        Ok(())
    }
}

impl Table {
    fn merge(&mut self, node: Node) {
        let soul = node.soul.clone();
        let known = self
            .nodes
            .entry(soul.clone())
            .or_insert_with(|| Node::new(soul.clone()));
        let mut changed = Node::new(soul.clone());
        for (key, field) in node.fields {
            let newer = known.fields.get(&key).is_none_or(|known| {
                field.state > known.state
                    || field.state == known.state
                        && field.value == Value::Null
                        && known.value != Value::Null
            });
            if newer {
                known.fields.insert(key.clone(), field.clone());
                changed.fields.insert(key, field);
            }
        }
        if !changed.fields.is_empty() {
            self.readers
                .retain(|(of, reader)| *of != soul || reader.send(changed.clone()).is_ok());
        }
    }
}

impl Default for MemoryGraph {
    fn default() -> Self {
        Self::new()
    }
}

impl SharedGraph for MemoryGraph {
    fn put(&self, node: Node) -> BoxFuture<'static, Result<(), GraphError>> {
        future::ready(self.write(node)).boxed()
    }

    fn read(&self, soul: Soul) -> BoxFuture<'static, Result<Option<Node>, GraphError>> {
        let up = *self.up.borrow();
        let node = self.lock().nodes.get(&soul).cloned();
        future::ready(if up {
            Ok(node)
        } else {
            Err(GraphError::Unreachable)
        })
        .boxed()
    }

    fn subscribe(&self, soul: Soul) -> BoxStream<'static, Node> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut table = self.lock();
        if let Some(node) = table.nodes.get(&soul) {
            let _ = sender.send(node.clone());
        }
        table.readers.retain(|(_, reader)| !reader.is_closed());
        table.readers.push((soul, sender));
        stream::unfold(receiver, |mut receiver| async {
            Some((receiver.recv().await?, receiver))
        })
        .boxed()
    }

    fn has_relays(&self) -> bool {
        true
    }

    fn relays(&self) -> Vec<Arc<str>> {
        let up = *self.up.borrow();
        up.then(|| "wss://memory.invalid/gun".into())
            .into_iter()
            .collect()
    }

    fn relays_changed(&self) -> BoxFuture<'static, ()> {
        let mut up = self.up.subscribe();
        up.mark_unchanged();
        async move {
            let _ = up.changed().await;
        }
        .boxed()
    }
}
