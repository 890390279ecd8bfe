//! What the machine can do at most, for benchmarks to be compared with: `reference tcp|tls|sha256 BYTES` prints bytes a second.
//!
//! `tcp` and `tls` copy over loopback from one thread to another, 256 KiB at a time, and neither look at the bytes nor write
//! them anywhere; `sha256` hashes one stream.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    version::TLS13,
};
use std::{error::Error, sync::Arc, time::Instant};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PIECE: usize = 256 << 10;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let (what, bytes) = (
        args.next().ok_or("tcp, tls or sha256?")?,
        args.next().ok_or("how many bytes?")?,
    );
    let bytes: u64 = bytes.parse()?;
    let seconds = match what.as_str() {
        "tcp" => copy(bytes, None).await?,
        "tls" => copy(bytes, Some(tls()?)).await?,
        "sha256" => hash(bytes),
        other => return Err(format!("no reference is called {other}").into()),
    };
    println!("{:.0}", bytes as f64 / seconds);
    Ok(())
}

fn hash(bytes: u64) -> f64 {
    let piece = vec![7; PIECE];
    let started = Instant::now();
    let mut hash = aws_lc_rs_digest();
    let mut left = bytes;
    while left > 0 {
        let count = left.min(PIECE as u64);
        hash.update(&piece[..count as usize]);
        left -= count;
    }
    std::hint::black_box(hash.finish());
    started.elapsed().as_secs_f64()
}

fn aws_lc_rs_digest() -> ::aws_lc_rs::digest::Context {
    ::aws_lc_rs::digest::Context::new(&::aws_lc_rs::digest::SHA256)
}

fn tls() -> Outcome<(TlsAcceptor, TlsConnector)> {
    let certified = rcgen::generate_simple_self_signed(["reference".to_owned()])?;
    let (certificate, key) = (
        certified.cert.der().clone(),
        certified.signing_key.serialize_der(),
    );
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((Arc::new(server).into(), Arc::new(client).into()))
}

async fn copy(bytes: u64, tls: Option<(TlsAcceptor, TlsConnector)>) -> Outcome<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let (acceptor, connector) = tls.unzip();
    let sender = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        match acceptor {
            Some(acceptor) => send(acceptor.accept(stream).await?, bytes).await,
            None => send(stream, bytes).await,
        }
    });
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let seconds = match connector {
        Some(connector) => {
            let name = ServerName::try_from("reference")?;
            receive(connector.connect(name, stream).await?, bytes).await?
        }
        None => receive(stream, bytes).await?,
    };
    sender.await??;
    Ok(seconds)
}

async fn send(mut stream: impl AsyncWrite + Unpin, bytes: u64) -> Outcome<()> {
    let piece = vec![7; PIECE];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(PIECE as u64);
        stream.write_all(&piece[..count as usize]).await?;
        left -= count;
    }
    stream.shutdown().await?;
    Ok(())
}

async fn receive(mut stream: impl AsyncRead + Unpin, bytes: u64) -> Outcome<f64> {
    let mut piece = vec![0; PIECE];
    let started = Instant::now();
    let mut got = 0;
    while got < bytes {
        match stream.read(&mut piece).await? {
            0 => return Err("the copy ended early".into()),
            count => got += count as u64,
        }
    }
    Ok(started.elapsed().as_secs_f64())
}
