//! `identity-auth.json`: one challenge–response, message by message.

use crate::{committed, hex, identity, unhex};
use dig_identity::{
    Algorithm, CryptoIdentity, PublicKey, SignError, Signer,
    auth::{ClientFlow, HostFlow},
};
use dig_types::Timestamp;
use serde_json::{Value, json};
use std::sync::Mutex;

const ABOUT: &str = "Section 4. The texts that both sides sign and the payloads that they send (as text), for given keys, exporter (`cb`), \
nonces and time. The keys are those of identity.json.";

const NOW: u64 = 1_800_000_000_000;

/// Remembers what it signs.
#[derive(Debug)]
struct Recorder(CryptoIdentity, Mutex<Vec<String>>);

impl Signer for Recorder {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.1
            .lock()
            .unwrap()
            .push(String::from_utf8(message.to_vec()).unwrap());
        self.0.sign(message)
    }
}

fn signed_text(algorithm: &str, case: &Value, role: &str) -> String {
    let field = |name: &str| case[name].as_str().unwrap().to_owned();
    format!(
        r#"{{"alg":"{algorithm}","cb":"{}","challenge":"{}","clientId":"{}","clientNonce":"{}","hostId":"{}","role":"{role}","t":"dig.auth.v1","timestamp":{NOW}}}"#,
        field("cb"),
        field("challenge"),
        field("client_id"),
        field("client_nonce"),
        field("host_id"),
    )
}

fn build(host: &CryptoIdentity, client: &CryptoIdentity) -> Value {
    let mut case = json!({
        "host": host.algorithm().name(), "client": client.algorithm().name(),
        "host_id": host.node_id().to_string(), "client_id": client.node_id().to_string(),
        "cb": "c0".repeat(32), "challenge": "c1".repeat(32), "client_nonce": "c2".repeat(32), "timestamp": NOW,
    });
    let host_text = signed_text(host.algorithm().name(), &case, "host");
    let client_text = signed_text(client.algorithm().name(), &case, "client");
    let proof = |signer: &CryptoIdentity, text: &str| {
        (
            signer.algorithm(),
            signer.node_id(),
            signer.public_key().to_hex(),
            hex(&signer.sign(text.as_bytes()).unwrap()),
        )
    };
    case["request"] = format!(
        r#"{{"clientNonce":"{}","peerId":"{}"}}"#,
        "c2".repeat(32),
        client.node_id()
    )
    .into();
    let (algorithm, node, key, signature) = proof(host, &host_text);
    case["challenge_message"] = format!(
        r#"{{"algorithm":"{algorithm}","challenge":"{}","hostId":"{node}","publicKey":"{key}","signature":"{signature}","timestamp":{NOW}}}"#,
        "c1".repeat(32),
    )
    .into();
    let (algorithm, node, key, signature) = proof(client, &client_text);
    case["response"] = format!(
        r#"{{"algorithm":"{algorithm}","peerId":"{node}","publicKey":"{key}","signature":"{signature}","timestamp":{NOW}}}"#
    )
    .into();
    case["host_signs"] = host_text.into();
    case["client_signs"] = client_text.into();
    case
}

#[test]
fn auth_vectors() {
    let pairs = [
        (Algorithm::Ed25519, Algorithm::Secp256k1),
        (Algorithm::Secp256k1, Algorithm::Ed25519),
    ];
    let built = pairs.map(|(host, client)| build(&identity(host), &identity(client)));
    for case in committed("identity-auth.json", ABOUT, built.to_vec()) {
        let signer = |side: &str| {
            let algorithm = case[side].as_str().unwrap().parse().unwrap();
            Recorder(identity(algorithm), Mutex::default())
        };
        let (host, client) = (signer("host"), signer("client"));
        let bytes = |name: &str| -> [u8; 32] { unhex(&case[name]).try_into().unwrap() };
        let now = Timestamp::from_millis(NOW);
        let payload = |name: &str| case[name].as_str().unwrap().as_bytes();

        let (client_flow, request) =
            ClientFlow::start(&client, host.node_id(), bytes("cb"), bytes("client_nonce"));
        assert_eq!(request, payload("request"));
        let (host_flow, challenge) = HostFlow::on_request(
            &host,
            client.public_key(),
            &request,
            bytes("cb"),
            bytes("challenge"),
            now,
        )
        .unwrap();
        assert_eq!(challenge, payload("challenge_message"));
        let response = client_flow.on_challenge(&client, &challenge, now).unwrap();
        assert_eq!(response, payload("response"));
        host_flow.on_response(&response, now).unwrap();
        assert_eq!(
            *host.1.lock().unwrap(),
            [case["host_signs"].as_str().unwrap()]
        );
        assert_eq!(
            *client.1.lock().unwrap(),
            [case["client_signs"].as_str().unwrap()]
        );
    }
}
