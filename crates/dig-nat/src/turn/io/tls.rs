//! TLS towards a TURN server: its name is proven by a certificate that this system trusts.

use rustls::{
    ClientConfig, RootCertStore, crypto::aws_lc_rs::default_provider, pki_types::CertificateDer,
    pki_types::ServerName,
};
use std::{io, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Opens TLS over a connection. `roots` are trusted beside those of the system, each a certificate in DER.
pub(super) async fn open(
    stream: TcpStream,
    host: &str,
    roots: &[Vec<u8>],
) -> Result<TlsStream<TcpStream>, TlsError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name)?;
    let roots = roots.to_vec();
    // The system's roots are files.
    let config = tokio::task::spawn_blocking(move || config(&roots)).await;
    let config = config.map_err(|_| TlsError::NoRoots)??;
    let connector = TlsConnector::from(Arc::new(config));
    Ok(connector.connect(name, stream).await?)
}

fn config(roots: &[Vec<u8>]) -> Result<ClientConfig, TlsError> {
    let mut store = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(system.certs);
    store.add_parsable_certificates(roots.iter().map(|der| CertificateDer::from(der.clone())));
    if store.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Refused(io::Error::other(error)))?;
    Ok(config.with_root_certificates(store).with_no_client_auth())
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("the TURN server's host is no name that a certificate can have")]
    Name,
    #[error(
        "this system trusts no certificate authorities; install them, or name a file of them in SSL_CERT_FILE"
    )]
    NoRoots,
    #[error("TLS with the TURN server fails: {0}")]
    Refused(#[from] io::Error),
}
