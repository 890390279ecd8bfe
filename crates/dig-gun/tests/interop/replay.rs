//! The captured runs once more, with our relay in the place of gun.js's: it answers whatever that one did, and to what that one left unanswered.
//!
//! The captures are in `tests/vectors`; they hold states of 2026-11-22, which must have passed.

use crate::script::PATIENCE;
use dig_gun::{
    relay::{ServeOptions, Serving, serve},
    store::{MemoryStorage, StoreConfig},
};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a relay said to a question or a write.
#[derive(Debug, Default, Clone, PartialEq)]
struct Said {
    stored: bool,
    refused: bool,
    not_found: bool,
    /// All fields of all answers, of each the latest.
    fields: BTreeMap<(String, String), (f64, Json)>,
}

/// A run against our relay.
#[derive(Debug)]
struct Run {
    url: String,
    sockets: HashMap<u64, Socket>,
    said: HashMap<String, Said>,
}

/// A question or a write that wants an answer.
#[derive(Debug)]
struct Asked {
    id: String,
    is_put: bool,
}

#[tokio::test]
async fn our_relay_answers_as_that_of_gun_js_did() {
    let mut files: Vec<PathBuf> = fs::read_dir(vectors())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| name(path).starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    files.sort();
    assert!(files.len() > 30, "the captures are not there");
    let (mut compared, mut answered, mut differences) = (0, 0, Vec::new());
    for file in files {
        let lines: Vec<Json> = fs::read_to_string(&file)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let theirs = their_answers(&lines);
        let serving = relay().await;
        let mut run = Run {
            url: format!("ws://{}/gun", serving.addrs()[0]),
            sockets: HashMap::new(),
            said: HashMap::new(),
        };
        for asked in run.replay(&name(&file), &lines).await {
            let ours = &run.said[&asked.id];
            answered += 1;
            if let Some(theirs) = theirs.get(&asked.id) {
                compared += 1;
                differences.extend(difference(&name(&file), &asked, theirs, ours));
            }
        }
        serving.shutdown().await;
    }
    println!("{answered} answers of our relay, {compared} of them to what gun.js's answered too");
    assert!(compared > 100, "only {compared} were compared");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// How our answer is not what gun.js's relay said, where it should be.
fn difference(file: &str, asked: &Asked, theirs: &Said, ours: &Said) -> Option<String> {
    let id = &asked.id;
    let is_same = if asked.is_put {
        (!theirs.stored || ours.stored) && (!theirs.refused || ours.refused)
    } else {
        // gun.js's own answers to patterns are wrong in ways of their own; ours are proved against a model.
        LEXICAL.contains(&file) || theirs.fields == ours.fields
    };
    let may_differ = EXPLAINED.iter().any(|(_, ids)| ids.contains(&id.as_str()));
    (!is_same && !may_differ).then(|| format!("{file}: to {id} theirs {theirs:?}, ours {ours:?}"))
}

/// Where our relay says something else, and why.
const EXPLAINED: &[(&str, &[&str])] = &[
    (
        "what was in the future has come, and what was to be fresh is old",
        &["T5Kazx6M4", "CQ8Gza31E", "J3to2SB0E"],
    ),
    (
        "an invalid put is refused whole; gun.js keeps what comes before the fault, and acknowledges it",
        &[
            "5pw9tPyNi",
            "2bjjPeJ7P",
            "Ba7sakhnr",
            "sfq888rid",
            "AZpMru9GE",
            "yePAUHTiA",
        ],
    ),
    (
        "gun.js's relay asked another client, which is not there to answer now",
        &["QiPQoNvaJ", "mvI6lIja0", "Qmb4D7jwb", "frA4QtsOH"],
    ),
    ("the relay had been emptied meanwhile", &["4EVZlahAx"]),
    (
        "the put before it is too long for the capture",
        &["VBW1VTAnH"],
    ),
    (
        "gun.js takes the id `i10` for a repetition of `i1`, and loses the put",
        &["Bu64jIBiT"],
    ),
    (
        "gun.js answers a question without a soul with souls of its own making",
        &["dmsQjb5sk"],
    ),
];

/// Captures of queries by pattern.
const LEXICAL: &[&str] = &["12-lex-raw.jsonl", "13-lex-api.jsonl"];

impl Run {
    /// Says what the clients said, each frame when all before are answered; what wanted an answer.
    async fn replay(&mut self, file: &str, lines: &[Json]) -> Vec<Asked> {
        let mut all = Vec::new();
        for line in lines {
            let conn = line["conn"].as_u64().unwrap_or_default();
            if line["event"] == "client close" {
                self.sockets.remove(&conn);
            }
            let Some(frame) = line["frame"].as_str() else {
                continue;
            };
            if line["dir"] != "client->relay" || line["bin"] == true {
                continue;
            }
            let asked = asked_in(frame);
            if !self.sockets.contains_key(&conn) {
                let (socket, _) = connect_async(&self.url).await.unwrap();
                self.sockets.insert(conn, socket);
            }
            let socket = self.sockets.get_mut(&conn).unwrap();
            socket
                .send(tungstenite::Message::text(frame))
                .await
                .unwrap();
            for asked in &asked {
                let answered = timeout(PATIENCE, self.hear(conn, &asked.id)).await;
                assert!(answered.is_ok(), "{file}: no answer to {frame}");
            }
            all.extend(asked);
        }
        all
    }

    /// Listens until this is answered.
    async fn hear(&mut self, conn: u64, id: &str) {
        let socket = self.sockets.get_mut(&conn).unwrap();
        while !self.said.contains_key(id) {
            let frame = socket.next().await.unwrap().unwrap();
            if let Ok(text) = frame.to_text() {
                note(&mut self.said, text);
            }
        }
    }
}

/// A relay with nothing in it.
async fn relay() -> Serving {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let storage = Arc::new(MemoryStorage::new(StoreConfig::default()));
    serve(ServeOptions::new(vec![listen], storage))
        .await
        .unwrap()
}

/// What gun.js's relay said, by the id that it answered.
fn their_answers(lines: &[Json]) -> HashMap<String, Said> {
    let mut said = HashMap::new();
    for line in lines {
        if line["dir"] == "relay->client"
            && let Some(frame) = line["frame"].as_str()
        {
            note(&mut said, frame);
        }
    }
    said
}

/// Notes the answers of a frame.
fn note(said: &mut HashMap<String, Said>, frame: &str) {
    for message in messages(frame) {
        let Some(to) = message["@"].as_str() else {
            continue;
        };
        if message.get("dam").is_some() {
            continue;
        }
        let said = said.entry(to.to_owned()).or_default();
        if !message["err"].is_null() {
            said.refused = true;
        } else if let Some(put) = message["put"].as_object() {
            for (soul, node) in put {
                let states = node["_"][">"].as_object();
                for (key, state) in states.into_iter().flatten() {
                    let field = (state.as_f64().unwrap_or(f64::MIN), node[key].clone());
                    let place = (soul.clone(), key.clone());
                    let known = said.fields.get(&place);
                    if known.is_none_or(|known| known.0 <= field.0) {
                        said.fields.insert(place, field);
                    }
                }
            }
        } else if message.get("ok").is_some() {
            said.stored = true;
        } else {
            said.not_found = true;
        }
    }
}

/// What of a client's frame wants an answer.
fn asked_in(frame: &str) -> Vec<Asked> {
    messages(frame)
        .into_iter()
        .filter_map(|message| {
            let is_put = message["put"].is_object();
            let wants = (is_put || message["get"].is_object())
                && message.get("@").is_none()
                && message.get("dam").is_none();
            let id = message["#"].as_str()?;
            wants.then(|| Asked {
                id: id.to_owned(),
                is_put,
            })
        })
        .collect()
}

/// The messages of a frame; none if it is no JSON, or does not begin with it: the first character decides.
fn messages(frame: &str) -> Vec<Json> {
    if !frame.starts_with(['{', '[']) {
        return Vec::new();
    }
    match serde_json::from_str(frame) {
        Ok(Json::Array(messages)) => messages
            .into_iter()
            .filter_map(|message| match message {
                Json::String(text) => serde_json::from_str(&text).ok(),
                other => Some(other),
            })
            .collect(),
        Ok(message @ Json::Object(_)) => vec![message],
        _ => Vec::new(),
    }
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}
