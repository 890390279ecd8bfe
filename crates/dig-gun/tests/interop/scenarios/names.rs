//! Souls, keys and values of any text.

use crate::{bed::Bed, peer::Kind};
use serde_json::{Map, Value as Json, json};

/// Beyond ASCII, in souls, keys and values, from each kind of peer.
pub(super) async fn unicode(bed: &Bed) {
    const TEXTS: [&str; 9] = [
        "Grüße",
        "世界",
        "🦀 and 👩\u{200d}👩\u{200d}👧",
        "line\u{2028}and paragraph\u{2029}",
        "quote \" backslash \\ slash / tab \t newline \n",
        "controls \u{0} \u{1} \u{8} \u{c} \u{1f} \u{7f} \u{9f}",
        "right to left \u{202e}שלום",
        "private \u{e000} \u{ffff} \u{feff}",
        "e\u{301} is not \u{e9}",
    ];
    let souls: Vec<String> = bed
        .writers()
        .map(|peer| format!("unicode/Straße 🛣/{}", peer.name))
        .collect();
    let names: Vec<&str> = souls.iter().map(String::as_str).collect();
    bed.follow(&names).await;
    let node: Map<String, Json> = TEXTS
        .iter()
        .map(|text| ((*text).to_owned(), json!(text)))
        .collect();
    let node = Json::Object(node);
    for (peer, soul) in bed.writers().zip(&souls) {
        peer.put(soul, &node).await;
    }
    let wanted: Map<String, Json> = souls
        .iter()
        .map(|soul| (soul.clone(), node.clone()))
        .collect();
    bed.agree(&Json::Object(wanted)).await;
}

/// Names that mean something to JavaScript or to Gun.
pub(super) async fn odd(bed: &Bed) {
    const KEYS: [&str; 12] = [
        "10",
        "9",
        "#",
        ".",
        ":",
        ">",
        "put",
        "toString",
        "constructor",
        "valueOf",
        " ",
        "a/b",
    ];
    bed.follow(&["odd/ours", "odd/core", "odd 1", "odd 1/10"])
        .await;
    let node: Map<String, Json> = KEYS
        .iter()
        .map(|key| ((*key).to_owned(), json!(key)))
        .collect();
    let node = Json::Object(node);
    bed.a(Kind::Ours).put("odd/ours", &node).await;
    bed.a(Kind::Core).put("odd/core", &node).await;
    bed.a(Kind::Sea)
        .put("odd 1", &json!({"10": {"9": 1, "10": 2}}))
        .await;
    bed.agree(&json!({
        "odd/ours": node, "odd/core": node, "odd 1": {"10": {"#": "odd 1/10"}}, "odd 1/10": {"9": 1, "10": 2},
    }))
    .await;
}
