//! Gets a ticket, hash or name into the current folder: `cargo run -p dig-examples --example get -- WHAT`.
#![allow(clippy::print_stdout, reason = "an example talks to the terminal")]

use dig::{DownloadEvent, DownloadOptions, Identity, Node, What};
use futures::StreamExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let what: What = std::env::args().nth(1).ok_or("get what?")?.parse()?;
    let node = Node::builder().identity(Identity::Fresh).start().await?;
    let mut download = node.client().download(what, DownloadOptions::default());
    let mut events = download.events();
    let news = async {
        while let Some(event) = events.next().await {
            if let DownloadEvent::Progress(progress) = event {
                println!(
                    "{} of {} bytes from {} peers",
                    progress.bytes, progress.total, progress.peers
                );
            }
        }
    };
    let (outcome, ()) = tokio::join!(download.finished(), news);
    node.stop().await;
    println!("{:?}", outcome?.path);
    Ok(())
}
