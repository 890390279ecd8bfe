//! `dignet doctor`.

use crate::{
    args::{DoctorArgs, DoctorPeer, Global},
    exit::{Failure, Kind},
    node,
    output::Output,
    text,
};
use dig::{
    Diagnosis, ExamineOptions, FoundLink, Identity, Node,
    nat::trace::MethodTrace,
    types::{PeerRecord, PeerSource},
};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a peer may take to be reached: every method has 5 s, and so has whoever introduces it.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(global: &Global, args: DoctorArgs, output: &Output) -> Result<(), Failure> {
    match &args.peer {
        Some(peer) => reach(global, &args, peer, output).await,
        None => look(global, &args, output).await,
    }
}

/// What stands between this machine and everybody.
async fn look(global: &Global, args: &DoctorArgs, output: &Output) -> Result<(), Failure> {
    let mut options = ExamineOptions::default();
    options.stun = node::stun_servers(global, &args.paths.stun);
    options.port_mapping = !args.paths.no_upnp;
    options.lifetime = args.lifetime;
    output.say(if args.lifetime {
        "Looking at the network; this takes some minutes ..."
    } else {
        "Looking at the network ..."
    });
    let report = dig::examine(options).await?;
    let (lines, remedy) = (report.explain(), report.remedy());
    output.event(
        "report",
        json!({"report": report, "explanation": lines, "remedy": remedy}),
    );
    for line in &lines {
        output.result(line);
    }
    if let Some(remedy) = &remedy {
        output.result(&format!("What would help: {remedy}"));
    }
    Ok(())
}

/// What stands between this machine and one peer.
async fn reach(
    global: &Global,
    args: &DoctorArgs,
    peer: &DoctorPeer,
    output: &Output,
) -> Result<(), Failure> {
    let record = record(peer, args)?;
    let node = Node::builder()
        .home(node::home(global)?)
        .identity(Identity::Fresh)
        .local_discovery(false)
        .gun(Some(args.paths.gun.clone()))
        .paths(node::paths(global, &args.paths));
    let node = node.start().await?;
    output.say("Looking for a path ...");
    let diagnosis = node.diagnose(record, PATIENCE).await;
    node.stop().await;
    tell(&diagnosis, output);
    match diagnosis.path {
        Some(_) => Ok(()),
        None => Err(Failure::new(Kind::Connect, "the peer cannot be reached")),
    }
}

fn record(peer: &DoctorPeer, args: &DoctorArgs) -> Result<PeerRecord, Failure> {
    let mut record = match peer {
        DoctorPeer::Ticket(ticket) => {
            let named = dig::client::peers_of_ticket(ticket).into_iter().next();
            named.ok_or_else(|| {
                Failure::new(Kind::Usage, "the ticket names nobody")
                    .hint("ask for one made while its host was running")
            })?
        }
        DoctorPeer::Addr(peer) => PeerRecord::from_addr(*peer, PeerSource::Explicit),
        DoctorPeer::Node(node) if args.paths.via.is_empty() && args.paths.gun.is_empty() => {
            return Err(Failure::new(
                Kind::Usage,
                format!("nothing is known of {} but its id", node.short()),
            )
            .hint("name who introduces it with --via, a Gun relay that it uses with --gun, give [ID@]ADDR:PORT, or a ticket"));
        }
        DoctorPeer::Node(node) => PeerRecord {
            node: Some(*node),
            addrs: Vec::new(),
            mapped: Vec::new(),
            via: Vec::new(),
            relays: Vec::new(),
            source: PeerSource::Explicit,
        },
    };
    record.via.extend(&args.paths.via);
    let relays = args.paths.gun.iter();
    record
        .relays
        .extend(relays.map(|relay| relay.to_string().into()));
    Ok(record)
}

fn tell(diagnosis: &Diagnosis, output: &Output) {
    let Diagnosis {
        verdict,
        path,
        trace,
        failures,
        ..
    } = diagnosis;
    let failed: Vec<Value> = failures
        .iter()
        .map(|failure| json!({"addr": failure.addr, "reason": failure.reason}))
        .collect();
    output.event(
        "diagnosis",
        json!({
            "verdict": verdict.line,
            "remedy": verdict.remedy,
            "path": path.as_ref().map(describe),
            "trace": trace,
            "failed": failed,
        }),
    );
    for failure in failures.iter().filter(|failure| failure.addr.is_some()) {
        let addr = failure
            .addr
            .map(|addr| addr.to_string())
            .unwrap_or_default();
        output.result(&format!("  {addr}: {}", failure.reason));
    }
    if let Some(trace) = trace {
        if let Some(signaling) = trace.signaling {
            output.result(&format!("  the peer answered after {}", millis(signaling)));
        }
        trace
            .methods
            .iter()
            .for_each(|run| output.result(&line(run)));
    }
    if let Some(path) = path {
        let rtt = path.rtt.map(|rtt| format!(", round trip {}", millis(rtt)));
        let remote = path.remote.map(|remote| format!(" at {remote}"));
        output.result(&format!(
            "  a session is up by {}{} after {}{}",
            path.method,
            remote.unwrap_or_default(),
            millis(path.elapsed),
            rtt.unwrap_or_default()
        ));
    }
    output.result(&text::name(&verdict.line));
    if let Some(remedy) = &verdict.remedy {
        output.result(&format!("What would help: {remedy}"));
    }
}

fn describe(path: &FoundLink) -> Value {
    json!({
        "method": path.method.to_string(),
        "path": text::path(path.relayed),
        "remote": path.remote,
        "transport": text::carrier(path.carrier),
        "elapsed_ms": path.elapsed.as_secs_f64() * 1e3,
        "rtt_ms": path.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
    })
}

/// One method, as people read it.
fn line(run: &MethodTrace) -> String {
    let counts = if run.sent + run.received > 0 {
        format!(
            " ({} sent, {} came, {})",
            run.sent,
            run.received,
            millis(run.took)
        )
    } else {
        String::new()
    };
    format!(
        "  {:<22}{}{counts}",
        run.method.name(),
        text::name(&run.outcome.to_string())
    )
}

fn millis(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}
