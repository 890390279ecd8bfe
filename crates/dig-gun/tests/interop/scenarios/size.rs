//! More than fits into one of the slices in which gun.js in Node parses JSON: beyond them it loses keys.

use crate::{bed::Bed, peer::Kind};
use serde_json::{Map, Value as Json, json};

/// One value of several hundred thousand characters from each side.
pub(super) async fn long_text(bed: &Bed) {
    const LENGTH: usize = 300_000;
    let souls = ["long/ours", "long/core", "long/browser"];
    bed.follow(&souls).await;
    let mut wanted = Map::new();
    for (kind, soul) in [Kind::Ours, Kind::Core, Kind::Browser]
        .into_iter()
        .zip(souls)
    {
        let text: String = format!("{soul} ¶ ").chars().cycle().take(LENGTH).collect();
        let data = json!({"text": text, "after": 1});
        bed.a(kind).put(soul, &data).await;
        wanted.insert(soul.to_owned(), data);
    }
    bed.agree(&Json::Object(wanted)).await;
}

/// A node of a thousand fields, some hundred thousand characters of JSON in all. From gun.js in Node only where all relays are ours: its own relay loses
/// keys of what it sends.
pub(super) async fn many_fields(bed: &Bed) {
    const FIELDS: usize = 1_000;
    let data: Map<String, Json> = (0..FIELDS)
        .map(|number| {
            let key = format!("field number {number:04}");
            (key, json!(format!("value {number} {}", "x".repeat(60))))
        })
        .collect();
    let data = Json::Object(data);
    let mut wanted = Map::new();
    let writers = [(Kind::Ours, "many/ours"), (Kind::Core, "many/core")];
    for (kind, soul) in writers {
        if kind == Kind::Ours || bed.all_ours() {
            bed.follow(&[soul]).await;
            bed.a(kind).put(soul, &data).await;
            wanted.insert(soul.to_owned(), data.clone());
        }
    }
    bed.agree(&Json::Object(wanted)).await;
}
