//! A machine of the laboratory whose network changes.

use super::*;
use dig_lab::{Lab, Machine, SiteKind};
use std::time::Instant;

/// What people notice no more.
const AT_ONCE: Duration = Duration::from_millis(50);
/// Nothing comes later than this on a machine that is busy with others.
const QUIET: Duration = Duration::from_millis(150);

/// A machine behind a NAT, with a default route.
fn machine() -> Option<(Machine, impl Sized)> {
    let lab = Lab::for_test()?;
    let site = lab.site(SiteKind::PortRestricted, "home").unwrap();
    let machine = site.host(0).unwrap();
    Some((machine, (site, lab)))
}

/// Runs `ip` in the machine, and gives how long after it ended the change was noticed; `None`: not at all.
async fn after(
    machine: &Machine,
    changes: &mut watch::Receiver<u64>,
    arguments: &[&str],
) -> Option<Duration> {
    changes.mark_unchanged();
    machine.run("ip", arguments).unwrap();
    let ran = Instant::now();
    let noticed = tokio::time::timeout(QUIET, changes.changed()).await;
    noticed.ok().map(|changed| {
        changed.unwrap();
        ran.elapsed()
    })
}

/// The interface that has the default route.
fn device(machine: &Machine) -> String {
    let route = machine
        .run("ip", &["-4", "route", "show", "default"])
        .unwrap();
    let mut words = route.split_whitespace();
    words.find(|word| *word == "dev").unwrap();
    words.next().unwrap().to_owned()
}

fn within(machine: &Machine, work: impl AsyncFnOnce() + Send) {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work());
    };
    machine.enter(run).unwrap();
}

#[test]
fn addresses_and_routes_are_noticed_at_once() {
    let Some((machine, _lab)) = machine() else {
        return;
    };
    let device = device(&machine);
    within(&machine, async || {
        let watch = NetworkWatch::start();
        let mut changes = watch.changes();
        // Whatever the laboratory still settles.
        tokio::time::sleep(QUIET).await;
        let steps: [&[&str]; 6] = [
            &["addr", "add", "10.99.0.7/24", "dev", &device],
            &["route", "add", "10.98.0.0/16", "via", "10.99.0.1"],
            &["route", "del", "10.98.0.0/16"],
            &["addr", "del", "10.99.0.7/24", "dev", &device],
            &["-6", "addr", "add", "fd99::7/64", "dev", &device, "nodad"],
            &["route", "del", "default"],
        ];
        for step in steps {
            let noticed = after(&machine, &mut changes, step).await;
            let noticed = noticed.unwrap_or_else(|| panic!("{step:?} was not noticed"));
            println!("{noticed:?} after {step:?}");
            assert!(noticed < AT_ONCE, "{noticed:?} after {step:?}");
        }
    });
}

#[test]
fn an_address_that_goes_and_comes_back_is_a_change() {
    let Some((machine, _lab)) = machine() else {
        return;
    };
    let device = device(&machine);
    within(&machine, async || {
        machine
            .run("ip", &["addr", "add", "10.99.0.7/24", "dev", &device])
            .unwrap();
        let watch = NetworkWatch::start();
        let mut changes = watch.changes();
        tokio::time::sleep(QUIET).await;
        let script =
            format!("ip addr del 10.99.0.7/24 dev {device}; ip addr add 10.99.0.7/24 dev {device}");
        changes.mark_unchanged();
        // The watch is not scheduled between the two, since this does not yield.
        machine.run("sh", &["-c", &script]).unwrap();
        tokio::time::timeout(QUIET, changes.changed())
            .await
            .expect("it is noticed")
            .unwrap();
    });
}

#[test]
fn what_means_nothing_elsewhere_is_no_change() {
    let Some((machine, _lab)) = machine() else {
        return;
    };
    let device = device(&machine);
    within(&machine, async || {
        let watch = NetworkWatch::start();
        let mut changes = watch.changes();
        tokio::time::sleep(QUIET).await;
        let steps: [&[&str]; 3] = [
            &["link", "add", "docker7", "type", "veth", "peer", "veth8"],
            &["addr", "add", "172.30.0.1/16", "dev", "docker7"],
            &["link", "set", &device, "txqueuelen", "777"],
        ];
        for step in steps {
            let noticed = after(&machine, &mut changes, step).await;
            assert_eq!(noticed, None, "{step:?}");
        }
    });
}

#[tokio::test]
async fn it_ends_with_its_last_clone() {
    let watch = NetworkWatch::start();
    let clone = watch.clone();
    let mut changes = watch.changes();
    drop(watch);
    tokio::task::yield_now().await;
    assert!(changes.has_changed().is_ok());
    drop(clone);
    let ended = tokio::time::timeout(Duration::from_secs(1), async {
        while changes.changed().await.is_ok() {}
    });
    ended.await.expect("the task ended");
}
