//! Whatever gun.js said in the captured runs is understood, and what is written in return means the same.

#![cfg(test)]

use dig_gun::{
    frame::frames_in,
    graph::{Field, Node},
    message::{Body, Dam, Fault, Message, MessageId, ParseError, WireLimits},
    sea,
    text::graph_hash,
    value::{Key, Soul, State, Value},
};
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, fs, path::PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn lines(file: &str) -> Vec<Json> {
    let text = fs::read_to_string(folder().join(file)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A captured text frame.
struct Captured {
    file: String,
    step: String,
    to_relay: bool,
    text: String,
}

fn captured() -> Vec<Captured> {
    let mut files: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    files.sort();
    let mut frames = Vec::new();
    for file in files {
        let mut step = String::new();
        for line in lines(&file) {
            if let Some(next) = line["step"].as_str() {
                next.clone_into(&mut step);
            }
            if let Some(text) = line["frame"].as_str()
                && line["bin"] != true
            {
                frames.push(Captured {
                    file: file.clone(),
                    step: step.clone(),
                    to_relay: line["dir"] == "client->relay",
                    text: text.to_owned(),
                });
            }
        }
    }
    frames
}

fn parsed(frame: &Captured) -> Vec<Result<Message, ParseError>> {
    frames_in(&frame.text)
        .filter_map(Result::ok)
        .map(|text| Message::parse(&text, &WireLimits::default()))
        .collect()
}

#[test]
fn every_frame_means_what_an_ordinary_parser_finds_in_it() {
    let mut messages = 0;
    // What the relay says of states that are none is a test of its own.
    for frame in captured()
        .iter()
        .filter(|frame| !frame.step.contains("-Infinity"))
    {
        for text in frames_in(&frame.text).filter_map(Result::ok) {
            let Ok(json) = serde_json::from_str::<Json>(&text) else {
                continue;
            };
            let Ok(message) = Message::parse(&text, &WireLimits::default()) else {
                let wrong_on_purpose = frame.file.starts_with("17") || frame.file.starts_with("18");
                // gun.js's client asks so for what a certificate does not say.
                let asks_for_nothing = json["get"] == json!({});
                assert!(
                    wrong_on_purpose || asks_for_nothing,
                    "{}: refused {text}",
                    frame.file
                );
                continue;
            };
            check(&json, &message);
            let again = message.to_text();
            assert_eq!(
                Message::parse(&again, &WireLimits::default()),
                Ok(message.clone()),
                "{again}"
            );
            check(&serde_json::from_str(&again).unwrap(), &message);
            messages += 1;
        }
    }
    assert!(messages > 600, "only {messages} messages");
}

/// Whether this message is what this JSON says.
fn check(json: &Json, message: &Message) {
    let name = |id: &Option<MessageId>| id.as_ref().map_or(Json::Null, |id| json!(id.as_str()));
    let text = |json: &Json| match json {
        Json::Number(number) => json!(number.to_string()),
        other => other.clone(),
    };
    assert_eq!(name(&message.id), text(&json["#"]));
    assert_eq!(name(&message.answers), text(&json["@"]));
    // gun.js's clients ask again with a number where the hash of a graph is expected.
    assert_eq!(
        message.hash.map_or(Json::Null, |hash| json!(hash)),
        json["##"],
        "{json}"
    );
    match &message.body {
        Body::Put(nodes) => check_graph(&json["put"], nodes),
        Body::Get(query) => {
            assert!(json["get"].is_object(), "{json}");
            if let (Some(soul), Some(asked)) = (query.one_soul(), json["get"]["#"].as_str()) {
                assert_eq!(soul.as_str(), asked);
            }
        }
        Body::Ack { ok: true, error } => {
            assert!(!json["ok"].is_null() && error.is_none(), "{json}");
        }
        Body::Ack { ok: false, error } => assert_eq!(json["err"].as_str(), error.as_deref()),
        Body::NotFound => {
            assert!(
                json["put"].is_null() && json["ok"].is_null() && json["err"].is_null(),
                "{json}"
            );
        }
        Body::Dam(dam) => check_dam(json, dam),
        Body::Other => assert!(
            ["get", "put", "dam", "@"]
                .iter()
                .all(|key| json[key].is_null()),
            "{json}"
        ),
    }
}

fn check_dam(json: &Json, dam: &Dam) {
    let pid = json["pid"].as_str();
    match dam {
        Dam::Hi => assert_eq!(json["dam"], "hi"),
        Dam::AskPid(asking) => {
            assert_eq!(json["dam"], "?");
            assert!(json["@"].is_null() || pid.is_none());
            assert_eq!(asking.as_deref(), pid);
        }
        Dam::Pid(own) => assert_eq!((Some(&**own), json["@"].is_string()), (pid, true)),
        Dam::Error(text) => assert_eq!(Some(&**text), json["err"].as_str()),
        Dam::Mob(_) => assert_eq!(json["dam"], "mob"),
        Dam::Other => {
            assert!(!["hi", "?", "!", "mob"].contains(&json["dam"].as_str().unwrap_or_default()))
        }
    }
}

fn check_graph(json: &Json, nodes: &[Node]) {
    let graph = json.as_object().unwrap();
    let with_fields = graph
        .values()
        .filter(|node| node.as_object().unwrap().len() > 1);
    assert_eq!(with_fields.count(), nodes.len());
    for node in nodes {
        let json = &graph[node.soul.as_str()];
        assert_eq!(json["_"]["#"], node.soul.as_str());
        assert_eq!(json.as_object().unwrap().len(), node.fields.len() + 1);
        for (key, field) in &node.fields {
            let state = json["_"][">"][key.as_str()].as_f64().unwrap();
            assert_eq!(state.to_bits(), field.state.get().to_bits());
            let value = &json[key.as_str()];
            match &field.value {
                Value::Null => assert!(value.is_null()),
                Value::Bool(is) => assert_eq!(value, is),
                Value::Number(number) => assert_eq!(value.as_f64().unwrap() + 0.0, number.get()),
                Value::Text(text) => assert_eq!(value, &**text),
                Value::Link(soul) => assert_eq!(value, &json!({"#": soul.as_str()})),
            }
        }
    }
}

/// A relay's answers carry the hash of what they hold.
#[test]
fn hashes_of_answers_are_theirs() {
    let mut answers = 0;
    for frame in captured().iter().filter(|frame| !frame.to_relay) {
        // With `-Infinity` in it, gun.js's own hash is of something that is no graph.
        for message in parsed(frame).into_iter().flatten() {
            if let (Body::Put(nodes), Some(hash), Some(_)) = (&message.body, message.hash, &message.answers)
                && !frame.step.contains("-Infinity")
                // By clients that order integer-like keys by number, passed on by the relay.
                && !nodes.iter().any(|node| node.fields.keys().any(|key| key.as_str() == "9"))
            {
                assert_eq!(graph_hash(nodes), hash, "{}: {}", frame.file, frame.text);
                answers += 1;
            }
        }
    }
    assert!(answers > 60, "only {answers} answers");
}

/// What the raw clients got wrong on purpose, by the step of the script, and what is said of it.
const REFUSALS: &[(&str, &[&str])] = &[
    ("node without _", &["Error: Invalid graph! 'e1' no meta."]),
    (
        "soul mismatch",
        &["Error: Invalid graph! 'e1' soul not same."],
    ),
    ("no state map", &["Error: Invalid graph! 'e1' no state."]),
    (
        "one key lacks a state: the earlier key is kept",
        &["Error: Invalid graph! 'b' on 'e1' no state."],
    ),
    (
        "array value",
        &["Error: Invalid graph! 'a' on 'e2' bad array."],
    ),
    (
        "object value",
        &["Error: Invalid graph! 'a' on 'e2' bad object."],
    ),
    (
        "link with an extra field",
        &["Error: Invalid graph! 'a' on 'e2' bad object."],
    ),
    (
        "link to empty soul",
        &["Error: Invalid graph! 'a': a soul or key must not be empty."],
    ),
    (
        "empty soul",
        &["Error: Invalid graph! '': a soul or key must not be empty."],
    ),
    (
        "empty key",
        &["Error: Invalid graph! '': a soul or key must not be empty."],
    ),
    (
        "state is a string: stored with state -Infinity",
        &["Error: Invalid graph! 's' on 'e3' bad state."],
    ),
    (
        "state is null",
        &["Error: Invalid graph! 'n' on 'e3' bad state."],
    ),
    (
        "two nodes, second bad: first is kept and acked",
        &["Error: Invalid graph! 'a' on 'g2' bad array."],
    ),
    ("put {}", &[]),
    ("node without keys", &[]),
    ("{}", &[]),
    (
        "hello",
        &["a frame must be a JSON object or a list of them"],
    ),
    ("42", &["a frame must be a JSON object or a list of them"]),
    (
        "leading space",
        &["a frame must be a JSON object or a list of them"],
    ),
    (
        "array with junk",
        &["an element of the list is no message"; 3],
    ),
    ("nested array", &["an element of the list is no message"]),
    (
        "cut array: uncaught exception in the relay",
        &["the list is cut off"],
    ),
    ("unknown dam", &[]),
    ("dam number", &[]),
    ("dam opt without opt", &[]),
    ("dam mob without peers", &[]),
    ("message with neither get nor put", &[]),
    ("ack to an unknown id", &[]),
    ("numeric id", &[]),
    (
        "get null",
        &["Error: Invalid get! `get` must be an object with a soul under `#`"],
    ),
];

/// Those that are not JSON at all; gun.js takes two of them and dies of another.
const NOT_JSON: &[&str] = &[
    "1e999",
    "missing final brace: accepted",
    "trailing comma: accepted",
    "cut after key",
    "{not json}",
    "bad escape: uncaught exception in the relay",
];

#[test]
fn broken_frames_are_refused_with_a_reason() {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for frame in captured() {
        if !frame.to_relay || !frame.file.starts_with("17") && !frame.file.starts_with("18") {
            continue;
        }
        let faults = found.entry(frame.step.clone()).or_default();
        for text in frames_in(&frame.text) {
            match text.map(|text| Message::parse(&text, &WireLimits::default())) {
                Ok(Ok(_)) => {}
                Ok(Err(refused)) => faults.push(refused.to_string()),
                Err(error) => faults.push(error.to_string()),
            }
        }
    }
    for (step, refusals) in REFUSALS {
        assert_eq!(found[*step], *refusals, "{step}");
    }
    for step in NOT_JSON {
        let faults = &found[*step];
        assert!(
            faults.len() == 1 && faults[0].starts_with("DAM JSON parse error"),
            "{step}: {faults:?}"
        );
    }
}

/// gun.js's relay wrote a state that no JSON can have.
#[test]
fn fields_without_a_usable_state_are_left_out_of_answers() {
    let frames = captured();
    let leaks: Vec<_> = frames
        .iter()
        .filter(|frame| {
            !frame.to_relay && frame.step.contains("-Infinity") && frame.text.contains("e3")
        })
        .flat_map(parsed)
        .map(Result::unwrap)
        .collect();
    assert_eq!(leaks.len(), 2);
    assert!(
        leaks
            .iter()
            .all(|answer| answer.body == Body::NotFound && answer.answers.is_some())
    );
}

#[test]
fn a_refusal_names_the_message_and_spares_its_neighbours() {
    let limits = WireLimits::default();
    let list = concat!(
        r##"[{"#":"one","put":{"a":{"_":{"#":"a",">":{"k":1}},"k":1}}},"##,
        r##"{"#":"two","put":{"a":{"_":{"#":"a",">":{"k":1}},"k":"\ud83d"}}},"##,
        r##"{"put":{"a":{"_":{"#":"a",">":{"k":1}},"k":[1]}},"#":"three"},"##,
        r##"{"#":"four","put":{"a":{"_":{"#":"a",">":{"k":1}},"k":tru}}},"##,
        r##"{"#":"five","get":{"#":"a"}}]"##,
    );
    let read: Vec<_> = frames_in(list)
        .map(|text| Message::parse(&text.unwrap(), &limits))
        .collect();
    let refused = |at: usize| {
        let error = read[at].clone().unwrap_err();
        (error.id.map(|id| id.as_str().to_owned()), error.fault)
    };
    assert!(read[0].is_ok() && read[4].is_ok());
    assert_eq!(refused(1), (Some("two".to_owned()), Fault::LoneSurrogate));
    assert_eq!(refused(2).0.as_deref(), Some("three"));
    assert!(matches!(refused(3), (None, Fault::Syntax(_))));
}

fn field(soul: &str, key: &str, value: Value, state: f64) -> (Soul, Key, Field) {
    let state = State::new(state).unwrap();
    (
        Soul::new(soul).unwrap(),
        Key::new(key).unwrap(),
        Field { value, state },
    )
}

#[test]
fn signatures_are_judged_as_by_nodes_crypto() {
    let (mut genuine, mut forged) = (0, 0);
    for line in lines("sea-vectors.jsonl") {
        let text = |name: &str| line[name].as_str().unwrap();
        let (soul, key, field) = field(
            text("soul"),
            text("key"),
            Value::text(text("stored_value")),
            line["state"].as_f64().unwrap(),
        );
        let verdict = sea::verify(field.state, &soul, &key, &field);
        if line["valid"] == true {
            assert_eq!(verdict, Ok(()), "{line}");
            genuine += 1;
            for changed in altered(&soul, &key, &field) {
                let (soul, key, field) = changed;
                assert!(
                    sea::verify(field.state, &soul, &key, &field).is_err(),
                    "{line}"
                );
            }
        } else {
            assert_eq!(verdict, Err(sea::SeaError::Unverified), "{line}");
            forged += 1;
        }
    }
    assert_eq!((genuine, forged), (18, 1));
}

/// The same value under another key, in another node of the user, at another time, and another value.
fn altered(soul: &Soul, key: &Key, field: &Field) -> Vec<(Soul, Key, Field)> {
    let Value::Text(text) = &field.value else {
        panic!("not signed");
    };
    let other_soul = Soul::new(&format!("{soul}/x")).unwrap();
    let other_key = Key::new(&format!("{key}x")).unwrap();
    let later = Field {
        value: field.value.clone(),
        state: State::new(field.state.get() + 1.0).unwrap(),
    };
    let other_text = Field {
        value: Value::text(&text.replacen(r#"{":":"#, r#"{":":1,":":"#, 1)),
        state: field.state,
    };
    let other_value = Field {
        value: Value::text(&format!(
            r#"{{":":{:?},"~":{}"#,
            "x",
            &text[text.find("\"~\":").unwrap() + 4..]
        )),
        state: field.state,
    };
    vec![
        (other_soul, key.clone(), field.clone()),
        (soul.clone(), other_key, field.clone()),
        (soul.clone(), key.clone(), later),
        (soul.clone(), key.clone(), other_text),
        (soul.clone(), key.clone(), other_value),
    ]
}

/// What the relay said to the messages it was sent: nothing, or the error.
fn replies(frames: &[Captured]) -> BTreeMap<String, Option<String>> {
    let mut replies = BTreeMap::new();
    let from_relay = frames.iter().filter(|frame| !frame.to_relay);
    for message in from_relay.flat_map(parsed).flatten() {
        if let (Body::Ack { error, .. }, Some(to)) = (message.body, message.answers) {
            replies
                .entry(to.to_string())
                .or_insert(error.map(|error| error.to_string()));
        }
    }
    replies
}

/// The first reason not to take these nodes.
fn refusal(nodes: &[Node]) -> Option<sea::SeaError> {
    // The only old thing in the captures is 20 s old, in a node that keeps 9 s.
    let clock = State::new(latest(nodes).max(1_795_345_227_000.0)).unwrap();
    nodes.iter().find_map(|node| {
        let fields = &mut node.fields.iter();
        fields.find_map(|(key, field)| sea::verify(clock, &node.soul, key, field).err())
    })
}

/// Every put to a relay that checks: stored or refused, with the text that gun.js's relay sent.
#[test]
fn puts_are_judged_as_by_the_relay_of_gun_js() {
    let mut judged = BTreeMap::new();
    for file in [
        "24-sea-user.jsonl",
        "25-content-addressed.jsonl",
        "35-sea-certificate.jsonl",
    ] {
        let mut frames = captured();
        frames.retain(|frame| frame.file == file);
        let replies = replies(&frames);
        let to_relay = frames.iter().filter(|frame| frame.to_relay);
        for message in to_relay.flat_map(parsed).flatten() {
            let (Body::Put(nodes), Some(id), None) = (&message.body, &message.id, &message.answers)
            else {
                continue;
            };
            let ours = refusal(nodes);
            let text = ours.as_ref().map(ToString::to_string);
            match replies.get(id.as_str()) {
                Some(theirs) => assert_eq!(*theirs, text, "{file} {id}"),
                None => assert_eq!(ours, Some(sea::SeaError::Forgotten), "{file} {id}"),
            }
            *judged.entry(text.unwrap_or_default()).or_insert(0) += 1;
        }
    }
    for refusal in [
        "Unverified data.",
        "Account not same!",
        "Alias not same!",
        "Data hash not same as hash!",
        "Data is older than this node keeps.",
    ] {
        assert!(judged.contains_key(refusal), "{refusal}: {judged:?}");
    }
    assert!(judged[""] >= 12, "{judged:?}");
}

fn latest(nodes: &[Node]) -> f64 {
    nodes
        .iter()
        .flat_map(|node| node.fields.values())
        .map(|field| field.state.get())
        .fold(0.0, f64::max)
}
