//! Emulated links of sites.

use crate::probe::{PATIENCE, SILENCE, bind, receive, socket};
use dig_lab::{Lab, SiteKind, SiteSpec, link::Link};
use std::time::{Duration, Instant};

#[test]
fn delay_counts_once_each_way_and_can_change() {
    let Some(lab) = Lab::for_test() else { return };
    let delay = Duration::from_millis(50);
    let server = lab.server(0).unwrap();
    for (kind, name) in [
        (SiteKind::PortRestricted, "home"),
        (SiteKind::CarrierGrade, "carrier"),
        (SiteKind::SymmetricSequential, "sequential"),
        (SiteKind::DualStack, "dual"),
    ] {
        let site = lab.site(kind.with_link(Link::delay(delay)), name).unwrap();
        let host = site.host(0).unwrap();
        for to in server
            .addresses()
            .iter()
            .filter(|to| to.is_ipv4() || host.ipv6().is_some())
        {
            let far = bind(&server, (*to, 7001).into());
            let near = socket(&host, 4000, *to);
            let round = || {
                let start = Instant::now();
                near.send_to(b"there", far.local_addr().unwrap()).unwrap();
                let (_, from) = receive(&far, PATIENCE).unwrap();
                far.send_to(b"back", from).unwrap();
                receive(&near, PATIENCE).unwrap();
                start.elapsed()
            };
            // The machine may be busy; the link is not slower for that.
            let quickest = || (0..5).map(|_| round()).min().unwrap();
            let slow = quickest();
            assert!(
                slow >= 2 * delay && slow < 3 * delay,
                "{kind:?} {to}: {slow:?}"
            );
            assert!(site.set_link(Link::default(), Link::default()));
            let fast = quickest();
            assert!(fast < delay, "{kind:?} {to}: {fast:?}");
            assert!(site.set_link(Link::delay(delay), Link::delay(delay)));
        }
    }
}

#[test]
fn loss_is_that_of_the_link() {
    let Some(lab) = Lab::for_test() else { return };
    let link = Link::default().with_loss(0.25);
    let spec = SiteSpec::from(SiteKind::Open).with_links(link, Link::default());
    let site = lab.site(spec, "lossy").unwrap();
    let (host, server) = (site.host(0).unwrap(), lab.server(0).unwrap());
    let far = bind(&server, server.at(7001).unwrap());
    let near = socket(&host, 4000, server.address().unwrap());
    let mut arrived = 0;
    for _ in 0..10 {
        for _ in 0..40 {
            near.send_to(&[0; 100], far.local_addr().unwrap()).unwrap();
        }
        while receive(&far, SILENCE / 2).is_some() {
            arrived += 1;
        }
    }
    // 300 of 400 with a standard deviation of 9.
    assert!(
        (260..=340).contains(&arrived),
        "{arrived} of 400, seed {}",
        lab.seed()
    );
    let (outwards, _) = site.tally().unwrap();
    assert!(outwards.lost > 0, "{outwards:?}");
}
