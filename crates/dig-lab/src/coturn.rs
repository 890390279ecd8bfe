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
///
/// Asked at its first address of a family it names the second one as the other; asked at the second one, coturn 4.6 names that one
/// again.
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
        match coturn.holder.run(&(coturn.process() + &coturn.wait())) {
            Ok(_) => Ok(coturn),
            Err(HolderError::Script { output, .. }) => Err(LabError::Daemon {
                program: "turnserver",
                package: "coturn",
                log: output,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// The script that starts it. What it would put under `/var` goes where the laboratory ends.
    fn process(&self) -> String {
        let name = self.machine.name();
        let place = format!("/run/{name}");
        let addresses = self.machine.addresses().iter();
        let listen: String = addresses
            .map(|address| format!("listening-ip={address}\nrelay-ip={address}\n"))
            .collect();
        let (user, password) = (Self::USER, Self::PASSWORD);
        let (port, other) = (Self::PORT, Self::OTHER_PORT);
        format!(
            "mkdir -p {place}\ncat > {place}/turnserver.conf <<'C'\n{listen}\
             listening-port={port}\nalt-listening-port={other}\nmin-port=49160\nmax-port=49200\n\
             lt-cred-mech\nrealm=lab\nuser={user}:{password}\nfingerprint\nstale-nonce=600\n\
             no-tls\nno-dtls\nno-cli\nno-multicast-peers\nrelay-threads=1\n\
             userdb={place}/users\npidfile={place}/pid\nlog-file=stdout\nsimple-log\nC\n\
             nsenter --net=/run/netns/{name} turnserver -c {place}/turnserver.conf </dev/null >{place}/turnserver.log 2>&1 &\n\
             echo $! > {place}/turnserver.process\n"
        )
    }

    /// The script that waits until every socket is there, for three seconds: ten times what a busy machine needs.
    fn wait(&self) -> String {
        let (name, port, other) = (self.machine.name(), Self::PORT, Self::OTHER_PORT);
        let sockets = self.machine.addresses().len() * 2;
        format!(
            "for i in $(seq 150); do\n\
             n=$(nsenter --net=/run/netns/{name} ss -Hlun 'sport = :{port} or sport = :{other}' | wc -l)\n\
             if [ \"$n\" -ge {sockets} ]; then exit 0; fi\nsleep 0.02\ndone\n\
             cat /run/{name}/turnserver.log; exit 1"
        )
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
            .run(&format!("kill -9 $(cat /run/{name}/turnserver.process)"));
    }
}
