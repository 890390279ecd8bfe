use super::*;
use crate::gun::MemoryGraph;
use dig_nat::rendezvous::LaneId;
use dig_types::SystemClock;

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

fn gun(graph: &MemoryGraph, of: NodeId) -> GunSignaling {
    GunSignaling::new(Arc::new(graph.clone()), Arc::new(SystemClock), of)
}

fn carriers(graph: &MemoryGraph) -> Carriers {
    let rendezvous = Arc::new(RendezvousSignaling::new(Bytes::new()));
    Carriers::new(rendezvous, gun(graph, node(1)))
}

/// What a peer hears over Gun.
async fn heard(peer: &GunSignaling) -> Option<Bytes> {
    let receive = tokio::time::timeout(Duration::from_millis(50), peer.receive());
    receive.await.ok().flatten().map(|signal| signal.bytes)
}

#[tokio::test(start_paused = true)]
async fn gun_carries_where_nobody_introduces() {
    let graph = MemoryGraph::new();
    let (carriers, peer) = (carriers(&graph), gun(&graph, node(2)));
    let (_ours, _theirs) = (carriers.gun.listen(), peer.listen());
    carriers
        .send(node(2), Bytes::from_static(b"there"))
        .await
        .unwrap();
    assert_eq!(heard(&peer).await.as_deref(), Some(&b"there"[..]));
    peer.send(node(1), Bytes::from_static(b"and back"))
        .await
        .unwrap();
    assert_eq!(carriers.receive().await.unwrap().bytes, "and back");
    // What nobody knows, nobody knows.
    let unknown = carriers.prekey(node(9)).await;
    assert_eq!(unknown, Err(SignalError::NotFound(node(9))));
    graph.connect(false);
    let sent = carriers.send(node(2), Bytes::from_static(b"x")).await;
    assert_eq!(sent, Err(SignalError::NoCarrier));
}

#[tokio::test(start_paused = true)]
async fn a_rendezvous_peer_that_says_nothing_costs_a_moment() {
    let graph = MemoryGraph::new();
    let (carriers, peer) = (carriers(&graph), gun(&graph, node(2)));
    let _theirs = peer.listen();
    // A lane that swallows everything.
    carriers.rendezvous.lane_up(LaneId(1), node(3), |_| {});
    let began = tokio::time::Instant::now();
    carriers
        .send(node(2), Bytes::from_static(b"there"))
        .await
        .unwrap();
    assert_eq!(began.elapsed(), HEAD_START);
    assert_eq!(heard(&peer).await.as_deref(), Some(&b"there"[..]));
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_while_one_of_both_does() {
    let graph = MemoryGraph::new();
    let (carriers, peer) = (carriers(&graph), gun(&graph, node(2)));
    let _ours = carriers.gun.listen();
    carriers.rendezvous.close();
    peer.send(node(1), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(carriers.receive().await.unwrap().bytes, "x");
    carriers.gun.close();
    assert_eq!(carriers.receive().await, None);
}
