//! Challenge–response above TLS.

use crate::{
    pair::{BOTH, dial, endpoint, frame},
    stranger::{Manners, Stranger},
};
use dig_session::{
    AcceptError, AuthPolicy, ConnectError, HandshakeError, SessionConfig,
    wire::{self, Hello},
};
use dig_types::NodeId;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{io::duplex, time::timeout};

#[derive(Debug)]
struct Guests(BTreeSet<NodeId>);

impl AuthPolicy for Guests {
    fn admits(&self, node: &NodeId) -> bool {
        self.0.contains(node)
    }
}

#[derive(Debug)]
struct Everyone;

impl AuthPolicy for Everyone {
    fn admits(&self, _: &NodeId) -> bool {
        true
    }
}

fn demanding(policy: impl AuthPolicy + 'static) -> SessionConfig {
    SessionConfig {
        auth: Some(Arc::new(policy)),
        ..SessionConfig::default()
    }
}

#[tokio::test]
async fn the_policy_decides_who_is_admitted() {
    for transport in BOTH {
        let guest = endpoint(SessionConfig::default());
        let host = endpoint(demanding(Guests([guest.node_id()].into())));
        let (dialled, accepted) = dial(transport, &guest, &host, Some(host.node_id())).await;
        let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap().unwrap());
        assert!(accepted.info().authenticated && !dialled.info().authenticated);
        let ((sender, _keep), (_kept, mut receiver)) = (dialled.split(), accepted.split());
        sender.send(frame(3, 300)).await.unwrap();
        assert_eq!(receiver.recv().await, Some(frame(3, 300)));

        let other = endpoint(SessionConfig::default());
        let (dialled, accepted) = dial(transport, &other, &host, Some(host.node_id())).await;
        let error = dialled.unwrap_err();
        assert!(
            matches!(error, ConnectError::Handshake(HandshakeError::AuthRefused)),
            "{transport}: {error:?}"
        );
        if let Some(accepted) = accepted {
            let error = accepted.unwrap_err();
            assert!(
                matches!(error, AcceptError::Handshake(HandshakeError::NotAdmitted(node)) if node == other.node_id())
            );
        }
    }
}

#[tokio::test]
async fn both_sides_may_demand_at_once() {
    for transport in BOTH {
        let (left, right) = (endpoint(demanding(Everyone)), endpoint(demanding(Everyone)));
        let (dialled, accepted) = dial(transport, &left, &right, None).await;
        assert!(dialled.unwrap().info().authenticated);
        assert!(accepted.unwrap().unwrap().info().authenticated);
    }
}

/// A relay has an identity and a TLS connection of its own to each side, and passes every frame on.
#[tokio::test]
async fn a_relayed_conversation_authenticates_nobody() {
    let guest = endpoint(SessionConfig::default());
    let host = endpoint(demanding(Guests([guest.node_id()].into())));
    let (guest_end, relay_near) = duplex(1 << 16);
    let (relay_far, host_end) = duplex(1 << 16);
    let manners = Manners::default();
    let relay = async {
        let (near, far) = tokio::join!(
            Stranger::answer(relay_near, &manners),
            Stranger::dial(relay_far, &manners)
        );
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        let mut passed = Vec::new();
        loop {
            let (frame, to) = tokio::select! {
                frame = near.receive() => (frame, &mut far),
                frame = far.receive() => (frame, &mut near),
            };
            let Some(frame) = frame else {
                return passed;
            };
            passed.push(frame.kind);
            to.send(&frame).await;
        }
    };
    let (dialled, accepted, passed) = tokio::join!(
        guest.connect_stream(guest_end, None, None),
        host.accept_stream(host_end, None),
        relay
    );
    assert!(
        passed.contains(&wire::AUTH_REQUEST),
        "the demand came through: {passed:?}"
    );
    assert!(dialled.is_err());
    let error = accepted.unwrap_err();
    assert!(
        matches!(error, AcceptError::Handshake(HandshakeError::Auth(_))),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_first_requests_of_a_host_are_not_lost() {
    let guest = endpoint(SessionConfig::default());
    let (near, far) = duplex(1 << 16);
    let manners = Manners::default();
    // The host demands authentication, is slow to judge, and asks something itself meanwhile.
    let host = async {
        let mut host = Stranger::answer(far, &manners).await.unwrap();
        let hello = Hello::decode(&Stranger::hello().payload).unwrap();
        host.send(
            &Hello {
                demands_auth: true,
                ..hello
            }
            .frame(0, (1, &[])),
        )
        .await;
        for number in 1..4 {
            host.send(&frame(number, 100)).await;
        }
        while host.receive().await.unwrap().kind != wire::AUTH_REQUEST {}
        host.send(&dig_types::Frame::new(wire::AUTH_RESULT, 0, vec![0].into()))
            .await;
        host
    };
    let (dialled, _host) = tokio::join!(guest.connect_stream(near, None, None), host);
    let error = dialled.unwrap_err();
    assert!(
        matches!(error, ConnectError::Handshake(HandshakeError::AuthRefused)),
        "{error:?}"
    );

    // The same with our own host, whose lane asks as soon as it is open.
    let host = endpoint(demanding(Everyone));
    let (near, far) = duplex(1 << 16);
    let (dialled, accepted) = tokio::join!(guest.connect_stream(near, None, None), async {
        let lane = host.accept_stream(far, None).await.unwrap();
        let (sender, receiver) = lane.split();
        sender.send(frame(9, 9)).await.unwrap();
        (sender, receiver)
    });
    let (_keep, mut receiver) = dialled.unwrap().split();
    assert_eq!(
        timeout(Duration::from_secs(5), receiver.recv())
            .await
            .unwrap(),
        Some(frame(9, 9))
    );
    drop(accepted);
}
