//! What people see: text tables, JSON as the original prints it, errors in one line.

use std::io::Write;
use std::process::ExitCode;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use mainstem_api::{Envelope, Failure, Row};
use mainstem_types::Error;
use serde_json::Value;

use crate::argv::Presentation;
use crate::client::Refusal;

/// What a command says, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// Whether the command did what it was asked.
    pub ok: bool,
}

impl Printed {
    pub(crate) fn text(text: String) -> Self {
        Self { out: text, err: String::new(), ok: true }
    }

    /// As JSON, or as a table; or as one line for each value, where a table is wider than the
    /// terminal.
    pub(crate) fn rows(
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
        let fits = terminal_columns.is_none_or(|columns| width <= columns);
        Self::text(if fits { table } else { listing(&rows) })
    }

    /// `ERROR (22) -  message`, in one line.
    pub(crate) fn refusal(now_ms: i64, refusal: &Refusal, presentation: Presentation) -> Self {
        let line = refusal.message.split_whitespace().collect::<Vec<_>>().join(" ");
        if presentation.json {
            let failure = Failure { id: refusal.errno, desc: line };
            let envelope = Envelope { timestamp: now_ms, outcome: Err(vec![failure]) };
            return Self { ok: false, ..Self::text(envelope.to_json() + "\n") };
        }
        let err = format!("ERROR ({}) -  {line}\n", refusal.errno);
        Self { out: String::new(), err, ok: false }
    }

    /// Prints it; what cannot be printed (a closed pipe) is nobody's concern. 0 or 1.
    pub(crate) fn print(&self) -> ExitCode {
        let _ = std::io::stdout().write_all(self.out.as_bytes());
        let _ = std::io::stderr().write_all(self.err.as_bytes());
        if self.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

/// All keys of all rows, in the order of their first appearance.
fn columns_of(rows: &[Row]) -> Vec<&str> {
    let mut columns: Vec<&str> = Vec::new();
    for key in rows.iter().flat_map(Row::keys) {
        if !columns.contains(&key.as_str()) {
            columns.push(key);
        }
    }
    columns
}

fn render(columns: &[&str], rows: &[Row], no_header: bool) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    if !no_header {
        table.set_header(columns);
    }
    for row in rows {
        table.add_row(columns.iter().map(|column| cell(row.get(*column))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// A line for each value, and an empty one between rows.
fn listing(rows: &[Row]) -> String {
    let width = rows.iter().flat_map(Row::keys).map(|key| key.chars().count()).max().unwrap_or(0);
    let line = |(key, value): (&String, &Value)| {
        format!("{key:width$}  {}", cell(Some(value))).trim_end().to_owned() + "\n"
    };
    let blocks = rows.iter().map(|row| row.iter().map(line).collect::<String>());
    blocks.collect::<Vec<_>>().join("\n")
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.is_empty() => String::new(),
        Some(Value::Object(parts)) => {
            let parts = parts.iter().map(|(key, value)| format!("{key}: {}", cell(Some(value))));
            parts.collect::<Vec<_>>().join("; ")
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

        let narrow = Printed::rows(0, rows.to_vec(), Presentation::default(), Some(20)).out;
        let lines: Vec<&str> = narrow.lines().collect();
        assert_eq!(lines[..4], ["cluster  newyork", "idx      1", "paused   true", ""]);
        let wide = Printed::rows(0, rows.to_vec(), Presentation::default(), Some(200)).out;
        assert_eq!(wide, text);
    }
}
