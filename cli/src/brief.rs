//! What of a wide answer fits a terminal: a table of the columns that people look for first, and
//! beneath each row what is wrong with it.

use mainstem_api::{CommandSpec, Row, iso_time};
use serde_json::Value;

use crate::table::{cell, render};

/// The columns of a command's brief table, and the keys that are told beneath a row.
struct Brief {
    words: &'static [&'static str],
    columns: &'static [&'static str],
    beneath: &'static [&'static str],
}

const BRIEFS: &[Brief] = &[
    Brief {
        words: &["stream", "replica", "list"],
        columns: &[
            "replicaPath",
            "replicaState",
            "isUptodate",
            "lagSeconds",
            "putsPending",
            "recordsPerSecond",
        ],
        beneath: &["errors", "faults"],
    },
    Brief {
        words: &["stream", "upstream", "list"],
        columns: &[
            "cluster",
            "stream",
            "connected",
            "lagSeconds",
            "putsPending",
            "recordsPerSecond",
            "recordsReceived",
        ],
        beneath: &["errors", "faults"],
    },
    Brief {
        words: &["alarm", "list"],
        columns: &["alarm name", "entity", "alarm statechange time"],
        beneath: &["description"],
    },
];

/// The brief table, if the command has one and it fits.
pub(crate) fn brief(
    command: &CommandSpec,
    rows: &[Row],
    no_header: bool,
    terminal_columns: usize,
) -> Option<String> {
    let brief = BRIEFS.iter().find(|brief| brief.words == command.words)?;
    let shown: Vec<Row> = rows.iter().map(|row| plain(brief, row)).collect();
    let table = render(brief.columns, &shown, no_header);
    if table.lines().any(|line| line.chars().count() > terminal_columns) {
        return None;
    }
    let mut lines = table.lines();
    let mut text = String::new();
    if !no_header {
        text.extend(lines.next().map(|header| format!("{header}\n")));
    }
    for (line, row) in lines.zip(rows) {
        text += &format!("{line}\n");
        for key in brief.beneath {
            for said in said(row.get(*key)) {
                text += &beneath(&said, terminal_columns);
            }
        }
    }
    Some(text)
}

/// What a value says beneath a row: nothing, a sentence, or one for each of its items.
fn said(value: Option<&Value>) -> Vec<String> {
    let of_object = |parts: &Row| {
        let part = |key: &str| parts.get(key).map(|value| cell(Some(value)));
        let (code, message) = (part("Code").unwrap_or_default(), part("Msg").unwrap_or_default());
        match part("topic") {
            Some(topic) => format!("topic {topic} stopped: {code}: {message}"),
            None => format!("{code}: {message}"),
        }
    };
    match value {
        Some(Value::Object(parts)) => vec![of_object(parts)],
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_object).map(of_object).collect()
        }
        None | Some(Value::Null) => Vec::new(),
        Some(other) => vec![cell(Some(other))],
    }
}

/// Moments are told as people read them, states without what all of them begin with, and a paused
/// replica as one.
fn plain(brief: &Brief, row: &Row) -> Row {
    let shown = |key: &&str| {
        let value = match (*key, row.get(*key)) {
            ("alarm statechange time", Some(Value::Number(ms))) => {
                Value::from(iso_time(ms.as_i64().unwrap_or(0)))
            }
            ("replicaState", Some(state)) => {
                let state = cell(Some(state));
                let word = state.strip_prefix("REPLICA_STATE_").unwrap_or(&state);
                let is_paused = row.get("paused") == Some(&Value::Bool(true));
                Value::from(format!("{word}{}", if is_paused { ", paused" } else { "" }))
            }
            (_, value) => value.cloned().unwrap_or_default(),
        };
        ((*key).to_owned(), value)
    };
    brief.columns.iter().map(shown).collect()
}

/// Words in lines that fit, set in by two.
fn beneath(said: &str, columns: usize) -> String {
    const INDENT: usize = 2;
    let mut text = String::new();
    let mut used = columns;
    for word in said.split_whitespace() {
        let length = word.chars().count();
        if used + 1 + length > columns {
            text += if text.is_empty() { "" } else { "\n" };
            text += &" ".repeat(INDENT);
            used = INDENT + length;
        } else {
            text.push(' ');
            used += 1 + length;
        }
        text += word;
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use mainstem_api::find_command;
    use serde_json::json;

    use super::*;

    fn row(value: &Value) -> Row {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_columns_of_a_brief_table_are_the_commands_own() {
        for brief in BRIEFS {
            let command = find_command(brief.words).unwrap();
            for key in brief.columns.iter().chain(brief.beneath) {
                assert!(command.output.contains(key), "{key} of {}", command.name());
            }
        }
    }

    #[test]
    fn a_replica_in_trouble_fits_a_hundred_columns_and_says_why_beneath() {
        let command = find_command(&["stream", "replica", "list"]).unwrap();
        let mut replica = row(&json!({
            "replicaPath": "/mapr/newyork/activity",
            "replicaState": "REPLICA_STATE_CREATE_SCHEDULE",
            "paused": false,
            "isUptodate": false,
            "lagSeconds": 75.25,
            "putsPending": 1_234_567,
            "recordsPerSecond": 0.0,
            "errors": {"Code": "ErrAllGatewaysUnreachable", "Host": "sf", "Msg": "word ".repeat(30)},
            "faults": [],
            "uuid": "x".repeat(36),
        }));
        let text = brief(command, std::slice::from_ref(&replica), false, 100).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("replicaPath"), "{text}");
        assert!(lines[1].contains("CREATE_SCHEDULE  false"), "{text}");
        assert!(lines[2].starts_with("  ErrAllGatewaysUnreachable: word word"), "{text}");
        assert!(lines[3].starts_with("  word"), "{text}");
        assert_eq!(brief(command, std::slice::from_ref(&replica), false, 40), None);

        replica.insert("replicaState".to_owned(), json!("REPLICA_STATE_REPLICATING"));
        replica.insert("paused".to_owned(), json!(true));
        replica.remove("errors");
        let text = brief(command, std::slice::from_ref(&replica), true, 100).unwrap();
        assert!(text.contains("REPLICATING, paused") && text.lines().count() == 1, "{text}");
        replica.insert(
            "faults".to_owned(),
            json!([{"topic": "t", "partition": null, "Code": "ErrTopicConflict", "Msg": "two owners"}]),
        );
        let text = brief(command, &[replica], true, 100).unwrap();
        assert!(text.ends_with("\n  topic t stopped: ErrTopicConflict: two owners\n"), "{text}");
        let info = find_command(&["stream", "info"]).unwrap();
        assert_eq!(brief(info, &[], false, 100), None);
    }

    #[test]
    fn alarms_are_told_with_their_time_and_what_to_do() {
        let command = find_command(&["alarm", "list"]).unwrap();
        let alarm = row(&json!({
            "alarm state": 1,
            "description": "do this, then that",
            "entity": "/activity",
            "alarm name": "VOLUME_ALARM_TABLE_REPL_LAG_HIGH",
            "alarm statechange time": 1_700_000_000_000_i64,
        }));
        let text = brief(command, &[alarm], false, 100).unwrap();
        assert!(text.contains("LAG_HIGH  /activity  2023-11-14T22:13:20"), "{text}");
        assert!(text.ends_with("\n  do this, then that\n"), "{text}");
    }
}
