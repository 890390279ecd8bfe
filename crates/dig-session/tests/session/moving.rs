//! A peer whose address changes under a lane (RFC 9000 §9).

use crate::{
    net::{Net, NetSocket, Way},
    pair::{endpoint, frame},
};
use dig_session::{
    CloseReason, DatagramSocket, LaneReceiver, LaneSender, PlainUdp, Received, SessionConfig,
    Transmit, Writable,
};
use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

type Halves = (LaneSender, LaneReceiver);

/// Two nodes with one lane; `client` has dialled.
struct Scene {
    net: Net,
    client_socket: Arc<NetSocket>,
    server_socket: Arc<NetSocket>,
    client: Halves,
    server: Halves,
    _endpoints: [dig_session::Endpoint; 2],
}

impl Scene {
    async fn new(way: Way) -> Self {
        let net = Net::new(way);
        let (client, server) = (
            endpoint(SessionConfig::default()),
            endpoint(SessionConfig::default()),
        );
        let (near, far) = (net.socket("192.0.2.1:1", 8), net.socket("192.0.2.2:2", 8));
        client.attach_datagrams(near.clone()).unwrap();
        server.attach_datagrams(far.clone()).unwrap();
        let dial = client.connect_quic(far.addr(), Some(server.node_id()));
        let (dialled, accepted) = tokio::join!(dial, server.accept_quic());
        Self {
            net,
            client_socket: near,
            server_socket: far,
            client: dialled.unwrap().split(),
            server: accepted.unwrap().split(),
            _endpoints: [client, server],
        }
    }
}

/// Sends frames of 64 KiB for ever.
async fn flood(sender: &LaneSender) {
    while sender.send(frame(1, 65_536)).await.is_ok() {}
}

/// Bytes a second that arrive over some time.
async fn rate(receiver: &mut LaneReceiver, over: Duration) -> f64 {
    let start = Instant::now();
    let mut bytes = 0;
    while let Ok(frame) = timeout(over.saturating_sub(start.elapsed()), receiver.recv()).await {
        bytes += frame.unwrap().payload.len();
    }
    bytes as f64 / over.as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn a_lane_follows_the_dialling_side_to_a_new_address_and_port() {
    let mut scene = Scene::new(Way::default()).await;
    let old = scene.server.0.remote();
    for (number, addr) in ["192.0.2.1:4000", "198.51.100.7:5", "203.0.113.9:6"]
        .iter()
        .enumerate()
    {
        let number = number as u32;
        scene.client_socket.move_to(addr);
        // Nothing is to be sent but the PING; the answer shows the new address.
        scene.client.0.ping();
        let arrived = scene.client.0.bytes_received();
        let both = async { tokio::join!(scene.client.1.recv(), scene.server.1.recv()) };
        let heard = timeout(SECOND, both).await;
        assert!(heard.is_err(), "{heard:?}");
        assert!(
            scene.client.0.bytes_received() > arrived,
            "the PING was answered"
        );
        assert_eq!(scene.server.0.remote(), Some(scene.client_socket.addr()));
        // Now from the side that stayed, which knows the new address.
        scene.server.0.send(frame(number, 30_000)).await.unwrap();
        let got = timeout(SECOND, scene.client.1.recv()).await.unwrap();
        assert_eq!(got, Some(frame(number, 30_000)));
        scene.client.0.send(frame(number, 30_000)).await.unwrap();
        let got = timeout(SECOND, scene.server.1.recv()).await.unwrap();
        assert_eq!(got, Some(frame(number, 30_000)));
    }
    assert_ne!(scene.server.0.remote(), old);
}

/// What a move under a stream of data does.
#[derive(Debug)]
struct Move {
    /// Bytes a second in the two seconds before it.
    before: f64,
    /// From the new address to the first frame that arrives.
    resumed: Duration,
    /// Bytes a second from two seconds after it.
    after: f64,
}

/// The client moves to `addr` after some time without any way, and from there only datagrams up to `largest` pass.
async fn around_a_move(uphill: bool, gap: Duration, addr: &str, largest: usize) -> Move {
    let mut scene = Scene::new(Way {
        rate: 1_000_000,
        ..Way::default()
    })
    .await;
    let (sender, (receiver, idle)) = if uphill {
        (
            scene.client.0.clone(),
            (&mut scene.server.1, &mut scene.client.1),
        )
    } else {
        (
            scene.server.0.clone(),
            (&mut scene.client.1, &mut scene.server.1),
        )
    };
    let measure = async {
        rate(receiver, 2 * SECOND).await;
        let before = rate(receiver, 2 * SECOND).await;
        scene.client_socket.cut();
        rate(receiver, gap).await;
        scene.net.narrow(largest);
        scene.client_socket.move_to(addr);
        scene.client.0.ping();
        let start = Instant::now();
        assert!(receiver.recv().await.is_some());
        let resumed = start.elapsed();
        rate(receiver, 2 * SECOND).await;
        let after = rate(receiver, 2 * SECOND).await;
        Move {
            before,
            resumed,
            after,
        }
    };
    tokio::select! {
        told = measure => told,
        () = flood(&sender) => panic!("{:?}", sender.close_reason()),
        end = idle.recv() => panic!("{end:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn throughput_recovers_after_a_move_either_way() {
    for uphill in [false, true] {
        for (gap, addr) in [
            (Duration::ZERO, "192.0.2.1:4000"),
            (Duration::from_millis(300), "198.51.100.7:5"),
            (2 * SECOND, "198.51.100.7:5"),
        ] {
            let told = around_a_move(uphill, gap, addr, 1472).await;
            let case = format!("uphill {uphill}, gap {gap:?}, to {addr}: {told:?}");
            println!("{case}");
            assert!(told.before > 7e5, "{case}");
            assert!(told.after > told.before * 0.8, "{case}");
            // Downhill the PING leaves at once; uphill a full window waits for the sender's next probe, whose pauses double (RFC 9002
            // §6.2), so that it takes no longer than the gap did.
            let patience = if uphill { gap } else { Duration::ZERO };
            assert!(told.resumed <= patience + SECOND, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_narrower_path_is_noticed() {
    for uphill in [false, true] {
        let told = around_a_move(uphill, Duration::ZERO, "198.51.100.7:5", 1280).await;
        println!("uphill {uphill}, to 1,280 bytes: {told:?}");
        assert!(told.resumed < 2 * SECOND, "uphill {uphill}: {told:?}");
        assert!(told.after > told.before * 0.8, "uphill {uphill}: {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_side_that_dialled_may_move() {
    let mut scene = Scene::new(Way::default()).await;
    scene.server_socket.move_to("198.51.100.7:5");
    scene.server.0.ping();
    let start = Instant::now();
    let (near, far) = tokio::join!(scene.client.1.recv(), scene.server.1.recv());
    assert_eq!((near, far), (None, None), "another lane is needed");
    assert_eq!(scene.client.1.close_reason(), Some(CloseReason::Dead));
    assert!(start.elapsed() < 40 * SECOND, "{:?}", start.elapsed());
}

/// A socket of the operating system whose address changes.
#[derive(Debug)]
struct Roaming {
    homes: [Arc<PlainUdp>; 2],
    moved: AtomicBool,
}

impl Roaming {
    fn home(&self) -> &Arc<PlainUdp> {
        &self.homes[usize::from(self.moved.load(Ordering::SeqCst))]
    }
}

impl DatagramSocket for Roaming {
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.home().try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [Received],
    ) -> Poll<io::Result<usize>> {
        let old = self.homes[0].poll_recv(cx, buffers, received);
        match self.homes[1].poll_recv(cx, buffers, received) {
            // What still comes to the old address is lost.
            Poll::Pending if !self.moved.load(Ordering::SeqCst) => old,
            new => new,
        }
    }

    fn writable(self: Arc<Self>) -> Pin<Box<dyn Writable>> {
        Arc::clone(self.home()).writable()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.home().local_addr()
    }
}

#[tokio::test]
async fn a_lane_follows_between_addresses_of_the_operating_system() {
    let (client, server) = (
        endpoint(SessionConfig::default()),
        endpoint(SessionConfig::default()),
    );
    let bind = |ip: [u8; 4]| Arc::new(PlainUdp::bind((ip, 0).into()).unwrap());
    let roaming = Arc::new(Roaming {
        homes: [bind([127, 0, 0, 2]), bind([127, 0, 0, 3])],
        moved: AtomicBool::new(false),
    });
    let there = bind([127, 0, 0, 1]);
    let addr = there.local_addr().unwrap();
    client.attach_datagrams(roaming.clone()).unwrap();
    server.attach_datagrams(there).unwrap();
    let dial = client.connect_quic(addr, Some(server.node_id()));
    let (dialled, accepted) = tokio::join!(dial, server.accept_quic());
    let ((sender, mut receiver), (answerer, mut questions)) =
        (dialled.unwrap().split(), accepted.unwrap().split());
    let answer = async {
        while let Some(frame) = questions.recv().await {
            answerer.send(frame).await.unwrap();
        }
    };
    let ask = async {
        for number in 0..40 {
            if number == 20 {
                let old = roaming.local_addr().unwrap();
                assert_eq!(answerer.remote(), Some(old));
                roaming.moved.store(true, Ordering::SeqCst);
                sender.ping();
            }
            sender.send(frame(number, 60_000)).await.unwrap();
            let got = timeout(5 * SECOND, receiver.recv()).await.unwrap();
            assert_eq!(got, Some(frame(number, 60_000)));
        }
        assert_eq!(answerer.remote(), Some(roaming.local_addr().unwrap()));
    };
    tokio::select! {
        () = answer => panic!("the lane ended"),
        () = ask => {}
    }
}

/// Consent (RFC 7675 §5.1): whoever no longer answers gets next to nothing, and after 30 seconds nothing at all.
#[tokio::test(start_paused = true)]
async fn consent_that_is_withdrawn_ends_the_sending() {
    let mut scene = Scene::new(Way::default()).await;
    let sender = scene.server.0.clone();
    let sent = || scene.net.seen().datagrams;
    let withdraw = async {
        assert!(rate(&mut scene.client.1, 2 * SECOND).await > 1e6);
        scene.client_socket.cut();
        let (start, before) = (Instant::now(), sent());
        tokio::time::sleep(SECOND).await;
        (start, before, sent() - before)
    };
    let (_, end, (start, before, at_first)) =
        tokio::join!(flood(&sender), scene.server.1.recv(), withdraw);
    let (took, all) = (start.elapsed(), sent() - before);
    println!("{at_first} datagrams in the first second, {all} in all {took:?}");
    assert_eq!(end, None);
    assert_eq!(sender.close_reason(), Some(CloseReason::Dead));
    assert!(took <= 30 * SECOND, "{took:?}");
    // What the path had confirmed that it takes, and then probes whose pauses double.
    let window = 5_000_000 / 1_200 / 5;
    assert!(at_first <= window, "{at_first} in the first second");
    assert!(all - at_first <= 30, "{} after it", all - at_first);
    tokio::time::sleep(120 * SECOND).await;
    let after = sent() - before - all;
    assert!(after <= 3, "{after} after the end");
}
