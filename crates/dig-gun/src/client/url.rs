//! Where a relay is.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// The address of a Gun relay, as `wss://relay.example/gun` or, as gun.js writes it, `https://relay.example/gun`.
///
/// Without a port it is 80, or 443 for `wss`; without a path it is `/gun`. Printed it always is `ws://` or `wss://`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayUrl {
    secure: bool,
    host: String,
    port: u16,
    path: String,
}

/// Longest host name (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;
/// Longest path with its query; gun.js has none longer than `/gun`.
const MAX_PATH: usize = 512;

impl RelayUrl {
    /// The path at which gun.js serves.
    pub const DEFAULT_PATH: &'static str = "/gun";

    /// Whether TLS is laid beneath.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// A name or an address; IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The relay's TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path, and the query if there is one.
    pub fn path(&self) -> &str {
        &self.path
    }

    const fn default_port(secure: bool) -> u16 {
        if secure { 443 } else { 80 }
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "wss://" } else { "ws://" })?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if self.port != Self::default_port(self.secure) {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

impl fmt::Debug for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").ok_or(RelayUrlError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(RelayUrlError::Scheme),
        };
        if rest.contains('#') {
            return Err(RelayUrlError::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (place, path) = rest.split_at(end);
        if place.contains('@') {
            return Err(RelayUrlError::Credentials);
        }
        let (host, port) = split_port(place)?;
        Ok(Self {
            secure,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(Self::default_port(secure)),
            path: whole_path(path)?,
        })
    }
}

fn split_port(place: &str) -> Result<(&str, Option<u16>), RelayUrlError> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(RelayUrlError::Host)?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(RelayUrlError::Host);
        }
        match rest.strip_prefix(':') {
            None if !rest.is_empty() => return Err(RelayUrlError::Host),
            port => (host, port),
        }
    } else {
        let (host, port) = match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        };
        let named = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if host.is_empty() || host.len() > MAX_HOST || !host.chars().all(named) {
            return Err(RelayUrlError::Host);
        }
        (host, port)
    };
    let Some(port) = port else {
        return Ok((host, None));
    };
    // `u16::from_str` takes a sign.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RelayUrlError::Port);
    }
    match port.parse() {
        Ok(0) | Err(_) => Err(RelayUrlError::Port),
        Ok(port) => Ok((host, Some(port))),
    }
}

/// The path with the default where there is none, or only the slash that programs put behind a host.
fn whole_path(path: &str) -> Result<String, RelayUrlError> {
    let allowed = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}".contains(c);
    if path.len() > MAX_PATH || !path.chars().all(allowed) {
        return Err(RelayUrlError::Path);
    }
    let query = path.strip_prefix('/').unwrap_or(path);
    Ok(match query.as_bytes().first() {
        None | Some(b'?') => format!("{}{query}", RelayUrl::DEFAULT_PATH),
        Some(_) => path.to_owned(),
    })
}

/// Why a text is no address of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayUrlError {
    /// Another scheme, or none.
    #[error(
        "a Gun relay is written ws://HOST:PORT/gun or wss://HOST/gun (http and https mean the same)"
    )]
    Scheme,
    /// Neither a host name nor an address.
    #[error("the Gun relay's host must be a name, an IPv4 address, or an IPv6 address in brackets")]
    Host,
    /// Not 1 to 65535.
    #[error("the Gun relay's port must be a number from 1 to 65535")]
    Port,
    /// A path with characters that a URL cannot have, or an overlong one.
    #[error(
        "the Gun relay's path must be at most {MAX_PATH} characters that a URL may have; without one it is /gun"
    )]
    Path,
    /// A user or a password in front of the host.
    #[error("a Gun relay takes no user name or password in its address")]
    Credentials,
    /// Something after a `#`.
    #[error("the address of a Gun relay must not contain a #")]
    Fragment,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_gun_js_writes_them_and_as_they_are() {
        for (written, meant) in [
            ("http://localhost:8765/gun", "ws://localhost:8765/gun"),
            ("https://Relay.Example/gun", "wss://relay.example/gun"),
            ("ws://10.0.0.1", "ws://10.0.0.1/gun"),
            ("WSS://relay.example/", "wss://relay.example/gun"),
            ("wss://relay.example:443", "wss://relay.example/gun"),
            ("ws://relay.example:443", "ws://relay.example:443/gun"),
            ("ws://[::1]:8765", "ws://[::1]:8765/gun"),
            (
                "ws://[2001:db8::1]/other?x=1",
                "ws://[2001:db8::1]/other?x=1",
            ),
            ("ws://h?key=1", "ws://h/gun?key=1"),
        ] {
            let url: RelayUrl = written.parse().unwrap();
            assert_eq!(url.to_string(), meant, "{written}");
            assert_eq!(meant.parse::<RelayUrl>().unwrap(), url, "{written}");
        }
    }

    #[test]
    fn what_is_none() {
        for (written, error) in [
            ("localhost:8765", RelayUrlError::Scheme),
            ("ftp://localhost", RelayUrlError::Scheme),
            ("", RelayUrlError::Scheme),
            ("ws://", RelayUrlError::Host),
            ("ws:///gun", RelayUrlError::Host),
            ("ws://a b/gun", RelayUrlError::Host),
            ("ws://::1/gun", RelayUrlError::Host),
            ("ws://[::1", RelayUrlError::Host),
            ("ws://[::1]8765", RelayUrlError::Host),
            ("ws://[host]", RelayUrlError::Host),
            ("ws://h:0", RelayUrlError::Port),
            ("ws://h:65536", RelayUrlError::Port),
            ("ws://h:+80", RelayUrlError::Port),
            ("ws://h:", RelayUrlError::Port),
            ("ws://h/gun\r\nX: y", RelayUrlError::Path),
            ("ws://h/gün", RelayUrlError::Path),
            ("ws://user:secret@h/gun", RelayUrlError::Credentials),
            ("ws://h/gun#x", RelayUrlError::Fragment),
        ] {
            assert_eq!(written.parse::<RelayUrl>(), Err(error), "{written}");
        }
        let long = format!("ws://h/{}", "a".repeat(MAX_PATH));
        assert_eq!(long.parse::<RelayUrl>(), Err(RelayUrlError::Path));
        let long = format!("ws://{}", "a".repeat(MAX_HOST + 1));
        assert_eq!(long.parse::<RelayUrl>(), Err(RelayUrlError::Host));
    }
}
