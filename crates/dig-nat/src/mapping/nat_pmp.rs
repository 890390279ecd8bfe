//! NAT-PMP (RFC 6886), by the crate `natpmp`.
//!
//! Its reader has no timer, never asks again, looks neither at the length of a datagram nor at what it answers. So it gets a
//! socket that lets through only what answers the question, and this module keeps the time.

use super::{
    exchange::{SERVER_PORT, connect, waits},
    leases::Granted,
    network::Link,
    refusal::Refusal,
};
use crate::candidate::Transport;
use natpmp::{AsyncUdpSocket, Error, NatpmpAsync, Protocol, Response, new_natpmp_async_with};
use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    time::Duration,
};
use tokio::{net::UdpSocket, time::timeout};

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    OutsideAddress,
    Map { transport: Transport, port: u16 },
}

impl Question {
    const fn opcode(self) -> u8 {
        match self {
            Self::OutsideAddress => 0,
            Self::Map { transport, .. } => match transport {
                Transport::Udp => 1,
                Transport::Tcp => 2,
            },
        }
    }

    /// Whether a datagram answers it (§3.2, §3.3), possibly with an error (§3.5), which may be as short as its first 8 bytes.
    fn is_answered_by(self, datagram: &[u8]) -> bool {
        let [version, opcode, high, low, ..] = *datagram else {
            return false;
        };
        if version != 0 || opcode != 0x80 | self.opcode() {
            return false;
        }
        if [high, low] != [0, 0] {
            return datagram.len() >= 8;
        }
        match self {
            Self::OutsideAddress => datagram.len() == 12,
            Self::Map { port, .. } => datagram.len() == 16 && datagram[8..10] == port.to_be_bytes(),
        }
    }
}

/// A socket connected to the gateway, on which the crate hears only answers to one question.
#[derive(Debug)]
struct Answers {
    socket: UdpSocket,
    question: Question,
}

type Io<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

// The signatures are those that the crate's `async_trait` makes.
impl AsyncUdpSocket for Answers {
    fn connect<'a, 'b, 'c>(&'a self, addr: &'b str) -> Io<'c, ()>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(self.socket.connect(addr))
    }

    fn send<'a, 'b, 'c>(&'a self, bytes: &'b [u8]) -> Io<'c, usize>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(self.socket.send(bytes))
    }

    fn recv<'a, 'b, 'c>(&'a self, buffer: &'b mut [u8]) -> Io<'c, usize>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let mut datagram = [0; 64];
            loop {
                let length = self.socket.recv(&mut datagram).await?;
                let received = &datagram[..length];
                if self.question.is_answered_by(received) {
                    let length = length.min(buffer.len());
                    buffer[..length].copy_from_slice(&received[..length]);
                    return Ok(length);
                }
            }
        })
    }
}

/// A request to map a port of this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapRequest {
    pub(super) transport: Transport,
    pub(super) port: u16,
    /// The outside port that is asked for; 0 with lifetime 0.
    pub(super) external_port: u16,
    /// In seconds; 0 removes the mapping (§3.4).
    pub(super) lifetime: u32,
}

impl MapRequest {
    /// Asks the gateway of that link.
    pub(super) async fn ask(&self, link: &Link) -> Result<Granted, Refusal> {
        let question = Question::Map {
            transport: self.transport,
            port: self.port,
        };
        let protocol = match self.transport {
            Transport::Udp => Protocol::UDP,
            Transport::Tcp => Protocol::TCP,
        };
        let client = open(link, question).await?;
        for wait in waits() {
            client
                .send_port_mapping_request(protocol, self.port, self.external_port, self.lifetime)
                .await
                .map_err(|error| refusal(&error))?;
            match timeout(wait, client.read_response_or_retry()).await {
                Ok(Ok(Response::UDP(answer) | Response::TCP(answer))) => {
                    let lifetime = *answer.lifetime();
                    let useless = answer.public_port() == 0 || lifetime == Duration::ZERO;
                    if useless && self.lifetime != 0 {
                        return Err(Refusal::Nonsense);
                    }
                    return Ok(Granted {
                        external: None,
                        port: answer.public_port(),
                        lifetime: Some(lifetime),
                        epoch: Some(answer.epoch()),
                        token: None,
                    });
                }
                Ok(Ok(Response::Gateway(_))) => return Err(Refusal::Nonsense),
                Ok(Err(error)) => return Err(refusal(&error)),
                Err(_) => {}
            }
        }
        Err(Refusal::NoAnswer)
    }

    /// Asks for the mapping and then for the address it is at (§3.2).
    pub(super) async fn ask_with_address(&self, link: &Link) -> Result<Granted, Refusal> {
        let granted = self.ask(link).await?;
        let external = outside_address(link).await.ok().map(IpAddr::V4);
        Ok(Granted {
            external,
            ..granted
        })
    }
}

/// The outside address of the gateway (§3.2); also tells whether it speaks NAT-PMP.
pub(super) async fn outside_address(link: &Link) -> Result<Ipv4Addr, Refusal> {
    let mut client = open(link, Question::OutsideAddress).await?;
    for wait in waits() {
        (client.send_public_address_request().await).map_err(|error| refusal(&error))?;
        match timeout(wait, client.read_response_or_retry()).await {
            Ok(Ok(Response::Gateway(answer))) => return Ok(*answer.public_address()),
            Ok(Ok(_)) => return Err(Refusal::Nonsense),
            Ok(Err(error)) => return Err(refusal(&error)),
            Err(_) => {}
        }
    }
    Err(Refusal::NoAnswer)
}

async fn open(link: &Link, question: Question) -> Result<NatpmpAsync<Answers>, Refusal> {
    let IpAddr::V4(gateway) = link.gateway(SERVER_PORT).ip() else {
        return Err(Refusal::Unsupported);
    };
    let socket = connect(link.local(), link.gateway(SERVER_PORT)).await?;
    Ok(new_natpmp_async_with(Answers { socket, question }, gateway))
}

/// §3.5.
const fn refusal(error: &Error) -> Refusal {
    match error {
        Error::NATPMP_ERR_UNSUPPORTEDVERSION | Error::NATPMP_ERR_UNSUPPORTEDOPCODE => {
            Refusal::Unsupported
        }
        Error::NATPMP_ERR_NOTAUTHORIZED => Refusal::Denied,
        Error::NATPMP_ERR_NETWORKFAILURE => Refusal::NoOutside,
        Error::NATPMP_ERR_OUTOFRESOURCES => Refusal::Exhausted,
        // "Port unreachable" comes as an error of the socket: nobody listens there.
        Error::NATPMP_ERR_SENDERR | Error::NATPMP_ERR_RECVFROM => Refusal::NoAnswer,
        _ => Refusal::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: Question = Question::Map {
        transport: Transport::Tcp,
        port: 0x1234,
    };

    #[test]
    fn only_what_answers_the_question_passes() {
        let answer = [
            0, 130, 0, 0, 0, 0, 0, 9, 0x12, 0x34, 0x56, 0x78, 0, 0, 0x1c, 0x20,
        ];
        assert!(MAP.is_answered_by(&answer));
        assert!(MAP.is_answered_by(&[0, 130, 0, 2, 0, 0, 0, 9]));
        assert!(
            Question::OutsideAddress.is_answered_by(&[0, 128, 0, 0, 0, 0, 0, 9, 44, 128, 0, 2])
        );
        assert!(!Question::OutsideAddress.is_answered_by(&answer));
        for at in [0, 1, 8, 9] {
            let mut other = answer;
            other[at] ^= 1;
            assert!(!MAP.is_answered_by(&other), "byte {at}");
        }
        for length in 0..16 {
            assert!(!MAP.is_answered_by(&answer[..length]), "{length}");
        }
        assert!(!MAP.is_answered_by(&[&answer[..], &[0]].concat()));
        assert!(!MAP.is_answered_by(&[0, 130, 0, 2, 0]));
    }

    #[test]
    fn questions_are_asked_for_almost_four_seconds() {
        let waits: Vec<_> = waits().map(|wait| wait.as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000]);
    }
}
