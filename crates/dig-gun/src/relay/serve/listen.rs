//! Sockets that take connections.

use super::{
    ServeError,
    stream::{Line, Meter, Metered, PATIENCE, Peer, Unfinished},
};
use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    future::pending,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

/// Connections that are no WebSockets yet, beside those that are.
const OPENING: usize = 256;

/// The certificate of a relay and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, and those that it is signed with but for the authority's.
    pub cert: PathBuf,
    /// Its private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

impl Tls {
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, ServeError> {
        let unreadable = |path: &Path, reason: String| ServeError::Certificate {
            path: path.to_owned(),
            reason,
        };
        let pem = |error: rustls::pki_types::pem::Error| error.to_string();
        let certificates = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unreadable(&self.cert, pem(error)))?;
        if certificates.is_empty() {
            return Err(unreadable(&self.cert, "it holds no certificate".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| unreadable(&self.key, pem(error)))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config
                    .with_no_client_auth()
                    .with_single_cert(certificates, key)
            })
            .map_err(|error| unreadable(&self.cert, error.to_string()))?;
        // There are no WebSockets over HTTP/2 here.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Takes connections from all sockets, ready for HTTP.
pub(super) struct Doors {
    ready: mpsc::Receiver<(Metered, Peer)>,
    address: SocketAddr,
}

/// What each socket needs.
#[derive(Clone)]
struct Door {
    tls: Option<TlsAcceptor>,
    unfinished: Arc<Unfinished>,
    seats: Arc<Semaphore>,
    ready: mpsc::Sender<(Metered, Peer)>,
}

impl Doors {
    /// Takes connections until it is dropped; the tasks are those of the tracker. `None` without sockets.
    pub(super) fn open(
        sockets: Vec<TcpListener>,
        tls: Option<TlsAcceptor>,
        connections: usize,
        unfinished: usize,
        tasks: &TaskTracker,
    ) -> io::Result<Self> {
        let (sender, ready) = mpsc::channel(16);
        let door = Door {
            tls,
            unfinished: Arc::new(Unfinished::new(unfinished)),
            seats: Arc::new(Semaphore::new(
                (connections + OPENING).min(Semaphore::MAX_PERMITS),
            )),
            ready: sender,
        };
        let address = match sockets.first() {
            Some(socket) => socket.local_addr()?,
            None => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        for socket in sockets {
            tasks.spawn(door.clone().accept(socket, tasks.clone()));
        }
        Ok(Self { ready, address })
    }
}

impl Door {
    async fn accept(self, socket: TcpListener, tasks: TaskTracker) {
        loop {
            let Ok(seat) = Arc::clone(&self.seats).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = self.ready.closed() => return,
            };
            match accepted {
                Ok((stream, address)) => {
                    tasks.spawn(self.clone().prepare(stream, address, seat));
                }
                Err(error) => {
                    // No more files, usually; some will be closed.
                    tracing::warn!(%error, "cannot take a connection");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn prepare(self, stream: TcpStream, address: SocketAddr, seat: OwnedSemaphorePermit) {
        // Gun's messages are small, and each waits for an answer.
        let _ = stream.set_nodelay(true);
        let line = match &self.tls {
            None => Line::Plain(stream),
            Some(tls) => {
                let opened = tokio::select! {
                    opened = timeout(PATIENCE, tls.accept(stream)) => opened,
                    () = self.ready.closed() => return,
                };
                match opened {
                    Ok(Ok(stream)) => Line::Tls(Box::new(stream)),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "no TLS");
                        return;
                    }
                    Err(_) => return,
                }
            }
        };
        let meter = Arc::new(Meter::new(self.unfinished));
        let metered = Metered::new(line, Arc::clone(&meter), seat);
        // Nobody takes it after the end.
        let _ = self.ready.send((metered, Peer { address, meter })).await;
    }
}

impl Listener for Doors {
    type Io = Metered;
    type Addr = Peer;

    async fn accept(&mut self) -> (Metered, Peer) {
        match self.ready.recv().await {
            Some(ready) => ready,
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer {
            address: self.address,
            meter: Arc::new(Meter::new(Arc::new(Unfinished::new(0)))),
        })
    }
}

impl Connected<IncomingStream<'_, Doors>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Doors>) -> Self {
        stream.remote_addr().clone()
    }
}
