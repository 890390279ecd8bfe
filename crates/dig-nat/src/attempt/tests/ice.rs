//! ICE in place of our own checks, and beside them.

use super::*;
use crate::attempt::Port;

/// By ICE alone whatever plain punching can do works, over NATs of either habit.
#[test]
fn ice_alone_gets_through_where_punching_does() {
    let mut found = 0;
    for seed in 0..800 {
        let case = matrix::any_case(seed).alone(Method::Ice);
        if case.kinds.iter().any(matrix::lucky) {
            continue;
        }
        let Some(expected) = matrix::punchable(&case.kinds[0], &case.kinds[1]) else {
            continue;
        };
        let world = case.run();
        let context = Context {
            case: &case,
            world: &world,
        };
        let path = path(&world);
        assert_eq!(path.is_some(), expected, "{context}");
        let Some(path) = path else { continue };
        assert_eq!(
            (path.method, path.from, path.relays),
            (Method::Ice, Port::Shared, 0)
        );
        check_path(&case, &world, path);
        // The word that it begins, what it finds, and a check repeated once.
        let limit = case.rtt() * 4 + case.signal_delay * 2 + Duration::from_millis(250);
        assert!(
            took(&world) <= limit,
            "took {:?} of {limit:?}: {context}",
            took(&world)
        );
        found += 1;
    }
    assert!(found > 150, "{found}");
}

/// Through a firewall that knows nothing but STUN, the second voice of a race is heard.
#[test]
fn a_race_finds_the_way_through_a_firewall_for_stun() {
    for seed in 0..20 {
        let kind = || Kind::Nat(NatConfig::port_restricted());
        let mut case = Case::new(seed, kind(), kind());
        case.methods = vec![Method::UdpHolePunch, Method::Ice];
        let mut world = case.world();
        world.start(|world, at| case.gather(world, at));
        world.sites[(seed % 2) as usize]
            .layers
            .push(Layer::StunOnly);
        world.run(Duration::from_secs(90));
        let context = Context {
            case: &case,
            world: &world,
        };
        let path = path(&world).unwrap_or_else(|| panic!("{context}"));
        assert_eq!(path.method, Method::Ice, "{context}");
        check_path(&case, &world, path);
        let limit = Duration::from_millis(300 + 250) + case.rtt() * 4 + case.signal_delay * 2;
        assert!(took(&world) <= limit, "{:?}", took(&world));
    }
}

/// Where our own checks succeed, ICE never begins.
#[test]
fn a_race_that_is_won_sends_no_stun() {
    let case = Case::new(
        3,
        Kind::Nat(NatConfig::port_restricted()),
        Kind::Nat(NatConfig::port_restricted()),
    );
    let world = case.run();
    let path = path(&world).unwrap();
    assert_ne!(path.method, Method::Ice);
    let trace = world.peers[0].attempt.as_ref().unwrap().trace();
    let ice = trace.methods.iter().find(|run| run.method == Method::Ice);
    let ice = ice.unwrap();
    assert_eq!((ice.sent, &ice.outcome), (0, &Outcome::Cancelled));
}

#[test]
fn ice_finds_its_way_over_relays_with_lost_packets_too() {
    let symmetric = || {
        Kind::Nat(nat_kind(
            Behaviour::AddressAndPortDependent,
            Behaviour::AddressAndPortDependent,
            Allocation::Random,
            Habit::Drop,
        ))
    };
    for seed in 0..40 {
        let mut case = Case::new(seed, symmetric(), symmetric()).alone(Method::Ice);
        case.relays[(seed % 2) as usize] = Some(Duration::from_millis(seed));
        case.loss = 0.1;
        let world = case.run();
        let context = Context {
            case: &case,
            world: &world,
        };
        let path = path(&world).unwrap_or_else(|| panic!("{context}"));
        assert_eq!((path.method, path.relays), (Method::Ice, 1), "{context}");
        check_path(&case, &world, path);
    }
}
