//! The counters over HTTP/1.0: what a collector asks for, and not a line more.

use super::Shared;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// How long a conversation may take.
const LONGEST: Duration = Duration::from_secs(5);
/// Conversations at a time.
const AT_ONCE: usize = 8;
/// Longest request that is read, in bytes.
const REQUEST: usize = 8192;

/// Answers collectors until dropped.
pub(super) async fn show(shared: Arc<Shared>, listener: TcpListener) {
    let mut talks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if talks.len() < AT_ONCE => match accepted {
                Ok((stream, _)) => {
                    talks.spawn(timeout(LONGEST, answer(Arc::clone(&shared), stream)));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = talks.join_next() => {}
        }
    }
}

async fn answer(shared: Arc<Shared>, mut stream: TcpStream) {
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
        ("200 OK", shared.core().server.counters().to_prometheus())
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
