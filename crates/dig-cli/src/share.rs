//! `dignet share`.

use crate::{
    args::{Global, ShareArgs},
    exit::{Failure, Kind},
    gun,
    interrupt::Interrupt,
    node,
    output::Output,
    text,
};
use dig::{ContentHash, HostEvent, Identity, Node, Share, ShareOptions};
use futures::StreamExt as _;
use serde_json::json;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// What is being shared, for words about it.
type Names = HashMap<ContentHash, String>;

/// How long Gun relays may take to be reached and to take what is announced, before the ticket is printed without them.
const GUN: Duration = Duration::from_secs(3);
/// How long those who are to introduce this node may take to be reached, before the ticket is printed without them.
const VIA: Duration = Duration::from_secs(5);

pub(crate) async fn run(global: &Global, args: ShareArgs, output: &Output) -> Result<(), Failure> {
    if args.name.is_some() && args.paths.len() > 1 {
        return Err(Failure::new(Kind::Usage, "--name goes with one path")
            .hint("share each path by a command of its own"));
    }
    let interrupt = Interrupt::listen();
    let node = node::start(global, &args.net, Identity::Home).await?;
    let outcome = serve(&node, &args, &interrupt, output).await;
    output.end_bar();
    node.stop().await;
    outcome
}

async fn serve(
    node: &Node,
    args: &ShareArgs,
    interrupt: &Interrupt,
    output: &Output,
) -> Result<(), Failure> {
    let mut events = node.host().events();
    let _relays = gun::tell(node, output);
    let mut names = Names::new();
    for path in &args.paths {
        let options = ShareOptions {
            name: args.name.clone(),
            public: args.public,
            ..ShareOptions::default()
        };
        let adding = add(node, path, options, output);
        let share = tokio::select! {
            share = adding => share?,
            () = interrupt.wait() => return Err(Failure::new(Kind::Interrupted, "interrupted")),
        };
        reachable(node, output).await;
        announce(node, &share, args, output);
        names.insert(share.hash, share.name);
    }
    output.say("Sharing until Ctrl-C.");
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = interrupt.wait() => {
                output.say("Stopped sharing.");
                return Ok(());
            }
        };
        let Some(event) = event else { return Ok(()) };
        report(&event, &names, output);
        match event {
            HostEvent::Delivered { .. } if args.once => return Ok(()),
            HostEvent::Withdrawn { hash, reason } => {
                names.remove(&hash);
                if names.is_empty() {
                    return Err(Failure::new(
                        Kind::Local,
                        format!("nothing is left to share: {reason}"),
                    )
                    .hint("share it again to get a ticket for what it is now"));
                }
            }
            _ => {}
        }
    }
}

async fn add(
    node: &Node,
    path: &Path,
    options: ShareOptions,
    output: &Output,
) -> Result<Share, Failure> {
    let (bar, title) = (
        output.clone(),
        format!("hashing {}", text::name(&path.display().to_string())),
    );
    let hashing = move |done: u64, total: u64| bar.progress(done, total, || title.clone());
    let share = if path == Path::new("-") {
        node.share_reader(tokio::io::stdin(), options).await?
    } else {
        node.share(PathBuf::from(path), options, hashing).await?
    };
    output.end_bar();
    for warning in &share.warnings {
        output.say(&format!("warning: {}", text::name(warning)));
    }
    Ok(share)
}

/// Waits for what the ticket should name: mapped ports, and who introduces this node.
async fn reachable(node: &Node, output: &Output) {
    node.network().mapping_settled().await;
    for via in node.network().via_settled(VIA).await {
        output.say(&format!(
            "warning: {via} cannot be reached, so it introduces nobody; it is tried again from time to time"
        ));
    }
    if gun::has_relays(node) && !node.announced(GUN).await {
        output.say(
            "warning: no Gun relay can be reached, so nobody finds this there; they are tried again from time to time",
        );
    }
}

fn announce(node: &Node, share: &Share, args: &ShareArgs, output: &Output) {
    let ticket = node.ticket(share);
    output.event(
        "ready",
        json!({
            "ticket": ticket.to_string(),
            "hash": share.hash,
            "size": share.size,
            "name": share.name,
            "files": share.files,
            "node_id": node.id(),
            "port": node.port(),
            "gun": gun::connected(node),
            "warnings": share.warnings,
        }),
    );
    output.say(&format!(
        "{}  {}  {}\nTo get it, on this machine or another, run:\n",
        text::name(&share.name),
        text::bytes(share.size),
        text::count(share.files, "file"),
    ));
    let program = program();
    output.result(&format!("{program} get {ticket}"));
    output.say("");
    if !args.net.no_local {
        output.say(&format!(
            "or, on the same network: {program} get {}",
            text::shell(&share.name)
        ));
    }
    if let Some(relay) = gun::connected(node).first() {
        let what = match args.public {
            true => text::shell(&share.name),
            false => share.hash.to_string(),
        };
        output.say(&format!(
            "or, from anywhere: {program} get {what} --gun {relay}"
        ));
    } else if node.gun().is_some() && !gun::has_relays(node) {
        output.say("On other networks only the ticket leads here; with --gun URL a relay tells of it, too.");
    }
}

/// How this program is called: `dignet` where it is installed, else the path at which it is.
fn program() -> String {
    let name = "dignet";
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&paths).any(|dir| dir.join(name).is_file());
    match std::env::current_exe() {
        Ok(path) if !installed => text::shell(&path.to_string_lossy()),
        _ => name.to_owned(),
    }
}

/// Who fetches what, and by what kind of path from now on.
fn tell_path(event: &HostEvent, name: impl Fn(&ContentHash) -> String, output: &Output) {
    let (node, remote, hash, carrier, relayed, begins) = match event {
        HostEvent::Serving {
            node,
            remote,
            hash,
            carrier,
            relayed,
        } => (node, remote, hash, carrier, relayed, true),
        HostEvent::Path {
            node,
            remote,
            hash,
            carrier,
            relayed,
        } => (node, remote, hash, carrier, relayed, false),
        _ => return,
    };
    let (path, transport) = (text::path(*relayed), text::carrier(*carrier));
    output.event(
        "serving",
        json!({
            "peer": node,
            "remote": remote,
            "hash": hash,
            "state": if begins { "started" } else { "path" },
            "path": path,
            "transport": transport,
        }),
    );
    let place = remote.map(|addr| format!(" at {addr}")).unwrap_or_default();
    let (node, name) = (node.short(), name(hash));
    output.say(&match begins {
        true => format!("{name} is fetched by {node}{place} ({path}, {transport})"),
        false => format!("{node} gets it another way now{place} ({path}, {transport})"),
    });
}

fn report(event: &HostEvent, names: &Names, output: &Output) {
    let name = |hash: &ContentHash| {
        names
            .get(hash)
            .map_or_else(|| hash.short(), |name| text::name(name))
    };
    match event {
        HostEvent::Sha256 { hash, sha256 } => {
            output.event("sha256", json!({"hash": hash, "sha256": sha256}));
            output.say(&format!("sha256:{sha256}  {}", name(hash)));
        }
        HostEvent::Serving { .. } | HostEvent::Path { .. } => tell_path(event, name, output),
        HostEvent::Progress { node, hash, bytes } => {
            output.event(
                "serving",
                json!({"peer": node, "hash": hash, "bytes": bytes, "state": "sending"}),
            );
        }
        HostEvent::Delivered { node, hash } => {
            output.event(
                "serving",
                json!({"peer": node, "hash": hash, "state": "delivered"}),
            );
            output.say(&format!(
                "{} has all of {}, verified",
                node.short(),
                name(hash)
            ));
        }
        HostEvent::Ended { node, hash, bytes } => {
            output.event(
                "serving",
                json!({"peer": node, "hash": hash, "bytes": bytes, "state": "ended"}),
            );
            output.say(&format!(
                "{} is gone after {}",
                node.short(),
                text::bytes(*bytes)
            ));
        }
        HostEvent::Withdrawn { hash, reason } => {
            output.event("withdrawn", json!({"hash": hash, "reason": reason}));
            output.say(&format!("{} is shared no longer: {reason}", name(hash)));
        }
        _ => {}
    }
}
