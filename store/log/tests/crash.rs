//! Thousands of small lives of a log, each with crashes at places that its seed picks.
//!
//! `LOG_SEED=17 cargo test -p mainstem-log --test crash i1_ -- --nocapture` runs one of them and
//! tells each step.

#![allow(clippy::unwrap_used, reason = "tests")]

mod model;

use model::World;

const STEPS: u32 = 60;

/// Runs one seed; the error says how to run it alone.
fn run(seed: u64, world: &mut World) -> Result<(), String> {
    let replay = "cargo test -p mainstem-log --test crash i1_ -- --nocapture";
    world.run(STEPS).map_err(|error| format!("{error}; replay with: LOG_SEED={seed} {replay}"))
}

#[test]
fn i1_what_was_synced_survives_any_crash_and_nothing_is_invented() {
    if let Some(seed) = std::env::var("LOG_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let mut world = World::new(seed);
        world.is_told = true;
        return run(seed, &mut world).unwrap();
    }
    let (mut opened, mut retired, mut torn) = (0, 0, 0);
    for seed in 0..1000 {
        let mut world = World::new(seed);
        if let Err(error) = run(seed, &mut world) {
            panic!("{error}");
        }
        opened += world.opened;
        retired += world.retired_segments;
        torn += world.torn_openings;
    }
    // The seeds are worth something only if they reach the places that matter.
    assert!(opened > 4000, "{opened} openings");
    assert!(retired > 300, "{retired} segments retired");
    assert!(torn > 100, "{torn} torn tails");
}

#[test]
fn a_disk_that_lies_about_sync_is_caught() {
    let caught = (0..50).filter(|seed| {
        let mut world = World::new(*seed);
        world.disk.lie_about_sync(true);
        run(*seed, &mut world).is_err()
    });
    assert!(caught.count() > 25, "the checker must see a planted bug");
}
