//! How this side's NAT maps the UDP port, told from where others see it (RFC 4787 §4.1).
//!
//! It is a hint: it chooses tactics against hard NATs, and nothing that works without it waits for it.

use crate::attempt::NatHint;
use dig_types::NodeId;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// A regular NAT counts by little; between two questions few other programs get a port.
const LARGEST_STEP: i32 = 64;

/// Somebody who sees this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Witness {
    /// A STUN server. Two ports of one address may see the same where another address does not (address-dependent mapping).
    Server(IpAddr),
    /// A carrier of signals.
    Carrier(NodeId),
}

impl From<IpAddr> for Witness {
    fn from(ip: IpAddr) -> Self {
        Self::Server(ip)
    }
}

impl From<NodeId> for Witness {
    fn from(node: NodeId) -> Self {
        Self::Carrier(node)
    }
}

/// Where the UDP port is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sighting {
    /// By whom.
    pub(super) by: Witness,
    /// Where.
    pub(super) at: SocketAddr,
    /// Its place among those that were asked in order.
    pub(super) place: Option<usize>,
}

/// Judges by the family in which there is more to judge by, IPv4 first: there the NATs are.
pub(super) fn hint(own: &[IpAddr], port: u16, seen: Vec<Sighting>) -> NatHint {
    let (v4, v6): (Vec<_>, Vec<_>) = seen.into_iter().partition(|seen| seen.at.is_ipv4());
    let mut seen = if v4.is_empty() { v6 } else { v4 };
    if seen.is_empty() {
        return NatHint::Unknown;
    }
    if seen
        .iter()
        .all(|seen| own.contains(&seen.at.ip()) && seen.at.port() == port)
    {
        return NatHint::Open;
    }
    let places: BTreeSet<SocketAddr> = seen.iter().map(|seen| seen.at).collect();
    if places.len() > 1 {
        seen.sort_by_key(|seen| seen.place);
        return NatHint::Dependent { step: step(&seen) };
    }
    let witnesses: BTreeSet<Witness> = seen.iter().map(|seen| seen.by).collect();
    if witnesses.len() > 1 {
        NatHint::Independent
    } else {
        NatHint::Unknown
    }
}

/// By how much the ports of one address differ that were asked for one after the other, if they tell. Some may lie further
/// apart by a multiple of it: other programs got those between.
fn step(seen: &[Sighting]) -> Option<i16> {
    let asked = seen.iter().filter(|seen| seen.place.is_some());
    let ports: Vec<SocketAddr> = asked.map(|seen| seen.at).collect();
    regular(&ports)
}

/// The step of ports that were given out in this order, if they are regular.
pub(super) fn regular(ports: &[SocketAddr]) -> Option<i16> {
    let steps: Vec<i32> = ports
        .windows(2)
        .map(|pair| match pair {
            [one, next] if one.ip() == next.ip() => i32::from(next.port()) - i32::from(one.port()),
            _ => 0,
        })
        .collect();
    let step = *steps.iter().min_by_key(|step| step.abs())?;
    let regular = step != 0
        && steps.iter().all(|other| {
            other % step == 0 && other.signum() == step.signum() && other.abs() <= LARGEST_STEP
        });
    regular.then(|| i16::try_from(step).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "10.0.0.5";
    const PORT: u16 = 4000;

    fn server(number: u8) -> Witness {
        Witness::Server(IpAddr::from([192, 0, 2, number]))
    }

    fn carrier(number: u8) -> Witness {
        Witness::Carrier(NodeId::from_bytes([number; 32]))
    }

    /// Judges sightings in the order of asking, where only servers were asked in order.
    fn told(seen: &[(Witness, &str)]) -> NatHint {
        let seen = seen.iter().enumerate().map(|(place, (by, at))| Sighting {
            by: *by,
            at: at.parse().unwrap(),
            place: matches!(by, Witness::Server(_)).then_some(place),
        });
        hint(&[OWN.parse().unwrap()], PORT, seen.collect())
    }

    #[test]
    fn one_witness_tells_only_that_there_is_no_nat() {
        assert_eq!(told(&[]), NatHint::Unknown);
        assert_eq!(told(&[(server(1), "10.0.0.5:4000")]), NatHint::Open);
        assert_eq!(told(&[(server(1), "44.0.0.1:4000")]), NatHint::Unknown);
        assert_eq!(
            told(&[(server(1), "10.0.0.5:4001")]),
            NatHint::Unknown,
            "something stands between, though it keeps the address"
        );
    }

    #[test]
    fn two_ports_of_one_server_do_not_tell_what_another_one_sees() {
        let same = [(server(1), "44.0.0.1:7000"), (server(1), "44.0.0.1:7000")];
        assert_eq!(told(&same), NatHint::Unknown);
        let two = [(server(1), "44.0.0.1:7000"), (server(2), "44.0.0.1:7000")];
        assert_eq!(told(&two), NatHint::Independent);
        let carried = [(server(1), "44.0.0.1:7000"), (carrier(1), "44.0.0.1:7000")];
        assert_eq!(told(&carried), NatHint::Independent);
    }

    #[test]
    fn different_ports_are_given_by_destination() {
        for (ports, step) in [
            (&[7000, 7001][..], Some(1)),
            (&[7000, 6998, 6996], Some(-2)),
            (&[7000, 7002, 7008], Some(2)),
            (&[7000, 7003, 7005], None),
            (&[7000, 7001, 7000], None),
            (&[7000, 41_234], None),
            (&[7000, 7000, 7001], None),
        ] {
            let seen: Vec<(Witness, String)> = (1..)
                .zip(ports)
                .map(|(number, port)| (server(number), format!("44.0.0.1:{port}")))
                .collect();
            let seen: Vec<(Witness, &str)> =
                seen.iter().map(|(by, at)| (*by, at.as_str())).collect();
            assert_eq!(told(&seen), NatHint::Dependent { step }, "{ports:?}");
        }
    }

    #[test]
    fn carriers_have_no_part_in_the_step() {
        let seen = [
            (carrier(1), "44.0.0.1:9999"),
            (server(1), "44.0.0.1:7000"),
            (server(2), "44.0.0.1:7001"),
        ];
        assert_eq!(told(&seen), NatHint::Dependent { step: Some(1) });
        let carried = [(server(1), "44.0.0.1:7000"), (carrier(1), "44.0.0.1:7001")];
        assert_eq!(told(&carried), NatHint::Dependent { step: None });
    }

    #[test]
    fn many_outside_addresses_are_many_ports() {
        let seen = [(server(1), "44.0.0.1:7000"), (server(2), "44.0.0.2:7000")];
        assert_eq!(told(&seen), NatHint::Dependent { step: None });
    }

    #[test]
    fn ipv6_counts_where_there_is_nothing_else() {
        let v6: SocketAddr = "[2001:db8::5]:4000".parse().unwrap();
        let open = Sighting {
            by: server(1),
            at: v6,
            place: Some(0),
        };
        assert_eq!(hint(&[v6.ip()], PORT, vec![open]), NatHint::Open);
        let nat = Sighting {
            at: "44.0.0.1:4000".parse().unwrap(),
            ..open
        };
        assert_eq!(hint(&[v6.ip()], PORT, vec![open, nat]), NatHint::Unknown);
    }
}
