//! This test program again, as a child that runs one test of those that are ignored.

use dig_gun::{
    graph::Node,
    store::{Done, Writer},
    value::{Key, Number, Soul, State, Value},
};
use dig_types::Timestamp;
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::Sender,
    },
};

/// Says to a child where its files are.
const FOLDER: &str = "STORE_TEST_FOLDER";

/// Makes a child that runs the ignored test of this name.
pub(crate) fn command(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--exact",
            test,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// In a child: where its files are; `None` if somebody ran all ignored tests.
pub(crate) fn folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// A node of three fields that hold the same number.
pub(crate) fn triple(soul: &str, number: u32) -> Node {
    let state = State::new(f64::from(number)).unwrap();
    ["a", "b", "c"]
        .iter()
        .fold(Node::new(Soul::new(soul).unwrap()), |node, key| {
            let value = Value::Number(Number::new(number.into()).unwrap());
            node.with(Key::new(key).unwrap(), value, state)
        })
}

/// A node of one field.
pub(crate) fn small(soul: &str, number: u32) -> Node {
    Node::new(Soul::new(soul).unwrap()).with(
        Key::new("k").unwrap(),
        Value::Number(Number::new(number.into()).unwrap()),
        State::new(1_795_344_990_270.0).unwrap(),
    )
}

/// The number of a [`triple`], all of it of one write.
pub(crate) fn number_of(node: &Node) -> u32 {
    let mut numbers = node.fields.values().map(|field| match &field.value {
        Value::Number(number) => number.get(),
        other => panic!("{other:?} in {node:?}"),
    });
    let first = numbers.next().unwrap();
    assert_eq!(node.fields.len(), 3, "{node:?}");
    assert!(
        numbers.all(|number| number.to_bits() == first.to_bits()),
        "half a write: {node:?}"
    );
    first as u32
}

/// Counts submissions.
static THIRD: AtomicUsize = AtomicUsize::new(0);

/// What a writer says of one submission.
pub(crate) type Word = Result<(), String>;

/// Submits a node and lets its word be sent; every third has time.
pub(crate) fn submit(writer: &Writer, node: Node, tell: &Sender<Word>) {
    let tell = tell.clone();
    let done: Done = Box::new(move |outcome| {
        // Nobody may be listening any more.
        let _ = tell.send(outcome.map_err(|error| error.to_string()));
    });
    let (changes, at) = (vec![node], Timestamp::from_millis(1_795_344_990_270));
    if THIRD.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
        writer.submit_unhurried(changes, at, done);
    } else {
        writer.submit(changes, at, done);
    }
}
