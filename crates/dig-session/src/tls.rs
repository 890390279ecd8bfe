//! TLS 1.3 as lanes use it (`docs/protocol.md` §2): one protocol name, certificates both ways, nothing resumed.

mod failure;
mod keeper;
mod verifier;

pub(crate) use failure::{quic_failure, stream_failure};
pub(crate) use keeper::CertificateKeeper;
pub(crate) use verifier::{Expected, PeerFault, PeerSlot};

use dig_identity::certificate::IssueError;
use dig_types::Clock;
use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};
use std::sync::Arc;
use verifier::Verifier;

/// The protocol's name in the handshake (RFC 7301).
pub(crate) const ALPN: &[u8] = b"dig/1";

/// A server name for the interface of the TLS library; it is never sent.
pub(crate) const SERVER_NAME: &str = "dig";

/// Makes the TLS configuration of each connection: its verifier remembers whom it saw.
#[derive(Debug)]
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    clock: Arc<dyn Clock>,
}

impl Tls {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        let aes = has_aes();
        provider
            .cipher_suites
            .retain(|suite| suite.tls13().is_some());
        // AES-128-GCM moves twice as much as ChaCha20 where the CPU has AES, a third as much where it has not.
        provider.cipher_suites.sort_by_key(|suite| {
            let preferred = match suite.suite() {
                rustls::CipherSuite::TLS13_AES_128_GCM_SHA256 => 0,
                rustls::CipherSuite::TLS13_AES_256_GCM_SHA384 => 1,
                _ => 2,
            };
            if aes { preferred } else { 2 - preferred }
        });
        Self {
            provider: Arc::new(provider),
            clock,
        }
    }

    pub(crate) fn provider(&self) -> &CryptoProvider {
        &self.provider
    }

    /// For dialling: the peer must be whom `slot` expects.
    pub(crate) fn client(
        &self,
        own: &Arc<CertifiedKey>,
        slot: &Arc<PeerSlot>,
    ) -> Result<ClientConfig, rustls::Error> {
        let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(own)));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(slot))
            .with_client_cert_resolver(resolver);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// For accepting: the peer must have a certificate.
    pub(crate) fn server(
        &self,
        own: &Arc<CertifiedKey>,
        slot: &Arc<PeerSlot>,
    ) -> Result<ServerConfig, rustls::Error> {
        let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(own)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(self.verifier(slot))
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn verifier(&self, slot: &Arc<PeerSlot>) -> Arc<Verifier> {
        Arc::new(Verifier::new(
            Arc::clone(&self.provider),
            Arc::clone(&self.clock),
            Arc::clone(slot),
        ))
    }
}

/// Why this side has no certificate to show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnCertificateError {
    /// The identity did not vouch for one.
    #[error("no certificate could be made of this node's identity: {0}")]
    Issue(#[from] IssueError),
    /// The TLS library refused it.
    #[error("the TLS library refused this node's certificate: {0}")]
    Library(String),
}

/// Whether the CPU encrypts AES in hardware.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}
