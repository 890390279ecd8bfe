//! Writing a message.

use super::{Body, Dam, Message, MessageId};
use crate::{
    graph::Node,
    text::{write_number, write_state, write_string, write_value},
    value::{Key, Value},
};

/// Only texts of more bytes than this are worth putting last.
const LONG: usize = 2048;

pub(super) fn message(out: &mut String, message: &Message) {
    let mut object = Object::begin(out);
    if let Some(id) = &message.id {
        name(object.key("#"), id);
    }
    if let Some(answers) = &message.answers {
        name(object.key("@"), answers);
    }
    if let Some(hash) = message.hash {
        write_number(object.key("##"), hash.into());
    }
    if message.more {
        object.key("%").push('1');
    }
    match &message.body {
        Body::Put(nodes) => graph(object.key("put"), nodes),
        Body::Get(query) => query.write(object.key("get")),
        Body::Ack { ok, error } => {
            if let Some(error) = error {
                write_string(object.key("err"), error);
            }
            if *ok {
                object.key("ok").push_str("true");
            }
        }
        Body::NotFound | Body::Other => {}
        Body::Dam(about) => dam(&mut object, about),
    }
    object.end();
}

fn name(out: &mut String, id: &MessageId) {
    write_string(out, id.as_str());
}

fn dam(object: &mut Object<'_>, dam: &Dam) {
    match dam {
        Dam::Hi => object.key("dam").push_str("\"hi\""),
        Dam::AskPid(pid) => {
            object.key("dam").push_str("\"?\"");
            if let Some(pid) = pid {
                write_string(object.key("pid"), pid);
            }
        }
        Dam::Pid(pid) => {
            object.key("dam").push_str("\"?\"");
            write_string(object.key("pid"), pid);
        }
        Dam::Error(text) => {
            object.key("dam").push_str("\"!\"");
            write_string(object.key("err"), text);
        }
        Dam::Mob(urls) => {
            object.key("dam").push_str("\"mob\"");
            let mut peers = Object::begin(object.key("peers"));
            for url in urls {
                peers.name(url).push_str("{}");
            }
            peers.end();
        }
        Dam::Other => object.key("dam").push_str("\"\""),
    }
}

/// Writes a graph; the longest text in it comes last.
pub(crate) fn graph(out: &mut String, nodes: &[Node]) {
    let longest = longest(nodes);
    let mut object = Object::begin(out);
    let last = longest.map(|(at, _)| at);
    for (at, one) in nodes.iter().enumerate() {
        if last != Some(at) {
            node(object.name(one.soul.as_str()), one, None);
        }
    }
    if let Some((at, key)) = longest {
        node(object.name(nodes[at].soul.as_str()), &nodes[at], Some(key));
    }
    object.end();
}

/// Where the longest text is, if any is long.
fn longest(nodes: &[Node]) -> Option<(usize, &Key)> {
    let mut longest = None;
    let mut record = LONG;
    for (at, node) in nodes.iter().enumerate() {
        for (key, field) in &node.fields {
            match &field.value {
                Value::Text(text) if text.len() > record => {
                    record = text.len();
                    longest = Some((at, key));
                }
                _ => {}
            }
        }
    }
    longest
}

fn node(out: &mut String, node: &Node, last: Option<&Key>) {
    let mut object = Object::begin(out);
    let mut meta = Object::begin(object.key("_"));
    write_string(meta.key("#"), node.soul.as_str());
    let mut states = Object::begin(meta.key(">"));
    for (key, field) in &node.fields {
        write_state(states.name(key.as_str()), field.state);
    }
    states.end();
    meta.end();
    for (key, field) in &node.fields {
        if last != Some(key) {
            write_value(object.name(key.as_str()), &field.value);
        }
    }
    if let Some((key, field)) = last.and_then(|key| node.fields.get_key_value(key)) {
        write_value(object.name(key.as_str()), &field.value);
    }
    object.end();
}

/// A JSON object that is being written.
struct Object<'o> {
    out: &'o mut String,
    first: bool,
}

impl<'o> Object<'o> {
    fn begin(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, first: true }
    }

    fn comma(&mut self) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
    }

    /// Begins a field whose key needs no escapes.
    fn key(&mut self, key: &str) -> &mut String {
        self.comma();
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
        self.out
    }

    /// Begins a field of any key.
    fn name(&mut self, key: &str) -> &mut String {
        self.comma();
        write_string(self.out, key);
        self.out.push(':');
        self.out
    }

    fn end(self) {
        self.out.push('}');
    }
}
