//! Moves a file of zeros and noise from one node to another over lanes in memory, to disk, and tells how fast.
//!
//! `cargo run --release -p dig-transfer --example transfer_speed -- [MEBIBYTES] [LANES]`

use dig_transfer::{
    fetch::{self, Fetch, FetchConfig},
    index::{IndexOptions, index_path},
    lane::memory_lanes,
    link::Link,
    serve::{Server, ServerConfig},
    sink::{FileSink, Target},
    store::ContentStore as _,
};
use dig_types::NodeId;
use std::{error::Error, fs, io::Write as _, sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mebibytes: usize = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let lanes: u32 = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let dir = std::env::temp_dir().join(format!("dig-transfer-speed-{}", std::process::id()));
    fs::create_dir(&dir)?;
    let result = measure(&dir, mebibytes, lanes);
    fs::remove_dir_all(&dir)?;
    result
}

fn measure(dir: &std::path::Path, mebibytes: usize, lanes: u32) -> Result<(), Box<dyn Error>> {
    let source = dir.join("source");
    let mut noise = vec![0; 1 << 20];
    let mut file = fs::File::create(&source)?;
    for number in 0..mebibytes {
        fastrand::Rng::with_seed(number as u64).fill(&mut noise);
        file.write_all(&noise)?;
    }
    file.sync_all()?;
    let start = Instant::now();
    let content = index_path(
        &source,
        &IndexOptions::default(),
        &|_| {},
        &CancellationToken::new(),
    )?;
    tell("hashed", mebibytes, start);
    let hash = content.header().hash();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let (server, client) = (
            Server::new(ServerConfig::default()),
            Server::new(ServerConfig::default()),
        );
        server.add(Arc::new(content));
        let sink = FileSink::new(Target::new(dir.join("target")), hash);
        let start = Instant::now();
        let fetch = Fetch::start(hash, FetchConfig::default(), fetch::to(sink));
        for _ in 0..lanes {
            let (here, there) =
                memory_lanes(NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
            Link::start(there, server.clone());
            fetch.add_link(Link::start(here, client.clone()));
        }
        fetch.finished().await?;
        tell("fetched", mebibytes, start);
        Ok::<_, fetch::FetchError>(())
    })?;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}

fn tell(what: &str, mebibytes: usize, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    let rate = (mebibytes as f64 * 1.048_576) / seconds;
    // Nobody reading is no error.
    let _ = writeln!(
        std::io::stdout(),
        "{what} in {seconds:.2} s, {rate:.0} MB/s"
    );
}
