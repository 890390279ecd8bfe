//! Two write the same field.

use crate::{bed::Bed, peer::Kind};
use futures::future::join_all;
use serde_json::{Map, Value as Json, json};

/// Pairs of values of which the second wins when both were written at one time (facts of HAM: the greater JSON text by UTF-16).
fn pairs() -> Vec<(Json, Json)> {
    vec![
        (json!("a"), json!("b")),
        (json!("b"), json!("ba")),
        (json!("text"), json!(-1)),
        (json!(-1), json!(1)),
        (json!(10), json!(9)),
        (json!(1e21), json!(2)),
        (json!(7), json!(false)),
        (json!(false), json!(null)),
        (json!(null), json!(true)),
        (json!(true), json!({"#": "conflicts/other"})),
        (json!({"#": "conflicts/a"}), json!({"#": "conflicts/b"})),
        // The crab is D83E DD80 in UTF-16, before FFFD; in UTF-8 it is after.
        (json!("\u{1f980}"), json!("\u{fffd}")),
        (json!("\\"), json!("é")),
    ]
}

/// Two peers write different values at the same state, in both orders: one after the other, and where all relays are ours also without waiting. gun.js's
/// relay may pass on neither of two that come within milliseconds.
pub(super) async fn equal_states(bed: &Bed) {
    const STATE: f64 = 1_700_000_000_000.5;
    let pairs = pairs();
    let writers = [
        (Kind::Ours, Kind::Core, "equal/0"),
        (Kind::Core, Kind::Ours, "equal/1"),
        (Kind::Browser, Kind::Sea, "equal/2"),
    ];
    // Every other pair has the greater value written first.
    let node = |first: bool| {
        let fields = pairs.iter().enumerate().map(|(number, (lesser, greater))| {
            let greater_is_first = number % 2 == 1;
            let value = if first == greater_is_first {
                greater
            } else {
                lesser
            };
            (format!("pair {number}"), value.clone())
        });
        Json::Object(fields.collect())
    };
    let (first_data, second_data) = (node(true), node(false));
    let mut winners: Map<String, Json> = pairs
        .iter()
        .enumerate()
        .map(|(number, (_, greater))| (format!("pair {number}"), greater.clone()))
        .collect();
    winners.insert("done".to_owned(), json!(true));
    for (first, second, soul) in writers {
        let (first, second) = (bed.a(first), bed.a(second));
        bed.follow(&[soul]).await;
        first.put_at(soul, &first_data, STATE).await;
        bed.agree(&json!({soul: first_data})).await;
        second.write_at(soul, &second_data, STATE).await;
        // What comes after it on the same connection shows that it has been read.
        second.put(soul, &json!({"done": true})).await;
        bed.agree(&json!({soul: winners})).await;
    }
    if !bed.all_ours() {
        return;
    }
    winners.remove("done");
    let souls = ["at once/0", "at once/1", "at once/2"];
    bed.follow(&souls).await;
    for ((first, second, _), soul) in writers.into_iter().zip(souls) {
        let (first, second) = (bed.a(first), bed.a(second));
        tokio::join!(
            first.write_at(soul, &first_data, STATE),
            second.write_at(soul, &second_data, STATE),
        );
    }
    let wanted = souls.map(|soul| (soul.to_owned(), Json::Object(winners.clone())));
    bed.agree(&Json::Object(wanted.into_iter().collect())).await;
}

/// What was written earlier comes later, and changes nothing.
pub(super) async fn older_states(bed: &Bed) {
    const NEW: f64 = 1_700_000_000_002.0;
    bed.follow(&["older/a", "older/b"]).await;
    let (ours, core) = (bed.a(Kind::Ours), bed.a(Kind::Core));
    ours.put_at("older/a", &json!({"x": "new", "y": "new"}), NEW)
        .await;
    core.put_at("older/b", &json!({"x": "new", "y": "new"}), NEW)
        .await;
    let both = json!({"older/a": {"x": "new", "y": "new"}, "older/b": {"x": "new", "y": "new"}});
    bed.agree(&both).await;
    // Negative states are legal; so are fractions.
    core.write_at("older/a", &json!({"x": "old"}), -5.0).await;
    ours.write_at("older/b", &json!({"x": "old"}), NEW - 0.001)
        .await;
    // What comes after the older ones on the same connections shows that they have been read.
    core.put_at("older/a", &json!({"y": "newest"}), NEW + 0.001)
        .await;
    ours.put_at("older/b", &json!({"y": "newest"}), NEW + 1.0)
        .await;
    bed.agree(
        &json!({"older/a": {"x": "new", "y": "newest"}, "older/b": {"x": "new", "y": "newest"}}),
    )
    .await;
}

/// All peers write one field many times without waiting for each other; whatever wins does so everywhere.
pub(super) async fn all_at_once(bed: &Bed) {
    const ROUNDS: u32 = 20;
    bed.follow(&["rush/a"]).await;
    join_all(bed.writers().map(|peer| async move {
        for round in 0..ROUNDS {
            peer.write("rush/a", &json!({"x": format!("{} {round}", peer.name)}))
                .await;
        }
        peer.put("rush/a", &json!({peer.name.clone(): "done"}))
            .await;
    }))
    .await;
    let last = bed.a(Kind::Ours);
    // Later than all by the one clock there is.
    last.put("rush/a", &json!({"x": "last"})).await;
    let done = bed.writers().map(|peer| (peer.name.clone(), json!("done")));
    let mut wanted: Map<String, Json> = done.collect();
    wanted.insert("x".to_owned(), json!("last"));
    bed.agree(&json!({"rush/a": wanted})).await;
}
