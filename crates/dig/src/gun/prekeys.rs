//! The prekeys of peers: as announcements gave them, or as their nodes published them.

use super::{
    graph::SharedGraph,
    layout::{self, Slots},
};
use bytes::Bytes;
use data_encoding::BASE64;
use dig_nat::signaling::{SignalError, prekey::SignedPrekey};
use dig_types::{Clock, NodeId, Timestamp};
use futures::future;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Nodes whose prekeys are kept; as many as a lookup finds.
const MAX_KEPT: usize = 256;
/// Prekeys of one node that are checked, of those that lie where its own does: each costs a signature.
const MAX_CHECKED: usize = 64;
/// Longest text of one.
const MAX_TEXT: usize = SignedPrekey::MAX_LEN.div_ceil(3) * 4;

/// Prekeys that were seen, not yet checked. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct PrekeyShelf(Arc<Mutex<BTreeMap<NodeId, Vec<u8>>>>);

impl PrekeyShelf {
    /// Keeps what a node said to be its prekey.
    pub(super) fn keep(&self, node: NodeId, prekey: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !prekey.is_empty() && (kept.len() < MAX_KEPT || kept.contains_key(&node)) {
            kept.insert(node, prekey);
        }
    }

    /// The prekey of a node, if it is one and may be sealed to.
    fn get(&self, node: NodeId, now: Timestamp) -> Option<SignedPrekey> {
        let bytes = {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.get(&node)?.clone()
        };
        check(&bytes, node, now)
    }
}

fn check(bytes: &[u8], node: NodeId, now: Timestamp) -> Option<SignedPrekey> {
    let prekey = SignedPrekey::parse(bytes, node).ok()?;
    prekey.check(now).ok()?;
    Some(prekey)
}

/// The latest prekey of a node that may be sealed to.
pub(super) async fn find(
    graph: &dyn SharedGraph,
    clock: &dyn Clock,
    shelf: &PrekeyShelf,
    node: NodeId,
) -> Result<Bytes, SignalError> {
    let now = clock.now();
    if let Some(prekey) = shelf.get(node, now) {
        return Ok(prekey.bytes().clone());
    }
    let souls = Slots::PREKEY.read_at(now);
    let souls = souls.filter_map(|day| layout::prekeys(node, day));
    let read = future::join_all(souls.map(|soul| graph.read(soul))).await;
    if read.iter().all(Result::is_err) {
        return Err(SignalError::NoCarrier);
    }
    let nodes: Vec<_> = read.into_iter().filter_map(Result::ok).flatten().collect();
    let texts = nodes
        .iter()
        .flat_map(|node| layout::contents(node, MAX_TEXT));
    let prekeys = texts
        .filter_map(|text| BASE64.decode(text.as_bytes()).ok())
        .take(MAX_CHECKED)
        .filter_map(|bytes| check(&bytes, node, now));
    let latest = prekeys.max_by_key(SignedPrekey::issued);
    let latest = latest.ok_or(SignalError::NotFound(node))?;
    shelf.keep(node, latest.bytes().to_vec());
    Ok(latest.bytes().clone())
}
