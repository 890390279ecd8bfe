//! Network namespaces for tests, gone when dropped.

use rustix::{
    fs::{Mode, OFlags},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::{
    future::Future,
    os::fd::AsFd,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A namespace of this test with `lo` up and nothing else.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// `None`, with a line that says so, where namespaces cannot be made; a failure in CI.
    pub(crate) fn new() -> Option<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dig{}-{number}", std::process::id());
        let made = rustix::process::geteuid().is_root() && try_ip(&["netns", "add", &name]);
        if !made {
            assert!(
                std::env::var_os("CI").is_none_or(|ci| ci != "true"),
                "CI must run this as root"
            );
            println!("SKIP: network namespaces need root and the `ip` command");
            return None;
        }
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        // Link-local addresses are to be usable at once, not after a second of duplicate detection.
        namespace.ip_exec(&["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"]);
        Some(namespace)
    }

    /// Two namespaces, `10.77.<number>.1` and `.2`, joined by a veth pair.
    pub(crate) fn pair() -> Option<(Self, Self, u8)> {
        let (one, two) = (Self::new()?, Self::new()?);
        let number = (COUNT.load(Ordering::Relaxed) % 250) as u8;
        let created = [
            "link", "add", "veth0", "netns", &one.name, "type", "veth", "peer", "name", "veth0",
            "netns", &two.name,
        ];
        assert!(try_ip(&created), "cannot make a veth pair");
        for (namespace, host) in [(&one, 1), (&two, 2)] {
            let addr = format!("10.77.{number}.{host}/24");
            namespace.ip(&["addr", "add", &addr, "dev", "veth0"]);
            namespace.ip(&["link", "set", "veth0", "up"]);
        }
        for namespace in [&one, &two] {
            namespace.wait_for_carrier();
        }
        Some((one, two, number))
    }

    /// Runs a future inside, on a thread and runtime of its own; daemons that it starts are inside too.
    pub(crate) fn run<T, F>(&self, future: impl FnOnce() -> F + Send + 'static) -> JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let path = format!("/run/netns/{}", self.name);
        thread::spawn(move || {
            let fd =
                rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
            move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(future())
        })
    }

    /// The threads of this process inside with a name that starts so.
    pub(crate) fn threads(&self, name: &str) -> Vec<String> {
        let inside = std::fs::metadata(format!("/run/netns/{}", self.name)).unwrap();
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let matches = tasks.filter(|task| {
            use std::os::unix::fs::MetadataExt;
            let path = task.path();
            let comm = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            let here = std::fs::metadata(path.join("ns/net")).map(|ns| ns.ino());
            comm.starts_with(name) && here.ok() == Some(inside.ino())
        });
        matches
            .map(|task| task.file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// A link is not usable the moment that both ends are up.
    fn wait_for_carrier(&self) {
        for _ in 0..100 {
            let mut show = Command::new("ip");
            show.args([
                "-n", &self.name, "-brief", "link", "show", "dev", "veth0", "up",
            ]);
            let shown = show.output().unwrap().stdout;
            if String::from_utf8_lossy(&shown).contains(" UP ") {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the veth pair does not come up");
    }

    fn ip(&self, args: &[&str]) {
        let args: Vec<_> = ["-n", &self.name].iter().chain(args).copied().collect();
        assert!(try_ip(&args), "ip {args:?} failed");
    }

    fn ip_exec(&self, args: &[&str]) {
        let args: Vec<_> = ["netns", "exec", &self.name]
            .iter()
            .chain(args)
            .copied()
            .collect();
        assert!(try_ip(&args), "ip {args:?} failed");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        try_ip(&["netns", "del", &self.name]);
    }
}

fn try_ip(args: &[&str]) -> bool {
    Command::new("ip")
        .args(args)
        .status()
        .is_ok_and(|status| status.success())
}
