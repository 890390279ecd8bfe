//! Reading without having followed.

use crate::{
    bed::{Bed, until},
    peer::Kind,
    relay::Software,
};
use serde_json::{Map, Value as Json, json};

/// What nobody has written is not there, and whoever asks is told so.
pub(super) async fn missing(bed: &Bed) {
    for peer in &bed.peers {
        let soul = format!("missing/{}", peer.name);
        assert!(peer.finds_nothing(&soul).await, "{}", peer.name);
    }
}

/// Peers that come when all is written read it.
pub(super) async fn late_readers(bed: &Bed) {
    let core = bed.a(Kind::Core);
    let data: Map<String, Json> = (0..40)
        .map(|number| (format!("k{number:02}"), json!(number)))
        .collect();
    let data = Json::Object(data);
    core.put("late/a", &data).await;
    for relay in 0..bed.relays.len() {
        for kind in [Kind::Ours, Kind::Core] {
            let late = bed
                .peer(kind, format!("late-{kind:?}-{relay}"), relay)
                .await;
            late.follow(&["late/a"]).await;
            let wanted = json!({"late/a": data});
            until("a late reader has it", async || {
                crate::held::differs(&late.graph(&["late/a"]).await, &wanted).is_none()
            })
            .await;
            if let Some(ours) = late.ours() {
                assert_eq!(ours.field("late/a", "k07").await.as_deref(), Some("7"));
                assert_eq!(ours.once("late/a").await.unwrap().len(), 40);
            }
        }
    }
}

/// Ranges of keys. gun.js's relay does not answer them for nodes that were read whole and written since; ours always.
pub(super) async fn lexical(bed: &Bed) {
    const SOUL: &str = "lex/people";
    const FOLLOWED: &str = "lex/followed";
    let people = json!({"alice": 1, "alan": 2, "bob": 3, "carol": 4, "dave": 5, "álvaro": 6});
    bed.a(Kind::Core).put(SOUL, &people).await;
    // It is to be at every relay that is asked.
    until("the relays have it", async || {
        let held = bed.held(&[SOUL]).await;
        let mut relays = held.iter().take(bed.relays.len());
        relays.all(|(_, held)| held[SOUL].as_ref().is_some_and(|node| node.len() == 6))
            || bed.relays.len() > 1
    })
    .await;
    let mut souls = vec![SOUL];
    if bed.all_ours() {
        bed.follow(&[FOLLOWED]).await;
        bed.a(Kind::Ours).put(FOLLOWED, &people).await;
        bed.agree(&json!({FOLLOWED: people})).await;
        bed.a(Kind::Core).put(FOLLOWED, &json!({"zoe": 7})).await;
        souls.push(FOLLOWED);
    }
    for soul in souls {
        for ours in bed.of_kind(Kind::Ours) {
            let found = ours.ours().unwrap().with_prefix(soul, "al").await;
            let keys: Vec<&str> = found.keys().map(String::as_str).collect();
            assert_eq!(keys, ["alan", "alice"], "{} {soul}", ours.name);
        }
        // gun.js's own client takes the same keys for matching that its relay sends.
        let reader = bed.of_kind(Kind::Core).chain(bed.of_kind(Kind::Browser));
        for peer in reader.filter(|peer| bed.relays[peer.relay].software == Software::Ours) {
            let name = format!("{} {soul}", peer.name);
            let lex =
                json!({"do": "lex", "name": name, "soul": soul, "lex": {"*": "al"}, "limit": 1000});
            peer.order(lex).await;
            until(&format!("{name} finds two"), async || {
                let found = peer.order(json!({"do": "found", "name": name})).await;
                found == json!({"alan": 2, "alice": 1})
            })
            .await;
        }
    }
}
