//! `stream replica verify`, which the servers of both clusters carry out.

use mainstem_api::{CommandSpec, Row, find_command};
use serde_json::Value;

use crate::client::Refusal;
use crate::clusters::KnownCluster;
use crate::session::{Session, first, stream, text};
use crate::wait::{POLL, Wait, failure};

/// The exit code when two streams are not the same,
pub(crate) const DIFFERENT: u8 = 1;
/// and when that could not be told.
pub(crate) const UNKNOWN: u8 = 2;

/// Starts the comparison, waits for its end, and gives a row for each partition and an exit code.
pub(crate) fn verify_replica(
    session: &Session,
    here: &KnownCluster,
    command: &CommandSpec,
    pairs: &[(String, String)],
) -> Result<(Vec<Row>, u8), Refusal> {
    let (source, replica) = (stream(pairs, "path")?, stream(pairs, "replica")?);
    let begin = || first(session.client.ask(here, command, pairs)?).map(|row| text(&row, "job"));
    let status = find_command(&["stream", "replica", "verify", "status"])?;
    let mut job = begin()?;
    let mut wait = Wait::new(session, format!("{source} = {replica}"));
    loop {
        let asked = [("job".to_owned(), job.clone())];
        match session.client.ask(here, status, &asked).and_then(first) {
            Ok(mut row) => {
                wait.show(&row, "percent");
                if row.get("finished") == Some(&Value::Bool(true)) {
                    return match failure(&row) {
                        Some(refusal) => Err(refusal),
                        None => Ok(judged(rows(&mut row))),
                    };
                }
            }
            // The server was started anew: begin again.
            Err(refusal) if refusal.is_not_found() => job = begin()?,
            Err(refusal) => wait.bear(refusal)?,
        }
        std::thread::sleep(POLL);
    }
}

fn rows(status: &mut Row) -> Vec<Row> {
    let Some(Value::Array(rows)) = status.remove("partitions") else { return Vec::new() };
    let row = |row| if let Value::Object(row) = row { Some(row) } else { None };
    rows.into_iter().filter_map(row).collect()
}

fn judged(rows: Vec<Row>) -> (Vec<Row>, u8) {
    let any = |status: &str| rows.iter().any(|row| text(row, "status") == status);
    let code = match (any("different"), any("unknown")) {
        (true, _) => DIFFERENT,
        (false, true) => UNKNOWN,
        (false, false) => 0,
    };
    (rows, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_difference_outweighs_what_could_not_be_told() {
        let row = |status: &str| Row::from_iter([("status".to_owned(), Value::from(status))]);
        let code = |all: &[&str]| judged(all.iter().map(|status| row(status)).collect()).1;
        assert_eq!(code(&[]), 0);
        assert_eq!(code(&["identical", "identical"]), 0);
        assert_eq!(code(&["identical", "unknown"]), UNKNOWN);
        assert_eq!(code(&["unknown", "different"]), DIFFERENT);
    }
}
