//! Shares a path until Ctrl-C: `cargo run -p dig-examples --example share -- PATH`.
#![allow(clippy::print_stdout, reason = "an example talks to the terminal")]

use dig::{HostEvent, Node, ShareOptions};
use futures::StreamExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which path?")?;
    let node = Node::builder().start().await?;
    let mut events = node.host().events();
    let share = node
        .share(path.into(), ShareOptions::default(), |_, _| {})
        .await?;
    println!("{} bytes, ticket:\n{}", share.size, node.ticket(&share));
    loop {
        tokio::select! {
            Some(event) = events.next() => match event {
                HostEvent::Serving { node, .. } => println!("{node} fetches it"),
                HostEvent::Delivered { node, .. } => println!("{node} has it"),
                HostEvent::Sha256 { sha256, .. } => println!("sha256:{sha256}"),
                _ => {}
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    node.stop().await;
    Ok(())
}
