//! A TURN client by hand: just enough to relay, independent of the crate's own.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use stun_types::{
    attribute::{AttributeType, RawAttribute, XorMappedAddress},
    message::{
        IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, MessageType,
        MessageWriteVec, Method, TransactionId,
    },
    prelude::{AttributeWrite as _, MessageWrite as _, MessageWriteExt as _},
};

/// An allocation with a channel to one peer.
pub(crate) struct Talker {
    pub(crate) socket: UdpSocket,
    nonce: Vec<u8>,
    next: u128,
}

/// The channel that [`Talker::bind`] makes.
pub(crate) const CHANNEL: [u8; 2] = [0x40, 0];

impl Talker {
    /// Allocates.
    pub(crate) fn allocate(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).unwrap();
        socket.connect(server).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut talker = Self {
            socket,
            nonce: Vec::new(),
            next: 1,
        };
        assert_eq!(talker.ask(3, &[(0x0019, &[17, 0, 0, 0])]), None);
        talker
    }

    /// Binds [`CHANNEL`] to a peer; the code of a refusal.
    pub(crate) fn bind(&mut self, peer: SocketAddr) -> Option<u16> {
        let value = XorMappedAddress::new(peer, TransactionId::from(self.next));
        let value = value.to_raw().value.to_vec();
        let [high, low] = CHANNEL;
        self.ask(9, &[(0x000C, &[high, low, 0, 0]), (0x0012, &value)])
    }

    fn ask(&mut self, method: u16, attributes: &[(u16, &[u8])]) -> Option<u16> {
        for _ in 0..2 {
            let transaction = TransactionId::from(self.next);
            let kind = MessageType::from_class_method(MessageClass::Request, Method::new(method));
            let mut writer = Message::builder(kind, transaction, MessageWriteVec::new());
            let mut all = attributes.to_vec();
            all.extend([
                (0x0006, b"alice".as_slice()),
                (0x0014, b"dignet"),
                (0x0015, &self.nonce),
            ]);
            for (kind, value) in all {
                let kind = AttributeType::new(kind);
                writer.push_attribute_unchecked(&RawAttribute::new(kind, value));
            }
            let [name, password, realm] = ["alice", "wonderland", "dignet"].map(str::to_owned);
            let key = LongTermKeyCredentials::new(name, password, realm)
                .make_key(IntegrityAlgorithm::Sha1);
            writer
                .add_message_integrity_with_key(&key, IntegrityAlgorithm::Sha1)
                .unwrap();
            self.socket.send(&writer.finish()).unwrap();
            let mut buffer = [0; 2048];
            let length = self.socket.recv(&mut buffer).unwrap();
            let answer = Message::from_bytes(&buffer[..length]).unwrap();
            let Some(error) = answer.raw_attribute(AttributeType::new(0x0009)) else {
                self.next += 1;
                return None;
            };
            let code = u16::from(error.value[2]) * 100 + u16::from(error.value[3]);
            if code != 438 {
                self.next += 1;
                return Some(code);
            }
            let nonce = answer.raw_attribute(AttributeType::new(0x0015)).unwrap();
            self.nonce = nonce.value.to_vec();
        }
        panic!("a fresh nonce is stale");
    }
}
