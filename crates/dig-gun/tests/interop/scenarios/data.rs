//! What a graph holds: values of all types, links, sets, tombstones.

use crate::{bed::Bed, peer::Kind};
use dig_gun::graph::set_soul;
use serde_json::{Map, Value as Json, json};

/// Every peer writes a field, then each in its turn the same one.
pub(super) async fn puts(bed: &Bed) {
    bed.follow(&["puts/all"]).await;
    let mut all = Map::new();
    for peer in bed.writers() {
        let data = json!({peer.name.clone(): "a text", "yes": true, "no": false, "number": 1.5});
        peer.put("puts/all", &data).await;
        all.extend(data.as_object().unwrap().clone());
    }
    bed.agree(&json!({"puts/all": all})).await;
    for peer in bed.writers() {
        peer.put("puts/all", &json!({"turn": peer.name})).await;
        all.insert("turn".to_owned(), json!(peer.name));
        bed.agree(&json!({"puts/all": all})).await;
    }
}

/// Objects within objects become nodes, and nodes link to those of others.
pub(super) async fn links(bed: &Bed) {
    let mut wanted = Map::new();
    let names: Vec<String> = bed
        .writers()
        .map(|peer| format!("links/{}", peer.name))
        .collect();
    let souls: Vec<String> = names
        .iter()
        .flat_map(|name| {
            [
                name.clone(),
                format!("{name}/address"),
                format!("{name}/address/geo"),
            ]
        })
        .collect();
    let souls: Vec<&str> = souls.iter().map(String::as_str).collect();
    bed.follow(&souls).await;
    for (peer, (name, next)) in bed
        .writers()
        .zip(names.iter().zip(names.iter().cycle().skip(1)))
    {
        let data = json!({"name": peer.name, "address": {"city": "Paris", "geo": {"lat": 48.8566, "lon": 2.3522}}});
        peer.put(name, &data).await;
        peer.put(name, &json!({"friend": {"#": next}})).await;
        let (address, geo) = (format!("{name}/address"), format!("{name}/address/geo"));
        wanted.insert(
            name.clone(),
            json!({"name": peer.name, "address": {"#": address}, "friend": {"#": next}}),
        );
        wanted.insert(address, json!({"city": "Paris", "geo": {"#": geo}}));
        wanted.insert(geo, json!({"lat": 48.8566, "lon": 2.3522}));
    }
    bed.agree(&Json::Object(wanted)).await;
}

/// Members that every peer adds to one set.
pub(super) async fn sets(bed: &Bed) {
    bed.follow(&["sets/all"]).await;
    let mut wanted = Map::new();
    let mut members = Map::new();
    for (peer, byte) in bed.writers().zip(1..) {
        let member = json!({"by": peer.name});
        let soul = if let Some(ours) = peer.ours() {
            let soul = set_soul(ours.gun.state(), [byte; 16]).to_string();
            peer.put(&soul, &member).await;
            peer.put("sets/all", &json!({soul.clone(): {"#": soul}}))
                .await;
            soul
        } else {
            let set = json!({"do": "set", "path": ["sets/all"], "data": member});
            peer.order(set).await.as_str().unwrap().to_owned()
        };
        members.insert(soul.clone(), json!({"#": soul}));
        wanted.insert(soul, member);
    }
    let souls: Vec<&str> = wanted.keys().map(String::as_str).collect();
    bed.follow(&souls).await;
    wanted.insert("sets/all".to_owned(), Json::Object(members));
    bed.agree(&Json::Object(wanted)).await;
}

/// A field that one peer writes, another deletes and a third writes again; a link that is cut.
pub(super) async fn nulls(bed: &Bed) {
    let (ours, core) = (bed.a(Kind::Ours), bed.a(Kind::Core));
    bed.follow(&["nulls/a", "nulls/a/child"]).await;
    core.put("nulls/a", &json!({"field": 1, "child": {"x": 1}}))
        .await;
    let full = json!({"nulls/a": {"field": 1, "child": {"#": "nulls/a/child"}}, "nulls/a/child": {"x": 1}});
    bed.agree(&full).await;
    ours.put("nulls/a", &json!({"field": null, "child": null}))
        .await;
    bed.agree(&json!({"nulls/a": {"field": null, "child": null}, "nulls/a/child": {"x": 1}}))
        .await;
    let browser = bed.a(Kind::Browser);
    browser.put("nulls/a", &json!({"field": "again"})).await;
    ours.put("nulls/a/child", &json!({"x": null})).await;
    bed.agree(&json!({"nulls/a": {"field": "again", "child": null}, "nulls/a/child": {"x": null}}))
        .await;
}

/// Numbers at the ends of what JavaScript has, from both sides.
pub(super) async fn numbers(bed: &Bed) {
    let numbers = json!({
        "whole": 5.0, "negative": -7, "zero": 0, "minus zero": -0.0, "largest whole": 9_007_199_254_740_991_i64,
        "beyond": 9_007_199_254_740_993_i64, "exponent": 1e21, "no exponent": 1e20, "small": 1e-7, "not so small": 1e-6,
        "sum": 0.1 + 0.2, "largest": f64::MAX, "least": 5e-324, "least normal": f64::MIN_POSITIVE, "pi": std::f64::consts::PI,
    });
    bed.follow(&["numbers/ours", "numbers/core"]).await;
    bed.a(Kind::Ours).put("numbers/ours", &numbers).await;
    bed.a(Kind::Core).put("numbers/core", &numbers).await;
    bed.agree(&json!({"numbers/ours": numbers, "numbers/core": numbers}))
        .await;
}
