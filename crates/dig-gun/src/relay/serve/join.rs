//! Connections to relays that we join.

use super::{
    line::{Receiver, Sender},
    session,
    shell::Shell,
};
use crate::{
    client::{RelayUrl, backoff::Backoff, chance::Chance, dial::Dialler},
    relay::core::{From, Turned},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Keeps a connection to a relay until the end.
pub(super) async fn keep(
    shell: Arc<Shell>,
    number: usize,
    url: RelayUrl,
    dialler: Arc<Dialler>,
    seed: u64,
    end: CancellationToken,
) {
    let mut backoff = Backoff::default();
    let mut chance = Chance::new(seed);
    loop {
        let began = once(&shell, number, &url, &dialler, &end).await;
        let up = began.map_or(Duration::ZERO, |began| began.elapsed());
        let wait = backoff.after(up, &mut chance);
        tokio::select! {
            () = sleep(wait) => {}
            () = end.cancelled() => return,
        }
    }
}

/// One connection; when it began, if it came to be. It ends by itself at the end, and must not be dropped before: a session
/// has a task that sends.
async fn once(
    shell: &Arc<Shell>,
    number: usize,
    url: &RelayUrl,
    dialler: &Dialler,
    end: &CancellationToken,
) -> Option<Instant> {
    let dialled = tokio::select! {
        dialled = dialler.dial(url) => dialled,
        () = end.cancelled() => return None,
    };
    let (sender, receiver) = match dialled {
        Ok(halves) => halves,
        Err(error) => {
            tracing::debug!(%url, %error, "cannot join a relay");
            return None;
        }
    };
    let began = Instant::now();
    let outbox = shell.new_outbox();
    let connected = shell.tell(|core, now| {
        let conn = core.connected(now, From::Joined(number))?;
        shell.attach(conn, &outbox);
        Ok::<_, Turned>(conn)
    });
    let Ok(conn) = connected else {
        return None;
    };
    tracing::info!(%url, "joined a relay");
    let (sender, receiver) = (Sender::Joined(sender), Receiver::Joined(receiver));
    let ended = session::run(
        Arc::clone(shell),
        conn,
        outbox,
        sender,
        receiver,
        end.clone(),
    )
    .await;
    tracing::info!(%url, ?ended, "lost a relay that was joined");
    Some(began)
}
