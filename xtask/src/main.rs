//! The project's own chores: `cargo xtask check` is everything a change must pass.
//!
//! It must never know what the product does: it reads sources and starts other programs.

#![allow(clippy::print_stdout, reason = "a chore talks to the person who started it")]

mod check;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <chore>

  check            fmt, tidy, clippy, tests, licences, 60 s of simulation; stops at the first failure
  tidy             the house rules that no other tool knows: ladder, cycles, purity, names, shape
  sim [flags]      the simulation, flags passed on: --seed S, --seeds N, --seconds N
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = workspace_root();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.split_first() {
        Some((&"check", [])) => check::run_all(&root),
        Some((&"tidy", [])) => tidy_and_print(&root),
        Some((&"sim", flags)) => check::run_simulation(&root, flags),
        Some((&("help" | "-h" | "--help"), _)) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn tidy_and_print(root: &std::path::Path) -> ExitCode {
    match tidy::check_workspace(root) {
        Ok(findings) if findings.is_empty() => {
            println!("tidy: nothing to mend");
            ExitCode::SUCCESS
        }
        Ok(findings) => {
            for finding in &findings {
                println!("{finding}");
            }
            println!("tidy: {} to mend", findings.len());
            ExitCode::FAILURE
        }
        Err(reason) => {
            eprintln!("tidy could not run: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The folder above `xtask/`, so that a chore works from any folder of the checkout.
fn workspace_root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask/ lies inside the workspace").to_path_buf()
}
