//! Knowing again what was heard before, for a while.

use crate::message::MessageId;
use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

/// How long and how much is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenConfig {
    /// Since something was last heard; 9 s by default, as gun.js.
    pub keep: Duration,
    /// Messages, and as many answers; 50,000 by default, some 5 MB. Beyond it the oldest are forgotten: what comes a second time then is
    /// merged a second time, which changes nothing.
    pub capacity: usize,
}

impl Default for SeenConfig {
    fn default() -> Self {
        Self {
            keep: Duration::from_secs(9),
            capacity: 50_000,
        }
    }
}

/// The messages of the last seconds and where they came from: `From` names a connection.
#[derive(Debug)]
pub struct Seen<From> {
    messages: Recent<MessageId, From>,
    answers: Recent<(MessageId, i32), ()>,
}

impl<From: Copy> Seen<From> {
    /// Nothing heard yet.
    pub fn new(config: &SeenConfig) -> Self {
        Self {
            messages: Recent::new(config),
            answers: Recent::new(config),
        }
    }

    /// A message of this name is heard from there: whether that is the first time. Each time prolongs the memory; of its
    /// origin, the first counts.
    pub fn is_new(&mut self, now: Duration, id: &MessageId, from: From) -> bool {
        self.messages.hear(now, id, from)
    }

    /// Where the message of this name came from first, as long as that is remembered.
    pub fn origin(&self, now: Duration, id: &MessageId) -> Option<From> {
        self.messages.get(now, id)
    }

    /// An answer with this hash to the message of this name is heard: whether that is the first time.
    pub fn is_new_answer(&mut self, now: Duration, to: &MessageId, hash: i32) -> bool {
        self.answers.hear(now, &(to.clone(), hash), ())
    }
}

/// Keys with a value each, until a while after they were last heard.
#[derive(Debug)]
struct Recent<K, V> {
    keep: Duration,
    capacity: usize,
    known: HashMap<K, Heard<V>>,
    /// When a key was heard that was not queued already; in order. A key heard since then is queued again when its turn comes.
    order: VecDeque<(Duration, K)>,
}

#[derive(Debug)]
struct Heard<V> {
    last: Duration,
    value: V,
}

impl<K: Clone + Eq + Hash, V: Copy> Recent<K, V> {
    fn new(config: &SeenConfig) -> Self {
        Self {
            keep: config.keep,
            capacity: config.capacity.max(1),
            known: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    fn hear(&mut self, now: Duration, key: &K, value: V) -> bool {
        self.forget(now);
        if let Some(heard) = self.known.get_mut(key) {
            let is_new = now >= heard.last + self.keep;
            if is_new {
                heard.value = value;
            }
            heard.last = heard.last.max(now);
            return is_new;
        }
        while self.known.len() >= self.capacity && self.drop_oldest() {}
        self.known.insert(key.clone(), Heard { last: now, value });
        self.order.push_back((now, key.clone()));
        true
    }

    fn get(&self, now: Duration, key: &K) -> Option<V> {
        let heard = self.known.get(key)?;
        (now < heard.last + self.keep).then_some(heard.value)
    }

    fn forget(&mut self, now: Duration) {
        while let Some((queued, key)) = self.order.front()
            && now >= *queued + self.keep
        {
            let last = self.known.get(key).map(|heard| heard.last);
            let Some((_, key)) = self.order.pop_front() else {
                return;
            };
            match last {
                Some(last) if now < last + self.keep => self.order.push_back((last, key)),
                _ => {
                    self.known.remove(&key);
                }
            }
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, key)) = self.order.pop_front() else {
            return false;
        };
        self.known.remove(&key);
        true
    }
}

#[cfg(test)]
mod tests;
