//! How the Gun relays of a node do, for people and programs.

use crate::output::Output;
use dig::{
    Node,
    gun::{LinkState, RelayStatus},
};
use serde_json::json;
use std::collections::BTreeMap;
use tokio_util::task::AbortOnDropHandle;

/// Whether any relay was named.
pub(crate) fn has_relays(node: &Node) -> bool {
    node.gun()
        .is_some_and(|gun| !gun.status().borrow().is_empty())
}

/// The relays that are connected.
pub(crate) fn connected(node: &Node) -> Vec<String> {
    let Some(gun) = node.gun() else {
        return Vec::new();
    };
    let status = gun.status();
    let status = status.borrow();
    let up = status.iter().filter(|relay| relay.is_up());
    up.map(|relay| relay.url.to_string()).collect()
}

/// Tells when relays are connected and lost, as long as the answer is kept.
pub(crate) fn tell(node: &Node, output: &Output) -> Option<AbortOnDropHandle<()>> {
    let mut status = node.gun()?.status();
    let output = output.clone();
    let telling = async move {
        // Whether each is up, as it was told last.
        let mut told = BTreeMap::new();
        loop {
            let relays = status.borrow_and_update().clone();
            for relay in relays {
                let is_up = match &relay.state {
                    LinkState::Connecting => continue,
                    state => *state == LinkState::Up,
                };
                if told.insert(relay.url.clone(), is_up) != Some(is_up) {
                    say(&relay, &output);
                }
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    };
    Some(AbortOnDropHandle::new(tokio::spawn(telling)))
}

fn say(relay: &RelayStatus, output: &Output) {
    let url = relay.url.to_string();
    match &relay.state {
        LinkState::Down { why, .. } => {
            output.event("gun", json!({"relay": url, "state": "down", "reason": why}));
            output.say(&format!(
                "The Gun relay {url} is not there ({why}); it is tried again from time to time."
            ));
        }
        LinkState::Up => output.event("gun", json!({"relay": url, "state": "up"})),
        LinkState::Connecting => {}
    }
}
