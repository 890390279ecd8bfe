//! States that are still to come, and times without a relay.

use crate::{
    bed::{Bed, until},
    held,
    peer::Kind,
    relay::Relay,
};
use dig_gun::client::RelayStatus;
use futures::future::join_all;
use serde_json::json;
use std::time::{Duration, SystemTime};

/// What is written for a time to come holds from then on, at every peer.
pub(super) async fn future(bed: &Bed) {
    const AHEAD: Duration = Duration::from_secs(3);
    let souls = ["future/ours", "future/core"];
    bed.follow(&souls).await;
    for (kind, soul) in [Kind::Ours, Kind::Core].into_iter().zip(souls) {
        bed.a(kind).put(soul, &json!({"x": "now"})).await;
    }
    let before = json!({"future/ours": {"x": "now"}, "future/core": {"x": "now"}});
    bed.agree(&before).await;
    let due = now() + AHEAD.as_secs_f64() * 1000.0;
    for (kind, soul) in [Kind::Ours, Kind::Core].into_iter().zip(souls) {
        bed.a(kind).write_at(soul, &json!({"x": "then"}), due).await;
    }
    let held = bed.held(&souls).await;
    // On a machine that stood still for seconds there is nothing to see any more.
    if now() < due {
        for (name, held) in &held {
            assert_eq!(
                held::differs(held, &before),
                None,
                "{name}, before its time"
            );
        }
    }
    bed.agree(&json!({"future/ours": {"x": "then"}, "future/core": {"x": "then"}}))
        .await;
    assert!(now() >= due, "before its time");
}

/// The relays go and come back. What was acknowledged is there; what our clients wrote meanwhile arrives, and where all relays are ours also what
/// gun.js's wrote, which it does not send again by itself; and all still hear of changes.
///
/// All but `require('gun')` in Node, which does not ask again for what it follows when it is connected again, so that no relay can know.
pub(super) async fn reconnection(bed: &Bed) {
    const DEAF: &[Kind] = &[Kind::Default];
    let souls = ["gone/before", "gone/ours", "gone/core", "gone/after"];
    bed.follow(&souls).await;
    let (ours, core) = (bed.a(Kind::Ours), bed.a(Kind::Core));
    ours.put("gone/before", &json!({"ours": 1})).await;
    core.put("gone/before", &json!({"core": 1})).await;
    bed.agree(&json!({"gone/before": {"ours": 1, "core": 1}}))
        .await;
    join_all(bed.relays.iter().map(Relay::stop)).await;
    until("our client knows", async || {
        let status = ours.ours().unwrap().gun.status();
        let up = status.borrow().iter().any(RelayStatus::is_up);
        !up
    })
    .await;
    until("gun.js knows", async || {
        core.order(json!({"do": "peers"})).await == json!(0)
    })
    .await;
    ours.write("gone/ours", &json!({"offline": "written"}))
        .await;
    core.write("gone/core", &json!({"offline": "written"}))
        .await;
    for relay in &bed.relays {
        relay.restart().await;
    }
    let mut wanted =
        json!({"gone/before": {"ours": 1, "core": 1}, "gone/ours": {"offline": "written"}});
    if bed.all_ours() {
        wanted["gone/core"] = json!({"offline": "written"});
    }
    bed.agree_but(DEAF, &wanted).await;
    for peer in bed.peers.iter().filter(|peer| !DEAF.contains(&peer.kind)) {
        peer.put("gone/after", &json!({peer.name.clone(): "back"}))
            .await;
        wanted["gone/after"][&peer.name] = json!("back");
    }
    bed.agree_but(DEAF, &wanted).await;
}

/// Milliseconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs_f64() * 1000.0
}
