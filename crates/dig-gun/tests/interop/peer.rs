//! A peer: our client, or gun.js in one of its forms.

use crate::{
    held::{self, Held},
    ours::Ours,
    script::{self, Script},
};
use serde_json::{Value as Json, json};
use std::{path::Path, time::Duration};

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Our client.
    Ours,
    /// gun.js alone in Node: no storage, so whatever it knows came over the wire.
    Core,
    /// gun.js and SEA in Node, without storage.
    Sea,
    /// gun.js and SEA with localStorage, emulated in Node.
    Stored,
    /// `require('gun')` in Node as it is: AXE, a disk, and nothing sent that nobody asked for.
    Default,
    /// gun.js and SEA in Chromium.
    Browser,
}

/// A peer of one relay.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Which of the relays it has dialled.
    pub(crate) relay: usize,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Ours(Ours),
    Script(Box<Script>),
}

impl Kind {
    /// Whether the callback of a put tells what the relay said; else it tells what gun.js's own storage did, or may never come.
    const fn hears_relay(self) -> bool {
        matches!(self, Self::Ours | Self::Core | Self::Sea)
    }
}

impl Peer {
    /// Starts a peer of this relay. Ours asks again so often for what it follows.
    pub(crate) async fn start(
        kind: Kind,
        name: &str,
        relay: usize,
        url: &str,
        refresh: Duration,
        folder: &Path,
    ) -> Self {
        let folder = folder.join(name);
        let gun_url = url.replacen("ws", "http", 1);
        let mut options = json!({"peers": [gun_url], "folder": folder});
        let inner = match kind {
            Kind::Ours => Inner::Ours(Ours::start(url, refresh).await),
            Kind::Browser => {
                options["browser"] = json!(script::browser().unwrap());
                let options = options.to_string();
                let (script, _) = Script::start(name, "browser.js", &[&options], &folder).await;
                Inner::Script(Box::new(script))
            }
            in_node => {
                let word = format!("{in_node:?}").to_lowercase();
                let options = options.to_string();
                let arguments = [word.as_str(), &options];
                let (script, _) = Script::start(name, "peer.js", &arguments, &folder).await;
                Inner::Script(Box::new(script))
            }
        };
        Self {
            name: name.to_owned(),
            kind,
            relay,
            inner,
        }
    }

    /// Our client, if it is that.
    pub(crate) const fn ours(&self) -> Option<&Ours> {
        match &self.inner {
            Inner::Ours(ours) => Some(ours),
            Inner::Script(_) => None,
        }
    }

    /// Gives an order to gun.js (commands.js); what it answers.
    pub(crate) async fn order(&self, order: Json) -> Json {
        match &self.inner {
            Inner::Ours(_) => panic!("{} is no script", self.name),
            Inner::Script(script) => script.ask(order).await,
        }
    }

    /// Keeps these nodes up to date from now on.
    pub(crate) async fn follow(&self, souls: &[&str]) {
        match &self.inner {
            Inner::Ours(ours) => ours.follow(souls),
            Inner::Script(_) => {
                self.order(json!({"do": "follow", "souls": souls})).await;
            }
        }
    }

    /// Asks its relay for these nodes once more.
    pub(crate) async fn ask(&self, souls: &[&str]) {
        match self.ours() {
            Some(ours) => ours.ask(souls).await,
            None => {
                self.order(json!({"do": "ask", "souls": souls})).await;
            }
        }
    }

    /// What it holds of these nodes, which it follows.
    pub(crate) async fn graph(&self, souls: &[&str]) -> Held {
        match &self.inner {
            Inner::Ours(ours) => ours.graph(souls),
            Inner::Script(_) => {
                held::of_script(&self.order(json!({"do": "graph", "souls": souls})).await)
            }
        }
    }

    /// Writes an object, and waits until the relay has acknowledged it if this kind of peer can tell.
    pub(crate) async fn put(&self, soul: &str, data: &Json) {
        if !self.kind.hears_relay() {
            return self.write(soul, data).await;
        }
        let refused = self.try_put(soul, data, None).await.err();
        assert_eq!(refused, None, "{}: {soul} {}", self.name, held::cut(data));
    }

    /// The same at this state.
    pub(crate) async fn put_at(&self, soul: &str, data: &Json, state: f64) {
        if !self.kind.hears_relay() {
            return self.write_at(soul, data, state).await;
        }
        let refused = self.try_put(soul, data, Some(state)).await.err();
        assert_eq!(refused, None, "{}: {soul} {}", self.name, held::cut(data));
    }

    /// Writes an object; what the relay says if it refuses.
    pub(crate) async fn try_put(
        &self,
        soul: &str,
        data: &Json,
        state: Option<f64>,
    ) -> Result<(), String> {
        match &self.inner {
            Inner::Ours(ours) => ours
                .put(soul, data, state)
                .await
                .map_err(|error| error.to_string()),
            Inner::Script(_) => {
                let put = json!({"do": "put", "path": [soul], "data": data, "state": state.unwrap_or_default()});
                let answer = self.order(put).await;
                let refused = answer["refused"].as_str();
                refused.map_or(Ok(()), |refused| Err(refused.to_owned()))
            }
        }
    }

    /// Writes an object without waiting for anybody.
    pub(crate) async fn write(&self, soul: &str, data: &Json) {
        self.write_maybe_at(soul, data, None).await;
    }

    /// The same at this state.
    pub(crate) async fn write_at(&self, soul: &str, data: &Json, state: f64) {
        self.write_maybe_at(soul, data, Some(state)).await;
    }

    async fn write_maybe_at(&self, soul: &str, data: &Json, state: Option<f64>) {
        match &self.inner {
            Inner::Ours(ours) => ours.write(soul, data, state),
            Inner::Script(_) => {
                // gun.js takes the clock for the state 0.
                let state = state.unwrap_or_default();
                let write = json!({"do": "write", "path": [soul], "data": data, "state": state});
                self.order(write).await;
            }
        }
    }

    /// Whether the relay, or whatever this peer asks, answers that there is no such node.
    pub(crate) async fn finds_nothing(&self, soul: &str) -> bool {
        match &self.inner {
            Inner::Ours(ours) => ours.once(soul).await.is_none(),
            Inner::Script(_) => {
                self.order(json!({"do": "once", "path": [soul]})).await == json!({})
            }
        }
    }
}
