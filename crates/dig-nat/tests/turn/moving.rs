//! A client whose address changes: the allocation moves with it where coturn allows that (RFC 8016), else there is a new one.

use super::*;

/// Has an allocation, gets another address, and goes on talking. Returns the relayed addresses before and after.
fn roam(world: &World, transport: TurnTransport) -> (SocketAddr, SocketAddr) {
    let peer = world.peer_socket();
    world.on_client(async || {
        let relays = relays(vec![world.server(transport)], RelaysConfig::default());
        let _wanted = relays.want();
        let relay = up(&relays, 1).await.remove(0);
        let before = relay.relayed();
        converse(&relay, &peer, 0, 40).await;
        change_address(&world.client);
        relays.network_changed();
        let relay = if timeout(Duration::from_secs(1), relay.closed())
            .await
            .is_ok()
        {
            up(&relays, 1).await.remove(0)
        } else {
            relay.clone()
        };
        converse(&relay, &peer, 100, 40).await;
        relays.shutdown().await;
        (before, relay.relayed())
    })
}

/// The machine gets another address on its network and loses the one it had.
fn change_address(machine: &Machine) {
    let old = machine.ipv4().unwrap();
    let [a, b, c, _] = old.octets();
    let script = format!(
        "set -e\nroute=$(ip -4 route show default)\ndev=eth0\nmask=$(ip -4 -o addr show dev $dev | sed -E 's/.* inet [0-9.]+\\/([0-9]+) .*/\\1/' | head -1)\n\
         ip addr del {old}/$mask dev $dev\nip addr add {a}.{b}.{c}.77/$mask dev $dev\nip route replace $route"
    );
    machine.run("sh", &["-c", &script]).unwrap();
}

#[test]
fn an_allocation_moves_where_the_server_lets_it() {
    let Some(world) = World::new(CoturnSpec::new().mobility()) else {
        return;
    };
    let (before, after) = roam(&world, TurnTransport::Udp);
    assert_eq!(before, after);
}

fn makes_a_new_one(transport: TurnTransport) {
    let Some(world) = World::new(CoturnSpec::new()) else {
        return;
    };
    let (before, after) = roam(&world, transport);
    assert_ne!(before, after);
}

#[test]
fn an_allocation_is_made_anew_where_it_cannot_move() {
    makes_a_new_one(TurnTransport::Udp);
}

#[test]
fn an_allocation_of_a_connection_is_made_anew() {
    makes_a_new_one(TurnTransport::Tcp);
}
