//! The node that a command runs on.

use crate::{
    args::{Global, IdArgs, NetArgs, PathArgs},
    exit::{Failure, Kind},
    output::Output,
};
use dig::{Home, Identity, Node, NodeId, PathOptions, StunServer};
use std::collections::BTreeSet;

/// The home that was named, or the user's.
pub(crate) fn home(global: &Global) -> Result<Home, Failure> {
    match &global.home {
        Some(dir) => Ok(Home::new(dir)),
        None => Home::of_user().ok_or_else(|| {
            Failure::new(Kind::Local, "there is no home folder").hint("name one with --home DIR")
        }),
    }
}

/// Starts a node as the command line asks.
pub(crate) async fn start(
    global: &Global,
    net: &NetArgs,
    identity: Identity,
) -> Result<Node, Failure> {
    let trusted: BTreeSet<NodeId> = net.trust.iter().copied().collect();
    let node = Node::builder()
        .home(home(global)?)
        .identity(identity)
        .listen(net.listen)
        .local_discovery(!net.no_local)
        .limit(net.limit)
        .require_authentication(net.require_auth)
        .trust(trusted)
        .gun((!net.no_gun).then(|| net.paths.gun.clone()))
        .paths(paths(global, &net.paths));
    Ok(node.start().await?)
}

/// How paths are found, as the command line asks.
pub(crate) fn paths(global: &Global, args: &PathArgs) -> PathOptions {
    let mut paths = PathOptions::default();
    paths.stun = stun_servers(global, &args.stun);
    if !args.methods.is_empty() {
        paths.methods.clone_from(&args.methods);
    }
    paths.strategy = args.strategy;
    paths.port_mapping = !args.no_upnp;
    paths.via.clone_from(&args.via);
    paths.turn.clone_from(&args.turn);
    paths.relay_only = args.relay_only;
    paths.birthday = !args.no_birthday;
    paths
}

/// The STUN servers that were named, or public ones where that is allowed.
pub(crate) fn stun_servers(global: &Global, named: &[StunServer]) -> Vec<StunServer> {
    if named.is_empty() && !global.no_defaults {
        StunServer::public()
    } else {
        named.to_vec()
    }
}

/// `dignet id`.
pub(crate) fn print_id(global: &Global, args: &IdArgs, output: &Output) -> Result<(), Failure> {
    let id = dig::home_identity(&home(global)?, args.algorithm)?;
    let fields = serde_json::json!({"node_id": id.node_id, "algorithm": id.algorithm.to_string()});
    output.event("id", fields);
    output.result(&id.node_id.to_string());
    Ok(())
}
