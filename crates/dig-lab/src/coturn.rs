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

/// A running coturn: STUN (RFC 8489) and NAT behaviour discovery (RFC 5780) on two addresses and two ports of each family, TURN by
/// UDP and TCP with the long-term credential of [`Coturn::USER`] and [`Coturn::PASSWORD`], or as a [`CoturnSpec`] says. It ends
/// with its laboratory, or when dropped.
///
/// Asked at its first address of a family it names the second one as the other; asked at the second one, coturn 4.6 names that one
/// again.
#[derive(Debug)]
pub struct Coturn {
    holder: Arc<Holder>,
    machine: Machine,
    spec: CoturnSpec,
}

/// What a coturn does beside the usual.
#[derive(Debug, Clone, Default)]
pub struct CoturnSpec {
    secret: Option<String>,
    tls: Option<Tls>,
    mobility: bool,
    user_quota: Option<u32>,
    nonce_seconds: Option<u32>,
    also: Option<u16>,
}

#[derive(Debug, Clone)]
struct Tls {
    certificate: String,
    key: String,
    port: u16,
}

impl CoturnSpec {
    /// The usual: one user, no TLS, no mobility, no quotas.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Instead of the user, whoever has a password that this secret gives (`use-auth-secret`): the username is when it ends, in
    /// seconds since 1970, and the password the base64 of its HMAC-SHA1.
    #[must_use]
    pub fn secret(mut self, secret: &str) -> Self {
        self.secret = Some(secret.to_owned());
        self
    }

    /// TLS as well, at that port, with a certificate and key in PEM.
    #[must_use]
    pub fn tls(mut self, certificate: &str, key: &str, port: u16) -> Self {
        self.tls = Some(Tls {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            port,
        });
        self
    }

    /// Allocations move with their clients (RFC 8016).
    #[must_use]
    pub const fn mobility(mut self) -> Self {
        self.mobility = true;
        self
    }

    /// A user has so many allocations at most.
    #[must_use]
    pub const fn user_quota(mut self, allocations: u32) -> Self {
        self.user_quota = Some(allocations);
        self
    }

    /// A nonce is good for so long; 600 s usually.
    #[must_use]
    pub const fn nonce_seconds(mut self, seconds: u32) -> Self {
        self.nonce_seconds = Some(seconds);
        self
    }

    /// Also at that port of its main addresses, by UDP and TCP.
    #[must_use]
    pub const fn also(mut self, port: u16) -> Self {
        self.also = Some(port);
        self
    }

    /// Lines of the configuration; `place` is where files may lie.
    fn lines(&self, place: &str) -> String {
        let (user, password) = (Coturn::USER, Coturn::PASSWORD);
        let mut lines = match &self.secret {
            Some(secret) => format!("use-auth-secret\nstatic-auth-secret={secret}\n"),
            None => format!("lt-cred-mech\nuser={user}:{password}\n"),
        };
        lines += &match &self.tls {
            Some(Tls { port, .. }) => {
                format!(
                    "tls-listening-port={port}\ncert={place}/certificate.pem\npkey={place}/key.pem\n"
                )
            }
            None => "no-tls\n".to_owned(),
        };
        if self.mobility {
            lines += "mobility\n";
        }
        if let Some(allocations) = self.user_quota {
            lines += &format!("user-quota={allocations}\n");
        }
        lines + &format!("stale-nonce={}\n", self.nonce_seconds.unwrap_or(600))
    }

    /// The script that puts the files there.
    fn files(&self, place: &str) -> String {
        self.tls.as_ref().map_or_else(String::new, |tls| {
            format!(
                "cat > {place}/certificate.pem <<'C'\n{}\nC\ncat > {place}/key.pem <<'C'\n{}\nC\n",
                tls.certificate.trim_end(),
                tls.key.trim_end()
            )
        })
    }
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

    pub(crate) fn start(
        holder: Arc<Holder>,
        machine: Machine,
        spec: CoturnSpec,
    ) -> Result<Self, LabError> {
        let coturn = Self {
            holder,
            machine,
            spec,
        };
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
        let (port, other) = (Self::PORT, Self::OTHER_PORT);
        let (mut lines, files) = (self.spec.lines(&place), self.spec.files(&place));
        if let Some(port) = self.spec.also {
            for address in self.machine.main_addresses() {
                lines += &format!("aux-server={}\n", SocketAddr::new(address, port));
            }
        }
        format!(
            "mkdir -p {place}\n{files}cat > {place}/turnserver.conf <<'C'\n{listen}{lines}\
             listening-port={port}\nalt-listening-port={other}\nmin-port=49160\nmax-port=49200\n\
             realm=lab\nfingerprint\nno-dtls\nno-cli\nno-multicast-peers\nrelay-threads=1\n\
             userdb={place}/users\npidfile={place}/pid\nlog-file=stdout\nsimple-log\nC\n\
             nsenter --net=/run/netns/{name} turnserver -c {place}/turnserver.conf </dev/null >{place}/turnserver.log 2>&1 &\n\
             echo $! > {place}/turnserver.process\n"
        )
    }

    /// The script that waits until every socket is there, for three seconds: ten times what a busy machine needs.
    fn wait(&self) -> String {
        let (name, port, other) = (self.machine.name(), Self::PORT, Self::OTHER_PORT);
        let addresses = self.machine.addresses().len();
        let (sockets, streams) = (addresses * 2, addresses);
        // The last that it opens are those of TLS, else those of TCP.
        let last = self.spec.tls.as_ref().map_or(port, |tls| tls.port);
        format!(
            "for i in $(seq 150); do\n\
             n=$(nsenter --net=/run/netns/{name} ss -Hlun 'sport = :{port} or sport = :{other}' | wc -l)\n\
             t=$(nsenter --net=/run/netns/{name} ss -Hltn 'sport = :{last}' | wc -l)\n\
             if [ \"$n\" -ge {sockets} ] && [ \"$t\" -ge {streams} ]; then exit 0; fi\nsleep 0.02\ndone\n\
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
