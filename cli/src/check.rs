//! `stream replica check`: its one line, and its exit code.

use mainstem_api::{Envelope, Row};
use serde_json::Value;

use crate::argv::Presentation;
use crate::output::Printed;
use crate::session::text;

pub(crate) const WORDS: [&str; 3] = ["stream", "replica", "check"];
/// Something is wrong, or nobody can tell.
pub(crate) const BROKEN: u8 = 2;

/// The line that the server gave, or all that it gave; and the exit code that it names.
pub(crate) fn printed(now_ms: i64, rows: Vec<Row>, presentation: Presentation) -> Printed {
    let row = rows.first();
    let code = row.and_then(|row| row.get("exitcode")).and_then(Value::as_u64);
    let exit = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(BROKEN);
    let out = if presentation.json {
        Envelope { timestamp: now_ms, outcome: Ok(rows) }.to_json()
    } else {
        row.map(|row| text(row, "message")).unwrap_or_default()
    };
    Printed { ok: exit == 0, exit, ..Printed::text(out + "\n") }
}
