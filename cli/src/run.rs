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
use crate::screen::Screen;
use crate::session::{Session, name_clusters, value};
use crate::{check, copy, diff, export, help, import, output, steps, verify};

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
        let ours = |word: &str| commands_below(&[word]).next().is_some() || utility(word).is_some();
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
/// it did what it was asked, else 1, unless the command has a say in it. With `-watch` it does so
/// again and again, until it is interrupted or nobody reads any more.
pub fn run(invocation: Invocation, arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let home = match Clusters::home() {
        Ok(home) => home,
        Err(error) => return output::report(&error),
    };
    let arguments: Vec<String> = arguments.into_iter().collect();
    // What is watched in a pipe is read as it comes, by people; -long and -json give all.
    let is_watched = Argv::new(arguments.clone()).presentation().watch.is_some();
    let columns = || match terminal_size() {
        Some((_, columns)) => Some(columns),
        None => is_watched.then_some(WATCHED_COLUMNS),
    };
    let first = command_line(invocation, arguments.clone(), &home, columns());
    let Some(interval_s) = first.watch_seconds.filter(|_| first.err.is_empty()) else {
        return first.print();
    };
    let mut screen = Screen::new(terminal_size(), interval_s);
    let mut printed = first;
    while screen.show(&printed, SystemClock::new().wall_ms()).is_ok() {
        // A cluster that is away for a while is told of, and asked again.
        printed = command_line(invocation, arguments.clone(), &home, columns());
    }
    ExitCode::SUCCESS
}

/// How wide a line may be that is watched in a pipe, without its time.
const WATCHED_COLUMNS: usize = 100;

/// Rows and columns of the terminal, if standard output is one.
fn terminal_size() -> Option<(usize, usize)> {
    let terminal = console::Term::stdout();
    let (rows, columns) = terminal.is_term().then(|| terminal.size_checked()).flatten()?;
    Some((rows.into(), columns.into()))
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
    let is_check = is_check(&argv);
    let printed = match run_argv(invocation, &argv, &mut presentation, home) {
        Ok(Outcome::Text(text)) => return Printed::text(text),
        Ok(Outcome::Rows(_, rows, _)) if is_check => check::printed(now_ms, rows, presentation),
        Ok(Outcome::Rows(command, rows, exit)) => {
            let printed = Printed::rows(command, now_ms, rows, presentation, terminal_columns);
            Printed { exit, ..printed }
        }
        Err(refusal) => {
            let refused = Printed::refusal(now_ms, &refusal, presentation);
            match () {
                // What cannot be learned is not well,
                () if is_check => Printed { exit: check::BROKEN, ..refused },
                // and who asks whether two are the same is not told that they differ by an error.
                () if judges(&argv) => Printed { exit: verify::UNKNOWN, ..refused },
                () => refused,
            }
        }
    };
    Printed { watch_seconds: presentation.watch, ..printed }
}

/// Whether the words are those of `stream replica check`, whatever follows them.
fn is_check(argv: &Argv) -> bool {
    is(argv, &check::WORDS)
}

/// Whether the words are these, in any letter case.
fn is(argv: &Argv, known: &[&str]) -> bool {
    let words = argv.words();
    words.len() == known.len()
        && words.iter().zip(known).all(|(word, known)| word.eq_ignore_ascii_case(known))
}

enum Outcome {
    Text(String),
    /// And the exit code.
    Rows(&'static CommandSpec, Vec<Row>, u8),
}

/// Whether a command tells by its exit code whether two streams are the same.
fn judges(argv: &Argv) -> bool {
    [VERIFY, diff::DIFF.words, diff::DIFF_WITH_CRC.words].iter().any(|known| is(argv, known))
}

/// `mapr`'s commands, which are carried out on this side.
static UTILITIES: [&CommandSpec; 5] =
    [&copy::COMMAND, &diff::DIFF, &diff::DIFF_WITH_CRC, &export::COMMAND, &import::COMMAND];

fn utility(word: &str) -> Option<&'static CommandSpec> {
    UTILITIES.into_iter().find(|command| command.words[0].eq_ignore_ascii_case(word))
}

fn run_utility(
    session: &Session,
    command: &'static CommandSpec,
    pairs: Vec<(String, String)>,
) -> Result<Outcome, Refusal> {
    if value(&pairs, "mapreduce").is_some_and(|word| word.eq_ignore_ascii_case("true")) {
        return Err(Error::unsupported("-mapreduce true is not served; leave it out").into());
    }
    let (rows, exit) = match command.words {
        ["copystream"] => (copy::copy_stream(session, pairs)?, 0),
        ["exportstream"] => (export::export_stream(session, pairs)?, 0),
        ["importstream"] => (import::import_stream(session, pairs)?, 0),
        _ => diff::diff_streams(session, command, pairs)?,
    };
    Ok(Outcome::Rows(command, rows, exit))
}

const VERIFY: &[&str] = &["stream", "replica", "verify"];

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
            Err(_) if invocation == Invocation::Mapr => help::list(program, &UTILITIES),
            Err(_) if commands_below(words).any(|command| !command.hidden) => {
                help::group(program, words)
            }
            Err(error) => return Err(error.into()),
        }));
    }
    let command = command?;
    let (pairs, given) = argv.flags(command)?;
    *presentation = given;
    if presentation.watch.is_some() && !help::can_be_watched(command) {
        let name = command.name();
        return Err(Error::invalid(format!("`{name}` cannot be watched; leave -watch out")).into());
    }
    let arguments = command.check(pairs)?;
    let pairs: Vec<(String, String)> =
        arguments.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let session = Session::open(home)?;
    if command.words.len() == 1 {
        return run_utility(&session, command, pairs);
    }
    carry_out(&session, command, pairs).map(|(rows, exit)| Outcome::Rows(command, rows, exit))
}

fn find(invocation: Invocation, words: &[&str]) -> Result<&'static CommandSpec, Error> {
    if let [word] = words
        && invocation != Invocation::Maprcli
        && let Some(command) = utility(word)
    {
        return Ok(command);
    }
    if invocation != Invocation::Mapr {
        return find_command(words);
    }
    let word = words.first().copied().unwrap_or_default();
    Err(Error::unsupported(format!(
        "`mapr {word}` is not served by this version; there are: {}",
        UTILITIES.map(|command| command.words[0]).join(", ")
    )))
}

fn carry_out(
    session: &Session,
    command: &CommandSpec,
    mut pairs: Vec<(String, String)>,
) -> Result<(Vec<Row>, u8), Refusal> {
    let here = session.choose_cluster(command, &pairs)?;
    name_clusters(command, &mut pairs, &here.name)?;
    if command.words == VERIFY {
        return verify::verify_replica(session, here, command, &pairs);
    }
    steps::prepare(session, here, command, &mut pairs)?;
    let mut rows = session.client.ask(here, command, &pairs)?;
    steps::follow(session, here, command, &pairs, &mut rows)?;
    Ok((rows, 0))
}
