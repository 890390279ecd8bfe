//! All scenarios wherever the relays are whose.

use crate::{
    bed::Bed,
    namespace,
    peer::Kind::{self, Browser, Core, Default, Ours, Sea, Stored},
    relay::Software::{self, GunJs, GunJsWithoutAxe},
    scenarios,
};

/// Peers of each kind at one relay.
const AT_ONE: [(Kind, usize); 7] = [
    (Ours, 0),
    (Ours, 0),
    (Core, 0),
    (Sea, 0),
    (Stored, 0),
    (Default, 0),
    (Browser, 0),
];

/// The first of each kind that writes is not where those are that read.
const AT_TWO: [(Kind, usize); 8] = [
    (Ours, 0),
    (Ours, 1),
    (Core, 1),
    (Core, 0),
    (Sea, 0),
    (Stored, 1),
    (Default, 1),
    (Browser, 1),
];

#[test]
fn our_client_and_gun_js_at_the_relay_of_gun_js() {
    namespace::run(
        "topologies::our_client_and_gun_js_at_the_relay_of_gun_js",
        async { scenarios::run(&Bed::start(&[(GunJs, &[])], &AT_ONE).await).await },
    );
}

#[test]
fn our_client_and_gun_js_at_the_relay_of_gun_js_without_axe() {
    namespace::run(
        "topologies::our_client_and_gun_js_at_the_relay_of_gun_js_without_axe",
        async { scenarios::run(&Bed::start(&[(GunJsWithoutAxe, &[])], &AT_ONE).await).await },
    );
}

#[test]
fn our_client_and_gun_js_at_our_relay() {
    namespace::run("topologies::our_client_and_gun_js_at_our_relay", async {
        scenarios::run(&Bed::start(&[(Software::Ours, &[])], &AT_ONE).await).await;
    });
}

#[test]
fn our_relay_joins_that_of_gun_js() {
    namespace::run("topologies::our_relay_joins_that_of_gun_js", async {
        scenarios::run(&Bed::start(&[(GunJs, &[]), (Software::Ours, &[0])], &AT_TWO).await).await;
    });
}

#[test]
fn the_relay_of_gun_js_joins_ours() {
    namespace::run("topologies::the_relay_of_gun_js_joins_ours", async {
        scenarios::run(&Bed::start(&[(Software::Ours, &[]), (GunJs, &[0])], &AT_TWO).await).await;
    });
}
