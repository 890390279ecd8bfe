//! What a set of observed mappings says about the NAT that made them.

use crate::report::Behaviour;
use std::net::SocketAddr;

/// Largest step of an allocator that is called sequential. Real ones take 1 or 2; others' traffic adds a little.
const LARGEST_STEP: i32 = 64;

/// One mapping, as one server saw it. Samples are kept in the order in which their requests were first sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// The socket that asked.
    pub(super) socket: usize,
    /// Its own address.
    pub(super) local: SocketAddr,
    /// Who was asked.
    pub(super) destination: SocketAddr,
    /// From where the request was seen to come.
    pub(super) mapped: SocketAddr,
    /// How many questions were begun before this one.
    pub(super) order: usize,
    /// The request was sent once only, so that the order of samples is the order in which mappings were made.
    pub(super) in_order: bool,
}

/// On what mappings depend, and whether they vary at all, as far as the samples of one socket can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) mapping: Option<Behaviour>,
    pub(super) varies: Option<bool>,
}

/// RFC 5780 §4.3, for any set of destinations: pairs that differ in the port alone tell whether the port matters, pairs
/// that differ in the address tell whether the address does.
pub(super) fn mapping(samples: &[Sample]) -> Verdict {
    let (mut by_port, mut by_address) = (None, None);
    for (index, one) in samples.iter().enumerate() {
        for other in samples[index + 1..]
            .iter()
            .filter(|other| other.socket == one.socket)
        {
            let differs = one.mapped != other.mapped;
            let slot = match one.destination.ip() == other.destination.ip() {
                true if one.destination == other.destination => continue,
                true => &mut by_port,
                false => &mut by_address,
            };
            *slot = Some(slot.unwrap_or(false) || differs);
        }
    }
    let mapping = match (by_address, by_port) {
        (_, Some(true)) => Some(Behaviour::AddressAndPortDependent),
        (Some(true), Some(false)) => Some(Behaviour::AddressDependent),
        (Some(false), _) => Some(Behaviour::EndpointIndependent),
        (Some(true), None) | (None, _) => None,
    };
    let varies = match (by_address, by_port) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), _) => Some(false),
        (None, _) => None,
    };
    Verdict { mapping, varies }
}

/// Whether outside ports are the local ones: what most sockets' first mapping says, since one port may be taken.
pub(super) fn preservation(samples: &[Sample]) -> Option<bool> {
    let first = first_of_sockets(samples);
    let kept = first
        .iter()
        .filter(|sample| sample.mapped.port() == sample.local.port())
        .count();
    (!first.is_empty()).then_some(kept * 2 > first.len())
}

/// The step between successive new mappings, if at least half of the steps are the same, and small.
pub(super) fn port_delta(samples: &[Sample]) -> Option<i32> {
    let mut fresh: Vec<&Sample> = Vec::new();
    let mut steps = Vec::new();
    let mut unbroken = false;
    for sample in samples {
        if fresh
            .iter()
            .any(|known| known.socket == sample.socket && known.mapped == sample.mapped)
        {
            continue;
        }
        if let (true, true, Some(last)) = (unbroken, sample.in_order, fresh.last()) {
            steps.push(step(last.mapped.port(), sample.mapped.port()));
        }
        unbroken = sample.in_order;
        fresh.push(sample);
    }
    if fresh
        .iter()
        .all(|sample| sample.mapped.port() == sample.local.port())
    {
        return None;
    }
    let often = |delta: &i32| steps.iter().filter(|step| *step == delta).count();
    let delta = steps
        .iter()
        .copied()
        .max_by_key(|delta| (often(delta), -delta.abs()))?;
    let common = often(&delta) >= 2 && often(&delta) * 2 >= steps.len();
    (common && delta != 0 && delta.abs() <= LARGEST_STEP).then_some(delta)
}

/// The shorter way round.
fn step(from: u16, to: u16) -> i32 {
    i32::from(to.wrapping_sub(from).cast_signed())
}

fn first_of_sockets(samples: &[Sample]) -> Vec<&Sample> {
    let mut first: Vec<&Sample> = Vec::new();
    for sample in samples {
        if first.iter().all(|known| known.socket != sample.socket) {
            first.push(sample);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use Behaviour::{AddressAndPortDependent, AddressDependent, EndpointIndependent};

    const SERVERS: [&str; 4] = ["5.0.0.1:1", "5.0.0.2:1", "5.0.0.2:2", "5.0.0.1:2"];

    fn sample(socket: usize, destination: &str, port: u16) -> Sample {
        Sample {
            socket,
            local: SocketAddr::from(([10, 0, 0, 1], 4000 + socket as u16)),
            destination: destination.parse().unwrap(),
            mapped: SocketAddr::from(([9, 9, 9, 9], port)),
            order: 0,
            in_order: true,
        }
    }

    fn samples(ports: [u16; 4]) -> Vec<Sample> {
        SERVERS
            .iter()
            .zip(ports)
            .map(|(to, port)| sample(0, to, port))
            .collect()
    }

    #[test]
    fn four_destinations_tell_the_mapping() {
        for (ports, expected) in [
            ([7, 7, 7, 7], EndpointIndependent),
            ([7, 8, 8, 7], AddressDependent),
            ([7, 8, 9, 5], AddressAndPortDependent),
        ] {
            assert_eq!(mapping(&samples(ports)).mapping, Some(expected));
            assert_eq!(
                mapping(&samples(ports)).varies,
                Some(expected != EndpointIndependent)
            );
        }
    }

    #[test]
    fn fewer_destinations_tell_what_they_can() {
        let [a, b, c, d] = <[Sample; 4]>::try_from(samples([7, 8, 9, 5])).unwrap();
        let told = |samples: &[Sample]| (mapping(samples).mapping, mapping(samples).varies);
        assert_eq!(told(&[a]), (None, None));
        assert_eq!(
            told(&[a, b]),
            (None, Some(true)),
            "address, or address and port"
        );
        assert_eq!(told(&[a, d]), (Some(AddressAndPortDependent), Some(true)));
        assert_eq!(
            told(&[b, c, a]),
            (Some(AddressAndPortDependent), Some(true))
        );
        let [a, _, c, d] = <[Sample; 4]>::try_from(samples([7, 7, 7, 7])).unwrap();
        assert_eq!(told(&[a, c]), (Some(EndpointIndependent), Some(false)));
        assert_eq!(
            told(&[a, d]),
            (None, None),
            "another address may still matter"
        );
    }

    #[test]
    fn sockets_are_not_compared_with_each_other() {
        let told = mapping(&[sample(0, SERVERS[0], 7), sample(1, SERVERS[1], 8)]);
        assert_eq!(told.varies, None);
    }

    #[test]
    fn steps_of_a_sequential_allocator() {
        let ports = |ports: &[u16]| -> Vec<Sample> {
            ports
                .iter()
                .enumerate()
                .map(|(socket, port)| sample(socket, SERVERS[0], *port))
                .collect()
        };
        assert_eq!(port_delta(&ports(&[100, 101, 102])), Some(1));
        assert_eq!(port_delta(&ports(&[100, 98, 96, 94])), Some(-2));
        assert_eq!(
            port_delta(&ports(&[65534, 65535, 0, 1])),
            Some(1),
            "around the end"
        );
        assert_eq!(
            port_delta(&ports(&[100, 102, 109, 111, 113])),
            Some(2),
            "with somebody else in between"
        );
        assert_eq!(
            port_delta(&ports(&[100, 101])),
            None,
            "one step says nothing"
        );
        assert_eq!(port_delta(&ports(&[100, 7000, 421, 60000])), None);
        assert_eq!(port_delta(&ports(&[100, 1100, 2100, 3100])), None);
        assert_eq!(
            port_delta(&ports(&[4000, 4001, 4002])),
            None,
            "preserved, not allocated"
        );
        let mut late = ports(&[100, 101, 102, 103]);
        late[1].in_order = false;
        assert_eq!(
            port_delta(&late),
            None,
            "resent requests may have made their mappings in any order"
        );
    }

    #[test]
    fn most_sockets_decide_on_preservation() {
        let kept = |ports: [u16; 3]| {
            let samples: Vec<_> = (0..3)
                .map(|socket| sample(socket, SERVERS[0], ports[socket]))
                .collect();
            preservation(&samples)
        };
        assert_eq!(kept([4000, 4001, 4002]), Some(true));
        assert_eq!(kept([4000, 61000, 4002]), Some(true), "one port was taken");
        assert_eq!(kept([4000, 61000, 61001]), Some(false));
        assert_eq!(preservation(&[]), None);
    }
}
