//! Whatever was acknowledged survives any crash, once and in order, and what was not happened
//! whole or not at all (I1, I8), for many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::model::Run;

const SEEDS: u64 = 250;
const STEPS: u64 = 24;

#[test]
fn i1_what_was_acknowledged_survives_every_crash_once() {
    let mut crashes = 0;
    for seed in 0..SEEDS {
        match run(seed, false) {
            Ok(more) => crashes += more,
            Err(why) => panic!("seed {seed}: {why}"),
        }
    }
    assert!(crashes > SEEDS, "{crashes} crashes try nothing");
}

#[test]
fn a_disk_that_acknowledges_before_it_syncs_is_caught() {
    // A planted bug: whoever trusts such a disk answers and shows before anything is durable.
    let is_caught = |seed| {
        catch_unwind(AssertUnwindSafe(|| run(seed, true))).map_or(true, |result| result.is_err())
    };
    let caught = (0..20).filter(|seed| is_caught(*seed)).count();
    assert!(caught > 10, "{caught} of 20 seeds found out");
}

fn run(seed: u64, lie: bool) -> Result<u64, String> {
    let mut run = Run::new(seed);
    run.world.disk.lie_about_sync(lie);
    for _ in 0..STEPS {
        run.step()?;
    }
    run.end()?;
    Ok(run.crashes)
}
