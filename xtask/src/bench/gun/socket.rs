//! A WebSocket client that costs next to nothing: it shares the machine with the relay that it measures.
//!
//! Frames go out unmasked in effect: the mask is zero, which servers accept, so that nothing is copied twice.

use anyhow::{Context as _, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// First size of the buffer for what comes.
const PIECE: usize = 64 << 10;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A connection to a relay.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    incoming: Vec<u8>,
    /// How much of `incoming` has come.
    filled: usize,
    outgoing: Vec<u8>,
    /// How much of `outgoing` is gone.
    sent: usize,
}

impl Socket {
    pub(super) fn connect(addr: SocketAddr) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        write!(
            stream,
            "GET /gun HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )?;
        // Byte by byte, so that nothing of the first frame is taken.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        ensure!(
            head.starts_with(b"HTTP/1.1 101"),
            "the relay refuses a WebSocket: {}",
            String::from_utf8_lossy(&head)
        );
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            incoming: vec![0; PIECE],
            filled: 0,
            outgoing: Vec::new(),
            sent: 0,
        })
    }

    /// Queues a frame.
    pub(super) fn queue(&mut self, text: &str) {
        self.frame(TEXT, text.as_bytes());
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) {
        self.outgoing.push(kind);
        let length = payload.len();
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(length @ 0..126), _) => self.outgoing.push(0x80 | length),
            (_, Ok(length)) => {
                self.outgoing.push(0x80 | 126);
                self.outgoing.extend(length.to_be_bytes());
            }
            _ => {
                self.outgoing.push(0x80 | 127);
                self.outgoing.extend((length as u64).to_be_bytes());
            }
        }
        self.outgoing.extend([0; 4]);
        self.outgoing.extend_from_slice(payload);
    }

    /// Sends what the connection takes without waiting.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        while self.sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("the relay takes nothing more"),
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Ok(())
    }

    /// Hands over the texts that have come; the number of them.
    pub(super) fn receive(&mut self, mut text: impl FnMut(&str)) -> anyhow::Result<usize> {
        self.fill()?;
        let (mut at, mut count) = (0, 0);
        while let Some((kind, range)) = next_frame(&self.incoming[at..self.filled])? {
            let payload = at + range.start..at + range.end;
            at += range.end;
            match kind {
                TEXT => {
                    text(std::str::from_utf8(&self.incoming[payload])?);
                    count += 1;
                }
                PING => {
                    let payload = self.incoming[payload].to_vec();
                    self.frame(PONG, &payload);
                }
                PONG => {}
                CLOSE => bail!(
                    "the relay closed the connection: {}",
                    String::from_utf8_lossy(&self.incoming[payload])
                ),
                other => bail!("a frame of kind {other:#x}"),
            }
        }
        self.incoming.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(count)
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        if self.filled == self.incoming.len() {
            self.incoming.resize(2 * self.filled, 0);
        }
        self.filled += match self.stream.read(&mut self.incoming[self.filled..]) {
            Ok(0) => bail!("the relay ended the connection"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error).context("the relay is gone"),
        };
        Ok(())
    }
}

/// Kind and place of the first frame, if it is here whole.
fn next_frame(bytes: &[u8]) -> anyhow::Result<Option<(u8, std::ops::Range<usize>)>> {
    let [kind, short, rest @ ..] = bytes else {
        return Ok(None);
    };
    let (length, begin) = match (*short, rest) {
        (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10)
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (u64::from(short), 2),
    };
    ensure!(*short < 128, "a server must not mask");
    let end = begin + usize::try_from(length)?;
    Ok((bytes.len() >= end).then_some((*kind, begin..end)))
}

/// Waits until one of them has something to read or can write what it holds; which those are.
pub(super) fn wait(sockets: &[Socket], patience: Duration) -> anyhow::Result<Vec<usize>> {
    let wanted = |socket: &Socket| {
        if socket.outgoing.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        }
    };
    let mut polled: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|socket| PollFd::new(&socket.stream, wanted(socket)))
        .collect();
    poll(&mut polled, Some(&Timespec::try_from(patience)?))?;
    let ready = polled.iter().enumerate();
    Ok(ready
        .filter(|(_, polled)| !polled.revents().is_empty())
        .map(|(number, _)| number)
        .collect())
}
