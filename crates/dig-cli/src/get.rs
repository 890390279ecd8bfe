//! `dignet get`.

use crate::{
    args::{GetArgs, Global, IdentityArg, OrderArg},
    exit::{Failure, Kind},
    gun,
    interrupt::Interrupt,
    node,
    output::Output,
    text,
};
use dig::{
    ContentKind, Destination, DownloadEvent, DownloadOptions, Downloaded, Identity, Node, NodeId,
    PathFilter, Progress, Strategy, Verified, What,
};
use futures::StreamExt as _;
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde_json::json;
use std::{collections::BTreeMap, path::Path, sync::Arc};

impl From<IdentityArg> for Identity {
    fn from(arg: IdentityArg) -> Self {
        match arg {
            IdentityArg::Fresh => Self::Fresh,
            IdentityArg::Home => Self::Home,
        }
    }
}

impl From<OrderArg> for Strategy {
    fn from(arg: OrderArg) -> Self {
        match arg {
            OrderArg::FastestAvailable => Self::FastestAvailable,
            OrderArg::RarestFirst => Self::RarestFirst,
            OrderArg::Sequential => Self::Sequential,
        }
    }
}

pub(crate) async fn run(global: &Global, args: GetArgs, output: &Output) -> Result<(), Failure> {
    let wanted = args
        .what
        .iter()
        .map(|text| parse(text))
        .collect::<Result<Vec<What>, Failure>>()?;
    let options = options(&args)?;
    if wanted.len() > 1 && options.destination == Destination::StandardOutput {
        return Err(Failure::new(
            Kind::Usage,
            "only one content fits on standard output",
        ));
    }
    if output.is_json() && options.destination == Destination::StandardOutput {
        return Err(Failure::new(
            Kind::Usage,
            "--json and -o - both want standard output",
        ));
    }
    let interrupt = Interrupt::listen();
    let node = node::start(global, &args.net, args.identity.into()).await?;
    let _relays = gun::tell(&node, output);
    let mut outcome = Ok(());
    for what in wanted {
        outcome = fetch(&node, what, options.clone(), &interrupt, output).await;
        if outcome.is_err() {
            break;
        }
    }
    output.end_bar();
    node.stop().await;
    outcome
}

pub(crate) fn parse(text: &str) -> Result<What, Failure> {
    text.parse().map_err(|error| {
        Failure::new(Kind::Usage, format!("{}: {error}", text::beginning(text)))
            .hint("expected a ticket, a content hash, sha256:HEX, a name, or NAME@NODE_ID")
    })
}

fn options(args: &GetArgs) -> Result<DownloadOptions, Failure> {
    let destination = match args.output.as_deref() {
        None => Destination::Folder(".".into()),
        Some(path) if path == Path::new("-") => Destination::StandardOutput,
        Some(path) => Destination::Path(path.to_owned()),
    };
    Ok(DownloadOptions {
        destination,
        force: args.force,
        strategy: args.order.into(),
        limit: args.net.limit,
        sha256: args.sha256,
        filter: filter(&args.select, &args.exclude)?,
        peers: args.net.peer.clone(),
        trusted: args.net.trust.iter().copied().collect(),
        wait: args.wait,
        timeout: args.timeout,
        serve: !args.no_serve,
        ..DownloadOptions::default()
    })
}

fn filter(select: &[String], exclude: &[String]) -> Result<Option<PathFilter>, Failure> {
    if select.is_empty() && exclude.is_empty() {
        return Ok(None);
    }
    let (everything, select, exclude) = (select.is_empty(), globs(select)?, globs(exclude)?);
    Ok(Some(Arc::new(move |path: &str| {
        (everything || select.is_match(path)) && !exclude.is_match(path)
    })))
}

fn globs(patterns: &[String]) -> Result<GlobSet, Failure> {
    let mut set = GlobSetBuilder::new();
    let bad = |error: globset::Error| Failure::new(Kind::Usage, error);
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(bad)?);
    }
    set.build().map_err(bad)
}

async fn fetch(
    node: &Node,
    what: What,
    options: DownloadOptions,
    interrupt: &Interrupt,
    output: &Output,
) -> Result<(), Failure> {
    let mut download = node.client().download(what, options);
    let mut events = download.events();
    let finished = download.finished();
    tokio::pin!(finished);
    let stop = interrupt.wait();
    tokio::pin!(stop);
    let mut stopping = false;
    let mut paths = Paths::default();
    loop {
        tokio::select! {
            biased;
            () = &mut stop, if !stopping => {
                stopping = true;
                download.cancel();
            }
            Some(event) = events.next() => report(&event, &mut paths, output),
            outcome = &mut finished => {
                while let Some(Some(event)) = futures::FutureExt::now_or_never(events.next()) {
                    report(&event, &mut paths, output);
                }
                output.end_bar();
                done(&outcome?, output);
                return Ok(());
            }
        }
    }
}

/// Whether the data of each peer comes over a relay.
#[derive(Debug, Default)]
struct Paths(BTreeMap<NodeId, bool>);

impl Paths {
    /// For the progress line.
    fn word(&self) -> &'static str {
        let relayed = |sought: bool| self.0.values().any(|relayed| *relayed == sought);
        match (relayed(false), relayed(true)) {
            (true, true) => "direct and relayed",
            (false, true) => "relayed",
            _ => "direct",
        }
    }
}

fn report(event: &DownloadEvent, paths: &mut Paths, output: &Output) {
    match event {
        DownloadEvent::Searching => output.say("Searching ..."),
        DownloadEvent::Pending { estimate } => {
            output.event("pending", json!({"estimate_ms": millis(*estimate)}));
            output.say(&format!(
                "A host is still computing that SHA-256; about {} more.",
                text::time(*estimate)
            ));
        }
        DownloadEvent::Resolved { hash, node } => {
            output.event("resolved", json!({"hash": hash, "peer": node}));
            output.say(&format!("Found on node {node}"));
        }
        DownloadEvent::Attempt { node, addr, method } => {
            output.event(
                "attempt",
                json!({"peer": node, "addr": addr, "method": method.to_string()}),
            );
        }
        DownloadEvent::DialFailed(failure) => {
            output.event(
                "attempt",
                json!({"peer": failure.node, "addr": failure.addr, "failed": failure.reason}),
            );
        }
        DownloadEvent::Connected { node, relayed, .. } => {
            paths.0.insert(*node, *relayed);
            connected(event, output);
        }
        DownloadEvent::Opened {
            kind,
            name,
            size,
            files,
        } => {
            let folder = *kind == ContentKind::Folder;
            let fields = json!({"name": name, "size": size, "files": files, "folder": folder});
            output.event("opened", fields);
            let (name, size) = (text::name(name), text::bytes(*size));
            output.say(&format!("{name}  {size}  {}", text::count(*files, "file")));
        }
        DownloadEvent::Resumed { bytes } if *bytes > 0 => {
            output.event("resumed", json!({"bytes": bytes}));
            output.say(&format!(
                "{} are here already, from an earlier run.",
                text::bytes(*bytes)
            ));
        }
        DownloadEvent::Progress(progress) => show(progress, paths, output),
        DownloadEvent::Banned { node, reason } => {
            output.event("banned", json!({"peer": node, "reason": reason}));
            output.say(&format!(
                "Node {node} sent something false and is not asked again: {reason}"
            ));
        }
        DownloadEvent::Waiting { reason } => waiting(reason, output),
        _ => {}
    }
}

fn waiting(reason: &str, output: &Output) {
    output.event("waiting", json!({"reason": reason}));
    output.say(&format!("Waiting for a source: {reason}"));
}

fn connected(event: &DownloadEvent, output: &Output) {
    let DownloadEvent::Connected {
        node,
        remote,
        method,
        relayed,
        carrier,
        timing,
    } = event
    else {
        return;
    };
    let (path, transport) = (text::path(*relayed), text::carrier(*carrier));
    output.event(
        "connected",
        json!({
            "peer": node,
            "remote": remote,
            "method": method.to_string(),
            "path": path,
            "transport": transport,
            "elapsed_ms": millis(timing.elapsed),
            "after_signaling_ms": timing.after_signaling.map(millis),
        }),
    );
    let place = remote.map(|addr| format!(" at {addr}")).unwrap_or_default();
    output.say(&format!(
        "Connected to {}{place} ({path}, {method}, {transport})",
        node.short()
    ));
}

fn show(progress: &Progress, paths: &Paths, output: &Output) {
    let Progress {
        bytes,
        total,
        rate,
        peers,
    } = *progress;
    output.event(
        "progress",
        json!({"bytes": bytes, "total": total, "rate": rate, "peers": peers, "path": paths.word()}),
    );
    output.progress(bytes, total, || {
        format!(
            "{}/s  {} left  {}, {}",
            text::bytes(rate),
            text::eta(total.saturating_sub(bytes), rate),
            text::count(peers as u64, "peer"),
            paths.word(),
        )
    });
}

fn done(downloaded: &Downloaded, output: &Output) {
    let proof = match downloaded.verified {
        Verified::Tree => "content-hash",
        Verified::Sha256 => "content-hash+sha256",
    };
    output.event(
        "done",
        json!({
            "path": downloaded.path,
            "hash": downloaded.hash,
            "bytes": downloaded.bytes,
            "fetched": downloaded.fetched,
            "elapsed_ms": millis(downloaded.elapsed),
            "verified": proof,
        }),
    );
    let place = downloaded.path.as_ref().map_or_else(
        || "standard output".to_owned(),
        |path| text::name(&path.display().to_string()),
    );
    let seconds = downloaded.elapsed.as_secs_f64().max(0.001);
    let rate = (downloaded.fetched as f64 / seconds) as u64;
    let speed = match downloaded.fetched {
        0 => "it was here already".to_owned(),
        _ => format!(
            "in {}, {}/s",
            text::time(downloaded.elapsed),
            text::bytes(rate)
        ),
    };
    output.say(&format!(
        "Done: {place}  {}, {speed}, verified",
        text::bytes(downloaded.bytes)
    ));
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
