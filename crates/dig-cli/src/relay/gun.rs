//! The Gun relay of `dignet relay`.

use crate::{
    args::{Global, RelayArgs},
    exit::{Failure, Kind},
    node,
};
use dig::gun::{
    relay::{ServeError, ServeOptions, Serving, Tls, serve},
    store::{DiskStorage, StoreConfig, StoreError},
};
use std::{fs, net::SocketAddr, sync::Arc};

/// A Gun relay at work.
pub(super) struct Gun {
    serving: Serving,
    secure: bool,
}

impl Gun {
    /// Serves at these addresses, if there are any. What is written there lies in the home.
    pub(super) async fn start(
        global: &Global,
        args: &RelayArgs,
        listen: &[SocketAddr],
    ) -> Result<Option<Self>, Failure> {
        if listen.is_empty() {
            return Ok(None);
        }
        let folder = node::home(global)?.dir().join("relay");
        let open = move || {
            let made = fs::create_dir_all(&folder);
            made.map_err(|error| {
                Failure::new(Kind::Local, format!("{}: {error}", folder.display()))
                    .hint("choose another home with --home DIR")
            })?;
            Ok(DiskStorage::open(
                folder.join("gun.redb"),
                StoreConfig::default(),
            )?)
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let storage: Result<DiskStorage, Failure> =
            opened.unwrap_or_else(|error| Err(Failure::new(Kind::Other, error)));
        let tls = args.gun_cert.clone().zip(args.gun_key.clone());
        let options = ServeOptions {
            tls: tls.map(|(cert, key)| Tls { cert, key }),
            join: args.join.clone(),
            ..ServeOptions::new(listen.to_vec(), Arc::new(storage?))
        };
        let secure = options.tls.is_some();
        let serving = serve(options).await?;
        Ok(Some(Self { serving, secure }))
    }

    /// What others are to name; `told`: an address as others are to name it.
    pub(super) fn urls(&self, told: impl Fn(SocketAddr) -> SocketAddr) -> Vec<String> {
        let scheme = if self.secure { "wss" } else { "ws" };
        let at = self.serving.addrs().iter().flat_map(|addr| each(*addr));
        at.map(|addr| format!("{scheme}://{}/gun", told(addr)))
            .collect()
    }

    pub(super) fn counters(&self) -> String {
        self.serving.metrics()
    }

    /// Ends when all is on the disk.
    pub(super) async fn stop(self) {
        self.serving.shutdown().await;
    }
}

/// The addresses that an address stands for.
fn each(addr: SocketAddr) -> Vec<SocketAddr> {
    if !addr.ip().is_unspecified() {
        return vec![addr];
    }
    let own = dig::reachable_addresses().into_iter();
    let own = own.filter(|ip| addr.is_ipv6() || ip.is_ipv4());
    own.map(|ip| SocketAddr::new(ip, addr.port())).collect()
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Locked { path } => Self::new(
                Kind::Local,
                format!(
                    "{} is in use by another relay; stop that one, or give this one another --home",
                    path.display()
                ),
            ),
            error => Self::new(Kind::Local, error),
        }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        Self::new(Kind::Local, error)
    }
}
