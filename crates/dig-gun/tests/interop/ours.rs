//! Our client, with a copy of what it hears.

use crate::{
    held::{self, Held},
    script::PATIENCE,
};
use dig_gun::{
    client::{ClientConfig, Gun, PutError},
    graph::{Graph, Node},
    lex::{Lex, Query},
    value::{Key, Soul, State},
};
use futures::StreamExt as _;
use serde_json::Value as Json;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Our client, with a copy of what it hears.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) gun: Gun,
    heard: Arc<Mutex<BTreeMap<Soul, Node>>>,
}

impl Ours {
    /// A client of this relay, connected, that asks again so often for what it follows.
    pub(crate) async fn start(url: &str, refresh: Duration) -> Self {
        let config = ClientConfig {
            relays: vec![url.parse().unwrap()],
            put_timeout: PATIENCE,
            get_patience: PATIENCE,
            refresh,
            ..ClientConfig::default()
        };
        let gun = Gun::start(config);
        assert!(gun.connected(PATIENCE).await, "not connected: {url}");
        Self {
            gun,
            heard: Arc::default(),
        }
    }

    /// Keeps these nodes up to date from now on.
    pub(crate) fn follow(&self, souls: &[&str]) {
        for soul in souls {
            let mut changes = self.gun.subscribe(Query::node(Soul::new(soul).unwrap()));
            let heard = Arc::clone(&self.heard);
            tokio::spawn(async move {
                while let Some(change) = changes.next().await {
                    let mut heard = heard.lock().unwrap();
                    let node = heard
                        .entry(change.soul.clone())
                        .or_insert_with(|| Node::new(change.soul));
                    // As they come: it is the client that merges.
                    node.fields.extend(change.fields);
                }
            });
        }
    }

    /// Asks the relay for these nodes once more, and merges what it answers.
    pub(crate) async fn ask(&self, souls: &[&str]) {
        for soul in souls {
            let query = Query::node(Soul::new(soul).unwrap());
            let Ok(nodes) = self.gun.once(query).await else {
                continue;
            };
            let mut heard = self.heard.lock().unwrap();
            for node in nodes {
                let known = heard
                    .entry(node.soul.clone())
                    .or_insert_with(|| Node::new(node.soul.clone()));
                known.merge(State::new(f64::MAX).unwrap(), &node);
            }
        }
    }

    /// What was heard of these nodes.
    pub(crate) fn graph(&self, souls: &[&str]) -> Held {
        let heard = self.heard.lock().unwrap();
        souls
            .iter()
            .map(|soul| {
                let node = heard.get(&Soul::new(soul).unwrap());
                let node = node.filter(|node| !node.fields.is_empty());
                ((*soul).to_owned(), node.map(held::of_node))
            })
            .collect()
    }

    /// Writes an object, at a state of its own or that of the clock.
    pub(crate) async fn put(
        &self,
        soul: &str,
        data: &Json,
        state: Option<f64>,
    ) -> Result<(), PutError> {
        self.gun.put(self.nodes(soul, data, state)).await.map(drop)
    }

    /// The same without waiting for anybody.
    pub(crate) fn write(&self, soul: &str, data: &Json, state: Option<f64>) {
        self.gun.put_soon(self.nodes(soul, data, state)).unwrap();
    }

    /// What relays answer for a node; none if they do not have it.
    pub(crate) async fn once(&self, soul: &str) -> Option<BTreeMap<String, (String, String)>> {
        let query = Query::node(Soul::new(soul).unwrap());
        let nodes = self.gun.once(query).await.unwrap();
        nodes.first().map(held::of_node)
    }

    /// The same for the keys that begin so.
    pub(crate) async fn with_prefix(
        &self,
        soul: &str,
        prefix: &str,
    ) -> BTreeMap<String, (String, String)> {
        let query = Query::fields(Soul::new(soul).unwrap(), Lex::prefix(prefix), 10_000);
        let nodes = self.gun.once(query).await.unwrap();
        nodes.first().map(held::of_node).unwrap_or_default()
    }

    /// One field.
    pub(crate) async fn field(&self, soul: &str, key: &str) -> Option<String> {
        let (soul, key) = (Soul::new(soul).unwrap(), Key::new(key).unwrap());
        let name = key.as_str().to_owned();
        let nodes = self.gun.once(Query::field(soul, key)).await.unwrap();
        let (_, value) = held::of_node(nodes.first()?).remove(&name)?;
        Some(value)
    }

    fn nodes(&self, soul: &str, data: &Json, state: Option<f64>) -> Vec<Node> {
        let state = state.map_or_else(|| self.gun.state(), |state| State::new(state).unwrap());
        let graph = Graph::from_json(Soul::new(soul).unwrap(), data.clone(), state);
        graph.unwrap().into_nodes().collect()
    }
}
