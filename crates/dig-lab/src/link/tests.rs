//! Virtual time: figures are exact or bounded by statistics, never by the machine.

use proptest::prelude::*;

use super::*;

fn ms(count: u64) -> Now {
    Duration::from_millis(count)
}

/// Everything that arrives, with its time.
fn drain<P>(emulator: &mut Emulator<P>) -> Vec<(Now, P)> {
    let mut arrived = Vec::new();
    while let Some(now) = emulator.next_arrival() {
        arrived.extend(emulator.poll(now).map(|packet| (now, packet)));
    }
    arrived
}

#[test]
fn a_perfect_link_changes_nothing() {
    let mut emulator = Emulator::new(Link::default(), 1);
    assert!(emulator.push(ms(5), 100, 'a'));
    assert_eq!(
        (emulator.poll(ms(5)), emulator.poll(ms(5))),
        (Some('a'), None)
    );
}

#[test]
fn a_delay_is_exact() {
    let mut emulator = Emulator::new(Link::delay(ms(40)), 1);
    for now in 0..10 {
        emulator.push(ms(now), 1000, now);
    }
    assert_eq!(emulator.poll(ms(39)), None);
    assert_eq!(emulator.next_arrival(), Some(ms(40)));
    let expected: Vec<(Now, u64)> = (0..10).map(|now| (ms(40 + now), now)).collect();
    assert_eq!(drain(&mut emulator), expected);
}

#[test]
fn jitter_stays_within_its_bounds_and_varies() {
    let mut emulator = Emulator::new(Link::delay(ms(40)).with_jitter(ms(10)), 2);
    let mut trips = Vec::new();
    for index in 0..1000_u32 {
        let sent = ms(100) * index;
        emulator.push(sent, 100, ());
        trips.extend(
            drain(&mut emulator)
                .into_iter()
                .map(|(arrived, ())| (arrived - sent).as_secs_f64() * 1e3),
        );
    }
    let mean = trips.iter().sum::<f64>() / trips.len() as f64;
    let (least, most) = trips
        .iter()
        .fold((f64::MAX, 0.0_f64), |(least, most), trip| {
            (least.min(*trip), most.max(*trip))
        });
    assert!(least >= 30.0 && most <= 50.0, "{least} to {most} ms");
    assert!(
        least < 31.0 && most > 49.0 && (mean - 40.0).abs() < 1.0,
        "{least} to {most}, mean {mean} ms"
    );
}

#[test]
fn loss_is_what_it_says() {
    for loss in [0.05, 0.5, 1.0] {
        let mut emulator = Emulator::new(Link::default().with_loss(loss), 3);
        let arrived = (0..10_000)
            .filter(|_| emulator.push(ms(0), 100, ()))
            .count();
        let expected = 10_000.0 * (1.0 - loss);
        let deviation = (10_000.0 * loss * (1.0 - loss)).sqrt();
        assert!(
            (arrived as f64 - expected).abs() <= 5.0 * deviation,
            "{loss}: {arrived}"
        );
        assert_eq!(emulator.tally().lost, 10_000 - arrived as u64);
    }
}

#[test]
fn a_rate_spaces_packets_and_its_buffer_is_bounded() {
    let link = Link {
        queue: 10_000,
        ..Link::delay(ms(20)).with_rate(1_000_000)
    };
    let mut emulator = Emulator::new(link, 4);
    let accepted = (0..100)
        .filter(|index| emulator.push(ms(0), 1000, *index))
        .count();
    assert_eq!((accepted, emulator.tally().overflowed), (10, 90));
    let arrivals: Vec<Now> = drain(&mut emulator)
        .into_iter()
        .map(|(now, _)| now)
        .collect();
    let expected: Vec<Now> = (1..=10).map(|index| ms(20 + index)).collect();
    assert_eq!(arrivals, expected);
    // Once idle, it takes more, and a packet larger than the buffer.
    assert!(emulator.push(ms(100), 20_000, 0));
    assert_eq!(drain(&mut emulator)[0].0, ms(140));
}

#[test]
fn a_steady_stream_gets_the_rate() {
    let mut emulator = Emulator::new(Link::default().with_rate(1_000_000), 5);
    let mut bytes = 0;
    for now in 0..10_000 {
        // Twice what fits.
        emulator.push(ms(now), 1000, ());
        emulator.push(ms(now), 1000, ());
        while emulator.poll(ms(now)).is_some() {
            bytes += 1000;
        }
    }
    assert!((9_990_000..=10_000_000).contains(&bytes), "{bytes} in 10 s");
}

#[test]
fn those_held_back_are_overtaken() {
    let link = Link {
        hold: ms(3),
        ..Link::delay(ms(10)).with_reorder(0.1)
    };
    let mut emulator = Emulator::new(link, 6);
    for index in 0..1000 {
        emulator.push(ms(index), 100, index);
    }
    let arrived = drain(&mut emulator);
    let late: Vec<&(Now, u64)> = arrived
        .iter()
        .filter(|(now, index)| *now != ms(10 + index))
        .collect();
    assert!(late.iter().all(|(now, index)| *now == ms(13 + index)));
    assert!((50..=150).contains(&late.len()), "{} of 1000", late.len());
    assert!(arrived.windows(2).any(|pair| pair[0].1 > pair[1].1));
}

#[test]
fn what_is_on_the_way_is_bounded() {
    let mut emulator = Emulator::new(Link::delay(Duration::from_secs(60)), 7);
    let accepted = (0..2000)
        .filter(|_| emulator.push(ms(0), 65_536, ()))
        .count();
    assert_eq!(accepted, IN_FLIGHT / 65_536);
}

#[test]
fn another_link_holds_for_what_comes() {
    let mut emulator = Emulator::new(Link::delay(ms(50)), 8);
    emulator.push(ms(0), 1, 'a');
    emulator.set(Link::delay(ms(80)));
    emulator.push(ms(0), 1, 'b');
    assert_eq!(drain(&mut emulator), [(ms(50), 'a'), (ms(80), 'b')]);
}

proptest! {
    /// Every packet arrives once or is counted as lost; not before its delay; in order unless reordering was asked
    /// for; and the same seed gives the same arrivals.
    #[test]
    fn nothing_is_made_up(
        delay in 0..50_u64,
        jitter in 0..80_u64,
        loss in prop_oneof![Just(0.0), 0.0..0.5],
        rate in prop::option::of(1_000..10_000_000_u64),
        reorder in prop_oneof![Just(0.0), 0.0..0.5],
        packets in prop::collection::vec((0..5_u64, 1..2000_usize), 1..200),
        seed: u64,
    ) {
        let link = Link { rate, ..Link::delay(ms(delay)).with_jitter(ms(jitter)).with_loss(loss).with_reorder(reorder) };
        let (mut first, mut second) = (Emulator::new(link, seed), Emulator::new(link, seed));
        let (mut now, mut sent) = (Duration::ZERO, Vec::new());
        for (index, (pause, size)) in packets.iter().enumerate() {
            now += ms(*pause);
            sent.push(now);
            let accepted = first.push(now, *size, index);
            prop_assert_eq!(accepted, second.push(now, *size, index));
        }
        let arrived = drain(&mut first);
        prop_assert_eq!(&arrived, &drain(&mut second));
        let tally = first.tally();
        prop_assert_eq!(tally.delivered, arrived.len() as u64);
        prop_assert_eq!(tally.offered, tally.delivered + tally.lost + tally.overflowed);
        for (at, index) in &arrived {
            prop_assert!(*at >= sent[*index] + ms(delay.saturating_sub(jitter)));
        }
        if reorder == 0.0 {
            prop_assert!(arrived.windows(2).all(|pair| pair[0].1 < pair[1].1));
        }
    }
}
