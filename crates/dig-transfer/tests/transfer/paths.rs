//! A peer that is reached by a relay and directly, while the direct path comes, fails silently and comes back.

use crate::world::{Content, Fetched, Node, config, file, finish};
use dig_transfer::{
    fetch::{self, Fetch, FetchEvent},
    lane::{FrameReceiver, FrameSender, Lane, LaneClosed, memory_lanes},
    link::{Link, LinkId},
    serve::ServeEvent,
    sink::MemorySink,
    wire::kind,
};
use dig_types::Frame;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// Frames that a path holds: a window of 8 MiB.
const WINDOW: usize = 128;
/// What the host sends, bytes a second.
const RATE: u64 = 16_000_000;

/// When chunks came, over whatever path.
type Arrivals = Arc<Mutex<Vec<Instant>>>;

/// A path that delays what it passes, or holds it back without a word.
#[derive(Debug, Clone)]
struct Path {
    passes: Arc<watch::Sender<bool>>,
    delay: Duration,
    /// When anything came over it last.
    heard: Arc<Mutex<Instant>>,
    arrivals: Arrivals,
}

impl Path {
    fn new(rtt: Duration, arrivals: &Arrivals) -> Self {
        Self {
            passes: Arc::new(watch::Sender::new(true)),
            delay: rtt / 2,
            heard: Arc::new(Mutex::new(Instant::now())),
            arrivals: arrivals.clone(),
        }
    }

    fn pass(&self, passes: bool) {
        self.passes.send_replace(passes);
    }

    async fn cross(&self, sent: Instant) {
        tokio::time::sleep_until((sent + self.delay).into()).await;
        // The sender lives as long as the path.
        let _ = self.passes.subscribe().wait_for(|passes| *passes).await;
    }

    fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// A link of `client` to `server` over this path.
    fn link(&self, server: &Node, client: &Node, relayed: bool) -> Arc<Link> {
        let (mut to_server, mut to_client) = memory_lanes(client.id, server.id);
        (to_server.info.relayed, to_client.info.relayed) = (relayed, relayed);
        Link::start(self.over(to_client, false), server.server.clone());
        Link::start(self.over(to_server, true), client.server.clone())
    }

    fn over(&self, lane: Lane, counts: bool) -> Lane {
        let (frames, waiting) = mpsc::channel(WINDOW);
        let mut inner = lane.receiver;
        tokio::spawn(async move {
            while let Some(frame) = inner.recv().await {
                if frames.send((Instant::now(), frame)).await.is_err() {
                    return;
                }
            }
        });
        let path = self.clone();
        Lane {
            sender: Box::new(Sender(lane.sender, path.clone())),
            receiver: Box::new(Receiver {
                waiting,
                next: None,
                path,
                counts,
            }),
            ..lane
        }
    }
}

#[derive(Debug)]
struct Sender(Box<dyn FrameSender>, Path);

impl FrameSender for Sender {
    fn send(&self, frame: Frame) -> BoxFuture<'_, Result<(), LaneClosed>> {
        self.0.send(frame)
    }

    fn close(&self, code: u16, text: &str) {
        self.0.close(code, text);
    }

    fn rtt(&self) -> Option<Duration> {
        Some(2 * self.1.delay)
    }

    fn ping(&self) {
        let path = self.1.clone();
        if !*path.passes.borrow() {
            return;
        }
        tokio::spawn(async move {
            path.cross(Instant::now() + path.delay).await;
            path.hear();
        });
    }

    fn silence(&self) -> Option<Duration> {
        let heard = self.1.heard.lock().unwrap_or_else(PoisonError::into_inner);
        Some(heard.elapsed())
    }
}

#[derive(Debug)]
struct Receiver {
    waiting: mpsc::Receiver<(Instant, Frame)>,
    /// Taken from the queue and on its way: `recv` may be given up and called again.
    next: Option<(Instant, Frame)>,
    path: Path,
    counts: bool,
}

impl FrameReceiver for Receiver {
    fn recv(&mut self) -> BoxFuture<'_, Option<Frame>> {
        async {
            if self.next.is_none() {
                self.next = self.waiting.recv().await;
            }
            let (sent, _) = self.next.as_ref()?;
            self.path.cross(*sent).await;
            let (_, frame) = self.next.take()?;
            if self.counts {
                self.path.hear();
                if frame.kind == kind::DATA {
                    let mut arrivals =
                        (self.path.arrivals.lock()).unwrap_or_else(PoisonError::into_inner);
                    arrivals.push(Instant::now());
                }
            }
            Some(frame)
        }
        .boxed()
    }
}

/// What a download over two paths came to.
struct Outcome {
    fetched: Fetched,
    relayed: LinkId,
    direct: LinkId,
    /// Seconds for which nothing came, at most.
    pause: f64,
    /// How the host says that its peer is reached, from first to last.
    told: Vec<bool>,
}

impl Outcome {
    /// Which links carried the data, one after the other.
    fn leads(&self) -> Vec<LinkId> {
        let leads = self.fetched.events.iter().filter_map(|event| match event {
            FetchEvent::Active { link, .. } => Some(*link),
            _ => None,
        });
        leads.collect()
    }
}

/// Begins on a relayed lane; at 8 MiB a direct one comes up, whose path passes packets or not from these amounts on.
async fn download(content: &Content, rtt: Duration, turns: &[(u64, bool)]) -> Outcome {
    let arrivals = Arrivals::default();
    let direct_path = Path::new(rtt, &arrivals);
    let relay_path = Path::new(rtt + Duration::from_millis(10), &arrivals);
    let server = Node::limited(1, Some(RATE)).with(&content.store);
    let (client, sink) = (Node::new(100), MemorySink::new());
    let memory = sink.content();
    let mut told = server.server.events();
    let fetch = Fetch::start(content.hash, config(), fetch::to(sink));
    let mut news = fetch.events();
    let relayed = relay_path.link(&server, &client, true);
    fetch.add_link(relayed.clone());
    let mut turns = turns.iter().copied().peekable();
    let mut events = Vec::new();
    let mut direct = None;
    while let Some(event) = news.next().await {
        if let FetchEvent::Progress(progress) = &event {
            if progress.bytes > 8 << 20 && direct.is_none() {
                let link = direct_path.link(&server, &client, false);
                direct = Some(link.id());
                fetch.add_link(link);
            }
            while let Some((_, passes)) = turns.next_if(|(bytes, _)| progress.bytes > bytes << 20) {
                direct_path.pass(passes);
            }
        }
        events.push(event);
    }
    let mut fetched = finish(fetch, memory).await;
    fetched.events = events;
    let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let pauses = arrivals.windows(2).map(|two| two[1] - two[0]);
    let mut paths = Vec::new();
    while let Some(Some(event)) = told.next().now_or_never() {
        match event {
            ServeEvent::Started { path, .. } | ServeEvent::Moved { path, .. } => {
                paths.push(path.relayed);
            }
            _ => {}
        }
    }
    let outcome = Outcome {
        fetched,
        relayed: relayed.id(),
        direct: direct.expect("a direct lane came up"),
        pause: pauses.max().unwrap_or_default().as_secs_f64(),
        told: paths,
    };
    println!(
        "{rtt:?}: pause {:.3} s, {:?}",
        outcome.pause,
        outcome
            .fetched
            .result
            .as_ref()
            .map(|done| (done.wasted, done.paths.clone()))
    );
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_go_on_over_the_relay_when_the_direct_path_dies() {
    const LEN: u64 = 56 << 20;
    for rtt in [1, 100].map(Duration::from_millis) {
        let content = file(40, 56 << 20);
        let outcome = download(&content, rtt, &[(32, false)]).await;
        outcome.fetched.assert_is(&content);
        let leads = [outcome.relayed, outcome.direct, outcome.relayed];
        assert_eq!(outcome.leads(), leads);
        assert!(outcome.pause < 0.5, "nothing came for {} s", outcome.pause);
        let done = outcome.fetched.result.unwrap();
        assert_eq!((done.fetched, done.wasted), (LEN, 0));
        let paths: Vec<_> = done.paths.iter().map(|path| path.relayed).collect();
        assert_eq!(paths, [true, false]);
        assert_eq!(done.paths.iter().map(|path| path.bytes).sum::<u64>(), LEN);
        assert_eq!(outcome.told, [true, false, true], "what the host says");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_path_that_returns_carries_the_rest() {
    let content = file(41, 60 << 20);
    let rtt = Duration::from_millis(30);
    let outcome = download(&content, rtt, &[(20, false), (32, true)]).await;
    outcome.fetched.assert_is(&content);
    let (relayed, direct) = (outcome.relayed, outcome.direct);
    assert_eq!(outcome.leads(), [relayed, direct, relayed, direct]);
    assert!(outcome.pause < 0.5, "nothing came for {} s", outcome.pause);
    let done = outcome.fetched.result.unwrap();
    assert_eq!(done.fetched, 60 << 20);
    // What was on its way when the path died came in the end, too late.
    assert!(done.wasted < 10 << 20, "{} bytes came twice", done.wasted);
}
