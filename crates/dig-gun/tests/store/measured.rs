//! Memory and speed.

use crate::child::{self, Word, small, submit};
use dig_gun::{
    store::{DiskStorage, MemoryStorage, Storage, StoreConfig, Writer, WriterLimits},
    value::Soul,
};
use dig_types::Timestamp;
use std::{
    fs,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Megabytes of memory that this process has had at most.
fn peak_memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<f64>()
        .unwrap()
        / 1000.0
}

#[test]
#[ignore = "runs as a child of the test that reads what it says"]
fn keeps_many_souls() {
    let Some(folder) = child::folder() else {
        return;
    };
    let before = peak_memory();
    let path = folder.join("gun.redb");
    let store = DiskStorage::open(&path, StoreConfig::default()).unwrap();
    let store: Arc<dyn Storage> = Arc::new(store);
    let writer = Writer::start(Arc::clone(&store), WriterLimits::default(), |_| {}).unwrap();
    let began = Instant::now();
    let (tell, told) = mpsc::channel::<Word>();
    for number in 0..100_000 {
        if number >= 20_000 {
            told.recv().unwrap().unwrap();
        }
        submit(&writer, small(&format!("bench/{number}"), number), &tell);
    }
    for _ in 0..20_000 {
        told.recv().unwrap().unwrap();
    }
    let puts = 100_000.0 / began.elapsed().as_secs_f64();

    let began = Instant::now();
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20_000 {
        let number = random.u32(..100_000);
        let soul = Soul::new(&format!("bench/{number}")).unwrap();
        let node = store.load(&soul).unwrap();
        assert_eq!(node, Some(small(&format!("bench/{number}"), number)));
    }
    let loads = 20_000.0 / began.elapsed().as_secs_f64();
    let usage = store.usage();
    assert_eq!(usage.souls, 100_000);
    drop((store, writer));
    let length = fs::metadata(&path).unwrap().len();
    let began = Instant::now();
    drop(DiskStorage::open(&path, StoreConfig::default()).unwrap());
    println!(
        "before {before:.1} MB, peak {:.1} MB; {puts:.0} puts/s, {loads:.0} loads/s; counted {} kB, file {} kB, opened in {:?}",
        peak_memory(),
        usage.bytes / 1000,
        length / 1000,
        began.elapsed(),
    );
    println!("peak={:.0}", peak_memory());
}

#[test]
fn a_hundred_thousand_souls_take_little_memory() {
    let folder = TempDir::new().unwrap();
    let output = child::command("measured::keeps_many_souls", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    assert!(output.status.success(), "{said}");
    let (_, peak) = said.split_once("peak=").unwrap();
    let peak: u32 = peak.lines().next().unwrap().parse().unwrap();
    assert!(peak < 70, "{peak} MB");
}

/// Lone writes, each waited for, at least as many as any client could send over a network of 5 ms.
#[test]
fn a_lone_write_is_durable_soon() {
    let folder = TempDir::new().unwrap();
    let store = DiskStorage::open(folder.path().join("gun.redb"), StoreConfig::default()).unwrap();
    let writer = Writer::start(Arc::new(store), WriterLimits::default(), |_| {}).unwrap();
    let (tell, told) = mpsc::channel::<Word>();
    let began = Instant::now();
    for number in 0..300 {
        submit(&writer, small(&format!("soul {number}"), number), &tell);
        told.recv().unwrap().unwrap();
    }
    let each = began.elapsed() / 300;
    println!(
        "{each:?} for a lone write, {:.0}/s",
        1.0 / each.as_secs_f64()
    );
    assert!(each < Duration::from_millis(100), "{each:?}");
}

/// A store that is full goes on at a good pace: as much goes as comes.
#[test]
fn a_full_store_goes_on() {
    let folder = TempDir::new().unwrap();
    let config = StoreConfig {
        max_souls: 20_000,
        ..StoreConfig::default()
    };
    let path = folder.path().join("gun.redb");
    let store = DiskStorage::open(&path, config.clone()).unwrap();
    let memory = MemoryStorage::new(config);
    let began = Instant::now();
    for batch in 0..100 {
        let nodes: Vec<_> = (0..1000)
            .map(|n| small(&format!("soul {}", batch * 1000 + n), n))
            .collect();
        let now = Timestamp::from_millis(batch.into());
        assert_eq!(
            store.commit(&nodes, now).unwrap(),
            memory.commit(&nodes, now).unwrap()
        );
    }
    let took = began.elapsed().as_secs_f64();
    let (file, counted) = (fs::metadata(&path).unwrap().len(), store.usage().bytes);
    println!(
        "{:.0} puts/s, most into a full store of {counted} bytes, a file of {file}",
        100_000.0 / took
    );
    assert!(file < 3 * counted, "{file} and {counted} bytes");
    assert_eq!(store.usage(), memory.usage());
    assert_eq!(store.usage().souls, 20_000);
}
