//! Frames, read and checked before anybody waits for them.

use super::core::{AT_ONCE, Incoming};
use crate::{
    frame::frames_in,
    graph::Node,
    message::{Body, Message, WireLimits},
    sea::{self, SeaError},
    value::State,
};
use std::sync::Arc;

/// What checking a signature counts like, in bytes of a frame: reading as many takes about as long.
pub(super) const SIGNATURE: usize = 4096;

/// The messages of a frame. What is no message counts as a refused one without a name. Adds to `checked` how many fields'
/// signatures were checked.
pub(super) fn read(
    text: &str,
    limits: &WireLimits,
    clock: State,
    checked: &mut usize,
) -> Vec<Incoming> {
    let messages = frames_in(text).map(|element| {
        let nameless = |error: String| Incoming::Refused {
            id: None,
            error: error.into(),
        };
        let element = match element {
            Ok(element) => element,
            Err(error) => return nameless(error.to_string()),
        };
        match Message::parse(&element, limits) {
            Ok(message) => admit(message, clock, checked),
            // Nobody waits for a refusal of an answer.
            Err(refused) => Incoming::Refused {
                error: refused.to_string().into(),
                id: refused.id.filter(|_| refused.answers.is_none()),
            },
        }
    });
    messages.collect()
}

/// Checks what a message wants to write, as gun.js's relay does: what is signed must be signed right. It is stored as a whole
/// or not at all, but for fields that are too old for their node, which nobody misses.
fn admit(mut message: Message, clock: State, checked: &mut usize) -> Incoming {
    let Body::Put(nodes) = &mut message.body else {
        return Incoming::Message(message);
    };
    for node in nodes
        .iter_mut()
        .filter(|node| sea::is_protected(&node.soul))
    {
        let signed = node.soul.as_str().contains('~');
        let mut failed = None;
        let soul = &node.soul;
        node.fields.retain(|key, field| {
            // One that fails is enough.
            if failed.is_some() {
                return false;
            }
            *checked += usize::from(signed);
            match sea::verify(clock, soul, key, field) {
                Ok(()) => true,
                Err(SeaError::Forgotten) => false,
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        });
        if let Some(error) = failed {
            return Incoming::Refused {
                id: message.id.filter(|_| message.answers.is_none()),
                error: Arc::from(error.to_string()),
            };
        }
    }
    cut(nodes);
    Incoming::Message(message)
}

/// Cuts nodes into parts of as many fields as are merged at a time.
fn cut(nodes: &mut Vec<Node>) {
    if nodes.iter().all(|node| node.fields.len() <= AT_ONCE) {
        return;
    }
    for node in std::mem::take(nodes) {
        let mut fields = node.fields.into_iter().peekable();
        while fields.peek().is_some() {
            nodes.push(Node {
                soul: node.soul.clone(),
                fields: fields.by_ref().take(AT_ONCE).collect(),
            });
        }
    }
}

impl Incoming {
    /// Whether it may lead to a write.
    pub(super) const fn is_put(&self) -> bool {
        matches!(
            self,
            Self::Message(Message {
                body: Body::Put(_),
                ..
            })
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_write_costs_one_signature() {
        let forged: Vec<String> = (0..1000)
            .map(|number| format!(r#""k{number}":"x""#))
            .collect();
        let states: Vec<String> = (0..1000)
            .map(|number| format!(r#""k{number}":1"#))
            .collect();
        let text = format!(
            r##"{{"#":"forgery01","put":{{"~a.b":{{"_":{{"#":"~a.b",">":{{{}}}}},{}}}}}}}"##,
            states.join(","),
            forged.join(",")
        );
        let mut checked = 0;
        let clock = State::new(1e12).unwrap();
        let read = read(&text, &WireLimits::default(), clock, &mut checked);
        let [
            Incoming::Refused {
                id: Some(id),
                error,
            },
        ] = read.as_slice()
        else {
            panic!("{read:?}");
        };
        assert_eq!((id.as_str(), &**error), ("forgery01", "Unverified data."));
        assert_eq!(checked, 1);
    }
}
