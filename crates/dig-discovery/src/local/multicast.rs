//! The multicast DNS daemon: started when it is needed, advertised with, restarted, ended.

use super::lock;
use crate::discovery::DiscoveryError;
use dig_types::InstanceId;
use mdns_sd::{Receiver, ServiceDaemon, ServiceEvent, ServiceInfo};
use std::{fmt, sync::Mutex, time::Duration};
use tokio::{sync::Notify, time::timeout};

/// The service type (`docs/protocol.md` §9).
pub(super) const SERVICE: &str = "_dig._udp.local.";

/// One daemon, and what it was told, so that another can take its place.
pub(super) struct Multicast {
    instance: InstanceId,
    udp_port: u16,
    state: Mutex<State>,
    /// Somebody wants to browse who did not before.
    wanted: Notify,
}

#[derive(Default)]
struct State {
    daemon: Option<ServiceDaemon>,
    advertised: Option<u16>,
    browse: bool,
    closed: bool,
}

impl Multicast {
    pub(super) fn new(instance: InstanceId, udp_port: u16) -> Self {
        Self {
            instance,
            udp_port,
            state: Mutex::default(),
            wanted: Notify::new(),
        }
    }

    /// Makes the node known at this port; does nothing if it already is.
    pub(super) fn advertise(&self, port: u16) -> Result<(), DiscoveryError> {
        let mut state = lock(&self.state);
        let running = state.daemon.is_some();
        let before = state.advertised.replace(port);
        let done = self.daemon(&mut state).and_then(|daemon| {
            if !running || before == Some(port) {
                return Ok(());
            }
            daemon.register(self.service(port)?).map_err(failed)
        });
        if done.is_err() {
            state.advertised = before;
        }
        done
    }

    /// Says goodbye, and waits until that is sent, but no longer than `limit`.
    pub(super) async fn withdraw(&self, limit: Duration) -> Result<(), DiscoveryError> {
        let sent = {
            let mut state = lock(&self.state);
            state.advertised = None;
            let Some(daemon) = &state.daemon else {
                return Ok(());
            };
            daemon.unregister(&self.full_name()).map_err(failed)?
        };
        let sent = timeout(limit, sent.recv_async()).await;
        sent.map(|_| ()).map_err(|_| DiscoveryError::TimedOut)
    }

    /// Wants events from now on.
    pub(super) fn browse(&self) -> Result<(), DiscoveryError> {
        let mut state = lock(&self.state);
        self.daemon(&mut state)?;
        if !state.browse {
            state.browse = true;
            self.wanted.notify_one();
        }
        Ok(())
    }

    /// Waits until somebody wants events, then subscribes. The subscription before ends.
    pub(super) async fn events(&self) -> Result<Receiver<ServiceEvent>, DiscoveryError> {
        while !lock(&self.state).browse {
            self.wanted.notified().await;
        }
        let mut state = lock(&self.state);
        self.daemon(&mut state)?.browse(SERVICE).map_err(failed)
    }

    /// How many records the daemon remembers; `None` if it does not say in time.
    pub(super) async fn cached_records(&self, limit: Duration) -> Option<i64> {
        let metrics = lock(&self.state).daemon.as_ref()?.get_metrics().ok()?;
        let metrics = timeout(limit, metrics.recv_async()).await.ok()?.ok()?;
        let cached = metrics
            .iter()
            .filter(|(name, _)| name.starts_with("cached-"));
        Some(cached.map(|(_, count)| *count).sum())
    }

    /// Ends the daemon; what it remembered is gone. [`Self::resume`] starts another.
    pub(super) fn pause(&self) {
        if let Some(daemon) = lock(&self.state).daemon.take() {
            stop(&daemon);
        }
    }

    /// Starts a daemon again, which advertises what the one before did.
    pub(super) fn resume(&self) -> Result<(), DiscoveryError> {
        self.daemon(&mut lock(&self.state)).map(|_| ())
    }

    /// Says goodbye and ends, for good; waits no longer than `limit`.
    pub(super) async fn close(&self, limit: Duration) {
        let daemon = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.daemon.take()
        };
        let Some(Ok(ended)) = daemon.map(|daemon| daemon.shutdown()) else {
            return;
        };
        // A late end is no harm: the daemon's thread ends by itself.
        let _ = timeout(limit, ended.recv_async()).await;
    }

    /// The daemon; a new one is told what is advertised.
    fn daemon<'a>(&self, state: &'a mut State) -> Result<&'a ServiceDaemon, DiscoveryError> {
        if state.closed {
            return Err(DiscoveryError::Closed);
        }
        if state.daemon.is_none() {
            let daemon = ServiceDaemon::new_with_port(self.udp_port).map_err(failed)?;
            let daemon = state.daemon.insert(daemon);
            if let Some(port) = state.advertised {
                daemon.register(self.service(port)?).map_err(failed)?;
            }
        }
        state.daemon.as_ref().ok_or(DiscoveryError::Closed)
    }

    fn service(&self, port: u16) -> Result<ServiceInfo, DiscoveryError> {
        let instance = self.instance.to_string();
        let host = format!("{instance}.local.");
        let txt = [("v", "1"), ("i", instance.as_str())];
        let info = ServiceInfo::new(SERVICE, &instance, &host, "", port, &txt[..]);
        let mut info = info.map_err(failed)?.enable_addr_auto();
        // Names of 128 random bits are unique without asking (RFC 6762 §8.1 probes to find out),
        // and a getter that waits hears us 0.75 s earlier.
        info.set_requires_probe(false);
        Ok(info)
    }

    fn full_name(&self) -> String {
        format!("{}.{SERVICE}", self.instance)
    }
}

impl Drop for Multicast {
    fn drop(&mut self) {
        self.pause();
    }
}

impl fmt::Debug for Multicast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multicast")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// The daemon sends its goodbyes before its thread ends.
fn stop(daemon: &ServiceDaemon) {
    if let Err(error) = daemon.shutdown() {
        tracing::debug!(%error, "the multicast daemon had ended");
    }
}

fn failed(error: mdns_sd::Error) -> DiscoveryError {
    DiscoveryError::Mechanism(Box::new(error))
}
