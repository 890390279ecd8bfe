//! The counters of all services over HTTP/1.0: what a collector asks for, and not a line more.

use crate::exit::{Failure, Kind};
use futures::{StreamExt as _, stream::FuturesUnordered};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// How long a conversation may take.
const LONGEST: Duration = Duration::from_secs(5);
/// Conversations at a time.
const AT_ONCE: usize = 8;
/// Longest request that is read, in bytes.
const REQUEST: usize = 8192;

/// Where counters are shown.
pub(super) struct Metrics {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Metrics {
    /// Listens there.
    pub(super) async fn open(addr: SocketAddr) -> Result<Self, Failure> {
        let failed = |error| Failure::new(Kind::Local, format!("cannot listen on {addr}: {error}"));
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, addr })
    }

    pub(super) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers collectors until dropped.
    pub(super) async fn show(self, counters: impl Fn() -> String) {
        let mut talks = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if talks.len() < AT_ONCE => match accepted {
                    Ok((stream, _)) => talks.push(timeout(LONGEST, answer(stream, &counters))),
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(_) = talks.next() => {}
            }
        }
    }
}

async fn answer(mut stream: TcpStream, counters: impl Fn() -> String) {
    let mut request = Vec::new();
    // To the empty line that ends the head; a body is not expected.
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read_buf(&mut request).await {
            Ok(1..) if request.len() <= REQUEST => {}
            _ => return,
        }
    }
    let asked = request.starts_with(b"GET /metrics ") || request.starts_with(b"GET / ");
    let (status, body) = if asked {
        ("200 OK", counters())
    } else {
        ("404 Not Found", "ask for /metrics\n".to_owned())
    };
    let head = format!(
        "HTTP/1.0 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes()).await;
    let _ = stream.shutdown().await;
}
