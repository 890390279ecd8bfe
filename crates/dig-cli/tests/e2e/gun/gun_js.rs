//! The relay of gun.js, as a program of its own.

use dig_lab::Machine;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// gun.js's relay on a machine of the laboratory, at port 8765.
pub(super) struct GunJs(Child);

impl GunJs {
    /// Starts it with its files, and a log of all frames, in this folder.
    pub(super) fn start(machine: &Machine, modules: &Path, folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/gun/relay.cjs");
        let mut command = Command::new("node");
        command
            .arg(script)
            .arg(folder)
            .env("NODE_PATH", modules)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = machine.spawn(&mut command).unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let (ready, when) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                eprintln!("gun.js: {line}");
                if line == "ready" {
                    let _ = ready.send(());
                }
            }
        });
        let started = when.recv_timeout(crate::program::PATIENCE);
        assert!(started.is_ok(), "gun.js's relay does not start");
        Self(child)
    }
}

impl Drop for GunJs {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The folder with gun.js in it, which npm puts there once, in the version that the tests of dig-gun fix. `None` where that
/// cannot be done; but not where `CI` is set, and not silently.
pub(super) fn modules() -> Option<PathBuf> {
    // The tests of dig-gun use the same folder in the same way.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gun-interop");
    let listed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dig-gun/tests/interop");
    match dig_lab::node_modules(&listed, &folder) {
        Ok(modules) => Some(modules),
        Err(reason) => {
            assert!(std::env::var_os("CI").is_none(), "{reason}");
            eprintln!("SKIP: {reason}");
            None
        }
    }
}
