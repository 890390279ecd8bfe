//! Signed records by topic.

use super::{
    graph::{GraphError, SharedGraph},
    layout::{self, Slots, Topic},
    rolling::{Bounds, Rolling},
};
use dig_identity::record::{self, RecordError, SignedRecord};
use dig_types::Clock;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// What is read of a topic in half an hour. Ten thousand records of a flood fit: each costs a hash and some JSON, and who cannot
/// be believed displaces nobody.
const BOUNDS: Bounds = Bounds {
    fields: 16_384,
    bytes: 16 << 20,
};
/// Records that are remembered so as not to be given twice: one is written anew for each slot.
const REMEMBERED: usize = 1024;

/// Publishes and receives signed records by topic. Clones are the same.
#[derive(Debug, Clone)]
pub struct GunBus {
    graph: Arc<dyn SharedGraph>,
    clock: Arc<dyn Clock>,
}

impl GunBus {
    /// A bus on this graph; `clock` decides what is still to be believed.
    pub fn new(graph: Arc<dyn SharedGraph>, clock: Arc<dyn Clock>) -> Self {
        Self { graph, clock }
    }

    /// Publishes a record. It is found for an hour from now, or as long as it is valid, if that is less; who wants it to be found longer
    /// publishes it again.
    ///
    /// Returns when a relay has it for good. Without a relay it fails, but is sent when one is connected.
    pub async fn publish(&self, topic: Topic, record: &SignedRecord) -> Result<(), PublishError> {
        let slot = Slots::TOPIC.at(self.clock.now());
        let node = topic
            .soul(slot)
            .zip(Slots::TOPIC.state(slot))
            .and_then(|(soul, state)| layout::content(soul, record.as_str(), state))
            .ok_or(PublishError::Clock)?;
        Ok(self.graph.put(node).await?)
    }

    /// The records of a topic that are to be believed: what is known, then what comes, until the stream is dropped. The same record is not given
    /// twice in a row, but may come again; which of several replaces another is the reader's to know ([`SignedRecord::succeeds`]).
    pub fn receive(&self, topic: Topic) -> BoxStream<'static, SignedRecord> {
        let clock = self.clock.clone();
        let (mut known, mut order) = (BTreeSet::new(), VecDeque::new());
        let believed = self.texts(topic, record::MAX_LEN).map(move |texts| {
            let mut believed = Vec::new();
            for text in texts {
                let Some(record) = believe(&text, &*clock).filter(|_| known.insert(text.clone()))
                else {
                    continue;
                };
                believed.push(record);
                order.push_back(text);
                if order.len() > REMEMBERED
                    && let Some(oldest) = order.pop_front()
                {
                    known.remove(&oldest);
                }
            }
            stream::iter(believed)
        });
        believed.flatten().boxed()
    }

    /// The texts of a topic, whoever wrote them, up to a length; together what came together.
    pub(super) fn texts(&self, topic: Topic, longest: usize) -> BoxStream<'static, Vec<Arc<str>>> {
        let soul = move |slot| topic.soul(slot);
        let (graph, clock) = (self.graph.clone(), self.clock.clone());
        let rolling = Rolling::new(graph, clock, (Slots::TOPIC, BOUNDS), soul);
        stream::unfold(rolling, move |mut rolling| async move {
            let (_, node) = rolling.next().await;
            let texts = layout::contents(&node, longest).map(Into::into);
            Some((texts.collect(), rolling))
        })
        .boxed()
    }

    pub(super) fn graph(&self) -> &Arc<dyn SharedGraph> {
        &self.graph
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

fn believe(text: &str, clock: &dyn Clock) -> Option<SignedRecord> {
    match SignedRecord::parse(text, clock.now()) {
        Ok(record) => Some(record),
        Err(RecordError::Expired) => None,
        Err(error) => {
            tracing::debug!(%error, "a record of the Gun graph is not believed");
            None
        }
    }
}

/// Why a record is not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The graph does not take it now.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The time of day cannot be written.
    #[error("the clock of this machine is set to no time that can be")]
    Clock,
}
