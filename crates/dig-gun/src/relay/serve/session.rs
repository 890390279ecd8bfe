//! A connection: what comes over it goes to the core, what the core says to it goes out.

use super::{
    line::{Ended, Receiver, Sender},
    outbox::{Item, Outbox},
    shell::Shell,
};
use crate::relay::{
    core::{Answer, ConnId, Core, Incoming, Now, Pace},
    reading::{self, SIGNATURE},
    writing,
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    task::{spawn_blocking, yield_now},
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

/// Gun's heartbeat: an empty list every 20 s, as gun.js's relay sends it.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// A sign of life is asked for as often,
const PING: Duration = Duration::from_secs(60);
/// and whoever shows none for so long is gone.
const SILENCE: Duration = Duration::from_secs(150);
/// Longest wait for somebody to read what is sent.
const STALLED: Duration = Duration::from_secs(60);
/// Longest wait for a goodbye to be sent.
const GOODBYE: Duration = Duration::from_secs(1);
/// Longer frames, and answers, are handled apart, so that nobody waits for them.
const LONG: usize = 64 << 10;
/// Messages that are handled at a time; then others have their turn.
const SLICE: usize = 64;

/// Serves a connection that the core knows, until it ends.
pub(super) async fn run(
    shell: Arc<Shell>,
    conn: ConnId,
    outbox: Arc<Outbox>,
    sender: Sender,
    receiver: Receiver,
    end: CancellationToken,
) -> Ended {
    let sending = tokio::spawn(send(Arc::clone(&shell), Arc::clone(&outbox), sender));
    let ended = tokio::select! {
        ended = receive(&shell, conn, &outbox, receiver) => ended,
        () = end.cancelled() => Ended::Shutdown,
    };
    if ended == Ended::TooLong {
        shell.totals.closed_frames.fetch_add(1, Ordering::Relaxed);
    }
    shell.detach(conn);
    shell.tell(|core, now| core.gone(now, conn));
    outbox.close();
    let stop = sending.abort_handle();
    match timeout(GOODBYE, sending).await {
        Ok(Ok(mut sender)) => {
            // Whoever is gone hears no goodbye.
            let _ = timeout(GOODBYE, sender.close(ended)).await;
        }
        Ok(Err(_)) | Err(_) => stop.abort(),
    }
    ended
}

async fn receive(
    shell: &Arc<Shell>,
    conn: ConnId,
    outbox: &Outbox,
    mut receiver: Receiver,
) -> Ended {
    loop {
        let frame = tokio::select! {
            frame = timeout(SILENCE, receiver.recv()) => frame,
            () = outbox.closed() => return Ended::Slow,
        };
        match frame {
            Err(_) => return Ended::Silent,
            Ok(Err(ended)) => return ended,
            Ok(Ok(None)) => {}
            Ok(Ok(Some(text))) => on_frame(shell, conn, outbox, text).await,
        }
    }
}

async fn on_frame(shell: &Arc<Shell>, conn: ConnId, outbox: &Outbox, text: Utf8Bytes) {
    let length = text.len();
    let long = length > LONG;
    let clock = shell.now().clock;
    let (mut messages, checked) = if long {
        // Closed never.
        let permit = Arc::clone(&shell.long).acquire_owned().await;
        let limits = shell.wire.clone();
        let read = spawn_blocking(move || {
            let _permit = permit;
            let mut checked = 0;
            (reading::read(&text, &limits, clock, &mut checked), checked)
        });
        read.await.unwrap_or_default()
    } else {
        let mut checked = 0;
        let messages = reading::read(&text, &shell.wire, clock, &mut checked);
        (messages, checked)
    };
    let bytes = length + checked * SIGNATURE;
    let pace = shell.tell(|core, now| core.pace(now, conn, messages.len(), bytes));
    if let Pace::After(wait) = pace {
        sleep(wait).await;
    }
    let in_turn = pace != Pace::Now;
    while !messages.is_empty() {
        let rest = messages.split_off(messages.len().min(SLICE));
        let slice = std::mem::replace(&mut messages, rest);
        let for_puts = slice.iter().any(Incoming::is_put);
        // Whoever does not read its answers is not listened to.
        outbox.drained(shell.limits.outgoing / 8).await;
        shell.room(for_puts, in_turn).await;
        let turn = match in_turn {
            true => shell.turn.acquire().await.ok(),
            false => None,
        };
        let mut more = on_core(shell, long, move |core, now| {
            core.on_messages(now, conn, slice)
        })
        .await;
        while more {
            shell.room(true, in_turn).await;
            more = on_core(shell, long, Core::go_on_with_puts).await;
        }
        drop(turn);
        if in_turn {
            yield_now().await;
        }
    }
    if in_turn {
        let wait = shell.tell(|core, now| core.courtesy(now, bytes));
        if !wait.is_zero() {
            // Nobody else has a turn meanwhile.
            let _turn = shell.turn.acquire().await;
            sleep(wait).await;
        }
    }
}

/// Tells the core something, away from others if it is long.
async fn on_core(
    shell: &Arc<Shell>,
    long: bool,
    what: impl FnOnce(&mut Core, Now) -> bool + Send + 'static,
) -> bool {
    if !long {
        return shell.tell(what);
    }
    let shell = Arc::clone(shell);
    // It fails if it panicked, which is reported there.
    spawn_blocking(move || shell.tell(what))
        .await
        .unwrap_or(false)
}

async fn send(shell: Arc<Shell>, outbox: Arc<Outbox>, mut sender: Sender) -> Sender {
    let start = Instant::now();
    let mut heartbeat = interval_at(start + HEARTBEAT, HEARTBEAT);
    let mut ping = interval_at(start + PING, PING);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ping.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let sent = tokio::select! {
            () = outbox.filled() => empty(&shell, &outbox, &mut sender).await,
            _ = heartbeat.tick() => timeout(STALLED, sender.send(Utf8Bytes::from_static("[]"))).await.is_ok_and(|sent| sent.is_ok()),
            _ = ping.tick() => timeout(STALLED, sender.ping()).await.is_ok_and(|sent| sent.is_ok()),
        };
        if !sent {
            outbox.close();
            return sender;
        }
    }
}

/// Sends everything that waits; `false` if that is impossible, or was closed.
async fn empty(shell: &Arc<Shell>, outbox: &Outbox, sender: &mut Sender) -> bool {
    let Some(items) = outbox.take() else {
        return false;
    };
    let mut bytes = 0;
    let mut feeds = 0;
    for item in items {
        let (texts, counted, is_answer) = match item {
            Item::Frame(text, counted) => (vec![text], counted, false),
            Item::Answer(answer, counted) => {
                (write_answer(shell, answer, counted).await, counted, true)
            }
        };
        for text in texts {
            shell
                .totals
                .bytes_out
                .fetch_add(text.len() as u64, Ordering::Relaxed);
            feeds += 1;
            if !timeout(STALLED, sender.feed(text))
                .await
                .is_ok_and(|sent| sent.is_ok())
            {
                return false;
            }
        }
        if is_answer {
            outbox.sent_answer(counted);
            continue;
        }
        bytes += counted;
        if bytes >= LONG {
            outbox.sent(std::mem::take(&mut bytes));
        }
    }
    let flushed = feeds == 0
        || timeout(STALLED, sender.flush())
            .await
            .is_ok_and(|sent| sent.is_ok());
    outbox.sent(bytes);
    flushed
}

async fn write_answer(shell: &Arc<Shell>, answer: Box<Answer>, bytes: usize) -> Vec<Utf8Bytes> {
    let shell = Arc::clone(shell);
    let write = move || {
        let mut texts = Vec::new();
        writing::answer(*answer, &mut || shell.id(), &mut |text| {
            texts.push(text.into())
        });
        texts
    };
    if bytes > LONG {
        // Nothing is sent if it panicked, which is reported there.
        spawn_blocking(write).await.unwrap_or_default()
    } else {
        write()
    }
}
