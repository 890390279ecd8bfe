//! A Gun relay as a process: `gun_relay ADDR:PORT [FILE] [--join URL]...` keeps its nodes in FILE, or in memory without one.
#![allow(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use dig_gun::{
    client::RelayUrl,
    relay::{ServeOptions, serve},
    store::{DiskStorage, MemoryStorage, Storage, StoreConfig},
};
use std::{error::Error, sync::Arc};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments
        .next()
        .ok_or("usage: gun_relay ADDR:PORT [FILE] [--join URL]...")?;
    let mut storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new(StoreConfig::default()));
    let mut join = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "--join" {
            let url = arguments.next().ok_or("--join needs a URL")?;
            join.push(url.parse::<RelayUrl>()?);
        } else {
            storage = Arc::new(DiskStorage::open(argument, StoreConfig::default())?);
        }
    }
    let mut options = ServeOptions::new(vec![listen.parse()?], storage);
    options.join = join;
    let serving = serve(options).await?;
    for address in serving.addrs() {
        println!("ws://{address}/gun");
    }
    tokio::signal::ctrl_c().await?;
    serving.shutdown().await;
    Ok(())
}
