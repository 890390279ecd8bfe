//! Checks the certificates of peers: the identity in them, not their issuer.

use dig_identity::{
    PublicKey,
    certificate::{self, CertificateError},
};
use dig_types::{Clock, NodeId};
use rustls::{
    CertificateError as TlsCertificateError, DigitallySignedStruct, DistinguishedName, Error,
    OtherError, PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use std::sync::{Arc, Mutex, PoisonError};

/// Who may be at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Anyone who has an identity.
    Anyone,
    /// Only this node.
    Node(NodeId),
}

/// Why a peer's certificate was refused here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PeerFault {
    #[error("the certificate is refused: {0}")]
    Certificate(#[from] CertificateError),
    #[error("{0} certificates, where exactly one is required")]
    Chain(usize),
    #[error("expected {expected}, found {found}")]
    WrongIdentity { expected: NodeId, found: NodeId },
}

/// Whom one connection expects, and whom it saw.
///
/// What it saw is proved only when the handshake has succeeded: the peer's possession of the certificate's key is
/// checked after its certificate.
#[derive(Debug)]
pub(crate) struct PeerSlot {
    expected: Expected,
    seen: Mutex<Option<Result<PublicKey, PeerFault>>>,
}

impl PeerSlot {
    pub(crate) fn new(expected: Expected) -> Arc<Self> {
        Arc::new(Self {
            expected,
            seen: Mutex::new(None),
        })
    }

    /// What the verifier found; `None` if no certificate came.
    pub(crate) fn seen(&self) -> Option<Result<PublicKey, PeerFault>> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, found: Result<PublicKey, PeerFault>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }
}

#[derive(Debug)]
pub(crate) struct Verifier {
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
    slot: Arc<PeerSlot>,
}

impl Verifier {
    pub(crate) fn new(
        provider: Arc<CryptoProvider>,
        clock: Arc<dyn Clock>,
        slot: Arc<PeerSlot>,
    ) -> Self {
        Self {
            provider,
            clock,
            slot,
        }
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let found = self.identify(certificate, intermediates);
        let verdict = found.as_ref().map(|_| ()).map_err(|fault| alert(*fault));
        self.slot.note(found);
        verdict
    }

    fn identify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<PublicKey, PeerFault> {
        if !intermediates.is_empty() {
            return Err(PeerFault::Chain(1 + intermediates.len()));
        }
        let key = certificate::verify(certificate, self.clock.now())?;
        let found = key.node_id();
        match self.slot.expected {
            Expected::Node(expected) if expected != found => {
                Err(PeerFault::WrongIdentity { expected, found })
            }
            Expected::Anyone | Expected::Node(_) => Ok(key),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The form that tells the other side, by its TLS alert, what is wrong: expired, somebody else, or refused.
fn alert(fault: PeerFault) -> Error {
    Error::InvalidCertificate(match fault {
        PeerFault::Certificate(CertificateError::Expired | CertificateError::NotYetValid) => {
            TlsCertificateError::Expired
        }
        PeerFault::WrongIdentity { .. } => TlsCertificateError::ApplicationVerificationFailure,
        PeerFault::Certificate(_) | PeerFault::Chain(_) => {
            TlsCertificateError::Other(OtherError(Arc::new(fault)))
        }
    })
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
