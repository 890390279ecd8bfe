//! What peers do with a graph, and what all must hold in the end: the same, wherever they are connected.

mod conflicts;
mod data;
mod names;
mod queries;
mod signed;
mod size;
mod time;

use crate::bed::Bed;
use futures::{FutureExt as _, future::BoxFuture};
use std::{panic::AssertUnwindSafe, time::Instant};

/// A scenario: its name and what is done.
pub(crate) type Scenario = (&'static str, for<'a> fn(&'a Bed) -> BoxFuture<'a, ()>);

/// All of them; what stops relays comes last.
pub(crate) const ALL: &[Scenario] = &[
    ("puts", |bed| data::puts(bed).boxed()),
    ("links", |bed| data::links(bed).boxed()),
    ("sets", |bed| data::sets(bed).boxed()),
    ("nulls", |bed| data::nulls(bed).boxed()),
    ("numbers", |bed| data::numbers(bed).boxed()),
    ("unicode", |bed| names::unicode(bed).boxed()),
    ("odd names", |bed| names::odd(bed).boxed()),
    ("equal states", |bed| conflicts::equal_states(bed).boxed()),
    ("older states", |bed| conflicts::older_states(bed).boxed()),
    ("all at once", |bed| conflicts::all_at_once(bed).boxed()),
    ("missing", |bed| queries::missing(bed).boxed()),
    ("late readers", |bed| queries::late_readers(bed).boxed()),
    ("lexical queries", |bed| queries::lexical(bed).boxed()),
    ("a long text", |bed| size::long_text(bed).boxed()),
    ("many fields", |bed| size::many_fields(bed).boxed()),
    ("a user", |bed| signed::user(bed).boxed()),
    ("a forger", |bed| signed::forger(bed).boxed()),
    ("content", |bed| signed::content(bed).boxed()),
    ("future states", |bed| time::future(bed).boxed()),
    ("reconnection", |bed| time::reconnection(bed).boxed()),
];

/// Runs all scenarios, and fails at the end if any did.
pub(crate) async fn run(bed: &Bed) {
    let mut failed = Vec::new();
    for (name, scenario) in ALL {
        let begin = Instant::now();
        let outcome = AssertUnwindSafe(scenario(bed)).catch_unwind().await;
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{name}: {word} in {:?}", begin.elapsed());
        if outcome.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}
