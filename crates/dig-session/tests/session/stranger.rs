//! A peer that speaks TLS correctly and everything above it as the test likes.

use bytes::BytesMut;
use dig_identity::{Algorithm, CryptoIdentity, Signer as _, certificate};
use dig_session::wire::{self, Bye, FrameDecoder, Hello};
use dig_types::{Clock as _, Frame, InstanceId, NodeId, SystemClock, Timestamp};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use std::{io, sync::Arc, time::Duration};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// How the stranger behaves in TLS.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    pub(crate) alpn: Vec<Vec<u8>>,
    /// When its certificate was issued; `None` for no certificate.
    pub(crate) issued: Option<Timestamp>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            alpn: vec![b"dig/1".to_vec()],
            issued: Some(SystemClock.now()),
        }
    }
}

pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<W: AsyncRead + AsyncWrite + Send + Unpin> Wire for W {}

pub(crate) struct Stranger {
    pub(crate) node: NodeId,
    pub(crate) stream: TlsStream<Box<dyn Wire>>,
    decoder: FrameDecoder,
}

impl Manners {
    fn certificate(
        &self,
        identity: &CryptoIdentity,
    ) -> (Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>) {
        let issued = self.issued.unwrap_or_else(|| SystemClock.now());
        let own = certificate::issue(identity, issued, Duration::from_secs(3600)).unwrap();
        (
            vec![own.der.into()],
            PrivatePkcs8KeyDer::from(own.private_key.to_vec()),
        )
    }

    pub(crate) fn client(&self, identity: &CryptoIdentity) -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting));
        let mut config = if self.issued.is_some() {
            let (chain, key) = self.certificate(identity);
            builder.with_client_auth_cert(chain, key.into()).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }

    pub(crate) fn server(&self, identity: &CryptoIdentity) -> ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (chain, key) = self.certificate(identity);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(Trusting))
            .with_single_cert(chain, key.into())
            .unwrap();
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }
}

pub(crate) fn identity() -> CryptoIdentity {
    CryptoIdentity::generate(Algorithm::Ed25519).unwrap()
}

impl Stranger {
    pub(crate) async fn dial(stream: impl Wire + 'static, manners: &Manners) -> io::Result<Self> {
        let identity = identity();
        let connector = TlsConnector::from(Arc::new(manners.client(&identity)));
        let stream: Box<dyn Wire> = Box::new(stream);
        let stream = connector
            .connect(ServerName::try_from("dig").unwrap(), stream)
            .await?;
        Ok(Self::over(stream.into(), identity.node_id()))
    }

    pub(crate) async fn answer(stream: impl Wire + 'static, manners: &Manners) -> io::Result<Self> {
        let identity = identity();
        let acceptor = TlsAcceptor::from(Arc::new(manners.server(&identity)));
        let stream: Box<dyn Wire> = Box::new(stream);
        Ok(Self::over(
            acceptor.accept(stream).await?.into(),
            identity.node_id(),
        ))
    }

    fn over(stream: TlsStream<Box<dyn Wire>>, node: NodeId) -> Self {
        Self {
            node,
            stream,
            decoder: FrameDecoder::default(),
        }
    }

    /// A correct HELLO.
    pub(crate) fn hello() -> Frame {
        Hello {
            min_version: 1,
            max_version: 1,
            instance: InstanceId::from_bytes([9; 16]),
            demands_auth: false,
            serves: true,
            max_requests: 7,
            port: 99,
        }
        .frame(u64::MAX << 2, (0xF001, b"x"))
    }

    pub(crate) async fn send(&mut self, frame: &Frame) {
        self.send_bytes(&[&frame.header()[..], &frame.payload].concat())
            .await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next frame that is no noise; `None` at the end.
    pub(crate) async fn receive(&mut self) -> Option<Frame> {
        loop {
            match self.decoder.next().unwrap() {
                Some(frame) if frame.kind.0 >= 0xF001 => {}
                Some(frame) => return Some(frame),
                None => {
                    let mut more = BytesMut::new();
                    match self.stream.read_buf(&mut more).await {
                        Ok(1..) => self.decoder.spare().extend_from_slice(&more),
                        Ok(0) | Err(_) => return None,
                    }
                }
            }
        }
    }

    /// The BYE that ends the lane, skipping what comes before it.
    pub(crate) async fn bye(&mut self) -> Option<Bye> {
        while let Some(frame) = self.receive().await {
            if frame.kind == wire::BYE {
                return Bye::decode(&frame.payload);
            }
        }
        None
    }
}

/// Takes every certificate, but checks that the peer holds its key.
#[derive(Debug)]
struct Trusting;

impl Trusting {
    fn check(
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn schemes() -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("TLS 1.3 only")
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

impl ClientCertVerifier for Trusting {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("TLS 1.3 only")
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}
