//! What happens when this machine's network changes, or the machine was asleep: peers are told at once where it is now.

use super::Inner;
use dig_session::{LaneSender, Transport};
use std::{sync::Arc, time::Duration};

/// A TCP connection belongs to the address that it was made from. It has so long to show that this one is still there.
const DOUBT: Duration = Duration::from_millis(700);
/// `BYE` code of a lane that is given up (`docs/protocol.md` §3).
const DONE: u16 = 0;

/// Sends a packet on every lane when the network changes: QUIC's other end sees the new address, and follows once it has been validated
/// (RFC 9000 §9), and rendezvous peers tell from where. Lanes over TCP that say nothing then are given up, so that they are dialled anew.
pub(super) async fn roam(inner: Arc<Inner>) {
    let mut changes = inner.nat.network_changes();
    changes.mark_unchanged();
    loop {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = inner.stop.cancelled() => return,
        }
        changes.mark_unchanged();
        let lanes = inner.links.senders();
        lanes.iter().for_each(LaneSender::ping);
        inner.introductions.signaling().refresh();
        let streams: Vec<LaneSender> = lanes
            .into_iter()
            .filter(|lane| lane.info().transport == Transport::TlsTcp)
            .collect();
        if !streams.is_empty() {
            tokio::spawn(give_up(streams));
        }
    }
}

async fn give_up(lanes: Vec<LaneSender>) {
    tokio::time::sleep(DOUBT).await;
    for lane in lanes {
        if lane.silence() >= DOUBT {
            lane.close(DONE, "the network changed");
        }
    }
}
