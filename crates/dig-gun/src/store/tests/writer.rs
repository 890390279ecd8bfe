//! The writer: everybody is told, in order, and nobody waits for ever.

use super::*;
use std::{
    ops::ControlFlow,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};

/// A store whose commits wait for a word, and do as it says.
#[derive(Debug)]
struct Slow {
    inner: MemoryStorage,
    began: Sender<usize>,
    go_on: Mutex<Receiver<Word>>,
    /// Nodes kept without being made durable.
    kept: AtomicUsize,
}

#[derive(Debug)]
enum Word {
    Write,
    Fail,
    Panic,
}

impl Storage for Slow {
    fn scan(
        &self,
        soul: &Soul,
        keys: &Lex,
        reverse: bool,
        take: &mut dyn FnMut(Key, Field) -> ControlFlow<()>,
    ) -> Result<bool, StoreError> {
        self.inner.scan(soul, keys, reverse, take)
    }

    fn souls(
        &self,
        range: &Lex,
        reverse: bool,
        take: &mut dyn FnMut(Soul) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.inner.souls(range, reverse, take)
    }

    fn commit(&self, changes: &[Node], at: Timestamp) -> Result<Vec<Soul>, StoreError> {
        self.began.send(changes.len()).unwrap();
        match self.go_on.lock().unwrap().recv().unwrap() {
            Word::Write => self.inner.commit(changes, at),
            Word::Fail => Err(StoreError::Io {
                path: "gun.redb".into(),
                source: io::Error::other("no space"),
            }),
            Word::Panic => panic!("as told"),
        }
    }

    fn keep(&self, changes: &[Node], at: Timestamp) -> Result<Vec<Soul>, StoreError> {
        self.kept.fetch_add(changes.len(), Ordering::Relaxed);
        self.inner.keep(changes, at)
    }

    fn expire(&self, now: Timestamp, budget: usize) -> Result<Vec<Soul>, StoreError> {
        self.inner.expire(now, budget)
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }
}

struct Scene {
    writer: Writer,
    store: Arc<Slow>,
    began: Receiver<usize>,
    go_on: Sender<Word>,
    told: Receiver<(&'static str, Result<(), String>)>,
    tell: Sender<(&'static str, Result<(), String>)>,
    forgotten: Receiver<Vec<Soul>>,
}

impl Scene {
    fn new(limits: WriterLimits, config: StoreConfig) -> Self {
        let (began_in, began) = mpsc::channel();
        let (go_on, words) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let (forget, forgotten) = mpsc::channel();
        let store = Arc::new(Slow {
            inner: MemoryStorage::new(config),
            began: began_in,
            go_on: Mutex::new(words),
            kept: AtomicUsize::new(0),
        });
        let dynamic: Arc<dyn Storage> = Arc::clone(&store) as _;
        let writer = Writer::start(dynamic, limits, move |souls| {
            forget.send(souls).unwrap();
        });
        Self {
            writer: writer.unwrap(),
            store,
            began,
            go_on,
            told,
            tell,
            forgotten,
        }
    }

    fn done(&self, name: &'static str) -> Done {
        let tell = self.tell.clone();
        Box::new(move |outcome| {
            let outcome = outcome.map_err(|error| error.to_string());
            tell.send((name, outcome)).unwrap();
        })
    }

    /// Submits what has time, and waits until it is kept.
    fn submit_unhurried(&self, name: &'static str) {
        let before = self.store.kept.load(Ordering::Relaxed);
        let node = vec![small(name, 1.0)];
        self.writer.submit_unhurried(node, at(0), self.done(name));
        while self.store.kept.load(Ordering::Relaxed) == before {
            std::thread::yield_now();
        }
    }

    fn submit(&self, name: &'static str) {
        let node = vec![small(name, 1.0)];
        self.writer.submit(node, at(0), self.done(name));
    }

    fn told(&self) -> (&'static str, Result<(), String>) {
        self.told.recv_timeout(Duration::from_secs(10)).unwrap()
    }
}

fn scene() -> Scene {
    Scene::new(WriterLimits::default(), StoreConfig::default())
}

#[test]
fn what_waits_goes_in_one_transaction_and_all_are_told_in_order() {
    let scene = scene();
    scene.submit("a");
    assert_eq!(scene.began.recv().unwrap(), 1);
    for name in ["b", "c", "d"] {
        scene.submit(name);
    }
    assert_eq!(scene.writer.waiting().submissions, 4);
    assert!(scene.told.try_recv().is_err(), "told before it is durable");
    scene.go_on.send(Word::Write).unwrap();
    assert_eq!(scene.told(), ("a", Ok(())));
    assert_eq!(scene.began.recv().unwrap(), 3);
    scene.go_on.send(Word::Write).unwrap();
    for name in ["b", "c", "d"] {
        assert_eq!(scene.told(), (name, Ok(())));
    }
    assert_eq!(scene.writer.waiting(), Waiting::default());
}

#[test]
fn a_failure_is_told_to_all_whom_it_concerns_and_the_next_may_go_well() {
    let scene = scene();
    scene.submit("a");
    scene.began.recv().unwrap();
    scene.submit("b");
    scene.go_on.send(Word::Fail).unwrap();
    let error = "cannot use gun.redb: no space".to_owned();
    assert_eq!(scene.told(), ("a", Err(error)));
    scene.go_on.send(Word::Write).unwrap();
    assert_eq!(scene.told(), ("b", Ok(())));
    assert_eq!(scene.store.load(&soul("a")).unwrap(), None);
}

#[test]
fn too_much_is_refused_at_once_and_room_comes_back() {
    let limits = WriterLimits {
        waiting: 2,
        ..WriterLimits::default()
    };
    let scene = Scene::new(limits, StoreConfig::default());
    scene.submit("a");
    scene.began.recv().unwrap();
    scene.submit("b");
    scene.submit("c");
    let busy = StoreError::Busy.to_string();
    assert_eq!(scene.told(), ("c", Err(busy)));
    scene.go_on.send(Word::Write).unwrap();
    scene.go_on.send(Word::Write).unwrap();
    assert_eq!(scene.told(), ("a", Ok(())));
    assert_eq!(scene.told(), ("b", Ok(())));
    scene.submit("c");
    scene.go_on.send(Word::Write).unwrap();
    assert_eq!(scene.told(), ("c", Ok(())));
}

/// What the writer counts for a small node.
fn bytes_of_one() -> usize {
    let scene = scene();
    scene.submit("a");
    scene.began.recv().unwrap();
    let bytes = scene.writer.waiting().bytes;
    scene.go_on.send(Word::Write).unwrap();
    bytes
}

#[test]
fn bytes_that_wait_and_bytes_of_a_transaction_are_bounded() {
    let one = bytes_of_one();
    let limits = WriterLimits {
        waiting_bytes: 4 * one,
        batch_bytes: 2 * one,
        ..WriterLimits::default()
    };
    let scene = Scene::new(limits, StoreConfig::default());
    scene.submit("a");
    scene.began.recv().unwrap();
    for name in ["b", "c", "d", "e"] {
        scene.submit(name);
    }
    assert_eq!(scene.told().0, "e");
    for _ in 0..3 {
        scene.go_on.send(Word::Write).unwrap();
    }
    assert_eq!(scene.began.recv().unwrap(), 2);
    assert_eq!(scene.began.recv().unwrap(), 1);
}

#[test]
fn closing_writes_what_waits() {
    let scene = scene();
    for name in ["a", "b", "c"] {
        scene.submit(name);
        scene.go_on.send(Word::Write).unwrap();
    }
    let Scene {
        writer,
        store,
        told,
        ..
    } = scene;
    writer.close();
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|(_, outcome)| outcome.is_ok()), "{told:?}");
    assert_eq!(store.usage().souls, 3);
}

#[test]
fn a_store_that_panics_leaves_nobody_waiting() {
    let scene = scene();
    scene.submit("a");
    scene.began.recv().unwrap();
    scene.submit("b");
    scene.go_on.send(Word::Panic).unwrap();
    let closed = StoreError::Closed.to_string();
    let mut told = [scene.told(), scene.told()];
    told.sort();
    assert_eq!(
        told,
        [("a", Err(closed.clone())), ("b", Err(closed.clone()))]
    );
    scene.submit("c");
    assert_eq!(scene.told(), ("c", Err(closed)));
}

#[test]
fn what_the_store_forgets_is_told_first() {
    let config = StoreConfig {
        max_souls: 1,
        expire_after: Some(Duration::from_secs(60)),
        ..StoreConfig::default()
    };
    let scene = Scene::new(WriterLimits::default(), config);
    for name in ["a", "b"] {
        scene.submit(name);
        scene.go_on.send(Word::Write).unwrap();
        assert_eq!(scene.told(), (name, Ok(())));
    }
    assert_eq!(names(&scene.forgotten.try_recv().unwrap()), ["a"]);
    scene.writer.expire(at(61));
    let late = scene.forgotten.recv_timeout(Duration::from_secs(10));
    assert_eq!(names(&late.unwrap()), ["b"]);
    assert_eq!(scene.store.usage(), Usage::default());
}

#[test]
fn everything_old_goes_however_much_it_is() {
    let config = StoreConfig {
        expire_after: Some(Duration::from_secs(60)),
        ..StoreConfig::default()
    };
    let store: Arc<dyn Storage> = Arc::new(MemoryStorage::new(config));
    let nodes: Vec<Node> = (0..3500).map(|n| small(&format!("{n}"), 0.0)).collect();
    store.commit(&nodes, at(0)).unwrap();
    let (forget, forgotten) = mpsc::channel();
    let writer = Writer::start(Arc::clone(&store), WriterLimits::default(), move |souls| {
        forget.send(souls.len()).unwrap();
    })
    .unwrap();
    writer.expire(at(100));
    let mut gone = 0;
    while gone < 3500 {
        gone += forgotten.recv_timeout(Duration::from_secs(10)).unwrap();
    }
    assert_eq!(gone, 3500);
    assert_eq!(store.usage(), Usage::default());
}

#[test]
fn what_has_time_is_durable_with_the_next_that_has_none() {
    let scene = Scene::new(WriterLimits::default(), StoreConfig::default());
    scene.submit_unhurried("patient");
    assert_eq!(scene.told.try_recv().ok(), None, "kept is not durable");
    scene.submit("urgent");
    assert_eq!(scene.began.recv().unwrap(), 1);
    scene.go_on.send(Word::Write).unwrap();
    for name in ["patient", "urgent"] {
        assert_eq!(scene.told.recv().unwrap(), (name, Ok(())));
    }
}

#[test]
fn what_has_time_is_durable_soon_and_at_the_end() {
    let scene = Scene::new(WriterLimits::default(), StoreConfig::default());
    let start = Instant::now();
    scene.submit_unhurried("patient");
    assert_eq!(scene.began.recv().unwrap(), 0, "a commit of nothing");
    assert!(start.elapsed() >= UNHURRIED - Duration::from_millis(5));
    scene.go_on.send(Word::Write).unwrap();
    assert_eq!(scene.told.recv().unwrap(), ("patient", Ok(())));
    scene.submit_unhurried("last");
    scene.go_on.send(Word::Write).unwrap();
    scene.writer.close();
    assert_eq!(scene.told.recv().unwrap(), ("last", Ok(())));
}

#[test]
fn a_failure_is_told_to_all_whose_writes_it_may_have_undone() {
    let scene = Scene::new(WriterLimits::default(), StoreConfig::default());
    scene.submit_unhurried("patient");
    scene.submit("urgent");
    scene.go_on.send(Word::Fail).unwrap();
    for name in ["patient", "urgent"] {
        let (told, outcome) = scene.told.recv().unwrap();
        assert_eq!(told, name);
        assert!(outcome.unwrap_err().contains("no space"));
    }
}
