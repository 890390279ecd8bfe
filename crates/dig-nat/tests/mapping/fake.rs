//! Routers of a few lines, that say whatever a test wants.

use super::*;
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// How often the threads look whether they are still wanted.
const TICK: Duration = Duration::from_millis(20);

/// What a server answers to a request.
pub(crate) enum Reply {
    /// A body.
    Body(Vec<u8>),
    /// A body that begins, and goes on byte by byte for ever.
    Trickle,
}

impl Reply {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Body(text.into().into_bytes())
    }
}

/// Servers on machines of a laboratory; they end with it.
#[derive(Default)]
pub(crate) struct Fake {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// The HTTP requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// How many of them contain a text.
    pub(crate) fn count(&self, text: &str) -> usize {
        let requests = self.requests();
        requests
            .iter()
            .filter(|request| request.contains(text))
            .count()
    }

    /// Answers datagrams.
    pub(crate) fn udp(
        &mut self,
        machine: &Machine,
        local: SocketAddrV4,
        answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) {
        let open = || {
            let socket = UdpSocket::bind(local)?;
            socket.set_read_timeout(Some(TICK))?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket = machine.enter(open).unwrap().unwrap();
        self.serve_udp(socket, answer);
    }

    /// Answers searches for routers.
    pub(crate) fn ssdp(&mut self, machine: &Machine, own: Ipv4Addr, locations: &[String]) {
        let open = || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 1900))?;
            socket.join_multicast_v4(&Ipv4Addr::new(239, 255, 255, 250), &own)?;
            socket.set_read_timeout(Some(TICK))?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket = machine.enter(open).unwrap().unwrap();
        let answer = |location: &String| {
            format!("HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: {location}\r\n\r\n").into_bytes()
        };
        let answers: Vec<_> = locations.iter().map(answer).collect();
        self.serve_udp(socket, move |question| {
            let is_search = question.starts_with(b"M-SEARCH * HTTP/1.1\r\n");
            if is_search {
                answers.clone()
            } else {
                Vec::new()
            }
        });
    }

    fn serve_udp(
        &mut self,
        socket: UdpSocket,
        answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) {
        let over = Arc::clone(&self.over);
        self.threads.push(std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                for answer in answer(&buffer[..length]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        }));
    }

    /// Serves HTTP; the answer is made of the head and the body of the request.
    pub(crate) fn http(
        &mut self,
        machine: &Machine,
        local: SocketAddrV4,
        answer: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) {
        let listener = machine.enter(|| TcpListener::bind(local)).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (over, requests) = (Arc::clone(&self.over), Arc::clone(&self.requests));
        let answer = Arc::new(answer);
        self.threads.push(std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(TICK / 10);
                    continue;
                };
                let (over, requests) = (Arc::clone(&over), Arc::clone(&requests));
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    requests.lock().unwrap().push(request.clone());
                    let _ = write(&stream, answer(&request), &over);
                });
            }
        }));
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A request with its body.
fn read(mut stream: &TcpStream) -> Option<String> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(SOON)).ok()?;
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>())?
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            length => bytes.extend(&chunk[..length]),
        }
    }
}

fn write(mut stream: &TcpStream, reply: Reply, over: &AtomicBool) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\n";
    match reply {
        Reply::Body(body) => {
            write!(stream, "{head}Content-Length: {}\r\n\r\n", body.len())?;
            stream.write_all(&body)
        }
        Reply::Trickle => {
            write!(stream, "{head}\r\n<?xml version=\"1.0\"?>")?;
            while !over.load(Ordering::Relaxed) {
                stream.write_all(b" ")?;
                std::thread::sleep(TICK);
            }
            Err(ErrorKind::Interrupted.into())
        }
    }
}

/// A description of a router.
pub(crate) fn description(control: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device>\
         <deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><serviceList><service>\
         <serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
         <controlURL>{control}</controlURL><SCPDURL>/scpd.xml</SCPDURL></service></serviceList></device></root>"
    )
}

/// The actions of a router.
pub(crate) fn actions() -> String {
    let argument =
        |name: &&str| format!("<argument><name>{name}</name><direction>in</direction></argument>");
    let action = |name: &str, arguments: &[&str]| {
        let arguments: String = arguments.iter().map(argument).collect();
        format!("<action><name>{name}</name><argumentList>{arguments}</argumentList></action>")
    };
    let key = ["NewRemoteHost", "NewExternalPort", "NewProtocol"];
    let rest = [
        "NewInternalPort",
        "NewInternalClient",
        "NewEnabled",
        "NewPortMappingDescription",
        "NewLeaseDuration",
    ];
    let all: Vec<_> = key.into_iter().chain(rest).collect();
    format!(
        "<?xml version=\"1.0\"?><scpd xmlns=\"urn:schemas-upnp-org:service-1-0\"><actionList>{}{}</actionList></scpd>",
        action("AddPortMapping", &all),
        action("DeletePortMapping", &key)
    )
}

fn envelope(body: &str) -> Reply {
    Reply::text(format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>{body}</s:Body></s:Envelope>"
    ))
}

/// A success of an action, with what it returns.
pub(crate) fn done(action: &str, result: &str) -> Reply {
    envelope(&format!(
        "<u:{action}Response xmlns:u=\"urn:schemas-upnp-org:service:WANIPConnection:1\">{result}</u:{action}Response>"
    ))
}

/// A failure of an action.
pub(crate) fn fault(code: u16) -> Reply {
    envelope(&format!(
        "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>\
         <UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\"><errorCode>{code}</errorCode>\
         <errorDescription>no</errorDescription></UPnPError></detail></s:Fault>"
    ))
}

/// An honest router at an outside address; `add` says what it does to a request for a mapping.
pub(crate) fn honest(
    outside: &'static str,
    add: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> impl Fn(&str) -> Reply + Send + Sync + 'static {
    move |request| {
        if request.starts_with("GET /desc.xml") {
            Reply::text(description("/ctl"))
        } else if request.starts_with("GET /scpd.xml") {
            Reply::text(actions())
        } else if request.contains("#GetExternalIPAddress") {
            let ip = format!("<NewExternalIPAddress>{outside}</NewExternalIPAddress>");
            done("GetExternalIPAddress", &ip)
        } else if request.contains("#AddPortMapping") {
            add(request)
        } else if request.contains("#DeletePortMapping") {
            done("DeletePortMapping", "")
        } else {
            fault(401)
        }
    }
}

/// The gateway of a site as a UPnP router on port 5000.
pub(crate) fn igd(site: &Site, answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Fake {
    let gateway = site.gateway().unwrap();
    let mut fake = Fake::default();
    let location = format!("http://{gateway}:5000/desc.xml");
    fake.ssdp(site.router(), gateway, &[location]);
    fake.http(site.router(), SocketAddrV4::new(gateway, 5000), answer);
    fake
}

/// The gateway of a site as a NAT-PMP or PCP server.
pub(crate) fn datagrams(
    site: &Site,
    answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> Fake {
    let mut fake = Fake::default();
    let local = SocketAddrV4::new(site.gateway().unwrap(), 5351);
    fake.udp(site.router(), local, answer);
    fake
}

/// A port on which nobody is expected; whether somebody came.
pub(crate) struct Trap(TcpListener);

impl Trap {
    pub(crate) fn set(machine: &Machine, addr: SocketAddr) -> Self {
        let listener = machine.enter(|| TcpListener::bind(addr)).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub(crate) fn caught(&self) -> bool {
        self.0.accept().is_ok()
    }
}
