//! Observed addresses on the wire: transport u8 ‖ family u8 ‖ IP ‖ port u16.

use crate::{candidate::Transport, signaling::Observed};
use std::net::{IpAddr, SocketAddr};

/// Appends an address; IPv4 never in IPv6 clothes.
pub(super) fn put(out: &mut Vec<u8>, observed: &Observed) {
    out.push(match observed.transport {
        Transport::Udp => 1,
        Transport::Tcp => 2,
    });
    match observed.addr.ip().to_canonical() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend(ip.octets());
        }
    }
    out.extend(observed.addr.port().to_be_bytes());
}

/// Takes an address from the front.
pub(super) fn take(rest: &mut &[u8]) -> Option<Observed> {
    let [transport, family] = take_array(rest)?;
    let transport = match transport {
        1 => Transport::Udp,
        2 => Transport::Tcp,
        _ => return None,
    };
    let ip = match family {
        4 => IpAddr::from(take_array::<4>(rest)?),
        6 => IpAddr::from(take_array::<16>(rest)?).to_canonical(),
        _ => return None,
    };
    let port = u16::from_be_bytes(take_array(rest)?);
    Some(Observed {
        transport,
        addr: SocketAddr::new(ip, port),
    })
}

/// Takes a fixed number of bytes from the front.
pub(super) fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*field)
}
