//! The hash by which peers see that they hold the same: Java's `String.hashCode` of the JSON text with sorted keys.

use super::{NumberText, Sink, string, value};
use crate::{graph::Node, value::Soul};
use std::collections::BTreeMap;

/// `31 * h + unit` over the UTF-16 units of a text, in 32 bits that overflow.
pub fn hash(text: &str) -> i32 {
    let mut hash = Hash(0);
    hash.piece(text);
    hash.0
}

/// What `##` says of an answer that holds this node: [`graph_hash`] of it alone.
pub fn node_hash(node: &Node) -> i32 {
    let mut hash = Hash(0);
    hash.piece("{");
    write_node(&mut hash, node);
    hash.piece("}");
    hash.0
}

/// What `##` says of an answer that holds these nodes, in any order: the hash of their JSON with the keys sorted on every
/// level. Of several with one soul the last counts.
///
/// gun.js itself writes keys that look like array indexes first where it lacks its own JSON writer (in browsers), so a hash
/// from there may differ although the nodes are the same; it is then merely not recognised.
pub fn graph_hash(nodes: &[Node]) -> i32 {
    let sorted: BTreeMap<&Soul, &Node> = nodes.iter().map(|node| (&node.soul, node)).collect();
    let mut hash = Hash(0);
    hash.piece("{");
    for (nth, node) in sorted.into_values().enumerate() {
        if nth > 0 {
            hash.piece(",");
        }
        write_node(&mut hash, node);
    }
    hash.piece("}");
    hash.0
}

/// The running hash.
struct Hash(i32);

impl Sink for Hash {
    fn piece(&mut self, text: &str) {
        if text.is_ascii() {
            self.ascii(text.as_bytes());
        } else {
            for unit in text.encode_utf16() {
                self.0 = self.0.wrapping_mul(31).wrapping_add(unit.into());
            }
        }
    }
}

impl Hash {
    /// Four bytes at once: one multiplication waits for the one before, and that is what takes the time.
    fn ascii(&mut self, text: &[u8]) {
        const POWERS: [i32; 5] = [1, 31, 31 * 31, 31 * 31 * 31, 31 * 31 * 31 * 31];
        let (fours, rest) = text.as_chunks::<4>();
        for four in fours {
            let [a, b, c, d] = four.map(i32::from);
            let sum = a * POWERS[3] + b * POWERS[2] + c * POWERS[1] + d;
            self.0 = self.0.wrapping_mul(POWERS[4]).wrapping_add(sum);
        }
        for byte in rest {
            self.0 = self
                .0
                .wrapping_mul(POWERS[1])
                .wrapping_add(i32::from(*byte));
        }
    }
}

/// `soul: {fields, and among them at its place in the order "_": {"#": soul, ">": states}}`.
fn write_node(out: &mut impl Sink, node: &Node) {
    string(out, node.soul.as_str());
    out.piece(":{");
    let mut comma = "";
    let mut told = false;
    for (key, field) in &node.fields {
        if !told && crate::value::utf16_order(key.as_str(), "_").is_gt() {
            out.piece(comma);
            write_states(out, node);
            comma = ",";
            told = true;
        }
        out.piece(comma);
        string(out, key.as_str());
        out.piece(":");
        value(out, &field.value);
        comma = ",";
    }
    if !told {
        out.piece(comma);
        write_states(out, node);
    }
    out.piece("}");
}

fn write_states(out: &mut impl Sink, node: &Node) {
    out.piece("\"_\":{\"#\":");
    string(out, node.soul.as_str());
    out.piece(",\">\":{");
    let mut comma = "";
    for (key, field) in &node.fields {
        out.piece(comma);
        string(out, key.as_str());
        out.piece(":");
        out.piece(NumberText::new(field.state.get()).as_str());
        comma = ",";
    }
    out.piece("}}");
}
