//! Challenge–response above TLS (`docs/protocol.md` §4; whitepaper 11.2), without I/O.
//!
//! The client asks, the host challenges, the client answers; both sign. Rules:
//!
//! 1. Both signatures cover both node ids, the client's nonce, the host's challenge, the role of the
//!    signer and a value exported from the TLS connection. What is relayed to another connection,
//!    replayed on a later one, or reflected to its sender, covers something else.
//! 2. Both node ids are those that the certificates of the lane proved; the messages may only repeat them.
//! 3. A challenge is for one answer: [`HostFlow::on_response`] consumes the flow, right or wrong.
//! 4. The host sends its verdict ([`ACCEPTED`] or [`REFUSED`]) without a reason.
//!
//! ```
//! use dig_identity::{Algorithm, CryptoIdentity, Signer, auth::{ClientFlow, HostFlow}};
//! use dig_types::{Clock, SystemClock};
//!
//! let (host, client) = (CryptoIdentity::generate(Algorithm::Ed25519)?, CryptoIdentity::generate(Algorithm::Ed25519)?);
//! // From the TLS connection (`EXPORTER_LABEL`), and from the operating system's randomness:
//! let (binding, nonce, challenge) = ([1; 32], [2; 32], [3; 32]);
//! let now = SystemClock.now();
//!
//! let (client_flow, request) = ClientFlow::start(&client, host.node_id(), binding, nonce);
//! let (host_flow, challenge) = HostFlow::on_request(&host, client.public_key(), &request, binding, challenge, now)?;
//! let response = client_flow.on_challenge(&client, &challenge, now)?;
//! host_flow.on_response(&response, now)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::{Algorithm, KeyError, PublicKey, SignError, Signer, json};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use dig_types::{NodeId, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Label of the TLS exporter (RFC 8446 §7.5) that gives the 32-byte `binding`; there is no context.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-dig-auth/1";

/// How long the host waits for the answer: a round trip and a wallet that asks its owner.
pub const CHALLENGE_LIFETIME: Duration = Duration::from_secs(30);

/// How far the host's clock may be from the client's, as for certificates. The client signs no other time.
pub const CLOCK_TOLERANCE: Duration = crate::certificate::CLOCK_TOLERANCE;

/// Largest message, in bytes.
pub const MAX_LEN: usize = 8 * 1024;

/// The payload of an `AUTH_RESULT` that admits the client.
pub const ACCEPTED: u8 = 1;

/// The payload of an `AUTH_RESULT` that refuses the client.
pub const REFUSED: u8 = 0;

/// The side that has been asked to authenticate.
#[derive(Debug)]
pub struct ClientFlow {
    host: NodeId,
    binding: [u8; 32],
    nonce: [u8; 32],
}

impl ClientFlow {
    /// Begins; the second value is the payload of `AUTH_REQUEST`. `host` is the node that the certificate of the lane
    /// proved, `binding` the exporter of its TLS connection, `nonce` 32 fresh random bytes.
    pub fn start(
        signer: &dyn Signer,
        host: NodeId,
        binding: [u8; 32],
        nonce: [u8; 32],
    ) -> (Self, Vec<u8>) {
        // A literal object of hexadecimal text, so that writing cannot fail.
        let request = format!(
            r#"{{"clientNonce":"{}","peerId":"{}"}}"#,
            HEXLOWER.encode(&nonce),
            signer.node_id()
        );
        (
            Self {
                host,
                binding,
                nonce,
            },
            request.into_bytes(),
        )
    }

    /// Takes the payload of `AUTH_CHALLENGE`; gives that of `AUTH_RESPONSE`. The host has proved itself when this
    /// succeeds; nothing is signed before.
    pub fn on_challenge(
        self,
        signer: &dyn Signer,
        payload: &[u8],
        now: Timestamp,
    ) -> Result<Vec<u8>, AuthError> {
        let message: ChallengeMessage = read(payload)?;
        let (key, signature) = message.proof.open()?;
        if message.host_id != self.host.to_string() || key.node_id() != self.host {
            return Err(AuthError::WrongNode);
        }
        let timestamp = message.proof.timestamp;
        let given = Timestamp::from_millis(timestamp);
        if given > now + CLOCK_TOLERANCE || now > given + CLOCK_TOLERANCE {
            return Err(AuthError::Time);
        }
        let exchange = Exchange {
            host: self.host,
            client: signer.node_id(),
            nonce: self.nonce,
            challenge: read_32_bytes(&message.challenge)?,
            timestamp,
            binding: self.binding,
        };
        let text = exchange.text(Role::Host, key.algorithm())?;
        key.verify(text.as_bytes(), &signature)
            .map_err(|_| AuthError::Signature)?;
        let own = signer.public_key();
        let text = exchange.text(Role::Client, own.algorithm())?;
        write(&ResponseMessage {
            peer_id: own.node_id().to_string(),
            proof: Proof::new(own, &signer.sign(text.as_bytes())?, timestamp),
        })
    }
}

/// The side that demands authentication.
#[derive(Debug)]
pub struct HostFlow {
    client: PublicKey,
    exchange: Exchange,
}

impl HostFlow {
    /// Takes the payload of `AUTH_REQUEST`; the second value is that of `AUTH_CHALLENGE`. `client` is the key that the certificate
    /// of the lane proved, `binding` the exporter of its TLS connection, `challenge` 32 fresh random bytes.
    pub fn on_request(
        signer: &dyn Signer,
        client: &PublicKey,
        payload: &[u8],
        binding: [u8; 32],
        challenge: [u8; 32],
        now: Timestamp,
    ) -> Result<(Self, Vec<u8>), AuthError> {
        let message: RequestMessage = read(payload)?;
        if message.peer_id != client.node_id().to_string() {
            return Err(AuthError::WrongNode);
        }
        let exchange = Exchange {
            host: signer.node_id(),
            client: client.node_id(),
            nonce: read_32_bytes(&message.client_nonce)?,
            challenge,
            timestamp: now.as_millis(),
            binding,
        };
        let own = signer.public_key();
        let text = exchange.text(Role::Host, own.algorithm())?;
        let payload = write(&ChallengeMessage {
            challenge: HEXLOWER.encode(&challenge),
            host_id: own.node_id().to_string(),
            proof: Proof::new(own, &signer.sign(text.as_bytes())?, exchange.timestamp),
        })?;
        Ok((
            Self {
                client: client.clone(),
                exchange,
            },
            payload,
        ))
    }

    /// Takes the payload of `AUTH_RESPONSE`. The client is authenticated if and only if this succeeds; whether it is also
    /// welcome is the caller's policy.
    pub fn on_response(self, payload: &[u8], now: Timestamp) -> Result<(), AuthError> {
        if now > Timestamp::from_millis(self.exchange.timestamp) + CHALLENGE_LIFETIME {
            return Err(AuthError::Expired);
        }
        let message: ResponseMessage = read(payload)?;
        let (key, signature) = message.proof.open()?;
        if key != self.client || message.peer_id != self.client.node_id().to_string() {
            return Err(AuthError::WrongNode);
        }
        if message.proof.timestamp != self.exchange.timestamp {
            return Err(AuthError::Time);
        }
        let text = self.exchange.text(Role::Client, key.algorithm())?;
        key.verify(text.as_bytes(), &signature)
            .map_err(|_| AuthError::Signature)
    }
}

/// What both sides sign.
#[derive(Debug)]
struct Exchange {
    host: NodeId,
    client: NodeId,
    nonce: [u8; 32],
    challenge: [u8; 32],
    timestamp: u64,
    binding: [u8; 32],
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Host,
    Client,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SignedText<'a> {
    alg: &'static str,
    cb: String,
    challenge: String,
    client_id: &'a NodeId,
    client_nonce: String,
    host_id: &'a NodeId,
    role: Role,
    t: &'static str,
    timestamp: u64,
}

impl Exchange {
    fn text(&self, role: Role, algorithm: Algorithm) -> Result<String, AuthError> {
        let text = SignedText {
            alg: algorithm.name(),
            cb: HEXLOWER.encode(&self.binding),
            challenge: HEXLOWER.encode(&self.challenge),
            client_id: &self.client,
            client_nonce: HEXLOWER.encode(&self.nonce),
            host_id: &self.host,
            role,
            t: "dig.auth.v1",
            timestamp: self.timestamp,
        };
        json::canonical(&text).map_err(|_| AuthError::Malformed)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestMessage {
    client_nonce: String,
    peer_id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChallengeMessage {
    challenge: String,
    host_id: String,
    #[serde(flatten)]
    proof: Proof,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseMessage {
    peer_id: String,
    #[serde(flatten)]
    proof: Proof,
}

/// A key, a signature by it and the time that the signature covers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Proof {
    algorithm: String,
    public_key: String,
    signature: String,
    timestamp: u64,
}

impl Proof {
    fn new(key: &PublicKey, signature: &[u8], timestamp: u64) -> Self {
        Self {
            algorithm: key.algorithm().name().into(),
            public_key: key.to_hex(),
            signature: HEXLOWER.encode(signature),
            timestamp,
        }
    }

    fn open(&self) -> Result<(PublicKey, Vec<u8>), AuthError> {
        let algorithm = self.algorithm.parse().map_err(|_| AuthError::Malformed)?;
        let key = PublicKey::from_canonical(algorithm, &read_hex(&self.public_key)?)?;
        Ok((key, read_hex(&self.signature)?))
    }
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, AuthError> {
    if payload.len() > MAX_LEN {
        return Err(AuthError::TooLarge);
    }
    serde_json::from_slice(payload).map_err(|_| AuthError::Malformed)
}

fn write(message: &impl Serialize) -> Result<Vec<u8>, AuthError> {
    json::canonical(message)
        .map(String::into_bytes)
        .map_err(|_| AuthError::Malformed)
}

fn read_hex(text: &str) -> Result<Vec<u8>, AuthError> {
    HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .map_err(|_| AuthError::Malformed)
}

fn read_32_bytes(text: &str) -> Result<[u8; 32], AuthError> {
    read_hex(text)?.try_into().map_err(|_| AuthError::Malformed)
}

/// Why authentication failed. For the own log; the other side is told nothing of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A message is larger than [`MAX_LEN`].
    #[error("the authentication message has more than 8 KiB")]
    TooLarge,
    /// A message is not JSON of the fields of the protocol.
    #[error("the authentication message is malformed")]
    Malformed,
    /// A key is refused.
    #[error("the key in the authentication message is refused: {0}")]
    Key(#[from] KeyError),
    /// The message names another node than the certificate of the lane.
    #[error("the authentication message is of another node than the one on this connection")]
    WrongNode,
    /// The challenge's time is more than [`CLOCK_TOLERANCE`] away, or the answer has another than the challenge.
    #[error(
        "the time in the authentication message does not fit: check the clocks of both machines"
    )]
    Time,
    /// The answer came after [`CHALLENGE_LIFETIME`].
    #[error("the answer to the challenge came after 30 seconds")]
    Expired,
    /// The signature is false, or is for another exchange, role or connection.
    #[error("the signature in the authentication message is false")]
    Signature,
    /// The own signer did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}
