//! Guessing ports, where the peer is no friend: whom it could hit, and how much it could cost.

use super::*;
use crate::{
    attempt::{
        Attempt, Drift, FreshPort, Message, Offer, Output, PORTS, Port, SPRAY, Terms, Wide,
        check::{Check, Kind as Says},
        keys::{Keys, Role},
    },
    signaling::Observed,
    trace::AttemptId,
};
use bytes::Bytes;
use dig_types::NodeId;

const SHARE: [u8; 32] = [7; 32];
const ID: AttemptId = AttemptId([9; 16]);
const SEEN: &str = "44.128.1.1:4000";
const VICTIM: &str = "44.9.9.9:4000";
const HARD: NatHint = NatHint::Dependent { step: None };

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn drain(attempt: &mut Attempt) -> Vec<Output> {
    std::iter::from_fn(|| attempt.poll()).collect()
}

fn ends(outputs: &[Output]) -> Vec<SocketAddr> {
    let to = |output: &Output| match output {
        Output::Datagram { to, .. } => Some(*to),
        _ => None,
    };
    outputs.iter().filter_map(to).collect()
}

/// Whether it is no packet, or one that lives short.
fn ends_early(output: &Output) -> bool {
    match output {
        Output::Datagram { ttl, .. } => ttl.is_some_and(|ttl| ttl <= 2),
        _ => true,
    }
}

fn signals(outputs: &[Output]) -> Vec<Message> {
    let said = |output: &Output| match output {
        Output::Signal(bytes) => Message::decode(bytes).ok(),
        _ => None,
    };
    outputs.iter().filter_map(said).collect()
}

fn asks(outputs: &[Output]) -> Vec<&Output> {
    let asks = |output: &&Output| {
        matches!(
            output,
            Output::AskSpray { .. } | Output::OpenPorts { .. } | Output::TacticEnded { .. }
        )
    };
    outputs.iter().filter(asks).collect()
}

/// What is left to do until some time.
fn pass(attempt: &mut Attempt, from: u64, until: u64) -> Vec<Output> {
    let mut outputs = drain(attempt);
    for now in from..=until {
        attempt.on_timeout(millis(now));
        outputs.extend(drain(attempt));
    }
    outputs
}

/// A responder whose own NAT is of one sort, which got an offer at time 0 of somebody who says that his is of another and that he is at all
/// these ends; and carriers see him there.
fn offered(own: NatHint, theirs: NatHint, named: &[&str], seen: &[&str]) -> Attempt {
    let candidate = |kind, end: &str| Candidate {
        kind,
        transport: Transport::Udp,
        addr: addr(end),
    };
    let reflexive = |end: &&str| candidate(CandidateKind::ServerReflexive, end);
    let mut config = AttemptConfig::new([3; 32]);
    config.methods = vec![Method::UdpHolePunch];
    let local = crate::attempt::Local {
        candidates: vec![
            candidate(CandidateKind::Host, "192.168.2.5:4000"),
            candidate(CandidateKind::ServerReflexive, "44.128.2.1:4000"),
        ],
        nat: own,
        ..Default::default()
    };
    let terms = Terms {
        share: SHARE,
        revision: 0,
        methods: config.methods.clone(),
        candidates: named.iter().map(reflexive).collect(),
        fresh: Vec::new(),
        nat: theirs,
    };
    let offer = Offer {
        terms,
        stamp: 0,
        strategy: Strategy::Race,
    };
    let observed: Vec<Observed> = seen
        .iter()
        .map(|end| Observed {
            transport: Transport::Udp,
            addr: addr(end),
        })
        .collect();
    let party = (NodeId::from_bytes([1; 32]), ID);
    Attempt::respond(Duration::ZERO, config, local, party, offer, &observed).unwrap()
}

fn wide(count: u16, drift: Option<Drift>) -> Bytes {
    Message::Wide(Wide {
        round: 0,
        count,
        drift,
    })
    .encode()
}

#[test]
fn a_stranger_names_a_victim_and_nothing_goes_there() {
    let victim = addr(VICTIM).ip();
    for named in [&[VICTIM][..], &[SEEN, VICTIM], &[]] {
        for seen in [&[SEEN][..], &[]] {
            for word in [wide(320, None), Message::Widen(0).encode()] {
                for (own, theirs) in [(NatHint::Independent, HARD), (HARD, NatHint::Independent)] {
                    let mut attempt = offered(own, theirs, named, seen);
                    let mut all = pass(&mut attempt, 0, 600);
                    attempt.on_signal(millis(600), &word, &[]);
                    all.extend(drain(&mut attempt));
                    attempt.on_spray(millis(601), SPRAY);
                    attempt.on_ports(millis(601), PORTS, None);
                    all.extend(pass(&mut attempt, 601, 6000));
                    let to = ends(&all);
                    if seen.is_empty() {
                        // Two packets an end, which get no farther than this side's own NAT.
                        let named = named.len().min(2);
                        assert_eq!(to.len(), 2 * named, "{to:?}");
                        assert!(all.iter().all(ends_early), "{named:?}");
                    } else {
                        assert!(to.iter().all(|to| to.ip() != victim), "{named:?}");
                    }
                    for ask in asks(&all) {
                        if let Output::AskSpray { to, .. } | Output::OpenPorts { to, .. } = ask {
                            assert_eq!(*to, addr(SEEN).ip());
                        }
                    }
                }
            }
        }
    }
}

/// Who asks may learn where it is seen after its offer has left: then this side's NAT is opened late, whatever it has done meanwhile.
#[test]
fn an_end_that_is_named_late_is_opened_too() {
    for passed in [false, true] {
        let mut attempt = offered(NatHint::Independent, NatHint::Independent, &[], &[]);
        let mut all = pass(&mut attempt, 0, 100);
        let offer = |revision, named: &[&str]| {
            let reflexive = |end: &&str| Candidate {
                kind: CandidateKind::ServerReflexive,
                transport: Transport::Udp,
                addr: addr(end),
            };
            let terms = Terms {
                share: SHARE,
                revision,
                methods: vec![Method::UdpHolePunch],
                candidates: named.iter().map(reflexive).collect(),
                fresh: Vec::new(),
                nat: NatHint::Independent,
            };
            Message::Offer(Offer {
                terms,
                stamp: 0,
                strategy: Strategy::Race,
            })
            .encode()
        };
        if passed {
            attempt.on_signal(millis(101), &Message::Opened(0).encode(), &[]);
            all.extend(pass(&mut attempt, 101, 110));
        }
        assert!(ends(&all).is_empty(), "nothing is known of the peer");
        attempt.on_signal(millis(111), &offer(1, &[SEEN]), &[]);
        let opened = pass(&mut attempt, 111, 200);
        assert_eq!(ends(&opened), [addr(SEEN); 2], "passed: {passed}");
        assert!(opened.iter().all(ends_early));
    }
}

/// However many ends it names, and however often it renames them.
#[test]
fn a_stranger_whom_nobody_sees_opens_two_ends_and_no_more() {
    let many: Vec<String> = (1..=16).map(|host| format!("44.9.9.{host}:4000")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let inside = [
        "10.0.0.1:4000",
        "127.0.0.1:4000",
        "224.0.0.1:4000",
        "0.0.0.0:4000",
    ];
    for (named, expected) in [(&many[..], 4), (&inside[..], 0)] {
        let mut attempt = offered(NatHint::Independent, NatHint::Independent, named, &[]);
        let mut all = pass(&mut attempt, 0, 600);
        for revision in 1..=20u8 {
            let candidate = |host: u8| Candidate {
                kind: CandidateKind::ServerReflexive,
                transport: Transport::Udp,
                addr: addr(&format!("44.9.{revision}.{host}:4000")),
            };
            let terms = Terms {
                share: SHARE,
                revision,
                methods: vec![Method::UdpHolePunch],
                candidates: (1..=16).map(candidate).collect(),
                fresh: Vec::new(),
                nat: NatHint::Independent,
            };
            let offer = Offer {
                terms,
                stamp: 0,
                strategy: Strategy::Race,
            };
            let now = millis(600 + u64::from(revision));
            attempt.on_signal(now, &Message::Offer(offer).encode(), &[]);
            all.extend(drain(&mut attempt));
        }
        all.extend(pass(&mut attempt, 700, 20_000));
        assert!(all.iter().all(ends_early));
        let sent = ends(&all).len();
        assert!(sent >= expected && sent <= 4, "{sent}");
    }
}

/// A private host, one behind a carrier's NAT, this machine, a network of many.
#[test]
fn what_carriers_say_is_no_leave_for_inside_addresses() {
    for inside in [
        "192.168.2.9:4000",
        "100.64.1.1:4000",
        "127.0.0.1:4000",
        "224.0.0.1:4000",
    ] {
        let mut attempt = offered(NatHint::Independent, HARD, &[inside], &[inside]);
        drain(&mut attempt);
        attempt.on_signal(millis(600), &wide(320, None), &[]);
        assert_eq!(
            asks(&drain(&mut attempt)),
            Vec::<&Output>::new(),
            "{inside}"
        );
    }
}

#[test]
fn words_that_come_early_or_from_the_wrong_side_do_nothing() {
    let quiet = |own, theirs, when, word: &Bytes| {
        let mut attempt = offered(own, theirs, &[SEEN], &[SEEN]);
        drain(&mut attempt);
        attempt.on_signal(millis(when), word, &[]);
        assert_eq!(asks(&drain(&mut attempt)), Vec::<&Output>::new());
    };
    let (word, widen) = (wide(320, None), Message::Widen(0).encode());
    quiet(NatHint::Independent, HARD, 499, &word);
    quiet(HARD, NatHint::Independent, 499, &widen);
    quiet(NatHint::Independent, NatHint::Independent, 600, &word);
    quiet(HARD, HARD, 600, &word);
    quiet(HARD, HARD, 600, &widen);
    quiet(HARD, NatHint::Independent, 600, &word);
    quiet(NatHint::Independent, HARD, 600, &widen);
    quiet(NatHint::Independent, HARD, 600, &wide(0, None));
}

#[test]
fn words_said_a_thousand_times_ask_once() {
    for granted in [0, 40, SPRAY, u16::MAX] {
        let mut attempt = offered(NatHint::Independent, HARD, &[SEEN], &[SEEN]);
        let mut all = pass(&mut attempt, 0, 600);
        for now in 600..4000 {
            attempt.on_signal(millis(now), &wide(u16::MAX, None), &[]);
            attempt.on_spray(millis(now), granted);
            all.extend(drain(&mut attempt));
        }
        all.extend(pass(&mut attempt, 4000, 12_000));
        let asked = |output: &&Output| matches!(output, Output::AskSpray { .. });
        assert_eq!(all.iter().filter(asked).count(), 1);
        let most = usize::from(granted.min(SPRAY)) + 100;
        assert!(ends(&all).len() <= most, "{} of {most}", ends(&all).len());
        assert!(attempt.has_ended());
    }
}

#[test]
fn a_peer_that_asks_for_ports_again_gets_them_once() {
    let mut attempt = offered(HARD, NatHint::Independent, &[SEEN], &[SEEN]);
    let mut all = pass(&mut attempt, 0, 600);
    for now in 600..5000 {
        attempt.on_signal(millis(now), &Message::Widen((now % 3) as u8).encode(), &[]);
        if now == 620 {
            attempt.on_ports(millis(now), PORTS, None);
        }
        all.extend(drain(&mut attempt));
    }
    all.extend(pass(&mut attempt, 5000, 20_000));
    let opened = |output: &&Output| matches!(output, Output::OpenPorts { .. });
    assert_eq!(all.iter().filter(opened).count(), 1);
    assert!(ends(&all).len() <= usize::from(PORTS) * 2 + 100);
    // The sockets are closed before a NAT forgets them.
    assert!(attempt.has_ended());
    assert!(
        all.iter()
            .any(|output| matches!(output, Output::TacticEnded { .. }))
    );
}

#[test]
fn whatever_steps_the_peer_claims_no_service_is_guessed_and_no_port_twice() {
    for (last, step) in [
        (0, 1),
        (0, i16::MIN),
        (u16::MAX, i16::MAX),
        (1024, -1),
        (80, 1),
        (40_000, -32_256),
    ] {
        let mut attempt = offered(NatHint::Independent, HARD, &[SEEN], &[SEEN]);
        pass(&mut attempt, 0, 600);
        attempt.on_signal(millis(600), &wide(32, Some(Drift { last, step })), &[]);
        drain(&mut attempt);
        attempt.on_spray(millis(600), SPRAY);
        let mut ports: Vec<u16> = ends(&pass(&mut attempt, 600, 2500))
            .iter()
            .filter(|to| **to != addr(SEEN))
            .map(SocketAddr::port)
            .collect();
        assert!(
            ports.len() >= usize::from(SPRAY) - 1,
            "{last} {step}: {}",
            ports.len()
        );
        ports.sort_unstable();
        assert!(ports[0] >= 1024, "{last} {step}");
        assert!(
            ports.windows(2).all(|pair| pair[0] != pair[1]),
            "{last} {step}"
        );
    }
}

/// Who overhears, and who has another key, is not heard; and the peer itself at four of the ports only.
#[test]
fn open_ports_answer_the_peer_alone_and_at_few_of_them() {
    let mut attempt = offered(HARD, NatHint::Independent, &[SEEN], &[SEEN]);
    let answers = signals(&pass(&mut attempt, 0, 600));
    let share = answers.iter().find_map(|message| match message {
        Message::Answer(answer) => Some(answer.terms.share),
        _ => None,
    });
    let keys = Keys::new(ID, &SHARE, &share.unwrap());
    let request = |keys: &Keys, role| {
        let check = Check {
            kind: Says::Request,
            role,
            method: Method::UdpHolePunch,
            transaction: 5,
        };
        check.encode(keys)
    };
    let good = request(&keys, Role::Initiator);
    let at = |attempt: &mut Attempt, port: u16, bytes: &[u8]| {
        attempt.on_datagram(millis(700), Port::Extra(port), addr(SEEN), bytes);
        drain(attempt)
    };
    assert!(at(&mut attempt, 0, &good).is_empty(), "no port is open yet");
    attempt.on_signal(millis(600), &Message::Widen(0).encode(), &[]);
    drain(&mut attempt);
    attempt.on_ports(millis(600), 100, None);
    pass(&mut attempt, 600, 700);
    let other = Keys::new(ID, &SHARE, &SHARE);
    for bad in [
        request(&other, Role::Initiator),
        request(&keys, Role::Responder),
    ] {
        assert!(at(&mut attempt, 0, &bad).is_empty());
    }
    assert!(at(&mut attempt, 100, &good).is_empty(), "not one of those");
    let mut paths = Vec::new();
    for port in 0..100 {
        let outputs = at(&mut attempt, port, &good);
        let served = outputs.iter().find_map(|output| match output {
            Output::Path(path) => Some(path.from),
            _ => None,
        });
        assert_eq!(served.is_some(), !outputs.is_empty(), "{port}");
        paths.extend(served);
    }
    let first: Vec<Port> = (0..4).map(Port::Extra).collect();
    assert_eq!(paths, first);
}

#[test]
fn fresh_ports_are_punched_only_where_a_carrier_sees_the_peer() {
    let port = FreshPort {
        port: 7000,
        ipv6: false,
        external: Some(addr("44.128.2.1:7000")),
    };
    let seen = &[SEEN][..];
    for (end, seen, allowed) in [
        ("44.128.1.1:9000", seen, true),
        ("44.128.1.1:9000", &[], false),
        (VICTIM, seen, false),
        ("10.0.0.1:9000", seen, false),
        ("192.168.2.9:9000", seen, false),
        ("224.0.0.1:9000", seen, false),
        ("[2a0d::1]:9000", seen, false),
    ] {
        let mut attempt = offered(
            NatHint::Independent,
            NatHint::Unknown,
            &[SEEN, VICTIM],
            seen,
        );
        let _ = pass(&mut attempt, 0, 600);
        let word = Message::Fresh(Some(addr(end))).encode();
        attempt.on_signal(millis(600), &word, &[]);
        let outputs = drain(&mut attempt);
        assert_eq!(outputs.contains(&Output::OpenFresh), allowed, "{end}");
        assert_eq!(
            signals(&outputs).contains(&Message::Fresh(None)),
            !allowed,
            "{end}"
        );
        attempt.on_fresh(millis(601), Some(port));
        let from_there = |output: &Output| {
            matches!(
                output,
                Output::Datagram {
                    from: Port::Extra(_),
                    ..
                }
            )
        };
        let mut all = pass(&mut attempt, 601, 8000);
        all.retain(from_there);
        assert!(
            ends(&all).iter().all(|to| allowed && *to == addr(end)),
            "{end}"
        );
        assert!(
            all.len() <= 20 && all.is_empty() != allowed,
            "{end}: {}",
            all.len()
        );
    }
}

#[test]
fn a_fresh_port_is_opened_once_however_often_it_is_asked_for() {
    for answered in [false, true] {
        let mut attempt = offered(NatHint::Independent, NatHint::Unknown, &[SEEN], &[SEEN]);
        let mut all = Vec::new();
        for now in 0..1000 {
            let end = SocketAddr::new(addr(SEEN).ip(), 5000 + now as u16);
            let word = Message::Fresh(Some(end)).encode();
            attempt.on_signal(millis(now), &word, &[]);
            if answered {
                attempt.on_fresh(millis(now), None);
            }
            all.extend(pass(&mut attempt, now, now));
        }
        let opened = all.iter().filter(|output| **output == Output::OpenFresh);
        assert_eq!(opened.count(), 1);
        assert!(ends(&all).len() < 30);
    }
}
