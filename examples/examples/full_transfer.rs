//! The whitepaper's section 13, as far as its parts exist: a host shares a file under a name, a client finds out what the name
//! stands for, finds peers, downloads and verifies. Everything runs in this process and on loopback.
#![allow(clippy::print_stdout, reason = "an example talks to the terminal")]

use dig::{
    ContentName, DownloadEvent, DownloadOptions, Home, HostEvent, Identity, Node, PeerAddr,
    ShareOptions, Verified,
};
use futures::StreamExt as _;
use std::{error::Error, path::Path};

async fn node(home: &Path) -> Result<Node, Box<dyn Error>> {
    let node = Node::builder()
        .home(Home::new(home))
        .identity(Identity::Home)
        .listen(Some("127.0.0.1:0".parse()?))
        .local_discovery(false)
        .require_authentication(true);
    Ok(node.start().await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let video = dir.path().join("my-video.mp4");
    std::fs::write(&video, vec![42; 5_000_000])?;

    // File host set-up. Announcing and re-announcing need no further call.
    let host = node(&dir.path().join("host")).await?;
    let mut news = host.host().events();
    let name: ContentName = "my-awesome-video".parse()?;
    let options = ShareOptions {
        name: Some(name.clone()),
        ..ShareOptions::default()
    };
    let file = host.share(video.clone(), options, |_, _| {}).await?;
    println!("Hosting file with hash: {}", file.hash);
    let sha256 = loop {
        match news.next().await.ok_or("the host ended")? {
            HostEvent::Sha256 { sha256, .. } => break sha256,
            _ => continue,
        }
    };

    // File client set-up. On a local network the host would be found; here it is named.
    let client = node(&dir.path().join("client")).await?;
    let mut options = DownloadOptions::default();
    options.peers.push(PeerAddr {
        node: Some(host.id()),
        addr: ([127, 0, 0, 1], host.port()).into(),
    });
    options.concurrency = Some(5);
    options.sha256 = Some(sha256);

    let hash = client
        .client()
        .get_hash_for_content_id(&name, &options)
        .await?;
    assert_eq!(hash, file.hash);
    let copy = dir.path().join("downloaded-video.mp4");
    let mut download = client.client().download_file(hash, &copy, options);
    let mut events = download.events();
    let progress = async {
        while let Some(event) = events.next().await {
            if let DownloadEvent::Progress(progress) = event {
                println!(
                    "Download: {}%",
                    100 * progress.bytes / progress.total.max(1)
                );
            }
        }
    };
    let (done, ()) = tokio::join!(download.finished(), progress);
    assert_eq!(done?.verified, Verified::Sha256);
    assert_eq!(std::fs::read(video)?, std::fs::read(copy)?);
    println!("Download complete!");

    // When the host stops sharing, whoever asks later is told so.
    host.host().remove_file(&hash).await;
    client.stop().await;
    host.stop().await;
    Ok(())
}
