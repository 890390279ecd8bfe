//! A relay: gun.js's in a process of its own, or ours in this one.

use crate::{
    held::{self, Held},
    script::{PATIENCE, Script},
};
use dig_gun::{
    client::RelayUrl,
    relay::{ServeOptions, Serving, serve},
    store::{DiskStorage, Storage, StoreConfig, StoreError},
    value::Soul,
};
use serde_json::{Value as Json, json};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

/// A relay on loopback that can be stopped and started again with what it has stored.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) software: Software,
    port: u16,
    folder: PathBuf,
    /// Relays that it dials.
    peers: Vec<String>,
    running: Mutex<Option<Running>>,
}

/// Whose relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Software {
    /// gun.js's, as `require('gun')` gives it.
    GunJs,
    /// The same without AXE: it passes everything on to everybody.
    GunJsWithoutAxe,
    /// Ours, with a database on disk.
    Ours,
}

#[derive(Debug)]
enum Running {
    GunJs(Box<Script>),
    Ours(Box<Serving>, Arc<dyn Storage>),
}

impl Relay {
    /// Starts a relay on this port which dials those.
    pub(crate) async fn start(
        software: Software,
        port: u16,
        folder: PathBuf,
        peers: Vec<String>,
    ) -> Self {
        let relay = Self {
            software,
            port,
            folder,
            peers,
            running: Mutex::new(None),
        };
        relay.restart().await;
        relay
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/gun", self.port)
    }

    /// Ends it: gun.js's as kill -9 does, which is the only way it ends; ours in order.
    pub(crate) async fn stop(&self) {
        match self.running.lock().await.take() {
            Some(Running::GunJs(script)) => script.kill().await,
            Some(Running::Ours(serving, _)) => (*serving).shutdown().await,
            None => {}
        }
    }

    /// Starts it again with what it has stored.
    pub(crate) async fn restart(&self) {
        let running = match self.software {
            Software::GunJs => Running::GunJs(Box::new(self.gun_js(true).await)),
            Software::GunJsWithoutAxe => Running::GunJs(Box::new(self.gun_js(false).await)),
            Software::Ours => self.ours().await,
        };
        *self.running.lock().await = Some(running);
    }

    /// What it holds of these nodes.
    pub(crate) async fn graph(&self, souls: &[&str]) -> Held {
        match &*self.running.lock().await {
            Some(Running::GunJs(script)) => {
                held::of_script(&script.ask(json!({"do": "graph", "souls": souls})).await)
            }
            Some(Running::Ours(_, storage)) => souls
                .iter()
                .map(|soul| {
                    let node = storage.load(&Soul::new(soul).unwrap()).unwrap();
                    ((*soul).to_owned(), node.as_ref().map(held::of_node))
                })
                .collect(),
            None => panic!("the relay at {} is stopped", self.url()),
        }
    }

    /// Has it ask its peers, and its disk, for these nodes, if it is gun.js's: ours does so when its clients do.
    pub(crate) async fn ask(&self, souls: &[&str]) {
        if let Some(Running::GunJs(script)) = &*self.running.lock().await {
            script.ask(json!({"do": "ask", "souls": souls})).await;
        }
    }

    async fn gun_js(&self, axe: bool) -> Script {
        let mut options: Json = json!({"port": self.port, "folder": self.folder, "axe": axe});
        options["peers"] = self
            .peers
            .iter()
            .map(|url| url.replacen("ws", "http", 1))
            .collect();
        let options = options.to_string();
        let name = format!("gun.js's relay at {}", self.url());
        let (script, _) = Script::start(&name, "peer.js", &["relay", &options], &self.folder).await;
        // It dials its own peers when it first asks for something.
        script
            .ask(json!({"do": "follow", "souls": ["interop/dial"]}))
            .await;
        script
    }

    async fn ours(&self) -> Running {
        std::fs::create_dir_all(&self.folder).unwrap();
        let file = self.folder.join("gun.redb");
        // The threads of the one before may take a moment to let go of the file.
        let end = Instant::now() + PATIENCE;
        let storage: Arc<dyn Storage> = loop {
            match DiskStorage::open(&file, StoreConfig::default()) {
                Err(StoreError::Locked { .. }) if Instant::now() < end => {
                    sleep(Duration::from_millis(20)).await;
                }
                opened => break Arc::new(opened.unwrap()),
            }
        };
        let join: Vec<RelayUrl> = self.peers.iter().map(|url| url.parse().unwrap()).collect();
        let listen = SocketAddr::from(([127, 0, 0, 1], self.port));
        let options = ServeOptions {
            join,
            ..ServeOptions::new(vec![listen], Arc::clone(&storage))
        };
        Running::Ours(Box::new(serve(options).await.unwrap()), storage)
    }
}
