//! `mapr copystream`.

use mainstem_api::{CommandSpec, Flag, Kind, Method, Row, find_command};
use mainstem_types::{Error, StreamRef};
use serde_json::Value;

use crate::client::Refusal;
use crate::clusters::KnownCluster;
use crate::interrupt::LastWords;
use crate::session::{Session, first, name_clusters, stream, text};
use crate::steps::ask_grant;
use crate::wait::{POLL, Wait, failure, is_of};

/// A flag of a command that is carried out on this side.
pub(crate) const fn flag(
    name: &'static str,
    kind: Kind,
    required: bool,
    help: &'static str,
) -> Flag {
    Flag { name, kind, required, default: "", help, hidden: false }
}

/// `mapr copystream`, which the servers of both clusters carry out.
pub(crate) static COMMAND: CommandSpec = CommandSpec {
    words: &["copystream"],
    summary: "Copy what is in a stream into another, and wait for the end",
    about: "The servers copy; this side only waits. Interrupted, it says how to watch the copy, which \
            goes on, and how to end it; called again, it waits for the same. A destination \
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
        flag("numthreads", Kind::Int(1, 64), false, "partitions read at a time (default: 4)"),
    ],
    output: &[],
    example: "-src /mapr/sanfrancisco/activity -dst /mapr/newyork/activity",
    method: Method::Post,
    hidden: false,
};

/// Starts the copy and waits for its end.
pub(crate) fn copy_stream(
    session: &Session,
    mut pairs: Vec<(String, String)>,
) -> Result<Vec<Row>, Refusal> {
    let unnamed = session.clusters.first()?.name.clone();
    name_clusters(&COMMAND, &mut pairs, &unnamed)?;
    let (source, target) = (stream(&pairs, "src")?, stream(&pairs, "dst")?);
    if source == target {
        return Err(Error::invalid(format!("{source} cannot be copied into itself")).into());
    }
    let here = session.cluster_of(&source)?;
    session.cluster_of(&target)?;
    pairs.retain(|(name, _)| name == "numthreads");
    let begin = || begin(session, here, (&source, &target), &pairs);
    let status = find_command(&["stream", "copy", "status"])?;
    let mut job = begin()?;
    let _last_words = LastWords::new(goes_on(&source, &target))?;
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

/// What somebody who waits no longer has to know.
fn goes_on(source: &StreamRef, target: &StreamRef) -> String {
    format!(
        "the clusters go on with the copy; `maprcli stream replica list -path {source}` shows how \
         far it is, the same command waits for it again, and `maprcli stream replica remove -path \
         {source} -replica {target}` ends it, with the agreement if one is declared"
    )
}

/// Begins the copy, or joins it if it is under way, and gives its job. Where no agreement is
/// declared, the destination is asked for a grant: this side reaches both clusters.
fn begin(
    session: &Session,
    here: &KnownCluster,
    (source, target): (&StreamRef, &StreamRef),
    more: &[(String, String)],
) -> Result<String, Refusal> {
    let list = find_command(&["stream", "replica", "list"])?;
    let replicas = session.client.ask(here, list, &[("path".to_owned(), source.to_string())])?;
    let mut asked =
        vec![("src".to_owned(), source.to_string()), ("dst".to_owned(), target.to_string())];
    asked.extend_from_slice(more);
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
