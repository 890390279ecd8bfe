use super::*;
use crate::{
    graph::{
        Field, Graph,
        samples::{frames, nodes},
    },
    value::{State, samples::nasty_text},
};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn soul(text: &str) -> Soul {
    Soul::new(text).unwrap()
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn parse(get: Json) -> Query {
    Query::parse(&get).unwrap()
}

fn written(query: &Query) -> String {
    let mut text = String::new();
    query.write(&mut text);
    text
}

/// Every query that was put to a gun.js relay which had just started, and so answered from its disk, gives the same here.
#[test]
fn captured_queries_select_what_gun_js_selected() {
    let mut graph = Graph::new();
    let mut asked: Vec<(Json, Json)> = Vec::new();
    for (_, from_client, _, frame) in frames(include_str!("../../tests/vectors/12-lex-raw.jsonl")) {
        if from_client && frame["get"].is_object() {
            asked.push((frame["#"].clone(), frame["get"].clone()));
        } else if from_client {
            let clock = State::new(f64::MAX).unwrap();
            for node in nodes(&frame["put"]).unwrap() {
                graph.merge(clock, &node);
            }
        } else if let Some((_, get)) = asked.iter().find(|(id, _)| *id == frame["@"]) {
            // Ranges of souls without a prefix come back from gun.js under the wrong souls.
            let put = frame["put"].to_string().replace("undefinedchat", "chat");
            let expected = nodes(&serde_json::from_str(&put).unwrap()).unwrap_or_default();
            let query = parse(get.clone());
            assert_eq!(graph.select(&query), expected, "{get}");
            assert_eq!(
                parse(serde_json::from_str(&written(&query)).unwrap()),
                query,
                "{get}"
            );
        }
    }
    assert_eq!(asked.len(), 21);
}

#[test]
fn gets_are_read_as_they_are_meant() {
    let all = Lex::prefix("");
    assert_eq!(parse(json!({"#": "s"})), Query::node(soul("s")));
    assert_eq!(parse(json!({"#": "s", ".": ""})), Query::node(soul("s")));
    assert_eq!(parse(json!({"#": "s", ".": {}})), Query::node(soul("s")));
    assert_eq!(parse(json!({"#": "s", ".": null})), Query::node(soul("s")));
    assert_eq!(
        parse(json!({"#": {"=": "s"}, ".": {"=": "k", "*": "x"}})),
        Query::field(soul("s"), key("k"))
    );
    assert_eq!(
        parse(json!({"#": "s", ".": {"*": ""}, "%": 9})),
        Query::fields(soul("s"), all.clone(), 9)
    );
    assert_eq!(
        parse(json!({"*": "", "%": 9})),
        Query::nodes(all.clone(), 9)
    );
    assert_eq!(
        parse(json!({"#": {"*": ""}, "%": "9"})),
        Query::nodes(all, 9)
    );
    for reverse in [
        json!({"#": "s", "-": 1}),
        json!({"#": "s", ".": {"-": true}}),
        json!({"#": {"=": "s", "-": "x"}}),
    ] {
        assert!(parse(reverse).reverse);
    }
    for straight in [
        json!({"#": "s", "-": 0}),
        json!({"#": "s", ".": {"-": false}}),
        json!({"#": "s", "-": ""}),
    ] {
        assert!(!parse(straight).reverse);
    }
    for (budget, expected) in [
        (json!(1e300), Some(u32::MAX)),
        (json!(0), None),
        (json!(-5), None),
        (json!("x"), None),
        (json!([]), None),
        (json!(1.5), Some(2)),
    ] {
        assert_eq!(parse(json!({"#": "s", "%": budget})).budget, expected);
    }
}

#[test]
fn gets_that_ask_for_nothing_are_refused() {
    let refused = |get: Json| Query::parse(&get).unwrap_err();
    for get in [json!(null), json!("s"), json!(["s"]), json!(5)] {
        assert_eq!(refused(get), InvalidQuery::NotAnObject);
    }
    for get in [
        json!({}),
        json!({".": "k"}),
        json!({"#": null}),
        json!({"#": 5}),
        json!({"#": ["s"]}),
        json!({"#": {}}),
        json!({"#": {"-": 1}}),
    ] {
        assert_eq!(refused(get), InvalidQuery::NoSoul);
    }
    let long = "x".repeat(4097);
    for get in [
        json!({"#": "s", ".": 5}),
        json!({"#": "s", ".": ["k"]}),
        json!({"#": "s", ".": {"*": 5}}),
        json!({"#": {">": {}}}),
        json!({"#": {"<": long}}),
    ] {
        assert_eq!(refused(get), InvalidQuery::Range);
    }
    for get in [
        json!({"#": ""}),
        json!({"#": {"=": ""}}),
        json!({"#": "s", ".": "_"}),
        json!({"#": long}),
    ] {
        assert!(matches!(refused(get), InvalidQuery::Name(_)));
    }
}

#[test]
fn queries_are_written_as_gun_js_understands_them() {
    let reversed = |query: Query| Query {
        reverse: true,
        ..query
    };
    let lex = Lex::between("a", "b\"");
    let expected = [
        (Query::node(soul("s\n")), r##"{"#":"s\n"}"##),
        (Query::field(soul("s"), key("k")), r##"{"#":"s",".":"k"}"##),
        (reversed(Query::node(soul("s"))), r##"{"#":"s","-":1}"##),
        (
            Query::fields(soul("s"), Lex::default(), 9),
            r##"{"#":"s",".":{"*":""},"%":9}"##,
        ),
        (
            reversed(Query::fields(soul("s"), lex.clone(), 9)),
            r##"{"#":"s",".":{">":"a","<":"b\"","-":1},"%":9}"##,
        ),
        (
            reversed(Query::nodes(lex, 9)),
            r##"{"#":{">":"a","<":"b\"","-":1},"%":9}"##,
        ),
        (
            Query::nodes(Lex::prefix("chat/"), 9),
            r##"{"#":{"*":"chat/"},"%":9}"##,
        ),
    ];
    for (query, text) in expected {
        assert_eq!(written(&query), text);
    }
}

#[test]
fn the_budget_counts_utf16_units_and_nine_for_the_rest() {
    let at = State::new(1.0).unwrap();
    let node = [("a", "12345"), ("b", "😀😀"), ("c", "")]
        .iter()
        .fold(Node::new(soul("s")), |node, (name, text)| {
            node.with(key(name), Value::text(text), at)
        })
        .with(key("d"), Value::Null, at)
        .with(key("e"), Value::Link(soul("a link longer than nine")), at)
        .with(key("f"), Value::Bool(true), at);
    let selected = |budget: Option<u32>, reverse: bool| {
        let query = Query {
            budget,
            reverse,
            ..Query::fields(soul("s"), Lex::prefix(""), 0)
        };
        query
            .select(&node)
            .fields
            .keys()
            .map(Key::as_str)
            .collect::<String>()
    };
    let expected = [
        (1, "a"),
        (5, "a"),
        (6, "ab"),
        (9, "ab"),
        (10, "abc"),
        (18, "abc"),
        (19, "abcd"),
        (28, "abcde"),
        (u32::MAX, "abcdef"),
    ];
    for (budget, keys) in expected {
        assert_eq!(selected(Some(budget), false), keys, "{budget}");
    }
    assert_eq!(selected(None, false), "a");
    assert_eq!(selected(Some(0), false), "a");
    assert_eq!(selected(Some(10), true), "ef");
    let other = Node::new(soul("other"));
    assert!(
        Query::fields(soul("s"), Lex::prefix(""), 9)
            .select(&other)
            .fields
            .is_empty()
    );
}

#[test]
fn nodes_of_one_answer_share_the_budget() {
    let mut graph = Graph::new();
    let at = State::new(1.0).unwrap();
    for name in ["x/1", "x/2", "x/3", "y"] {
        let node =
            Node::new(soul(name))
                .with(key("a"), Value::Null, at)
                .with(key("b"), Value::Null, at);
        graph.merge(at, &node);
    }
    let selected = |query: &Query| {
        let nodes = graph.select(query);
        let told = |node: &Node| {
            format!(
                "{}{}",
                node.soul,
                node.fields.keys().map(Key::as_str).collect::<String>()
            )
        };
        nodes.iter().map(told).collect::<Vec<_>>().join(" ")
    };
    let query = Query::nodes(Lex::prefix("x/"), 27);
    assert_eq!(selected(&query), "x/1ab x/2a");
    let query = Query {
        reverse: true,
        ..query
    };
    assert_eq!(selected(&query), "x/3ab x/2b");
    let query = Query {
        key: Some(KeyQuery::One(key("b"))),
        ..query
    };
    assert_eq!(selected(&query), "x/3b x/2b x/1b");
    let query = Query {
        budget: None,
        ..query
    };
    assert_eq!(selected(&query), "x/3b");
}

fn part() -> impl Strategy<Value = Option<std::sync::Arc<str>>> {
    proptest::option::of(nasty_text().prop_map(std::sync::Arc::from))
}

fn lex() -> impl Strategy<Value = Lex> {
    (part(), part(), part()).prop_map(|(prefix, from, to)| Lex { prefix, from, to })
}

fn query() -> impl Strategy<Value = Query> {
    let text = || nasty_text().prop_filter("no name", |text| Key::new(text).is_ok());
    let soul = prop_oneof![
        text().prop_map(|text| SoulQuery::One(soul(&text))),
        lex().prop_map(SoulQuery::Many)
    ];
    let key = prop_oneof![
        text().prop_map(|text| KeyQuery::One(key(&text))),
        lex().prop_map(KeyQuery::Many)
    ];
    (
        soul,
        proptest::option::of(key),
        proptest::option::of(1..200_u32),
        any::<bool>(),
    )
        .prop_map(|(soul, key, budget, reverse)| Query {
            soul,
            key,
            budget,
            reverse,
        })
}

/// Fields one by one, in order or backwards, until the budget is reached.
fn naive(query: &Query, node: &Node) -> Vec<Key> {
    let mut fields: Vec<(&Key, &Field)> = node
        .fields
        .iter()
        .filter(|(key, _)| query.matches_key(key))
        .collect();
    if query.reverse {
        fields.reverse();
    }
    let ranged =
        matches!(query.soul, SoulQuery::Many(_)) || matches!(query.key, Some(KeyQuery::Many(_)));
    let budget = query
        .budget
        .map_or(if ranged { 1 } else { usize::MAX }, |budget| {
            budget as usize
        });
    let (mut taken, mut size) = (Vec::new(), 0);
    for (key, field) in fields {
        if size >= budget {
            break;
        }
        size += match &field.value {
            Value::Text(text) if !text.is_empty() => text.encode_utf16().count(),
            _ => 9,
        };
        taken.push(key.clone());
    }
    taken.sort();
    taken
}

/// What a stranger may send as a `get`: its words in any place, with anything in them.
fn any_get() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        nasty_text().prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let name = proptest::sample::select(vec!["#", ".", "=", "*", ">", "<", "%", "-", "__proto__"]);
        let object = proptest::collection::hash_map(name.prop_map(str::to_owned), inner.clone(), 0..6);
        prop_oneof![
            3 => object.prop_map(|object| object.into_iter().collect::<serde_json::Map<_, _>>().into()),
            1 => proptest::collection::vec(inner, 0..4).prop_map(Json::from),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_asked_is_understood_or_refused(get in any_get()) {
        if let Ok(query) = Query::parse(&get) {
            let again = Query::parse(&serde_json::from_str(&written(&query)).unwrap());
            prop_assert_eq!(again, Ok(query));
        }
    }

    #[test]
    fn a_query_is_read_back_from_what_is_written(query in query()) {
        let everything = Lex::default();
        let read = Query::parse(&serde_json::from_str(&written(&query)).unwrap()).unwrap();
        // `{"*": ""}` says everything too, where `{}` would not be taken for a range.
        let as_written = |lex: &mut Lex| if *lex == everything { *lex = Lex::prefix("") };
        let mut expected = query;
        if let SoulQuery::Many(lex) = &mut expected.soul { as_written(lex); }
        if let Some(KeyQuery::Many(lex)) = &mut expected.key { as_written(lex); }
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn what_is_selected_is_what_a_naive_reader_takes(
        query in query(),
        fields in proptest::collection::btree_map(nasty_text(), crate::value::samples::value(), 0..12),
    ) {
        let named = match &query.soul {
            SoulQuery::One(soul) => soul.clone(),
            SoulQuery::Many(_) => soul("s"),
        };
        let at = State::new(1.0).unwrap();
        let node = fields.into_iter().filter_map(|(name, value)| Some((Key::new(&name).ok()?, value)))
            .fold(Node::new(named.clone()), |node, (key, value)| node.with(key, value, at));
        let selected: Vec<Key> = query.select(&node).fields.into_keys().collect();
        let expected = if query.matches_soul(&named) { naive(&query, &node) } else { Vec::new() };
        prop_assert_eq!(selected, expected);
    }
}
