//! Nothing of a laboratory stays, however it ends; laboratories do not see each other; building one is quick.

use crate::probe::{PATIENCE, bind, seen, socket};
use dig_lab::{Lab, LabError, SiteKind, SiteSpec, link::Link};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Set in the child process that holds a laboratory to be killed with it.
const HOLD: &str = "DIG_LAB_TEST_HOLD";

/// A laboratory with everything that could stay behind: daemons, devices, programs.
struct Crowd {
    lab: Lab,
    sites: Vec<dig_lab::Site>,
    child: std::process::Child,
    /// The network namespaces, as links of `/proc` spell them.
    namespaces: BTreeSet<String>,
}

fn crowd() -> Option<Crowd> {
    let lab = Lab::for_test()?;
    let link = Link::delay(Duration::from_millis(1));
    let specs = [
        (SiteSpec::from(SiteKind::UpnpRouter), "upnp"),
        (SiteKind::SymmetricSequential.with_link(link), "user"),
    ];
    let sites = specs.map(|(spec, name)| lab.site(spec, name).unwrap());
    let server = lab.server(0).unwrap();
    std::mem::forget(lab.coturn(&server).unwrap());
    let host = sites[0].host(0).unwrap();
    let child = host.spawn(Command::new("sleep").arg("1000")).unwrap();
    let namespace = |machine: &dig_lab::Machine| {
        let own = || fs::read_link("/proc/thread-self/ns/net").unwrap();
        machine.enter(own).unwrap().display().to_string()
    };
    let machines = sites.iter().flat_map(|site| site.routers().iter().cloned());
    let namespaces = machines
        .chain([host, server])
        .map(|machine| namespace(&machine))
        .collect();
    Some(Crowd {
        lab,
        sites: sites.into(),
        child,
        namespaces,
    })
}

/// Threads of this machine that stand in one of the namespaces, and open files that keep one.
fn inside(namespaces: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let entries = |path: &str| fs::read_dir(path).into_iter().flatten().flatten();
    for process in entries("/proc") {
        let process = process.path().display().to_string();
        for task in entries(&format!("{process}/task")) {
            found.push(task.path().join("ns/net"));
        }
        found.extend(entries(&format!("{process}/fd")).map(|fd| fd.path()));
    }
    let names = |path: &std::path::PathBuf| {
        fs::read_link(path).is_ok_and(|link| namespaces.contains(&link.display().to_string()))
    };
    found
        .into_iter()
        .filter(names)
        .map(|path| path.display().to_string())
        .collect()
}

/// The kernel takes a moment to end processes.
fn assert_gone(namespaces: &BTreeSet<String>) {
    assert!(namespaces.len() >= 4, "{namespaces:?}");
    let end = Instant::now() + PATIENCE;
    loop {
        let left = inside(namespaces);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "still there: {left:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn dropping_it_ends_everything() {
    let Some(Crowd {
        lab,
        sites,
        mut child,
        namespaces,
    }) = crowd()
    else {
        return;
    };
    assert!(!inside(&namespaces).is_empty());
    let late = sites[0].host(0).unwrap();
    drop(lab);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(
        late.spawn(&mut Command::new("true")).is_err(),
        "a program began after the end"
    );
    assert!(matches!(sites[0].host(1), Err(LabError::Holder(_))));
    drop((sites, late));
    assert_gone(&namespaces);
}

#[test]
fn panic_ends_everything() {
    let Some(crowd) = crowd() else { return };
    let namespaces = crowd.namespaces.clone();
    let panic = thread::spawn(move || {
        let _crowd = crowd;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(panic.join().is_err());
    assert_gone(&namespaces);
}

/// Not a test by itself: the process that [`killing_the_owner_ends_everything`] starts and kills.
#[test]
fn hold() {
    if std::env::var_os(HOLD).is_none() {
        return;
    }
    let Some(crowd) = crowd() else { return };
    let spelt: Vec<&str> = crowd.namespaces.iter().map(String::as_str).collect();
    println!("\nHOLDS {}", spelt.join(" "));
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn killing_the_owner_ends_everything() {
    if Lab::for_test().is_none() {
        return;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cleanup::hold", "--nocapture"])
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line = lines
        .map(Result::unwrap)
        .find(|line| line.starts_with("HOLDS "))
        .unwrap();
    let namespaces: BTreeSet<String> = line.split(' ').skip(1).map(str::to_owned).collect();
    assert!(!inside(&namespaces).is_empty());
    // SIGKILL: no code of the owner runs any more.
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_gone(&namespaces);
}

#[test]
fn the_machine_sees_nothing_of_it() {
    let look = || {
        let links = Command::new("ip")
            .args(["-o", "link"])
            .output()
            .unwrap()
            .stdout;
        let names = fs::read_dir("/run/netns")
            .map(Iterator::count)
            .unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let links = String::from_utf8(links).unwrap();
        let links: BTreeSet<String> = links
            .lines()
            .filter_map(|l| l.split_whitespace().nth(1))
            .map(str::to_owned)
            .collect();
        (links, names, mounts)
    };
    let before = look();
    let Some(crowd) = crowd() else { return };
    assert_eq!(look(), before);
    drop(crowd);
    assert_eq!(look(), before);
}

#[test]
fn laboratories_do_not_see_each_other() {
    if Lab::for_test().is_none() {
        return;
    }
    // The same names and addresses in all, and traffic in all at once.
    let barrier = std::sync::Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let lab = Lab::new().unwrap();
                let site = lab.site(SiteKind::PortRestricted, "home").unwrap();
                let (host, server) = (site.host(0).unwrap(), lab.server(0).unwrap());
                let far = bind(&server, server.at(7001).unwrap());
                let near = socket(&host, 4000, server.address().unwrap());
                barrier.wait();
                for _ in 0..20 {
                    assert!(seen(&near, &far).is_some());
                }
                barrier.wait();
            });
        }
    });
}

#[test]
fn building_is_quick() {
    if Lab::for_test().is_none() {
        return;
    }
    let build = |kinds: &[SiteKind]| {
        let start = Instant::now();
        let lab = Lab::new().unwrap();
        for (n, kind) in kinds.iter().enumerate() {
            lab.site(*kind, &format!("site-{n}"))
                .unwrap()
                .host(0)
                .unwrap();
        }
        lab.server(0).unwrap();
        start.elapsed()
    };
    // 0.15 s and 0.9 s with two cores to itself; the best of three and a wide limit, because others may be at work on them.
    for (kinds, limit) in [
        (&SiteKind::ALL[1..3], Duration::from_millis(1500)),
        (&SiteKind::ALL, Duration::from_secs(6)),
    ] {
        let times: Vec<Duration> = (0..3).map(|_| build(kinds)).collect();
        println!("{} sites: {times:?}", kinds.len());
        assert!(
            times.iter().any(|time| *time < limit),
            "{} sites: {times:?}",
            kinds.len()
        );
    }
}

#[test]
fn names_are_checked() {
    let Some(lab) = Lab::for_test() else { return };
    lab.site(SiteKind::Open, "a").unwrap();
    for name in ["a", "", "A", "a b", "elevenchars", "internet", "$(id)"] {
        let refused = lab.site(SiteKind::Open, name);
        assert!(matches!(refused, Err(LabError::Name { .. })), "{name:?}");
    }
}
