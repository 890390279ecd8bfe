use super::*;
use crate::{
    attempt::MAGIC,
    io::{OsUdp, UdpReader},
    stun::{Layout, Server, ServerLimits},
};
use std::net::UdpSocket;
use tokio::task::JoinHandle;

/// Sends nowhere.
#[derive(Debug)]
struct Nowhere;

impl UdpPort for Nowhere {
    fn send(&self, _: SocketAddr, _: &[u8], _: Option<u8>) -> io::Result<()> {
        Ok(())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
    }
}

fn packet(tag: Tag, rest: &[u8]) -> Vec<u8> {
    [&MAGIC, &tag.0[..], rest].concat()
}

fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 7))
}

#[tokio::test]
async fn everything_but_our_own_passes() {
    let hub = UdpHub::new(Arc::new(Nowhere));
    let binding_success = [&[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let foreign: [&[u8]; 6] = [
        &[],
        &[0xc0, 1, 2, 3],
        &[0x40; 1200],
        &[0x8c],
        &[
            0x8c, b'd', b'i', b'g', b'-', b'p', b'2', 0x0a, 1, 2, 3, 4, 5, 6, 7, 8,
        ],
        &binding_success,
    ];
    for bytes in foreign {
        assert_eq!(hub.receive(peer(), bytes), Verdict::Pass, "{bytes:?}");
    }
}

#[tokio::test]
async fn packets_go_to_the_attempt_of_their_tag() {
    let hub = UdpHub::new(Arc::new(Nowhere));
    let (one, two) = (Tag([1; 8]), Tag([2; 8]));
    let mut first = hub.attach(one).unwrap();
    let mut second = hub.attach(two).unwrap();
    assert!(hub.attach(one).is_none(), "a tag is used once at a time");
    let mapped = "[::ffff:192.0.2.1]:7".parse().unwrap();
    assert_eq!(hub.receive(mapped, &packet(two, b"b")), Verdict::Taken);
    assert_eq!(hub.receive(peer(), &packet(one, b"a")), Verdict::Taken);
    let (a, b) = (first.next().await.unwrap(), second.next().await.unwrap());
    assert_eq!((a.source, &a.bytes[..]), (peer(), &packet(one, b"a")[..]));
    assert_eq!((b.source, &b.bytes[..]), (peer(), &packet(two, b"b")[..]));
    drop(first);
    assert_eq!(hub.receive(peer(), &packet(one, b"a")), Verdict::Taken);
    assert!(
        hub.attach(one).is_some(),
        "and is free when its attempt has gone"
    );
}

#[tokio::test]
async fn a_flood_does_not_grow_the_queue() {
    let hub = UdpHub::new(Arc::new(Nowhere));
    let tag = Tag([1; 8]);
    let mut attempt = hub.attach(tag).unwrap();
    for _ in 0..100 * WAITING {
        hub.receive(peer(), &packet(tag, &[0; 100]));
    }
    for _ in 0..WAITING {
        attempt.next().await.unwrap();
    }
    assert!(attempt.queue.try_recv().is_err());
}

/// A STUN server, and what happens on the way back from it.
fn server(
    forge: impl Fn(Vec<u8>) -> Vec<Vec<u8>> + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let local = socket.local_addr().unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    let mut core = Server::new(Layout::Single(local), ServerLimits::default());
    let task = tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, source) = socket.recv_from(&mut buffer).await.unwrap();
            let reply = core.on_datagram(Duration::ZERO, local, source, &buffer[..length]);
            for bytes in forge(reply.unwrap().bytes) {
                socket.send_to(&bytes, source).await.unwrap();
            }
        }
    });
    (local, task)
}

fn hub() -> (UdpHub, SocketAddr, UdpReader) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let hub = UdpHub::new(Arc::new(OsUdp::new(&socket).unwrap()));
    let reader = UdpReader::start(&socket, hub.clone(), |source, bytes| {
        tracing::trace!(%source, ?bytes, "passed");
    });
    (hub, socket.local_addr().unwrap(), reader.unwrap())
}

#[tokio::test]
async fn a_server_is_asked_through_the_shared_socket() {
    let (hub, own, _reader) = hub();
    let (addr, task) = server(|answer| vec![answer]);
    assert_eq!(hub.ask(addr).await.unwrap().mapped, own);
    assert!(hub.0.questions().is_empty());
    task.abort();
}

#[tokio::test]
async fn an_answer_to_another_question_is_not_believed() {
    let (hub, own, _reader) = hub();
    // First an answer with one bit of the transaction id turned, and another address in it.
    let (addr, task) = server(|answer| {
        let mut forged = answer.clone();
        forged[19] ^= 1;
        let mapped = [0, 0x20, 0, 8];
        let at = forged
            .windows(4)
            .position(|window| window == mapped)
            .unwrap();
        forged[at + 11] ^= 1;
        vec![forged, answer]
    });
    assert_eq!(hub.ask(addr).await.unwrap().mapped, own);
    task.abort();
}

#[tokio::test]
async fn an_answer_from_elsewhere_passes() {
    let (hub, own, _reader) = hub();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap();
    let asking = tokio::spawn({
        let hub = hub.clone();
        async move { hub.ask(addr).await }
    });
    let mut buffer = [0; 1500];
    let (length, source) = tokio::task::spawn_blocking(move || {
        let received = silent.recv_from(&mut buffer).unwrap();
        (buffer[..received.0].to_vec(), received.1)
    })
    .await
    .unwrap();
    assert_eq!(source, own);
    let mut core = Server::new(Layout::Single(addr), ServerLimits::default());
    let answer = core
        .on_datagram(Duration::ZERO, addr, source, &length)
        .unwrap()
        .bytes;
    assert_eq!(hub.receive(peer(), &answer), Verdict::Pass);
    assert!(!asking.is_finished());
    assert_eq!(hub.receive(addr, &answer), Verdict::Taken);
    assert_eq!(asking.await.unwrap().unwrap().mapped, own);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let hub = UdpHub::new(Arc::new(Nowhere));
    let asked = Instant::now();
    let error = hub.ask(peer()).await.unwrap_err();
    assert!(matches!(error, AskError::Query(QueryError::NoAnswer)));
    assert!(asked.elapsed() < Duration::from_secs(6));
    assert!(hub.0.questions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn questions_are_bounded_and_forgotten_when_nobody_waits() {
    let hub = UdpHub::new(Arc::new(Nowhere));
    let mut asking: Vec<_> = (0..MAX_QUESTIONS)
        .map(|_| Box::pin(hub.ask(peer())))
        .collect();
    for question in &mut asking {
        assert!(futures::poll!(question).is_pending());
    }
    assert!(matches!(hub.ask(peer()).await, Err(AskError::Busy)));
    drop(asking);
    assert!(hub.0.questions().is_empty());
}

/// A STUN message of this type, with a name in front of other attributes.
fn stun(kind: u16, transaction: u8, name: &str) -> Vec<u8> {
    let mut attributes = vec![0x80, 0x22, 0, 3, b'd', b'i', b'g', 0];
    if !name.is_empty() {
        attributes.extend([0, 6]);
        attributes.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        attributes.extend(name.bytes());
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    }
    let length = u16::try_from(attributes.len()).unwrap();
    [
        &kind.to_be_bytes()[..],
        &length.to_be_bytes(),
        &[0x21, 0x12, 0xa4, 0x42],
        &[transaction; 12],
        &attributes,
    ]
    .concat()
}

const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;

#[tokio::test]
async fn checks_of_ice_go_to_the_attempt_that_they_name() {
    let hub = UdpHub::new(Arc::new(Nowhere));
    let (mut one, two) = (
        hub.attach(Tag([1; 8])).unwrap(),
        hub.attach(Tag([2; 8])).unwrap(),
    );
    let check = stun(REQUEST, 7, "onefrag:theirs");
    assert_eq!(hub.receive(peer(), &check), Verdict::Pass);
    assert!(one.attach_ice("onefrag"));
    assert!(one.attach_ice("onefrag"), "saying it again");
    assert!(!two.attach_ice("onefrag"), "it is taken");
    assert!(two.attach_ice("twofrag"));
    let relay = Port::Relay(peer());
    assert_eq!(hub.receive_at(relay, peer(), &check), Verdict::Taken);
    let came = one.next().await.unwrap();
    assert_eq!((came.at, &came.bytes[..]), (relay, &check[..]));
    for foreign in [
        stun(REQUEST, 7, "theirs:onefrag"),
        stun(REQUEST, 7, "one"),
        stun(REQUEST, 7, ""),
        stun(SUCCESS, 7, "onefrag:theirs"),
    ] {
        assert_eq!(hub.receive(peer(), &foreign), Verdict::Pass);
    }
    drop(one);
    assert_eq!(hub.receive(peer(), &check), Verdict::Pass);
    drop(two);
    assert!(hub.is_idle());
}

#[tokio::test]
async fn answers_go_to_the_attempt_that_asked() {
    let hub = UdpHub::new(Arc::new(Nowhere));
    let mut attempt = hub.attach(Tag([1; 8])).unwrap();
    attempt.note_sent(&packet(Tag([1; 8]), b"no check"));
    attempt.note_sent(&stun(SUCCESS, 5, ""));
    attempt.note_sent(&stun(REQUEST, 7, "theirs:onefrag"));
    for (kind, transaction, verdict) in [
        (SUCCESS, 5, Verdict::Pass),
        (SUCCESS, 7, Verdict::Taken),
        (ERROR, 7, Verdict::Taken),
        (SUCCESS, 8, Verdict::Pass),
        (REQUEST, 7, Verdict::Pass),
    ] {
        let answer = stun(kind, transaction, "");
        assert_eq!(hub.receive_at(Port::Extra(3), peer(), &answer), verdict);
    }
    assert_eq!(attempt.next().await.unwrap().at, Port::Extra(3));
    drop(attempt);
    assert!(hub.is_idle());
}

#[tokio::test]
async fn checks_that_were_sent_are_remembered_within_bounds() {
    let hub = UdpHub::new(Arc::new(Nowhere));
    let mut attempt = hub.attach(Tag([1; 8])).unwrap();
    let check = |number: u32| {
        let mut check = stun(REQUEST, 0, "");
        check[8..12].copy_from_slice(&number.to_be_bytes());
        check
    };
    for number in 0..2000 {
        attempt.note_sent(&check(number));
        // A repetition takes no further place.
        attempt.note_sent(&check(number));
    }
    let taken = |number| {
        let mut answer = check(number);
        answer[0] = 1;
        hub.receive(peer(), &answer) == Verdict::Taken
    };
    assert_eq!((0..2000).filter(|number| taken(*number)).count(), 512);
    assert!(taken(1999) && !taken(0));
}

#[tokio::test]
async fn attributes_that_lie_about_their_length_name_nobody() {
    let hub = UdpHub::new(Arc::new(Nowhere));
    let attempt = hub.attach(Tag([1; 8])).unwrap();
    attempt.attach_ice("frag");
    let whole = stun(REQUEST, 7, "frag:x");
    assert_eq!(hub.receive(peer(), &whole), Verdict::Taken);
    for at in 20..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bent = whole.clone();
            bent[at] = value;
            hub.receive(peer(), &bent);
        }
    }
    let long = [&whole[..20], &[0, 6, 0xff, 0xfc][..]].concat();
    assert_eq!(hub.receive(peer(), &long), Verdict::Pass);
}

#[tokio::test]
async fn questions_are_not_answered_at_other_ports() {
    let (hub, _, _reader) = hub();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap();
    let asking = tokio::spawn({
        let hub = hub.clone();
        async move { hub.ask(addr).await }
    });
    let received = tokio::task::spawn_blocking(move || {
        let mut buffer = [0; 1500];
        let (length, source) = silent.recv_from(&mut buffer).unwrap();
        (buffer[..length].to_vec(), source)
    });
    let (question, source) = received.await.unwrap();
    let mut core = Server::new(Layout::Single(addr), ServerLimits::default());
    let answer = core.on_datagram(Duration::ZERO, addr, source, &question);
    let answer = answer.unwrap().bytes;
    assert_eq!(hub.receive_at(Port::Extra(0), addr, &answer), Verdict::Pass);
    assert_eq!(hub.receive(addr, &answer), Verdict::Taken);
    asking.await.unwrap().unwrap();
}
