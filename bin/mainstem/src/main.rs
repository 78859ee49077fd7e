//! The one binary: `serve` runs a cluster, `dev` several on this machine, `demo` shows the main
//! job, and every other verb is maprcli's, sent to a running cluster.
//!
//! It must never know how anything is decided: it reads settings, wires parts, handles signals.

mod demo;
mod dev;
mod local_http;
mod serve;
mod settings;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use mainstem_cli::Invocation;
use mainstem_env::Env;
use mainstem_types::Error;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An event store whose streams are replicated as one thing, for stock Kafka clients
#[derive(Debug, Parser)]
#[command(name = "mainstem", version, after_help = VERBS, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const VERBS: &str = "\
Commands for running clusters, in maprcli's words (each explains itself with -help):
  stream     create, edit, info, list, delete; topic, cursor, replica, upstream
  cluster    gateway set, get, list, delete, local, resolve
  alarm      list, names
  copystream, diffstreams, diffstreamswithcrc, exportstream, importstream

First steps:
  mainstem demo
  mainstem dev up --clusters sanfrancisco,newyork
  mainstem stream create -path /mapr/sanfrancisco/activity
  mainstem stream replica autosetup -path /mapr/sanfrancisco/activity \\
      -replica /mapr/newyork/activity";

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Run one cluster's server with the settings of a file
    Serve {
        /// The settings
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// What this process is: the whole server, or only one more gateway in front of it
        #[arg(long, value_enum, default_value = "server")]
        roles: serve::Role,
    },
    /// Clusters on this machine, each a server process of its own
    Dev {
        #[command(subcommand)]
        command: dev::DevCommand,
    },
    /// Watch a stream replicate between two clusters, through a crash of the source
    Demo(demo::DemoArguments),
}

fn main() -> ExitCode {
    // What is no UTF-8 is not panicked over: it is no word of ours either, and is refused as such.
    let mut arguments = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let invocation = Invocation::of(&arguments.next().unwrap_or_default());
    let words: Vec<String> = arguments.collect();
    if invocation.takes(&words) {
        return mainstem_cli::run(invocation, words);
    }
    let words = words.into_iter().map(two_dashes);
    match Arguments::try_parse_from(std::iter::once("mainstem".into()).chain(words)) {
        Ok(arguments) => match run(arguments.verb) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => mainstem_cli::report(&error),
        },
        Err(fault) if is_fault(&fault) => {
            mainstem_cli::report(&Error::invalid(one_line(&fault.to_string())))
        }
        Err(help) => help.exit(),
    }
}

/// Help and version are no faults, nor is it to ask for nothing.
fn is_fault(shown: &clap::Error) -> bool {
    shown.use_stderr() && shown.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
}

/// What clap has to say, as one line like every other error.
fn one_line(text: &str) -> String {
    let (fault, usage) = text.split_once("Usage:").unwrap_or((text, "mainstem"));
    let fault = fault.trim_start_matches("error:").split("\n\n").map(str::trim);
    let fault: Vec<_> = fault.filter(|part| !part.is_empty()).collect();
    let words = usage.split_whitespace().take_while(|word| !word.starts_with(['[', '<', '-']));
    let words: Vec<_> = words.collect();
    let fault = fault.join("; ");
    let fault: Vec<_> = fault.split_whitespace().collect();
    format!("{}; see `{} --help`", fault.join(" "), words.join(" "))
}

fn run(verb: Verb) -> Result<(), Error> {
    let env = Env::system();
    match verb {
        Verb::Serve { config, roles } => {
            log_to_stderr();
            serve::run(&config, roles, env)
        }
        Verb::Demo(arguments) => demo::run(&arguments, &env),
        Verb::Dev { command } => {
            print(&dev::run(command, env)?);
            Ok(())
        }
    }
}

/// maprcli's users write `-json`; the verbs here take it as well.
fn two_dashes(word: String) -> String {
    let is_long = word.len() > 2 && word.starts_with('-') && !word.starts_with("--");
    if is_long { format!("-{word}") } else { word }
}

/// A closed pipe is nobody's concern.
pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// `RUST_LOG` chooses what is said; `info` otherwise.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_argument_is_told_in_one_line_with_where_to_read_on() {
        let shown = |words: &[&str]| {
            let words = std::iter::once("mainstem").chain(words.iter().copied());
            Arguments::try_parse_from(words).unwrap_err()
        };
        let all = [
            (&["frob"][..], "unrecognized subcommand 'frob'; see `mainstem --help`"),
            (
                &["dev", "up", "--frob"],
                "unexpected argument '--frob' found; see `mainstem dev up --help`",
            ),
            (
                &["dev", "up", "--clustrs"],
                "unexpected argument '--clustrs' found; tip: a similar argument exists: \
                 '--clusters'; see `mainstem dev up --help`",
            ),
            (
                &["dev", "kill"],
                "the following required arguments were not provided: <NAME>; see `mainstem dev \
                 kill --help`",
            ),
        ];
        for (words, line) in all {
            let fault = shown(words);
            assert!(is_fault(&fault));
            assert_eq!(one_line(&fault.to_string()), line);
        }
        for words in [&[][..], &["dev"], &["--help"], &["demo", "--help"], &["--version"]] {
            assert!(!is_fault(&shown(words)), "{words:?}");
        }
    }
}
