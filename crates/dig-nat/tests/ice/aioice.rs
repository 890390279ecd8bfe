//! The other implementation, in a process of its own.

use dig_lab::{Coturn, Machine};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Where its package lies if it is not installed for everybody.
fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python")
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", packages())
        // Nothing is left beside the sources.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Whether Python and aioice are here; says so if not, and fails in CI, where they must.
pub(crate) fn is_here() -> bool {
    let import = python().args(["-c", "import aioice"]).output();
    let here = import.is_ok_and(|output| output.status.success());
    assert!(
        here || std::env::var_os("CI").is_none(),
        "CI must have python3 and its package aioice"
    );
    if !here {
        eprintln!("SKIPPED: run `python3 -m pip install --target target/python aioice==0.13.0`");
    }
    here
}

/// What a side tells the other one before it begins.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) ufrag: String,
    pub(crate) password: String,
    /// Kind as SDP names it, address, and priority (RFC 8445 §5.1.2.1); aioice does not tell its own.
    pub(crate) candidates: Vec<(String, SocketAddr, u32)>,
}

/// The pair that it nominated.
#[derive(Debug)]
pub(crate) struct Nominated {
    pub(crate) kind: String,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) controlling: bool,
    /// All that it offered.
    pub(crate) candidates: Vec<(String, SocketAddr)>,
}

/// A running one.
pub(crate) struct Aioice {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    candidates: Vec<(String, SocketAddr)>,
}

impl Aioice {
    pub(crate) fn start(
        machine: &Machine,
        controlling: bool,
        server: SocketAddr,
        with_relay: bool,
    ) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ice/agent.py");
        let role = if controlling {
            "controlling"
        } else {
            "controlled"
        };
        let mut command = python();
        command.arg(program).arg(role);
        command.args([server.ip().to_string(), server.port().to_string()]);
        if with_relay {
            command.args([Coturn::USER, Coturn::PASSWORD]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = machine.spawn(&mut command).unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            candidates: Vec::new(),
        }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("aioice has failed; it says why above")
    }

    pub(crate) fn introduction(&mut self) -> Introduction {
        let line = self.line();
        let candidates = line["candidates"].as_array().unwrap().iter();
        self.candidates = candidates
            .map(|c| (text(&c[0]), address(&c[1], &c[2])))
            .collect();
        let told = self.candidates.iter().cloned();
        Introduction {
            ufrag: text(&line["ufrag"]),
            password: text(&line["password"]),
            candidates: told.map(|(kind, addr)| (kind, addr, 0)).collect(),
        }
    }

    pub(crate) fn introduce(&mut self, peer: &Introduction) {
        let candidates: Vec<Value> = (peer.candidates.iter())
            .map(|(kind, addr, priority)| {
                json!([kind, addr.ip().to_string(), addr.port(), priority])
            })
            .collect();
        let line = json!({
            "ufrag": peer.ufrag,
            "password": peer.password,
            "candidates": candidates,
        });
        writeln!(self.input, "{line}").unwrap();
    }

    /// What it nominated, once it has heard us over it.
    pub(crate) fn nominated(&mut self) -> Nominated {
        let line = self.line();
        assert_eq!(line["heard"], super::own::SAID);
        Nominated {
            kind: text(&line["local"][0]),
            local: address(&line["local"][1], &line["local"][2]),
            remote: address(&line["remote"][0], &line["remote"][1]),
            controlling: line["controlling"].as_bool().unwrap(),
            candidates: self.candidates.clone(),
        }
    }

    /// It may end.
    pub(crate) fn end(&mut self) {
        writeln!(self.input).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Aioice {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn address(ip: &Value, port: &Value) -> SocketAddr {
    SocketAddr::new(
        ip.as_str().unwrap().parse().unwrap(),
        port.as_u64().unwrap().try_into().unwrap(),
    )
}
