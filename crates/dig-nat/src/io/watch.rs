//! Notices that this machine is on another network than before, or has slept: whatever was learnt of NATs is worth nothing then.

#[cfg(any(target_os = "linux", target_os = "android"))]
mod netlink;
mod sleep;
mod snapshot;

use sleep::SleepDetector;
use snapshot::Snapshot;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// How often the clocks are compared, and the interfaces looked at where the system does not tell of changes.
const LOOK: Duration = Duration::from_secs(1);
/// One command or one lease changes an address and several routes: they count as one change if they come within this time.
const SETTLE: Duration = Duration::from_millis(5);

/// Counts the changes of this machine's network. Clones are the same watch.
///
/// A change is: an address, or a route through a gateway, that came or went, except link-local ones and those of the networks that
/// containers have among themselves; an address that came back as it was; and a sleep of more than 5 s. Linux tells of
/// addresses and routes at once; elsewhere they are looked at every second.
#[derive(Debug, Clone)]
pub struct NetworkWatch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    changes: watch::Receiver<u64>,
    /// Ends with the last clone.
    task: JoinHandle<()>,
}

impl NetworkWatch {
    /// Begins to watch, on the current tokio runtime, the network that the calling thread is in.
    pub fn start() -> Self {
        let (changed, changes) = watch::channel(0);
        let news = News::listen();
        let task = tokio::spawn(watch_network(news, changed));
        Self(Arc::new(Inner { changes, task }))
    }

    /// How many changes there were since the start.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.clone()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch_network(mut news: News, changed: watch::Sender<u64>) {
    let mut sleep = SleepDetector::new(sleep::clocks());
    let mut known = Snapshot::now();
    loop {
        let heard = tokio::time::timeout(LOOK, news.next()).await;
        let slept = sleep.observe(sleep::clocks());
        let looked = match heard {
            Ok(heard) => {
                tokio::time::sleep(SETTLE).await;
                let gone = heard.is_gone() | news.drain().is_gone();
                let current = Snapshot::now();
                gone | (std::mem::replace(&mut known, current) != known)
            }
            Err(_) if news.is_silent() => {
                let current = Snapshot::now();
                std::mem::replace(&mut known, current) != known
            }
            Err(_) => false,
        };
        if slept || looked {
            tracing::debug!(slept, "the network changed");
            changed.send_modify(|count| *count += 1);
        }
    }
}

/// What the system says of its interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// Something that may be a change.
    Maybe,
    /// An address went, even if it is back by now.
    Gone,
}

impl Heard {
    fn is_gone(self) -> bool {
        self == Self::Gone
    }
}

/// The system as it tells of changes, if it does.
#[derive(Debug)]
struct News {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    netlink: Option<netlink::Netlink>,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl News {
    fn listen() -> Self {
        let netlink = netlink::Netlink::open();
        if let Err(error) = &netlink {
            tracing::debug!(%error, "the system does not tell of changes; they are looked for");
        }
        let netlink = netlink.ok();
        Self { netlink }
    }

    /// Waits for the system to say something; for ever if it never does.
    async fn next(&mut self) -> Heard {
        if let Some(netlink) = &self.netlink {
            match netlink.next().await {
                Ok(heard) => return heard,
                Err(error) => {
                    tracing::debug!(%error, "the system tells of changes no more");
                    self.netlink = None;
                }
            }
        }
        std::future::pending().await
    }

    /// Takes what was said meanwhile.
    fn drain(&self) -> Heard {
        let said = self.netlink.as_ref().map(netlink::Netlink::drain);
        said.and_then(Result::ok).flatten().unwrap_or(Heard::Maybe)
    }

    fn is_silent(&self) -> bool {
        self.netlink.is_none()
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl News {
    fn listen() -> Self {
        Self {}
    }

    async fn next(&mut self) -> Heard {
        std::future::pending().await
    }

    fn drain(&self) -> Heard {
        Heard::Maybe
    }

    fn is_silent(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
