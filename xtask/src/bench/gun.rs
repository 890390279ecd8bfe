//! Our Gun relay beside that of gun.js: the same clients, the same requests, one after the other on one machine.

mod fan_out;
mod load;
mod message;
mod sides;
mod socket;
mod table;

use super::namespace;
use crate::workspace::Workspace;
use clap::Args;
use load::{Load, Outcome, Until};
use message::Request;
use sides::{Programs, Relay};
use socket::Socket;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use table::{Aim, Figure, Row};

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds for each figure
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Nodes that are written for the figure of memory
    #[arg(long, default_value_t = 100_000)]
    souls: usize,
    /// Clients that see what one writes
    #[arg(long, default_value_t = 100)]
    subscribers: usize,
    /// Where the relays keep their data: on the disk whose speed counts
    #[arg(long, default_value = "/tmp")]
    dir: PathBuf,
    /// A dignet to measure in place of one built now
    #[arg(long)]
    dignet: Option<PathBuf>,
    /// Put the table into docs/benchmarks.md
    #[arg(long)]
    write: bool,
}

/// Requests of one client: what they are called, how many are under way, and what we aim at.
struct Step {
    name: &'static str,
    request: Request,
    window: usize,
    aim: Aim,
}

/// Nodes that are read over and over; the puts before them wrote more.
const READ: usize = 500;

const STEPS: [Step; 6] = [
    Step {
        name: "put, one at a time",
        request: Request::Put { tag: 'a' },
        window: 1,
        aim: Aim::Times(50.0),
    },
    Step {
        name: "put, 100 under way",
        request: Request::Put { tag: 'b' },
        window: 100,
        aim: Aim::Times(5.0),
    },
    Step {
        name: "put, 1,000 under way",
        request: Request::Put { tag: 'c' },
        window: 1_000,
        aim: Aim::Times(5.0),
    },
    Step {
        name: "get a node, one at a time",
        request: Request::Get { tag: 'b', of: READ },
        window: 1,
        aim: Aim::None,
    },
    Step {
        name: "get a node, 100 under way",
        request: Request::Get { tag: 'b', of: READ },
        window: 100,
        aim: Aim::Times(5.0),
    },
    Step {
        name: "get what is not there, 100 under way",
        request: Request::Get { tag: 'z', of: READ },
        window: 100,
        aim: Aim::Times(5.0),
    },
];

pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    if !namespace::only_loopback()? {
        Programs::fetch(workspace)?;
        if options.dignet.is_none() {
            Programs::build(workspace)?;
        }
        return namespace::run_again();
    }
    let programs = Programs::find(workspace, options.dignet.as_deref());
    let dir = options
        .dir
        .join(format!("dig-bench-{}", std::process::id()));
    let rows = measure(&programs, options, &dir);
    let _ = std::fs::remove_dir_all(&dir);
    let table = table::table(&rows?);
    table::publish(workspace, &table, options.write)
}

fn measure(programs: &Programs, options: &Options, dir: &Path) -> anyhow::Result<Vec<Row>> {
    let mut rows = requests(programs, options, dir)?;
    rows.extend(many_souls(programs, options, dir)?);
    Ok(rows)
}

/// Both relays with folders of their own.
fn start(programs: &Programs, dir: &Path) -> anyhow::Result<[Relay; 2]> {
    let folder = |name: &str| -> anyhow::Result<PathBuf> {
        let folder = dir.join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    };
    Ok([
        programs.theirs(&folder("theirs")?)?,
        programs.ours(&folder("ours")?)?,
    ])
}

/// Everything for which a relay that runs already will do. Both run all the time; one that is not asked costs nothing.
fn requests(programs: &Programs, options: &Options, dir: &Path) -> anyhow::Result<Vec<Row>> {
    let relays = start(programs, dir)?;
    let time = Duration::from_secs(options.seconds);
    let mut sockets = Vec::new();
    for relay in &relays {
        sockets.push(Some(Socket::connect(relay.addr)?));
    }
    let mut rows = Vec::new();
    for (step, letter) in STEPS.iter().zip('p'..) {
        let mut figures = Vec::new();
        for (relay, place) in relays.iter().zip(&mut sockets) {
            eprintln!("{}: {}", relay.name, step.name);
            let load = Load {
                request: step.request,
                letter,
                window: step.window,
                until: Until::Time(time),
            };
            let socket = place
                .take()
                .map_or_else(|| Socket::connect(relay.addr), Ok)?;
            let (socket, figure) = one(relay, load, socket)?;
            *place = Some(socket);
            figures.push(figure);
        }
        rows.extend(Row::new(step.name.to_owned(), step.aim, figures));
    }
    drop(sockets);
    let mut figures = Vec::new();
    for relay in &relays {
        eprintln!("{}: {} subscribers", relay.name, options.subscribers);
        let before = relay.running.cpu()?;
        let (rate, lost) = fan_out::run(relay.addr, options.subscribers, time)?;
        let cpu = relay.running.cpu()? - before;
        figures.push(Figure::new(rate, lost, cpu, rate * time.as_secs_f64()));
    }
    let name = format!("put that {} clients see", options.subscribers);
    rows.extend(Row::new(name, Aim::None, figures));
    Ok(rows)
}

fn one(relay: &Relay, load: Load, socket: Socket) -> anyhow::Result<(Socket, Figure)> {
    let before = relay.running.cpu()?;
    let (socket, outcome) = load.run(socket)?;
    let cpu = relay.running.cpu()? - before;
    tell(&outcome);
    let done = outcome.latencies.len() as f64;
    Ok((socket, Figure::new(outcome.rate(), outcome.lost, cpu, done)))
}

fn tell(outcome: &Outcome) {
    eprintln!(
        "    {:.0} a second, p50 {:.2?}, p99 {:.2?}, {} lost",
        outcome.rate(),
        outcome.latency(0.5),
        outcome.latency(0.99),
        outcome.lost
    );
}

/// New relays, many nodes at full speed, and the memory that they take then.
fn many_souls(programs: &Programs, options: &Options, dir: &Path) -> anyhow::Result<Vec<Row>> {
    let relays = start(programs, dir)?;
    let load = Load {
        request: Request::Put { tag: 'm' },
        letter: 'p',
        window: 20_000,
        until: Until::Count(options.souls),
    };
    let (mut figures, mut memory) = (Vec::new(), Vec::new());
    for relay in &relays {
        eprintln!("{}: {} souls", relay.name, options.souls);
        let (_socket, figure) = one(relay, load, Socket::connect(relay.addr)?)?;
        figures.push(figure);
        // What is only waiting to be freed does not count.
        std::thread::sleep(Duration::from_secs(2));
        memory.push(Figure::memory(relay.running.memory()?));
    }
    let mut rows = Vec::new();
    rows.extend(Row::new(
        "put, 20,000 under way".to_owned(),
        Aim::Times(5.0),
        figures,
    ));
    rows.extend(Row::new(
        format!(
            "memory with {} nodes",
            table::thousands(options.souls as f64)
        ),
        Aim::Share(0.2),
        memory,
    ));
    Ok(rows)
}
