//! A peer: its host, and the driver of its attempt.

use super::tcp::{Tcp, Timer, Told, Wire};
use crate::attempt::{Attempt, AttemptConfig, Ended, Local, Output, Path, Port, Tag};
use bytes::Bytes;
use dig_lab::packet::Packet;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Of both UDP and TCP.
pub(super) const PORT: u16 = 4000;

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
        }
    }

    /// The end of this host that talks to an address.
    pub(super) fn source(&self, to: SocketAddr) -> Option<SocketAddr> {
        let ip = self.ips.iter().find(|ip| ip.is_ipv4() == to.is_ipv4())?;
        Some(SocketAddr::new(*ip, PORT))
    }

    /// A datagram; what to answer, if it is data.
    pub(super) fn datagram(
        &mut self,
        now: Duration,
        source: SocketAddr,
        bytes: &Bytes,
    ) -> Option<Bytes> {
        if Tag::read(bytes).is_some() {
            if let Some(attempt) = &mut self.attempt {
                attempt.on_datagram(now, Port::Shared, source, bytes);
            }
            return None;
        }
        self.data.push(bytes.clone());
        (bytes == "data").then(|| "echo".into())
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
