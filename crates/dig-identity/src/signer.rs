//! Whoever can sign for a node.

use crate::PublicKey;
use dig_types::NodeId;
use std::fmt;

/// Signs in the name of one node, wherever the private key lives: in memory
/// ([`CryptoIdentity`](crate::CryptoIdentity)), in an agent, in a wallet.
///
/// The signature must be that of `docs/protocol.md` §1 for the algorithm of the key; whoever receives
/// it checks. Signing may block; callers on an event loop that use a slow signer wrap it.
pub trait Signer: Send + Sync + fmt::Debug {
    /// The key that signatures verify with.
    fn public_key(&self) -> &PublicKey;

    /// Signs a message (not a digest).
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// The node that this signer speaks for.
    fn node_id(&self) -> NodeId {
        self.public_key().node_id()
    }
}

/// Why a message was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The identity holds a public key only.
    #[error(
        "this identity has no private key: it can verify, not sign. Load it from its private key to sign"
    )]
    PublicOnly,
    /// The cryptographic library refused to sign.
    #[error("signing failed in the cryptographic library")]
    Library,
    /// A signer outside this crate failed.
    #[error("the external signer failed")]
    External(#[source] Box<dyn std::error::Error + Send + Sync>),
}
