//! Listens to the daemon, keeps the directory, and sees to it that neither grows without bound.

use super::{advert::Advert, directory::Directory, multicast::Multicast};
use crate::networks::Networks;
use dig_types::InstanceId;
use mdns_sd::{Receiver, ServiceEvent};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

/// Events taken in at once, before others get the thread.
const BATCH: usize = 256;
/// How old what we know of our own networks may be.
const NETWORKS_AGE: Duration = Duration::from_secs(1);
/// Wait before subscribing again, when we were too slow or the daemon failed.
const RESUBSCRIBE: Duration = Duration::from_secs(1);
/// Most records that the daemon may remember. A large office has hundreds; it takes about 8 MiB for these.
const MAX_RECORDS: i64 = 20_000;
/// How often that is checked: a flood gets about this long.
const CHECK: Duration = Duration::from_secs(1);
/// Rest after a flood, in which nobody is heard.
const REST: Duration = Duration::from_secs(10);

/// The listening task.
#[derive(Debug)]
pub(super) struct Watch {
    multicast: Arc<Multicast>,
    own: InstanceId,
    directory: watch::Sender<Directory>,
    networks: Option<(Instant, Networks)>,
}

impl Watch {
    pub(super) const fn new(
        multicast: Arc<Multicast>,
        own: InstanceId,
        directory: watch::Sender<Directory>,
    ) -> Self {
        Self {
            multicast,
            own,
            directory,
            networks: None,
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let multicast = Arc::clone(&self.multicast);
        loop {
            tokio::select! {
                () = self.listen() => {}
                records = flooded(&multicast) => {
                    tracing::warn!(records, "multicast flood: the local network is ignored for a while");
                    multicast.pause();
                    self.directory.send_modify(Directory::clear);
                    sleep(REST).await;
                    if let Err(error) = multicast.resume() {
                        tracing::warn!(%error, "cannot announce on the local network again");
                    }
                }
            }
        }
    }

    async fn listen(&mut self) {
        loop {
            match self.multicast.events().await {
                Ok(events) => self.follow(events).await,
                Err(error) => tracing::warn!(%error, "cannot listen to the local network"),
            }
            // The subscription ends when we fall behind; what is cached comes again with the next.
            sleep(RESUBSCRIBE).await;
        }
    }

    async fn follow(&mut self, events: Receiver<ServiceEvent>) {
        while let Ok(first) = events.recv_async().await {
            let batch: Vec<_> = std::iter::once(first)
                .chain(events.try_iter().take(BATCH))
                .collect();
            self.refresh_networks();
            let networks = self.networks.as_ref().map(|(_, networks)| networks);
            let own = self.own;
            self.directory.send_if_modified(|directory| {
                batch.into_iter().fold(false, |changed, event| {
                    apply(directory, event, networks, own) | changed
                })
            });
            tokio::task::yield_now().await;
        }
    }

    fn refresh_networks(&mut self) {
        let fresh = |(at, _): &(Instant, _)| at.elapsed() < NETWORKS_AGE;
        if self.networks.as_ref().is_some_and(fresh) {
            return;
        }
        match Networks::current() {
            Ok(networks) => self.networks = Some((Instant::now(), networks)),
            Err(error) => tracing::warn!(%error, "cannot list the network interfaces"),
        }
    }
}

/// Takes in an event; whether the directory changed.
fn apply(
    directory: &mut Directory,
    event: ServiceEvent,
    networks: Option<&Networks>,
    own: InstanceId,
) -> bool {
    match event {
        ServiceEvent::ServiceResolved(service) => networks
            .and_then(|networks| Advert::read(&service, networks, own))
            .is_some_and(|advert| directory.upsert(advert)),
        ServiceEvent::ServiceRemoved(_, name) => directory.remove(&name),
        _ => false,
    }
}

/// Returns when the daemon remembers too much.
async fn flooded(multicast: &Multicast) -> i64 {
    let mut check = interval(CHECK);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        check.tick().await;
        match multicast.cached_records(CHECK).await {
            Some(records) if records > MAX_RECORDS => return records,
            _ => {}
        }
    }
}
