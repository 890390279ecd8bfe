use super::*;
use crate::{
    frame::frames_in,
    value::{Key, Number, Soul, State, Value},
};
use proptest::prelude::*;

fn parse(text: &str) -> Result<Message, ParseError> {
    Message::parse(text, &WireLimits::default())
}

fn body(text: &str) -> Body {
    parse(text).unwrap().body
}

fn fault(text: &str) -> Fault {
    parse(text).unwrap_err().fault
}

fn id(text: &str) -> MessageId {
    MessageId::new(text).unwrap()
}

fn node(soul: &str, fields: &[(&str, Value)]) -> Node {
    let state = State::new(1.5).unwrap();
    fields
        .iter()
        .fold(Node::new(Soul::new(soul).unwrap()), |node, (key, value)| {
            node.with(Key::new(key).unwrap(), value.clone(), state)
        })
}

fn number(number: f64) -> Value {
    Value::Number(Number::new(number).unwrap())
}

#[test]
fn names_of_our_own_are_like_those_of_gun_js() {
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..1_000 {
        let id = MessageId::from_random(random.u64(..));
        assert_eq!(id.as_str().len(), 9);
        assert!(
            id.as_str()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() && byte != b'Y')
        );
    }
    assert_eq!(MessageId::from_random(0).as_str(), "000000000");
    assert_eq!(MessageId::from_random(60).as_str(), "z00000000");
}

#[test]
fn fields_come_in_the_order_that_gun_js_survives() {
    let long = Value::text(&"x".repeat(5_000));
    let nodes = vec![
        node(
            "first",
            &[
                ("a", long.clone()),
                ("b", number(1.0)),
                ("z", Value::text("y")),
            ],
        ),
        node("second", &[("k", Value::Link(Soul::new("first").unwrap()))]),
    ];
    let message = Message {
        more: true,
        ..Message::answer(id("me"), id("you"), nodes.clone())
    };
    let hash = crate::text::graph_hash(&nodes);
    let text = message.to_text();
    let expected = [
        &format!(r###"{{"#":"me","@":"you","##":{hash},"%":1,"put":{{"###),
        r##""second":{"_":{"#":"second",">":{"k":1.5}},"k":{"#":"first"}},"##,
        r##""first":{"_":{"#":"first",">":{"a":1.5,"b":1.5,"z":1.5}},"b":1,"z":"y","a":""##,
        &"x".repeat(5_000),
        r#""}}}"#,
    ];
    assert_eq!(text, expected.concat());
    assert!(parse(&text).unwrap().more);
}

#[test]
fn what_answers_is_told_apart() {
    let not_found = Message::not_found(id("a"), id("b"));
    let stored = Message::stored(id("a"), id("b"));
    let refused = Message::refused(id("a"), id("b"), "no".into());
    assert_eq!(not_found.to_text(), r##"{"#":"a","@":"b"}"##);
    assert_eq!(stored.to_text(), r##"{"#":"a","@":"b","ok":true}"##);
    assert_eq!(refused.to_text(), r##"{"#":"a","@":"b","err":"no"}"##);
    for message in [not_found, stored.clone(), refused.clone()] {
        assert_eq!(parse(&message.to_text()), Ok(message));
    }
    assert_eq!(body(r##"{"@":"b","ok":{"":1}}"##), stored.body);
    assert_eq!(body(r##"{"@":"b","ok":true,"err":"no"}"##), refused.body);
    assert_eq!(body(r##"{"@":"b","err":0,"ok":0}"##), Body::NotFound);
    assert_eq!(body(r##"{"@":"b","put":null}"##), Body::NotFound);
    assert_eq!(body(r##"{"@":"b","put":{}}"##), Body::NotFound);
    assert_eq!(body(r##"{"put":{}}"##), Body::Put(Vec::new()));
    assert_eq!(body(r##"{"ok":{"rtc":{}}}"##), Body::Other);
    assert_eq!(
        parse(r##"{"#":12345,"@":-1.5}"##).unwrap(),
        Message::not_found(id("12345"), id("-1.5"))
    );
}

#[test]
fn words_about_the_connection() {
    let dams = [
        Dam::Hi,
        Dam::AskPid(None),
        Dam::AskPid(Some("me".into())),
        Dam::Error("boo".into()),
        Dam::Mob(vec!["http://a/gun".into()]),
        Dam::Other,
    ];
    for dam in dams {
        let message = Message::dam(id("a"), dam);
        assert_eq!(parse(&message.to_text()), Ok(message));
    }
    let pid = Message {
        answers: Some(id("q")),
        ..Message::dam(id("a"), Dam::Pid("me".into()))
    };
    assert_eq!(parse(&pid.to_text()), Ok(pid));
    for other in [
        r#"{"dam":5}"#,
        r#"{"dam":"toString"}"#,
        r#"{"dam":"opt","opt":{"peers":"x"}}"#,
        r#"{"dam":{}}"#,
    ] {
        assert_eq!(body(other), Body::Dam(Dam::Other), "{other}");
    }
    let long = format!(r#"{{"dam":"!","err":"{}"}}"#, "é".repeat(5_000));
    assert!(matches!(body(&long), Body::Dam(Dam::Error(text)) if text.len() == Dam::MAX_TEXT));
    let mob = format!(
        r#"{{"dam":"mob","peers":{{{}}}}}"#,
        (0..500)
            .map(|n| format!("\"u{n}\":{{}}"))
            .collect::<Vec<_>>()
            .join(",")
    );
    assert!(matches!(body(&mob), Body::Dam(Dam::Mob(urls)) if urls.len() == Dam::MAX_URLS));
    assert_eq!(
        body(r#"{"dam":"mob","peers":[1]}"#),
        Body::Dam(Dam::Mob(Vec::new()))
    );
}

#[test]
fn names_that_javascript_has_on_every_object_are_plain() {
    for name in [
        "__proto__",
        "constructor",
        "toString",
        "hasOwnProperty",
        "big",
    ] {
        let nodes = vec![node(name, &[(name, Value::text(name))])];
        let message = Message::put(id(name), nodes);
        assert_eq!(parse(&message.to_text()), Ok(message));
    }
}

#[test]
fn meta_may_come_anywhere_and_its_states_in_any_order() {
    let text =
        r##"{"put":{"s":{"10":5,"9":6,"_":{">":{"z":4,"9":1,"10":2},"#":"s"},"z":null}},"#":"a"}"##;
    let Body::Put(nodes) = body(text) else {
        panic!("no put");
    };
    let states: Vec<_> = nodes[0]
        .fields
        .iter()
        .map(|(key, field)| (key.as_str(), field.state.get()))
        .collect();
    assert_eq!(states, [("10", 2.0), ("9", 1.0), ("z", 4.0)]);
}

#[test]
fn numbers_keep_their_last_bit() {
    for text in [
        "0.30000000000000004",
        "5e-324",
        "1.7976931348623157e308",
        "9007199254740993",
        "8.41e21",
        "2.2250738585072011e-308",
    ] {
        let Body::Put(nodes) = body(&format!(
            r##"{{"put":{{"s":{{"_":{{"#":"s",">":{{"k":{text}}}}},"k":{text}}}}}}}"##
        )) else {
            panic!("no put");
        };
        let field = nodes[0].fields.values().next().unwrap();
        let expected: f64 = text.parse().unwrap();
        assert_eq!(field.state.get().to_bits(), expected.to_bits(), "{text}");
        assert_eq!(field.value, number(expected), "{text}");
    }
}

#[test]
fn infinite_states_of_gun_js_lose_their_fields_only() {
    let answer = r##"{"@":"q","put":{"s":{"_":{"#":"s",">":{"a":-Infinity,"b":2}},"a":"-Infinity","b":"NaN \" -Infinity"}}}"##;
    let Body::Put(nodes) = body(answer) else {
        panic!("no put");
    };
    let expected = node("s", &[]).with(
        Key::new("b").unwrap(),
        Value::text("NaN \" -Infinity"),
        State::new(2.0).unwrap(),
    );
    assert_eq!(nodes, [expected]);
}

#[test]
fn answers_lose_what_is_wrong_and_writes_are_refused() {
    let graph = r##""put":{"s":{"_":{"#":"s",">":{"a":1,"b":"x","c":3}},"a":[],"b":1,"c":2,"d":3},"t":5,"":{"_":{"#":"",">":{"a":1}},"a":1}}"##;
    let Body::Put(nodes) = body(&format!(r##"{{{graph},"@":"q"}}"##)) else {
        panic!("no put");
    };
    let keys: Vec<_> = nodes
        .iter()
        .flat_map(|node| node.fields.keys())
        .map(Key::as_str)
        .collect();
    assert_eq!(keys, ["c"]);
    let refused = parse(&format!(r##"{{{graph},"#":"w"}}"##)).unwrap_err();
    assert_eq!(refused.id, Some(id("w")));
    assert_eq!(
        refused.to_string(),
        "Error: Invalid graph! 'a' on 's' bad array."
    );
    assert_eq!(fault(r#"{"put":[]}"#), Fault::NoGraph);
    assert_eq!(
        fault(r#"{"put":{"s":null}}"#),
        Fault::NoNode(fault::Cut::new("s"))
    );
}

#[test]
fn limits_end_the_reading_and_the_name_is_told() {
    let limits = WireLimits {
        max_text: 2_000,
        max_nodes: 3,
        max_fields: 4,
    };
    let nodes = |count: usize, fields: usize| {
        let node = |n: usize| {
            let list = |value: &str| {
                (0..fields)
                    .map(|k| format!("\"k{k}\":{value}"))
                    .collect::<Vec<_>>()
                    .join(",")
            };
            format!(
                r##""s{n}":{{"_":{{"#":"s{n}",">":{{{}}}}},{}}}"##,
                list("1"),
                list("2")
            )
        };
        let nodes: Vec<_> = (0..count).map(node).collect();
        format!(r##"{{"put":{{{}}},"#":"w"}}"##, nodes.join(","))
    };
    let read = |text: &str| Message::parse(text, &limits).map_err(|error| (error.id, error.fault));
    assert!(read(&nodes(3, 1)).is_ok());
    assert!(read(&nodes(1, 4)).is_ok());
    assert_eq!(
        read(&nodes(4, 1)),
        Err((Some(id("w")), Fault::TooManyNodes(3)))
    );
    assert_eq!(
        read(&nodes(1, 5)),
        Err((Some(id("w")), Fault::TooManyFields(4)))
    );
    assert_eq!(
        read(&nodes(3, 20)),
        Err((Some(id("w")), Fault::TooManyFields(4)))
    );
    let states = r##"{"#":"w","put":{"s":{"_":{"#":"s",">":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1}}}}}"##;
    assert_eq!(read(states), Err((Some(id("w")), Fault::TooManyFields(4))));
    assert_eq!(read(&" ".repeat(2_001)), Err((None, Fault::TooLong(2_000))));
    let question = format!(r##"{{"#":"w","get":{{"#":"{}"}}}}"##, "s".repeat(100_000));
    let refused = parse(&question).unwrap_err();
    assert_eq!(
        (refused.id, refused.fault),
        (Some(id("w")), Fault::LongQuery)
    );
}

#[test]
fn depth_is_no_matter() {
    let deep = "[".repeat(100_000);
    let end = "]".repeat(100_000);
    assert_eq!(
        body(&format!(r##"{{"x":{deep}{end},"@":"a"}}"##)),
        Body::NotFound
    );
    for text in [
        format!(r##"{{"#":"w","put":{{"s":{{"_":{{"#":"s",">":{{"a":1}}}},"a":{deep}{end}}}}}}}"##),
        format!(r##"{{"#":"w","put":{{"s":{{"_":{{"#":"s",">":{{"a":{deep}{end}}}}},"a":1}}}}}}"##),
        format!(r##"{{"#":"w","put":{deep}{end}}}"##),
    ] {
        let refused = parse(&text).unwrap_err();
        assert_eq!(refused.id, Some(id("w")));
        assert!(
            refused.to_string().starts_with("Error: Invalid graph!"),
            "{refused}"
        );
    }
    let question = format!(
        r##"{{"#":"w","get":{{"#":{}{}}}}}"##,
        &deep[..10_000],
        &end[..10_000]
    );
    assert!(matches!(fault(&question), Fault::BadQuery(_)));
    assert!(matches!(
        fault(&format!("{{\"x\":{deep}")),
        Fault::Syntax(_)
    ));
}

#[test]
fn half_surrogate_pairs_are_refused_by_name() {
    for text in [
        r##"{"#":"w","put":{"s":{"_":{"#":"s",">":{"a":1}},"a":"\ud83d"}}}"##,
        r##"{"#":"w","put":{"s\uDE00":{"_":{"#":"s",">":{"a":1}},"a":1}}}"##,
        r##"{"put":{"s":{"_":{"#":"s",">":{"a":1}},"a":"\ud83dx"}},"#":"w"}"##,
        r##"{"#":"w","get":{"#":"\ud83d"}}"##,
    ] {
        let refused = parse(text).unwrap_err();
        assert_eq!(
            (refused.id, refused.fault),
            (Some(id("w")), Fault::LoneSurrogate),
            "{text}"
        );
    }
    let pair = body(r##"{"put":{"s":{"_":{"#":"s",">":{"a":1}},"a":"\ud83d\ude00"}}}"##);
    assert!(
        matches!(pair, Body::Put(nodes) if nodes[0].fields.values().next().unwrap().value == Value::text("😀"))
    );
}

/// Text out of which messages are made, so that random ones go deep.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"#\":",
        "\"@\":",
        "\"##\":",
        "\"put\":{",
        "\"get\":{",
        "\"_\":{",
        "\">\":{",
        "\"s\":",
        "\"s\":{",
        "\"dam\":",
        "\"?\"",
        "\"ok\":",
        "\"err\":",
        "\"%\":1",
        "1",
        "-1e5",
        "1e999",
        "null",
        "true",
        "-Infinity",
        "\"",
        "\\ud83d",
        "\"\\ud83d\"",
        "\".\":",
        "\"*\":",
        "\"a\":1",
        "\"mob\"",
        "\"peers\":",
        " ",
        "é",
        "\u{2028}",
        "\0",
    ];
    prop::sample::select(words.to_vec()).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<f64>().prop_filter_map("finite", |n| Number::new(n).map(Value::Number)),
        any::<String>().prop_map(|text| Value::text(&text)),
        "\\PC{1,9}".prop_map(|soul| Value::Link(Soul::new(&soul).unwrap())),
    ]
}

fn graph_strategy() -> impl Strategy<Value = Vec<Node>> {
    let state = any::<f64>().prop_filter_map("finite", State::new);
    let fields = prop::collection::btree_map("[^_]\\PC{0,9}", (value(), state), 1..8);
    prop::collection::btree_map("\\PC{1,9}", fields, 1..5).prop_map(|graph| {
        graph
            .into_iter()
            .map(|(soul, fields)| {
                let mut node = Node::new(Soul::new(&soul).unwrap());
                for (key, (value, state)) in fields {
                    node = node.with(Key::new(&key).unwrap(), value, state);
                }
                node
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(nodes in graph_strategy(), random: u64) {
        let message = Message::answer(MessageId::from_random(random), id("q"), nodes);
        let text = message.to_text();
        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        prop_assert_eq!(parse(&text), Ok(message));
    }

    #[test]
    fn any_text_is_a_message_or_an_error(text in "\\PC{0,80}") {
        let _ = parse(&text);
        let _ = parse(&format!("{{{text}"));
    }

    #[test]
    fn almost_messages_are_messages_or_errors(pieces in prop::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        for frame in [text.clone(), format!("{{{text}"), format!("[{text}]")] {
            for message in frames_in(&frame).flatten() {
                if let Ok(message) = parse(&message) {
                    let written = message.to_text();
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&written).is_ok(), "{}", written);
                }
            }
        }
    }

    #[test]
    fn damaged_messages_are_messages_or_errors(nodes in graph_strategy(), at: prop::sample::Index, to in "\\PC?", len in 0..4_usize) {
        let text = Message::put(id("w"), nodes).to_text();
        let mut chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        let end = (at + len).min(chars.len());
        chars.splice(at..end, to.chars());
        let damaged: String = chars.into_iter().collect();
        if let Ok(message) = parse(&damaged) {
            let again = parse(&message.to_text());
            prop_assert_eq!(again, Ok(message));
        }
    }
}
