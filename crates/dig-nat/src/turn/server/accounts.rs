//! Who may use the relay: users with a password, and whoever shows a credential that a shared secret made.

use super::config::{ConfigError, ServerConfig};
use aws_lc_rs::hmac;
use std::{collections::BTreeMap, fmt};
use stun_types::message::{IntegrityAlgorithm, IntegrityKey, LongTermKeyCredentials};

/// Longest user name, in bytes (RFC 8489 §14.3).
const LONGEST_NAME: usize = 508;

/// The credentials that are accepted.
pub(super) struct Accounts {
    realm: String,
    users: BTreeMap<String, IntegrityKey>,
    secret: Option<hmac::Key>,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts")
            .field("users", &self.users.keys())
            .field("secret", &self.secret.is_some())
            .finish_non_exhaustive()
    }
}

/// Somebody whose name is known; the key tells whether it is them.
pub(super) struct Known {
    /// What their requests and our answers are proved with.
    pub(super) key: IntegrityKey,
    /// Under which name they are counted: of a time-limited credential what stands behind the time, so that renewing it
    /// makes nobody a second user.
    pub(super) account: String,
    /// Whether the credential's time is over.
    pub(super) expired: bool,
}

impl Accounts {
    pub(super) fn new(config: &ServerConfig) -> Result<Self, ConfigError> {
        let mut users = BTreeMap::new();
        for user in &config.users {
            if user.name.is_empty() || user.name.len() > LONGEST_NAME {
                return Err(ConfigError::UserName);
            }
            if user.password.is_empty() {
                return Err(ConfigError::Password(user.name.clone()));
            }
            let key = key(&user.name, user.password.as_str(), &config.realm);
            users.insert(user.name.clone(), key);
        }
        let secret = match &config.secret {
            Some(secret) if secret.is_empty() => return Err(ConfigError::Secret),
            Some(secret) => Some(hmac::Key::new(
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                secret.as_bytes(),
            )),
            None => None,
        };
        if users.is_empty() && secret.is_none() {
            return Err(ConfigError::Nobody);
        }
        Ok(Self {
            realm: config.realm.clone(),
            users,
            secret,
        })
    }

    /// Who has this name at `unix` seconds.
    pub(super) fn find(&self, unix: u64, name: &str) -> Option<Known> {
        if let Some(key) = self.users.get(name) {
            return Some(Known {
                key: key.clone(),
                account: name.to_owned(),
                expired: false,
            });
        }
        let secret = self.secret.as_ref()?;
        let (expiry, account) = name.split_once(':').unwrap_or((name, ""));
        let expiry: u64 = expiry.parse().ok()?;
        let account = if account.is_empty() { name } else { account };
        Some(Known {
            key: key(name, &password(secret, name), &self.realm),
            account: account.to_owned(),
            expired: expiry <= unix,
        })
    }
}

/// The password of a time-limited credential (draft-uberti-behave-turn-rest-00, as coturn has it): `name` is a time in Unix
/// seconds, with or without `:` and anything behind it.
#[must_use]
pub fn time_limited_password(secret: &str, name: &str) -> String {
    password(
        &hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes()),
        name,
    )
}

fn password(secret: &hmac::Key, name: &str) -> String {
    base64(hmac::sign(secret, name.as_bytes()).as_ref())
}

fn key(name: &str, password: &str, realm: &str) -> IntegrityKey {
    LongTermKeyCredentials::new(name.to_owned(), password.to_owned(), realm.to_owned())
        .make_key(IntegrityAlgorithm::Sha1)
}

/// Base64 with padding (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place > three.len() {
                '='
            } else {
                letter.into()
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::server::User;

    fn accounts() -> Accounts {
        let mut config = ServerConfig::new([User::new("alice", "wonderland")]);
        config.secret = Some("north".to_owned().into());
        Accounts::new(&config).unwrap()
    }

    #[test]
    fn passwords_of_the_secret_are_those_that_coturn_makes() {
        // echo -n 1700000000:bob | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(
            time_limited_password("north", "1700000000:bob"),
            "7tNSWpJ3gOxGfEgOjt+kaWhBC20="
        );
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text, "RFC 4648 section 10");
        }
    }

    #[test]
    fn a_renewed_credential_is_the_same_account() {
        let accounts = accounts();
        let account = |unix, name| {
            accounts
                .find(unix, name)
                .map(|known| (known.account, known.expired))
        };
        let bob = "bob".to_owned();
        assert_eq!(
            account(1_699_999_999, "1700000000:bob"),
            Some((bob.clone(), false))
        );
        assert_eq!(account(1_700_000_000, "1700000000:bob"), Some((bob, true)));
        assert_eq!(
            account(5, "1700000000"),
            Some(("1700000000".to_owned(), false))
        );
        assert_eq!(account(5, "alice"), Some(("alice".to_owned(), false)));
        for stranger in [
            "bob",
            "",
            ":",
            "x:bob",
            "-1:bob",
            "99999999999999999999:bob",
            "alice ",
        ] {
            assert_eq!(account(5, stranger), None, "{stranger:?}");
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let text = format!("{:?}", accounts());
        assert!(
            !text.contains("wonderland") && !text.contains("north"),
            "{text}"
        );
    }

    #[test]
    fn a_relay_for_everybody_is_refused() {
        let refused = |config: &ServerConfig| Accounts::new(config).err();
        let mut config = ServerConfig::new([]);
        assert_eq!(refused(&config), Some(ConfigError::Nobody));
        config.secret = Some(String::new().into());
        assert_eq!(refused(&config), Some(ConfigError::Secret));
        let config = ServerConfig::new([User::new("", "x")]);
        assert_eq!(refused(&config), Some(ConfigError::UserName));
        let config = ServerConfig::new([User::new("x", "")]);
        assert_eq!(
            refused(&config),
            Some(ConfigError::Password("x".to_owned()))
        );
    }
}
