//! Our implementation, with a socket and a clock.

use super::aioice::Introduction;
use dig_nat::{
    attempt::ice::{Credentials, Ice, IceOutput, IcePair},
    candidate::{Candidate, CandidateKind, Transport},
    stun::{Query, TransactionId},
};
use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

/// What we say over the pair.
pub(crate) const SAID: &str = "from dig-nat";

/// How long a side may take on a machine that is busy with others.
const LIMIT: Duration = Duration::from_secs(10);

/// How long it goes on answering after it has heard the other side: that may still be checking.
const LINGER: Duration = Duration::from_secs(2);

/// What was nominated last.
#[derive(Debug)]
pub(crate) struct Nominated {
    pub(crate) own: SocketAddr,
    pub(crate) reflexive: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) controlling: bool,
}

pub(crate) struct Own {
    ice: Ice,
    socket: UdpSocket,
    host: SocketAddr,
    reflexive: SocketAddr,
    start: Instant,
    introduction: Introduction,
}

impl Own {
    /// On the machine where this is called.
    pub(crate) fn start(server: SocketAddr, controlling: bool, peer: &Introduction) -> Self {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // The address that the way to the server begins with.
        let way = UdpSocket::bind("0.0.0.0:0").unwrap();
        way.connect(server).unwrap();
        let ip: IpAddr = way.local_addr().unwrap().ip();
        let host = SocketAddr::new(ip, socket.local_addr().unwrap().port());
        let reflexive = ask(&socket, server);
        let own = Credentials {
            ufrag: "ours".into(),
            password: "0123456789abcdefghijkl".into(),
        };
        let mut ice = Ice::new(own.clone(), controlling, 1 << 40);
        ice.set_peer(Credentials {
            ufrag: peer.ufrag.clone(),
            password: peer.password.clone(),
        });
        assert!(ice.add_local(candidate(CandidateKind::Host, host), host));
        let mut candidates = vec![("host".to_owned(), host, 126 << 24 | 65_534 << 8 | 255)];
        if reflexive != host {
            let seen = candidate(CandidateKind::ServerReflexive, reflexive);
            assert!(ice.add_local(seen, host));
            candidates.push(("srflx".to_owned(), reflexive, 100 << 24 | 32_766 << 8 | 255));
        }
        for (kind, addr, _) in &peer.candidates {
            let kind = match kind.as_str() {
                "host" => CandidateKind::Host,
                "srflx" => CandidateKind::ServerReflexive,
                "relay" => CandidateKind::Relayed,
                other => panic!("a candidate of type {other}"),
            };
            assert!(ice.add_remote(candidate(kind, *addr)));
        }
        let introduction = Introduction {
            ufrag: own.ufrag,
            password: own.password,
            candidates,
        };
        Self {
            ice,
            socket,
            host,
            reflexive,
            start: Instant::now(),
            introduction,
        }
    }

    pub(crate) fn introduction(&self) -> Introduction {
        self.introduction.clone()
    }

    /// Checks until data came over the nominated pair, and a while longer.
    pub(crate) fn run(&mut self) -> Nominated {
        self.ice.check_until(Duration::ZERO, LIMIT);
        let (mut pair, mut heard): (Option<IcePair>, Option<Duration>) = (None, None);
        loop {
            let now = self.start.elapsed();
            self.ice.on_timeout(now);
            while let Some(output) = self.ice.poll() {
                match output {
                    IceOutput::Datagram {
                        from, to, bytes, ..
                    } => {
                        assert_eq!(from, self.host);
                        let _ = self.socket.send_to(&bytes, to);
                    }
                    IceOutput::Nominated(nominated) => pair = Some(nominated),
                    IceOutput::Failed => panic!("no pair was nominated"),
                }
            }
            if let Some(pair) = pair {
                let _ = self.socket.send_to(SAID.as_bytes(), pair.remote);
                if heard.is_some_and(|when| now > when + LINGER) {
                    return Nominated {
                        own: pair.local,
                        reflexive: self.reflexive,
                        remote: pair.remote,
                        controlling: self.ice.is_controlling(),
                    };
                }
            }
            assert!(now < LIMIT, "nothing came over {pair:?}");
            if let Some((source, bytes)) = self.receive() {
                let now = self.start.elapsed();
                let taken = self.ice.on_datagram(now, self.host, source, &bytes);
                if taken.is_none() && bytes == b"from aioice" {
                    heard.get_or_insert(now);
                }
            }
        }
    }

    /// What comes in the next milliseconds.
    fn receive(&self) -> Option<(SocketAddr, Vec<u8>)> {
        self.socket
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let mut bytes = vec![0; 2000];
        let (length, source) = self.socket.recv_from(&mut bytes).ok()?;
        bytes.truncate(length);
        Some((source, bytes))
    }
}

fn candidate(kind: CandidateKind, addr: SocketAddr) -> Candidate {
    let transport = Transport::Udp;
    Candidate {
        kind,
        transport,
        addr,
    }
}

/// Where a server sees a socket.
fn ask(socket: &UdpSocket, server: SocketAddr) -> SocketAddr {
    let start = Instant::now();
    let mut query = Query::new(Duration::ZERO, server, TransactionId([7; 12]));
    socket
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    loop {
        while let Some(bytes) = query.poll(start.elapsed()) {
            socket.send_to(&bytes, server).unwrap();
        }
        let mut bytes = [0; 2000];
        if let Ok((length, source)) = socket.recv_from(&mut bytes) {
            query.on_datagram(start.elapsed(), source, &bytes[..length]);
        }
        if let Some(result) = query.outcome() {
            return result.unwrap().mapped;
        }
    }
}
