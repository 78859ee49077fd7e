//! `mainstem-sim`: runs seeds, and replays the one that failed.
#![expect(clippy::print_stdout, reason = "it is a command")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mainstem_env::{Clock, SystemClock};
use mainstem_sim::{Plant, Report, Violation, run_in, run_traced, topologies};

const HELP: &str = "mainstem-sim runs a few clusters from one seed, many times.
  --seeds N     run at least N seeds (default 500, or 0 with --seconds)
  --seconds N   run seeds until N seconds have passed
  --from S      begin at seed S (default 1)
  --seed S      replay seed S alone
  --trace       print what its links carry
  --topology T  run every seed in this one, such as \"fail-over in a mesh\"; by default each seed
                draws one
  --plant NAME  with a bug put in on purpose; the run should fail
  --plants      try every such bug in turn, and tell by which rule and seed each is caught";

/// Seeds within which a bug that was put in must show.
const SEEDS_PER_PLANT: u64 = 400;

struct Settings {
    from: u64,
    seeds: Option<u64>,
    seconds: u64,
    plant: Plant,
    trace: bool,
    topology: String,
}

fn main() -> ExitCode {
    if std::env::args().skip(1).eq(["--plants"]) {
        return catch_all();
    }
    match settings(std::env::args().skip(1)) {
        Ok(Some(settings)) => run_all(&settings),
        Ok(None) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}\n{HELP}");
            ExitCode::FAILURE
        }
    }
}

fn settings(mut arguments: impl Iterator<Item = String>) -> Result<Option<Settings>, String> {
    let mut settings = Settings {
        from: 1,
        seeds: None,
        seconds: 0,
        plant: Plant::None,
        trace: false,
        topology: String::new(),
    };
    while let Some(flag) = arguments.next() {
        if flag == "--help" {
            return Ok(None);
        }
        if flag == "--trace" {
            settings.trace = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{value} is not a number"));
        match flag.as_str() {
            "--seeds" => settings.seeds = Some(number()?),
            "--seconds" => settings.seconds = number()?,
            "--from" => settings.from = number()?,
            "--seed" => (settings.from, settings.seeds) = (number()?, Some(1)),
            "--plant" => {
                let named = Plant::ALL.iter().find(|plant| plant.to_string() == value);
                settings.plant = *named.ok_or_else(|| {
                    let names: Vec<String> = Plant::ALL.iter().map(Plant::to_string).collect();
                    format!("{value} is none of {}", names.join(", "))
                })?;
            }
            "--topology" if topologies().contains(&value.as_str()) => settings.topology = value,
            "--topology" => {
                return Err(format!("{value} is none of {}", topologies().join(", ")));
            }
            _ => return Err(format!("{flag} is not known")),
        }
    }
    Ok(Some(settings))
}

fn run_all(settings: &Settings) -> ExitCode {
    if settings.trace {
        let (_, trace) = run_traced(&settings.topology, settings.from, settings.plant);
        trace.iter().for_each(|line| println!("{line}"));
    }
    let clock = SystemClock::new();
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let seeds_min = settings.seeds.unwrap_or(if settings.seconds == 0 { 500 } else { 0 });
    let late = || clock.monotonic_ms() >= settings.seconds * 1_000;
    let worker = || {
        let (mut sum, mut seeds, mut violation) = (Report::default(), 0, None);
        while !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= seeds_min && late() {
                break;
            }
            match run_in(&settings.topology, settings.from + at, settings.plant) {
                Ok(report) => {
                    add(&mut sum, &report);
                    seeds += 1;
                }
                Err(found) => {
                    failed.store(true, Ordering::Relaxed);
                    violation = Some(found);
                }
            }
        }
        (sum, seeds, violation)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<(Report, u64, Option<Violation>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|w| w.join().expect("a panic is a failure")).collect()
    });
    let mut total = Report::default();
    results.iter().for_each(|(report, _, _)| add(&mut total, report));
    let seeds: u64 = results.iter().map(|(_, seeds, _)| seeds).sum();
    println!(
        "{seeds} seeds: {} records acknowledged, {} sessions, {} crashes, {} frames of batches, \
         {} gaps, {} records compacted, {} transactions committed, {} ms",
        total.records,
        total.sessions,
        total.crashes,
        total.frames,
        total.gaps,
        total.compacted,
        total.commits,
        clock.monotonic_ms()
    );
    let violations: Vec<Violation> = results.into_iter().filter_map(|(_, _, v)| v).collect();
    for violation in &violations {
        println!("{violation}\nreplay: {}", violation.replay(&settings.topology, settings.plant));
    }
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Proves that the rules can fail.
fn catch_all() -> ExitCode {
    let mut missed = 0;
    for plant in Plant::ALL {
        let found = (1..=SEEDS_PER_PLANT).find_map(|seed| {
            let violation = run_in(plant.shows_in(), seed, *plant).err()?;
            (violation.rule == plant.caught_by()).then_some(violation)
        });
        match found {
            Some(found) => println!(
                "{plant} breaks \"{}\" at seed {} ({})",
                found.rule, found.seed, found.topology
            ),
            None => {
                missed += 1;
                println!("{plant} is not caught as \"{}\"", plant.caught_by());
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn add(sum: &mut Report, report: &Report) {
    sum.records += report.records;
    sum.bytes += report.bytes;
    sum.frames += report.frames;
    sum.gaps += report.gaps;
    sum.compacted += report.compacted;
    sum.commits += report.commits;
    sum.sessions += report.sessions;
    sum.crashes += report.crashes;
}
