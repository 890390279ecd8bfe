//! How fast chunks are hashed on this machine: many at once, beside one after the other.
//!
//! `cargo run --release -p dig-transfer --example hash_speed`
#![allow(clippy::print_stdout, reason = "a program for people")]

use dig_transfer::{
    chunk::CHUNK_LEN,
    hashing::{BATCH, BatchHasher, OneByOne, SideBySide, hasher},
};
use std::time::{Duration, Instant};

/// Batches of 1 MiB hashed between two looks at the clock.
const BATCHES: usize = 64;
/// Measurements of each hasher; they take turns, so that other load meets both.
const ROUNDS: usize = 9;

fn main() {
    let bytes: Vec<u8> = (0..BATCH * CHUNK_LEN)
        .map(|i| (i * i / 251 + i) as u8)
        .collect();
    let chunks: Vec<&[u8]> = bytes.chunks(CHUNK_LEN).collect();
    let hashers: [&dyn BatchHasher; 2] = [&OneByOne, &SideBySide];
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (hasher, rates) in hashers.iter().zip(&mut rates) {
            rates.push(measure(*hasher, &chunks));
        }
    }
    println!("CPU features: {}", features().join(" "));
    let [one, many] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    });
    println!(
        "one stream  ({:>8}): {one:>7.0} MB/s per core",
        OneByOne.name()
    );
    println!(
        "{BATCH} at once  ({:>8}): {many:>7.0} MB/s per core",
        SideBySide.name()
    );
    println!("ratio {:.2}; used here: {}", many / one, hasher().name());
}

/// Megabytes a second of CPU time.
fn measure(hasher: &dyn BatchHasher, chunks: &[&[u8]]) -> f64 {
    let mut entries = Vec::with_capacity(chunks.len());
    let watch = Watch::start();
    for _ in 0..BATCHES {
        entries.clear();
        hasher.hash(std::hint::black_box(chunks), &mut entries);
        std::hint::black_box(&entries);
    }
    let elapsed = watch.elapsed().max(Duration::from_nanos(1));
    (BATCHES * BATCH * CHUNK_LEN) as f64 / 1e6 / elapsed.as_secs_f64()
}

/// Time that this thread was running, where the system tells it, so that other load does not count; else time.
struct Watch {
    started: Instant,
    running: Option<u64>,
}

impl Watch {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            running: nanos_running(),
        }
    }

    fn elapsed(&self) -> Duration {
        match (self.running, nanos_running()) {
            (Some(before), Some(now)) if now > before => Duration::from_nanos(now - before),
            _ => self.started.elapsed(),
        }
    }
}

/// Linux counts for each thread how long it ran.
fn nanos_running() -> Option<u64> {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    statistics.split(' ').next()?.parse().ok()
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let all = [
        ("ssse3", is_x86_feature_detected!("ssse3")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("sha", is_x86_feature_detected!("sha")),
    ];
    all.into_iter()
        .filter(|(_, there)| *there)
        .map(|(name, _)| name)
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    vec![std::env::consts::ARCH]
}
