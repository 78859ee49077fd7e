//! Everything a change must pass, in the order in which failures are cheapest to find.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// The least that one run of `check` simulates.
const SIMULATION: &[&str] = &["--seeds", "2000", "--seconds", "60"];

/// Installed below `target/` when it is missing: a debug build takes about a minute.
const CARGO_DENY: &str = "0.20.2";

/// One heading of the check.
struct Step {
    name: &'static str,
    run: fn(&Path) -> Result<(), String>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: |root| cargo(root, &["fmt", "--all", "--check"]) },
    Step { name: "tidy", run: tidy },
    Step { name: "licences", run: licences },
    Step { name: "clippy", run: clippy },
    Step { name: "tests", run: |root| cargo(root, &["test", "--workspace", "--quiet"]) },
    Step { name: "simulation", run: |root| simulate(root, SIMULATION) },
];

/// Runs all steps; the first failure ends the check.
pub(crate) fn run_all(root: &Path) -> ExitCode {
    let start = now();
    for (index, step) in STEPS.iter().enumerate() {
        println!("== {}/{} {}", index + 1, STEPS.len(), step.name);
        let step_start = now();
        let result = (step.run)(root);
        let seconds = step_start.elapsed().as_secs_f64();
        if let Err(reason) = result {
            println!("== {} FAILED after {seconds:.1} s: {reason}", step.name);
            return ExitCode::FAILURE;
        }
        println!("== {} ok, {seconds:.1} s", step.name);
    }
    println!("== check: all {} steps ok, {:.1} s", STEPS.len(), start.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

/// Runs the simulation with the caller's own flags.
pub(crate) fn run_simulation(root: &Path, flags: &[&str]) -> ExitCode {
    match simulate(root, flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(root: &Path, flags: &[&str]) -> Result<(), String> {
    // Together with the product, so that both are built from one set of features, once.
    let build = ["build", "--quiet", "--release", "--package", "mainstem-sim"];
    cargo(root, &[&build[..], &["--package", "mainstem"]].concat())?;
    run(Command::new(root.join("target/release/mainstem-sim")).args(flags).current_dir(root))
}

fn tidy(root: &Path) -> Result<(), String> {
    let findings = crate::tidy::check_workspace(root)?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() { Ok(()) } else { Err(format!("{} to mend", findings.len())) }
}

/// Licences, banned crates and sources by `deny.toml`. Advisories need a host that builds behind a
/// mirror do not reach.
fn licences(root: &Path) -> Result<(), String> {
    let tools = root.join("target/tools");
    let deny = tools.join("bin/cargo-deny");
    let version = Command::new(&deny).arg("--version").output();
    let installed = version.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).trim() == format!("cargo-deny {CARGO_DENY}")
    });
    if !installed {
        let tools = tools.to_str().ok_or("the checkout's path is not UTF-8")?;
        let install = ["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--debug"];
        cargo(root, &[&install[..], &["--quiet", "--force", "--root", tools]].concat())?;
    }
    let what = ["--log-level", "error", "check", "licenses", "bans", "sources"];
    run(Command::new(deny).args(what).current_dir(root))
}

fn clippy(root: &Path) -> Result<(), String> {
    let flags = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"];
    cargo(root, &flags)
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(Command::new(cargo).args(arguments).current_dir(root))
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

#[expect(clippy::disallowed_methods, reason = "a chore tells how long it took; no product state")]
fn now() -> Instant {
    Instant::now()
}
