//! A link between two namespaces.

use std::io::PipeReader;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::device::{Device, FRAME, PREFIX, Segments, wait};
use super::{End, Threads, TunError};
use crate::link::{Emulator, Link, Tally};

/// Frames read before what is due is written.
const BURST: usize = 64;

type Way = Arc<Mutex<Emulator<Vec<u8>>>>;

/// A link between two TUN devices: what leaves one namespace by its device enters the other one by the other device,
/// when and if the [`Link`] lets it. IPv4 and IPv6 alike; it is a line, not a hop.
///
/// Both devices are up and have no addresses. Point-to-point needs no more than
/// `ip addr add 44.128.1.2/32 dev A && ip route add default dev A` at one end and
/// `ip route add 44.128.1.2/32 dev B` at the other one.
#[derive(Debug)]
pub struct TunLink {
    _threads: Threads,
    there: Way,
    back: Way,
}

impl TunLink {
    /// Opens both devices and begins to carry packets from `a` to `b` (`there`) and from `b` to `a` (`back`).
    ///
    /// # Errors
    /// See [`TunError`].
    pub fn start(a: &End, b: &End, there: Link, back: Link, seed: u64) -> Result<Self, TunError> {
        let first = Arc::new(Device::open(a)?);
        let second = Arc::new(Device::open(b)?);
        let way = |link, seed| Arc::new(Mutex::new(Emulator::new(link, seed)));
        let (there, back) = (way(there, seed), way(back, seed ^ u64::MAX));
        let mut threads = Threads::new()?;
        for (way, from, to) in [(&there, &first, &second), (&back, &second, &first)] {
            let (way, from, to) = (Arc::clone(way), Arc::clone(from), Arc::clone(to));
            threads.spawn("lab-link", move |stop| carry(&way, &from, &to, &stop))?;
        }
        Ok(Self {
            _threads: threads,
            there,
            back,
        })
    }

    /// Makes it another link for what is sent from now on.
    pub fn set(&self, there: Link, back: Link) {
        lock(&self.there).set(there);
        lock(&self.back).set(back);
    }

    /// What both directions did so far. Where single packets do not matter (see [`Link::counts_packets`]), an
    /// aggregate of segments counts as one.
    #[must_use]
    pub fn tally(&self) -> (Tally, Tally) {
        (lock(&self.there).tally(), lock(&self.back).tally())
    }
}

fn lock(way: &Mutex<Emulator<Vec<u8>>>) -> MutexGuard<'_, Emulator<Vec<u8>>> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

fn carry(way: &Mutex<Emulator<Vec<u8>>>, from: &Device, to: &Device, stop: &PipeReader) {
    let start = Instant::now();
    let mut frame = vec![0; FRAME];
    let mut segments = Segments::new(from.mtu());
    loop {
        let mut emulator = lock(way);
        let counts = emulator.link().counts_packets();
        let mut more = true;
        for _ in 0..BURST {
            let now = start.elapsed();
            let read = if counts {
                take_cut(&mut emulator, now, from, &mut segments)
            } else {
                take(&mut emulator, now, from, &mut frame)
            };
            match read {
                Ok(true) => {}
                Ok(false) => {
                    more = false;
                    break;
                }
                Err(_) => return,
            }
        }
        let now = start.elapsed();
        while let Some(packet) = emulator.poll(now) {
            to.write(&packet);
        }
        let next = emulator.next_arrival();
        drop(emulator);
        let timeout = if more {
            Some(Duration::ZERO)
        } else {
            next.map(|next| next.saturating_sub(start.elapsed()))
        };
        if !wait(&[from], stop, timeout) {
            return;
        }
    }
}

/// Puts a frame on the way as it is. `false` when there is none.
fn take(
    emulator: &mut Emulator<Vec<u8>>,
    now: Duration,
    from: &Device,
    frame: &mut [u8],
) -> std::io::Result<bool> {
    let Some(frame) = from.read(frame)? else {
        return Ok(false);
    };
    emulator.push(now, frame.len().saturating_sub(PREFIX), frame.to_vec());
    Ok(true)
}

/// Puts the packets of a frame on the way one by one. `false` when there is none.
fn take_cut(
    emulator: &mut Emulator<Vec<u8>>,
    now: Duration,
    from: &Device,
    segments: &mut Segments,
) -> std::io::Result<bool> {
    let Some(packets) = from.read_cut(segments)? else {
        return Ok(false);
    };
    for packet in packets {
        emulator.push(now, packet.len() - PREFIX, packet.to_vec());
    }
    Ok(true)
}
