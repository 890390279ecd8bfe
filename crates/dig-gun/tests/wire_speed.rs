//! How fast messages are read and written, on one core. Prints figures; run it with optimisation:
//! `cargo test --release -p dig-gun --test wire_speed -- --ignored --nocapture`.

#![cfg(test)]

use dig_gun::{
    frame::{Packer, frames_in},
    graph::Node,
    message::{Message, MessageId, WireLimits},
    sea,
    value::{Key, Number, Soul, State, Value},
};
use std::{hint::black_box, time::Instant};

const ROUNDS: usize = 20;

fn small_puts(count: usize) -> Vec<Message> {
    (0..count)
        .map(|n| {
            let state = State::new(1_795_344_977_193.0 + n as f64).unwrap();
            let key = Key::new("value").unwrap();
            let value = Value::Number(Number::new(n as f64).unwrap());
            let node = Node::new(Soul::new(&format!("bench/{n}")).unwrap()).with(key, value, state);
            Message::put(
                MessageId::from_random((n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
                vec![node],
            )
        })
        .collect()
}

fn wide_put(fields: usize) -> Message {
    let mut node = Node::new(Soul::new("wide").unwrap());
    let state = State::new(1_795_344_977_193.0).unwrap();
    for n in 0..fields {
        node = node.with(
            Key::new(&format!("key{n:05}")).unwrap(),
            Value::text(&"x".repeat(20)),
            state,
        );
    }
    Message::put(MessageId::from_random(1), vec![node])
}

/// Calls it until some time has gone by, and prints how often a second it does one of its `units`.
fn rate(what: &str, units: usize, mut work: impl FnMut()) {
    work();
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    let seconds = begin.elapsed().as_secs_f64() / ROUNDS as f64;
    println!(
        "{what:<34} {:>12.0} /s {:>9.2} µs",
        units as f64 / seconds,
        seconds * 1e6 / units as f64
    );
}

#[test]
#[ignore = "a measurement"]
fn figures_of_messages() {
    let limits = WireLimits::default();
    let puts = small_puts(10_000);
    let texts: Vec<String> = puts.iter().map(Message::to_text).collect();
    rate("small puts read", texts.len(), || {
        for text in &texts {
            black_box(Message::parse(text, &limits).unwrap());
        }
    });
    let mut out = String::new();
    rate("small puts written", puts.len(), || {
        for put in &puts {
            out.clear();
            put.write(&mut out);
            black_box(&out);
        }
    });
    let mut packer = Packer::default();
    let mut frames: Vec<String> = texts.iter().flat_map(|text| packer.push(text)).collect();
    frames.extend(packer.finish());
    rate("small puts read from frames", texts.len(), || {
        for frame in &frames {
            for text in frames_in(frame) {
                black_box(Message::parse(&text.unwrap(), &limits).unwrap());
            }
        }
    });
    let gets: Vec<String> = (0..10_000)
        .map(|n| format!(r##"{{"#":"abcdefghi","get":{{"#":"bench/{n}"}}}}"##))
        .collect();
    rate("gets read", gets.len(), || {
        for text in &gets {
            black_box(Message::parse(text, &limits).unwrap());
        }
    });
    let wide = wide_put(10_000);
    let text = wide.to_text();
    rate("fields of one put read", 10_000, || {
        black_box(Message::parse(&text, &limits).unwrap());
    });
    rate("fields of one put written", 10_000, || {
        out.clear();
        wide.write(&mut out);
    });
}

#[test]
#[ignore = "a measurement"]
fn figures_of_signed_data() {
    let value = Value::text("some content of ordinary length");
    let (soul, key) = (
        Soul::new("dig/1/t/x#").unwrap(),
        Key::new(&sea::content_key(&value)).unwrap(),
    );
    let state = State::new(1.0).unwrap();
    let field = dig_gun::graph::Field { value, state };
    rate("content-addressed fields checked", 1_000, || {
        for _ in 0..1_000 {
            sea::verify(state, &soul, &key, &field).unwrap();
        }
    });
    let owner =
        "cToxMahiS_vpTxhiA-cr02LdAxaH-XwzO-6VEL8v_TI.Fc5CzTdSNYjO7vvgR5Fc9H6WZCh0wTPrI5YzEXdT8XM";
    let signed = r#"{":":"bobby","~":"PMSMME3NqnpfKDoo2TMmfF4XTPce6qSfLYNzvft3DZ7RyxJCQAVnieHDd7AXMKmvdSCXjhOmi7ljuh/EBnqF2A=="}"#;
    let (soul, key) = (
        Soul::new(&format!("~{owner}")).unwrap(),
        Key::new("alias").unwrap(),
    );
    let state = State::new(1_795_345_216_985.0).unwrap();
    let field = dig_gun::graph::Field {
        value: Value::text(signed),
        state,
    };
    rate("signatures checked", 100, || {
        for _ in 0..100 {
            sea::verify(state, &soul, &key, &field).unwrap();
        }
    });
}

/// What a peer can make a relay do with the longest message there may be: time must grow with the text and no faster.
#[test]
#[ignore = "a measurement"]
fn figures_of_hostile_texts() {
    const LEN: usize = 4 << 20;
    let limits = WireLimits::default();
    let fill = |begin: &str, middle: &str, end: &str| {
        let times = (LEN - begin.len() - end.len()) / middle.len();
        format!("{begin}{}{end}", middle.repeat(times))
    };
    let node = r##"{"#":"w","put":{"s":{"_":{"#":"s",">":{"##;
    for (what, text) in [
        ("a list without an end", fill("[", "[", "")),
        ("texts without an end", fill("[\"", "\\\"", "")),
        ("many elements", fill("[", "1,", "1]")),
        ("depth", fill("{\"x\":", "[", "")),
        ("names again and again", fill("{", "\"#\":1,", "\"#\":1}")),
        ("fields", fill(node, "\"\":1,", "\"a\":1}}}}}")),
        ("infinities", fill(node, "\"\":-Infinity,", "\"a\":1}}}}}")),
        ("dashes", fill("{", "-", "}")),
        ("nodes", fill("{\"put\":{", "\"\":{},", "\"a\":{}}}")),
        ("escapes", fill("{\"put\":\"", "\\u00e9", "\"}")),
        (
            "half a pair at the end",
            fill("{\"put\":\"", "\\u00e9", "\\ud800\"}"),
        ),
        ("a long question", fill("{\"get\":[", "0,", "0]}")),
    ] {
        rate(what, text.len(), || {
            for element in frames_in(&text).flatten() {
                let _ = black_box(Message::parse(&element, &limits));
            }
        });
    }
}
