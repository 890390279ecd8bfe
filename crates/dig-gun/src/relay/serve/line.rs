//! WebSockets: of those who come to us, and those that we open to join relays.

use super::stream::Meter;
use crate::client::dial::{FrameReceiver, FrameSender, Heard, LineError};
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Error, Message, Utf8Bytes,
        protocol::{
            CloseFrame, Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};

/// Read and write buffers of a connection; tungstenite takes 128 KiB each.
const BUFFER: usize = 16 << 10;
/// Longer frames go in fragments, for tungstenite keeps a buffer as long as the longest that it ever sent.
const FRAGMENT: usize = 64 << 10;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The other side closed it, or it broke.
    Gone,
    /// A frame was too long.
    TooLong,
    /// What came was no WebSocket frame, or no text where it should be.
    Broken,
    /// Nothing came for long.
    Silent,
    /// It did not read what was sent.
    Slow,
    /// The relay ends.
    Shutdown,
}

impl Ended {
    fn frame(self) -> CloseFrame {
        let (code, reason) = match self {
            Self::Gone => (CloseCode::Normal, ""),
            Self::TooLong => (CloseCode::Size, "Message too big!"),
            Self::Broken => (CloseCode::Protocol, ""),
            Self::Silent => (CloseCode::Policy, "no sign of life"),
            Self::Slow => (CloseCode::Policy, "too much waits to be read"),
            Self::Shutdown => (CloseCode::Away, ""),
        };
        CloseFrame {
            code,
            reason: reason.into(),
        }
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(_) => Self::TooLong,
            Error::Protocol(_) | Error::Utf8(_) => Self::Broken,
            _ => Self::Gone,
        }
    }
}

impl From<LineError> for Ended {
    fn from(error: LineError) -> Self {
        match error {
            LineError::TooLong => Self::TooLong,
            LineError::Protocol(_) => Self::Broken,
            LineError::Broken(_) | LineError::Closed => Self::Gone,
        }
    }
}

/// The half that sends.
#[derive(Debug)]
pub(super) enum Sender {
    Served(SplitSink<Socket, Message>),
    Joined(FrameSender),
}

/// The half that receives.
#[derive(Debug)]
pub(super) enum Receiver {
    Served(SplitStream<Socket>, Arc<Meter>),
    Joined(FrameReceiver),
}

/// The WebSocket of somebody who came to us.
pub(super) async fn serve(
    upgraded: Upgraded,
    frame: usize,
    meter: Arc<Meter>,
) -> (Sender, Receiver) {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(frame))
        .max_frame_size(Some(frame));
    let socket = Socket::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (sink, stream) = socket.split();
    (Sender::Served(sink), Receiver::Served(stream, meter))
}

impl Receiver {
    /// What came: a text, or nothing but a sign of life.
    pub(super) async fn recv(&mut self) -> Result<Option<Utf8Bytes>, Ended> {
        let (stream, meter) = match self {
            Self::Served(stream, meter) => (stream, meter),
            Self::Joined(receiver) => {
                return match receiver.recv().await? {
                    Some(Heard::Frame(text)) => Ok(Some(text.as_str().into())),
                    Some(Heard::Life) => Ok(None),
                    None => Err(Ended::Gone),
                };
            }
        };
        match stream.next().await {
            Some(Ok(Message::Text(text))) => {
                meter.finished();
                Ok(Some(text))
            }
            Some(Ok(Message::Binary(_))) => {
                meter.finished();
                Ok(None)
            }
            Some(Ok(Message::Ping(data) | Message::Pong(data))) => {
                // With its header.
                meter.control(data.len() + 6);
                Ok(None)
            }
            Some(Ok(Message::Close(_))) | None => Err(Ended::Gone),
            Some(Ok(Message::Frame(_))) => Ok(None),
            Some(Err(error)) => Err(error.into()),
        }
    }
}

impl Sender {
    /// Puts a frame with those that [`Sender::flush`] sends.
    pub(super) async fn feed(&mut self, text: Utf8Bytes) -> Result<(), Ended> {
        match self {
            Self::Served(sink) if text.len() > FRAGMENT => fragments(sink, text.into()).await,
            Self::Served(sink) => Ok(sink.feed(Message::Text(text)).await?),
            Self::Joined(sender) => Ok(sender.feed(text.as_str().to_owned()).await?),
        }
    }

    /// Sends what was fed.
    pub(super) async fn flush(&mut self) -> Result<(), Ended> {
        match self {
            Self::Served(sink) => Ok(sink.flush().await?),
            Self::Joined(sender) => Ok(sender.flush().await?),
        }
    }

    /// Sends a frame.
    pub(super) async fn send(&mut self, text: Utf8Bytes) -> Result<(), Ended> {
        self.feed(text).await?;
        self.flush().await
    }

    /// Asks for a sign of life.
    pub(super) async fn ping(&mut self) -> Result<(), Ended> {
        match self {
            Self::Served(sink) => Ok(sink.send(Message::Ping(Bytes::new())).await?),
            Self::Joined(sender) => Ok(sender.ping().await?),
        }
    }

    /// Says goodbye.
    pub(super) async fn close(&mut self, why: Ended) -> Result<(), Ended> {
        match self {
            Self::Served(sink) => Ok(sink.send(Message::Close(Some(why.frame()))).await?),
            Self::Joined(sender) => Ok(sender.close().await?),
        }
    }
}

async fn fragments(sink: &mut SplitSink<Socket, Message>, mut text: Bytes) -> Result<(), Ended> {
    let mut code = Data::Text;
    while !text.is_empty() {
        let part = text.split_to(text.len().min(FRAGMENT));
        let frame = Frame::message(part, OpCode::Data(code), text.is_empty());
        sink.send(Message::Frame(frame)).await?;
        code = Data::Continue;
    }
    Ok(())
}
