//! Relays that come and go: nothing that was written is lost, and all hear the same.

use super::script::{World, config, field, soul};
use crate::{
    client::core::Output,
    graph::{Graph, Node},
    lex::Query,
    message::{Body, Message},
};
use std::{collections::VecDeque, time::Duration};

/// A relay like gun.js's, and the connection to it.
#[derive(Default)]
struct Relay {
    graph: Graph,
    up: bool,
    subscribed: bool,
    /// What the client sent and has not arrived.
    inbox: VecDeque<Message>,
    /// What the client has not heard yet.
    outbox: VecDeque<Message>,
}

impl Relay {
    /// Takes one message, as gun.js does: it acknowledges nothing that changes nothing.
    fn take(&mut self, world: &mut World) {
        let Some(message) = self.inbox.pop_front() else {
            return;
        };
        let Some(id) = message.id else { return };
        match message.body {
            Body::Put(nodes) => {
                let clock = world.at().clock;
                let merged = nodes.iter().map(|node| self.graph.merge(clock, node));
                let changed: Vec<_> = merged
                    .map(|it| it.changed)
                    .filter(|it| !it.fields.is_empty())
                    .collect();
                if !changed.is_empty() {
                    self.outbox.push_back(Message::stored(world.id(), id));
                    if self.subscribed {
                        self.outbox.push_back(Message::put(world.id(), changed));
                    }
                }
            }
            Body::Get(query) => {
                self.subscribed = true;
                let found = self.graph.select(&query);
                self.outbox.push_back(if found.is_empty() {
                    Message::not_found(world.id(), id)
                } else {
                    Message::answer(world.id(), id, found)
                });
            }
            _ => {}
        }
    }
}

struct Chaos {
    world: World,
    relays: [Relay; 2],
    random: fastrand::Rng,
    /// What was written.
    whole: Graph,
    /// What the subscriber was told.
    told: Graph,
}

impl Chaos {
    fn step(&mut self) {
        let at = usize::from(self.random.bool());
        let relay = &mut self.relays[at];
        match self.random.u32(..100) {
            0..25 if self.whole.len() < 400 => {
                let number = self.random.u32(..8);
                let value = self.random.u32(..5).to_string();
                let state = f64::from(self.random.u32(..900));
                let node = field("s", &format!("k{number}"), &value, state);
                self.whole.merge(self.world.at().clock, &node);
                self.world.put_soon(vec![node]);
            }
            25..60 => relay.take(&mut self.world),
            60..90 => {
                if let Some(message) = relay.outbox.pop_front() {
                    self.world.hear(at as u32, message);
                }
            }
            90..93 if relay.up => self.cut(at),
            _ => self
                .world
                .pass(Duration::from_millis(self.random.u64(..200))),
        }
        self.carry();
    }

    /// The connection breaks: what is on its way is lost.
    fn cut(&mut self, at: usize) {
        let relay = &mut self.relays[at];
        relay.up = false;
        relay.subscribed = false;
        relay.inbox.clear();
        relay.outbox.clear();
        self.world.close(at as u32);
    }

    fn carry(&mut self) {
        while let Some(output) = self.world.output() {
            match output {
                Output::Dial(id, _) => {
                    self.relays[id as usize].up = true;
                    self.world.open(id);
                }
                Output::Changed(_, node) => {
                    let merged = self.told.merge(self.world.at().clock, &node);
                    assert_eq!(merged.changed, node, "told twice, or in a wrong order");
                }
                _ => {}
            }
        }
        for (to, message) in self.world.sent.drain(..) {
            let relay = &mut self.relays[to as usize];
            if relay.up {
                relay.inbox.push_back(message);
            }
        }
    }

    /// All is delivered, and time passes.
    fn calm(&mut self) {
        for _ in 0..100 {
            self.world.pass(Duration::from_secs(1));
            self.carry();
            for at in 0..2 {
                while !self.relays[at].inbox.is_empty() {
                    self.relays[at].take(&mut self.world);
                }
                while let Some(message) = self.relays[at].outbox.pop_front() {
                    self.world.hear(at as u32, message);
                }
            }
            self.carry();
        }
    }
}

#[test]
fn whatever_breaks_all_relays_and_subscribers_end_with_all_that_was_written() {
    for seed in 0..60 {
        let mut chaos = Chaos {
            world: World::new(config(2)),
            relays: Default::default(),
            random: fastrand::Rng::with_seed(seed),
            whole: Graph::new(),
            told: Graph::new(),
        };
        let subscriber = chaos.world.subscribe(Query::node(soul("s")));
        for _ in 0..600 {
            chaos.step();
        }
        chaos.calm();
        let node = |graph: &Graph| -> Option<Node> { graph.get(&soul("s")).cloned() };
        let whole = node(&chaos.whole);
        assert!(whole.is_some(), "seed {seed}");
        for relay in &chaos.relays {
            assert_eq!(node(&relay.graph), whole, "seed {seed}");
        }
        assert_eq!(node(&chaos.told), whole, "seed {seed}");
        chaos.world.core.unsubscribe(subscriber);
        chaos.world.pass(Duration::from_secs(60));
        assert_eq!(
            chaos.world.core.deadline(),
            None,
            "seed {seed}: something is left to do"
        );
    }
}
