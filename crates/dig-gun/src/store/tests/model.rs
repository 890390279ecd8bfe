//! The store on disk does what the one in memory does, whatever it is asked.

use super::*;
use std::ops::ControlFlow::{Break, Continue};

/// Names near each other in every order there could be.
const NAMES: &[&str] = &[
    "a",
    "aa",
    "a/b",
    "a\0",
    "b",
    "é",
    "\u{d7ff}",
    "\u{e000}",
    "\u{ffff}",
    "\u{10000}",
    "\u{10ffff}",
    "a\u{ffff}",
    "a\u{10000}x",
    "~",
];

struct Play {
    random: fastrand::Rng,
    now: u64,
}

impl Play {
    fn name(&mut self) -> &'static str {
        self.random.choice(NAMES).copied().unwrap_or("a")
    }

    fn value(&mut self) -> Value {
        match self.random.u8(..6) {
            0 => Value::Null,
            1 => Value::Bool(self.random.bool()),
            2 => Value::Number(Number::new(self.random.f64() * 1e9).unwrap()),
            3 => Value::Link(soul(self.name())),
            4 => Value::text(&"long ".repeat(self.random.usize(..400))),
            _ => Value::text(self.name()),
        }
    }

    fn node(&mut self) -> Node {
        let mut node = Node::new(soul(self.name()));
        for _ in 0..self.random.usize(..6) {
            let state = State::new(self.random.f64() * 1e12).unwrap();
            node = node.with(key(self.name()), self.value(), state);
        }
        node
    }

    fn lex(&mut self) -> Lex {
        let name = |play: &mut Self| play.random.bool().then(|| Arc::from(play.name()));
        Lex {
            prefix: name(self),
            from: name(self),
            to: name(self),
        }
    }

    fn query(&mut self) -> Query {
        Query {
            soul: match self.random.bool() {
                true => SoulQuery::One(soul(self.name())),
                false => SoulQuery::Many(self.lex()),
            },
            key: match self.random.u8(..3) {
                0 => None,
                1 => Some(KeyQuery::One(key(self.name()))),
                _ => Some(KeyQuery::Many(self.lex())),
            },
            budget: self.random.bool().then(|| self.random.u32(..300)),
            reverse: self.random.bool(),
        }
    }
}

/// One question or change, put to a store: what it says, in comparable form.
fn ask(store: &dyn Storage, play: &mut Play) -> String {
    match play.random.u8(..8) {
        0..=2 => {
            let changes: Vec<Node> = (0..play.random.usize(..5)).map(|_| play.node()).collect();
            play.now += play.random.u64(..90_000);
            let now = Timestamp::from_millis(play.now);
            format!("{:?}", store.commit(&changes, now).unwrap())
        }
        3 => {
            let now = Timestamp::from_millis(play.now);
            format!("{:?}", store.expire(now, play.random.usize(..3)).unwrap())
        }
        4 => {
            let mut left = play.random.usize(..5);
            let mut taken = Vec::new();
            let (of, keys, reverse) = (soul(play.name()), play.lex(), play.random.bool());
            let known = store.scan(&of, &keys, reverse, &mut |key, field| {
                taken.push((key, field));
                left = left.saturating_sub(1);
                if left == 0 { Break(()) } else { Continue(()) }
            });
            format!("{:?} {taken:?}", known.unwrap())
        }
        5 => {
            let mut taken = Vec::new();
            let (range, reverse) = (play.lex(), play.random.bool());
            let souls = store.souls(&range, reverse, &mut |soul| {
                taken.push(soul);
                Continue(())
            });
            souls.unwrap();
            format!("{taken:?}")
        }
        6 => {
            let room = play.random.usize(..3000);
            format!("{:?}", store.find(&play.query(), room).unwrap())
        }
        _ => format!("{:?}", store.load(&soul(play.name())).unwrap()),
    }
}

#[test]
fn both_kinds_of_store_say_the_same() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..12 {
        let config = StoreConfig {
            max_bytes: random.u64(2_000..20_000),
            max_souls: random.u64(4..20),
            expire_after: Some(Duration::from_secs(600)),
            cache_bytes: 1 << 20,
        };
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("gun.redb");
        let memory = MemoryStorage::new(config.clone());
        let mut disk = DiskStorage::open(&path, config.clone()).unwrap();
        let seed_of_round = random.u64(..);
        let [mut one, mut other] = [(), ()].map(|()| Play {
            random: fastrand::Rng::with_seed(seed_of_round),
            now: 0,
        });
        for step in 0..200 {
            let (expected, said) = (ask(&memory, &mut one), ask(&disk, &mut other));
            assert_eq!(said, expected, "seed {seed}, round {round}, step {step}");
            assert_eq!(
                disk.usage(),
                memory.usage(),
                "seed {seed}, round {round}, step {step}"
            );
            if step % 70 == 69 {
                drop(disk);
                disk = DiskStorage::open(&path, config.clone()).unwrap();
            }
        }
        let usage = memory.usage();
        assert!(usage.souls > 0, "seed {seed}, round {round}");
    }
}

/// [`Storage::find`] reads ranges; [`Query::select_within`] picks from whole nodes. They agree where there is room.
#[test]
fn a_query_finds_what_it_would_select() {
    let seed = fastrand::u64(..);
    let mut play = Play {
        random: fastrand::Rng::with_seed(seed),
        now: 0,
    };
    let store = MemoryStorage::default();
    let nodes: Vec<Node> = (0..40).map(|_| play.node()).collect();
    store.commit(&nodes, at(0)).unwrap();
    let mut all = Vec::new();
    let collected = store.souls(&Lex::default(), false, &mut |soul| {
        all.push(soul);
        Continue(())
    });
    collected.unwrap();
    let all: Vec<Node> = all
        .iter()
        .filter_map(|soul| store.load(soul).unwrap())
        .collect();
    for _ in 0..5000 {
        let query = play.query();
        let mut allowance = query.allowance();
        let mut expected = Vec::new();
        let mut select = |node: &Node| {
            let selected = query.select_within(node, &mut allowance);
            if !selected.fields.is_empty() {
                expected.push(selected);
            }
        };
        if query.reverse {
            all.iter().rev().for_each(&mut select);
        } else {
            all.iter().for_each(&mut select);
        }
        let found = store.find(&query, usize::MAX).unwrap();
        assert_eq!(found.nodes, expected, "{query:?}, seed {seed}");
    }
}
