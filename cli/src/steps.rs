//! What takes more than one question: this side reaches both clusters, and tells the one what it
//! learnt from the other.

use mainstem_api::{CommandSpec, Row, find_command};
use mainstem_types::{Error, StreamRef};

use crate::client::Refusal;
use crate::clusters::KnownCluster;
use crate::handover::{tell_synchrony, wait_for_handover};

use crate::session::{Session, first, info, plain, stream, text, value};
use crate::wait::wait_for_setup;

type Pairs = Vec<(String, String)>;

/// Adds what the command's server cannot know.
pub(crate) fn prepare(
    session: &Session,
    here: &KnownCluster,
    command: &CommandSpec,
    pairs: &mut Pairs,
) -> Result<(), Refusal> {
    match command.words {
        ["stream", "create"] => {
            copy_meta(session, here, command, pairs)?;
            if let Some(user) = user() {
                set(pairs, "creator", user);
            }
        }
        ["stream", "replica", "add"] => {
            let (source, replica) = (stream(pairs, "path")?, stream(pairs, "replica")?);
            check_pair(&source, &replica)?;
            session.cluster_of(&replica)?;
            let found = info(session, &replica).map_err(|refusal| {
                if !refusal.is_not_found() {
                    return refusal;
                }
                Error::not_found(format!(
                    "{replica} is not a valid stream; create it with `maprcli stream create -path \
                     {replica} -copymetafrom {source}`"
                ))
                .into()
            })?;
            set(pairs, "replicauuid", text(&found, "uuid"));
        }
        ["stream", "upstream", "add"] => {
            let (replica, source) = (stream(pairs, "path")?, stream(pairs, "upstream")?);
            check_pair(&source, &replica)?;
            match info(session, &source) {
                Ok(found) => set(pairs, "upstreamuuid", text(&found, "uuid")),
                // The uuid is pinned at the first Hello then.
                Err(refusal) if refusal.is_unreachable() => {}
                Err(refusal) => return Err(refusal),
            }
        }
        ["stream", "replica", "autosetup"] => obtain_grant(session, pairs)?,
        ["stream", "replica", "failback"] if !is_dry(pairs) => {
            let (owner, old) = (stream(pairs, "path")?, stream(pairs, "replica")?);
            check_pair(&owner, &old)?;
            let existing = vec![("useexistingreplica".to_owned(), "true".to_owned())];
            let granted = ask_grant(session, &owner, &old, existing)?;
            set(pairs, "replicauuid", text(&granted, "replicauuid"));
            set(pairs, "grant", text(&granted, "grant"));
        }
        _ => {}
    }
    Ok(())
}

/// Waits for what the command began, when it was asked to.
pub(crate) fn follow(
    session: &Session,
    here: &KnownCluster,
    command: &CommandSpec,
    pairs: &Pairs,
    rows: &mut [Row],
) -> Result<(), Refusal> {
    let autosetup = command.words == ["stream", "replica", "autosetup"];
    let by_client = value(pairs, "directcopy").is_some_and(|v| v.eq_ignore_ascii_case("false"));
    if autosetup && by_client {
        let (source, replica) = (stream(pairs, "path")?, stream(pairs, "replica")?);
        wait_for_setup(session, here, &source, &replica)?;
    }
    if let ["stream", "replica", verb @ ("switchover" | "failback")] = command.words
        && let Some(answer) = rows.first_mut()
    {
        let (owner, replica) = (stream(pairs, "path")?, stream(pairs, "replica")?);
        let pair = (&owner, &replica);
        if !is_dry(pairs) {
            wait_for_handover(session, here, pair, answer)?;
        }
        tell_synchrony(session, pair, *verb == "failback", answer);
    }
    Ok(())
}

fn is_dry(pairs: &Pairs) -> bool {
    value(pairs, "dryrun").is_some_and(|given| given.eq_ignore_ascii_case("true"))
}

/// `-copymetafrom` another cluster: its settings become flags, unless given here.
fn copy_meta(
    session: &Session,
    here: &KnownCluster,
    command: &CommandSpec,
    pairs: &mut Pairs,
) -> Result<(), Refusal> {
    if value(pairs, "copymetafrom").is_none() {
        return Ok(());
    }
    let from = stream(pairs, "copymetafrom")?;
    if session.cluster_of(&from)?.name == here.name {
        return Ok(());
    }
    let found = info(session, &from)?;
    pairs.retain(|(name, _)| name != "copymetafrom");
    let as_flags =
        [("mincompactionlagms", "mincompactionlag"), ("deleteretentionms", "deleteretention")];
    for (key, found) in &found {
        let renamed = as_flags.iter().find(|(shown, _)| shown == key).map(|(_, flag)| *flag);
        let name = renamed.unwrap_or(key);
        let is_setting = command.flag(name).is_some() && name != "path" && name != "cluster";
        if is_setting && value(pairs, name).is_none() {
            set(pairs, name, plain(found));
        }
    }
    Ok(())
}

fn obtain_grant(session: &Session, pairs: &mut Pairs) -> Result<(), Refusal> {
    let (source, replica) = (stream(pairs, "path")?, stream(pairs, "replica")?);
    check_pair(&source, &replica)?;
    let mut flags = Vec::new();
    for flag in ["multimaster", "useexistingreplica"] {
        if let Some(given) = value(pairs, flag) {
            flags.push((flag.to_owned(), given.to_owned()));
        }
    }
    let granted = ask_grant(session, &source, &replica, flags)?;
    set(pairs, "replicauuid", text(&granted, "replicauuid"));
    set(pairs, "grant", text(&granted, "grant"));
    Ok(())
}

/// What the replica's cluster lets a job of the source's do.
pub(crate) fn ask_grant(
    session: &Session,
    source: &StreamRef,
    replica: &StreamRef,
    flags: Pairs,
) -> Result<Row, Refusal> {
    let there = session.cluster_of(replica)?;
    let found = info(session, source)?;
    let mut asked = vec![
        ("path".to_owned(), replica.to_string()),
        ("source".to_owned(), source.to_string()),
        ("sourceuuid".to_owned(), text(&found, "uuid")),
    ];
    asked.extend(flags);
    let command = find_command(&["stream", "grant"])?;
    first(session.client.ask(there, command, &asked)?)
}

fn check_pair(source: &StreamRef, replica: &StreamRef) -> Result<(), Error> {
    if source == replica {
        return Err(Error::invalid(format!(
            "{source} cannot be replicated to itself; name another stream"
        )));
    }
    Ok(())
}

fn set(pairs: &mut Pairs, name: &str, value: String) {
    pairs.retain(|(flag, _)| flag != name);
    if !value.is_empty() || name.ends_with("perm") {
        pairs.push((name.to_owned(), value));
    }
}

/// Who is asking, for permissions that default to the creator.
fn user() -> Option<String> {
    let named = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    named.filter(|name| !name.is_empty())
}
