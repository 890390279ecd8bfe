//! How fast a lane is beside a bare copy over the same encryption: `cargo run --release -p dig-session --example lane_speed [MiB] [rounds]`.
//!
//! Both ends run in this process over loopback. Each round runs all four, so that they meet the same machine.
#![allow(clippy::print_stdout, reason = "a program for people")]

use bytes::Bytes;
use dig_identity::{Algorithm, CryptoIdentity};
use dig_session::{
    DatagramSocket as _, Endpoint, Lane, PlainUdp, SessionConfig, StreamDialer as _, TcpDialer,
};
use dig_types::{Frame, FrameType, SystemClock};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{PrivatePkcs8KeyDer, ServerName},
};
use std::{
    error::Error,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CHUNK: usize = 65_536;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args()
        .skip(1)
        .flat_map(|text| text.parse::<usize>());
    let bytes = arguments.next().unwrap_or(1024) << 20;
    let rounds = arguments.next().unwrap_or(5);
    let names = ["TLS copy", "TLS lane", "QUIC copy", "QUIC lane"];
    let mut rates = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        let times = [
            tls_copy(bytes).await?,
            tls_lane(bytes).await?,
            quic_copy(bytes).await?,
            quic_lane(bytes).await?,
        ];
        for ((rates, time), name) in rates.iter_mut().zip(times).zip(names) {
            let rate = bytes as f64 / 1e6 / time.as_secs_f64();
            println!("{name:10} {rate:8.0} MB/s");
            rates.push(rate);
        }
    }
    let [tls_copy, tls_lane, quic_copy, quic_lane] = rates.map(median);
    println!(
        "median TLS:  lane {tls_lane:.0} of {tls_copy:.0} MB/s = {:.2}",
        tls_lane / tls_copy
    );
    println!(
        "median QUIC: lane {quic_lane:.0} of {quic_copy:.0} MB/s = {:.2}",
        quic_lane / quic_copy
    );
    Ok(())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

async fn tls_lane(bytes: usize) -> Outcome<Duration> {
    let (dialler, acceptor) = (endpoint()?, endpoint()?);
    let listener = TcpListener::bind(localhost()).await?;
    let addr = listener.local_addr()?;
    let (dialled, accepted) = tokio::try_join!(
        async {
            Outcome::Ok(
                dialler
                    .connect_stream(TcpDialer.dial(addr).await?, Some(addr), None)
                    .await?,
            )
        },
        async {
            let (stream, remote) = listener.accept().await?;
            TcpDialer::prepare(&stream)?;
            Outcome::Ok(acceptor.accept_stream(stream, Some(remote)).await?)
        },
    )?;
    through(dialled, accepted, bytes).await
}

async fn quic_lane(bytes: usize) -> Outcome<Duration> {
    let (dialler, acceptor) = (endpoint()?, endpoint()?);
    dialler.attach_datagrams(Arc::new(PlainUdp::bind(localhost())?))?;
    let socket = PlainUdp::bind(localhost())?;
    let addr = socket.local_addr()?;
    acceptor.attach_datagrams(Arc::new(socket))?;
    let dialled = dialler.connect_quic(addr, Some(acceptor.node_id())).await?;
    let accepted = acceptor.accept_quic().await.ok_or("nobody came")?;
    through(dialled, accepted, bytes).await
}

fn endpoint() -> Outcome<Endpoint> {
    let identity = CryptoIdentity::generate(Algorithm::Ed25519)?;
    Ok(Endpoint::new(
        SessionConfig::default(),
        Arc::new(identity),
        Arc::new(SystemClock),
    )?)
}

/// Sends frames of one chunk each.
async fn through(from: Lane, to: Lane, bytes: usize) -> Outcome<Duration> {
    let (sender, _keep) = from.split();
    let (trusting, mut receiver) = to.split();
    trusting.trust();
    let payload = Bytes::from(vec![7; CHUNK]);
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        for _ in 0..bytes / CHUNK {
            sender
                .send(Frame::new(FrameType(0x30), 1, payload.clone()))
                .await?;
        }
        Outcome::Ok(sender)
    });
    let receiving = tokio::spawn(async move {
        let mut left = bytes;
        while left > 0 {
            left -= receiver.recv().await.ok_or("the lane ended")?.payload.len();
        }
        Outcome::Ok(start.elapsed())
    });
    let time = receiving.await??;
    sending.await??;
    Ok(time)
}

/// Plain configurations with the cipher that lanes use.
fn bare() -> Outcome<(ClientConfig, ServerConfig)> {
    let provider = aws_lc_rs::default_provider();
    let mut suites = provider.cipher_suites.clone();
    suites.sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    let provider = Arc::new(CryptoProvider {
        cipher_suites: suites,
        ..provider
    });
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone())?;
    let versions = [&rustls::version::TLS13];
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key.into())?;
    Ok((client, server))
}

async fn tls_copy(bytes: usize) -> Outcome<Duration> {
    let (client, server) = bare()?;
    let listener = TcpListener::bind(localhost()).await?;
    let addr = listener.local_addr()?;
    let (mut client, mut server) = tokio::try_join!(
        async {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from("localhost")?;
            Outcome::Ok(
                TlsConnector::from(Arc::new(client))
                    .connect(name, stream)
                    .await?,
            )
        },
        async {
            Outcome::Ok(
                TlsAcceptor::from(Arc::new(server))
                    .accept(listener.accept().await?.0)
                    .await?,
            )
        },
    )?;
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        let payload = vec![7; CHUNK];
        for _ in 0..bytes / CHUNK {
            client.write_all(&payload).await?;
        }
        client.flush().await?;
        Outcome::Ok(client)
    });
    let receiving = tokio::spawn(async move {
        let (mut buffer, mut left) = (vec![0; CHUNK], bytes);
        while left > 0 {
            left -= server.read(&mut buffer).await?;
        }
        Outcome::Ok(start.elapsed())
    });
    let time = receiving.await??;
    sending.await??;
    Ok(time)
}

async fn quic_copy(bytes: usize) -> Outcome<Duration> {
    let (client, server) = bare()?;
    let mut transport = quinn::TransportConfig::default();
    transport
        .stream_receive_window((16_u32 << 20).into())
        .receive_window((16_u32 << 20).into())
        .send_window(16 << 20);
    let transport = Arc::new(transport);
    let mut server =
        quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
    server.transport_config(Arc::clone(&transport));
    let mut client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
    client.transport_config(transport);
    let acceptor = quinn::Endpoint::server(server, localhost())?;
    let dialler = quinn::Endpoint::client(localhost())?;
    let connecting = dialler.connect_with(client, acceptor.local_addr()?, "localhost")?;
    let (dialled, accepted) = tokio::try_join!(async { Outcome::Ok(connecting.await?) }, async {
        Outcome::Ok(acceptor.accept().await.ok_or("nobody came")?.await?)
    },)?;
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        let mut stream = dialled.open_uni().await?;
        let payload = Bytes::from(vec![7; CHUNK]);
        for _ in 0..bytes / CHUNK {
            stream.write_chunk(payload.clone()).await?;
        }
        stream.finish()?;
        stream.stopped().await?;
        Outcome::Ok(dialled)
    });
    let receiving = tokio::spawn(async move {
        let mut stream = accepted.accept_uni().await?;
        let (mut buffer, mut left) = (vec![0; CHUNK], bytes);
        while left > 0 {
            left -= stream.read(&mut buffer).await?.ok_or("the stream ended")?;
        }
        Outcome::Ok((start.elapsed(), accepted))
    });
    let (time, _kept) = receiving.await??;
    sending.await??;
    Ok(time)
}
