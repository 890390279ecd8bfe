//! What two sides say before a lane is open: HELLO each, then challenge–response where demanded. Without I/O.
//!
//! Both sides begin at once and may both demand challenge–response; each role answers what comes, in any order, so there is no
//! order in which two sides could wait for each other:
//!
//! - the **host** role (this side demands) answers AUTH_REQUEST and AUTH_RESPONSE, and refuses requests until it is done;
//! - the **client** role (the peer demands) begins as soon as the peer's HELLO says so.
//!
//! A peer of which nothing is demanded may send requests right after its HELLO; they are kept for the open lane, within limits.

mod driver;
mod error;
#[cfg(test)]
mod tests;

pub(crate) use driver::{converse, say_farewell};
pub use error::{HandshakeError, ProtocolError, Stage};

use crate::{
    config::AuthPolicy,
    wire::{self, Bye, ByeCode, FIRST_GREASE, FIRST_UPPER, Grease, Hello},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use dig_identity::{
    PublicKey, Signer,
    auth::{self, ClientFlow, HostFlow},
};
use dig_types::{Frame, FrameType, NodeId, Timestamp};
use std::{mem, sync::Arc};

/// Frames kept that come before the lane is open.
const MAX_EARLY_FRAMES: usize = 64;

/// Bytes kept of frames that come before the lane is open.
const MAX_EARLY_BYTES: usize = 256 * 1024;

/// REFUSED code 6: authentication required (`docs/protocol.md` §3).
const AUTHENTICATION_REQUIRED: u16 = 6;

/// Who this side is and what it asks for.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) node: NodeId,
    pub(crate) hello: Hello,
    pub(crate) policy: Option<Arc<dyn AuthPolicy>>,
}

/// What TLS has proved, and fresh randomness.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) peer: PublicKey,
    pub(crate) binding: [u8; 32],
    pub(crate) nonce: [u8; 32],
    pub(crate) challenge: [u8; 32],
}

/// An open lane's beginning.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) peer: PublicKey,
    pub(crate) hello: Hello,
    /// The peer has passed our challenge.
    pub(crate) authenticated: bool,
    /// Frames that came early, in order.
    pub(crate) early: Vec<Frame>,
}

/// The conversation failed; `farewell` is what the peer should still hear.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: HandshakeError,
    pub(crate) farewell: Vec<Frame>,
}

impl Failure {
    fn silent(error: HandshakeError) -> Self {
        Self {
            error,
            farewell: Vec::new(),
        }
    }

    fn bye(error: HandshakeError, code: ByeCode) -> Self {
        let farewell = vec![Bye::new(code, &error.to_string()).frame()];
        Self { error, farewell }
    }

    pub(crate) fn protocol(error: ProtocolError) -> Self {
        Self::bye(HandshakeError::Protocol(error), ByeCode::PROTOCOL_ERROR)
    }
}

#[derive(Debug)]
enum ClientRole {
    /// The peer's HELLO has not come, or it demands nothing.
    Idle,
    AwaitsChallenge(ClientFlow),
    AwaitsResult,
    Done,
}

#[derive(Debug)]
enum HostRole {
    AwaitsRequest,
    AwaitsResponse(Box<HostFlow>),
    /// Nothing was demanded, or the peer has passed.
    Done,
}

/// The state of one conversation.
#[derive(Debug)]
pub(crate) struct Handshake {
    local: Local,
    session: Session,
    hello: Option<Hello>,
    client: ClientRole,
    host: HostRole,
    early: Vec<Frame>,
    early_bytes: usize,
}

impl Handshake {
    pub(crate) fn new(local: Local, session: Session) -> Self {
        let host = if local.hello.demands_auth {
            HostRole::AwaitsRequest
        } else {
            HostRole::Done
        };
        Self {
            local,
            session,
            hello: None,
            client: ClientRole::Idle,
            host,
            early: Vec::new(),
            early_bytes: 0,
        }
    }

    /// What this side says first.
    pub(crate) fn opening(&self, grease: &mut Grease) -> [Frame; 2] {
        [grease.hello(&self.local.hello), grease.frame()]
    }

    /// Takes a frame; gives what to answer.
    pub(crate) fn on_frame(&mut self, frame: Frame, now: Timestamp) -> Result<Vec<Frame>, Failure> {
        if frame.kind == wire::BYE {
            return Err(Failure::silent(match Bye::decode(&frame.payload) {
                Some(Bye { code, text }) => HandshakeError::RefusedByPeer { code, text },
                None => HandshakeError::Protocol(ProtocolError::Malformed("BYE")),
            }));
        }
        if self.hello.is_none() {
            return match frame.kind {
                wire::HELLO => self.on_hello(&frame.payload),
                FrameType(kind) => Err(Failure::protocol(ProtocolError::HelloMissing(kind))),
            };
        }
        match frame.kind {
            wire::PING if frame.payload.len() == 8 => {
                Ok(vec![Frame::new(wire::PONG, 0, frame.payload)])
            }
            wire::PONG => Ok(Vec::new()),
            wire::AUTH_REQUEST => self.on_auth_request(&frame.payload, now),
            wire::AUTH_CHALLENGE => self.on_auth_challenge(&frame.payload, now),
            wire::AUTH_RESPONSE => self.on_auth_response(&frame.payload, now),
            wire::AUTH_RESULT => self.on_auth_result(&frame.payload),
            kind if !kind.is_critical() && !is_upper(kind) => Ok(Vec::new()),
            kind if is_upper(kind) => self.on_upper(frame),
            FrameType(kind) => Err(Failure::protocol(ProtocolError::Unexpected(kind))),
        }
    }

    /// Whether everything has been said.
    pub(crate) const fn is_done(&self) -> bool {
        self.hello.is_some()
            && matches!(self.client, ClientRole::Idle | ClientRole::Done)
            && matches!(self.host, HostRole::Done)
    }

    /// How far the conversation has come.
    pub(crate) const fn stage(&self) -> Stage {
        match self.hello {
            None => Stage::Hello,
            Some(_) => Stage::Auth,
        }
    }

    /// The outcome, once everything has been said.
    pub(crate) fn finish(self) -> Option<Outcome> {
        let authenticated = self.local.hello.demands_auth && matches!(self.host, HostRole::Done);
        let is_done = self.is_done();
        self.hello.filter(|_| is_done).map(|hello| Outcome {
            peer: self.session.peer,
            hello,
            authenticated,
            early: self.early,
        })
    }

    fn on_hello(&mut self, payload: &Bytes) -> Result<Vec<Frame>, Failure> {
        let hello = Hello::decode(payload).map_err(|error| Failure::protocol(error.into()))?;
        let ours = &self.local.hello;
        if wire::common_version(ours, &hello).is_none() {
            let error = HandshakeError::Version {
                ours: (ours.min_version, ours.max_version),
                theirs: (hello.min_version, hello.max_version),
            };
            return Err(Failure::bye(error, ByeCode::NO_COMMON_VERSION));
        }
        if self.session.peer.node_id() == self.local.node && hello.instance == ours.instance {
            return Err(Failure::bye(HandshakeError::Oneself, ByeCode::DONE));
        }
        self.hello = Some(hello);
        if !hello.demands_auth {
            return Ok(Vec::new());
        }
        let (flow, request) = ClientFlow::start(
            &*self.local.signer,
            self.session.peer.node_id(),
            self.session.binding,
            self.session.nonce,
        );
        self.client = ClientRole::AwaitsChallenge(flow);
        Ok(vec![Frame::new(wire::AUTH_REQUEST, 0, request.into())])
    }

    fn on_auth_challenge(&mut self, payload: &[u8], now: Timestamp) -> Result<Vec<Frame>, Failure> {
        match mem::replace(&mut self.client, ClientRole::AwaitsResult) {
            ClientRole::AwaitsChallenge(flow) => {
                let response = flow
                    .on_challenge(&*self.local.signer, payload, now)
                    .map_err(|error| Failure::bye(error.into(), ByeCode::PROTOCOL_ERROR))?;
                Ok(vec![Frame::new(wire::AUTH_RESPONSE, 0, response.into())])
            }
            _ => Err(unexpected(wire::AUTH_CHALLENGE)),
        }
    }

    fn on_auth_result(&mut self, payload: &[u8]) -> Result<Vec<Frame>, Failure> {
        match (&self.client, payload) {
            (ClientRole::AwaitsResult, [auth::ACCEPTED]) => {
                self.client = ClientRole::Done;
                Ok(Vec::new())
            }
            // The host may refuse before it has asked: some requests are refused at once.
            (ClientRole::AwaitsResult | ClientRole::AwaitsChallenge(_), [auth::REFUSED]) => {
                Err(Failure::silent(HandshakeError::AuthRefused))
            }
            _ => Err(unexpected(wire::AUTH_RESULT)),
        }
    }

    fn on_auth_request(&mut self, payload: &[u8], now: Timestamp) -> Result<Vec<Frame>, Failure> {
        if !matches!(self.host, HostRole::AwaitsRequest) {
            return Err(unexpected(wire::AUTH_REQUEST));
        }
        let (flow, challenge) = HostFlow::on_request(
            &*self.local.signer,
            &self.session.peer,
            payload,
            self.session.binding,
            self.session.challenge,
            now,
        )
        .map_err(|error| refuse(error.into()))?;
        self.host = HostRole::AwaitsResponse(Box::new(flow));
        Ok(vec![Frame::new(wire::AUTH_CHALLENGE, 0, challenge.into())])
    }

    fn on_auth_response(&mut self, payload: &[u8], now: Timestamp) -> Result<Vec<Frame>, Failure> {
        match mem::replace(&mut self.host, HostRole::AwaitsRequest) {
            HostRole::AwaitsResponse(flow) => flow
                .on_response(payload, now)
                .map_err(|error| refuse(error.into()))?,
            _ => return Err(unexpected(wire::AUTH_RESPONSE)),
        }
        let node = self.session.peer.node_id();
        let admitted = self
            .local
            .policy
            .as_ref()
            .is_none_or(|policy| policy.admits(&node));
        if !admitted {
            return Err(refuse(HandshakeError::NotAdmitted(node)));
        }
        self.host = HostRole::Done;
        Ok(vec![verdict(auth::ACCEPTED)])
    }

    /// A frame of the layer above: kept for the open lane, or refused while the peer has yet to authenticate.
    fn on_upper(&mut self, frame: Frame) -> Result<Vec<Frame>, Failure> {
        if matches!(self.host, HostRole::Done) {
            self.early_bytes += frame.payload.len();
            self.early.push(frame);
            if self.early.len() > MAX_EARLY_FRAMES || self.early_bytes > MAX_EARLY_BYTES {
                return Err(Failure::protocol(ProtocolError::TooEarly));
            }
            return Ok(Vec::new());
        }
        if !wire::REQUESTS.contains(&frame.kind.0) {
            return Ok(Vec::new());
        }
        let mut payload = BytesMut::new();
        payload.put_u16(AUTHENTICATION_REQUIRED);
        payload.put_u32(0);
        payload.put_slice(b"authenticate first");
        Ok(vec![Frame::new(
            wire::REFUSED,
            frame.request,
            payload.freeze(),
        )])
    }
}

/// Whether frames of this type belong to the layer above the session.
pub(crate) const fn is_upper(FrameType(kind): FrameType) -> bool {
    kind >= FIRST_UPPER && (kind % 2 == 0 || kind < FIRST_GREASE)
}

fn unexpected(FrameType(kind): FrameType) -> Failure {
    Failure::protocol(ProtocolError::Unexpected(kind))
}

fn verdict(verdict: u8) -> Frame {
    Frame::new(wire::AUTH_RESULT, 0, Bytes::copy_from_slice(&[verdict]))
}

/// The peer is not let in; it hears that, and no reason.
fn refuse(error: HandshakeError) -> Failure {
    Failure {
        error,
        farewell: vec![
            verdict(auth::REFUSED),
            Bye::new(ByeCode::REFUSED, "").frame(),
        ],
    }
}
