//! What a relay is told.

use super::peers::PeerPolicy;
use std::{fmt, time::Duration};
use zeroize::Zeroizing;

/// Settings of a [`super::Server`].
#[derive(Clone)]
pub struct ServerConfig {
    /// The name that credentials belong to (RFC 8489 §14.9), at most [`Self::LONGEST_REALM`] bytes. Default: `dignet`.
    pub realm: String,
    /// Users with a password. Default: nobody.
    pub users: Vec<User>,
    /// The secret of time-limited credentials ([`super::time_limited_password`]). Default: none, and none are accepted.
    pub secret: Option<Zeroizing<String>>,
    /// How long a nonce is good. Default: 600 s, as most installations of coturn have it; a client then asks again.
    pub nonce_lifetime: Duration,
    /// How much for whom.
    pub quotas: Quotas,
    /// To whom data is forwarded. Default: to the public Internet.
    pub peers: PeerPolicy,
}

impl ServerConfig {
    /// Longest realm, in bytes: with it, the answer to the shortest Allocate request is still not thrice as long.
    pub const LONGEST_REALM: usize = 32;

    /// The defaults, for these users.
    #[must_use]
    pub fn new(users: impl IntoIterator<Item = User>) -> Self {
        Self {
            realm: "dignet".to_owned(),
            users: users.into_iter().collect(),
            secret: None,
            nonce_lifetime: Duration::from_secs(600),
            quotas: Quotas::default(),
            peers: PeerPolicy::default(),
        }
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("realm", &self.realm)
            .field("users", &self.users)
            .field("secret", &self.secret.is_some())
            .field("nonce_lifetime", &self.nonce_lifetime)
            .field("quotas", &self.quotas)
            .field("peers", &self.peers)
            .finish()
    }
}

/// Somebody with a password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub(super) name: String,
    pub(super) password: Zeroizing<String>,
}

impl User {
    /// A user.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            password: Zeroizing::new(password.into()),
        }
    }

    /// Their name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How much the relay does for whom. A network is an IPv4 address or an IPv6 /56: what one customer usually gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Allocations in all. Default: 1,024; each is a socket and a few KiB.
    pub allocations: usize,
    /// Allocations of a user. Default: 16: a node uses two servers at most, one allocation each.
    pub per_user: usize,
    /// Allocations of a network. Default: 32: many may share an address.
    pub per_network: usize,
    /// New allocations a minute for a network, and at once after a pause. Default: 60.
    pub new_per_minute: u32,
    /// Permissions, and channels, of an allocation. Default: 64: beyond that it is no peer but a scanner.
    pub peers: usize,
    /// Bytes a second that an allocation relays, both directions counted together; what is more is dropped. Default: no
    /// limit, for the operator's line sets one.
    pub bytes_per_second: Option<u64>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            allocations: 1024,
            per_user: 16,
            per_network: 32,
            new_per_minute: 60,
            peers: 64,
            bytes_per_second: None,
        }
    }
}

/// Why there is no relay with these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Neither users nor a secret: anybody could use it, or nobody.
    #[error("a relay without users serves nobody; name a user with a password, or a secret")]
    Nobody,
    /// A user name that cannot be sent.
    #[error("a user's name has 1 to 508 bytes")]
    UserName,
    /// A user without a password.
    #[error("the user {0} has no password; give one")]
    Password(String),
    /// An empty secret.
    #[error("the secret is empty; name a long random one")]
    Secret,
    /// A realm that makes answers to strangers too long, or an empty one.
    #[error("a realm has 1 to {} bytes", ServerConfig::LONGEST_REALM)]
    Realm,
}
