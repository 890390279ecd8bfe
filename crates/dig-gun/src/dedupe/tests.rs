use super::*;

fn seen(capacity: usize) -> Seen<u8> {
    Seen::new(&SeenConfig {
        keep: Duration::from_secs(9),
        capacity,
    })
}

fn id(text: &str) -> MessageId {
    MessageId::new(text).unwrap()
}

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn each_time_a_message_is_heard_prolongs_the_memory() {
    let mut seen = seen(10);
    assert!(seen.is_new(at(0), &id("a"), 1));
    assert!(!seen.is_new(at(8), &id("a"), 2));
    assert_eq!(seen.origin(at(16), &id("a")), Some(1));
    assert!(!seen.is_new(at(16), &id("a"), 2));
    assert_eq!(seen.origin(at(25), &id("a")), None);
    assert!(seen.is_new(at(25), &id("a"), 2));
    assert_eq!(seen.origin(at(25), &id("a")), Some(2));
}

#[test]
fn names_that_begin_alike_are_others() {
    let mut seen = seen(10);
    assert!(seen.is_new(at(0), &id("i1"), 1));
    assert!(seen.is_new(at(0), &id("i10"), 1));
}

#[test]
fn answers_are_known_by_question_and_hash() {
    let mut seen = seen(10);
    assert!(seen.is_new_answer(at(0), &id("q"), 7));
    assert!(!seen.is_new_answer(at(1), &id("q"), 7));
    assert!(seen.is_new_answer(at(1), &id("q"), 8));
    assert!(seen.is_new_answer(at(1), &id("r"), 7));
    assert!(seen.is_new_answer(at(10), &id("q"), 7));
}

#[test]
fn memory_is_bounded_and_the_oldest_goes_first() {
    let mut seen = seen(3);
    for (second, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        assert!(seen.is_new(at(second as u64), &id(name), 1));
    }
    assert_eq!(seen.origin(at(3), &id("a")), None);
    assert_eq!(seen.origin(at(3), &id("b")), Some(1));
    assert_eq!(seen.messages.known.len(), 3);
    assert_eq!(seen.messages.order.len(), 3);
}

#[test]
fn it_agrees_with_a_list_of_everything_heard() {
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut seen = seen(1_000);
        let mut last: HashMap<u8, (Duration, u8)> = HashMap::new();
        let mut now = Duration::ZERO;
        for _ in 0..2_000 {
            now += Duration::from_millis(random.u64(0..2_000));
            let (name, from) = (random.u8(0..20), random.u8(..));
            let alive = last
                .get(&name)
                .filter(|(heard, _)| now < *heard + at(9))
                .map(|(_, from)| *from);
            let message = id(&format!("m{name}"));
            assert_eq!(seen.origin(now, &message), alive, "seed {seed}");
            assert_eq!(
                seen.is_new(now, &message, from),
                alive.is_none(),
                "seed {seed}"
            );
            last.insert(name, (now, alive.unwrap_or(from)));
            assert!(seen.messages.order.len() <= 20, "seed {seed}");
        }
    }
}
