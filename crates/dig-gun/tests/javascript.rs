//! Texts, numbers, orders and hashes against JavaScript itself.
//!
//! Needs `node`. Where it is missing the tests say SKIP, except with `CI=true`, where that is a failure. Everything follows from a
//! seed, which is printed; `DIG_SEED=N` runs it again.

#![cfg(test)]

use dig_gun::{
    text::{hash, write_number, write_string, write_value},
    value::{Number, Soul, Value},
};
use fastrand::Rng;
use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
};

/// How many of each kind are asked.
const CASES: usize = 20_000;

/// Runs the requests, one a line; the answers, one a line. `None` where `node` is missing.
fn ask(requests: &[String]) -> Option<Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/javascript/answer.mjs");
    let node = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut node = match node {
        Ok(node) => node,
        Err(error) => {
            let ci = std::env::var("CI");
            assert_ne!(
                ci.as_deref(),
                Ok("true"),
                "cannot be skipped in CI: node does not run: {error}"
            );
            println!("SKIP node does not run: {error}");
            return None;
        }
    };
    let mut input = node.stdin.take().unwrap();
    let mut output = String::new();
    thread::scope(|scope| {
        scope.spawn(move || {
            input
                .write_all((requests.join("\n") + "\n").as_bytes())
                .unwrap()
        });
        node.stdout
            .take()
            .unwrap()
            .read_to_string(&mut output)
            .unwrap();
    });
    assert!(node.wait().unwrap().success());
    let answers: Vec<String> = output.lines().map(str::to_owned).collect();
    assert_eq!(answers.len(), requests.len());
    Some(answers)
}

fn rng() -> Rng {
    let given = std::env::var("DIG_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("DIG_SEED={seed}");
    Rng::with_seed(seed)
}

fn units(text: &str) -> String {
    text.encode_utf16()
        .map(|unit| format!("{unit:04x}"))
        .collect()
}

fn json(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
}

/// A finite number of one of the kinds that are written differently.
#[expect(clippy::cast_precision_loss, reason = "any number will do")]
fn number(rng: &mut Rng) -> f64 {
    const EDGES: [f64; 12] = [
        0.0,
        -0.0,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        1e21,
        1e-6,
        1e-7,
        9_007_199_254_740_992.0,
        4_503_599_627_370_496.5,
        999_999_999_999_999_900_000.0,
        1_795_344_990_270.001,
    ];
    let number = match rng.u8(..8) {
        0 => EDGES[rng.usize(..EDGES.len())],
        // The neighbours of an edge and of a power of ten.
        1 => neighbour(EDGES[rng.usize(..EDGES.len())], rng),
        2 => neighbour(10_f64.powi(rng.i32(-30..30)), rng),
        3 => rng.i64(-1000..1000) as f64,
        // A state: milliseconds, and the 999 parts into which gun.js divides one.
        4 => {
            (1_795_344_990_270 + rng.i64(..1_000_000_000).rem_euclid(1_000_000_000)) as f64
                + f64::from(rng.u16(..999)) / 999.0
        }
        5 => rng.i64(..) as f64 / 10_f64.powi(rng.i32(..25).rem_euclid(25)),
        // A subnormal number.
        6 => f64::from_bits(rng.u64(..) >> rng.u32(12..64)),
        _ => f64::from_bits(rng.u64(..)),
    };
    let number = if rng.bool() { number } else { -number };
    if number.is_finite() { number } else { 0.1 }
}

fn neighbour(number: f64, rng: &mut Rng) -> f64 {
    f64::from_bits(number.to_bits().wrapping_add(rng.u64(..5)).wrapping_sub(2))
}

/// A text of hard characters, often with a common beginning.
fn text(rng: &mut Rng) -> String {
    const HARD: [char; 24] = [
        '\0',
        '\u{8}',
        '\t',
        '\n',
        '\u{b}',
        '\u{c}',
        '\r',
        '\u{1f}',
        ' ',
        '!',
        '"',
        '#',
        '/',
        '\\',
        'a',
        '\u{7f}',
        'é',
        '\u{2028}',
        '\u{2029}',
        '\u{d7ff}',
        '\u{e000}',
        '\u{ffff}',
        '\u{10000}',
        '\u{10ffff}',
    ];
    let mut text = ["", "a", "0123456789abcdef", "é😀"][rng.usize(..4)].to_owned();
    for _ in 0..rng.usize(..12) {
        text.push(match rng.u8(..3) {
            0 => rng.char(..),
            1 => char::from(rng.u8(..128)),
            _ => HARD[rng.usize(..HARD.len())],
        });
    }
    text
}

fn value(rng: &mut Rng) -> Value {
    match rng.u8(..8) {
        0 => Value::Null,
        1 => Value::Bool(rng.bool()),
        2..=4 => Value::Number(Number::new(number(rng)).unwrap()),
        5 | 6 => Value::text(&text(rng)),
        _ => Value::Link(Soul::new(&format!("s{}", text(rng))).unwrap()),
    }
}

#[test]
fn numbers_are_written_and_read_as_javascript_does() {
    let mut rng = rng();
    let numbers: Vec<f64> = (0..CASES).map(|_| number(&mut rng)).collect();
    let request = |number: &f64| format!("number {:016x}", number.to_bits());
    let Some(answers) = ask(&numbers.iter().map(request).collect::<Vec<_>>()) else {
        return;
    };
    for (number, theirs) in numbers.iter().zip(answers) {
        let mut ours = String::new();
        write_number(&mut ours, *number);
        assert_eq!(ours, theirs, "{number:e}");
        let read: f64 = serde_json::from_str(&theirs).unwrap();
        assert_eq!(read, *number, "{theirs}");
    }
}

#[test]
fn texts_are_written_and_hashed_as_in_javascript() {
    let mut rng = rng();
    let texts: Vec<String> = (0..CASES).map(|_| text(&mut rng)).collect();
    let request = |text: &String| format!("text {}", units(text));
    let Some(answers) = ask(&texts.iter().map(request).collect::<Vec<_>>()) else {
        return;
    };
    for (text, theirs) in texts.iter().zip(answers) {
        let mut written = String::new();
        write_string(&mut written, text);
        assert_eq!(
            format!("{} {}", units(&written), hash(text)),
            theirs,
            "{text:?}"
        );
    }
}

#[test]
fn names_and_values_are_ordered_as_in_javascript() {
    let mut rng = rng();
    let names: Vec<_> = (0..CASES)
        .map(|_| [(); 2].map(|()| Soul::new(&format!("s{}", text(&mut rng))).unwrap()))
        .collect();
    let values: Vec<_> = (0..CASES)
        .map(|_| [(); 2].map(|()| value(&mut rng)))
        .collect();
    let of_names =
        |[a, b]: &[Soul; 2]| format!("names {} {}", units(a.as_str()), units(b.as_str()));
    let of_values = |[a, b]: &[Value; 2]| format!("values {} {}", units(&json(a)), units(&json(b)));
    let requests: Vec<String> = names
        .iter()
        .map(of_names)
        .chain(values.iter().map(of_values))
        .collect();
    let Some(answers) = ask(&requests) else {
        return;
    };
    let (by_name, by_value) = answers.split_at(CASES);
    for ([a, b], theirs) in names.iter().zip(by_name) {
        assert_eq!((a.cmp(b) as i8).to_string(), *theirs, "{a:?} {b:?}");
    }
    for ([a, b], theirs) in values.iter().zip(by_value) {
        let ours = format!(
            "{} {} {}",
            a.json_order(b) as i8,
            units(&json(a)),
            units(&json(b))
        );
        assert_eq!(ours, *theirs, "{a:?} {b:?}");
    }
}
