//! Port mapping against real routers (miniupnpd and netfilter in network namespaces) and hostile ones.
//!
//! Needs root, as every laboratory does; says so and passes without testing anything where it cannot, except under `CI`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]

mod fake;
mod hostile;
mod miniupnpd;

use dig_lab::{Lab, Machine, Site, SiteKind};
use dig_nat::mapping::{Mapping, MethodState, PortMapper, PortMapperConfig};
use dig_types::Method;
use std::time::{Duration, Instant};

const PORT: u16 = 41234;

/// How long a router on the own link may take in these tests, on a machine that is busy with others.
const SOON: Duration = Duration::from_secs(12);

/// Runs a future on a machine of the laboratory: its sockets are of that machine's network.
fn on<T: Send>(machine: &Machine, test: impl AsyncFnOnce() -> T + Send) -> T {
    machine
        .enter(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(test())
        })
        .unwrap()
}

/// One protocol alone; or with `None` all of them.
fn only(method: Option<Method>) -> PortMapperConfig {
    let is_on = |one| method.is_none_or(|method| method == one);
    PortMapperConfig {
        pcp: is_on(Method::Pcp),
        nat_pmp: is_on(Method::NatPmp),
        upnp: is_on(Method::Upnp),
        ..PortMapperConfig::default()
    }
}

const EACH: [Option<Method>; 4] = [
    None,
    Some(Method::Pcp),
    Some(Method::NatPmp),
    Some(Method::Upnp),
];

/// Waits for both mappings of IPv4, UDP and TCP.
async fn mapped(mapper: &PortMapper) -> Vec<Mapping> {
    let mut mappings = mapper.mappings();
    let both = mappings.wait_for(|mappings| {
        let ipv4 = mappings.iter().filter(|mapping| mapping.external.is_ipv4());
        ipv4.count() == 2
    });
    match tokio::time::timeout(SOON, both).await {
        Ok(both) => both.unwrap().clone(),
        Err(_) => panic!("not mapped: {:?}", mapper.status().borrow()),
    }
}

/// Waits until a protocol is in a state, and returns how long that took.
async fn becomes(
    mapper: &PortMapper,
    method: Method,
    wanted: impl Fn(&MethodState) -> bool,
) -> Duration {
    let began = Instant::now();
    let mut status = mapper.status();
    let there = status.wait_for(|status| {
        let mut own = status.iter().filter(|status| status.method == method);
        own.any(|status| wanted(&status.state))
    });
    if tokio::time::timeout(SOON, there).await.is_err() {
        panic!("{method}: {:?}", mapper.status().borrow());
    }
    began.elapsed()
}

/// Ends a mapper; returns how long that took.
async fn shut(mapper: PortMapper) -> Duration {
    let began = Instant::now();
    mapper.shutdown().await;
    began.elapsed()
}

/// Runs a test for each protocol alone and for all together, at the same time, each at a site of its own.
fn each(kind: SiteKind, test: impl Fn(Option<Method>, &Site) + Sync) {
    let Some(lab) = Lab::for_test() else { return };
    std::thread::scope(|scope| {
        for (method, name) in EACH.into_iter().zip(["all", "pcp", "nat-pmp", "upnp"]) {
            let (lab, test) = (&lab, &test);
            scope.spawn(move || test(method, &lab.site(kind, name).unwrap()));
        }
    });
}

fn site(kind: SiteKind) -> Option<(Lab, Site)> {
    let lab = Lab::for_test()?;
    let site = lab.site(kind, "home").unwrap();
    Some((lab, site))
}
