//! What people see: text tables, JSON as the original prints it, errors in one line.

use std::io::Write;
use std::process::ExitCode;

use mainstem_api::{CommandSpec, Envelope, Failure, Row};
use mainstem_types::Error;

use crate::argv::Presentation;
use crate::brief::brief;
use crate::client::Refusal;
use crate::table::{columns_of, listing, render};

/// What a command says, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// Whether the command did what it was asked.
    pub ok: bool,
    /// What the process exits with: 0 if it did, else 1, unless the command has a say.
    pub exit: u8,
    /// It is to be printed again and again, so many seconds apart.
    pub watch_seconds: Option<u64>,
    /// The first line names columns.
    pub has_header: bool,
}

impl Printed {
    pub(crate) fn text(text: String) -> Self {
        Self {
            out: text,
            err: String::new(),
            ok: true,
            exit: 0,
            watch_seconds: None,
            has_header: false,
        }
    }

    /// As JSON, or as a table; or as one line for each value, where a table is wider than the
    /// terminal.
    pub(crate) fn rows(
        command: &CommandSpec,
        now_ms: i64,
        rows: Vec<Row>,
        presentation: Presentation,
        terminal_columns: Option<usize>,
    ) -> Self {
        if presentation.json {
            return Self::text(Envelope { timestamp: now_ms, outcome: Ok(rows) }.to_json() + "\n");
        }
        let table = render(&columns_of(&rows), &rows, presentation.no_header);
        let width = table.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        let narrow = terminal_columns.filter(|columns| width > *columns);
        let table = match narrow {
            None => Some(table),
            Some(_) if presentation.long => None,
            Some(columns) => brief(command, &rows, presentation.no_header, columns),
        };
        let has_header = table.is_some() && !presentation.no_header && !rows.is_empty();
        Self { has_header, ..Self::text(table.unwrap_or_else(|| listing(&rows))) }
    }

    /// `ERROR (22) -  message`, in one line.
    pub(crate) fn refusal(now_ms: i64, refusal: &Refusal, presentation: Presentation) -> Self {
        let line = refusal.message.split_whitespace().collect::<Vec<_>>().join(" ");
        if presentation.json {
            let failure = Failure { id: refusal.errno, desc: line };
            let envelope = Envelope { timestamp: now_ms, outcome: Err(vec![failure]) };
            return Self { ok: false, exit: 1, ..Self::text(envelope.to_json() + "\n") };
        }
        let err = format!("ERROR ({}) -  {line}\n", refusal.errno);
        Self { err, ok: false, exit: 1, ..Self::text(String::new()) }
    }

    /// Prints it; what cannot be printed (a closed pipe) is nobody's concern.
    pub(crate) fn print(&self) -> ExitCode {
        let _ = std::io::stdout().write_all(self.out.as_bytes());
        let _ = std::io::stderr().write_all(self.err.as_bytes());
        self.exit.into()
    }
}

/// Says why something failed, as all commands do, and gives the exit code for it.
pub fn report(error: &Error) -> ExitCode {
    Printed::refusal(0, &error.clone().into(), Presentation::default()).print()
}

/// A header line and the rows, one column for each of these keys; nothing when there are no rows.
pub fn table(columns: &[&str], rows: &[Row]) -> String {
    render(columns, rows, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn rows_become_a_table() {
        let row = |value: Value| value.as_object().unwrap().clone();
        let rows = [
            row(json!({"cluster": "newyork", "idx": 1, "paused": true})),
            row(json!({"cluster": "la", "idx": 12, "errors": {"Code": "X", "Msg": "m"}})),
        ];
        let columns = columns_of(&rows);
        let text = table(&columns, &rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "cluster  idx  paused  errors");
        assert_eq!(lines[1], "newyork  1    true");
        assert_eq!(lines[2], "la       12           Code: X; Msg: m");
        assert_eq!(render(&columns, &rows, true).lines().count(), 2);
        assert_eq!(table(&columns, &[]), "");

        let command = mainstem_api::find_command(&["stream", "info"]).unwrap();
        let shown = |columns| {
            Printed::rows(command, 0, rows.to_vec(), Presentation::default(), Some(columns)).out
        };
        let narrow = shown(20);
        let lines: Vec<&str> = narrow.lines().collect();
        assert_eq!(lines[..4], ["cluster  newyork", "idx      1", "paused   true", ""]);
        assert_eq!(shown(200), text);
    }
}
