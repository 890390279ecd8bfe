//! What an attempt came to, in one line, and the one thing that would help.

use super::{MethodTrace, Outcome, Trace};
use crate::attempt::NatHint;
use dig_types::Method;
use serde::Serialize;

/// The path that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// How it was found.
    pub method: Method,
    /// Whether a relay stands between.
    pub relayed: bool,
}

/// One line, and at most one remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What it came to, and why.
    pub line: String,
    /// What would make it better, where there is anything.
    pub remedy: Option<String>,
}

const OPEN_A_PORT: &str = "enable UPnP, NAT-PMP or PCP on one of the two routers, or use IPv6";
const NAME_A_RELAY: &str = "name a TURN server with --turn on one side (dignet relay is one), or enable UPnP on one router, or use IPv6";

impl Verdict {
    /// Judges an attempt: `reached` is the path that is used in the end. A peer that was dialled at its own address has no trace.
    pub fn of(trace: Option<&Trace>, reached: Option<Reached>) -> Self {
        match (reached, trace) {
            (Some(reached), _) if !reached.relayed => Self {
                line: format!("direct: {}", way(reached.method)),
                remedy: None,
            },
            (Some(_), trace) => Self {
                line: format!("{}: relayed", why_not_direct(trace)),
                remedy: Some(OPEN_A_PORT.into()),
            },
            (None, None) => Self {
                line: "no path: nothing answers at the peer's addresses".into(),
                remedy: Some(
                    "name a peer that introduces the two with --via on both sides, such as a dignet relay".into(),
                ),
            },
            (None, Some(trace)) => without_path(trace),
        }
    }
}

/// How a direct path goes.
fn way(method: Method) -> &'static str {
    match method {
        Method::Local => "both are on one network",
        Method::Direct => "one side has a public address that lets the other in",
        Method::Pcp => "a router opened a port (PCP)",
        Method::NatPmp => "a router opened a port (NAT-PMP)",
        Method::Upnp => "a router opened a port (UPnP)",
        Method::TcpHolePunch => "through both NATs by TCP hole punching",
        Method::UdpHolePunch => "through both NATs by UDP hole punching",
        Method::TcpSimultaneousOpen => "through both NATs by TCP simultaneous open",
        Method::Ice => "through both NATs by STUN connectivity checks (ICE)",
        _ => "found",
    }
}

fn why_not_direct(trace: Option<&Trace>) -> String {
    let Some(trace) = trace else {
        return "no direct path was tried".into();
    };
    let varies = |nat: NatHint| matches!(nat, NatHint::Dependent { .. });
    let step = |nat: NatHint| matches!(nat, NatHint::Dependent { step: Some(_) });
    let (own, peer) = (trace.own_nat, trace.peer_nat.unwrap_or_default());
    match (varies(own), varies(peer)) {
        (true, true) if step(own) && step(peer) => {
            "both NATs use another port for each destination".into()
        }
        (true, true) => "both NATs assign random ports".into(),
        (true, false) => {
            "this side's NAT assigns random ports, and the other side lets in only what it expects"
                .into()
        }
        (false, true) => {
            "the peer's NAT assigns random ports, and this side lets in only what it expects".into()
        }
        (false, false) if heard_one_way(trace) => {
            "the peer's packets arrive here, ours do not arrive there".into()
        }
        (false, false) => "neither side's packets reach the other".into(),
    }
}

fn without_path(trace: &Trace) -> Verdict {
    if trace.signaling.is_none() {
        return Verdict {
            line: "no signal: the peer did not answer the offer".into(),
            remedy: Some(
                "see that dignet runs there, and that both sides name the same --via".into(),
            ),
        };
    }
    let refused = trace.methods.iter().find_map(|run| match &run.outcome {
        Outcome::Refused(reason) => Some(reason.clone()),
        _ => None,
    });
    match refused {
        Some(reason) if !heard_one_way(trace) => Verdict {
            line: format!("no path: heard, but refused ({reason})"),
            remedy: Some(NAME_A_RELAY.into()),
        },
        _ => Verdict {
            line: format!("no path: {}", why_not_direct(Some(trace))),
            remedy: Some(NAME_A_RELAY.into()),
        },
    }
}

fn heard_one_way(trace: &Trace) -> bool {
    let one_way = |run: &MethodTrace| run.outcome == Outcome::OneWay;
    trace.methods.iter().any(one_way)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::AttemptId;
    use dig_types::NodeId;
    use std::time::Duration;

    fn trace(own: NatHint, peer: Option<NatHint>, outcomes: &[Outcome]) -> Trace {
        let run = |outcome: &Outcome| MethodTrace {
            method: Method::UdpHolePunch,
            started: Duration::ZERO,
            took: Duration::from_secs(5),
            sent: 9,
            received: 0,
            remotes: Vec::new(),
            outcome: outcome.clone(),
            tactic: None,
        };
        Trace {
            attempt: AttemptId([1; 16]),
            peer: NodeId::from_bytes([2; 32]),
            signaling: peer.map(|_| Duration::from_millis(40)),
            own_nat: own,
            peer_nat: peer,
            methods: outcomes.iter().map(run).collect(),
        }
    }

    const RANDOM: NatHint = NatHint::Dependent { step: None };
    const HOME: NatHint = NatHint::Independent;

    #[test]
    fn each_end_has_its_line_and_one_remedy() {
        let relayed = Some(Reached {
            method: Method::Turn,
            relayed: true,
        });
        let direct = |method| {
            Some(Reached {
                method,
                relayed: false,
            })
        };
        let silent = &[Outcome::NoAnswer][..];
        let check = |trace: Option<Trace>, reached, line: &str, remedy: Option<&str>| {
            let verdict = Verdict::of(trace.as_ref(), reached);
            assert!(verdict.line.contains(line), "{line}: {verdict:?}");
            let told = verdict.remedy.as_deref().unwrap_or("");
            assert_eq!(verdict.remedy.is_some(), remedy.is_some(), "{verdict:?}");
            assert!(told.contains(remedy.unwrap_or("")), "{verdict:?}");
        };
        let both = trace(RANDOM, Some(RANDOM), silent);
        check(
            Some(both.clone()),
            relayed,
            "both NATs assign random ports: relayed",
            Some("UPnP"),
        );
        check(Some(both), None, "no path: both NATs", Some("--turn"));
        check(
            Some(trace(HOME, Some(RANDOM), silent)),
            relayed,
            "the peer's NAT assigns random",
            Some("UPnP"),
        );
        check(
            Some(trace(HOME, Some(HOME), &[Outcome::OneWay])),
            None,
            "arrive here, ours do not",
            Some("--turn"),
        );
        check(
            Some(trace(
                HOME,
                Some(HOME),
                &[Outcome::Refused("44.1.1.1:9 refused".into())],
            )),
            None,
            "heard, but refused",
            Some("--turn"),
        );
        check(
            Some(trace(HOME, None, &[])),
            None,
            "no signal",
            Some("--via"),
        );
        check(None, None, "no path", Some("--via"));
        for method in Method::ALL {
            check(None, direct(method), "direct: ", None);
        }
    }
}
