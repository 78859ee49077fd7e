//! `mapr copystream`, and waiting for what servers copy.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mainstem_api::{CommandSpec, Flag, Kind, Method, Row, find_command};
use mainstem_env::Clock;
use mainstem_types::{Error, StreamRef};
use serde_json::Value;

use crate::client::Refusal;
use crate::clusters::KnownCluster;
use crate::session::{Session, first, name_clusters, stream, text, value};
use crate::steps::ask_grant;

const fn flag(name: &'static str, kind: Kind, required: bool, help: &'static str) -> Flag {
    Flag { name, kind, required, default: "", help, hidden: false }
}

/// `mapr copystream`, which the servers of both clusters carry out.
pub(crate) static COMMAND: CommandSpec = CommandSpec {
    words: &["copystream"],
    summary: "Copy what is in a stream into another, and wait for the end",
    about: "The servers copy; this side only waits, and can be called again to go on. A destination \
            that does not exist is created with the source's settings. If the destination is \
            declared as the source's replica, with the source as its upstream, topics keep their \
            owner and a later `stream replica resume` goes on where the copy ended. Otherwise what \
            is copied belongs to the destination afterwards: clients write there at once, and the \
            copy leaves no agreement behind. A topic of the same name in the destination that was \
            not copied from the source is refused before anything is changed.",
    flags: &[
        flag("src", Kind::Stream, true, "the stream to copy"),
        flag("dst", Kind::Stream, true, "the stream to copy into"),
        flag("mapreduce", Kind::Bool, false, "taken for old scripts; only false is served"),
        flag("numthreads", Kind::Int(1, 1024), false, "taken for old scripts; without effect"),
    ],
    output: &[],
    example: "-src /mapr/sanfrancisco/activity -dst /mapr/newyork/activity",
    method: Method::Post,
    hidden: false,
};

const POLL: Duration = Duration::from_millis(200);
/// Trouble that passes sooner is not worth a line.
const TROUBLE_MS_MIN: u64 = 2_000;
/// How long a server may be away before waiting is given up.
const AWAY_MS_MAX: u64 = 60_000;

/// Starts the copy and waits for its end.
pub(crate) fn copy_stream(
    session: &Session,
    mut pairs: Vec<(String, String)>,
) -> Result<Vec<Row>, Refusal> {
    if value(&pairs, "mapreduce").is_some_and(|word| word.eq_ignore_ascii_case("true")) {
        return Err(Error::unsupported("-mapreduce true is not served; leave it out").into());
    }
    let unnamed = session.clusters.first()?.name.clone();
    name_clusters(&COMMAND, &mut pairs, &unnamed)?;
    let (source, target) = (stream(&pairs, "src")?, stream(&pairs, "dst")?);
    if source == target {
        return Err(Error::invalid(format!("{source} cannot be copied into itself")).into());
    }
    let here = session.cluster_of(&source)?;
    session.cluster_of(&target)?;
    let begin = || begin(session, here, &source, &target);
    let status = find_command(&["stream", "copy", "status"])?;
    let mut job = begin()?;
    let mut wait = Wait::new(session, format!("{source} → {target}"));
    loop {
        let asked = [("job".to_owned(), job.clone())];
        match session.client.ask(here, status, &asked).and_then(first) {
            Ok(row) => {
                wait.show(&row, "percent");
                if row.get("finished") == Some(&Value::Bool(true)) {
                    return failure(&row).map_or(Ok(Vec::new()), Err);
                }
            }
            // The server was started anew: ask again for the same, it goes on where it was.
            Err(refusal) if refusal.is_not_found() => job = begin()?,
            Err(refusal) => wait.bear(refusal)?,
        }
        std::thread::sleep(POLL);
    }
}

/// Begins the copy, or joins it if it is under way, and gives its job. Where no agreement is
/// declared, the destination is asked for a grant: this side reaches both clusters.
fn begin(
    session: &Session,
    here: &KnownCluster,
    source: &StreamRef,
    target: &StreamRef,
) -> Result<String, Refusal> {
    let list = find_command(&["stream", "replica", "list"])?;
    let replicas = session.client.ask(here, list, &[("path".to_owned(), source.to_string())])?;
    let mut asked =
        vec![("src".to_owned(), source.to_string()), ("dst".to_owned(), target.to_string())];
    if !replicas.iter().any(|row| is_of(row, target)) {
        let flags = vec![("copy".to_owned(), "true".to_owned())];
        let granted = ask_grant(session, source, target, flags)?;
        for name in ["grant", "replicauuid"] {
            asked.push((name.to_owned(), text(&granted, name)));
        }
    }
    let start = find_command(&["stream", "copy"])?;
    first(session.client.ask(here, start, &asked)?).map(|row| text(&row, "job"))
}

/// Whether a row of `replica list` is that replica's.
fn is_of(row: &Row, replica: &StreamRef) -> bool {
    text(row, "replicaPath") == replica.to_string()
}

/// Waits until an autosetup has reached its steady state.
pub(crate) fn wait_for_setup(
    session: &Session,
    here: &KnownCluster,
    source: &StreamRef,
    replica: &StreamRef,
) -> Result<(), Refusal> {
    let list = find_command(&["stream", "replica", "list"])?;
    let asked = [("path".to_owned(), source.to_string())];
    let mut wait = Wait::new(session, format!("{source} → {replica}"));
    loop {
        match session.client.ask(here, list, &asked) {
            Ok(rows) => {
                let Some(row) = rows.iter().find(|row| is_of(row, replica)) else {
                    return Err(Error::not_found(format!("{replica} was removed meanwhile")).into());
                };
                wait.show(row, "copyTableCompletionPercentage");
                match text(row, "replicaState").as_str() {
                    "REPLICA_STATE_REPLICATING" => return Ok(()),
                    "REPLICA_STATE_UNEXPECTED" => {
                        let reason = failure(row);
                        return Err(reason.unwrap_or_else(|| {
                            Error::policy("the set-up was refused; see replica list").into()
                        }));
                    }
                    _ => {}
                }
            }
            Err(refusal) => wait.bear(refusal)?,
        }
        std::thread::sleep(POLL);
    }
}

/// The reason in a row's `errors`, if it has one.
fn failure(row: &Row) -> Option<Refusal> {
    let errors = row.get("errors")?.as_object()?;
    let message = errors.get("Msg")?.as_str()?.to_owned();
    let errno = errors.get("errno").and_then(Value::as_i64).unwrap_or(5);
    Some(Refusal { errno, message })
}

/// What is shown while something goes on, and how long silence is borne.
struct Wait<'a> {
    session: &'a Session,
    bar: ProgressBar,
    heard_ms: u64,
    /// Why nothing goes on, since when, and whether it was said.
    trouble: (String, u64, bool),
}

impl<'a> Wait<'a> {
    fn new(session: &'a Session, what: String) -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(100)
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {percent}% {elapsed}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        Self { session, bar, heard_ms: session.clock.monotonic_ms(), trouble: Default::default() }
    }

    fn show(&mut self, row: &Row, percent: &str) {
        self.heard_ms = self.session.clock.monotonic_ms();
        self.bar.set_position(row.get(percent).and_then(Value::as_u64).unwrap_or(0));
        let message = failure(row).map(|refusal| refusal.message).unwrap_or_default();
        self.tell(message);
    }

    /// Goes on waiting for a server that is away, for a while.
    fn bear(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        let away_ms = self.session.clock.monotonic_ms() - self.heard_ms;
        if !refusal.is_unreachable() || away_ms > AWAY_MS_MAX {
            return Err(refusal);
        }
        self.tell(refusal.message);
        Ok(())
    }

    /// Says why nothing goes on, once, and only when it lasts.
    fn tell(&mut self, message: String) {
        let now_ms = self.session.clock.monotonic_ms();
        if self.trouble.0 != message {
            self.trouble = (message, now_ms, false);
        }
        let (message, since_ms, said) = &mut self.trouble;
        if !*said && !message.is_empty() && now_ms - *since_ms >= TROUBLE_MS_MIN {
            self.bar.println(format!("waiting: {message}"));
            *said = true;
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
