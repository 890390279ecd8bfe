//! What the client says: requests, and data in indications.

use super::{
    Client, LIFETIME, WAITING,
    requests::{Purpose, Request},
};
use crate::turn::message::{Class, Method, Writer, attribute};
use std::{net::SocketAddr, time::Duration};

impl Client {
    pub(super) fn write_indication(&mut self, to: SocketAddr, data: &[u8], frame: &mut Vec<u8>) {
        let buffer = std::mem::take(frame);
        let mut writer = Writer::reuse(buffer, Class::Indication, Method::Send, self.ids.draw());
        writer.put_address(attribute::XOR_PEER_ADDRESS, to);
        writer.put(attribute::DATA, data);
        *frame = writer.finish();
    }

    /// Sends a request, unless the same one is open already.
    pub(super) fn ask(&mut self, now: Duration, purpose: Purpose, tries: u8) {
        if self.requests.has(purpose) {
            return;
        }
        let id = self.ids.draw();
        let mut writer = Writer::new(Class::Request, purpose.method(), id);
        self.describe(now, purpose, &mut writer);
        let signed = match &self.session {
            Some(session) if purpose != Purpose::Probe => {
                session.sign(&mut writer);
                true
            }
            _ => false,
        };
        let bytes = writer.finish();
        self.transmit(bytes.clone());
        self.requests
            .open(now, Request::new(id, purpose, bytes, signed, tries));
    }

    fn describe(&mut self, now: Duration, purpose: Purpose, writer: &mut Writer) {
        let lifetime = (LIFETIME.as_secs() as u32).to_be_bytes();
        match purpose {
            Purpose::Probe => {}
            Purpose::Allocate => {
                // UDP, the only transport towards peers that a relay of datagrams has (RFC 8656 §14.7).
                writer.put(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
                writer.put(attribute::LIFETIME, &lifetime);
                if self.mobility {
                    writer.put(attribute::MOBILITY_TICKET, &[]);
                }
            }
            Purpose::Refresh => writer.put(attribute::LIFETIME, &lifetime),
            Purpose::Move => {
                writer.put(attribute::LIFETIME, &lifetime);
                let ticket = self.allocation().and_then(|it| it.ticket.clone());
                writer.put(attribute::MOBILITY_TICKET, &ticket.unwrap_or_default());
            }
            Purpose::Release => writer.put(attribute::LIFETIME, &[0; 4]),
            Purpose::Permission(ip) => {
                writer.put_address(attribute::XOR_PEER_ADDRESS, SocketAddr::new(ip, 0));
            }
            Purpose::Channel(peer) => {
                let [high, low] = self.peers.number(now, peer).to_be_bytes();
                writer.put(attribute::CHANNEL_NUMBER, &[high, low, 0, 0]);
                writer.put_address(attribute::XOR_PEER_ADDRESS, peer);
            }
        }
    }

    pub(super) fn transmit(&mut self, bytes: Vec<u8>) {
        if self.out.len() >= WAITING {
            self.out.pop_front();
        }
        self.out.push_back(bytes);
    }
}
