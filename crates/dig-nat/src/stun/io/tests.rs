//! A server on the loopback interface, and whoever asks it.

use super::*;
use crate::{
    report::{
        NatKind,
        io::{DiscoverConfig, DiscoverError, discover},
    },
    stun::{ChangeRequest, Query},
};
use tokio::net::{TcpStream, UdpSocket};

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn shows_an_open_host_that_it_is_open() {
    let serving = serve(addr("127.0.0.1:0"), Some(addr("127.0.0.2:0")))
        .await
        .unwrap();
    let servers = serving.layout().sockets();
    assert_eq!(servers.len(), 4);
    let config = DiscoverConfig {
        servers: vec![servers[0]],
        ..DiscoverConfig::default()
    };
    let report = discover(config).await.unwrap();
    let family = report.ipv4.as_ref().unwrap();
    assert_eq!(family.kind(), Some(NatKind::Open), "{report:#?}");
    assert_eq!(family.servers, [servers[0]]);
    assert!(!report.udp_blocked);
}

#[tokio::test]
async fn answers_from_its_other_address() {
    let serving = serve(addr("127.0.0.1:0"), Some(addr("127.0.0.2:0")))
        .await
        .unwrap();
    let [primary, .., alternate] = serving.layout().sockets()[..] else {
        panic!()
    };
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let request = Request {
        change: Some(ChangeRequest::AddressAndPort),
        ..Request::new(random_transaction().unwrap())
    };
    let mut query = Query::asking(Duration::ZERO, primary, request).answered_from(alternate);
    socket
        .send_to(&query.poll(Duration::ZERO).unwrap(), primary)
        .await
        .unwrap();
    let mut buffer = [0; 1500];
    let (length, source) = socket.recv_from(&mut buffer).await.unwrap();
    assert!(
        query.on_datagram(Duration::ZERO, source, &buffer[..length]),
        "from {source}"
    );
    assert_eq!(
        query.outcome().unwrap().unwrap().mapped,
        socket.local_addr().unwrap()
    );
}

#[tokio::test]
async fn answers_over_a_connection_and_keeps_it() {
    let serving = serve(addr("127.0.0.1:0"), None).await.unwrap();
    let server = serving.layout().sockets()[0];
    let mut stream = TcpStream::connect(server).await.unwrap();
    for _ in 0..3 {
        assert_eq!(
            query_stream(&mut stream).await.unwrap(),
            stream.local_addr().unwrap()
        );
    }
    drop(serving);
    assert!(matches!(
        query_stream(&mut stream).await,
        Err(StreamQueryError::Broken(_))
    ));
}

#[tokio::test]
async fn a_connection_that_does_not_speak_stun_is_closed() {
    let serving = serve(addr("127.0.0.1:0"), None).await.unwrap();
    let mut stream = TcpStream::connect(serving.layout().sockets()[0])
        .await
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n")
        .await
        .unwrap();
    assert!(matches!(stream.read(&mut [0; 16]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn one_address_has_a_limited_number_of_connections() {
    let serving = serve(addr("127.0.0.1:0"), None).await.unwrap();
    let server = serving.layout().sockets()[0];
    let mut streams = Vec::new();
    for _ in 0..streams::CONNECTIONS_EACH {
        let mut stream = TcpStream::connect(server).await.unwrap();
        query_stream(&mut stream).await.unwrap();
        streams.push(stream);
    }
    let mut more = TcpStream::connect(server).await.unwrap();
    assert!(matches!(
        query_stream(&mut more).await,
        Err(StreamQueryError::Broken(_))
    ));
    streams.pop();
    let mut again = TcpStream::connect(server).await.unwrap();
    for _ in 0..100 {
        if query_stream(&mut again).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        again = TcpStream::connect(server).await.unwrap();
    }
    panic!("a place that was given back is not given again");
}

#[tokio::test]
async fn who_answers_a_question_with_something_else_is_named() {
    let (mut near, mut far) = tokio::io::duplex(256);
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .unwrap();
    assert!(matches!(
        query_stream(&mut near).await,
        Err(StreamQueryError::NotStun(_))
    ));
    let (mut near, mut far) = tokio::io::duplex(256);
    let answer = async {
        let mut header = [0; 20];
        far.read_exact(&mut header).await.unwrap();
        let Ok(Message::Request { request, .. }) = Message::parse(&header) else {
            panic!()
        };
        let stranger = Request::new(TransactionId([1; 12])).to_bytes();
        far.write_all(&stranger).await.unwrap();
        far.write_all(&super::super::ErrorCode(500).to_bytes(request.transaction, &[]))
            .await
            .unwrap();
        far
    };
    let (answered, _far) = tokio::join!(query_stream(&mut near), answer);
    assert!(matches!(
        answered,
        Err(StreamQueryError::Query(QueryError::Refused(_)))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let (mut near, _far) = tokio::io::duplex(256);
    let begun = Instant::now();
    assert!(matches!(
        query_stream(&mut near).await,
        Err(StreamQueryError::Query(QueryError::NoAnswer))
    ));
    assert_eq!(begun.elapsed(), STREAM_TIMEOUT);
}

#[tokio::test]
async fn addresses_that_do_not_make_two_are_refused() {
    for (one, other) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("0.0.0.0:0", "127.0.0.2:0"),
        ("127.0.0.1:0", "[::1]:0"),
    ] {
        let refused = serve(addr(one), Some(addr(other))).await;
        assert!(
            matches!(refused, Err(ServeError::Addresses(..))),
            "{one} {other}: {refused:?}"
        );
    }
    let serving = serve(addr("127.0.0.1:0"), None).await.unwrap();
    let taken = serve(serving.layout().sockets()[0], None).await;
    assert!(matches!(taken, Err(ServeError::Bind { .. })), "{taken:?}");
}

#[tokio::test]
async fn equal_ports_are_made_two() {
    let free = serve(addr("127.0.0.1:0"), Some(addr("127.0.0.3:0")))
        .await
        .unwrap();
    let port = free.layout().sockets()[0].port();
    drop(free);
    if port == u16::MAX {
        return;
    }
    let (one, other) = (
        SocketAddr::from(([127, 0, 0, 1], port)),
        SocketAddr::from(([127, 0, 0, 3], port)),
    );
    // The next port may be somebody else's.
    match serve(one, Some(other)).await {
        Ok(serving) => assert_eq!(
            serving.layout().sockets()[3],
            SocketAddr::from(([127, 0, 0, 3], port + 1))
        ),
        Err(error) => assert!(matches!(error, ServeError::Bind { .. }), "{error}"),
    }
}

#[tokio::test]
async fn without_servers_there_is_nothing_to_find_out() {
    let nobody = discover(DiscoverConfig::default()).await;
    assert!(matches!(nobody, Err(DiscoverError::NoServers)));
}

/// Every address of the loopback network is this machine's; without care the answer comes from 127.0.0.1.
#[tokio::test]
async fn answers_from_the_address_that_was_asked_though_it_serves_them_all() {
    for everywhere in ["0.0.0.0:0", "[::]:0"] {
        let serving = serve(addr(everywhere), None).await.unwrap();
        let port = serving.layout().sockets()[0].port();
        let mut asked = vec![("127.0.0.1:0", SocketAddr::from(([127, 0, 0, 5], port)))];
        if everywhere.starts_with('[') {
            asked.push((
                "[::1]:0",
                SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)),
            ));
        }
        for (own, server) in asked {
            let socket = UdpSocket::bind(own).await.unwrap();
            let mut query = Query::new(Duration::ZERO, server, random_transaction().unwrap());
            socket
                .send_to(&query.poll(Duration::ZERO).unwrap(), server)
                .await
                .unwrap();
            let mut buffer = [0; 1500];
            let (length, source) = socket.recv_from(&mut buffer).await.unwrap();
            assert!(
                query.on_datagram(Duration::ZERO, source, &buffer[..length]),
                "{server} asked, {source} answered"
            );
            assert_eq!(
                query.outcome().unwrap().unwrap().mapped,
                socket.local_addr().unwrap()
            );
        }
    }
}
