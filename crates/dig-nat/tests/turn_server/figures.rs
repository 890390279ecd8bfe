//! How many packets a second pass, beside a plain echo.

use crate::{
    config,
    talker::{CHANNEL, Talker},
};
use dig_nat::turn::{
    serve::{ServeOptions, serve},
    server::PeerPolicy,
};
use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

const PAYLOAD: usize = 1200;
/// Packets under way at a time.
const WINDOW: u32 = 64;
const TIME: Duration = Duration::from_secs(2);

/// Sends back whatever comes, on a thread that ends with the test.
fn echo(addr: &str) -> SocketAddr {
    let socket = UdpSocket::bind(addr).unwrap();
    let addr = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, source)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], source);
        }
    });
    addr
}

/// Packets a second that come back, and how many did not.
fn round_trips(socket: &UdpSocket, packet: &[u8]) -> (f64, u32) {
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let (mut sent, mut back, mut lost) = (0_u32, 0_u32, 0_u32);
    let mut buffer = [0; 2048];
    let start = Instant::now();
    while start.elapsed() < TIME {
        while sent - back - lost < WINDOW {
            socket.send(packet).unwrap();
            sent += 1;
        }
        match socket.recv(&mut buffer) {
            Ok(_) => back += 1,
            Err(_) => lost = sent - back,
        }
    }
    (f64::from(back) / start.elapsed().as_secs_f64(), lost)
}

#[test]
fn packets_are_relayed_at_a_fair_part_of_the_speed_of_an_echo() {
    let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
    plain.connect(echo("127.0.0.1:0")).unwrap();
    let (beside, _) = round_trips(&plain, &[0; PAYLOAD]);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut config = config();
    config.peers = PeerPolicy::default().allow(["127.0.0.0/8".parse().unwrap()]);
    let options = ServeOptions::new(["127.0.0.1:0".parse().unwrap()], config);
    let serving = runtime.block_on(serve(options)).unwrap();
    let mut talker = Talker::allocate(serving.addrs()[0]);
    assert_eq!(
        talker.bind("127.0.0.1:22".parse().unwrap()),
        Some(403),
        "its own address"
    );
    // An address of the loopback interface that is not the relay's own.
    assert_eq!(talker.bind(echo("127.0.0.2:0")), None);
    let mut packet = CHANNEL.to_vec();
    packet.extend((PAYLOAD as u16).to_be_bytes());
    packet.extend([0; PAYLOAD]);
    let (relayed, lost) = round_trips(&talker.socket, &packet);
    println!(
        "round trips of {PAYLOAD} bytes a second: plain echo {beside:.0}, relayed {relayed:.0} ({lost} lost); \
         {:.0} packets a second through the relay",
        relayed * 2.0
    );
    // Four more system calls for each round trip, and this process is not optimised: a wide margin.
    assert!(relayed > beside / 20.0, "{relayed} beside {beside}");
    assert!(serving.counters().packets_to_clients > 0);
}
