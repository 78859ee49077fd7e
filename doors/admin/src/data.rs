//! `/rest/stream/data`: batches as they are kept, out of a partition and into one.

use axum::http::{HeaderName, HeaderValue};
use bytes::Bytes;
use mainstem_api::{Arguments, KeptBatch, Row};
use mainstem_catalog::Stream;
use mainstem_engine::{Ack, Append, LinkName, Partition, ReplicaAppend, ReplicaBatch};
use mainstem_record::{BatchHeader, check_produced, check_replicated};
use mainstem_types::{Error, ErrorKind, LineageEntry, LinkEpoch, StreamId};
use serde_json::{Value, json};

use crate::door::AdminDoor;
use crate::export::named_topic;
use crate::stream::row;

/// What an answer holds, and about what a request should; a batch more, if it is larger.
const DATA_BYTES: usize = 4 * 1024 * 1024;
/// One whole batch and some.
pub(crate) const UPLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where the partition begins and ends, in the head of an answer.
pub(crate) const LOG_START: HeaderName = HeaderName::from_static("mainstem-log-start");
pub(crate) const END: HeaderName = HeaderName::from_static("mainstem-end");

/// Part of a partition.
pub(crate) struct Data {
    pub(crate) log_start: HeaderValue,
    pub(crate) end: HeaderValue,
    pub(crate) batches: Vec<u8>,
}

impl AdminDoor {
    /// Whole batches, from the one that holds `-from` on.
    pub(crate) async fn read_data(&self, arguments: &Arguments) -> Result<Data, Error> {
        let (_, partition) = self.data_partition(arguments)?;
        let from = i64::try_from(arguments.number("from").unwrap_or(0)).unwrap_or(i64::MAX);
        let read = move || {
            let from = from.max(partition.log_start());
            let batches = partition.read(from, DATA_BYTES)?;
            let mut out = Vec::new();
            for batch in batches {
                KeptBatch { arrival_ms: batch.arrival_ms, bytes: batch.bytes }.encode(&mut out);
            }
            Ok(Data {
                log_start: partition.log_start().into(),
                end: partition.durable_end().into(),
                batches: out,
            })
        };
        let task = tokio::task::spawn_blocking(read);
        task.await.unwrap_or_else(|_| Err(Error::retry("the read was interrupted; try again")))
    }

    /// Appends batches: under an agreement, exactly as a link does, or to a topic of one's own.
    pub(crate) async fn write_data(
        &self,
        arguments: &Arguments,
        body: Bytes,
    ) -> Result<Row, Error> {
        let mut batches = Vec::new();
        let mut body = body;
        while let Some(batch) = KeptBatch::decode(&mut body)? {
            batches.push(batch);
        }
        let (stream, partition) = self.data_partition(arguments)?;
        let end = match link(&stream, arguments)? {
            Some(link) => self.write_replica(link, &partition, arguments, batches).await?,
            None => self.write_own(&partition, batches).await?,
        };
        Ok(row(json!({"end": end})))
    }

    fn data_partition(
        &self,
        arguments: &Arguments,
    ) -> Result<(std::sync::Arc<Stream>, std::sync::Arc<Partition>), Error> {
        let stream = self.local_stream(&self.engine.catalog(), arguments)?;
        let topic = named_topic(&stream, arguments)?;
        let index = arguments.number32("partition").unwrap_or(0);
        let no = topic.partition(index);
        let partition = no.and_then(|no| self.engine.partition(no)).ok_or_else(|| {
            Error::not_found(format!(
                "topic {} has no partition {index}; see `stream topic info`",
                topic.name
            ))
        })?;
        Ok((stream, partition))
    }

    /// I2, I5 and I6 are the engine's to check, as for every link.
    async fn write_replica(
        &self,
        link: LinkName,
        partition: &Partition,
        arguments: &Arguments,
        batches: Vec<KeptBatch>,
    ) -> Result<i64, Error> {
        let gap_to = arguments.number("gapto").map(|to| i64::try_from(to).unwrap_or(i64::MAX));
        let batch =
            |batch: KeptBatch| ReplicaBatch { arrival_ms: batch.arrival_ms, bytes: batch.bytes };
        let append = ReplicaAppend {
            link,
            topic: partition.topic,
            partition: partition.index,
            lineage: lineage(arguments)?,
            gap_to,
            compacted: 0,
            compacted_in: 0,
            batches: batches.into_iter().map(batch).collect(),
        };
        self.engine.append_replica(append).await?.await?
    }

    /// As a producer's, but only at the offsets that the batches say.
    async fn write_own(
        &self,
        partition: &std::sync::Arc<Partition>,
        batches: Vec<KeptBatch>,
    ) -> Result<i64, Error> {
        for batch in batches {
            let header = BatchHeader::decode(&batch.bytes)
                .map_err(|error| Error::corrupt(error.to_string()))?;
            let end = partition.durable_end();
            if header.base_offset > end {
                return Err(Error::misaligned(end, header.base_offset));
            }
            if header.base_offset < end {
                check_same(partition.clone(), header).await?;
                continue;
            }
            // The end of a transaction stands where it stood.
            let checked = match header.attributes.is_control() {
                true => check_replicated(&batch.bytes),
                false => check_produced(&batch.bytes),
            };
            checked.map_err(|error| Error::invalid(error.to_string()))?;
            let append = Append { partition: partition.no, batch: batch.bytes };
            let mut answers = self.engine.append_kept(vec![append], Ack::Durable).await?.await?;
            let appended = answers.pop().unwrap_or_else(|| Err(gone()))?;
            if appended.base_offset != header.base_offset {
                return Err(Error::policy(format!(
                    "somebody else writes here: what belongs at offset {} came to {}; stop the \
                     producers, then compare again",
                    header.base_offset, appended.base_offset
                )));
            }
        }
        Ok(partition.durable_end())
    }
}

fn gone() -> Error {
    Error::retry("the node is shutting down; try again when it is back")
}

/// A batch below the end must be the one that is there.
async fn check_same(
    partition: std::sync::Arc<Partition>,
    header: BatchHeader,
) -> Result<(), Error> {
    let read = move || {
        if header.next_offset() <= partition.log_start() {
            return Ok(());
        }
        let found = partition.read(header.base_offset.max(partition.log_start()), 1)?;
        let ours = found.first().and_then(|batch| BatchHeader::decode(&batch.bytes).ok());
        let same = ours.is_some_and(|ours| {
            (ours.base_offset, ours.next_offset(), ours.crc)
                == (header.base_offset, header.next_offset(), header.crc)
        });
        if same {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Diverged,
            format!(
                "offset {} holds another batch here; a log is only ever appended to, so import \
                 into another stream",
                header.base_offset
            ),
        ))
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err(gone()))
}

/// The agreement that the request names.
fn link(stream: &Stream, arguments: &Arguments) -> Result<Option<LinkName>, Error> {
    let upstream: Option<StreamId> = arguments.parsed("sourceuuid")?;
    match (upstream, arguments.number("linkepoch")) {
        (Some(upstream), Some(epoch)) => {
            Ok(Some(LinkName { stream: stream.id, upstream, link_epoch: LinkEpoch(epoch) }))
        }
        (None, None) => Ok(None),
        _ => Err(Error::invalid("-sourceuuid and -linkepoch go together; give both")),
    }
}

/// A lineage as an export says it.
fn lineage(arguments: &Arguments) -> Result<Vec<LineageEntry>, Error> {
    let Some(text) = arguments.text("lineage") else { return Ok(Vec::new()) };
    let odd = || Error::invalid("-lineage is not what `stream export` gives; export again");
    let entries: Vec<Value> = serde_json::from_str(text).map_err(|_| odd())?;
    let entry = |entry: &Value| {
        let number = |key: &str| entry.get(key).and_then(Value::as_i64).ok_or_else(odd);
        let text = |key: &str| entry.get(key).and_then(Value::as_str).ok_or_else(odd);
        Ok(LineageEntry {
            leader_epoch: i32::try_from(number("leaderEpoch")?).map_err(|_| odd())?,
            start_offset: number("startOffset")?,
            term_id: text("term")?.parse()?,
            owner: text("owner")?.parse()?,
            markers: match entry.get("markers") {
                None => 0,
                Some(count) => count.as_u64().and_then(|n| n.try_into().ok()).ok_or_else(odd)?,
            },
        })
    };
    entries.iter().map(entry).collect()
}
