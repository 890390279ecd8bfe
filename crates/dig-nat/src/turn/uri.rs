//! The name of a TURN server and what opens it: `turn:USER:PASSWORD@HOST:PORT?transport=udp|tcp|tls`.
//!
//! That is the `turn` scheme of RFC 7065 with credentials in front, which that RFC leaves to other means.

use std::{fmt, net::Ipv6Addr, str::FromStr, time::Duration};
use zeroize::Zeroizing;

/// How the client speaks to its TURN server; peers are always reached by UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TurnTransport {
    /// Datagrams: the least delay.
    Udp,
    /// A TCP connection, for networks that let no UDP out.
    Tcp,
    /// TLS over TCP, for networks that let out nothing but what looks like the web.
    Tls,
}

impl TurnTransport {
    /// The port where none is named: 3478, or 5349 for TLS (RFC 8656 §17).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 3478,
            Self::Tls => 5349,
        }
    }

    /// As written in a URI.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for TurnTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A TURN server with credentials. Neither `Debug` nor `Display` shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnServer {
    username: String,
    password: Zeroizing<String>,
    host: String,
    port: u16,
    transport: TurnTransport,
}

/// Longest username in bytes (RFC 8489 §14.3).
const MAX_USERNAME: usize = 508;
/// Longest password in bytes that is accepted; what RFC 8489 §9.2 leaves open has to end somewhere.
const MAX_PASSWORD: usize = 1024;
/// Longest host name (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

impl TurnServer {
    /// A server by its parts. `host` is a name or an address, IPv6 without brackets.
    pub fn new(
        username: impl Into<String>,
        password: impl Into<String>,
        host: impl Into<String>,
        port: u16,
        transport: TurnTransport,
    ) -> Result<Self, TurnServerError> {
        let password = Zeroizing::new(password.into());
        let (username, host) = (username.into(), host.into());
        if username.is_empty() || username.len() > MAX_USERNAME {
            return Err(TurnServerError::Username);
        }
        if password.is_empty() || password.len() > MAX_PASSWORD {
            return Err(TurnServerError::Password);
        }
        let named = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let is_host = !host.is_empty() && host.len() <= MAX_HOST && host.chars().all(named);
        if !is_host && host.parse::<Ipv6Addr>().is_err() {
            return Err(TurnServerError::Host);
        }
        if port == 0 {
            return Err(TurnServerError::Port);
        }
        Ok(Self {
            username,
            password,
            host,
            port,
            transport,
        })
    }

    /// Who we are there.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The secret.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// A name or an address; IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The server's port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How to speak to it.
    pub const fn transport(&self) -> TurnTransport {
        self.transport
    }

    /// When these credentials run out, in time since 1970, if they are of the kind that does: a username `EXPIRY` or `EXPIRY:NAME`,
    /// as servers with a shared secret give them (coturn's `use-auth-secret`).
    pub fn expiry(&self) -> Option<Duration> {
        let stamp = self.username.split(':').next()?;
        // Shorter numbers are names that somebody likes; ten digits are this century.
        let plausible = stamp.len() == 10 && stamp.bytes().all(|byte| byte.is_ascii_digit());
        plausible
            .then(|| stamp.parse().ok().map(Duration::from_secs))
            .flatten()
    }
}

impl fmt::Debug for TurnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnServer")
            .field("username", &self.username)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TurnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("turn:")?;
        for byte in self.username.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    write!(f, "{}", char::from(byte))?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        let Self {
            host,
            port,
            transport,
            ..
        } = self;
        write!(f, "@{open}{host}{close}:{port}?transport={transport}")
    }
}

impl FromStr for TurnServer {
    type Err = TurnServerError;

    /// Reads `turn:USER:PASSWORD@HOST[:PORT][?transport=udp|tcp|tls]`; `turns:` means TLS. The user ends at the first colon, so
    /// a colon in it is written `%3A`; the password ends at the last `@`. Both are percent-decoded.
    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = uri.split_once(':').ok_or(TurnServerError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "turn" => false,
            "turns" => true,
            _ => return Err(TurnServerError::Scheme),
        };
        let (user, place) = rest.rsplit_once('@').ok_or(TurnServerError::Credentials)?;
        let (username, password) = user.split_once(':').ok_or(TurnServerError::Credentials)?;
        let (place, query) = match place.split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (place, None),
        };
        let transport = transport(secure, query)?;
        let (host, port) = split_port(place)?;
        Self::new(
            decode(username)?,
            decode(password)?,
            host,
            port.unwrap_or(transport.default_port()),
            transport,
        )
    }
}

fn transport(secure: bool, query: Option<&str>) -> Result<TurnTransport, TurnServerError> {
    let transport = match query {
        None if secure => TurnTransport::Tls,
        None => TurnTransport::Udp,
        Some(query) => match query.strip_prefix("transport=") {
            // RFC 7065: `turns` with TCP is TLS.
            Some("tcp") if secure => TurnTransport::Tls,
            Some("udp") if !secure => TurnTransport::Udp,
            Some("tcp") => TurnTransport::Tcp,
            Some("tls") => TurnTransport::Tls,
            // That would be DTLS.
            _ => return Err(TurnServerError::Transport),
        },
    };
    Ok(transport)
}

fn split_port(place: &str) -> Result<(&str, Option<u16>), TurnServerError> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(TurnServerError::Host)?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(TurnServerError::Host);
        }
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(TurnServerError::Host),
        }
    } else {
        match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        }
    };
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match port {
        None => Ok((host, None)),
        Some(port) if digits(port) => {
            Ok((host, Some(port.parse().map_err(|_| TurnServerError::Port)?)))
        }
        Some(_) => Err(TurnServerError::Port),
    }
}

/// Undoes percent-encoding (RFC 3986 §2.1).
fn decode(text: &str) -> Result<String, TurnServerError> {
    let digit = |byte: Option<u8>| {
        byte.and_then(|byte| char::from(byte).to_digit(16))
            .ok_or(TurnServerError::Encoding)
    };
    let mut bytes = text.bytes();
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8,
            byte => byte,
        });
    }
    let text = std::str::from_utf8(&decoded).map_err(|_| TurnServerError::Encoding)?;
    Ok(text.to_owned())
}

/// Why a text names no TURN server. None of these repeats the text, which has a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TurnServerError {
    /// Another scheme, or none.
    #[error("a TURN server begins with turn: or turns:, as turn:USER:PASSWORD@HOST:PORT")]
    Scheme,
    /// No user and password before an `@`.
    #[error("a TURN server needs credentials: turn:USER:PASSWORD@HOST:PORT")]
    Credentials,
    /// An empty or overlong username.
    #[error("the TURN username must have 1 to {MAX_USERNAME} bytes")]
    Username,
    /// An empty or overlong password.
    #[error("the TURN password must have 1 to {MAX_PASSWORD} bytes")]
    Password,
    /// Neither a host name nor an address.
    #[error(
        "the TURN server's host must be a name, an IPv4 address, or an IPv6 address in brackets"
    )]
    Host,
    /// Not 1 to 65535.
    #[error("the TURN server's port must be a number from 1 to 65535")]
    Port,
    /// An unknown transport.
    #[error("the TURN server's transport must be ?transport=udp, tcp or tls (turns: is tls)")]
    Transport,
    /// A broken percent-encoding.
    #[error(
        "a percent sign in TURN credentials is written %25, and every %XX is one byte of UTF-8"
    )]
    Encoding,
}

#[cfg(test)]
mod tests;
