//! Opens WebSockets to relays.

use super::RelayUrl;
use futures::{SinkExt, StreamExt, future::select_ok, stream::SplitSink, stream::SplitStream};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName},
};
use std::{
    collections::VecDeque,
    fmt::{self, Debug},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::OnceCell,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Bytes, Error, Message, Utf8Bytes, error::CapacityError, protocol::WebSocketConfig,
    },
};

/// Longest wait for a connection that is ready for use: names, TCP, TLS and the WebSocket's opening together.
const PATIENCE: Duration = Duration::from_secs(10);
/// Head start of an address of the host over its next one (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// Most addresses of a host that are tried.
const MOST_ADDRESSES: usize = 8;
/// Read and write buffers of a connection; tungstenite takes 128 KiB each.
const BUFFER: usize = 16 * 1024;

trait Wire: AsyncRead + AsyncWrite + Debug + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Debug + Send + Unpin> Wire for T {}

type Socket = WebSocketStream<Box<dyn Wire>>;

/// Dials relays over TCP, or over TLS with the certificate authorities of the system (or those of the file that `SSL_CERT_FILE`
/// names), without proxies.
pub(crate) struct Dialler {
    tls: OnceCell<TlsConnector>,
    roots: Vec<Vec<u8>>,
    max_frame: usize,
}

impl Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialler").finish_non_exhaustive()
    }
}

impl Dialler {
    /// A dialler whose connections take frames of at most `max_frame` bytes. `roots` are trusted beside the system's, each a
    /// certificate in DER.
    pub(crate) const fn new(max_frame: usize, roots: Vec<Vec<u8>>) -> Self {
        Self {
            tls: OnceCell::const_new(),
            roots,
            max_frame,
        }
    }

    /// Opens a connection to a relay, within ten seconds.
    pub(crate) async fn dial(
        &self,
        url: &RelayUrl,
    ) -> Result<(FrameSender, FrameReceiver), DialError> {
        let socket = timeout(PATIENCE, self.open(url))
            .await
            .map_err(|_| DialError::Timeout)??;
        let (sink, stream) = socket.split();
        Ok((FrameSender(sink), FrameReceiver(stream)))
    }

    async fn open(&self, url: &RelayUrl) -> Result<Socket, DialError> {
        let stream = connect(url).await?;
        let wire: Box<dyn Wire> = if url.is_secure() {
            let name = ServerName::try_from(url.host().to_owned()).map_err(|_| DialError::Name)?;
            let tls = self.tls.get_or_try_init(|| connector(&self.roots)).await?;
            Box::new(tls.connect(name, stream).await.map_err(DialError::Tls)?)
        } else {
            Box::new(stream)
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_message_size(Some(self.max_frame))
            .max_frame_size(Some(self.max_frame));
        match client_async_with_config(url.to_string(), wire, Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(Error::Http(answer)) => Err(DialError::Status(answer.status().as_u16())),
            Err(Error::Io(error)) => Err(DialError::Broken(error)),
            Err(error) => Err(DialError::NoWebSocket(error.to_string())),
        }
    }
}

/// Connects to whichever address of the host answers first, each with a head start over the next.
async fn connect(url: &RelayUrl) -> Result<TcpStream, DialError> {
    let found = lookup_host((url.host(), url.port()))
        .await
        .map_err(DialError::Lookup)?;
    let attempts = alternate(found)
        .into_iter()
        .zip(0_u32..)
        .map(|(address, place)| {
            Box::pin(async move {
                sleep(STAGGER * place).await;
                TcpStream::connect(address).await
            })
        });
    let attempts: Vec<_> = attempts.collect();
    if attempts.is_empty() {
        let nothing = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        return Err(DialError::Lookup(nothing));
    }
    let (stream, _) = select_ok(attempts).await.map_err(DialError::Connect)?;
    // Gun's messages are small, and each waits for an answer.
    stream.set_nodelay(true).map_err(DialError::Connect)?;
    Ok(stream)
}

/// The addresses of both families in turn, beginning with the first one (RFC 8305 §4).
fn alternate(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut found = found.peekable();
    let first_is_v6 = found.peek().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) =
        found.partition(|address| address.is_ipv6() == first_is_v6);
    let mut turns = Vec::new();
    while turns.len() < MOST_ADDRESSES && !(first.is_empty() && second.is_empty()) {
        turns.extend(first.pop_front());
        turns.extend(second.pop_front());
    }
    turns.truncate(MOST_ADDRESSES);
    turns
}

async fn connector(roots: &[Vec<u8>]) -> Result<TlsConnector, DialError> {
    let roots = roots.to_vec();
    // The system's roots are files.
    let config = tokio::task::spawn_blocking(move || tls_config(&roots)).await;
    let config = config.map_err(|_| DialError::NoRoots)??;
    Ok(TlsConnector::from(Arc::new(config)))
}

fn tls_config(roots: &[Vec<u8>]) -> Result<ClientConfig, DialError> {
    let mut store = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    store.add_parsable_certificates(system.certs);
    store.add_parsable_certificates(roots.iter().map(|der| CertificateDer::from(der.clone())));
    if store.is_empty() {
        return Err(DialError::NoRoots);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| DialError::Tls(io::Error::other(error)))?;
    let mut config = config.with_root_certificates(store).with_no_client_auth();
    // A web server in front of the relay would otherwise be free to choose HTTP/2.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The sending half of a connection.
#[derive(Debug)]
pub(crate) struct FrameSender(SplitSink<Socket, Message>);

impl FrameSender {
    /// Puts a frame with those that [`FrameSender::flush`] sends; waits while the relay does not read.
    pub(crate) async fn feed(&mut self, frame: String) -> Result<(), LineError> {
        Ok(self.0.feed(Message::text(frame)).await?)
    }

    /// Sends what was fed.
    pub(crate) async fn flush(&mut self) -> Result<(), LineError> {
        Ok(self.0.flush().await?)
    }

    /// Asks for a sign of life, which [`FrameReceiver::recv`] shows as [`Heard::Life`].
    pub(crate) async fn ping(&mut self) -> Result<(), LineError> {
        Ok(self.0.send(Message::Ping(Bytes::new())).await?)
    }

    /// Says goodbye.
    pub(crate) async fn close(&mut self) -> Result<(), LineError> {
        Ok(self.0.close().await?)
    }
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(crate) struct FrameReceiver(SplitStream<Socket>);

/// What came from a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A text frame.
    Frame(FrameText),
    /// Something that means nothing but that the relay is there: a pong, or a binary frame, which Gun does not have.
    Life,
}

/// The text of a frame, in the memory that it was received into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameText(Utf8Bytes);

impl FrameText {
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FrameReceiver {
    /// The next frame; `None` when the relay closed the connection properly. May be cancelled without loss.
    pub(crate) async fn recv(&mut self) -> Result<Option<Heard>, LineError> {
        Ok(match self.0.next().await.transpose()? {
            Some(Message::Text(text)) => Some(Heard::Frame(FrameText(text))),
            Some(Message::Close(_)) | None => None,
            Some(_) => Some(Heard::Life),
        })
    }
}

/// Why no connection came to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("its host name is not found ({0}); check the address and the DNS of this machine")]
    Lookup(#[source] io::Error),
    #[error(
        "it does not take the connection ({0}); check that the relay runs, and the port: most listen at 8765, and a URL without one means 80 or 443"
    )]
    Connect(#[source] io::Error),
    #[error("its host is no name that a certificate can have; use ws:// or its name")]
    Name,
    #[error(
        "this system trusts no certificate authorities; install them, or name a file of them in SSL_CERT_FILE"
    )]
    NoRoots,
    #[error("TLS fails ({0}); a relay without TLS is written ws://")]
    Tls(#[source] io::Error),
    #[error("it answered HTTP {0}, so there is no Gun relay at this path; most have the path /gun")]
    Status(u16),
    #[error("the connection broke while it was opened ({0})")]
    Broken(#[source] io::Error),
    #[error("what answers there speaks no WebSocket ({0})")]
    NoWebSocket(String),
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    Timeout,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("the connection broke ({0})")]
    Broken(#[source] io::Error),
    #[error("the relay sent a frame of more bytes than are taken")]
    TooLong,
    #[error("the relay closed the connection")]
    Closed,
    #[error("the relay breaks the WebSocket protocol ({0})")]
    Protocol(String),
}

impl From<Error> for LineError {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(error) => Self::Broken(error),
            Error::Capacity(CapacityError::MessageTooLong { .. }) => Self::TooLong,
            Error::ConnectionClosed | Error::AlreadyClosed => Self::Closed,
            error => Self::Protocol(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_from_the_one_that_the_system_prefers() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let turns = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(alternate(found.into_iter()), turns);
        let many = (0..100).map(|port| SocketAddr::from(([1, 1, 1, 1], port)));
        assert_eq!(alternate(many).len(), MOST_ADDRESSES);
        assert!(alternate(std::iter::empty()).is_empty());
    }
}
