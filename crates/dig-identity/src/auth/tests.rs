use super::*;
use crate::CryptoIdentity;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const NONCE: [u8; 32] = [2; 32];
const CHALLENGE: [u8; 32] = [3; 32];

/// The value that both ends of a TLS connection export; each connection has another.
const PIPE: [u8; 32] = [1; 32];
const OTHER_PIPE: [u8; 32] = [9; 32];

fn node(seed: u8) -> CryptoIdentity {
    CryptoIdentity::from_private_bytes(Algorithm::Ed25519, &[seed; 32]).unwrap()
}

fn request(client: &CryptoIdentity, host: &CryptoIdentity) -> (ClientFlow, Vec<u8>) {
    ClientFlow::start(client, host.node_id(), PIPE, NONCE)
}

fn challenge(
    host: &CryptoIdentity,
    client: &CryptoIdentity,
    request: &[u8],
) -> (HostFlow, Vec<u8>) {
    HostFlow::on_request(host, client.public_key(), request, PIPE, CHALLENGE, NOW).unwrap()
}

/// A message with one field changed.
fn with(message: &[u8], field: &str, value: Value) -> Vec<u8> {
    let mut message: Value = serde_json::from_slice(message).unwrap();
    assert!(message.get(field).is_some());
    message[field] = value;
    message.to_string().into_bytes()
}

fn without(message: &[u8], field: &str) -> Vec<u8> {
    let mut message: Value = serde_json::from_slice(message).unwrap();
    message.as_object_mut().unwrap().remove(field).unwrap();
    message.to_string().into_bytes()
}

#[test]
fn every_pair_of_algorithms_authenticates() {
    let keys = Algorithm::ALL.map(|algorithm| CryptoIdentity::generate(algorithm).unwrap());
    for host in &keys {
        for client in &keys {
            let (client_flow, first) = request(client, host);
            let (host_flow, second) = challenge(host, client, &first);
            let third = client_flow.on_challenge(client, &second, NOW).unwrap();
            assert!(second.len() < MAX_LEN && third.len() < MAX_LEN);
            host_flow.on_response(&third, NOW).unwrap();
        }
    }
}

/// Mallory is called by the victim, calls the host in its own name and hands the messages through.
#[test]
fn a_relay_between_two_connections_authenticates_nobody() {
    let (host, victim, mallory) = (node(1), node(2), node(3));

    // The victim knows whom it called. It signs nothing for the host that the challenge names.
    let (victim_flow, first) = ClientFlow::start(&victim, mallory.node_id(), OTHER_PIPE, NONCE);
    let relayed = HostFlow::on_request(&host, mallory.public_key(), &first, PIPE, CHALLENGE, NOW);
    assert!(matches!(relayed, Err(AuthError::WrongNode)));
    let own = with(&first, "peerId", json!(mallory.node_id()));
    let (_, second) = challenge(&host, &mallory, &own);
    assert!(matches!(
        victim_flow.on_challenge(&victim, &second, NOW),
        Err(AuthError::WrongNode)
    ));

    // Even if the certificates lied about both ends (a stolen certificate key), the connections differ.
    let (victim_flow, first) = ClientFlow::start(&victim, host.node_id(), OTHER_PIPE, NONCE);
    let (_, second) = challenge(&host, &victim, &first);
    assert!(matches!(
        victim_flow.on_challenge(&victim, &second, NOW),
        Err(AuthError::Signature)
    ));
    let (careless, _) = ClientFlow::start(&victim, host.node_id(), OTHER_PIPE, NONCE);
    let (host_flow, _) = challenge(&host, &victim, &first);
    let (_, honest) = HostFlow::on_request(
        &host,
        victim.public_key(),
        &first,
        OTHER_PIPE,
        CHALLENGE,
        NOW,
    )
    .unwrap();
    let third = careless.on_challenge(&victim, &honest, NOW).unwrap();
    assert!(matches!(
        host_flow.on_response(&third, NOW),
        Err(AuthError::Signature)
    ));
}

/// Signs with its own key, and puts the id of another node into what it signs.
#[derive(Debug)]
struct Impostor(CryptoIdentity, NodeId);

impl Signer for Impostor {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.0.sign(message)
    }

    fn node_id(&self) -> NodeId {
        self.1
    }
}

#[test]
fn a_true_signature_by_the_wrong_key_is_refused() {
    let (host, client) = (node(1), node(2));

    let impostor = Impostor(node(3), host.node_id());
    let (client_flow, first) = request(&client, &host);
    let (_, second) =
        HostFlow::on_request(&impostor, client.public_key(), &first, PIPE, CHALLENGE, NOW).unwrap();
    let second = with(&second, "hostId", json!(host.node_id()));
    assert!(matches!(
        client_flow.on_challenge(&client, &second, NOW),
        Err(AuthError::WrongNode)
    ));

    let impostor = Impostor(node(3), client.node_id());
    let (client_flow, first) = ClientFlow::start(&impostor, host.node_id(), PIPE, NONCE);
    let (host_flow, second) = challenge(&host, &client, &first);
    let third = client_flow.on_challenge(&impostor, &second, NOW).unwrap();
    let third = with(&third, "peerId", json!(client.node_id()));
    assert!(matches!(
        host_flow.on_response(&third, NOW),
        Err(AuthError::WrongNode)
    ));
}

#[test]
fn a_replayed_or_reflected_answer_is_refused() {
    let (host, client) = (node(1), node(2));
    let (client_flow, first) = request(&client, &host);
    let (host_flow, second) = challenge(&host, &client, &first);
    let third = client_flow.on_challenge(&client, &second, NOW).unwrap();
    host_flow.on_response(&third, NOW).unwrap();

    // Replayed to another challenge on the same connection.
    let again = HostFlow::on_request(&host, client.public_key(), &first, PIPE, [4; 32], NOW)
        .unwrap()
        .0;
    assert!(matches!(
        again.on_response(&third, NOW),
        Err(AuthError::Signature)
    ));

    // A node that talks to itself cannot use the host's signature as the client's.
    let (_, first) = request(&host, &host);
    let (host_flow, second) = challenge(&host, &host, &first);
    let mut reflected: Value = serde_json::from_slice(&second).unwrap();
    reflected["peerId"] = json!(host.node_id());
    assert!(matches!(
        host_flow.on_response(reflected.to_string().as_bytes(), NOW),
        Err(AuthError::Signature)
    ));
}

#[test]
fn a_challenge_is_good_for_thirty_seconds() {
    let (host, client) = (node(1), node(2));
    for (late, good) in [(0, true), (30_000, true), (30_001, false)] {
        let (client_flow, first) = request(&client, &host);
        let (host_flow, second) = challenge(&host, &client, &first);
        let third = client_flow.on_challenge(&client, &second, NOW).unwrap();
        let result = host_flow.on_response(&third, NOW + Duration::from_millis(late));
        assert_eq!(result.is_ok(), good, "{late} ms: {result:?}");
        assert!(good || matches!(result, Err(AuthError::Expired)));
    }
}

#[test]
fn the_client_signs_no_time_far_from_its_own() {
    let (host, client) = (node(1), node(2));
    for (client_now, good) in [
        (NOW + CLOCK_TOLERANCE, true),
        (NOW + CLOCK_TOLERANCE + Duration::from_millis(1), false),
        (Timestamp::from_millis(NOW.as_millis() - 3_600_001), false),
    ] {
        let (client_flow, first) = request(&client, &host);
        let (_, second) = challenge(&host, &client, &first);
        let result = client_flow.on_challenge(&client, &second, client_now);
        assert_eq!(result.is_ok(), good);
        assert!(good || matches!(result, Err(AuthError::Time)));
    }
}

#[test]
fn every_field_of_the_challenge_is_checked() {
    let (host, client, other) = (node(1), node(2), node(3));
    let (_, first) = request(&client, &host);
    let (_, second) = challenge(&host, &client, &first);
    let cases = [
        ("algorithm", json!("rsa")),
        ("algorithm", json!("none")),
        ("challenge", json!("00".repeat(32))),
        ("challenge", json!("00".repeat(31))),
        ("challenge", json!("zz".repeat(32))),
        ("hostId", json!(other.node_id())),
        ("hostId", json!("")),
        ("publicKey", json!(other.public_key().to_hex())),
        ("publicKey", json!("")),
        ("signature", json!("00".repeat(64))),
        ("signature", json!("")),
        ("timestamp", json!(NOW.as_millis() + 1)),
        ("timestamp", json!(u64::MAX)),
        ("timestamp", json!(-1)),
        ("timestamp", json!("0")),
    ];
    for (field, value) in cases {
        let (client_flow, _) = request(&client, &host);
        let changed = with(&second, field, value.clone());
        assert!(
            client_flow.on_challenge(&client, &changed, NOW).is_err(),
            "{field} = {value}"
        );
        let (client_flow, _) = request(&client, &host);
        assert!(
            client_flow
                .on_challenge(&client, &without(&second, field), NOW)
                .is_err(),
            "no {field}"
        );
    }
}

#[test]
fn every_field_of_the_answer_is_checked() {
    let (host, client, other) = (node(1), node(2), node(3));
    let (client_flow, first) = request(&client, &host);
    let (_, second) = challenge(&host, &client, &first);
    let third = client_flow.on_challenge(&client, &second, NOW).unwrap();
    let cases = [
        ("algorithm", json!("secp256k1")),
        ("peerId", json!(other.node_id())),
        ("publicKey", json!(other.public_key().to_hex())),
        ("signature", json!("00".repeat(64))),
        ("timestamp", json!(NOW.as_millis() + 1)),
    ];
    for (field, value) in cases {
        let (host_flow, _) = challenge(&host, &client, &first);
        let changed = with(&third, field, value.clone());
        assert!(
            host_flow.on_response(&changed, NOW).is_err(),
            "{field} = {value}"
        );
        let (host_flow, _) = challenge(&host, &client, &first);
        assert!(
            host_flow.on_response(&without(&third, field), NOW).is_err(),
            "no {field}"
        );
    }
    let (host_flow, _) = challenge(&host, &client, &first);
    host_flow.on_response(&third, NOW).unwrap();
}

#[test]
fn unknown_fields_are_ignored_and_repeated_ones_refused() {
    let (host, client) = (node(1), node(2));
    let (_, first) = request(&client, &host);
    let text = String::from_utf8(first).unwrap();
    let read = |text: &str| {
        HostFlow::on_request(
            &host,
            client.public_key(),
            text.as_bytes(),
            PIPE,
            CHALLENGE,
            NOW,
        )
        .map(|_| ())
    };
    read(&text.replacen('{', r#"{"token":[{}],"#, 1)).unwrap();
    let twice = text.replacen('{', &format!(r#"{{"peerId":"{}","#, client.node_id()), 1);
    assert!(matches!(read(&twice), Err(AuthError::Malformed)));
    let deep = format!(r#"{{"x":{}"#, "[".repeat(8000));
    assert!(matches!(read(&deep), Err(AuthError::Malformed)));
    assert!(matches!(
        read(&" ".repeat(MAX_LEN + 1)),
        Err(AuthError::TooLarge)
    ));
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let (host, client) = (node(1), node(2));
        let (client_flow, first) = request(&client, &host);
        let (host_flow, _) = challenge(&host, &client, &first);
        prop_assert!(HostFlow::on_request(&host, client.public_key(), &bytes, PIPE, CHALLENGE, NOW).is_err());
        prop_assert!(client_flow.on_challenge(&client, &bytes, NOW).is_err());
        prop_assert!(host_flow.on_response(&bytes, NOW).is_err());
    }
}
