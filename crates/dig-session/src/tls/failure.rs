//! What a failed TLS or QUIC handshake means.

use super::{PeerFault, PeerSlot};
use crate::{
    handshake::{HandshakeError, Stage},
    wire::{Bye, ByeCode},
};
use dig_identity::certificate::CertificateError;
use quinn::ConnectionError;
use rustls::{AlertDescription, Error};
use std::{io, ops::Range};

/// QUIC error codes that carry a TLS alert (RFC 9001 §4.8).
const CRYPTO_ERRORS: Range<u64> = 0x100..0x200;

/// QUIC's CONNECTION_REFUSED (RFC 9000 §20.1).
const CONNECTION_REFUSED: u64 = 0x2;

/// What the failure of a TLS stream means.
pub(crate) fn stream_failure(error: io::Error, slot: &PeerSlot) -> HandshakeError {
    if let Some(Err(fault)) = slot.seen() {
        return fault.into();
    }
    match tls_error(&error) {
        Some(Error::AlertReceived(alert)) => received(*alert),
        Some(Error::NoCertificatesPresented) => HandshakeError::NoCertificate,
        Some(other) => HandshakeError::NotDig(other.to_string()),
        None => HandshakeError::Broken(error),
    }
}

/// What the failure of a QUIC connection means.
pub(crate) fn quic_failure(error: ConnectionError, slot: &PeerSlot) -> HandshakeError {
    if let Some(Err(fault)) = slot.seen() {
        return fault.into();
    }
    match error {
        ConnectionError::TimedOut => HandshakeError::Timeout(Stage::Connect),
        ConnectionError::VersionMismatch => {
            HandshakeError::NotDig("it speaks no QUIC version 1".into())
        }
        ConnectionError::ApplicationClosed(close) => {
            let code = u16::try_from(close.error_code.into_inner()).unwrap_or(u16::MAX);
            let text = String::from_utf8_lossy(&close.reason);
            let Bye { code, text } = Bye::new(ByeCode(code), &text);
            HandshakeError::RefusedByPeer { code, text }
        }
        ConnectionError::ConnectionClosed(close) => match u64::from(close.error_code) {
            CONNECTION_REFUSED => HandshakeError::RefusedByPeer {
                code: ByeCode::TOO_MANY_LANES,
                text: "busy, try again".into(),
            },
            code if CRYPTO_ERRORS.contains(&code) => received(alert(code)),
            _ => HandshakeError::Broken(io::Error::other(close.to_string())),
        },
        ConnectionError::TransportError(own) => match u64::from(own.code) {
            code if alert(code) == AlertDescription::CertificateRequired => {
                HandshakeError::NoCertificate
            }
            code if CRYPTO_ERRORS.contains(&code) => HandshakeError::NotDig(own.reason),
            _ => HandshakeError::Broken(io::Error::other(own)),
        },
        other => HandshakeError::Broken(other.into()),
    }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn alert(code: u64) -> AlertDescription {
    AlertDescription::from(code.to_be_bytes()[7])
}

/// What the other side's alert says about us.
fn received(alert: AlertDescription) -> HandshakeError {
    match alert {
        AlertDescription::CertificateExpired => {
            HandshakeError::CertificateRefused("expired or not valid yet".into())
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::DecryptError => {
            HandshakeError::CertificateRefused("it does not accept it".into())
        }
        AlertDescription::CertificateRequired => {
            HandshakeError::CertificateRefused("it saw none".into())
        }
        AlertDescription::AccessDenied => HandshakeError::NotExpectedHere,
        other => HandshakeError::NotDig(format!("TLS alert {other:?}")),
    }
}

impl From<PeerFault> for HandshakeError {
    fn from(fault: PeerFault) -> Self {
        match fault {
            PeerFault::Certificate(CertificateError::Expired | CertificateError::NotYetValid) => {
                Self::CertificateExpired
            }
            PeerFault::Certificate(error) => Self::BadCertificate(error),
            PeerFault::Chain(count) => Self::CertificateChain(count),
            PeerFault::WrongIdentity { expected, found } => Self::WrongIdentity { expected, found },
        }
    }
}
