//! Many seeds hold, one seed is one history, and every planted bug is caught by name.

use std::collections::BTreeMap;

use mainstem_sim::{Plant, run, run_in, run_quiet};

/// Enough for every kind of event to happen many times; `cargo xtask check` runs far more.
const SEEDS: u64 = 20;
/// Seeds within which a planted bug must show.
const SEEDS_PER_PLANT: u64 = 400;

#[test]
fn i2_to_i6_hold_whatever_happens() {
    for seed in 1_000..1_000 + SEEDS {
        if let Err(violation) = run(seed, Plant::None) {
            panic!("{violation}\nreplay: {}", violation.replay("", Plant::None));
        }
    }
}

#[test]
fn one_seed_is_one_history() {
    for seed in [3, 4] {
        let first = run(seed, Plant::None).unwrap();
        assert_eq!(run(seed, Plant::None).unwrap(), first);
        assert!(first.records > 0 && first.sessions > 0 && first.frames > 0);
    }
    assert_ne!(run(3, Plant::None).unwrap().fingerprint, run(4, Plant::None).unwrap().fingerprint);
}

#[test]
fn every_planted_bug_is_caught_by_the_rule_it_breaks() {
    for plant in Plant::ALL {
        let mut others = Vec::new();
        let in_topology = |seed| run_in(plant.shows_in(), seed, *plant);
        let caught = (1..=SEEDS_PER_PLANT).any(|seed| match in_topology(seed) {
            Err(violation) if violation.rule == plant.caught_by() => true,
            Err(violation) => {
                others.push(violation.rule);
                false
            }
            Ok(_) => false,
        });
        assert!(caught, "{plant} is not caught as {}, only as {others:?}", plant.caught_by());
    }
}

#[test]
fn a_topology_of_any_shape_carries_about_one_copy_to_each_replica() {
    let mut shapes: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for seed in 1..=30 {
        let traffic = run_quiet(seed).unwrap_or_else(|violation| panic!("{violation}"));
        let sum = shapes.entry(traffic.topology).or_default();
        *sum = (sum.0 + traffic.sent, sum.1 + traffic.held);
    }
    assert!(shapes.len() >= 7, "only {:?} were tried", shapes.keys());
    for (topology, (sent, held)) in shapes {
        assert!(held > 0 && sent >= held, "{topology}: {sent} bytes sent, {held} held");
        // A relay may be there before the owner's link is, and what it has under way comes twice.
        assert!(sent * 20 <= held * 23, "{topology}: {sent} bytes sent for {held} held");
    }
}
