//! `dignet relay`.

use crate::{
    args::{Global, RelayArgs},
    exit::Failure,
    interrupt::Interrupt,
    node,
    output::Output,
};
use dig::{
    Identity, Node,
    nat::stun::io::{Serving, serve},
};
use serde_json::json;
use std::net::{Ipv6Addr, SocketAddr};

/// The port of STUN (RFC 8489 §18.6).
const STUN_PORT: u16 = 3478;

pub(crate) async fn run(global: &Global, args: RelayArgs, output: &Output) -> Result<(), Failure> {
    let interrupt = Interrupt::listen();
    let mut paths = dig::PathOptions::default();
    paths.port_mapping = false;
    let node = Node::builder()
        .home(node::home(global)?)
        .identity(Identity::Home)
        .listen(args.listen)
        .local_discovery(false)
        .paths(paths);
    let node = node.start().await?;
    let stun = start_stun(&args.stun).await;
    if let Ok(stun) = &stun {
        announce(&node, stun, output);
        interrupt.wait().await;
    }
    node.stop().await;
    stun?;
    output.say("Stopped.");
    Ok(())
}

/// One server for each address; two addresses of one family are one server, which tells more (RFC 5780).
async fn start_stun(addrs: &[SocketAddr]) -> Result<Vec<Serving>, Failure> {
    let everywhere = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, STUN_PORT))];
    let addrs = if addrs.is_empty() { &everywhere } else { addrs };
    let mut servers = Vec::new();
    for ipv6 in [false, true] {
        let of_family: Vec<_> = addrs.iter().filter(|addr| addr.is_ipv6() == ipv6).collect();
        for pair in of_family.chunks(2) {
            servers.push(serve(*pair[0], pair.get(1).map(|addr| **addr)).await?);
        }
    }
    Ok(servers)
}

fn addrs_of(servers: &[Serving]) -> Vec<SocketAddr> {
    let sockets = servers.iter().map(|server| server.layout().sockets());
    sockets.flatten().collect()
}

fn announce(node: &Node, stun: &[Serving], output: &Output) {
    let (addrs, stun) = (node.network().addrs(), addrs_of(stun));
    output.event(
        "ready",
        json!({
            "node_id": node.id(),
            "port": node.port(),
            "addrs": addrs,
            "stun": stun,
        }),
    );
    output.say("Introducing peers until Ctrl-C. On both sides, add:\n");
    for addr in &addrs {
        output.result(&format!("--via {}@{addr}", node.id()));
    }
    let list: Vec<String> = stun.iter().map(ToString::to_string).collect();
    output.say(&format!("\nSTUN answers at {}.", list.join(", ")));
}
