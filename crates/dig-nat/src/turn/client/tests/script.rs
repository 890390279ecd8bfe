//! A server of which every answer is written by the test.

use super::*;
use crate::turn::credentials::{Challenge, Key};

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn peer(number: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, number], 4000))
}

pub(super) const MAPPED: &str = "203.0.113.9:5000";
pub(super) const RELAYED: &str = "192.0.2.1:49200";

/// A client, and what is needed to answer it.
pub(super) struct Script {
    pub(super) now: Duration,
    pub(super) client: Client,
    pub(super) key: Key,
    server: TurnServer,
}

impl Script {
    pub(super) fn server(transport: &str) -> TurnServer {
        format!("turn:alice:wonderland@192.0.2.1?transport={transport}")
            .parse()
            .unwrap()
    }

    /// A client that has just asked for an allocation.
    pub(super) fn new(transport: &str) -> Self {
        let server = Self::server(transport);
        let address = "192.0.2.1:3478".parse().unwrap();
        let mut script = Self {
            now: Duration::ZERO,
            client: Client::new(Duration::ZERO, server.clone(), address, [7; 32], true),
            key: Self::key(&server, b"first"),
            server,
        };
        script.drop_key();
        script
    }

    fn drop_key(&mut self) {
        self.key = Self::key(&self.server, b"never");
    }

    fn key(server: &TurnServer, nonce: &[u8]) -> Key {
        let mut writer = Writer::new(Class::Error, Method::Allocate, TransactionId([0; 12]));
        challenge(&mut writer, nonce);
        let bytes = writer.finish();
        let challenge = Challenge::read(&Message::parse(&bytes).unwrap()).unwrap();
        Key::derive(server, &challenge)
    }

    /// A client that has an allocation, with or without a ticket.
    pub(super) fn up(transport: &str, ticket: &[u8]) -> Self {
        let mut script = Self::new(transport);
        let request = script.sent(Method::Allocate);
        script.refuse(&request, 401, |writer| challenge(writer, b"first"));
        let request = script.sent(Method::Allocate);
        script.accept(&request, |writer| allocation(writer, ticket));
        let (relayed, mapped) = (RELAYED.parse().unwrap(), MAPPED.parse().unwrap());
        assert_eq!(
            script.client.poll_event(),
            Some(Event::Up { relayed, mapped })
        );
        script
    }

    /// The only message that the client sends now; it is of that method.
    pub(super) fn sent(&mut self, method: Method) -> Vec<u8> {
        let sent = self.all_sent();
        assert_eq!(sent.len(), 1, "{:?}", methods(&sent));
        assert_eq!(methods(&sent), [method]);
        sent.into_iter().next().unwrap()
    }

    pub(super) fn all_sent(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.client.poll_transmit(self.now)).collect()
    }

    pub(super) fn is_silent(&mut self) -> bool {
        self.all_sent().is_empty()
    }

    /// An answer to a request, signed or not.
    pub(super) fn answer(
        &self,
        request: &[u8],
        class: Class,
        key: Option<&Key>,
        fill: impl FnOnce(&mut Writer),
    ) -> Vec<u8> {
        let request = Message::parse(request).unwrap();
        let mut writer = Writer::new(class, request.method, request.transaction());
        fill(&mut writer);
        if let Some(key) = key {
            writer.sign(key);
        }
        writer.finish()
    }

    pub(super) fn hear(&mut self, frame: &[u8]) -> Option<Arrival> {
        let source = self.client.address();
        self.client.on_frame(self.now, source, frame)
    }

    pub(super) fn accept(&mut self, request: &[u8], fill: impl FnOnce(&mut Writer)) {
        let answer = self.answer(request, Class::Success, Some(&self.key), fill);
        assert_eq!(self.hear(&answer), None);
    }

    /// Refuses, signed unless it is a challenge.
    pub(super) fn refuse(&mut self, request: &[u8], code: u16, fill: impl FnOnce(&mut Writer)) {
        let signed = !matches!(code, 401 | 438) && request_is_signed(request);
        if matches!(code, 401 | 438) {
            self.key = Self::key(&self.server, b"any");
        }
        let key = signed.then_some(&self.key);
        let answer = self.answer(request, Class::Error, key, |writer| {
            error(writer, code);
            fill(writer);
        });
        assert_eq!(self.hear(&answer), None);
    }

    /// Lets time pass; the client is called when it wants to be.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.client.timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.client.on_timeout(self.now);
        }
        self.now = end;
    }

    /// Sends to a peer; what leaves at once.
    pub(super) fn send(
        &mut self,
        to: SocketAddr,
        data: &[u8],
    ) -> Result<Option<Vec<u8>>, SendError> {
        let mut frame = Vec::new();
        let sent = self.client.send(self.now, to, data, &mut frame)?;
        Ok((sent == Sent::Frame).then_some(frame))
    }

    /// Gets the permission for a peer.
    pub(super) fn permit(&mut self, ip: IpAddr) {
        self.client.permit(self.now, ip);
        let request = self.sent(Method::CreatePermission);
        self.accept(&request, |_| {});
    }

    /// A peer's datagram in an indication.
    pub(super) fn indication(from: SocketAddr, data: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new(Class::Indication, Method::Data, TransactionId([1; 12]));
        writer.put_address(attribute::XOR_PEER_ADDRESS, from);
        writer.put(attribute::DATA, data);
        writer.finish()
    }

    /// Gets a channel to a peer that answers; its number.
    pub(super) fn bind(&mut self, to: SocketAddr) -> u16 {
        self.permit(to.ip());
        assert!(self.send(to, b"ask").unwrap().is_some());
        self.hear(&Self::indication(to, b"answer")).unwrap();
        let request = self.sent(Method::ChannelBind);
        self.accept(&request, |_| {});
        let parsed = Message::parse(&request).unwrap();
        assert_eq!(parsed.address(attribute::XOR_PEER_ADDRESS), Some(to));
        (parsed.number(attribute::CHANNEL_NUMBER).unwrap() >> 16) as u16
    }
}

pub(super) fn challenge(writer: &mut Writer, nonce: &[u8]) {
    writer.put(attribute::REALM, b"lab");
    writer.put(attribute::NONCE, nonce);
}

pub(super) fn allocation(writer: &mut Writer, ticket: &[u8]) {
    writer.put_address(attribute::XOR_RELAYED_ADDRESS, RELAYED.parse().unwrap());
    writer.put_address(attribute::XOR_MAPPED_ADDRESS, MAPPED.parse().unwrap());
    lifetime(writer, ticket);
}

pub(super) fn lifetime(writer: &mut Writer, ticket: &[u8]) {
    writer.put(attribute::LIFETIME, &600_u32.to_be_bytes());
    if !ticket.is_empty() {
        writer.put(attribute::MOBILITY_TICKET, ticket);
    }
}

pub(super) fn error(writer: &mut Writer, code: u16) {
    let (class, number) = ((code / 100) as u8, (code % 100) as u8);
    writer.put(attribute::ERROR_CODE, &[0, 0, class, number]);
}

pub(super) fn methods(messages: &[Vec<u8>]) -> Vec<Method> {
    let parsed = messages.iter().map(|bytes| Message::parse(bytes).unwrap());
    parsed.map(|message| message.method).collect()
}

fn request_is_signed(request: &[u8]) -> bool {
    Message::parse(request)
        .unwrap()
        .value(attribute::USERNAME)
        .is_some()
}
