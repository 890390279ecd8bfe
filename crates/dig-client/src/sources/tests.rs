//! Dials that end, and dials that go on for better paths.

use super::*;
use crate::connector::Method;
use dig_types::PeerSource;
use std::sync::Mutex;
use tokio::{sync::mpsc, time::timeout};

/// Longer than any retry here, in the virtual time of these tests.
const LONG: Duration = Duration::from_secs(30);

/// Hands out streams that the test feeds.
#[derive(Debug, Default)]
struct Fed(Mutex<Vec<mpsc::UnboundedSender<Dial>>>);

impl Fed {
    fn dials(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn stream(&self, number: usize) -> mpsc::UnboundedSender<Dial> {
        self.0.lock().unwrap()[number].clone()
    }

    /// The stream of this number says no more.
    fn end(&self, number: usize) {
        self.0.lock().unwrap()[number] = mpsc::unbounded_channel().0;
    }
}

impl Connector for Fed {
    fn connect(&self, _peer: PeerRecord) -> BoxStream<'static, Dial> {
        let (to, from) = mpsc::unbounded_channel();
        self.0.lock().unwrap().push(to);
        let next =
            |mut from: mpsc::UnboundedReceiver<Dial>| async { Some((from.recv().await?, from)) };
        futures::stream::unfold(from, next).boxed()
    }
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn peer(number: u8) -> PeerRecord {
    PeerRecord {
        node: Some(node(number)),
        addrs: vec![SocketAddr::from(([10, 0, 0, number], 4433))],
        mapped: Vec::new(),
        via: Vec::new(),
        relays: Vec::new(),
        source: PeerSource::Explicit,
    }
}

fn attempt() -> Dial {
    Dial::Attempt {
        node: None,
        addr: None,
        method: Method::Direct,
    }
}

fn sources() -> (Arc<Fed>, Sources) {
    let fed = Arc::new(Fed::default());
    (fed.clone(), Sources::new(fed, BTreeSet::new()))
}

async fn next(sources: &mut Sources) -> Option<SourceNews> {
    timeout(LONG, sources.next()).await.ok()
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_goes_on_is_no_reason_to_wait() {
    let (fed, mut sources) = sources();
    sources.add(peer(1));
    assert!(!sources.is_idle() && next(&mut sources).await.is_none());
    fed.stream(0).send(Dial::Settled).unwrap();
    let settled = next(&mut sources).await;
    assert!(matches!(settled, Some(SourceNews::Dial(Dial::Settled))));
    assert!(sources.is_idle());
    assert!(matches!(
        next(&mut sources).await,
        Some(SourceNews::Exhausted)
    ));
    assert!(next(&mut sources).await.is_none(), "it is said once");
    fed.stream(0).send(attempt()).unwrap();
    let better = next(&mut sources).await;
    assert!(matches!(
        better,
        Some(SourceNews::Dial(Dial::Attempt { .. }))
    ));
    // Who is found later is tried, and that is waited for.
    sources.add(peer(2));
    assert!(!sources.is_idle() && next(&mut sources).await.is_none());
    fed.end(1);
    assert!(matches!(
        next(&mut sources).await,
        Some(SourceNews::Exhausted)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_has_settled() {
    let (fed, mut sources) = sources();
    sources.add(peer(1));
    fed.end(0);
    assert!(matches!(
        next(&mut sources).await,
        Some(SourceNews::Exhausted)
    ));
    assert!(sources.is_idle() && next(&mut sources).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn only_who_is_not_looked_after_is_dialled_again() {
    let (fed, mut sources) = sources();
    sources.add(peer(1));
    sources.add(peer(2));
    fed.stream(0).send(Dial::Settled).unwrap();
    next(&mut sources).await;
    fed.end(1);
    next(&mut sources).await;
    assert!(sources.retry(), "one is replaced, one dialled");
    assert!(!sources.is_idle());
    assert!(next(&mut sources).await.is_none());
    assert_eq!(fed.dials(), 3, "the second peer alone");
    fed.end(2);
    assert!(
        next(&mut sources).await.is_none(),
        "the first is still looked after"
    );
    assert!(!sources.is_idle());
    sources.link_is_up(node(1), None);
    assert!(sources.is_idle());
    // Nobody replaces the link of a peer whose stream is over.
    fed.end(0);
    next(&mut sources).await;
    assert!(sources.retry() && next(&mut sources).await.is_none());
    assert_eq!(fed.dials(), 5, "both");
}

#[tokio::test(start_paused = true)]
async fn who_is_dismissed_is_not_looked_after() {
    let (fed, mut sources) = sources();
    sources.add(peer(1));
    fed.stream(0).send(Dial::Settled).unwrap();
    next(&mut sources).await;
    sources.dismiss(node(1));
    assert!(matches!(
        next(&mut sources).await,
        Some(SourceNews::Exhausted)
    ));
    assert!(next(&mut sources).await.is_none());
    assert!(fed.stream(0).is_closed(), "the stream was dropped");
    assert!(!sources.retry() && sources.are_all_dismissed());
}
