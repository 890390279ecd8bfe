//! Carries a handshake over a connection.

use super::{Failure, Handshake, HandshakeError, Outcome};
use crate::{
    pipe::{Inlet, Outlet},
    wire::{FrameDecoder, Grease},
};
use bytes::{BufMut as _, BytesMut};
use dig_types::{Clock, Frame};
use std::{io, time::Duration};
use tokio::time::timeout;

/// Answers that may wait to be sent before nothing more is read: who floods us with questions must take the answers.
const MAX_WAITING: usize = 64 * 1024;

/// Time to say farewell in.
const FAREWELL: Duration = Duration::from_millis(300);

/// Talks until the lane is open. Reading and writing go on together, so two sides never wait for each other's reading.
pub(crate) async fn converse(
    handshake: &mut Handshake,
    decoder: &mut FrameDecoder,
    (inlet, outlet): (&mut Inlet, &mut Outlet),
    (clock, grease): (&dyn Clock, &mut Grease),
) -> Result<(), Failure> {
    let mut waiting = Waiting::default();
    waiting.push(&handshake.opening(grease));
    while !handshake.is_done() || waiting.is_pending() {
        tokio::select! {
            read = inlet.read_buf(decoder.spare()), if waiting.bytes.len() < MAX_WAITING && !handshake.is_done() => {
                match read {
                    Ok(1..) => {}
                    Ok(0) => return Err(waiting.broken(io::ErrorKind::UnexpectedEof.into())),
                    Err(error) => return Err(waiting.broken(error)),
                }
                while !handshake.is_done() {
                    let Some(frame) = decoder.next().map_err(|error| Failure::protocol(error.into()))? else {
                        break;
                    };
                    waiting.push(&handshake.on_frame(frame, clock.now())?);
                }
            }
            sent = outlet.push(&mut waiting.bytes), if waiting.is_pending() => waiting.pushed(sent),
        }
        if handshake.is_done()
            && let Some(error) = waiting.failed.take()
        {
            return Err(Failure::silent(HandshakeError::Broken(error)));
        }
    }
    Ok(())
}

/// Tells the peer why it is left, within a short time.
pub(crate) async fn say_farewell(outlet: &mut Outlet, frames: &[Frame]) {
    let mut waiting = Waiting::default();
    waiting.push(frames);
    let talk = async {
        while !waiting.bytes.is_empty() {
            outlet.push(&mut waiting.bytes).await?;
        }
        outlet.finish().await
    };
    // Whoever does not listen is left all the same.
    let _ = timeout(FAREWELL, talk).await;
}

/// Bytes on their way out.
#[derive(Debug, Default)]
struct Waiting {
    bytes: BytesMut,
    unflushed: bool,
    failed: Option<io::Error>,
}

impl Waiting {
    fn push(&mut self, frames: &[Frame]) {
        for frame in frames {
            self.bytes.put_slice(&frame.header());
            self.bytes.put_slice(&frame.payload);
            self.unflushed = true;
        }
    }

    const fn is_pending(&self) -> bool {
        self.unflushed && self.failed.is_none()
    }

    /// A failed write is kept: the peer's reason, if it gave one, is still to be read.
    fn pushed(&mut self, sent: io::Result<()>) {
        match sent {
            Ok(()) => self.unflushed = !self.bytes.is_empty(),
            Err(error) => self.failed = Some(error),
        }
    }

    fn broken(&mut self, read: io::Error) -> Failure {
        Failure::silent(HandshakeError::Broken(match self.failed.take() {
            Some(write) if read.kind() == io::ErrorKind::UnexpectedEof => write,
            _ => read,
        }))
    }
}

impl Handshake {
    /// The outcome of a conversation that went well.
    pub(crate) fn outcome(self) -> Result<Outcome, HandshakeError> {
        let stage = self.stage();
        self.finish().ok_or(HandshakeError::Timeout(stage))
    }
}
