//! From arguments to an exit code.

use std::process::ExitCode;

use mainstem_api::{CommandSpec, Kind, Row, commands_below, find_command};
use mainstem_env::{Clock, SystemClock};
use mainstem_types::{Error, StreamRef};

use crate::argv::{Argv, Presentation};
use crate::client::{Client, Refusal};
use crate::clusters::{Clusters, KnownCluster};
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

/// All that a command needs to be carried out.
pub(crate) struct Session {
    pub(crate) clusters: Clusters,
    pub(crate) client: Client,
    pub(crate) clock: SystemClock,
}

/// Runs one command and says how it ended: 0 when it did, 1 when it did not.
pub fn run(invocation: Invocation, arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let argv = Argv::new(arguments);
    let mut presentation = argv.presentation();
    let now_ms = SystemClock::new().wall_ms();
    match run_argv(invocation, &argv, &mut presentation) {
        Ok(Outcome::Text(text)) => output::print_text(&text),
        Ok(Outcome::Rows(rows)) => output::print_rows(now_ms, rows, presentation),
        Err(refusal) => {
            output::print_refusal(now_ms, refusal, presentation);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

enum Outcome {
    Text(String),
    Rows(Vec<Row>),
}

fn run_argv(
    invocation: Invocation,
    argv: &Argv,
    presentation: &mut Presentation,
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
    let session = Session::open()?;
    if command.words == copy::COMMAND.words {
        return copy::copy_stream(&session, pairs).map(Outcome::Rows);
    }
    session.carry_out(command, pairs).map(Outcome::Rows)
}

fn find(invocation: Invocation, words: &[&str]) -> Result<&'static CommandSpec, Error> {
    let copy = words.len() == 1 && words[0].eq_ignore_ascii_case(copy::COMMAND.words[0]);
    if copy && invocation != Invocation::Maprcli {
        return Ok(&copy::COMMAND);
    }
    if invocation != Invocation::Mapr {
        return find_command(words);
    }
    Err(Error::unsupported(match words {
        [] => "give a command: `mapr copystream -src <stream> -dst <stream>`".to_owned(),
        [word, ..] => {
            format!("`mapr {word}` is not served by this version; there is `mapr copystream`")
        }
    }))
}

impl Session {
    fn open() -> Result<Self, Error> {
        Ok(Self {
            clusters: Clusters::load(&Clusters::file(&Clusters::home()?))?,
            client: Client::new(),
            clock: SystemClock::new(),
        })
    }

    fn carry_out(
        &self,
        command: &CommandSpec,
        mut pairs: Vec<(String, String)>,
    ) -> Result<Vec<Row>, Refusal> {
        let here = self.choose_cluster(command, &pairs)?;
        name_clusters(command, &mut pairs, &here.name)?;
        steps::prepare(self, here, command, &mut pairs)?;
        let rows = self.client.ask(here, command, &pairs)?;
        steps::follow(self, here, command, &pairs)?;
        Ok(rows)
    }

    /// The cluster that `-cluster` or the stream's path names, or the first known one.
    fn choose_cluster(
        &self,
        command: &CommandSpec,
        pairs: &[(String, String)],
    ) -> Result<&KnownCluster, Error> {
        let by_flag = value(pairs, "cluster");
        let path = command
            .flags
            .first()
            .filter(|flag| flag.name == "path" || flag.kind == Kind::Stream)
            .and_then(|flag| value(pairs, flag.name));
        let by_path = path
            .and_then(|path| path.strip_prefix("/mapr/"))
            .map(|rest| rest.split('/').next().unwrap_or_default());
        match (by_flag, by_path) {
            (Some(flag), Some(path)) if flag != path => Err(Error::invalid(format!(
                "-cluster says {flag}, but the path is in {path}; leave -cluster out"
            ))),
            (None, None) => self.clusters.first(),
            (named, other) => self.clusters.find(&named.or(other).unwrap_or_default().parse()?),
        }
    }

    /// The cluster of a stream that was named in full.
    pub(crate) fn cluster_of(&self, stream: &StreamRef) -> Result<&KnownCluster, Error> {
        match &stream.cluster {
            Some(cluster) => self.clusters.find(cluster),
            None => self.clusters.first(),
        }
    }
}

/// Streams that were named without a cluster are in this one.
pub(crate) fn name_clusters(
    command: &CommandSpec,
    pairs: &mut [(String, String)],
    here: &str,
) -> Result<(), Error> {
    for (name, value) in pairs {
        if command.flag(name).is_some_and(|flag| flag.kind == Kind::Stream) {
            let mut stream: StreamRef = value.parse()?;
            stream.cluster = Some(stream.cluster.map_or_else(|| here.parse(), Ok)?);
            *value = stream.to_string();
        }
    }
    Ok(())
}

/// The value of a flag.
pub(crate) fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(flag, _)| flag == name).map(|(_, value)| value.as_str())
}

/// The stream that a flag names.
pub(crate) fn stream(pairs: &[(String, String)], name: &str) -> Result<StreamRef, Error> {
    value(pairs, name).unwrap_or_default().parse()
}
