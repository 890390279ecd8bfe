//! `dignet ls`.

use crate::{
    args::{Global, LsArgs},
    exit::{Failure, Kind},
    get,
    interrupt::Interrupt,
    node,
    output::Output,
    text,
};
use dig::{ContentKind, DownloadOptions, Listing};
use serde_json::json;

pub(crate) async fn run(global: &Global, args: LsArgs, output: &Output) -> Result<(), Failure> {
    let what = get::parse(&args.what)?;
    let interrupt = Interrupt::listen();
    let node = node::start(global, &args.net, args.identity.into()).await?;
    let options = DownloadOptions {
        peers: args.net.peer.clone(),
        trusted: args.net.trust.iter().copied().collect(),
        timeout: args.timeout,
        ..DownloadOptions::default()
    };
    let outcome = tokio::select! {
        listing = node.client().list(what, options) => listing.map_err(Failure::from),
        () = interrupt.wait() => Err(Failure::new(Kind::Interrupted, "interrupted")),
    };
    node.stop().await;
    print(&outcome?, output);
    Ok(())
}

fn print(listing: &Listing, output: &Output) {
    let folder = listing.kind == ContentKind::Folder;
    for file in &listing.files {
        output.event(
            "file",
            json!({
                "path": file.path,
                "size": file.size,
                "hash": file.hash,
                "executable": file.executable,
                "directory": file.directory,
            }),
        );
        let size = if file.directory {
            "folder".to_owned()
        } else {
            text::bytes(file.size)
        };
        output.result(&format!("{size:>12}  {}", text::name(&file.path)));
    }
    output.event(
        "listed",
        json!({
            "hash": listing.hash,
            "name": listing.name,
            "size": listing.size,
            "files": listing.files.len(),
            "folder": folder,
        }),
    );
    let files = text::count(listing.files.len() as u64, "file");
    output.say(&format!(
        "{}  {}  {files}",
        text::name(&listing.name),
        text::bytes(listing.size)
    ));
}
