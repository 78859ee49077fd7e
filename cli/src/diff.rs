//! `mapr diffstreams` and `mapr diffstreamswithcrc`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mainstem_api::{CommandSpec, Flag, KeptBatch, Kind as FlagKind, Method, Row, find_command};
use mainstem_record::{BatchHeader, Record, records};
use mainstem_types::limits::DECOMPRESSED_BYTES_MAX;
use mainstem_types::{Error, StreamRef};
use serde_json::{Value, json};

use crate::client::Refusal;
use crate::copy::flag;
use crate::difference::{Counts, Side, compare};
use crate::kept_file::KeptWriter;
use crate::manifest::{FileEntry, Kind, Manifest, PartitionEntry, failed, file_name};
use crate::pages::Pages;
use crate::session::{Session, first, name_clusters, stream, value};
use crate::verify::{DIFFERENT, UNKNOWN};
use crate::wait::Bar;

const ABOUT: &str = "Compares offsets, times, keys, values, headers and producers of all records from \
    the first offset that both keep on, topic by topic of the same name, whoever owns them. Writes \
    two directories under -outdir in the format of `mapr exportstream`: opsForDst, what the \
    destination lacks of the source, and opsForSrc, the other way; `mapr importstream` reads them. \
    What one stream lacks because log compaction took it there counts as compacted, not as a \
    difference. Exits with 0 if all is the same, 1 if not, 2 if it could not be told, be it for one \
    partition that is damaged: its row has an error, and the others are compared all the same. A replica in use is \
    better proved by `stream replica verify`, which waits for nothing and moves no data.";

const FLAGS: &[Flag] = &[
    flag("src", FlagKind::Stream, true, "a stream"),
    flag("dst", FlagKind::Stream, true, "the stream to compare it with"),
    flag(
        "outdir",
        FlagKind::Text,
        true,
        "the directory for what is found; made if it is not there",
    ),
    flag("first_exit", FlagKind::Switch, false, "stop at the first difference"),
    flag("mapreduce", FlagKind::Bool, false, "taken for old scripts; only false is served"),
    flag("numthreads", FlagKind::Int(1, 64), false, "partitions compared at a time (default: 16)"),
];

const OUTPUT: &[&str] = &[
    "topic",
    "partition",
    "from",
    "to",
    "same",
    "srcOnly",
    "dstOnly",
    "different",
    "compacted",
    "error",
];

const fn command(words: &'static [&'static str], summary: &'static str) -> CommandSpec {
    CommandSpec {
        words,
        summary,
        about: ABOUT,
        flags: FLAGS,
        output: OUTPUT,
        example: "-src /mapr/sanfrancisco/activity -dst /mapr/newyork/activity -outdir differences",
        method: Method::Get,
        hidden: false,
    }
}

/// Reads both streams whole.
pub(crate) static DIFF: CommandSpec =
    command(&["diffstreams"], "Compare two streams record by record");
/// Reads what the digests say is not alike.
pub(crate) static DIFF_WITH_CRC: CommandSpec = command(
    &["diffstreamswithcrc"],
    "As diffstreams, but read only what differs by the servers' digests",
);

/// What is compared.
struct Pair {
    topic: String,
    partition: usize,
    /// Present at the source, at the destination.
    there: (bool, bool),
    from: i64,
    /// The lower and the higher end.
    ends: (i64, i64),
    /// Below these the source, the destination may lack records by log compaction.
    compacted: (i64, i64),
    found: Counts,
    files: (Option<FileEntry>, Option<FileEntry>),
    /// Why it could not be compared to its end.
    error: Option<String>,
}

struct Diff<'a> {
    session: &'a Session,
    source: StreamRef,
    target: StreamRef,
    for_target: PathBuf,
    for_source: PathBuf,
    by_digest: bool,
    first_exit: bool,
    is_over: AtomicBool,
    bar: Bar,
}

/// Compares, writes, and gives a row for each partition and an exit code.
pub(crate) fn diff_streams(
    session: &Session,
    command: &CommandSpec,
    mut pairs: Vec<(String, String)>,
) -> Result<(Vec<Row>, u8), Refusal> {
    name_clusters(command, &mut pairs, &session.clusters.first()?.name.clone())?;
    let (source, target) = (stream(&pairs, "src")?, stream(&pairs, "dst")?);
    let folder = PathBuf::from(value(&pairs, "outdir").unwrap_or_default());
    let (ours, theirs) = (Manifest::ask(session, &source)?, Manifest::ask(session, &target)?);
    let (for_target, for_source) = (folder.join("opsForDst"), folder.join("opsForSrc"));
    for folder in [&for_target, &for_source] {
        make_empty(folder)?;
    }
    let mut compared = subjects(&ours, &theirs);
    let span = |pair: &Pair| u64::try_from(pair.ends.1 - pair.from).unwrap_or(0);
    let diff = Diff {
        session,
        for_target,
        for_source,
        by_digest: command.words == DIFF_WITH_CRC.words,
        first_exit: value(&pairs, "first_exit") == Some("true"),
        is_over: AtomicBool::new(false),
        bar: Bar::new(format!("{source} = {target}"), compared.iter().map(span).sum()),
        source,
        target,
    };
    let threads = value(&pairs, "numthreads").and_then(|n| n.parse().ok()).unwrap_or(16);
    diff.run(&mut compared, threads)?;
    let whose = |pick: fn(&Pair) -> Option<FileEntry>| {
        move |pair: &Pair| (pair.topic.clone(), pair.partition, pick(pair))
    };
    let (a, b) = (whose(|pair| pair.files.0), whose(|pair| pair.files.1));
    operations(ours, compared.iter().map(a)).save(&diff.for_target)?;
    operations(theirs, compared.iter().map(b)).save(&diff.for_source)?;
    let is_same = compared.iter().all(|pair| pair.found.is_same());
    let exit = match compared.iter().any(|pair| pair.error.is_some()) {
        true => UNKNOWN,
        false if is_same => 0,
        false => DIFFERENT,
    };
    Ok((compared.iter().map(row).collect(), exit))
}

fn make_empty(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::exists(format!(
            "{} is not empty; remove it or give another -outdir",
            folder.display()
        )));
    }
    Ok(())
}

/// Every partition that either has.
fn subjects(ours: &Manifest, theirs: &Manifest) -> Vec<Pair> {
    let names = ours.topics.iter().chain(&theirs.topics).map(|topic| topic.name.as_str());
    let names: std::collections::BTreeSet<&str> = names.collect();
    let mut pairs = Vec::new();
    for name in names {
        let partitions = |of: &Manifest| {
            of.topic(name).map(|topic| topic.partitions.clone()).unwrap_or_default()
        };
        let (a, b) = (partitions(ours), partitions(theirs));
        for partition in 0..a.len().max(b.len()) {
            let (a, b) = (a.get(partition), b.get(partition));
            let bounds = |side: Option<&PartitionEntry>| side.map(|p| (p.log_start, p.end));
            let both: Vec<(i64, i64)> = [bounds(a), bounds(b)].into_iter().flatten().collect();
            let from = both.iter().map(|(start, _)| *start).max().unwrap_or(0);
            let high = both.iter().map(|(_, end)| *end).max().unwrap_or(0);
            let low = both.iter().map(|(_, end)| *end).min().unwrap_or(0);
            let compacted = |side: Option<&PartitionEntry>| side.map_or(0, |side| side.compacted);
            let low = if both.len() == 2 { low.max(from) } else { from };
            pairs.push(Pair {
                topic: name.to_owned(),
                partition,
                there: (a.is_some(), b.is_some()),
                from,
                ends: (low, high.max(from)),
                compacted: (compacted(a), compacted(b)),
                found: Counts::default(),
                files: (None, None),
                error: None,
            });
        }
    }
    pairs
}

impl Diff<'_> {
    fn run(&self, pairs: &mut [Pair], threads: usize) -> Result<(), Refusal> {
        let next = AtomicUsize::new(0);
        let trouble: Mutex<Option<Refusal>> = Mutex::new(None);
        let slots: Vec<Mutex<&mut Pair>> = pairs.iter_mut().map(Mutex::new).collect();
        let work = || {
            while !self.is_over.load(Ordering::Relaxed) {
                let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                let mut pair = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let compared = self.compare(&mut pair);
                if let Err(refusal) = compared {
                    if refusal.is_damage() {
                        pair.error = Some(refusal.message);
                        continue;
                    }
                    self.is_over.store(true, Ordering::Relaxed);
                    let mut first =
                        trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    first.get_or_insert(refusal);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, slots.len().max(1)) {
                scope.spawn(work);
            }
        });
        let trouble = trouble.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        trouble.map_or(Ok(()), Err)
    }

    fn compare(&self, pair: &mut Pair) -> Result<(), Refusal> {
        let name = file_name(&pair.topic, pair.partition);
        let paths = (self.for_target.join(&name), self.for_source.join(&name));
        let (mut a, mut b): (Option<KeptWriter>, Option<KeptWriter>) = (None, None);
        let mut done = pair.from;
        for range in self.unlike(pair)? {
            self.bar.advance(u64::try_from(range.1 - done).unwrap_or(0));
            done = range.1;
            let mut source =
                self.side(&self.source, pair.there.0, pair, range, &mut a, &paths.0)?;
            let mut target =
                self.side(&self.target, pair.there.1, pair, range, &mut b, &paths.1)?;
            let found = compare(&mut source, &mut target, range, pair.compacted, self.first_exit)?;
            drop((source, target));
            pair.found.add(&found);
            if self.first_exit && !found.is_same() {
                self.is_over.store(true, Ordering::Relaxed);
                break;
            }
        }
        self.bar.advance(u64::try_from(pair.ends.1 - done).unwrap_or(0));
        pair.files.0 = a.map(KeptWriter::finish).transpose()?;
        pair.files.1 = b.map(KeptWriter::finish).transpose()?;
        Ok(())
    }

    fn side<'s>(
        &'s self,
        of: &StreamRef,
        is_there: bool,
        pair: &Pair,
        range: (i64, i64),
        writer: &'s mut Option<KeptWriter>,
        path: &'s Path,
    ) -> Result<Side<'s>, Refusal> {
        let range = if is_there { range } else { (range.1, range.1) };
        let mut pages = Pages::new(self.session, of, &pair.topic, pair.partition, range)?;
        let lacking = move |batch: &_, header: &_| -> Result<(), Refusal> {
            let writer = match writer {
                Some(writer) => writer,
                None => writer.insert(KeptWriter::create(path)?),
            };
            Ok(writer.push(batch, header)?)
        };
        Ok(Side::new(Box::new(move || pages.next()), Box::new(lacking)))
    }

    /// The ranges that have to be read: all of it, or where the digests differ.
    fn unlike(&self, pair: &mut Pair) -> Result<Vec<(i64, i64)>, Refusal> {
        let (low, high) = pair.ends;
        let mut ranges = Vec::new();
        if !self.by_digest || low <= pair.from {
            ranges.push((pair.from, high));
            return Ok(ranges);
        }
        let mut at = pair.from;
        while at < low {
            let (a, b) = (
                self.digests(&self.source, pair, (at, low))?,
                self.digests(&self.target, pair, (at, low))?,
            );
            let upto = a.upto.min(b.upto);
            let count = a.parts.len().max(b.parts.len());
            let unlike = (0..count)
                .map(|n| (a.parts.get(n), b.parts.get(n)))
                .find(|(a, b)| a != b)
                .map(|(a, b)| a.into_iter().chain(b).collect::<Vec<_>>())
                .filter(|parts| parts.iter().any(|part| part.0 < upto));
            let next = match unlike {
                Some(parts) => {
                    let from = parts.iter().map(|part| part.0).min().unwrap_or(at).max(at);
                    let to = parts.iter().map(|part| part.1).max().unwrap_or(low).min(low);
                    pair.found.same += self.kept(pair, (at, from))?;
                    ranges.push((from, to));
                    to
                }
                None => {
                    pair.found.same += self.kept(pair, (at, upto))?;
                    upto
                }
            };
            if next <= at {
                return Err(Error::retry("the digests lead nowhere; try again").into());
            }
            at = next;
        }
        if high > low {
            ranges.push((low, high));
        }
        Ok(ranges)
    }

    /// How many records are in a range that is the same on both sides: one for each offset, but for
    /// what was compacted, where the source's batches have to say it.
    fn kept(&self, pair: &Pair, (from, to): (i64, i64)) -> Result<u64, Refusal> {
        let whole_from = pair.compacted.0.max(pair.compacted.1).clamp(from, to.max(from));
        let mut count = u64::try_from(to - whole_from).unwrap_or(0);
        let range = (from, whole_from);
        let mut pages = Pages::new(self.session, &self.source, &pair.topic, pair.partition, range)?;
        while let Some((batch, header)) = pages.next()? {
            count += records_within(&batch, &header, range)?;
        }
        Ok(count)
    }

    fn digests(
        &self,
        of: &StreamRef,
        pair: &Pair,
        (from, to): (i64, i64),
    ) -> Result<Digests, Refusal> {
        let flag = |name: &str, value: String| (name.to_owned(), value);
        let flags = vec![
            flag("path", of.to_string()),
            flag("topic", pair.topic.clone()),
            flag("partition", pair.partition.to_string()),
            flag("from", from.to_string()),
            flag("to", to.to_string()),
        ];
        let there = self.session.cluster_of(of)?;
        let command = find_command(&["stream", "digests"])?;
        let row = first(self.session.client.ask(there, command, &flags)?)?;
        let number = |row: &Value, key: &str| row.get(key).and_then(Value::as_i64).unwrap_or(0);
        let part = |part: &Value| {
            let digest = part.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned();
            (number(part, "from"), number(part, "to"), digest)
        };
        let parts = row.get("parts").and_then(Value::as_array);
        let upto = row.get("upto").and_then(Value::as_i64).unwrap_or(0);
        Ok(Digests { upto, parts: parts.into_iter().flatten().map(part).collect() })
    }
}

/// How many of a batch's records lie in a range of offsets.
fn records_within(
    batch: &KeptBatch,
    header: &BatchHeader,
    (from, to): (i64, i64),
) -> Result<u64, Error> {
    if header.base_offset >= from && header.next_offset() <= to {
        return Ok(u64::try_from(header.record_count).unwrap_or(0));
    }
    let within = |record: &Record| (from..to).contains(&record.offset);
    let found: Result<Vec<Record>, _> =
        records(&batch.bytes, DECOMPRESSED_BYTES_MAX).and_then(Iterator::collect);
    let found = found.map_err(|error| {
        Error::corrupt(format!("the batch at offset {}: {error}", header.base_offset))
    })?;
    Ok(found.iter().filter(|record| within(record)).count() as u64)
}

/// What a side says of a range: (from, to, digest) by strides, up to an offset.
struct Digests {
    upto: i64,
    parts: Vec<(i64, i64, String)>,
}

/// A manifest of what was written; topics without any are left out.
fn operations(
    of: Manifest,
    files: impl Iterator<Item = (String, usize, Option<FileEntry>)>,
) -> Manifest {
    let mut manifest = Manifest { kind: Kind::Operations, complete: true, ..of };
    for (topic, partition, file) in files {
        let topic = manifest.topics.iter_mut().find(|known| known.name == topic);
        if let Some(partition) = topic.and_then(|topic| topic.partitions.get_mut(partition)) {
            partition.file = file;
        }
    }
    manifest.topics.retain(|topic| topic.partitions.iter().any(|p| p.file.is_some()));
    manifest
}

fn row(pair: &Pair) -> Row {
    let shown = json!({
        "topic": pair.topic,
        "partition": pair.partition,
        "from": pair.from,
        "to": pair.ends.1,
        "same": pair.found.same,
        "srcOnly": pair.found.source_only,
        "dstOnly": pair.found.target_only,
        "different": pair.found.different,
        "compacted": pair.found.compacted,
    });
    let mut row = shown.as_object().cloned().unwrap_or_default();
    row.extend(pair.error.as_ref().map(|error| ("error".to_owned(), json!(error))));
    row
}

#[cfg(test)]
mod tests {
    use mainstem_record::BatchBuilder;

    use super::*;

    #[test]
    fn records_are_counted_and_not_offsets_also_in_part_of_a_batch() {
        let mut builder = BatchBuilder::new().base_offset(10);
        (0..3).for_each(|n| builder.push(n, None, Some(b"x")));
        let bytes = builder.build().freeze();
        let header = BatchHeader::decode(&bytes).unwrap();
        let batch = KeptBatch { arrival_ms: 0, bytes };
        let within = |range| records_within(&batch, &header, range).unwrap();
        assert_eq!((within((0, 99)), within((10, 13))), (3, 3));
        assert_eq!((within((11, 99)), within((0, 12)), within((11, 12))), (2, 2, 1));
        assert_eq!(within((13, 99)), 0);
    }
}
