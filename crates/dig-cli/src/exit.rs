//! How a run ends: exit codes, and what an error tells people and programs.

use dig::{
    DownloadError, DownloadErrorKind, ExamineError, ShareError, SpoolError, StartError,
    nat::{report::io::DiscoverError, stun::io::ServeError},
};
use std::{fmt, process::ExitCode};

/// Why a run failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// The class of a failure; its number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Other = 1,
    Usage = 2,
    NotFound = 3,
    Connect = 4,
    Verification = 5,
    Local = 6,
    Refused = 7,
    Interrupted = 130,
}

impl Kind {
    /// The word in JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::Connect => "connect",
            Self::Verification => "verification",
            Self::Local => "local",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
            hint: None,
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.kind as u8)
    }
}

impl From<DownloadError> for Failure {
    fn from(error: DownloadError) -> Self {
        let kind = match error.kind() {
            DownloadErrorKind::Usage => Kind::Usage,
            DownloadErrorKind::NotFound => Kind::NotFound,
            DownloadErrorKind::Connect => Kind::Connect,
            DownloadErrorKind::Verification => Kind::Verification,
            DownloadErrorKind::Local => Kind::Local,
            DownloadErrorKind::Refused => Kind::Refused,
            DownloadErrorKind::Cancelled => Kind::Interrupted,
            _ => Kind::Other,
        };
        let hint = error.hint();
        Self {
            hint,
            ..Self::new(kind, error)
        }
    }
}

impl From<ShareError> for Failure {
    fn from(error: ShareError) -> Self {
        let kind = if error.is_cancelled() {
            Kind::Interrupted
        } else {
            Kind::Local
        };
        Self::new(kind, error)
    }
}

impl From<SpoolError> for Failure {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Share(error) => error.into(),
            error => Self::new(Kind::Local, error),
        }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        let kind = match error {
            ServeError::Addresses(..) => Kind::Usage,
            _ => Kind::Local,
        };
        Self::new(kind, error)
    }
}

impl From<ExamineError> for Failure {
    fn from(error: ExamineError) -> Self {
        let kind = match error {
            ExamineError::Discover(DiscoverError::NoServers) => Kind::Usage,
            _ => Kind::Connect,
        };
        Self::new(kind, error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(Kind::Local, error)
    }
}
