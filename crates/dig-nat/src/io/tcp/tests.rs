use super::*;
use std::net::TcpListener;
use tokio::{io::AsyncWriteExt as _, net::TcpListener as Listener};

fn listener(addr: &str) -> (TcpPort, Listener) {
    let listener = TcpListener::bind(addr).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = TcpPort::share(&listener).unwrap();
    (port, Listener::from_std(listener).unwrap())
}

fn loopback(port: &TcpPort) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port.local_addr().port()))
}

fn preamble(tag: Tag) -> [u8; PREAMBLE] {
    let mut bytes = [0; PREAMBLE];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&tag.0);
    bytes
}

/// Accepts and sorts what dials and writes `bytes`.
async fn sorted(port: &TcpPort, listener: &Listener, bytes: &[u8]) -> (Sorted, TcpStream) {
    let mut dialled = TcpStream::connect(loopback(port)).await.unwrap();
    dialled.write_all(bytes).await.unwrap();
    let (stream, remote) = listener.accept().await.unwrap();
    (port.sort(stream, remote).await, dialled)
}

#[tokio::test]
async fn dials_from_the_port_that_listens() {
    for bound in ["127.0.0.1:0", "[::]:0", "0.0.0.0:0"] {
        let (port, listener) = listener(bound);
        let (other, others) = self::listener("127.0.0.1:0");
        let dialled = port.connect(loopback(&other)).await.unwrap();
        let (_, remote) = others.accept().await.unwrap();
        assert_eq!(remote, loopback(&port), "{bound}");
        // The listener still gets what is for it.
        let knock = TcpStream::connect(loopback(&port)).await.unwrap();
        let (_, remote) = listener.accept().await.unwrap();
        assert_eq!(canonical(remote), knock.local_addr().unwrap());
        drop(dialled);
    }
}

#[tokio::test]
async fn a_shared_port_is_still_refused_to_others() {
    let (port, _listener) = listener("127.0.0.1:0");
    let error = TcpListener::bind(port.local_addr()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn there_is_no_way_to_a_family_in_which_nobody_listens() {
    let (port, _listener) = listener("127.0.0.1:0");
    let error = port.connect("[::1]:9".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    assert!(port.fresh(true).is_err());
}

#[tokio::test]
async fn fresh_ports_are_known_before_they_dial() {
    let (port, _listener) = listener("127.0.0.1:0");
    let (other, others) = listener("127.0.0.1:0");
    let (first, second) = (port.fresh(false).unwrap(), port.fresh(false).unwrap());
    assert_ne!(first.port(), second.port());
    let told = second.port();
    let _dialled = second.connect(loopback(&other)).await.unwrap();
    assert_eq!(others.accept().await.unwrap().1.port(), told);
}

#[tokio::test]
async fn streams_are_sorted_by_their_first_bytes() {
    let (port, listener) = listener("127.0.0.1:0");
    let tag = Tag([7; 8]);
    let mut attempt = port.attach(tag).unwrap();
    assert!(port.attach(tag).is_none());

    let (tls, _dialled) = sorted(&port, &listener, &[0x16, 3, 1]).await;
    let Sorted::Pass(mut stream) = tls else {
        panic!("TLS is not ours")
    };
    let mut all = [0; 3];
    stream.read_exact(&mut all).await.unwrap();
    assert_eq!(all, [0x16, 3, 1], "nothing was read from it");

    let (ours, dialled) = sorted(&port, &listener, &preamble(tag)).await;
    assert!(matches!(ours, Sorted::Taken));
    let arrived = attempt.next().await.unwrap();
    assert_eq!(arrived.preamble, preamble(tag));
    assert_eq!(arrived.remote, dialled.local_addr().unwrap());

    let (unknown, mut dialled) = sorted(&port, &listener, &preamble(Tag([8; 8]))).await;
    assert!(matches!(unknown, Sorted::Taken));
    let error = dialled.read(&mut all).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_say_what_it_is_is_closed() {
    let (port, listener) = listener("127.0.0.1:0");
    for bytes in [&[][..], &MAGIC] {
        let (sorted, mut dialled) = sorted(&port, &listener, bytes).await;
        assert!(matches!(sorted, Sorted::Taken));
        let read = dialled.read(&mut [0; 1]).await;
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    }
}

#[tokio::test]
async fn silent_streams_do_not_keep_others_out() {
    let (port, listener) = listener("127.0.0.1:0");
    let mut silent = Vec::new();
    for _ in 0..UNDECIDED {
        let dialled = TcpStream::connect(loopback(&port)).await.unwrap();
        let (stream, remote) = listener.accept().await.unwrap();
        let port = port.clone();
        let task = tokio::spawn(async move { port.sort(stream, remote).await });
        silent.push((dialled, task));
    }
    while port.0.undecided.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let (tls, _dialled) = sorted(&port, &listener, &[0x16]).await;
    assert!(matches!(tls, Sorted::Pass(_)));
    silent.iter().for_each(|(_, task)| task.abort());
}

#[tokio::test]
async fn an_unused_stream_is_reset_and_a_kept_one_is_closed() {
    for kept in [false, true] {
        let (port, listener) = listener("127.0.0.1:0");
        let dialled = TcpStream::connect(loopback(&port)).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        let trial = Trial::new(dialled);
        if kept {
            drop(trial.keep().unwrap());
            assert_eq!(accepted.read(&mut [0; 1]).await.unwrap(), 0);
        } else {
            drop(trial);
            let error = accepted.read(&mut [0; 1]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }
}
