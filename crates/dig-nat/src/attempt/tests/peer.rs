//! A peer: its host, and the driver of its attempt.

use super::tcp::{Tcp, Timer, Told, Wire};
use crate::{
    attempt::{Attempt, AttemptConfig, Ended, Local, Output, Path, Port, Tag},
    stun::is_stun,
};
use bytes::Bytes;
use dig_lab::packet::Packet;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Of both UDP and TCP.
pub(super) const PORT: u16 = 4000;

/// Of the first socket that is opened for guesses.
pub(super) const EXTRA: u16 = 20_000;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) site: usize,
    pub(super) ips: Vec<IpAddr>,
    pub(super) local: Local,
    pub(super) config: AttemptConfig,
    pub(super) attempt: Option<Attempt>,
    pub(super) tcp: Tcp,
    pub(super) found: Vec<(Duration, Path)>,
    pub(super) ended: Option<(Duration, Ended)>,
    /// What came over the path that was found.
    pub(super) data: Vec<Bytes>,
    /// Sockets that it may open, and packets that it may send, for guesses.
    pub(super) sockets: u16,
    pub(super) packets: u16,
    /// Sockets that are open for guesses.
    pub(super) extra: BTreeSet<u16>,
    /// What was left over of guesses that have ended.
    pub(super) unused: Vec<u16>,
}

impl Peer {
    pub(super) fn new(site: usize, ips: &[&str], config: AttemptConfig) -> Self {
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        Self {
            site,
            local: Local::default(),
            config,
            attempt: None,
            tcp: Tcp::new(ips.clone(), PORT),
            ips,
            found: Vec::new(),
            ended: None,
            data: Vec::new(),
            sockets: u16::MAX,
            packets: u16::MAX,
            extra: BTreeSet::new(),
            unused: Vec::new(),
        }
    }

    /// The end of one of this host's sockets that talks to an address.
    pub(super) fn source(&self, from: Port, to: SocketAddr) -> Option<SocketAddr> {
        let ip = self.ips.iter().find(|ip| ip.is_ipv4() == to.is_ipv4())?;
        let port = match from {
            Port::Shared => PORT,
            Port::Extra(number) if self.extra.contains(&number) => EXTRA + number,
            _ => return None,
        };
        Some(SocketAddr::new(*ip, port))
    }

    /// Which socket a port is that of.
    pub(super) fn socket(&self, port: u16) -> Option<Port> {
        if port == PORT {
            return Some(Port::Shared);
        }
        let number = port.checked_sub(EXTRA)?;
        self.extra.contains(&number).then_some(Port::Extra(number))
    }

    /// Guessing is over: sockets over which no path goes are closed.
    pub(super) fn close_extra(&mut self, keep: Option<u16>, unused: u16) {
        let found = &self.found;
        let used = |number: &u16| {
            keep == Some(*number)
                || found
                    .iter()
                    .any(|(_, path)| path.from == Port::Extra(*number))
        };
        self.extra.retain(used);
        self.unused.push(unused);
    }

    /// A datagram; what to answer, if it is data.
    pub(super) fn datagram(
        &mut self,
        now: Duration,
        at: Port,
        source: SocketAddr,
        bytes: &Bytes,
    ) -> Option<Bytes> {
        if Tag::read(bytes).is_some() || is_stun(bytes) {
            if let Some(attempt) = &mut self.attempt {
                attempt.on_datagram(now, at, source, bytes);
            }
            return None;
        }
        self.data.push(bytes.clone());
        let number = bytes.strip_prefix(b"data ")?;
        Some([b"echo ", number].concat().into())
    }

    pub(super) fn segment(&mut self, now: Duration, packet: &Packet) -> Vec<Wire> {
        let wires = self.tcp.segment(now, packet);
        self.tell(now, wires)
    }

    pub(super) fn timer(&mut self, now: Duration, timer: Timer) -> Vec<Wire> {
        let wires = self.tcp.timer(now, timer);
        self.tell(now, wires)
    }

    pub(super) fn tcp_output(&mut self, now: Duration, output: Output) -> Vec<Wire> {
        let wires = self.tcp.output(now, output);
        self.tell(now, wires)
    }

    fn tell(&mut self, now: Duration, wires: Vec<Wire>) -> Vec<Wire> {
        for told in std::mem::take(&mut self.tcp.told) {
            let Some(attempt) = &mut self.attempt else {
                continue;
            };
            match told {
                Told::Event(id, event) => attempt.on_stream(now, id, event),
                Told::Accepted {
                    conn,
                    remote,
                    preamble,
                } => {
                    self.tcp.conns[conn].id = attempt.on_accept(now, remote, &preamble);
                }
            }
        }
        wires
    }
}
