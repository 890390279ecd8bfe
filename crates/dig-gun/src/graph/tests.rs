use super::{samples as captured, *};
use crate::value::{Number, samples};
use proptest::prelude::*;
use serde_json::json;

fn state(milliseconds: f64) -> State {
    State::new(milliseconds).unwrap()
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn soul(text: &str) -> Soul {
    Soul::new(text).unwrap()
}

fn number(number: f64) -> Value {
    Value::Number(Number::new(number).unwrap())
}

fn field(value: Value, milliseconds: f64) -> Field {
    Field {
        value,
        state: state(milliseconds),
    }
}

#[test]
fn each_rule_decides_in_its_turn() {
    let clock = state(1000.0);
    let known = field(number(5.0), 500.0);
    let decide = |incoming: Field| decide(clock, Some(&known), &incoming);
    assert_eq!(
        decide(field(Value::Null, 1000.001)),
        Verdict::Future(state(1000.001))
    );
    assert_eq!(decide(field(Value::Null, 1000.0)), Verdict::Take);
    assert_eq!(decide(field(Value::Null, 500.001)), Verdict::Take);
    assert_eq!(decide(field(Value::Null, 499.999)), Verdict::Older);
    assert_eq!(decide(field(number(5.0), 500.0)), Verdict::Same);
    assert_eq!(decide(field(number(6.0), 500.0)), Verdict::Take);
    assert_eq!(decide(field(number(10.0), 500.0)), Verdict::Lesser);
    assert_eq!(decide(field(Value::text("z"), 500.0)), Verdict::Lesser);
    assert_eq!(decide(field(Value::Null, 500.0)), Verdict::Take);
    assert_eq!(
        super::decide(clock, None, &field(Value::Null, -1.0)),
        Verdict::Take
    );
    assert_eq!(
        super::decide(clock, None, &field(Value::Null, 1001.0)),
        Verdict::Future(state(1001.0))
    );
}

#[test]
fn a_merge_tells_what_it_took_and_what_waits() {
    let mut node = Node::new(soul("s"))
        .with(key("a"), number(1.0), state(10.0))
        .with(key("b"), number(1.0), state(10.0));
    let incoming = Node::new(soul("s"))
        .with(key("a"), number(2.0), state(11.0))
        .with(key("b"), number(2.0), state(9.0))
        .with(key("c"), Value::Null, state(20.0))
        .with(key("d"), Value::Null, state(21.0));
    let merged = node.merge(state(20.0), &incoming);
    let changed = Node::new(soul("s"))
        .with(key("a"), number(2.0), state(11.0))
        .with(key("c"), Value::Null, state(20.0));
    assert_eq!(merged.changed, changed);
    assert_eq!(merged.deferred, [(key("d"), field(Value::Null, 21.0))]);
    assert_eq!(node, changed.with(key("b"), number(1.0), state(10.0)));
    let other = Node::new(soul("other")).with(key("a"), number(3.0), state(12.0));
    assert!(node.merge(state(20.0), &other).changed.fields.is_empty());
}

#[test]
fn a_graph_has_no_empty_nodes() {
    let mut graph = Graph::new();
    let merged = graph.merge(
        state(1.0),
        &Node::new(soul("s")).with(key("a"), Value::Null, state(2.0)),
    );
    assert_eq!(merged.deferred.len(), 1);
    assert!(graph.is_empty());
    graph.merge(
        state(2.0),
        &Node::new(soul("s")).with(key("a"), Value::Null, state(2.0)),
    );
    assert_eq!(graph.len(), 1);
    assert!(graph.remove(&soul("s")).is_some());
    assert!(graph.is_empty());
}

#[test]
fn a_field_of_the_future_is_given_out_at_its_time() {
    let mut deferred = Deferred::default();
    let clock = state(0.0);
    for (at, name, value) in [
        (20.0, "a", 2.0),
        (10.0, "a", 1.0),
        (10.0, "b", 1.0),
        (30.0, "a", 3.0),
        (20.0, "a", 2.0),
    ] {
        deferred
            .hold(clock, &soul("s"), key(name), field(number(value), at))
            .unwrap();
    }
    deferred
        .hold(clock, &soul("s"), key("a"), field(number(7.0), 20.0))
        .unwrap();
    deferred
        .hold(clock, &soul("s"), key("a"), field(number(4.0), 20.0))
        .unwrap();
    assert_eq!(deferred.len(), 4);
    assert_eq!(deferred.next(), Some(state(10.0)));
    assert!(deferred.due(state(9.999)).is_empty());
    let due = deferred.due(state(10.0));
    assert_eq!(
        due,
        [Node::new(soul("s"))
            .with(key("a"), number(1.0), state(10.0))
            .with(key("b"), number(1.0), state(10.0))]
    );
    assert_eq!(deferred.next(), Some(state(20.0)));
    let due = deferred.due(state(25.0));
    assert_eq!(
        due,
        [Node::new(soul("s")).with(key("a"), number(7.0), state(20.0))]
    );
    let due = deferred.due(state(99.0));
    assert_eq!(
        due,
        [Node::new(soul("s")).with(key("a"), number(3.0), state(30.0))]
    );
    assert_eq!(
        (deferred.next(), deferred.weight(), deferred.is_empty()),
        (None, 0, true)
    );
}

#[test]
fn the_future_is_bounded() {
    let clock = state(1000.0);
    let day = 24.0 * 3600.0 * 1000.0;
    let mut deferred = Deferred::default();
    let mut hold = |at: f64| deferred.hold(clock, &soul("s"), key("a"), field(Value::Null, at));
    assert_eq!(hold(1000.0 + day), Ok(()));
    let refused = hold(1001.0 + day).unwrap_err();
    assert!(matches!(refused, NotDeferred::TooFarAhead { .. }));
    assert_eq!(
        refused.to_string(),
        "written 86400 s in the future, and at most 86400 s are waited for: set the clock of the writer"
    );
    assert!(hold(f64::MAX).is_err());

    let config = DeferredConfig {
        max_fields: 2,
        ..DeferredConfig::default()
    };
    let mut deferred = Deferred::new(config);
    let mut hold =
        |name: &str| deferred.hold(clock, &soul("s"), key(name), field(Value::Null, 2000.0));
    assert_eq!(
        (hold("a"), hold("b"), hold("c"), hold("a")),
        (Ok(()), Ok(()), Err(NotDeferred::Full), Ok(()))
    );

    let config = DeferredConfig {
        max_bytes: 1000,
        ..DeferredConfig::default()
    };
    let mut deferred = Deferred::new(config);
    let mut hold = |name: &str, length: usize| {
        deferred.hold(
            clock,
            &soul("s"),
            key(name),
            field(Value::text(&"x".repeat(length)), 2000.0),
        )
    };
    assert_eq!(hold("a", 2000), Err(NotDeferred::Full));
    assert_eq!(hold("a", 400), Ok(()));
    assert_eq!(hold("a", 2000), Err(NotDeferred::Full), "nor by and by");
    assert_eq!(hold("b", 600), Err(NotDeferred::Full));
    assert_eq!(deferred.due(state(3000.0)).len(), 1);
    assert_eq!(deferred.weight(), 0);
}

#[test]
fn objects_within_objects_become_nodes_of_their_own() {
    let data = json!({
        "_": {"#": "ignored", ">": {}},
        "name": "Alice",
        "age": 23,
        "gone": null,
        "address": {"city": "Paris", "land": {"code": "fr"}},
        "boss": {"#": "bob"},
        "pet": {"_": {"#": "rex"}, "kind": "dog"},
        "empty": {},
        "two": {"#": "bob", "x": 1},
    });
    let at = state(5.0);
    let graph = Graph::from_json(soul("alice"), data, at).unwrap();
    let link = |to| Value::Link(soul(to));
    let expected = [
        Node::new(soul("alice"))
            .with(key("name"), Value::text("Alice"), at)
            .with(key("age"), number(23.0), at)
            .with(key("gone"), Value::Null, at)
            .with(key("address"), link("alice/address"), at)
            .with(key("boss"), link("bob"), at)
            .with(key("pet"), link("rex"), at)
            .with(key("empty"), link("alice/empty"), at)
            .with(key("two"), link("alice/two"), at),
        Node::new(soul("alice/address"))
            .with(key("city"), Value::text("Paris"), at)
            .with(key("land"), link("alice/address/land"), at),
        Node::new(soul("alice/address/land")).with(key("code"), Value::text("fr"), at),
        Node::new(soul("alice/two"))
            .with(key("#"), Value::text("bob"), at)
            .with(key("x"), number(1.0), at),
        Node::new(soul("rex")).with(key("kind"), Value::text("dog"), at),
    ];
    assert_eq!(graph.into_nodes().collect::<Vec<_>>(), expected);
}

#[test]
fn what_does_not_merge_is_refused_with_its_place() {
    let refused = |data| {
        Graph::from_json(soul("arr"), data, state(1.0))
            .unwrap_err()
            .to_string()
    };
    assert!(refused(json!({"a": [1]})).starts_with("Invalid data: Array at arr.a:"));
    assert!(refused(json!({"a": {"b": []}})).starts_with("Invalid data: Array at arr.a.b:"));
    assert!(refused(json!({"": 1})).starts_with("Invalid data: name at arr.:"));
    assert!(refused(json!({"a": {"#": ""}})).starts_with("Invalid data: name at arr.a:"));
    let long = "k".repeat(Key::MAX_LEN);
    assert!(refused(json!({ &long: {"b": 1} })).contains("at most 4096 bytes"));
    assert_eq!(
        refused(json!([1])),
        "only an object can be put under a soul, not an array"
    );
    assert_eq!(
        refused(json!("x")),
        "only an object can be put under a soul, not a text"
    );
    assert_eq!(
        refused(json!({"#": "x"})),
        "only an object can be put under a soul, not a link"
    );
}

#[test]
fn souls_of_set_members_sort_by_age_and_differ_by_chance() {
    let at = |milliseconds, random: u128| set_soul(state(milliseconds), random.to_le_bytes());
    assert_eq!(at(1_795_344_990_270.5, 0).as_str(), "mwrq1we6000000000000");
    assert_eq!(at(1_795_344_990_270.5, 61).as_str(), "mwrq1we6Z00000000000");
    assert!(at(1_795_344_990_270.0, u128::MAX) < at(1_795_344_990_271.0, 0));
    assert_eq!(at(-1.0, u128::MAX).as_str().len(), 12);
}

#[test]
fn members_of_a_set_are_links_to_nodes_or_plain_values() {
    let at = state(1_795_344_990_269.0);
    let added = |data| {
        let graph = Graph::set_from_json(soul("list"), data, at, [0; 16]).unwrap();
        graph.into_nodes().collect::<Vec<_>>()
    };
    let new = "mwrq1we5000000000000";
    let in_list = |name: &str, value| Node::new(soul("list")).with(key(name), value, at);
    let member = Node::new(soul(new)).with(key("item"), number(1.0), at);
    assert_eq!(
        added(json!({"item": 1})),
        [in_list(new, Value::Link(soul(new))), member]
    );
    assert_eq!(
        added(json!("primitive")),
        [in_list(new, Value::text("primitive"))]
    );
    assert_eq!(added(json!({})), [in_list(new, Value::Link(soul(new)))]);
    for known in [json!({"#": "known"}), json!({"_": {"#": "known"}, "x": 1})] {
        assert_eq!(added(known), [in_list("known", Value::Link(soul("known")))]);
    }
    let refused = |data| {
        Graph::set_from_json(soul("list"), data, at, [0; 16])
            .unwrap_err()
            .to_string()
    };
    assert!(refused(json!([1])).starts_with(&format!("Invalid data: Array at list.{new}:")));
    assert!(refused(json!({"#": ""})).starts_with("Invalid data: name at list:"));
}

/// A gun.js relay with a writer and a subscriber, frame by frame: each change it pushed, each answer it gave, and which writes it
/// acknowledged (those that changed something at once).
#[test]
fn a_captured_relay_took_the_same_writes() {
    // The put of the step "1500 ms in the future" has state 1795345062532 and was sent at 6470.
    const BEGIN: f64 = 1_795_345_062_532.0 - 1500.0 - 6470.0;
    let mut peer = Peer::default();
    let mut changes = Vec::new();
    let (mut asked, mut acknowledged) = (BTreeMap::new(), Vec::new());
    let (mut pushed, mut acks) = (Vec::new(), Vec::new());
    for (conn, from_client, t, frame) in
        captured::frames(include_str!("../../tests/vectors/15-ham-axe.jsonl"))
    {
        let clock = state(BEGIN + t);
        changes.extend(peer.wake(clock));
        let id = frame["#"].to_string();
        let answers = frame["@"].to_string();
        let put = captured::nodes(&frame["put"]);
        match (from_client, put) {
            (true, Some(nodes)) => {
                for node in &nodes {
                    let changed = peer.take(clock, node);
                    if !changed.fields.is_empty() {
                        changes.push(changed);
                        acknowledged.push(id.clone());
                    }
                }
            }
            (true, None) => drop(asked.insert(id, Query::parse(&frame["get"]).unwrap())),
            (false, Some(nodes)) => match asked.get(&answers) {
                Some(query) => assert_eq!(peer.graph.select(query), nodes, "{query:?}"),
                None => pushed.extend(nodes),
            },
            (false, None) if conn == 1 && frame["ok"] == true => acks.push(answers),
            (false, None) => {}
        }
    }
    // The first write came before the subscription.
    assert_eq!(changes[1..], pushed);
    assert_eq!(acknowledged, acks);
    assert_eq!((asked.len(), pushed.len(), acks.len()), (5, 11, 11));
}

/// One write of one field.
#[derive(Debug, Clone)]
struct Write {
    soul: &'static str,
    key: &'static str,
    field: Field,
}

impl Write {
    fn node(&self) -> Node {
        Node::new(soul(self.soul)).with(key(self.key), self.field.value.clone(), self.field.state)
    }
}

/// Few souls, keys and states, so that writes meet; half of them lie behind a clock of 5.
fn write() -> impl Strategy<Value = Write> {
    let states = proptest::sample::select(vec![-1.0, 0.0, 0.001, 1.0, 5.0, 5.001, 6.0, 8.0, 8.5]);
    let souls = proptest::sample::select(vec!["a", "b"]);
    let keys = proptest::sample::select(vec!["x", "y", "\u{e000}", "😀"]);
    let few = proptest::sample::select(vec![
        number(1.0),
        number(10.0),
        number(-1.0),
        Value::Null,
        Value::text(""),
    ]);
    (souls, keys, prop_oneof![few, samples::value()], states).prop_map(|(soul, key, value, at)| {
        Write {
            soul,
            key,
            field: field(value, at),
        }
    })
}

fn writes(most: usize) -> impl Strategy<Value = Vec<Write>> {
    proptest::collection::vec(write(), 0..most)
}

/// A peer: what it shows and what waits there.
#[derive(Debug, Default)]
struct Peer {
    graph: Graph,
    deferred: Deferred,
}

impl Peer {
    fn take(&mut self, clock: State, node: &Node) -> Node {
        let merged = self.graph.merge(clock, node);
        for (key, field) in merged.deferred {
            self.deferred.hold(clock, &node.soul, key, field).unwrap();
        }
        merged.changed
    }

    /// What its time has come for, as far as it wins.
    fn wake(&mut self, clock: State) -> Vec<Node> {
        let mut woken = Vec::new();
        for node in self.deferred.due(clock) {
            let merged = self.graph.merge(clock, &node);
            assert!(merged.deferred.is_empty());
            woken.push(merged.changed);
        }
        woken
    }

    fn shows_no_future(&self, clock: State) -> bool {
        let mut fields = self.graph.nodes().flat_map(|node| node.fields.values());
        fields.all(|field| field.state <= clock)
    }
}

fn merged<'a>(nodes: impl IntoIterator<Item = &'a Write>) -> Graph {
    let mut graph = Graph::new();
    for write in nodes {
        graph.merge(state(100.0), &write.node());
    }
    graph
}

fn joined(mut into: Graph, from: &Graph) -> Graph {
    for node in from.nodes() {
        into.merge(state(100.0), node);
    }
    into
}

/// The rule in one line: of each field what is greatest by state, then by JSON text.
fn greatest(writes: &[Write]) -> Graph {
    let rank = |write: &Write| {
        let mut text = String::new();
        crate::text::write_value(&mut text, &write.field.value);
        (write.field.state, text.encode_utf16().collect::<Vec<_>>())
    };
    let mut best: BTreeMap<_, &Write> = BTreeMap::new();
    for write in writes {
        let held = best.entry((write.soul, write.key)).or_insert(write);
        if rank(write) > rank(held) {
            *held = write;
        }
    }
    let mut graph = Graph::new();
    for ((at, name), write) in best {
        let node = graph
            .nodes
            .entry(soul(at))
            .or_insert_with(|| Node::new(soul(at)));
        node.fields.insert(key(name), write.field.clone());
    }
    graph
}

proptest! {
    #[test]
    fn merging_is_commutative_associative_and_idempotent(a in writes(12), b in writes(12), c in writes(12)) {
        let (a, b, c) = (merged(&a), merged(&b), merged(&c));
        prop_assert_eq!(joined(a.clone(), &b), joined(b.clone(), &a));
        prop_assert_eq!(joined(joined(a.clone(), &b), &c), joined(a.clone(), &joined(b.clone(), &c)));
        prop_assert_eq!(joined(a.clone(), &a), a.clone());
        prop_assert_eq!(joined(joined(a.clone(), &b), &b), joined(a, &b));
    }

    /// What was taken is enough for another peer that holds the same, so pushing changes alone loses nothing.
    #[test]
    fn the_changes_carry_the_merge(a in writes(12), b in writes(12)) {
        let (a, b) = (merged(&a), merged(&b));
        let (mut ours, mut theirs) = (a.clone(), a);
        for node in b.nodes() {
            let changed = ours.merge(state(100.0), node).changed;
            theirs.merge(state(100.0), &changed);
        }
        prop_assert_eq!(&ours, &theirs);
        for node in b.nodes() {
            prop_assert!(ours.merge(state(100.0), node).changed.fields.is_empty());
        }
    }

    /// Three peers get the same writes, each in its own order, some twice, while time goes by differently for each; and what
    /// a peer takes it also tells the next one. At the end all show the same: what the rule says.
    #[test]
    fn any_interleaving_converges(
        deliveries in writes(24).prop_flat_map(|writes| {
            let order = || Just(writes.iter().chain(&writes[..writes.len() / 3]).cloned().collect::<Vec<_>>()).prop_shuffle();
            (Just(writes.clone()), [order(), order(), order()])
        }),
        clocks in proptest::collection::vec((0..3_usize, 0.0..2.0_f64), 0..40),
    ) {
        let (writes, orders) = deliveries;
        let mut peers: [Peer; 3] = Default::default();
        let mut now = [3.0_f64, 4.0, 5.0];
        let mut clocks = clocks.into_iter();
        for step in 0..orders[0].len() {
            for (nth, order) in orders.iter().enumerate() {
                let changed = peers[nth].take(state(now[nth]), &order[step].node());
                let next = (nth + 1) % peers.len();
                peers[next].take(state(now[next]), &changed);
            }
            if let Some((nth, passed)) = clocks.next() {
                now[nth] += passed;
                peers[nth].wake(state(now[nth]));
            }
            for (peer, now) in peers.iter().zip(now) {
                prop_assert!(peer.shows_no_future(state(now)));
            }
        }
        let expected = greatest(&writes);
        for peer in &mut peers {
            peer.wake(state(10.0));
            prop_assert!(peer.deferred.is_empty());
            prop_assert_eq!(peer.deferred.weight(), 0);
            prop_assert_eq!(&peer.graph, &expected);
        }
    }
}
