//! Messages and signed data against gun.js's own code, in one Node process and without a network.
//!
//! Needs `node` and `npm` with a registry. Where they are missing the tests say SKIP, except with `CI=true`, where that is a
//! failure. Everything but keys and signatures follows from a seed, which is printed; `DIG_SEED=N` runs it again.

#![cfg(test)]

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use dig_gun::{
    frame::{MAX_CHARS, split_put},
    graph::{Field, Node},
    message::{Body, Message, MessageId, WireLimits},
    sea::{self, SeaError},
    value::{Key, Number, Soul, State, Value},
};
use fastrand::Rng;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::{
    env,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::UNIX_EPOCH,
};

/// Installs gun.js, once, outside the sources; says why it cannot.
fn install() -> Result<PathBuf, String> {
    let listed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gun-interop");
    dig_lab::node_modules(&listed, &folder).map_err(|error| error.to_string())
}

/// Runs a script on these lines; its answers, one a line. `None` where it cannot run.
fn ask(script: &str, lines: &[String]) -> Option<Vec<String>> {
    let started = install().and_then(|modules| {
        Command::new("node")
            .arg(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("tests/gun_js")
                    .join(script),
            )
            .env("NODE_PATH", modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("node does not run: {error}"))
    });
    let mut node = match started {
        Ok(node) => node,
        Err(reason) => {
            assert_ne!(
                env::var("CI").as_deref(),
                Ok("true"),
                "cannot be skipped in CI: {reason}"
            );
            println!("SKIP {reason}");
            return None;
        }
    };
    let mut input = node.stdin.take().unwrap();
    let mut output = String::new();
    thread::scope(|scope| {
        scope.spawn(move || {
            input
                .write_all((lines.join("\n") + "\n").as_bytes())
                .unwrap()
        });
        node.stdout
            .take()
            .unwrap()
            .read_to_string(&mut output)
            .unwrap();
    });
    assert!(node.wait().unwrap().success());
    let answers: Vec<String> = output.lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), lines.len());
    Some(answers)
}

fn rng() -> Rng {
    let given = env::var("DIG_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("DIG_SEED={seed}");
    Rng::with_seed(seed)
}

fn text(rng: &mut Rng, longest: usize) -> String {
    let some = [
        "a",
        "Zb",
        "9",
        "10",
        "\"",
        "\\",
        "/",
        "\u{1}",
        "\n",
        "é",
        "\u{2028}",
        "😀",
        "\u{ffff}",
        "_",
        "{",
        "]",
        "__proto__",
    ];
    (0..rng.usize(1..=longest))
        .map(|_| rng.choice(some).unwrap())
        .collect()
}

fn value(rng: &mut Rng, longest: usize) -> Value {
    match rng.u8(0..6) {
        0 => Value::Null,
        1 => Value::Bool(rng.bool()),
        2 => Value::Number(Number::new(rng.f64() * 10_f64.powi(rng.i32(-300..300))).unwrap()),
        3 => Value::Link(Soul::new(&text(rng, 6)).unwrap()),
        _ => Value::text(&text(rng, longest)),
    }
}

fn graph(rng: &mut Rng, nodes: usize, fields: usize, longest: usize) -> Vec<Node> {
    let mut graph: Vec<Node> = Vec::new();
    for at in 0..nodes {
        let mut node = Node::new(Soul::new(&format!("{}{at}", text(rng, 5))).unwrap());
        for _ in 0..rng.usize(fields / 2 + 1..=fields) {
            let state = State::new(1.8e12 + f64::from(rng.u32(..)) / 1000.0).unwrap();
            let key = format!("{}k", text(rng, 5));
            node = node.with(Key::new(&key).unwrap(), value(rng, longest), state);
        }
        graph.push(node);
    }
    graph
}

/// The same with its nodes in the order of their souls: JavaScript puts those that are numbers first.
fn in_order(message: &Message) -> Message {
    let mut message = message.clone();
    if let Body::Put(nodes) = &mut message.body {
        nodes.sort_by(|a, b| a.soul.cmp(&b.soul));
    }
    message
}

#[test]
fn both_parsers_of_gun_js_read_what_is_written() {
    let mut rng = rng();
    let mut messages = Vec::new();
    for _ in 0..200 {
        let (nodes, fields, longest) = (rng.usize(1..6), rng.usize(1..20), rng.usize(1..40));
        messages.push(graph(&mut rng, nodes, fields, longest));
    }
    // Larger than a slice of gun.js's parser.
    for fields in [400, 2_000, 8_000] {
        let nodes = graph(&mut rng, 3, fields, 30);
        let parts = split_put(nodes, MAX_CHARS);
        assert!(parts.len() > 1);
        messages.extend(parts);
    }
    for long in [40_000, 200_000] {
        let mut nodes = graph(&mut rng, 3, 10, 30);
        let key = Key::new("a").unwrap();
        let text = Value::text(&text(&mut rng, long));
        nodes[1] = nodes[1]
            .clone()
            .with(key, text, State::new(1.8e12).unwrap());
        messages.push(nodes);
    }
    let messages: Vec<Message> = messages
        .into_iter()
        .map(|nodes| Message::put(MessageId::from_random(rng.u64(..)), nodes))
        .collect();
    let texts: Vec<String> = messages.iter().map(Message::to_text).collect();
    let Some(answers) = ask("reread.cjs", &texts) else {
        return;
    };
    for ((message, text), answer) in messages.iter().zip(&texts).zip(answers) {
        let (verdict, restated) = answer.split_once(' ').unwrap();
        assert_eq!(verdict, "same", "{text}");
        let read = Message::parse(restated, &WireLimits::default()).unwrap();
        assert!(
            in_order(&read) == in_order(message),
            "{restated}\nof\n{text}"
        );
    }
}

/// One who signs as `sea.js` does.
struct User {
    keys: EcdsaKeyPair,
    name: String,
}

impl User {
    fn new() -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let keys = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).unwrap();
        let point = keys.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| BASE64URL_NOPAD.encode(half));
        Self {
            keys,
            name: format!("{x}.{y}"),
        }
    }

    fn sign(&self, text: &str) -> String {
        let digest = Sha256::digest(text.as_bytes());
        let signature = self.keys.sign(&SystemRandom::new(), &digest).unwrap();
        BASE64.encode(signature.as_ref())
    }

    fn certificate(&self, terms: &Json) -> Json {
        json!({"m": terms, "s": self.sign(&terms.to_string())})
    }
}

/// A put of one field.
struct Case {
    soul: String,
    key: String,
    value: Value,
    what: String,
}

/// When everything was written: before now, by gun.js's clock.
const WRITTEN: f64 = 1_795_345_227_000.0;

impl Case {
    /// A value that this user signs for this place, with these other fields of a signed value.
    fn signed(signer: &User, soul: &str, key: &str, value: &Json, more: &[(&str, Json)]) -> Self {
        let statement = format!(
            r##"{{"#":{},".":{},":":{value},">":{WRITTEN}}}"##,
            json!(soul),
            json!(key)
        );
        let mut text = format!(r#"{{":":{value},"~":"{}""#, signer.sign(&statement));
        for (name, more) in more {
            text += &format!(r#","{name}":{more}"#);
        }
        text.push('}');
        Self {
            soul: soul.to_owned(),
            key: key.to_owned(),
            what: text.clone(),
            value: Value::text(&text),
        }
    }

    fn line(&self) -> String {
        let mut value = String::new();
        dig_gun::text::write_value(&mut value, &self.value);
        format!(
            r#"{{"soul":{},"key":{},"state":{WRITTEN},"value":{value}}}"#,
            json!(self.soul),
            json!(self.key)
        )
    }

    fn verdict(&self) -> Result<(), SeaError> {
        let state = State::new(WRITTEN).unwrap();
        let (soul, key) = (Soul::new(&self.soul).unwrap(), Key::new(&self.key).unwrap());
        let value = self.value.clone();
        let now = UNIX_EPOCH.elapsed().unwrap().as_millis() as f64;
        sea::verify(
            State::new(now).unwrap(),
            &soul,
            &key,
            &Field { value, state },
        )
    }
}

/// All patterns of some names, of few, so that often one matches.
fn patterns() -> Vec<Json> {
    let names = ["a", "ab", "b", "a/b", "ab/a", "", "c"];
    let mut patterns = Vec::new();
    for one in names {
        patterns.extend([
            json!(one),
            json!({"*": one}),
            json!({">": one}),
            json!({"<": one}),
        ]);
        for other in names {
            patterns.extend([
                json!({">": one, "<": other}),
                json!({"=": one, "*": other}),
                json!({"*": one, "<": other}),
            ]);
        }
    }
    patterns
}

fn pattern(rng: &mut Rng) -> Json {
    rng.choice(patterns()).unwrap()
}

fn place(rng: &mut Rng) -> Json {
    match rng.u8(0..6) {
        0 => json!({"#": pattern(rng)}),
        1 => json!({".": pattern(rng)}),
        2 => json!({"#": pattern(rng), ".": pattern(rng)}),
        3 => json!({"#": pattern(rng), "+": "*"}),
        _ => pattern(rng),
    }
}

/// Something that Bob writes among Alice's nodes, with a certificate of her, or of his own making.
fn certified(rng: &mut Rng, alice: &User, bob: &User) -> Case {
    let mut places: Vec<Json> = (0..rng.usize(0..3)).map(|_| place(rng)).collect();
    let places = match places.len() {
        1 => places.remove(0),
        _ => json!(places),
    };
    let users = match rng.u8(0..8) {
        0 => json!("*"),
        1 => json!(["*", "x"]),
        2 => json!([bob.name]),
        3 => json!(alice.name),
        _ => json!(bob.name),
    };
    let mut terms = json!({"c": users, "w": places});
    if rng.u8(0..4) == 0 {
        terms["e"] = json!(WRITTEN as i64 + rng.i64(-1..=1));
    }
    let issuer = if rng.u8(0..10) == 0 { bob } else { alice };
    let path = rng.choice(["", "/a", "/ab", "/a/b", "/b"]).unwrap();
    let key = rng.choice(["a", "ab", "b", &bob.name]).unwrap();
    let soul = format!("~{}{path}", alice.name);
    let more = [("+", issuer.certificate(&terms)), ("*", json!(bob.name))];
    Case::signed(bob, &soul, key, &json!("hi"), &more)
}

/// How many of these gun.js stores, if it can be asked; of each, ours says the same.
fn judged_alike(cases: &[Case]) -> Option<usize> {
    let lines: Vec<String> = cases.iter().map(Case::line).collect();
    let answers = ask("judge.cjs", &lines)?;
    let mut stored = 0;
    for (case, theirs) in cases.iter().zip(&answers) {
        let what = format!("{} {} {}", case.soul, case.key, case.what);
        match (theirs.as_str(), case.verdict()) {
            ("stored", ours) => {
                assert_eq!(ours, Ok(()), "{what}");
                stored += 1;
            }
            // Of certificates that are another's or for another, gun.js says nothing at all.
            ("silent", ours) => assert_eq!(ours, Err(SeaError::BadCertificate), "{what}"),
            (error, ours) => {
                let ours = ours.map_err(|ours| ours.to_string());
                assert_eq!(ours, Err(error.to_owned()), "{what}");
            }
        }
    }
    Some(stored)
}

#[test]
fn certificates_are_judged_as_by_gun_js() {
    let mut rng = rng();
    let (alice, bob) = (User::new(), User::new());
    let cases: Vec<Case> = (0..600)
        .map(|_| certified(&mut rng, &alice, &bob))
        .collect();
    if let Some(stored) = judged_alike(&cases) {
        assert!((60..500).contains(&stored), "{stored} stored");
    }
}

#[test]
fn patterns_of_certificates_match_what_they_match_in_gun_js() {
    let (alice, bob) = (User::new(), User::new());
    let mut cases = Vec::new();
    for pattern in patterns() {
        let terms = json!({"c": bob.name, "w": {"#": pattern}});
        let more = [("+", alice.certificate(&terms)), ("*", json!(bob.name))];
        for path in ["", "/ab", "/a/b"] {
            let soul = format!("~{}{path}", alice.name);
            cases.push(Case::signed(&bob, &soul, "a", &json!("hi"), &more));
        }
    }
    if let Some(stored) = judged_alike(&cases) {
        assert!((60..500).contains(&stored), "{stored} stored");
    }
}

/// Values of all kinds, in nodes of Alice, signed by her and by another.
fn signed_values() -> Vec<Case> {
    let (alice, eve) = (User::new(), User::new());
    let souls = [
        format!("~{}", alice.name),
        format!("~{}/a/b", alice.name),
        format!("x~{}.y", alice.name),
    ];
    let values = [
        json!(null),
        json!(1.5),
        json!(-7),
        json!("hé \"😀\u{2028}"),
        json!(true),
        json!({"#": "x"}),
        json!([1, {"b": 2}]),
        json!({"ct": "a", "iv": "b"}),
    ];
    let mut cases = Vec::new();
    for value in &values {
        for soul in &souls {
            for signer in [&alice, &eve] {
                cases.push(Case::signed(signer, soul, "k", value, &[]));
            }
        }
    }
    cases
}

/// Values under keys that might be theirs, in nodes of all kinds.
fn addressed_values(rng: &mut Rng) -> Vec<Case> {
    let souls = [
        "#", "a#", "a#b", "plain", "~", "~a", "~a.b", "a~b/c", "~@a", "~@", "a<b", "~@a#",
        "a#<?1e9", "a<?9", "a<?1e9",
    ];
    let mut cases = Vec::new();
    for at in 0..180 {
        let value = value(rng, 3);
        let hash = sea::content_key(&value);
        let key = match (rng.u8(0..6), &value) {
            (0, _) => "k".to_owned(),
            (1, _) => hash,
            (2, _) => format!("p#{hash}"),
            (3, _) => HEXLOWER.encode(&BASE64.decode(hash.as_bytes()).unwrap()),
            (4, Value::Link(soul)) => soul.as_str().to_owned(),
            (4, _) => "pub".to_owned(),
            _ => "~a".to_owned(),
        };
        cases.push(Case {
            soul: souls[at % souls.len()].to_owned(),
            key,
            what: format!("{value:?}"),
            value,
        });
    }
    cases
}

#[test]
fn signed_and_addressed_values_are_judged_as_by_gun_js() {
    let mut cases = signed_values();
    cases.extend(addressed_values(&mut rng()));
    cases.retain(|case| case.key != "_");
    let lines: Vec<String> = cases.iter().map(Case::line).collect();
    let Some(answers) = ask("judge.cjs", &lines) else {
        return;
    };
    for (case, theirs) in cases.iter().zip(&answers) {
        let ours = match case.verdict() {
            Ok(()) => "stored".to_owned(),
            Err(SeaError::Forgotten) => "silent".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(ours, *theirs, "{} {} {}", case.soul, case.key, case.what);
    }
}

/// The one thing in which gun.js is known to be too lenient: a stranger's signature that names the stranger.
#[test]
fn a_stranger_without_a_certificate_is_refused_other_than_by_gun_js() {
    let (alice, eve) = (User::new(), User::new());
    let soul = format!("~{}", alice.name);
    let case = Case::signed(
        &eve,
        &soul,
        "k",
        &json!("mine now"),
        &[("*", json!(eve.name))],
    );
    assert_eq!(case.verdict(), Err(SeaError::Unverified));
    if let Some(answers) = ask("judge.cjs", &[case.line()]) {
        assert_eq!(answers, ["stored"]);
    }
}
