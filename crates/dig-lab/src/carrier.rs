//! Waiting until interfaces carry packets.
//!
//! After the other end has come up the kernel needs a moment of its own, and until then drops what is sent: the first ARP request,
//! for instance, whose repetition comes a second later.

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};
use std::{
    collections::BTreeSet,
    io, thread,
    time::{Duration, Instant},
};

/// A busy machine needs a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until these interfaces of the network namespace that this thread stands in carry packets.
pub(crate) fn wait(devices: &[&str]) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let running: BTreeSet<String> = getifaddrs()?
            .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_RUNNING))
            .map(|interface| interface.interface_name)
            .collect();
        if devices.iter().all(|device| running.contains(*device)) {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(1));
    }
}
