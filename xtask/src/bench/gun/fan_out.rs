//! One client that writes and many that see each write. Ids begin with capitals here, with small letters in [`super::load`]: a relay
//! takes what has the id of an earlier message for that message.

use super::{
    message::{Packer, now},
    socket::{Socket, wait},
};
use anyhow::ensure;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Writes under way: not yet seen by everybody.
const WINDOW: usize = 100;
/// Fields of the node that is written. More than are ever under way, since gun.js passes on only the last of several writes of
/// a field within 9 ms.
const FIELDS: usize = 1_000;
/// A relay that delivers nothing for so long has lost something.
const PATIENCE: Duration = Duration::from_secs(5);
/// A relay that says nothing for so long has no more to say.
const QUIET: Duration = Duration::from_millis(500);

/// Writes that were seen by every subscriber, a second, and how many were lost on the way to one.
pub(super) fn run(
    addr: SocketAddr,
    subscribers: usize,
    time: Duration,
) -> anyhow::Result<(f64, usize)> {
    // The last one is the writer.
    let mut sockets = Vec::new();
    for _ in 0..=subscribers {
        sockets.push(Socket::connect(addr)?);
    }
    // There is something to be found; else gun.js's relay asks every subscriber for it on behalf of every other one.
    sockets[subscribers].queue(&write("first", "0", &now().to_string(), 0));
    settle(&mut sockets)?;
    for (number, socket) in sockets[..subscribers].iter_mut().enumerate() {
        socket.queue(&format!(r##"{{"get":{{"#":"feed"}},"#":"S{number:08}"}}"##));
    }
    settle(&mut sockets)?;
    let mut fan = Fan {
        sockets,
        subscribers,
        base: now(),
        sent: 0,
        delivered: 0,
    };
    let (begin, mut heard) = (Instant::now(), Instant::now());
    while begin.elapsed() < time && heard.elapsed() < PATIENCE {
        fan.send()?;
        if fan.read()? {
            heard = Instant::now();
        }
    }
    let rate = fan.delivered as f64 / subscribers as f64 / begin.elapsed().as_secs_f64();
    while fan.delivered < fan.sent * subscribers && heard.elapsed() < PATIENCE {
        if fan.read()? {
            heard = Instant::now();
        }
    }
    ensure!(fan.delivered > 0, "no subscriber saw anything");
    Ok((rate, (fan.sent * subscribers).saturating_sub(fan.delivered)))
}

/// Answers the relay's greeting, and waits until it has no more to say.
fn settle(sockets: &mut [Socket]) -> anyhow::Result<()> {
    let (begin, mut heard) = (Instant::now(), Instant::now());
    while heard.elapsed() < QUIET && begin.elapsed() < PATIENCE {
        for socket in sockets.iter_mut() {
            socket.flush()?;
        }
        for number in wait(sockets, Duration::from_millis(100))? {
            heard = Instant::now();
            let mut asked = None;
            sockets[number].receive(|text| asked = asked.take().or_else(|| greeting(text)))?;
            if let Some(id) = asked {
                sockets[number].queue(&format!(
                    r##"{{"dam":"?","pid":"g{number:08}","@":"{id}","#":"H{number:08}"}}"##
                ));
            }
        }
    }
    Ok(())
}

/// A write of one field.
fn write(field: &str, value: &str, state: &str, number: usize) -> String {
    format!(
        r##"{{"put":{{"feed":{{"_":{{"#":"feed",">":{{"{field}":{state}}}}},"{field}":"{value}"}}}},"#":"W{number:08}"}}"##
    )
}

/// The id of the message that asks who we are, if that is what this is.
fn greeting(text: &str) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(text).ok()?;
    let asks = message["dam"] == "?" && message["@"].is_null();
    asks.then(|| message["#"].as_str().map(str::to_owned))?
}

struct Fan {
    sockets: Vec<Socket>,
    subscribers: usize,
    /// Time of the first write.
    base: u128,
    sent: usize,
    delivered: usize,
}

impl Fan {
    /// Sends as many writes as may be under way.
    fn send(&mut self) -> anyhow::Result<()> {
        let mut packer = Packer::default();
        while self.sent < self.delivered / self.subscribers + WINDOW {
            let (number, field) = (self.sent, self.sent % FIELDS);
            // A thousandth of a millisecond later each, as gun.js itself tells writes of one moment apart.
            let state = format!(
                "{}.{:03}",
                self.base + number as u128 / 1_000,
                number % 1_000
            );
            self.sent += 1;
            let (field, value) = (format!("k{field:03}"), format!("v:{number:08}"));
            let text = write(&field, &value, &state, self.sent);
            let full = packer.add(|out| out.push_str(&text));
            full.into_iter()
                .for_each(|frame| self.sockets[self.subscribers].queue(&frame));
        }
        if let Some(frame) = packer.take() {
            self.sockets[self.subscribers].queue(&frame);
        }
        self.sockets[self.subscribers].flush()
    }

    /// Whether anything was delivered.
    fn read(&mut self) -> anyhow::Result<bool> {
        let before = self.delivered;
        for number in wait(&self.sockets, Duration::from_millis(100))? {
            let mut seen = 0;
            self.sockets[number].receive(|text| seen += text.matches(r#":"v:"#).count())?;
            self.sockets[number].flush()?;
            if number < self.subscribers {
                self.delivered += seen;
            }
        }
        Ok(self.delivered > before)
    }
}
