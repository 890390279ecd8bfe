//! Multicast DNS messages as a hostile machine sends them.

use dig_types::InstanceId;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);
const SERVICE: &str = "_dig._udp.local";

/// A socket that sends as multicast DNS does, from port 5353, through the address of one interface.
pub(crate) fn socket(from: Ipv4Addr) -> UdpSocket {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_multicast_if_v4(&from).unwrap();
    let any: std::net::SocketAddr = (Ipv4Addr::UNSPECIFIED, GROUP.1).into();
    socket.bind(&any.into()).unwrap();
    socket.into()
}

/// Sends to the group; oversized datagrams that the system refuses are no matter.
pub(crate) fn send(socket: &UdpSocket, message: &[u8]) {
    let _ = socket.send_to(message, GROUP);
}

/// An advertisement of one node.
pub(crate) fn advert(label: &str, instance: InstanceId, ip: IpAddr, port: u16) -> Vec<u8> {
    let (name, host) = (format!("{label}.{SERVICE}"), format!("{label}.local"));
    let mut srv = vec![0; 4];
    srv.extend(port.to_be_bytes());
    srv.extend(encode(&host));
    let mut txt = Vec::new();
    for item in ["v=1".to_owned(), format!("i={instance}")] {
        txt.push(item.len() as u8);
        txt.extend(item.bytes());
    }
    let (kind, addr) = match ip {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (28, ip.octets().to_vec()),
    };
    message(&[
        record(SERVICE, 12, &encode(&name)),
        record(&name, 33, &srv),
        record(&name, 16, &txt),
        record(&host, kind, &addr),
    ])
}

/// Many addresses of hosts that nobody asked for.
pub(crate) fn chaff(first: u32, count: u32) -> Vec<u8> {
    let records: Vec<_> = (first..first + count)
        .map(|number| record(&format!("chaff{number}.local"), 1, &number.to_be_bytes()))
        .collect();
    message(&records)
}

/// A response whose only name points at itself.
pub(crate) fn pointer_loop() -> Vec<u8> {
    let mut bytes = header(1);
    bytes.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 120, 0, 2, 0xc0, 12]);
    bytes
}

/// A response that declares 65,535 records and has none.
pub(crate) fn empty_promise() -> Vec<u8> {
    header(u16::MAX)
}

fn message(records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = header(u16::try_from(records.len()).unwrap());
    bytes.extend(records.concat());
    bytes
}

fn header(answers: u16) -> Vec<u8> {
    let [high, low] = answers.to_be_bytes();
    vec![0, 0, 0x84, 0, 0, 0, high, low, 0, 0, 0, 0]
}

fn record(name: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = encode(name);
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 120]);
    bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend(data);
    bytes
}

fn encode(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}
