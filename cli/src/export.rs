//! `mapr exportstream`.

use std::path::{Path, PathBuf};

use mainstem_api::{CommandSpec, Kind as FlagKind, Method, Row};
use mainstem_types::Error;
use serde_json::json;

use crate::client::Refusal;
use crate::copy::flag;
use crate::kept_file::KeptWriter;
use crate::manifest::{FileEntry, Kind, Manifest, failed, file_name};
use crate::pages::Pages;
use crate::session::{Session, name_clusters, stream, value};
use crate::wait::Bar;

/// `mapr exportstream`.
pub(crate) static COMMAND: CommandSpec = CommandSpec {
    words: &["exportstream"],
    summary: "Write what a stream keeps into a directory",
    about: "The directory holds manifest.json (settings, topics with their uuids, owners, terms and \
            lineages, ranges, checksums) and a file of batches for each partition, byte for byte \
            with their offsets and epochs. Interrupted, or given again later for the same stream, \
            it goes on where each file ends. `mapr importstream` reads it, also to seed a replica.",
    flags: &[
        flag("src", FlagKind::Stream, true, "the stream to export"),
        flag("dst", FlagKind::Text, true, "the directory; made if it is not there"),
        flag("mapreduce", FlagKind::Bool, false, "taken for old scripts; only false is served"),
    ],
    output: &["topics", "partitions", "batches", "bytes"],
    example: "-src /mapr/sanfrancisco/activity -dst activity.export",
    method: Method::Get,
    hidden: false,
};

/// Exports the stream, or goes on with that.
pub(crate) fn export_stream(
    session: &Session,
    mut pairs: Vec<(String, String)>,
) -> Result<Vec<Row>, Refusal> {
    name_clusters(&COMMAND, &mut pairs, &session.clusters.first()?.name.clone())?;
    let source = stream(&pairs, "src")?;
    let folder = PathBuf::from(value(&pairs, "dst").unwrap_or_default());
    let mut manifest = Manifest::ask(session, &source)?;
    let before = open_folder(&folder, &manifest)?;
    manifest.save(&folder)?;
    let span = |from: i64, to: i64| u64::try_from(to - from).unwrap_or(0);
    let partitions = manifest.topics.iter().flat_map(|topic| &topic.partitions);
    let total = partitions.map(|partition| span(partition.log_start, partition.end)).sum();
    let bar = Bar::new(format!("{source} → {}", folder.display()), total);
    let mut sum = FileEntry::default();
    for topic in &mut manifest.topics {
        let known = before.as_ref().and_then(|before| before.topic(&topic.name));
        // A topic that was made anew under its old name is another one.
        let goes_on = known.is_some_and(|known| known.origin == topic.origin);
        for (index, partition) in topic.partitions.iter_mut().enumerate() {
            let path = folder.join(file_name(&topic.name, index));
            let from = partition.log_start;
            let pages = Pages::new(session, &source, &topic.name, index, (from, partition.end))?;
            let file = export_partition(&path, pages, goes_on)?;
            bar.advance(span(from, partition.end));
            sum.bytes += file.bytes;
            sum.batches += file.batches;
            partition.file = Some(file);
        }
    }
    manifest.complete = true;
    manifest.save(&folder)?;
    let row = json!({
        "topics": manifest.topics.len(),
        "partitions": manifest.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>(),
        "batches": sum.batches,
        "bytes": sum.bytes,
    });
    Ok(row.as_object().cloned().into_iter().collect())
}

/// The directory, and the manifest that an earlier export of the same stream left in it.
fn open_folder(folder: &Path, manifest: &Manifest) -> Result<Option<Manifest>, Error> {
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    let before = Manifest::load(folder)?;
    match &before {
        None if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) => {
            Err(Error::exists(format!(
                "{} holds something else than an export; give an empty directory",
                folder.display()
            )))
        }
        Some(before) if before.uuid != manifest.uuid || before.kind != Kind::Export => {
            Err(Error::exists(format!(
                "{} holds what came from {}, which is another stream; give another directory",
                folder.display(),
                before.place
            )))
        }
        _ => Ok(before),
    }
}

fn export_partition(
    path: &Path,
    mut pages: Pages<'_>,
    goes_on: bool,
) -> Result<FileEntry, Refusal> {
    let mut writer = if goes_on { KeptWriter::resume(path)? } else { KeptWriter::create(path)? };
    if writer.next.is_some_and(|next| next > pages.to) {
        // The stream was cut back since: a fail-over. What was exported is not its history.
        writer = KeptWriter::create(path)?;
    }
    pages.at = pages.at.max(writer.next.unwrap_or(0));
    while let Some((batch, header)) = pages.next()? {
        writer.push(&batch, &header)?;
    }
    Ok(writer.finish()?)
}
