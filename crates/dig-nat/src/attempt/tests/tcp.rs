//! TCP as far as an attempt notices it: opening, both ways and at once, refusal, loss, and the first bytes.

use crate::attempt::{Connect, LocalPort, Output, PREAMBLE, StreamEvent, StreamFailure, StreamId};
use bytes::Bytes;
use dig_lab::packet::{Content, Packet, TcpFlags};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    SynSent,
    SynReceived,
    Established,
    Closed,
}

#[derive(Debug)]
pub(super) struct Conn {
    local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// Of the attempt; not yet known for one accepted.
    pub(super) id: Option<StreamId>,
    pub(super) state: State,
    out: Option<Bytes>,
    heard: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Timer {
    Begin(Connect),
    Syn { conn: usize, next: u64 },
    Data { conn: usize, left: u8 },
    GiveUp(StreamId),
}

#[derive(Debug)]
pub(super) enum Wire {
    Send(Packet),
    Later(Duration, Timer),
}

/// What the driver of the attempt is told.
#[derive(Debug)]
pub(super) enum Told {
    Event(StreamId, StreamEvent),
    Accepted {
        conn: usize,
        remote: SocketAddr,
        preamble: [u8; PREAMBLE],
    },
}

#[derive(Debug)]
pub(super) struct Tcp {
    ips: Vec<IpAddr>,
    listening: u16,
    pub(super) conns: Vec<Conn>,
    abandoned: Vec<StreamId>,
    ephemeral: u16,
    pub(super) told: Vec<Told>,
}

impl Tcp {
    pub(super) fn new(ips: Vec<IpAddr>, listening: u16) -> Self {
        Self {
            ips,
            listening,
            conns: Vec::new(),
            abandoned: Vec::new(),
            ephemeral: 30_000,
            told: Vec::new(),
        }
    }

    fn tell(&mut self, id: StreamId, event: StreamEvent) {
        if !self.abandoned.contains(&id) {
            self.told.push(Told::Event(id, event));
        }
    }

    pub(super) fn output(&mut self, now: Duration, output: Output) -> Vec<Wire> {
        match output {
            Output::Connect(connect) => vec![Wire::Later(
                connect.not_before.max(now),
                Timer::Begin(connect),
            )],
            Output::Write { id, bytes } => {
                let Some(conn) = self.conns.iter().position(|conn| conn.id == Some(id)) else {
                    return Vec::new();
                };
                self.conns[conn].out = Some(Bytes::copy_from_slice(&bytes));
                self.timer(now, Timer::Data { conn, left: 8 })
            }
            Output::Abandon { id } => {
                self.abandoned.push(id);
                let Some(conn) = self.conns.iter_mut().find(|conn| conn.id == Some(id)) else {
                    return Vec::new();
                };
                let was = std::mem::replace(&mut conn.state, State::Closed);
                match was {
                    State::Established => vec![Wire::Send(Packet::tcp(
                        conn.local,
                        conn.remote,
                        TcpFlags::FIN,
                    ))],
                    _ => Vec::new(),
                }
            }
            _ => panic!("not for TCP"),
        }
    }

    pub(super) fn timer(&mut self, now: Duration, timer: Timer) -> Vec<Wire> {
        match timer {
            Timer::Begin(connect) => self.begin(now, &connect),
            Timer::Syn { conn, next } => {
                let flags = match self.conns[conn].state {
                    State::SynSent => TcpFlags::SYN,
                    State::SynReceived => TcpFlags::SYN_ACK,
                    _ => return Vec::new(),
                };
                let again = Wire::Later(
                    now + Duration::from_secs(next),
                    Timer::Syn {
                        conn,
                        next: next * 2,
                    },
                );
                vec![self.packet(conn, flags, Bytes::new()), again]
            }
            Timer::Data { conn, left } => match &self.conns[conn].out {
                Some(bytes) if left > 0 && self.conns[conn].state == State::Established => {
                    let again = Wire::Later(
                        now + Duration::from_millis(300),
                        Timer::Data {
                            conn,
                            left: left - 1,
                        },
                    );
                    vec![self.packet(conn, TcpFlags::ACK, bytes.clone()), again]
                }
                _ => Vec::new(),
            },
            Timer::GiveUp(id) => {
                if let Some(conn) = self.conns.iter_mut().find(|conn| conn.id == Some(id))
                    && matches!(conn.state, State::SynSent | State::SynReceived)
                {
                    conn.state = State::Closed;
                    self.tell(id, StreamEvent::Failed(StreamFailure::TimedOut));
                }
                Vec::new()
            }
        }
    }

    fn begin(&mut self, now: Duration, connect: &Connect) -> Vec<Wire> {
        if self.abandoned.contains(&connect.id) {
            return Vec::new();
        }
        let port = match connect.from {
            LocalPort::Listening => self.listening,
            LocalPort::Fresh(at) => 5000 + at as u16,
            LocalPort::Ephemeral => {
                self.ephemeral += 1;
                self.ephemeral
            }
        };
        let ip = self
            .ips
            .iter()
            .find(|ip| ip.is_ipv4() == connect.to.is_ipv4());
        let Some(local) = ip.map(|ip| SocketAddr::new(*ip, port)) else {
            self.tell(
                connect.id,
                StreamEvent::Failed(StreamFailure::Other("no route".into())),
            );
            return Vec::new();
        };
        let busy = |conn: &Conn| {
            conn.local == local && conn.remote == connect.to && conn.state != State::Closed
        };
        if self.conns.iter().any(busy) {
            self.tell(
                connect.id,
                StreamEvent::Failed(StreamFailure::Other("address in use".into())),
            );
            return Vec::new();
        }
        let conn = self.add(local, connect.to, Some(connect.id), State::SynSent);
        vec![
            self.packet(conn, TcpFlags::SYN, Bytes::new()),
            Wire::Later(now + Duration::from_secs(1), Timer::Syn { conn, next: 2 }),
            Wire::Later(
                connect.not_before + connect.timeout,
                Timer::GiveUp(connect.id),
            ),
        ]
    }

    fn add(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        id: Option<StreamId>,
        state: State,
    ) -> usize {
        self.conns.push(Conn {
            local,
            remote,
            id,
            state,
            out: None,
            heard: false,
        });
        self.conns.len() - 1
    }

    fn packet(&self, conn: usize, flags: TcpFlags, payload: Bytes) -> Wire {
        let Conn { local, remote, .. } = self.conns[conn];
        let mut packet = Packet::tcp(local, remote, flags);
        packet.payload = payload;
        Wire::Send(packet)
    }

    fn establish(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        if conn.state != State::Established {
            conn.state = State::Established;
            let (local, remote) = (conn.local, conn.remote);
            if let Some(id) = conn.id {
                self.tell(id, StreamEvent::Connected { local, remote });
            }
        }
    }

    pub(super) fn segment(&mut self, now: Duration, packet: &Packet) -> Vec<Wire> {
        let Content::Tcp(flags) = packet.content else {
            return Vec::new();
        };
        let (local, remote) = (packet.destination, packet.source);
        let open = |conn: &Conn| {
            conn.local == local && conn.remote == remote && conn.state != State::Closed
        };
        let Some(at) = self.conns.iter().position(open) else {
            if flags == TcpFlags::SYN && local.port() == self.listening {
                let conn = self.add(local, remote, None, State::SynReceived);
                let again = Wire::Later(now + Duration::from_secs(1), Timer::Syn { conn, next: 2 });
                return vec![self.packet(conn, TcpFlags::SYN_ACK, Bytes::new()), again];
            }
            let refusal = Wire::Send(Packet::tcp(local, remote, TcpFlags::RST));
            return if flags.rst || flags.fin {
                Vec::new()
            } else {
                vec![refusal]
            };
        };
        let state = self.conns[at].state;
        if flags.rst {
            self.conns[at].state = State::Closed;
            if let Some(id) = self.conns[at].id.filter(|_| state != State::Established) {
                self.tell(id, StreamEvent::Failed(StreamFailure::Refused));
            }
            return Vec::new();
        }
        if flags.fin {
            self.conns[at].state = State::Closed;
            if let Some(id) = self.conns[at].id {
                self.tell(id, StreamEvent::Failed(StreamFailure::Closed));
            }
            return Vec::new();
        }
        match (flags.syn, flags.ack, state) {
            (true, false, State::SynSent) => {
                self.conns[at].state = State::SynReceived;
                vec![self.packet(at, TcpFlags::SYN_ACK, Bytes::new())]
            }
            (true, false, _) => vec![self.packet(at, TcpFlags::SYN_ACK, Bytes::new())],
            (true, true, _) => {
                self.establish(at);
                vec![self.packet(at, TcpFlags::ACK, Bytes::new())]
            }
            (false, _, State::SynSent) => Vec::new(),
            _ => {
                self.establish(at);
                self.data(at, &packet.payload)
            }
        }
    }

    fn data(&mut self, at: usize, payload: &Bytes) -> Vec<Wire> {
        if payload.is_empty() {
            return Vec::new();
        }
        // The receipt of the preamble: one byte.
        if payload.len() == 1 {
            self.conns[at].out = None;
            return Vec::new();
        }
        if !std::mem::replace(&mut self.conns[at].heard, true) {
            let preamble: [u8; PREAMBLE] = payload[..].try_into().unwrap();
            let remote = self.conns[at].remote;
            match self.conns[at].id {
                Some(id) => self.tell(id, StreamEvent::Preamble(preamble)),
                None => self.told.push(Told::Accepted {
                    conn: at,
                    remote,
                    preamble,
                }),
            }
        }
        vec![self.packet(at, TcpFlags::ACK, Bytes::from_static(b"."))]
    }
}
