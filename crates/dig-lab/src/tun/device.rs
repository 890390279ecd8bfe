//! A TUN device: frames in, frames out, and waiting for them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use tun_rs::{DeviceBuilder, SyncDevice, VIRTIO_NET_HDR_LEN};

use super::{End, TunError, inside};

/// What stands before every packet: how much of the checksum and of the segmentation is left to do.
pub(super) const PREFIX: usize = VIRTIO_NET_HDR_LEN;

/// Room for the largest frame.
pub(super) const FRAME: usize = PREFIX + 65_535;

/// Frames that wait in the device for its thread; 4,096 full packets are 6 MB.
const QUEUE: u32 = 4096;

/// Segments of one aggregate: 64 KiB of the smallest segments that Linux makes (`TCP_MIN_GSO_SIZE`, 48 bytes) would
/// be more, but those go out unaggregated.
const SEGMENTS: usize = 256;

/// Whether the prefix says that the transport checksum is left to the device (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
pub(super) fn unfinished(frame: &[u8]) -> bool {
    frame.first().is_some_and(|flags| flags & 1 != 0)
}

/// Packets cut from an aggregate, each behind an empty prefix.
pub(super) struct Segments {
    whole: Vec<u8>,
    cut: Vec<Vec<u8>>,
    sizes: Vec<usize>,
}

impl Segments {
    pub(super) fn new(mtu: u16) -> Self {
        let cut = vec![vec![0; PREFIX + usize::from(mtu)]; SEGMENTS];
        Self {
            whole: vec![0; FRAME],
            cut,
            sizes: vec![0; SEGMENTS],
        }
    }
}

/// An open device.
pub(super) struct Device {
    device: SyncDevice,
    mtu: u16,
}

impl Device {
    /// Makes the device and brings it up.
    pub(super) fn open(end: &End) -> Result<Self, TunError> {
        let build = || {
            let device = DeviceBuilder::new()
                .name(end.device.as_str())
                .mtu(end.mtu)
                .offload(true)
                .tx_queue_len(QUEUE)
                .build_sync()?;
            device.set_nonblocking(true)?;
            Ok(device)
        };
        let device = inside(&end.namespace, build).map_err(TunError::Namespace)?;
        let failed = |source| TunError::Device {
            device: end.device.clone(),
            source,
        };
        Ok(Self {
            device: device.map_err(failed)?,
            mtu: end.mtu,
        })
    }

    pub(super) fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Reads one frame as the kernel gives it. `None` when there is none now.
    pub(super) fn read<'a>(&self, frame: &'a mut [u8]) -> io::Result<Option<&'a mut [u8]>> {
        match self.device.recv(frame) {
            Ok(length) => Ok(frame.get_mut(..length)),
            Err(error) if is_nothing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads one frame and cuts it into finished packets. `None` when there is none now.
    pub(super) fn read_cut<'a>(
        &self,
        segments: &'a mut Segments,
    ) -> io::Result<Option<impl Iterator<Item = &'a [u8]> + use<'a>>> {
        let Segments { whole, cut, sizes } = segments;
        match self.device.recv_multiple(whole, cut, sizes, PREFIX) {
            Ok(count) => Ok(Some(
                cut.iter()
                    .zip(sizes)
                    .take(count)
                    .map(|(packet, size)| &packet[..PREFIX + *size]),
            )),
            Err(error) if is_nothing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands a frame to the kernel. A frame that it refuses is lost, as on a card that is down.
    pub(super) fn write(&self, frame: &[u8]) {
        let _ = self.device.send(frame);
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Waits until a device has a frame or the time is over; `None` waits for ever. `false` once `stop` is closed or a
/// device is gone.
pub(super) fn wait(devices: &[&Device], stop: &impl AsFd, timeout: Option<Duration>) -> bool {
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let mut polled: Vec<PollFd<'_>> = vec![PollFd::new(stop, PollFlags::empty())];
    polled.extend(
        devices
            .iter()
            .map(|device| PollFd::new(*device, PollFlags::IN)),
    );
    let timeout = timeout.map(|timeout| {
        Timespec::try_from(timeout).unwrap_or(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        })
    });
    match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(_) => polled.iter().all(|one| !one.revents().intersects(gone)),
        Err(error) => error == rustix::io::Errno::INTR,
    }
}
