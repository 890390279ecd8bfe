//! A whole transfer over loopback, verified and on disk, beside what the machine can copy at most.

use super::{
    namespace,
    process::{Running, build, field, is_event, output},
};
use crate::workspace::Workspace;
use anyhow::ensure;
use clap::Args;
use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    time::Instant,
};

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Size of the file in MiB
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// How often; the median counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// One transfer of a sparse file of 64 GiB, for the memory it takes
    #[arg(long)]
    huge: bool,
    /// Where the files go
    #[arg(long, default_value = "/tmp")]
    dir: PathBuf,
}

/// One round of everything, in bytes a second and bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    tcp: f64,
    tls: f64,
    sha256: f64,
    index: f64,
    get: f64,
    host_memory: u64,
    getter_memory: u64,
}

struct Programs {
    dignet: PathBuf,
    reference: PathBuf,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    if !namespace::only_loopback()? {
        return namespace::run_again();
    }
    let programs = Programs::build(workspace)?;
    let dir = options
        .dir
        .join(format!("dig-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let outcome = measure(&programs, options, &dir);
    std::fs::remove_dir_all(&dir)?;
    report(&outcome?, options);
    Ok(())
}

fn measure(programs: &Programs, options: &Options, dir: &Path) -> anyhow::Result<Vec<Round>> {
    let (bytes, runs) = if options.huge {
        (64 << 30, 1)
    } else {
        (options.mib << 20, options.runs.max(1))
    };
    let original = dir.join("original.bin");
    fill(&original, bytes, options.huge)?;
    let mut rounds = Vec::new();
    for number in 1..=runs {
        eprintln!("round {number} of {runs}");
        rounds.push(round(programs, dir, &original, bytes)?);
    }
    Ok(rounds)
}

fn round(programs: &Programs, dir: &Path, original: &Path, bytes: u64) -> anyhow::Result<Round> {
    // References of a huge size would only take time: a rate is a rate.
    let copied = bytes.min(4 << 30).to_string();
    let reference = |what: &str| -> anyhow::Result<f64> {
        Ok(output(&programs.reference, &[what, &copied])?
            .trim()
            .parse()?)
    };
    let mut round = Round {
        tcp: reference("tcp")?,
        tls: reference("tls")?,
        sha256: reference("sha256")?,
        ..Round::default()
    };
    for left_behind in ["home", "get-home"] {
        let _ = std::fs::remove_dir_all(dir.join(left_behind));
    }
    let started = Instant::now();
    let mut host = share(programs, dir, original)?;
    let ready = host.event("ready")?;
    round.index = bytes as f64 / started.elapsed().as_secs_f64();
    get(programs, dir, &ready, bytes, &mut round)?;
    round.host_memory = host.peak_memory()?;
    Ok(round)
}

fn share(programs: &Programs, dir: &Path, original: &Path) -> anyhow::Result<Running> {
    let (home, original) = (dir.join("home"), original.to_string_lossy());
    let home = home.to_string_lossy();
    let quiet = ["--no-local", "--listen", "127.0.0.1:0"];
    let args = [
        &["--json", "--home", &home, "share"][..],
        &quiet,
        &[&original],
    ]
    .concat();
    Running::start(&programs.dignet, &args)
}

fn get(
    programs: &Programs,
    dir: &Path,
    ready: &str,
    bytes: u64,
    round: &mut Round,
) -> anyhow::Result<()> {
    let (home, copy) = (dir.join("get-home"), dir.join("copy.bin"));
    let _ = std::fs::remove_file(&copy);
    let (home, path) = (home.to_string_lossy(), copy.to_string_lossy());
    let peer = format!(
        "{}@127.0.0.1:{}",
        field(ready, "node_id")?,
        field(ready, "port")?
    );
    let what = ["--peer", &peer, "-o", &path, field(ready, "hash")?];
    let args = [&["--json", "--home", &home, "get", "--no-local"][..], &what].concat();
    let mut getter = Running::start(&programs.dignet, &args)?;
    while let Some(line) = getter.next_event()? {
        // The program ends right after its last event, so memory is read as it goes.
        let memory = getter.peak_memory().unwrap_or_default();
        round.getter_memory = round.getter_memory.max(memory);
        if is_event(&line, "done") {
            ensure!(copy.metadata()?.len() == bytes, "the copy has another size");
            let seconds = field(&line, "elapsed_ms")?.parse::<f64>()? / 1000.0;
            round.get = bytes as f64 / seconds;
            return Ok(());
        }
    }
    anyhow::bail!("the transfer failed")
}

#[allow(clippy::print_stdout, reason = "the table is the result")]
fn report(rounds: &[Round], options: &Options) {
    let median = |value: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let tls = median(|round| round.tls);
    let size = if options.huge {
        "64 GiB, sparse".to_owned()
    } else {
        format!("{} MiB", options.mib)
    };
    println!(
        "\n{size}, median of {} | MB/s | of the TLS copy\n|-|-|-|",
        rounds.len()
    );
    for (name, rate) in [
        ("plain TCP copy", median(|round| round.tcp)),
        ("TLS 1.3 copy over TCP", tls),
        (
            "SHA-256, one stream, one core",
            median(|round| round.sha256),
        ),
        (
            "share: hashed and ready, from start",
            median(|round| round.index),
        ),
        ("get: verified, on disk", median(|round| round.get)),
    ] {
        println!("| {name} | {:.0} | {:.2} |", rate / 1e6, rate / tls);
    }
    let most = |value: fn(&Round) -> u64| {
        rounds.iter().map(value).max().unwrap_or(0) as f64 / f64::from(1 << 20)
    };
    println!(
        "\npeak memory: host {:.1} MiB, getter {:.1} MiB",
        most(|round| round.host_memory),
        most(|round| round.getter_memory)
    );
}

impl Programs {
    fn build(workspace: &Workspace) -> anyhow::Result<Self> {
        build(workspace, &["--package", "dig", "--example", "reference"])?;
        let release = build(workspace, &["--package", "dig-cli"])?;
        Ok(Self {
            dignet: release.join("dignet"),
            reference: release.join("examples/reference"),
        })
    }
}

/// A file that nothing can shorten: noise, or holes where only its size matters.
fn fill(path: &Path, bytes: u64, sparse: bool) -> anyhow::Result<()> {
    let mut file = File::create(path)?;
    if sparse {
        return Ok(file.set_len(bytes)?);
    }
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut piece = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        for word in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&piece)?;
    }
    Ok(file.sync_all()?)
}
