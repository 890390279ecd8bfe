//! A test in namespaces of its own: no network but loopback, and every process that it leaves behind ends with it.

use crate::script::{self, Missing};
use std::{
    env, fs,
    future::Future,
    process::{Command, Stdio},
};

/// Set where the test runs inside: the file that it creates when it has come to its end.
const INSIDE: &str = "DIG_GUN_INTEROP_DONE";

const NAMESPACES: [&str; 5] = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Runs the test of this name, whose body this is, in namespaces of its own; or says why it cannot be run.
pub(crate) fn run(test: &str, body: impl Future<Output = ()>) {
    if let Some(done) = env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        runtime.unwrap().block_on(body);
        fs::write(done, "").unwrap();
        return;
    }
    // npm needs a network, so what it gets is there before.
    if let Err(Missing(reason)) = script::install().and_then(|()| probe()) {
        assert_ne!(
            env::var("CI").as_deref(),
            Ok("true"),
            "cannot be skipped in CI: {reason}"
        );
        println!("SKIP {test}: {reason}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let done = folder.path().join("done");
    let status = Command::new("unshare")
        .args(NAMESPACES)
        .args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, &done)
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed inside its namespaces");
    // A wrong name runs no test at all, and that ends well too.
    assert!(done.exists(), "{test} did not run");
}

fn probe() -> Result<(), Missing> {
    let may = Command::new("unshare")
        .args(NAMESPACES)
        .args(["ip", "link", "set", "lo", "up"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let browser = script::browser().is_some();
    match (may, browser) {
        (true, true) => Ok(()),
        (false, _) => Err(Missing(
            "network namespaces need root, unshare and ip".to_owned(),
        )),
        (_, false) => Err(Missing("no chromium-headless-shell or chromium".to_owned())),
    }
}
