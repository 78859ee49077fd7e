//! Waiting for what servers copy, with a bar on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mainstem_api::{Row, find_command};
use mainstem_env::Clock;
use mainstem_types::{Error, StreamRef};
use serde_json::Value;

use crate::client::Refusal;
use crate::clusters::KnownCluster;
use crate::session::{Session, text};

/// How often a server is asked.
pub(crate) const POLL: Duration = Duration::from_millis(200);
/// Trouble that passes sooner is not worth a line.
const TROUBLE_MS_MIN: u64 = 2_000;
/// Between two lines that say how far it is.
const PROGRESS_MS: u64 = 5_000;
/// How long a server may be away before waiting is given up.
const AWAY_MS_MAX: u64 = 60_000;

/// Whether a row of `replica list` is that replica's.
pub(crate) fn is_of(row: &Row, replica: &StreamRef) -> bool {
    text(row, "replicaPath") == replica.to_string()
}

/// Waits until an autosetup has reached its steady state.
pub(crate) fn wait_for_setup(
    session: &Session,
    here: &KnownCluster,
    source: &StreamRef,
    replica: &StreamRef,
) -> Result<(), Refusal> {
    let steady = wait_for_row(session, here, (source, replica), "→", |_, row| {
        match text(row, "replicaState").as_str() {
            "REPLICA_STATE_REPLICATING" => Some(Ok(())),
            "REPLICA_STATE_UNEXPECTED" => {
                let refused = || Error::policy("the set-up was refused; see replica list").into();
                Some(Err(failure(row).unwrap_or_else(refused)))
            }
            _ => None,
        }
    });
    steady.map(drop)
}

/// Shows a replica's progress until `end` finds that its row tells the end, and gives that row.
pub(crate) fn wait_for_row(
    session: &Session,
    here: &KnownCluster,
    (source, replica): (&StreamRef, &StreamRef),
    arrow: &str,
    mut end: impl FnMut(&mut Wait<'_>, &Row) -> Option<Result<(), Refusal>>,
) -> Result<Row, Refusal> {
    let list = find_command(&["stream", "replica", "list"])?;
    let asked = [("path".to_owned(), source.to_string())];
    let mut wait = Wait::new(session, format!("{source} {arrow} {replica}"));
    loop {
        match session.client.ask(here, list, &asked) {
            Ok(rows) => {
                let Some(row) = rows.iter().find(|row| is_of(row, replica)) else {
                    return Err(Error::not_found(format!("{replica} was removed meanwhile")).into());
                };
                wait.show(row, "copyTableCompletionPercentage");
                if let Some(end) = end(&mut wait, row) {
                    return end.map(|()| row.clone());
                }
            }
            Err(refusal) => wait.bear(refusal)?,
        }
        std::thread::sleep(POLL);
    }
}

/// The reason in a row's `errors`, if it has one.
pub(crate) fn failure(row: &Row) -> Option<Refusal> {
    let errors = row.get("errors")?.as_object()?;
    let message = errors.get("Msg")?.as_str()?.to_owned();
    let errno = errors.get("errno").and_then(Value::as_i64).unwrap_or(5);
    Some(Refusal { errno, message })
}

/// How far something is that this side does itself.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar on a terminal, nothing elsewhere.
    pub(crate) fn new(what: String, total: u64) -> Self {
        Self(bar(what, total))
    }

    pub(crate) fn advance(&self, by: u64) {
        self.0.inc(by);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn bar(what: String, total: u64) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(total)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {percent}% {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what);
    bar
}

/// What is shown while something goes on, and how long silence is borne.
pub(crate) struct Wait<'a> {
    session: &'a Session,
    bar: ProgressBar,
    heard_ms: u64,
    told_ms: u64,
    /// Why nothing goes on, since when, and whether it was said.
    trouble: (String, u64, bool),
}

impl<'a> Wait<'a> {
    pub(crate) fn new(session: &'a Session, what: String) -> Self {
        let bar = bar(what, 100);
        let now_ms = session.clock.monotonic_ms();
        Self { session, bar, heard_ms: now_ms, told_ms: now_ms, trouble: Default::default() }
    }

    pub(crate) fn show(&mut self, row: &Row, percent: &str) {
        self.heard_ms = self.session.clock.monotonic_ms();
        self.bar.set_position(row.get(percent).and_then(Value::as_u64).unwrap_or(0));
        let message = failure(row).map(|refusal| refusal.message).unwrap_or_default();
        self.tell(message);
    }

    /// Says how far it is now and then, on a terminal or not: what takes long stops writes.
    pub(crate) fn tell_progress(&mut self, message: &str) {
        let now_ms = self.session.clock.monotonic_ms();
        if now_ms - self.told_ms < PROGRESS_MS {
            return;
        }
        self.told_ms = now_ms;
        let line = format!("{}: {message}", self.bar.message());
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// Goes on waiting for a server that is away, for a while.
    pub(crate) fn bear(&mut self, refusal: Refusal) -> Result<(), Refusal> {
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
