//! `mapr importstream`.

use std::path::{Path, PathBuf};

use mainstem_api::{CommandSpec, KeptBatch, Kind as FlagKind, Method, Row, find_command};
use mainstem_record::BatchHeader;
use mainstem_types::{Error, StreamRef};
use serde_json::{Value, json};

use crate::client::Refusal;
use crate::clusters::KnownCluster;
use crate::copy::flag;
use crate::kept_file::KeptReader;
use crate::manifest::{Kind, Manifest, PartitionEntry, TopicEntry, file_name};
use crate::session::{Session, first, name_clusters, plain, stream, text, value};
use crate::wait::Bar;

/// About what one request carries.
const UPLOAD_BYTES: usize = 4 * 1024 * 1024;
/// Topics in one list to take over.
const TOPICS_PER_LIST: usize = 1024;

type Pairs = Vec<(String, String)>;

/// `mapr importstream`.
pub(crate) static COMMAND: CommandSpec = CommandSpec {
    words: &["importstream"],
    summary: "Read an export, or what diffstreams wrote, into a stream",
    about: "Everything comes to the offsets it had. Into a stream that lists the exported one as its \
            upstream, topics keep their owner: a replica is seeded, and a later `stream replica \
            resume` ships only what is newer. Pause the replica for that time. Into any other \
            stream, which is made if it is not there, topics belong to it afterwards. To a topic \
            that is the destination's own already, batches are appended where it ends, and nothing \
            is ever changed that it holds: another batch at the same offset is refused. Given \
            again, it goes on where it stopped.",
    flags: &[
        flag("src", FlagKind::Text, true, "the directory"),
        flag("dst", FlagKind::Stream, true, "the stream to import into"),
        flag("mapreduce", FlagKind::Bool, false, "taken for old scripts; only false is served"),
    ],
    output: &["topics", "partitions", "batches", "bytes"],
    example: "-src activity.export -dst /mapr/newyork/activity",
    method: Method::Post,
    hidden: false,
};

/// Imports the directory.
pub(crate) fn import_stream(session: &Session, mut pairs: Pairs) -> Result<Vec<Row>, Refusal> {
    name_clusters(&COMMAND, &mut pairs, &session.clusters.first()?.name.clone())?;
    let target = stream(&pairs, "dst")?;
    let folder = PathBuf::from(value(&pairs, "src").unwrap_or_default());
    let manifest = Manifest::load(&folder)?.ok_or_else(|| {
        Error::not_found(format!("{} holds no manifest.json; export first", folder.display()))
    })?;
    if !manifest.complete {
        return Err(Error::invalid(format!(
            "the export in {} is not finished; run `mapr exportstream` for it again",
            folder.display()
        ))
        .into());
    }
    let there = session.cluster_of(&target)?;
    let before = destination(session, there, &target, &manifest)?;
    let bytes = manifest.topics.iter().flat_map(|topic| &topic.partitions);
    let total = bytes.filter_map(|partition| partition.file).map(|file| file.bytes).sum();
    let bar = Bar::new(format!("{} → {target}", folder.display()), total);
    let mut import = Import { session, there, target, folder, manifest, before, bar };
    import.run()
}

/// What the destination is before; made with the exported settings if it is not there.
fn destination(
    session: &Session,
    there: &KnownCluster,
    target: &StreamRef,
    manifest: &Manifest,
) -> Result<Manifest, Refusal> {
    match Manifest::ask(session, target) {
        Err(refusal) if refusal.is_not_found() => {}
        other => return other,
    }
    let create = find_command(&["stream", "create"])?;
    let renamed =
        [("mincompactionlagms", "mincompactionlag"), ("deleteretentionms", "deleteretention")];
    let mut flags = vec![("path".to_owned(), target.to_string())];
    for (key, found) in &manifest.settings {
        let name = renamed.iter().find(|(shown, _)| shown == key).map_or(&**key, |(_, flag)| flag);
        let is_setting = create.flag(name).is_some() && !matches!(name, "path" | "cluster");
        let text = plain(found);
        if is_setting && (!text.is_empty() || name.ends_with("perm")) {
            flags.push((name.to_owned(), text));
        }
    }
    session.client.ask(there, create, &flags)?;
    Manifest::ask(session, target)
}

struct Import<'a> {
    session: &'a Session,
    there: &'a KnownCluster,
    target: StreamRef,
    folder: PathBuf,
    manifest: Manifest,
    before: Manifest,
    bar: Bar,
}

/// An agreement's session at the destination.
struct Link {
    epoch: String,
    /// What makes the topics the destination's own at the end; a replica's stay the source's.
    grant: Option<String>,
}

impl Import<'_> {
    fn run(&mut self) -> Result<Vec<Row>, Refusal> {
        let topics = self.manifest.topics.clone();
        let is_own = |topic: &TopicEntry| {
            let here = self.before.topic(&topic.name);
            here.is_some_and(|here| here.owner == self.before.uuid)
        };
        let (own, foreign): (Vec<TopicEntry>, Vec<TopicEntry>) =
            topics.into_iter().partition(is_own);
        for topic in &own {
            for (index, partition) in topic.partitions.iter().enumerate() {
                self.upload(None, topic, index, partition, None)?;
            }
        }
        if !foreign.is_empty() {
            let link = self.begin()?;
            if let Err(refusal) = self.import_topics(&link, &foreign) {
                if let Some(grant) = &link.grant {
                    let abort = vec![pair("grant", grant), pair("abort", "true")];
                    // The first reason is the one to tell.
                    let _ = self.ask(&["stream", "import", "end"], abort);
                }
                return Err(refusal);
            }
        }
        let files = self.manifest.topics.iter().flat_map(|topic| &topic.partitions);
        let files: Vec<_> = files.filter_map(|partition| partition.file).collect();
        let row = json!({
            "topics": self.manifest.topics.len(),
            "partitions": files.len(),
            "batches": files.iter().map(|file| file.batches).sum::<u64>(),
            "bytes": files.iter().map(|file| file.bytes).sum::<u64>(),
        });
        Ok(row.as_object().cloned().into_iter().collect())
    }

    fn is_seed(&self) -> bool {
        self.before.upstreams.iter().any(|upstream| {
            upstream.uuid.as_ref() == Some(&self.manifest.uuid)
                || (upstream.uuid.is_none() && upstream.place == self.manifest.place)
        })
    }

    fn begin(&self) -> Result<Link, Refusal> {
        let mut flags =
            vec![pair("source", &self.manifest.place), pair("sourceuuid", &self.manifest.uuid)];
        let mut grant = None;
        if !self.is_seed() {
            if self.manifest.uuid == self.before.uuid {
                return Err(Error::policy(format!(
                    "{} is the exported stream itself, and lacks topics that were deleted there; \
                     import into another stream",
                    self.target
                ))
                .into());
            }
            let mut asked = flags.clone();
            asked.push(pair("copy", "true"));
            let granted = first(self.ask(&["stream", "grant"], asked)?)?;
            let given = text(&granted, "grant");
            flags.push(pair("grant", &given));
            grant = Some(given);
        }
        let begun = first(self.ask(&["stream", "import", "begin"], flags)?)?;
        Ok(Link { epoch: text(&begun, "linkepoch"), grant })
    }

    fn import_topics(&self, link: &Link, topics: &[TopicEntry]) -> Result<(), Refusal> {
        // All names before any data: a conflict is refused before much is done.
        let mut ends = Vec::new();
        for topic in topics {
            ends.push(self.import_topic(link, topic)?);
        }
        for (topic, ends) in topics.iter().zip(&ends) {
            for (index, partition) in topic.partitions.iter().enumerate() {
                let end = ends.get(index).copied();
                self.upload(Some(link), topic, index, partition, end)?;
            }
        }
        let Some(grant) = &link.grant else { return Ok(()) };
        let passed_on = topics.iter().filter(|topic| topic.owner != self.manifest.uuid);
        let origins: Vec<&str> = passed_on.map(|topic| topic.origin.as_str()).collect();
        let mut lists: Vec<&[&str]> = origins.chunks(TOPICS_PER_LIST).collect();
        let last = lists.pop().unwrap_or_default();
        for (list, more) in lists.into_iter().map(|list| (list, true)).chain([(last, false)]) {
            let mut flags = vec![pair("grant", grant), pair("more", &more.to_string())];
            if !list.is_empty() {
                flags.push(pair("topics", &list.join(" ")));
            }
            self.ask(&["stream", "import", "end"], flags)?;
        }
        Ok(())
    }

    fn import_topic(&self, link: &Link, topic: &TopicEntry) -> Result<Vec<i64>, Refusal> {
        let config = serde_json::to_string(&topic.config).unwrap_or_default();
        let flags = vec![
            pair("sourceuuid", &self.manifest.uuid),
            pair("linkepoch", &link.epoch),
            pair("topic", &topic.name),
            pair("origin", &topic.origin),
            pair("partitions", &topic.partitions.len().max(1).to_string()),
            pair("timestamptype", &topic.timestamp_type),
            pair("owner", &topic.owner),
            pair("term", &topic.term),
            pair("termnumber", &topic.term_number.to_string()),
            pair("ownerseq", &topic.owner_seq.to_string()),
            pair("created", &topic.created_ms.to_string()),
            pair("config", &config),
        ];
        let row = first(self.ask(&["stream", "import", "topic"], flags)?)?;
        let ends = row.get("ends").and_then(Value::as_array);
        Ok(ends.into_iter().flatten().filter_map(Value::as_i64).collect())
    }

    /// Sends a partition's file, of what is there already only the last batch, to be compared.
    fn upload(
        &self,
        link: Option<&Link>,
        topic: &TopicEntry,
        index: usize,
        partition: &PartitionEntry,
        end: Option<i64>,
    ) -> Result<(), Refusal> {
        let Some(expected) = partition.file else { return Ok(()) };
        let path = self.folder.join(file_name(&topic.name, index));
        let mut reader = KeptReader::open(&path)?;
        let mut upload = Upload::new(self, link, topic, index, partition);
        let mut known = None;
        while let Some((batch, header)) = reader.next()? {
            self.bar.advance(batch.bytes.len() as u64);
            if end.is_some_and(|end| header.next_offset() <= end) {
                known = Some((batch, header));
                continue;
            }
            if let Some((batch, header)) = known.take() {
                upload.push(&batch, &header)?;
            }
            upload.push(&batch, &header)?;
        }
        if let Some((batch, header)) = known {
            upload.push(&batch, &header)?;
        }
        check_whole(&path, expected, reader.read)?;
        upload.finish(partition.end)
    }

    fn ask(&self, words: &[&str], mut flags: Pairs) -> Result<Vec<Row>, Refusal> {
        flags.insert(0, pair("path", &self.target.to_string()));
        self.session.client.ask(self.there, find_command(words)?, &flags)
    }
}

fn check_whole(
    path: &Path,
    expected: crate::manifest::FileEntry,
    read: crate::manifest::FileEntry,
) -> Result<(), Error> {
    if expected == read {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "{} has {} batches, and the manifest says {} with another checksum; export again",
        path.display(),
        read.batches,
        expected.batches
    )))
}

/// The requests that carry one partition.
struct Upload<'a> {
    import: &'a Import<'a>,
    query: Pairs,
    linked: bool,
    /// Whether what the file does not hold is known to be gone at the source.
    may_declare_gaps: bool,
    lineage: Option<String>,
    gap_to: Option<i64>,
    /// Where the next batch begins if nothing is missing before it.
    next: i64,
    body: Vec<u8>,
}

impl<'a> Upload<'a> {
    fn new(
        import: &'a Import<'a>,
        link: Option<&Link>,
        topic: &TopicEntry,
        index: usize,
        partition: &PartitionEntry,
    ) -> Self {
        let mut query = vec![
            pair("path", &import.target.to_string()),
            pair("topic", &topic.name),
            pair("partition", &index.to_string()),
        ];
        if let Some(link) = link {
            query.push(pair("sourceuuid", &import.manifest.uuid));
            query.push(pair("linkepoch", &link.epoch));
        }
        let is_whole = import.manifest.kind == Kind::Export || !import.is_seed();
        Self {
            import,
            query,
            linked: link.is_some(),
            may_declare_gaps: link.is_some() && is_whole,
            lineage: link.and_then(|_| serde_json::to_string(&partition.lineage).ok()),
            gap_to: None,
            next: 0,
            body: Vec::new(),
        }
    }

    fn push(&mut self, batch: &KeptBatch, header: &BatchHeader) -> Result<(), Refusal> {
        if header.base_offset > self.next && self.may_declare_gaps {
            self.send()?;
            self.gap_to = Some(header.base_offset);
        }
        batch.encode(&mut self.body);
        self.next = header.next_offset();
        if self.body.len() >= UPLOAD_BYTES { self.send() } else { Ok(()) }
    }

    fn finish(mut self, end: i64) -> Result<(), Refusal> {
        self.send()?;
        if self.may_declare_gaps && end > self.next {
            self.gap_to = Some(end);
        }
        self.send()
    }

    fn send(&mut self) -> Result<(), Refusal> {
        if self.body.is_empty() && self.gap_to.is_none() {
            return Ok(());
        }
        let mut query = self.query.clone();
        if let Some(lineage) = self.lineage.take() {
            query.push(pair("lineage", &lineage));
        }
        if let Some(gap_to) = self.gap_to.take().filter(|_| self.linked) {
            query.push(pair("gapto", &gap_to.to_string()));
        }
        let body = std::mem::take(&mut self.body);
        self.import.session.client.write_data(self.import.there, &query, &body).map(drop)
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
