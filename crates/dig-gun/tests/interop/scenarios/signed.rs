//! What only its owner can write.

use crate::{
    bed::{Bed, until},
    held,
    peer::{Kind, Peer},
};
use dig_gun::{
    sea,
    value::{Key, Soul, State},
};
use serde_json::{Value as Json, json};

/// Makes a user, who is logged in then; its public key.
async fn create(peer: &Peer, alias: &str) -> String {
    let created =
        json!({"do": "user_create", "alias": alias, "pass": "correct horse battery staple"});
    let answer = peer.order(created).await;
    let key = answer["pub"].as_str().unwrap_or_else(|| panic!("{answer}"));
    key.to_owned()
}

/// A user writes with SEA; other peers read it, with SEA and without, and every signature holds for our code too.
pub(super) async fn user(bed: &Bed) {
    let sea = bed.a(Kind::Sea);
    let alias = "interop-user";
    let key = create(sea, alias).await;
    let profile = json!({"do": "put", "user": true, "path": ["profile"], "data": {"name": "Ada", "born": 1815}});
    let answer = sea.order(profile).await;
    assert_eq!(answer, json!({"ok": true}));
    let (root, child) = (format!("~{key}"), format!("~{key}/profile"));
    bed.follow(&[&root, &child]).await;
    // Everybody has the same, which nobody but SEA can read in plain.
    until("all have the profile", async || {
        let held = bed.held(&[&root, &child]).await;
        held.iter().all(|(_, held)| {
            let node = |soul: &str| {
                held[soul]
                    .as_ref()
                    .map_or(0, std::collections::BTreeMap::len)
            };
            node(&child) == 2 && node(&root) == 5
        }) && held.windows(2).all(|two| two[0].1 == two[1].1)
    })
    .await;
    for peer in bed.of_kind(Kind::Browser).chain(bed.of_kind(Kind::Stored)) {
        let read = json!({"do": "user_once", "pub": key, "path": ["profile"]});
        let answer = peer.order(read).await;
        assert_eq!(
            answer,
            json!({"value": {"name": "Ada", "born": 1815}}),
            "{}",
            peer.name
        );
        let login =
            json!({"do": "user_auth", "alias": alias, "pass": "correct horse battery staple"});
        assert_eq!(peer.order(login).await["pub"], json!(key), "{}", peer.name);
    }
    let held = bed.held(&[&root, &child]).await;
    for (soul, node) in &held[0].1 {
        for (name, (state, value)) in node.as_ref().unwrap() {
            let (soul, name) = (Soul::new(soul).unwrap(), Key::new(name).unwrap());
            let field = dig_gun::graph::Field {
                value: held::value(&serde_json::from_str(value).unwrap()),
                state: State::new(state.parse().unwrap()).unwrap(),
            };
            sea::verify(field.state, &soul, &name, &field).unwrap();
        }
    }
}

/// Who has not the key cannot write: he is told so, and nobody believes it.
pub(super) async fn forger(bed: &Bed) {
    let key = create(bed.a(Kind::Sea), "interop-victim").await;
    let soul = format!("~{key}/status");
    let status =
        json!({"do": "put", "user": true, "path": ["status"], "data": {"text": "genuine"}});
    assert_eq!(bed.a(Kind::Sea).order(status).await, json!({"ok": true}));
    bed.follow(&[&soul]).await;
    let has = |held: &held::Held| {
        held[&soul]
            .as_ref()
            .is_some_and(|node| node.contains_key("text"))
    };
    until("all have the status", async || {
        bed.held(&[&soul]).await.iter().all(|(_, held)| has(held))
    })
    .await;
    let genuine = bed.held(&[&soul]).await;
    // Our client does not check what it is told to write; gun.js alone neither.
    let forged = json!({"text": "forged"});
    let ours = bed.a(Kind::Ours);
    let refused = ours.try_put(&soul, &forged, None).await.unwrap_err();
    assert!(refused.contains("Unverified data."), "{refused}");
    let core = bed.a(Kind::Core);
    let refused = core.try_put(&soul, &forged, None).await.unwrap_err();
    assert!(refused.contains("Unverified data."), "{refused}");
    // The forgers believe themselves, and perhaps nobody else.
    let forgers = [&ours.name, &core.name];
    let held = bed.held(&[&soul]).await;
    for ((name, genuine), (_, held)) in genuine.iter().zip(&held) {
        if !forgers.iter().any(|forger| name.starts_with(*forger)) {
            assert_eq!(held, genuine, "{name}");
        }
    }
}

/// What is named by its hash can be read by all and be nothing else.
pub(super) async fn content(bed: &Bed) {
    let soul = "content#";
    bed.follow(&[soul]).await;
    let mut wanted = json!({});
    for kind in [Kind::Ours, Kind::Core, Kind::Browser] {
        let text = format!("by {kind:?} \u{1f980}");
        let key = sea::content_key(&held::value(&json!(text)));
        bed.a(kind).put(soul, &json!({key.clone(): text})).await;
        wanted[key] = json!(text);
    }
    bed.agree(&json!({soul: wanted})).await;
    let (key, _) = wanted.as_object().unwrap().iter().next().unwrap();
    let other = json!({key.clone(): "something else"});
    for kind in [Kind::Ours, Kind::Core] {
        let refused = bed.a(kind).try_put(soul, &other, None).await.unwrap_err();
        assert!(refused.contains("Data hash not same as hash!"), "{refused}");
    }
    let sound: Json = json!(sea_hash(bed, "a text").await);
    assert_eq!(
        sound,
        json!(sea::content_key(&held::value(&json!("a text"))))
    );
}

/// What SEA says the hash is.
async fn sea_hash(bed: &Bed, text: &str) -> Json {
    bed.a(Kind::Sea)
        .order(json!({"do": "work", "data": text}))
        .await
}
