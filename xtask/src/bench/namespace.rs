//! A network with nothing in it but loopback, in which benchmarks run.

use anyhow::{Context as _, ensure};
use std::process::Command;

/// Whether this process has no network but loopback.
pub(super) fn only_loopback() -> anyhow::Result<bool> {
    let interfaces =
        std::fs::read_dir("/sys/class/net").context("no /sys/class/net; this runs on Linux")?;
    Ok(interfaces
        .flatten()
        .all(|interface| interface.file_name() == "lo"))
}

/// Runs this very command again where there is no network but loopback. `/sys` is mounted anew, since it shows the network
/// of whoever mounted it.
pub(super) fn run_again() -> anyhow::Result<()> {
    let script =
        "set -e; mount -t sysfs sysfs /sys && ip link set lo up && exec \"$0\" \"$@\"".to_owned();
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "sh", "-c", &script])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1));
    ensure!(
        command.status()?.success(),
        "the benchmark failed; it needs root, for a network namespace"
    );
    Ok(())
}
