//! A chat room on any Gun relay: what is said before and after joining, with nobody in charge.
//!
//! ```text
//! cargo run -p dig-gun --example chat -- ws://127.0.0.1:8765/gun room alice
//! ```
//!
//! In a browser with gun.js the same room is `gun.get('chat/room').map().on(console.log)`.
#![expect(clippy::print_stdout, reason = "it is for reading")]

use dig_gun::{
    client::{ClientConfig, Gun},
    graph::Node,
    lex::Query,
    value::{Key, Soul, State, Value},
};
use futures::StreamExt;
use std::{error::Error, time::Duration};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(relay), Some(room), Some(name)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: chat RELAY ROOM NAME".into());
    };
    let room = Soul::new(&format!("chat/{room}"))?;
    let gun = Gun::start(ClientConfig {
        relays: vec![relay.parse()?],
        ..ClientConfig::default()
    });
    if !gun.connected(Duration::from_secs(5)).await {
        println!("not connected yet: {:?}", gun.status().borrow().as_slice());
    }

    // What was said: `Gun::once` asks once.
    for node in gun.once(Query::node(room.clone())).await? {
        let mut lines: Vec<_> = node
            .fields
            .values()
            .map(|it| (it.state, &it.value))
            .collect();
        lines.sort_by_key(|(state, _)| *state);
        lines.into_iter().for_each(show);
    }
    let joined = gun.state();

    // What is being said: a subscription tells what is known, then each change.
    let mut heard = gun.subscribe(Query::node(room.clone()));
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        tokio::select! {
            Some(node) = heard.next() => {
                let new = node.fields.values().filter(|field| field.state > joined);
                new.for_each(|field| show((field.state, &field.value)));
            }
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                let state = gun.state();
                // Fields that nobody else writes: of one that two write, the later write wins.
                let key = Key::new(&format!("{}-{name}", state.get()))?;
                let text = Value::text(&format!("{name}: {line}"));
                let stored = gun.put(vec![Node::new(room.clone()).with(key, text, state)]).await;
                if let Err(error) = stored {
                    println!("not stored: {error}");
                }
            }
        }
    }
    gun.close().await;
    Ok(())
}

fn show((state, value): (State, &Value)) {
    if let Value::Text(text) = value {
        println!("[{:.0}] {text}", state.get() / 1000.0);
    }
}
