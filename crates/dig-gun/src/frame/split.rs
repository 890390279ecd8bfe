//! Cutting a graph into puts that gun.js's parser survives.

use crate::{
    graph::{Field, Node},
    text::{write_state, write_string, write_value},
    value::Key,
};

/// A message must be shorter than this, in characters, or gun.js in Node may lose a key of it without a word.
pub const MAX_CHARS: usize = 32_768;

/// What a message has besides its graph: names of the message and of the one it answers, hash, marks.
const ENVELOPE: usize = 512;

/// Cuts nodes into parts that each fit one message of fewer than `max_chars` bytes (and so characters), in their order; a field that alone
/// is longer is a part of its own. No node is empty but one that came so, and that is left out.
pub fn split_put(nodes: Vec<Node>, max_chars: usize) -> Vec<Vec<Node>> {
    let mut parts = Parts {
        room: max_chars.saturating_sub(ENVELOPE),
        done: Vec::new(),
        part: Vec::new(),
        used: 0,
        scratch: String::new(),
    };
    for node in nodes {
        parts.node(node);
    }
    parts.end();
    parts.done
}

struct Parts {
    room: usize,
    done: Vec<Vec<Node>>,
    part: Vec<Node>,
    used: usize,
    scratch: String,
}

impl Parts {
    fn node(&mut self, node: Node) {
        let soul = self.written(|out| write_string(out, node.soul.as_str()));
        // `"soul":{"_":{"#":"soul",">":{}}},`
        let frame = 2 * soul + 24;
        let mut begun = false;
        for (key, field) in node.fields {
            let size = self.field(&key, &field);
            let begin = if begun { 0 } else { frame };
            if self.used > 0 && self.used + begin + size > self.room {
                self.end();
                begun = false;
            }
            if !begun {
                self.part.push(Node::new(node.soul.clone()));
                self.used += frame;
                begun = true;
            }
            self.used += size;
            if let Some(last) = self.part.last_mut() {
                last.fields.insert(key, field);
            }
        }
    }

    /// Size of a field in a message: the key twice, state and value, colons and commas.
    fn field(&mut self, key: &Key, field: &Field) -> usize {
        let key = self.written(|out| write_string(out, key.as_str()));
        let state = self.written(|out| write_state(out, field.state));
        let value = self.written(|out| write_value(out, &field.value));
        2 * key + state + value + 4
    }

    fn written(&mut self, write: impl FnOnce(&mut String)) -> usize {
        self.scratch.clear();
        write(&mut self.scratch);
        self.scratch.len()
    }

    fn end(&mut self) {
        if !self.part.is_empty() {
            self.done.push(std::mem::take(&mut self.part));
        }
        self.used = 0;
    }
}
