//! One file from three hosts at once, all in this process and on loopback, each limited to 4 MB a second.
#![allow(clippy::print_stdout, reason = "an example talks to the terminal")]

use dig::{DownloadOptions, Home, Identity, Node, PeerAddr, ShareOptions};
use std::{error::Error, path::Path};

async fn node(dir: &Path, name: &str) -> Result<Node, Box<dyn Error>> {
    let node = Node::builder()
        .home(Home::new(dir.join(name)))
        .identity(Identity::Fresh)
        .listen(Some("127.0.0.1:0".parse()?))
        .local_discovery(false)
        .limit(Some(4_000_000));
    Ok(node.start().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let original = dir.path().join("original.bin");
    std::fs::write(
        &original,
        (0..24_000_000_u32)
            .map(|i| (i.wrapping_mul(i) >> 7) as u8)
            .collect::<Vec<_>>(),
    )?;

    let mut hosts = Vec::new();
    let mut options = DownloadOptions::default();
    let mut hash = None;
    for name in ["one", "two", "three"] {
        let host = node(dir.path(), name).await?;
        let share = host
            .share(original.clone(), ShareOptions::default(), |_, _| {})
            .await?;
        hash = Some(share.hash);
        let addr = ([127, 0, 0, 1], host.port()).into();
        options.peers.push(PeerAddr {
            node: Some(host.id()),
            addr,
        });
        hosts.push(host);
    }

    let getter = node(dir.path(), "getter").await?;
    let copy = dir.path().join("copy.bin");
    let hash = hash.ok_or("nothing shared")?;
    let done = getter
        .client()
        .download_file(hash, &copy, options)
        .finished()
        .await?;
    let rate = done.bytes as f64 / done.elapsed.as_secs_f64() / 1e6;
    println!(
        "{} bytes in {:.1} s: {rate:.1} MB/s from three hosts of 4 MB/s",
        done.bytes,
        done.elapsed.as_secs_f64()
    );
    assert_eq!(std::fs::read(original)?, std::fs::read(copy)?);
    getter.stop().await;
    for host in hosts {
        host.stop().await;
    }
    Ok(())
}
