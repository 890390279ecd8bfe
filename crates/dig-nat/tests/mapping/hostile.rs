//! Routers, and machines that pretend to be one, that lie, stall or attack.

use super::*;
use crate::fake::{Fake, Reply, Trap, actions, datagrams, description, done, fault, honest, igd};
use dig_nat::mapping::{Refusal, Verified};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// What one protocol may take to be given up.
const BOUND: Duration = Duration::from_millis(9500);

fn home() -> Option<(Lab, Site)> {
    site(SiteKind::PortRestricted)
}

/// Asks by one protocol until it is refused; why.
async fn refused(method: Method) -> Refusal {
    let mapper = PortMapper::start(only(Some(method)), PORT);
    let is_refused = |state: &MethodState| matches!(state, MethodState::Refused(_));
    let took = becomes(&mapper, method, is_refused).await;
    assert!(took < BOUND, "{took:?}");
    assert_eq!(*mapper.mappings().borrow(), []);
    let status = mapper.status().borrow().clone();
    let own = status.into_iter().find(|status| status.method == method);
    assert!(shut(mapper).await < Duration::from_millis(800));
    match own.map(|status| status.state) {
        Some(MethodState::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_that_points_elsewhere_makes_us_connect_nowhere() {
    let Some((lab, site)) = home() else { return };
    let (host, victim) = (site.host(0).unwrap(), site.host(1).unwrap());
    let server = lab.server(0).unwrap();
    let gateway = site.gateway().unwrap();
    let targets = [
        (&victim, victim.at(5000).unwrap()),
        (&host, host.at(5000).unwrap()),
        (&host, SocketAddr::from(([127, 0, 0, 1], 5000))),
        (&server, server.at(5000).unwrap()),
        (site.router(), SocketAddr::from((gateway, 22))),
        (site.router(), SocketAddr::from((gateway, 631))),
    ];
    let traps = targets.map(|(machine, addr)| (addr, Trap::set(machine, addr)));
    let mut fake = Fake::default();
    let urls = targets.map(|(_, addr)| format!("http://{addr}/desc.xml"));
    fake.ssdp(site.router(), gateway, &urls);
    assert_eq!(
        on(&host, async || refused(Method::Upnp).await),
        Refusal::Elsewhere
    );
    for (addr, trap) in &traps {
        assert!(!trap.caught(), "{addr}");
    }
}

#[test]
fn a_description_that_points_elsewhere_makes_us_connect_nowhere() {
    let Some((_lab, site)) = home() else { return };
    let (host, victim) = (site.host(0).unwrap(), site.host(1).unwrap());
    let trap = Trap::set(&victim, victim.at(5000).unwrap());
    let url = format!("http://{}/ctl", victim.at(5000).unwrap());
    let _fake = igd(&site, move |request| {
        let is_description = request.starts_with("GET /desc.xml");
        Reply::text(if is_description {
            description(&url)
        } else {
            actions()
        })
    });
    on(&host, async || refused(Method::Upnp).await);
    assert!(!trap.caught());
}

fn bomb() -> String {
    let entities: String = (1..30)
        .map(|n| format!("<!ENTITY e{n} \"&e{0};&e{0};&e{0};&e{0};\">", n - 1))
        .collect();
    format!(
        "<?xml version=\"1.0\"?><!DOCTYPE root [<!ENTITY e0 \"ha\">{entities}]><root>&e29;</root>"
    )
}

type Body = (&'static str, fn() -> Reply);

/// Bodies that no honest router sends.
fn bodies() -> [Body; 7] {
    [
        ("empty", || Reply::text("")),
        ("not XML", || Reply::Body(vec![0xff; 1000])),
        ("an XML bomb", || Reply::text(bomb())),
        ("deep XML", || Reply::text("<a>".repeat(300_000))),
        ("wide XML", || {
            Reply::text(format!("<a>{}</a>", "<b/>".repeat(250_000)))
        }),
        ("10 MB", || {
            let filler = "x".repeat(10 << 20);
            Reply::text(format!("<?xml version=\"1.0\"?><a>{filler}</a>"))
        }),
        ("a trickle", || Reply::Trickle),
    ]
}

#[test]
fn hostile_descriptions_are_refused_within_bounds() {
    let Some((_lab, site)) = home() else { return };
    let host = site.host(0).unwrap();
    for (name, body) in bodies() {
        let _fake = igd(&site, move |_| body());
        let began = Instant::now();
        let refusal = on(&host, async || refused(Method::Upnp).await);
        assert_eq!(refusal, Refusal::Nonsense, "{name}");
        println!("description, {name}: refused after {:?}", began.elapsed());
    }
}

#[test]
fn hostile_answers_to_requests_are_refused_within_bounds() {
    let Some((_lab, site)) = home() else { return };
    let host = site.host(0).unwrap();
    for (name, body) in bodies() {
        let _fake = igd(&site, honest("44.128.0.77", move |_| body()));
        let began = Instant::now();
        let refusal = on(&host, async || refused(Method::Upnp).await);
        let expected = [Refusal::Nonsense, Refusal::NoAnswer];
        assert!(expected.contains(&refusal), "{name}: {refusal:?}");
        println!("answer, {name}: refused after {:?}", began.elapsed());
    }
}

#[test]
fn a_stalling_neighbour_does_not_hide_the_router() {
    let Some((_lab, site)) = site(SiteKind::UpnpRouter) else {
        return;
    };
    let (host, neighbour) = (site.host(0).unwrap(), site.host(1).unwrap());
    let own = neighbour.ipv4().unwrap();
    let mut fake = Fake::default();
    fake.ssdp(&neighbour, own, &[format!("http://{own}:5000/desc.xml")]);
    fake.http(&neighbour, SocketAddrV4::new(own, 5000), |_| Reply::Trickle);
    on(&host, async || {
        let began = Instant::now();
        let mapper = PortMapper::start(only(Some(Method::Upnp)), PORT);
        mapped(&mapper).await;
        assert!(began.elapsed() < Duration::from_millis(1500));
        shut(mapper).await;
    });
    assert_eq!(fake.requests(), [""; 0]);
}

#[test]
fn permanent_mappings_are_taken_where_there_is_nothing_else_and_removed() {
    let Some((_lab, site)) = home() else { return };
    let fake = igd(
        &site,
        honest("44.128.0.77", |request| {
            let permanent = request.contains("<NewLeaseDuration>0</NewLeaseDuration>");
            if permanent {
                done("AddPortMapping", "")
            } else {
                fault(725)
            }
        }),
    );
    on(&site.host(0).unwrap(), async || {
        let mapper = PortMapper::start(only(Some(Method::Upnp)), PORT);
        let mappings = mapped(&mapper).await;
        assert!(mappings.iter().all(|mapping| mapping.lifetime.is_none()));
        assert_eq!(fake.count("#DeletePortMapping"), 0);
        assert!(shut(mapper).await < Duration::from_millis(800));
    });
    for protocol in ["UDP", "TCP"] {
        let deletion = format!("<NewProtocol>{protocol}</NewProtocol>");
        let requests = fake.requests();
        let mut deletions = requests
            .iter()
            .filter(|request| request.contains("#DeletePortMapping"));
        assert!(
            deletions.any(|request| request.contains(&deletion)),
            "{protocol}"
        );
    }
}

#[test]
fn a_router_where_every_port_is_taken_is_left_alone_soon() {
    let Some((_lab, site)) = home() else { return };
    let fake = igd(&site, honest("44.128.0.77", |_| fault(718)));
    let refusal = on(&site.host(0).unwrap(), async || refused(Method::Upnp).await);
    assert_eq!(refusal, Refusal::Conflict);
    let asked = fake.count("#AddPortMapping");
    assert!((8..=16).contains(&asked), "{asked}");
}

#[test]
fn a_router_that_lies_about_its_address_is_found_out() {
    let Some((_lab, site)) = home() else { return };
    let _fake = igd(&site, honest("44.128.0.77", |_| done("AddPortMapping", "")));
    let seen = site.public_ipv4().unwrap();
    on(&site.host(0).unwrap(), async || {
        let mapper = PortMapper::start(only(Some(Method::Upnp)), PORT);
        assert!(mapped(&mapper).await.iter().all(Mapping::is_advertised));
        mapper.external_seen(SocketAddr::new(seen.into(), 1));
        let mut watch = mapper.mappings();
        let found_out = watch.wait_for(|mappings| {
            let contradicted = Verified::Contradicted { seen: seen.into() };
            mappings
                .iter()
                .all(|mapping| mapping.verified == contradicted)
        });
        let mappings = tokio::time::timeout(SOON, found_out)
            .await
            .unwrap()
            .unwrap()
            .clone();
        assert_eq!(mappings.len(), 2);
        assert!(!mappings.iter().any(Mapping::is_advertised));
        shut(mapper).await;
    });
}

/// A NAT-PMP server with an outside address, whose answers about mappings go through `twist`.
fn nat_pmp(
    outside: [u8; 4],
    twist: impl Fn(Vec<u8>) -> Vec<Vec<u8>>,
) -> impl Fn(&[u8]) -> Vec<Vec<u8>> {
    move |request| match *request {
        [0, 0] => vec![[&[0, 128, 0, 0, 0, 0, 1, 0][..], &outside].concat()],
        [0, opcode @ 1..=2, 0, 0, ..] if request.len() == 12 => {
            let head = [0, 128 | opcode, 0, 0, 0, 0, 1, 0];
            twist([&head[..], &request[4..]].concat())
        }
        _ => vec![],
    }
}

#[test]
fn a_private_outside_address_is_kept_and_not_advertised() {
    let Some((_lab, site)) = home() else { return };
    for outside in [[10, 1, 2, 3], [100, 64, 0, 9]] {
        let _fake = datagrams(&site, nat_pmp(outside, |answer| vec![answer]));
        on(&site.host(0).unwrap(), async || {
            let mapper = PortMapper::start(only(Some(Method::NatPmp)), PORT);
            for mapping in mapped(&mapper).await {
                let external = SocketAddr::from((Ipv4Addr::from(outside), PORT));
                assert_eq!(mapping.external, external);
                assert_eq!(mapping.verified, Verified::NotPublic);
                assert!(!mapping.is_advertised());
            }
            assert!(shut(mapper).await < Duration::from_millis(800));
        });
    }
}

#[test]
fn answers_of_nat_pmp_that_answer_something_else_are_ignored() {
    type Twist = fn(Vec<u8>) -> Vec<Vec<u8>>;
    let Some((_lab, site)) = home() else { return };
    let twists: [(Twist, Refusal); 5] = [
        // For another port, for another protocol, cut short, too long.
        (
            |mut answer| {
                answer[9] ^= 1;
                vec![answer]
            },
            Refusal::NoAnswer,
        ),
        (
            |mut answer| {
                answer[1] ^= 3;
                vec![answer]
            },
            Refusal::NoAnswer,
        ),
        (
            |answer| vec![answer[..9].to_vec(), answer[..15].to_vec(), vec![], vec![0]],
            Refusal::NoAnswer,
        ),
        (
            |mut answer| {
                answer.extend([0; 50]);
                vec![answer]
            },
            Refusal::NoAnswer,
        ),
        // No port at all.
        (
            |mut answer| {
                answer[10..12].fill(0);
                vec![answer]
            },
            Refusal::Nonsense,
        ),
    ];
    for (twist, expected) in twists {
        let _fake = datagrams(&site, nat_pmp([44, 128, 0, 77], twist));
        let refusal = on(&site.host(0).unwrap(), async || {
            refused(Method::NatPmp).await
        });
        assert_eq!(refusal, expected);
    }
    // Garbage before the answer does no harm.
    let noisy = nat_pmp([44, 128, 0, 77], |answer| {
        let mut other = answer.clone();
        other[9] ^= 1;
        vec![vec![0xff; 30], other, answer]
    });
    let _fake = datagrams(&site, noisy);
    on(&site.host(0).unwrap(), async || {
        let mapper = PortMapper::start(only(Some(Method::NatPmp)), PORT);
        assert_eq!(
            mapped(&mapper).await[0].external.to_string(),
            format!("44.128.0.77:{PORT}")
        );
        shut(mapper).await;
    });
}

/// A PCP server whose answers go through `twist`.
fn pcp(twist: impl Fn(Vec<u8>) -> Vec<Vec<u8>>) -> impl Fn(&[u8]) -> Vec<Vec<u8>> {
    move |request| {
        if request.len() != 60 || request[..2] != [2, 1] {
            return vec![];
        }
        let mut answer = request.to_vec();
        answer[1] |= 0x80;
        answer[8..24].fill(0);
        answer[44..60].copy_from_slice(&Ipv4Addr::new(44, 128, 0, 77).to_ipv6_mapped().octets());
        twist(answer)
    }
}

#[test]
fn answers_of_pcp_that_answer_something_else_are_ignored() {
    type Twist = fn(Vec<u8>) -> Vec<Vec<u8>>;
    let Some((_lab, site)) = home() else { return };
    let twists: [(Twist, Refusal); 7] = [
        // Another nonce, another protocol, another port, no multiple of 4.
        (
            |mut answer| {
                answer[30] ^= 1;
                vec![answer]
            },
            Refusal::NoAnswer,
        ),
        (
            |mut answer| {
                answer[36] ^= 23;
                vec![answer]
            },
            Refusal::NoAnswer,
        ),
        (
            |mut answer| {
                answer[41] ^= 1;
                vec![answer]
            },
            Refusal::NoAnswer,
        ),
        (
            |mut answer| {
                answer.push(0);
                vec![answer, vec![], vec![2]]
            },
            Refusal::NoAnswer,
        ),
        // No port, no lifetime, and an error alone.
        (
            |mut answer| {
                answer[42..44].fill(0);
                vec![answer]
            },
            Refusal::Nonsense,
        ),
        (
            |mut answer| {
                answer[4..8].fill(0);
                vec![answer]
            },
            Refusal::Nonsense,
        ),
        (
            |mut answer| {
                answer[3] = 2;
                vec![answer[..24].to_vec()]
            },
            Refusal::Denied,
        ),
    ];
    for (twist, expected) in twists {
        let _fake = datagrams(&site, pcp(twist));
        let refusal = on(&site.host(0).unwrap(), async || refused(Method::Pcp).await);
        assert_eq!(refusal, expected);
    }
}
