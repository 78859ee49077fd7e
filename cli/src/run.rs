//! From arguments to an exit code.

use std::path::Path;
use std::process::ExitCode;

use mainstem_api::{CommandSpec, Row, commands_below, find_command};
use mainstem_env::{Clock, SystemClock};
use mainstem_types::Error;

use crate::argv::{Argv, Presentation};
use crate::client::Refusal;
use crate::clusters::Clusters;
use crate::output::Printed;
use crate::session::{Session, name_clusters};
use crate::{copy, help, output, steps};

/// By which name the binary was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// `mainstem stream …`; the other verbs are not for this crate.
    Mainstem,
    /// `maprcli stream …`.
    Maprcli,
    /// `mapr copystream …`.
    Mapr,
}

impl Invocation {
    /// What a link of that name stands for: the last part of the path decides.
    pub fn of(argv0: &str) -> Self {
        match argv0.rsplit('/').next() {
            Some("maprcli") => Self::Maprcli,
            Some("mapr") => Self::Mapr,
            _ => Self::Mainstem,
        }
    }

    /// Whether arguments (without the program's name) are for [`run`]. A binary called `mainstem`
    /// has other verbs too.
    pub fn takes(self, arguments: &[String]) -> bool {
        let first = arguments.first().map(|word| word.to_ascii_lowercase());
        let ours =
            |word: &str| commands_below(&[word]).next().is_some() || word == copy::COMMAND.words[0];
        self != Self::Mainstem || first.is_some_and(|word| ours(&word))
    }

    fn program(self) -> &'static str {
        match self {
            Self::Mainstem => "mainstem",
            Self::Maprcli => "maprcli",
            Self::Mapr => "mapr",
        }
    }
}

/// Runs one command with the clusters under `$MAINSTEM_HOME`, prints what it says, and gives 0 when
/// it did what it was asked, else 1.
pub fn run(invocation: Invocation, arguments: impl IntoIterator<Item = String>) -> ExitCode {
    match Clusters::home() {
        Ok(home) => command_line(invocation, arguments, &home, terminal_columns()).print(),
        Err(error) => output::report(&error),
    }
}

/// How wide the terminal is, if standard output is one.
fn terminal_columns() -> Option<usize> {
    let terminal = console::Term::stdout();
    let (_, columns) = terminal.is_term().then(|| terminal.size_checked()).flatten()?;
    Some(columns.into())
}

/// Runs one command with the clusters under `home`, and gives what it would print on a terminal of
/// so many columns, or into a file.
pub fn command_line(
    invocation: Invocation,
    arguments: impl IntoIterator<Item = String>,
    home: &Path,
    terminal_columns: Option<usize>,
) -> Printed {
    let argv = Argv::new(arguments);
    let mut presentation = argv.presentation();
    let now_ms = SystemClock::new().wall_ms();
    match run_argv(invocation, &argv, &mut presentation, home) {
        Ok(Outcome::Text(text)) => Printed::text(text),
        Ok(Outcome::Rows(rows)) => Printed::rows(now_ms, rows, presentation, terminal_columns),
        Err(refusal) => Printed::refusal(now_ms, &refusal, presentation),
    }
}

enum Outcome {
    Text(String),
    Rows(Vec<Row>),
}

fn run_argv(
    invocation: Invocation,
    argv: &Argv,
    presentation: &mut Presentation,
    home: &Path,
) -> Result<Outcome, Refusal> {
    let words = argv.words();
    let program = invocation.program();
    let words = match words.as_slice() {
        ["help", rest @ ..] => {
            presentation.help = true;
            rest
        }
        all => all,
    };
    let command = find(invocation, words);
    // Nothing but the program's name: that is a question.
    presentation.help |= words.is_empty();
    if presentation.help {
        return Ok(Outcome::Text(match command {
            Ok(command) => help::command(program, command),
            Err(_) if invocation == Invocation::Mapr => help::command(program, &copy::COMMAND),
            Err(_) if commands_below(words).any(|command| !command.hidden) => {
                help::group(program, words)
            }
            Err(error) => return Err(error.into()),
        }));
    }
    let command = command?;
    let (pairs, given) = argv.flags(command)?;
    *presentation = given;
    let arguments = command.check(pairs)?;
    let pairs: Vec<(String, String)> =
        arguments.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let session = Session::open(home)?;
    if command.words == copy::COMMAND.words {
        return copy::copy_stream(&session, pairs).map(Outcome::Rows);
    }
    carry_out(&session, command, pairs).map(Outcome::Rows)
}

fn find(invocation: Invocation, words: &[&str]) -> Result<&'static CommandSpec, Error> {
    let copy = words.len() == 1 && words[0].eq_ignore_ascii_case(copy::COMMAND.words[0]);
    if copy && invocation != Invocation::Maprcli {
        return Ok(&copy::COMMAND);
    }
    if invocation != Invocation::Mapr {
        return find_command(words);
    }
    let word = words.first().copied().unwrap_or_default();
    Err(Error::unsupported(format!(
        "`mapr {word}` is not served by this version; there is `mapr copystream`"
    )))
}

fn carry_out(
    session: &Session,
    command: &CommandSpec,
    mut pairs: Vec<(String, String)>,
) -> Result<Vec<Row>, Refusal> {
    let here = session.choose_cluster(command, &pairs)?;
    name_clusters(command, &mut pairs, &here.name)?;
    steps::prepare(session, here, command, &mut pairs)?;
    let rows = session.client.ask(here, command, &pairs)?;
    steps::follow(session, here, command, &pairs)?;
    Ok(rows)
}
