//! `stream replica failover`, and what is shown of ranges that were set aside.

use mainstem_api::links::UpstreamReport;
use mainstem_api::{Arguments, Row};
use mainstem_catalog::{Aside, Catalog, Command, Stream, Topic};
use mainstem_engine::Partition;
use mainstem_types::{Error, OriginTopicId};
use serde_json::{Value, json};

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::stream::row;

const UNFENCED: &str = "A source that still runs without contact to this cluster cannot be fenced: \
                        it takes records until it hears of the new owner. What it has beyond these \
                        offsets is set aside there once it does, not lost.";
const AGAIN: &str = "Another stream that was promoted too takes records until it hears of this term. \
                     What it has beyond these offsets is set aside there once it does, not lost.";

const UNHEARD: &str = "No link leads from here to any stream, so that nobody hears of it: run `stream replica \
                       failback` towards the others, which declares both halves and copies what is new.";

const UNJOINED: &str = "This stream has written to partitions of these itself, last before their present \
                        owner did: where that owner has written since, this stream's own records \
                        stand in the place of that owner's, and of a transaction some partitions may \
                        have the one end and others the other. Let it join the owner first, if that \
                        still runs.";

const ANEW: &str = "Partitions of these are being copied anew from their owner, and end before where they \
                    ended here: what they held is in this stream's `.setaside-` topics. Let the copy \
                    end first, if the owner still runs.";

const LACKING: &str = "The source of these was compacted further than they have come: of some keys the last \
                       value may not be here, nor the one before.";

impl AdminDoor {
    pub(crate) async fn fail_over(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?;
        let named = arguments.text("upstream").is_some();
        let upstream = named.then(|| self.place(&catalog, arguments, "upstream")).transpose()?;
        let again = arguments.boolean("again").unwrap_or(false);
        let is_dry = arguments.boolean("dryrun").unwrap_or(false);
        if !again
            && !named
            && let Some(answer) = self.take_back(&stream, is_dry).await
        {
            return answer;
        }
        let topics = match again {
            true if named => {
                return Err(Error::invalid(
                    "-again says which stream goes on; leave -upstream out",
                ));
            }
            true => stream.renewable_topics()?,
            false => stream.fail_over_topics(upstream.as_ref())?,
        };
        let origins: Vec<OriginTopicId> = topics.iter().map(|topic| topic.origin).collect();
        let listed = upstream.as_ref().or(stream.upstreams.first().map(|u| &u.place)).cloned();
        let source = listed
            .as_ref()
            .and_then(|source| self.links.upstream(stream.id, &source.cluster, &source.path));
        let mut warnings = vec![if again { AGAIN } else { UNFENCED }];
        if again {
            let is_unheard = stream.replicas.is_empty() && stream.upstreams.is_empty();
            warnings.extend(is_unheard.then_some(UNHEARD));
        } else {
            let any = |is_it: fn(&Stream, &Partition) -> bool| {
                let mut all = topics.iter().flat_map(|topic| self.partitions(topic));
                all.any(|partition| is_it(&stream, &partition))
            };
            warnings.extend(any(is_unjoined).then_some(UNJOINED));
            warnings.extend(any(|_, partition| is_anew(partition)).then_some(ANEW));
            warnings.extend(any(|_, partition| lacks(partition)).then_some(LACKING));
        }
        let (number, catalog) = if is_dry {
            (stream.highest_term().number + 1, catalog)
        } else {
            let command = match again {
                true => Command::Renew { stream: stream.id },
                false => Command::FailOver { stream: stream.id, upstream },
            };
            let catalog = self.engine.change(command).await?;
            (catalog.expect_stream(stream.id)?.term.number, catalog)
        };
        let cuts = self.cuts(&catalog, stream.id, &origins, is_dry);
        let from = match listed {
            _ if again => "none: it is the owner already".to_owned(),
            Some(place) => place.to_string(),
            None => "none is listed any more".to_owned(),
        };
        let mut summary = row(json!({
            "upstream": from,
            "term": number,
            "topics": origins.len(),
            "partitions": cuts.len(),
        }));
        summary.extend(last_words(source));
        summary.extend(row(json!({
            "dryrun": is_dry,
            "warning": warnings.join(" "),
        })));
        Ok([vec![summary], cuts].concat())
    }

    /// Where each partition is cut: its end now, or where the new term began.
    pub(crate) fn cuts(
        &self,
        catalog: &Catalog,
        stream: mainstem_types::StreamId,
        topics: &[OriginTopicId],
        is_dry: bool,
    ) -> Vec<Row> {
        let Some(stream) = catalog.stream(stream) else { return Vec::new() };
        let topics = topics.iter().filter_map(|origin| stream.topic_by_origin(*origin));
        let mut rows = Vec::new();
        for topic in topics {
            for partition in self.partitions(topic) {
                let end = partition.durable_end();
                let began = partition.lineage().last().map(|entry| entry.start_offset);
                let offset = began.filter(|_| !is_dry).unwrap_or(end);
                rows.push(row(json!({
                    "topic": topic.name.as_str(),
                    "partition": partition.index,
                    "offset": offset,
                })));
            }
        }
        rows
    }

    /// What this stream has set aside of its topics.
    pub(crate) fn set_aside(&self, stream: &Stream) -> Value {
        let asides =
            stream.topics.values().filter_map(|topic| Some((topic, topic.aside.as_ref()?)));
        let ranges = asides.flat_map(|(topic, aside)| {
            let range = |partition: &Partition| range(topic, aside, partition);
            self.partitions(topic).filter_map(|partition| range(&partition)).collect::<Vec<_>>()
        });
        ranges.collect()
    }
}

/// Whether a partition of a topic that another stream owns by now was last written here, and may go on
/// here otherwise than there.
fn is_unjoined(stream: &Stream, partition: &Partition) -> bool {
    let is_ours = partition.lineage().last().is_some_and(|last| last.owner == stream.id);
    is_ours && !is_anew(partition)
}

/// Whether what was compacted away at the source was superseded by records that are not here.
fn lacks(partition: &Partition) -> bool {
    partition.marks().ahead > partition.durable_end()
}

/// Whether what a partition had is to come again.
fn is_anew(partition: &Partition) -> bool {
    partition.durable_end() < partition.awaited_end()
}

/// A partition's range that was set aside, if it has one.
fn range(topic: &Topic, aside: &Aside, partition: &Partition) -> Option<Value> {
    let (from, to) = (partition.log_start(), partition.durable_end());
    (from < to).then(|| {
        json!({
            "topic": aside.name.as_str(),
            "partition": partition.index,
            "from": from,
            "to": to,
            "keptIn": topic.name.as_str(),
        })
    })
}

/// Where the records of a topic come from that was set aside.
pub(crate) fn provenance(aside: &Aside) -> Value {
    json!({
        "from": aside.name.as_str(),
        "origin": aside.origin.to_string(),
        "writtenBy": aside.written_by.to_string(),
        "writtenInTerm": aside.written_in.to_string(),
        "displacedBy": aside.displaced_by.stream.to_string(),
        "displacedByTerm": aside.displaced_by.term.number,
        "atMs": aside.set_aside_ms,
    })
}

/// What the source has said of itself last; nothing since this cluster was started, perhaps.
fn last_words(source: Option<UpstreamReport>) -> Row {
    let heard = source.as_ref().and_then(|source| source.last_contact_ms);
    let counted = source.filter(|source| source.counted_ms.is_some());
    let told = |value: fn(&UpstreamReport) -> Value| {
        counted.as_ref().map_or_else(|| json!("unknown"), value)
    };
    row(json!({
        "lastContactMs": heard.map_or_else(|| json!("unknown"), |at_ms| json!(at_ms)),
        "putsPending": told(|source| json!(source.puts_pending)),
        "bytesPending": told(|source| json!(source.bytes_pending)),
        "pendingSinceMs": told(|source| json!(source.pending_since_ms)),
        "pendingAsOfMs": told(|source| json!(source.counted_ms)),
    }))
}
