//! Switch-over and failback as this side sees them: it waits for the end, and knows both halves of
//! the agreement, each of which only its own cluster tells.

use mainstem_api::{Row, find_command};
use mainstem_env::Clock;
use mainstem_types::{Error, StreamRef};
use serde_json::{Value, json};

use crate::client::Refusal;
use crate::clusters::KnownCluster;
use crate::session::{Session, text};
use crate::wait::{failure, is_of, wait_for_row};

/// How long the link may take to report again once the owner has changed.
const REPORT_MS: u64 = 3_000;
/// What was true of the link when the hand-over began, and is not any more.
const OF_LINK: [&str; 3] = ["connected", "putsPending", "bytesPending"];

/// Waits until it is decided who owns a stream's topics, and says in the answer how it is then.
pub(crate) fn wait_for_handover(
    session: &Session,
    here: &KnownCluster,
    pair: (&StreamRef, &StreamRef),
    answer: &mut Row,
) -> Result<(), Refusal> {
    let job = text(answer, "job");
    let mut done_ms = None;
    let last = wait_for_row(session, here, pair, "⇒", |wait, row| {
        let end = end(row, &job);
        if end.is_none() {
            wait.tell_progress(&progress(row, &job));
        }
        let now_ms = session.clock.monotonic_ms();
        match end {
            Some(Ok(())) if !is_connected(row) => {
                let since_ms = *done_ms.get_or_insert(now_ms);
                (now_ms - since_ms >= REPORT_MS).then_some(Ok(()))
            }
            end => end,
        }
    })?;
    for key in OF_LINK {
        match last.get(key).filter(|_| is_connected(&last)) {
            Some(value) => answer.insert(key.to_owned(), value.clone()),
            // Nothing is known of it yet.
            None => answer.shift_remove(key),
        };
    }
    Ok(())
}

fn is_connected(row: &Row) -> bool {
    row.get("connected") == Some(&Value::Bool(true))
}

/// What a row tells of the hand-over of this job.
fn handover<'a>(row: &'a Row, job: &str) -> Option<&'a Row> {
    let told = row.get("handover").and_then(Value::as_object);
    told.filter(|handover| handover.get("job").and_then(Value::as_str) == Some(job))
}

/// How the hand-over of this job ended, if it has, or if it does not end by itself.
fn end(row: &Row, job: &str) -> Option<Result<(), Refusal>> {
    let Some(handover) = handover(row, job) else {
        // It has not begun; or the job before it was refused.
        let refused = text(row, "replicaState") == "REPLICA_STATE_UNEXPECTED";
        return refused.then(|| {
            let unknown = || Error::policy("it was refused; see `stream replica list`").into();
            Err(failure(row).unwrap_or_else(unknown))
        });
    };
    let why = handover.get("error").and_then(Value::as_str);
    match handover.get("state").and_then(Value::as_str) {
        Some("done") => Some(Ok(())),
        Some("taken back") => Some(Err(Error::policy(why.unwrap_or("it was taken back")).into())),
        // Its owner says why when the replica has not answered in time.
        Some("offered") => why.map(|why| Err(Error::unreachable(why).into())),
        _ => None,
    }
}

/// How far it is.
fn progress(row: &Row, job: &str) -> String {
    let pending = text(row, "putsPending");
    match handover(row, job).map(|handover| text(handover, "state")).as_deref() {
        None => format!("{} % copied", text(row, "copyTableCompletionPercentage")),
        Some("offered") => "it was offered, and has not answered yet".to_owned(),
        Some(_) => format!("writes wait, {pending} records are pending"),
    }
}

/// Says in the answer if acknowledgements wait for the other side as long as one of them is the
/// owner, and not once the other is.
pub(crate) fn tell_synchrony(
    session: &Session,
    (owner, replica): (&StreamRef, &StreamRef),
    is_failback: bool,
    answer: &mut Row,
) {
    let forward = half(session, owner, replica);
    let back = half(session, replica, owner);
    if let Some(told) = synchrony(owner, replica, (forward, back), is_failback) {
        let before = text(answer, "warning");
        let all = if before.is_empty() { told } else { format!("{before}; {told}") };
        answer.insert("warning".to_owned(), json!(all));
    }
}

/// One half of an agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Unknown,
    Absent,
    Synchronous,
    Asynchronous,
}

fn half(session: &Session, source: &StreamRef, replica: &StreamRef) -> Half {
    let rows = session.cluster_of(source).map_err(Refusal::from).and_then(|there| {
        let list = find_command(&["stream", "replica", "list"])?;
        session.client.ask(there, list, &[("path".to_owned(), source.to_string())])
    });
    let Ok(rows) = rows else { return Half::Unknown };
    match rows.iter().find(|row| is_of(row, replica)).map(|row| text(row, "synchronous")) {
        None => Half::Absent,
        Some(told) if told == "true" => Half::Synchronous,
        Some(_) => Half::Asynchronous,
    }
}

fn synchrony(
    owner: &StreamRef,
    replica: &StreamRef,
    halves: (Half, Half),
    is_failback: bool,
) -> Option<String> {
    let waits = |at: &StreamRef, of: &StreamRef| {
        format!("acknowledgements of {at} wait for {of}, as that half is synchronous")
    };
    let one_sided = |at: &StreamRef, of: &StreamRef, by: &str| {
        format!(
            "{}, and those of {of} will not wait for {at}, as the other is declared \
             asynchronous{by}; to have them wait, run afterwards `maprcli stream replica edit \
             -path {of} -replica {at} -synchronous true`",
            waits(at, of)
        )
    };
    match halves {
        (Half::Synchronous, Half::Asynchronous) => Some(one_sided(owner, replica, "")),
        (Half::Synchronous, Half::Unknown) => Some(format!(
            "{}; whether those of {replica} will wait for {owner} could not be learned: see \
             `synchronous` in `maprcli stream replica list -path {replica}`, and set it by \
             `maprcli stream replica edit -path {replica} -replica {owner} -synchronous true`",
            waits(owner, replica)
        )),
        (Half::Asynchronous | Half::Absent, Half::Synchronous) if is_failback => {
            // What a failback declares itself is asynchronous.
            let by = if halves.0 == Half::Absent { " by this command" } else { "" };
            Some(one_sided(replica, owner, by))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Value) -> Row {
        let Value::Object(row) = value else { panic!("{value} is no row") };
        row
    }

    fn told(state: &str, error: Option<&str>) -> Row {
        row(json!({"handover": {"job": "7", "state": state, "error": error}}))
    }

    #[test]
    fn a_hand_over_that_hangs_ends_the_waiting_and_one_that_may_be_answered_does_not() {
        assert!(end(&told("draining", None), "7").is_none());
        assert!(end(&told("offered", None), "7").is_none());
        assert!(end(&told("offered", Some("no answer")), "6").is_none(), "another's");
        assert_eq!(end(&told("done", None), "7").unwrap().map_err(|r| r.message), Ok(()));
        for state in ["offered", "taken back"] {
            let refusal = end(&told(state, Some("no answer")), "7").unwrap().unwrap_err();
            assert_eq!(refusal.message, "no answer", "{state}");
        }
    }

    #[test]
    fn it_is_told_how_far_it_is() {
        let copying = row(json!({"copyTableCompletionPercentage": 40}));
        assert_eq!(progress(&copying, "7"), "40 % copied");
        let mut draining = told("draining", None);
        draining.insert("putsPending".to_owned(), json!(9));
        assert_eq!(progress(&draining, "7"), "writes wait, 9 records are pending");
        assert!(progress(&told("offered", None), "7").contains("not answered yet"));
    }

    #[test]
    fn a_half_that_is_not_waited_for_is_told_with_the_command_that_changes_it() {
        let (a, b): (StreamRef, StreamRef) =
            ("/mapr/sf/a".parse().unwrap(), "/mapr/ny/a".parse().unwrap());
        let told = |halves, failback| synchrony(&a, &b, halves, failback).unwrap_or_default();
        let one_sided = told((Half::Synchronous, Half::Asynchronous), false);
        let edit = "`maprcli stream replica edit -path /mapr/ny/a -replica /mapr/sf/a -synchronous";
        assert!(one_sided.contains(edit), "{one_sided}");
        let unknown = told((Half::Synchronous, Half::Unknown), false);
        assert!(unknown.contains("could not be learned") && unknown.contains(edit), "{unknown}");
        let back = told((Half::Absent, Half::Synchronous), true);
        let edit = "`maprcli stream replica edit -path /mapr/sf/a -replica /mapr/ny/a -synchronous";
        assert!(back.contains("by this command") && back.contains(edit), "{back}");
        for halves in [
            (Half::Synchronous, Half::Synchronous),
            (Half::Asynchronous, Half::Asynchronous),
            (Half::Synchronous, Half::Absent),
            (Half::Asynchronous, Half::Synchronous),
        ] {
            assert_eq!(told(halves, false), "", "{halves:?}");
        }
    }
}
