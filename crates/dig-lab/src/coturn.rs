//! coturn, the STUN and TURN server against which ours is measured.

use crate::{
    holder::{Holder, HolderError},
    lab::LabError,
    machine::Machine,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// A running coturn: STUN (RFC 8489) and NAT behaviour discovery (RFC 5780) on two addresses and two ports of each family, TURN with
/// the long-term credential of [`Coturn::USER`] and [`Coturn::PASSWORD`]. It ends with its laboratory, or when dropped.
#[derive(Debug)]
pub struct Coturn {
    holder: Arc<Holder>,
    machine: Machine,
}

impl Coturn {
    /// The port of STUN and TURN.
    pub const PORT: u16 = 3478;
    /// The other port that behaviour discovery uses.
    pub const OTHER_PORT: u16 = 3479;
    /// The user of TURN.
    pub const USER: &str = "alice";
    /// Its password.
    pub const PASSWORD: &str = "wonderland";

    pub(crate) fn start(holder: Arc<Holder>, machine: Machine) -> Result<Self, LabError> {
        let coturn = Self { holder, machine };
        let name = coturn.machine.name();
        let (mut listen, mut sockets) = (String::new(), 0);
        for address in coturn.machine.addresses() {
            listen.push_str(&format!("listening-ip={address}\nrelay-ip={address}\n"));
            sockets += 2;
        }
        let (user, password, port, other) =
            (Self::USER, Self::PASSWORD, Self::PORT, Self::OTHER_PORT);
        // Three seconds are ten times what it takes on a busy machine.
        let script = format!(
            "mkdir -p /run/{name}\ncat > /run/{name}/turnserver.conf <<'C'\n{listen}listening-port={port}\nalt-listening-port={other}\n\
             min-port=49160\nmax-port=49200\nlt-cred-mech\nrealm=lab\nuser={user}:{password}\nfingerprint\nstale-nonce=600\nno-tls\n\
             no-dtls\nno-cli\nno-multicast-peers\nrelay-threads=1\nuserdb=/run/{name}/users\npidfile=/run/{name}/turn.pid\n\
             log-file=stdout\nsimple-log\nC\n\
             nsenter --net=/run/netns/{name} turnserver -c /run/{name}/turnserver.conf </dev/null >/run/{name}/turn.log 2>&1 &\n\
             echo $! > /run/{name}/turn.shell\n\
             for i in $(seq 150); do\n\
             n=$(nsenter --net=/run/netns/{name} ss -Hlun 'sport = :{port} or sport = :{other}' | wc -l)\n\
             if [ \"$n\" -ge {sockets} ]; then exit 0; fi\nsleep 0.02\ndone\ncat /run/{name}/turn.log; exit 1"
        );
        match coturn.holder.run(&script) {
            Ok(_) => Ok(coturn),
            Err(HolderError::Script { output, .. }) => Err(LabError::Daemon {
                program: "turnserver",
                package: "coturn",
                log: output,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// The machine it runs on.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Where it listens, the main address of each family first, always with [`Self::PORT`].
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.machine
            .addresses()
            .iter()
            .map(|address: &IpAddr| SocketAddr::new(*address, Self::PORT))
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let name = self.machine.name();
        // It may have ended, with its laboratory or by itself.
        let _ = self
            .holder
            .run(&format!("kill -9 $(cat /run/{name}/turn.shell)"));
    }
}
