//! A NAT router in a namespace.

use std::io::{self, PipeReader};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::device::{Device, FRAME, PREFIX, unfinished, wait};
use super::{End, Threads, TunError};
use crate::nat::{Nat, Verdict};
use crate::packet::wire::{self, Sum};

/// Frames read from one side before the other one has its turn.
const BURST: usize = 64;

/// The routing table and the rule for packets from inside.
const TABLE: u32 = 7100;

/// A user-space NAT router: what the namespace routes into the inside device goes out translated from the outside
/// device, and the other way round. IPv4 only; anything else that is routed into it vanishes.
///
/// The kernel forwards every packet twice, into one device and out of the other; one hop is given back, so that the
/// router counts as one. A packet whose hop limit ends here never reaches it: the kernel answers.
#[derive(Debug)]
pub struct TunNat {
    _threads: Threads,
    nat: Arc<Mutex<Nat>>,
    inside: String,
    outside: String,
}

impl TunNat {
    /// Opens both devices, usually in the namespace of one router, and begins to translate with `nat`.
    ///
    /// # Errors
    /// See [`TunError`].
    pub fn start(inside: &End, outside: &End, nat: Nat) -> Result<Self, TunError> {
        let nat = Arc::new(Mutex::new(nat));
        let router = Router {
            inside: Device::open(inside)?,
            outside: Device::open(outside)?,
            nat: Arc::clone(&nat),
        };
        let mut threads = Threads::new()?;
        threads.spawn("lab-nat", move |stop| router.run(&stop))?;
        Ok(Self {
            _threads: threads,
            nat,
            inside: inside.device.clone(),
            outside: outside.device.clone(),
        })
    }

    /// The commands that lead packets through it, each for a shell in the router's namespace.
    ///
    /// `inside` are the interfaces of inside hosts with their prefixes. The public addresses of the model are routed
    /// to it and must not be assigned to any interface of the namespace; neighbours on the outside need a route to
    /// them by way of this router, or `proxy_arp` on its outside interface.
    #[must_use]
    pub fn commands(&self, inside: &[(&str, &str)]) -> Vec<String> {
        let mut commands =
            vec!["sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0".to_owned()];
        for device in [&self.inside, &self.outside] {
            commands.push(format!("sysctl -qw net.ipv4.conf.{device}.rp_filter=0"));
        }
        commands.push(format!(
            "ip route add default dev {} table {TABLE}",
            self.inside
        ));
        for (device, prefix) in inside {
            commands.push(format!("ip route add {prefix} dev {device} table {TABLE}"));
            commands.push(format!(
                "ip rule add iif {device} lookup {TABLE} pref {TABLE}"
            ));
        }
        for public in self.nat().public() {
            if let IpAddr::V4(public) = public {
                commands.push(format!("ip route add {public}/32 dev {}", self.outside));
            }
        }
        commands
    }

    /// The model, for instance to flush it or to pin a mapping. Packets wait while it is held.
    pub fn nat(&self) -> MutexGuard<'_, Nat> {
        self.nat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy)]
enum Side {
    Inside,
    Outside,
}

struct Router {
    inside: Device,
    outside: Device,
    nat: Arc<Mutex<Nat>>,
}

impl Router {
    fn run(&self, stop: &PipeReader) {
        let start = Instant::now();
        let mut frame = vec![0; FRAME];
        loop {
            let mut more = false;
            for side in [Side::Inside, Side::Outside] {
                match self.burst(start.elapsed(), side, &mut frame) {
                    Ok(left) => more |= left,
                    Err(_) => return,
                }
            }
            let timeout = more.then_some(Duration::ZERO);
            if !wait(&[&self.inside, &self.outside], stop, timeout) {
                return;
            }
        }
    }

    /// Translates the frames that one side has. Says whether there may be more.
    fn burst(&self, now: Duration, side: Side, frame: &mut [u8]) -> io::Result<bool> {
        let mut nat = self.nat.lock().unwrap_or_else(PoisonError::into_inner);
        let from = self.device(side);
        for _ in 0..BURST {
            let Some(frame) = from.read(frame)? else {
                return Ok(false);
            };
            self.pass(now, &mut nat, side, frame);
        }
        Ok(true)
    }

    fn pass(&self, now: Duration, nat: &mut Nat, side: Side, frame: &mut [u8]) {
        let sum = if unfinished(frame) {
            Sum::Partial
        } else {
            Sum::Full
        };
        let Some(bytes) = frame.get_mut(PREFIX..) else {
            return;
        };
        let Some(packet) = wire::read(bytes) else {
            return;
        };
        let (verdict, across) = match side {
            Side::Inside => (nat.outbound(now, packet.clone()), Side::Outside),
            Side::Outside => (nat.inbound(now, packet.clone()), Side::Inside),
        };
        let (translated, to) = match verdict {
            Verdict::Forward(translated) => (translated, across),
            Verdict::Hairpin(translated) => (translated, Side::Inside),
            Verdict::Reject(answer) => {
                if let Some(answer) = wire::answer(&answer, bytes) {
                    let answer = [&[0; PREFIX], answer.as_slice()].concat();
                    self.device(side).write(&answer);
                }
                return;
            }
            Verdict::Drop => return,
        };
        wire::rewrite(bytes, &packet, &translated, sum);
        wire::set_ttl(bytes, packet.ttl.saturating_add(1));
        self.device(to).write(frame);
    }

    fn device(&self, side: Side) -> &Device {
        match side {
            Side::Inside => &self.inside,
            Side::Outside => &self.outside,
        }
    }
}
