use super::*;
use crate::{
    graph::Node,
    message::{Message, MessageId, WireLimits},
    value::{Key, Number, Soul, State, Value},
};
use proptest::prelude::*;

fn texts(frame: &str) -> Vec<Result<String, FrameError>> {
    frames_in(frame)
        .map(|text| text.map(Cow::into_owned))
        .collect()
}

#[test]
fn a_frame_is_a_message_or_a_list() {
    let ok = |text: &str| Ok(text.to_owned());
    assert_eq!(texts("[]"), []);
    assert_eq!(texts("[ ]"), []);
    assert_eq!(texts(r##"{"#":"a"}"##), [ok(r##"{"#":"a"}"##)]);
    assert_eq!(
        texts(r##"[ {"a":[1,{}]} , {"b":"],{"} ]"##),
        [ok(r#"{"a":[1,{}]}"#), ok(r#"{"b":"],{"}"#)]
    );
    assert_eq!(
        texts(r#"["{\"a\":1}","x"]"#),
        [ok(r#"{"a":1}"#), Err(FrameError::NotAMessage)]
    );
    assert_eq!(
        texts(r#"[1,[{}],{}]"#),
        [
            Err(FrameError::NotAMessage),
            Err(FrameError::NotAMessage),
            ok("{}")
        ]
    );
    assert_eq!(texts(r#"[{"a":tru},{}]"#), [ok(r#"{"a":tru}"#), ok("{}")]);
    for cut in ["[", "[{", r#"[{"a"#, r#"[{"a\"#, "[1"] {
        assert_eq!(texts(cut), [Err(FrameError::CutOff)], "{cut}");
    }
    assert_eq!(texts("[{},"), [ok("{}"), Err(FrameError::CutOff)]);
    for none in ["", " {}", "hello", "42", "\"{}\"", "null"] {
        assert_eq!(texts(none), [Err(FrameError::NotAFrame)], "{none}");
    }
}

#[test]
fn a_list_has_an_end_however_long_it_is() {
    let most = format!("[{}{{}}]", "{},".repeat(MAX_ELEMENTS - 1));
    assert_eq!(frames_in(&most).filter(Result::is_ok).count(), MAX_ELEMENTS);
    assert!(frames_in(&most).all(|text| text.is_ok()));
    let more = format!("[{}{{}}]", "1,".repeat(MAX_ELEMENTS));
    assert_eq!(frames_in(&more).count(), MAX_ELEMENTS + 1);
    assert_eq!(frames_in(&more).last(), Some(Err(FrameError::TooMany)));
    let deep = format!("[{}]", "[".repeat(1_000_000));
    assert_eq!(texts(&deep), [Err(FrameError::CutOff)]);
}

#[test]
fn messages_are_packed_up_to_the_size_of_gun_js() {
    let mut packer = Packer::default();
    assert_eq!(packer.finish(), None);
    assert!(packer.push("{}").is_empty());
    assert_eq!(packer.finish().as_deref(), Some("{}"));
    assert!(packer.push("{1}").is_empty());
    assert!(packer.push("{2}").is_empty());
    let long = format!("{{{}}}", "x".repeat(Packer::MAX_CHARS));
    assert_eq!(packer.push(&long), ["[{1},{2}]".to_owned(), long]);
    assert!(packer.is_empty());
    assert_eq!(packer.finish(), None);
}

proptest! {
    #[test]
    fn what_is_packed_is_found_again(sizes in prop::collection::vec(0..3_000_usize, 0..40)) {
        let messages: Vec<_> = sizes.iter().map(|size| format!("{{\"{}\":\"]}},\\\"\"}}", "y".repeat(*size))).collect();
        let mut packer = Packer::default();
        let mut frames: Vec<String> = messages.iter().flat_map(|message| packer.push(message)).collect();
        frames.extend(packer.finish());
        let longest = frames.iter().map(String::len).max().unwrap_or_default();
        prop_assert!(longest <= Packer::MAX_CHARS);
        let found: Vec<_> = frames.iter().flat_map(|frame| texts(frame)).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(found, messages);
    }

    #[test]
    fn any_frame_is_read_to_an_end(text in r#"[\[\]{},"\\#@a1 \u{e9}]{0,60}"#) {
        for element in frames_in(&text).flatten() {
            prop_assert_eq!(element.chars().next(), Some('{'));
        }
        let list = format!("[{text}");
        prop_assert!(frames_in(&list).count() <= list.len());
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn split_puts_are_short_and_whole(
        nodes in prop::collection::vec((1..200_usize, prop::collection::vec((0..60_u8, 0..4_000_usize), 0..30)), 0..12),
    ) {
        let nodes: Vec<Node> = nodes.into_iter().enumerate().map(|(at, (soul, fields))| {
            let mut node = Node::new(Soul::new(&format!("{}é\n{at}", "s".repeat(soul))).unwrap());
            for (number, (escapes, size)) in fields.into_iter().enumerate() {
                let key = Key::new(&format!("{}{number}", "\u{1}".repeat(escapes.into()))).unwrap();
                let state = State::new(1_795_344_990_270.001 + number as f64).unwrap();
                node = node.with(key, Value::text(&"v\"".repeat(size)), state);
            }
            node
        }).collect();
        let parts = split_put(nodes.clone(), MAX_CHARS);
        let id = MessageId::new(&"i".repeat(MessageId::MAX_LEN)).unwrap();
        let mut whole = crate::graph::Graph::default();
        for part in parts {
            prop_assert!(part.iter().all(|node| !node.fields.is_empty()));
            let fields: usize = part.iter().map(|node| node.fields.len()).sum();
            let text = Message::answer(id.clone(), id.clone(), part.clone()).to_text();
            prop_assert!(text.len() < MAX_CHARS || fields == 1, "{} bytes", text.len());
            let read = Message::parse(&text, &WireLimits::default()).unwrap();
            prop_assert_eq!(read.to_text(), text);
            for node in &part {
                whole.merge(State::new(4e12).unwrap(), node);
            }
        }
        for node in nodes.iter().filter(|node| !node.fields.is_empty()) {
            prop_assert_eq!(whole.get(&node.soul), Some(node));
        }
    }
}

#[test]
fn a_value_that_is_too_long_goes_alone() {
    let state = State::new(1.0).unwrap();
    let number = |key: &str| {
        (
            Key::new(key).unwrap(),
            Value::Number(Number::new(1.0).unwrap()),
        )
    };
    let mut node = Node::new(Soul::new("wide").unwrap());
    for (key, value) in [
        number("a"),
        (Key::new("m").unwrap(), Value::text(&"x".repeat(100_000))),
        number("z"),
    ] {
        node = node.with(key, value, state);
    }
    let parts = split_put(vec![node], MAX_CHARS);
    let keys: Vec<Vec<_>> = parts
        .iter()
        .map(|part| part[0].fields.keys().map(Key::as_str).collect())
        .collect();
    assert_eq!(keys, [["a"], ["m"], ["z"]]);
}
