//! What a user asks for.

use dig_types::{
    ContentHash, ContentName, HexError, NameError, NodeId, Sha256Hash, Ticket, TicketError,
};
use std::{fmt, str::FromStr};

/// Why a text names nothing that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhatError {
    /// It starts as a ticket does, but is none.
    #[error("{0}")]
    Ticket(#[from] TicketError),
    /// What follows `sha256:` is no hash.
    #[error("after sha256: {0}")]
    Sha256(HexError),
    /// It is no name either.
    #[error("{0}")]
    Name(#[from] NameError),
    /// What follows the last `@` has 64 characters, but is no node id.
    #[error("what follows the `@` is no node id: {0}")]
    Node(HexError),
}

/// What to fetch: a ticket, a content hash, `sha256:HEX`, a name, or `NAME@NODE_ID`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum What {
    /// A ticket or magnet link: the hash, and who has it.
    Ticket(Box<Ticket>),
    /// A content hash: 64 hexadecimal digits.
    Hash(ContentHash),
    /// The SHA-256 of a whole file.
    Sha256(Sha256Hash),
    /// A name, of whoever claims it.
    Name(ContentName),
    /// A name, as that node means it.
    NameAt(ContentName, NodeId),
}

impl FromStr for What {
    type Err = WhatError;

    fn from_str(text: &str) -> Result<Self, WhatError> {
        if text.starts_with("magnet:")
            || (text.starts_with("dig1") && !text.contains(['.', '@', ' ']))
        {
            return Ok(Self::Ticket(Box::new(text.parse()?)));
        }
        if let Some(hex) = text.strip_prefix("sha256:") {
            return hex.parse().map(Self::Sha256).map_err(WhatError::Sha256);
        }
        if let Ok(hash) = text.parse() {
            return Ok(Self::Hash(hash));
        }
        match text.rsplit_once('@') {
            Some((name, node)) if node.len() == 2 * NodeId::LEN => Ok(Self::NameAt(
                name.parse()?,
                node.parse().map_err(WhatError::Node)?,
            )),
            _ => Ok(Self::Name(text.parse()?)),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticket(ticket) => match &ticket.name {
                Some(name) => write!(f, "{name}"),
                None => write!(f, "{}", ticket.hash),
            },
            Self::Hash(hash) => write!(f, "{hash}"),
            Self::Sha256(hash) => write!(f, "sha256:{hash}"),
            Self::Name(name) => write!(f, "{name}"),
            Self::NameAt(name, node) => write!(f, "{name}@{}", node.short()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_told_apart() {
        let hex = "ab".repeat(32);
        let ticket = Ticket::new(hex.parse().unwrap());
        assert_eq!(
            ticket.to_string().parse(),
            Ok(What::Ticket(Box::new(ticket.clone())))
        );
        assert_eq!(
            ticket.to_magnet().parse(),
            Ok(What::Ticket(Box::new(ticket)))
        );
        assert_eq!(hex.parse(), Ok(What::Hash(hex.parse().unwrap())));
        assert_eq!(
            format!("sha256:{hex}").parse(),
            Ok(What::Sha256(hex.parse().unwrap()))
        );
        let name: ContentName = "my@movie.mp4".parse().unwrap();
        assert_eq!("my@movie.mp4".parse(), Ok(What::Name(name.clone())));
        assert_eq!(
            format!("my@movie.mp4@{hex}").parse(),
            Ok(What::NameAt(name, hex.parse().unwrap()))
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert!(matches!(
            "dig1abc".parse::<What>(),
            Err(WhatError::Ticket(TicketError::Checksum))
        ));
        assert!(matches!(
            "sha256:12".parse::<What>(),
            Err(WhatError::Sha256(_))
        ));
        assert!(matches!(
            "../etc/passwd".parse::<What>(),
            Err(WhatError::Name(NameError::Separator))
        ));
        assert!(matches!(
            format!("x@{}", "zz".repeat(32)).parse::<What>(),
            Err(WhatError::Node(_))
        ));
    }
}
