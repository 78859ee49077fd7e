//! The catalog's and the engine's nouns as a link's, and back. Shared with the simulation, so that
//! it tries the very translation that is shipped.

use std::collections::BTreeMap;

use mainstem_catalog::{
    Catalog, Command, HandoverStep, Owner, Place, Replica, ReplicaSettings, Stream, StreamSettings,
    Topic, TopicPatch,
};
use mainstem_engine::{
    AckedEnd, Engine, HeldWatermark, LinkDecision, LinkMarker, LinkName, ReplicaAppend,
    ReplicaBatch,
};
use mainstem_group::{CursorKey, CursorValue};
use mainstem_link::{
    Batches, CursorItem, CursorVersion, End, FEATURES, Hello, MarkerItem, Mode, PROTOCOL_VERSION,
    PartitionItem, Rejoin, Setting, TermItem, TombstoneItem, TopicItem, TransactionDecision,
};
use mainstem_replicate::{FeedOrder, HandoverView, Opened, Position, ReceiverIdentity};
use mainstem_types::{CatalogSeq, Error, LinkEpoch, OriginTopicId, PartitionNo, StreamId, Term};

/// A topic as a link tells it.
pub fn topic_item(topic: &Topic) -> TopicItem {
    TopicItem {
        origin: topic.origin,
        name: topic.name.clone(),
        partitions: topic.partition_count(),
        timestamp_type: topic.timestamp_type,
        config: settings_of(&topic.config),
        owner: topic.owner.stream,
        term: topic.owner.term,
        seq: topic.changed_seq,
        created_ms: topic.created_ms,
        owner_seq: topic.owner_seq,
    }
}

fn settings_of(config: &BTreeMap<String, String>) -> Vec<Setting> {
    let setting =
        |(key, value): (&String, &String)| Setting { key: key.clone(), value: value.clone() };
    config.iter().map(setting).collect()
}

/// All topics of a stream that links carry.
pub fn topic_items(stream: &Stream) -> Vec<TopicItem> {
    stream.carried_topics().map(|topic| topic_item(topic)).collect()
}

/// All tombstones of a stream.
pub fn tombstone_items(stream: &Stream) -> Vec<TombstoneItem> {
    let item = |tombstone: &mainstem_catalog::Tombstone| TombstoneItem {
        origin: tombstone.origin,
        name: tombstone.name.clone(),
        seq: tombstone.seq,
        owner_seq: tombstone.owner_seq,
        term: tombstone.term,
    };
    stream.tombstones.values().map(item).collect()
}

/// The Hello of a session.
pub fn hello(
    here: &ReceiverIdentity,
    stream: &Stream,
    replica: &Replica,
    mode: Mode,
    now_ms: i64,
) -> Hello {
    Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        features: FEATURES,
        cluster_id: here.cluster_id,
        cluster_name: here.cluster_name.clone(),
        producer_prefix: here.producer_prefix,
        node_id: here.node_id,
        source_id: stream.id,
        source_path: stream.path.clone(),
        replica_cluster: replica.place.cluster.clone(),
        replica_path: replica.place.path.clone(),
        replica_id: replica.replica_id,
        link_epoch: replica.link_epoch,
        term: stream.highest_term(),
        mode,
        catalog_seq: stream.catalog_seq,
        now_ms,
    }
}

/// The cursors that this cluster tells a replica: the local column of topics owned here, and what
/// came from upstream of all others.
pub fn cursor_items(
    engine: &Engine,
    stream: &Stream,
    replica_id: Option<StreamId>,
) -> Vec<CursorItem> {
    let mut items = Vec::new();
    for (key, cursor) in engine.cursors_and_deletions(stream.id) {
        let Some(topic) = stream.topic_by_origin(key.topic) else { continue };
        if Some(topic.owner.stream) == replica_id {
            continue;
        }
        let value = match topic.owner.stream == stream.id {
            true => cursor.newest(topic.owner.term.id).cloned(),
            false => cursor.replicated,
        };
        let Some(value) = value else { continue };
        items.push(CursorItem {
            group: key.group.to_string(),
            origin: key.topic,
            partition: key.partition,
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata,
            commit_ms: value.commit_ms,
            version: value.version,
            term: value.term,
        });
    }
    items
}

/// A cursor as the engine keeps it; a group id that is not one here is an error of the peer.
pub fn cursor_entry(stream: StreamId, item: CursorItem) -> Result<(CursorKey, CursorValue), Error> {
    let key = CursorKey {
        stream,
        group: item.group.parse()?,
        topic: item.origin,
        partition: item.partition,
    };
    let value = CursorValue {
        offset: item.offset,
        leader_epoch: item.leader_epoch,
        metadata: item.metadata,
        commit_ms: item.commit_ms,
        version: item.version,
        term: item.term,
    };
    Ok((key, value))
}

/// Who owns the topics of a replica that its source does not own.
pub fn term_items(stream: &Stream, source: StreamId) -> Vec<TermItem> {
    let others = stream.carried_topics().filter(|topic| topic.owner.stream != source);
    others.map(|topic| term_item(topic)).collect()
}

fn term_item(topic: &Topic) -> TermItem {
    TermItem { origin: topic.origin, owner: topic.owner.stream, term: topic.owner.term }
}

/// What a peer's words of terms ask of the catalog.
pub fn meet_terms(stream: StreamId, seen: Term, terms: &[TermItem]) -> Command {
    let owner = |item: &TermItem| Owner { stream: item.owner, term: item.term };
    let terms = terms.iter().map(|item| (item.origin, owner(item))).collect();
    Command::MeetTerms { stream, seen, terms }
}

/// What a replica holds, for its Welcome to a source that has seen the term `seen`: of what is owned
/// here, only what the source may own in a higher one.
pub fn opened(
    engine: &Engine,
    catalog: &Catalog,
    replica: StreamId,
    source: StreamId,
    seen: Term,
) -> Result<Opened, Error> {
    let stream = catalog.expect_stream(replica)?;
    let upstream = stream
        .upstream_by_id(source)
        .ok_or_else(|| Error::fenced("the upstream was removed while the link was opened"))?;
    let others = stream
        .carried_topics()
        .filter(|topic| topic.owner.stream != stream.id || topic.owner.term.number < seen.number);
    let owned = stream.topics.values().filter(|topic| topic.owner.stream == source);
    let owned = owned.map(|topic| term_item(topic)).collect();
    let (mut partitions, mut holds) = (Vec::new(), false);
    for topic in others {
        for (index, no) in topic.partitions.iter().enumerate() {
            holds |= engine.partition(*no).is_some_and(|p| p.held_watermark().is_some());
            partitions.push(partition_item(engine, topic.origin, index, *no));
        }
    }
    let known = |(key, cursor): (CursorKey, mainstem_group::Cursor)| {
        let value = cursor.replicated?;
        Some(CursorVersion {
            group: key.group.to_string(),
            origin: key.topic,
            partition: key.partition,
            version: value.version,
            term: value.term,
        })
    };
    Ok(Opened {
        replica_id: stream.id,
        link_epoch: upstream.link_epoch,
        applied_seq: upstream.applied_seq,
        term: stream.highest_term(),
        terms: term_items(stream, source),
        partitions,
        owned,
        cursors: engine.cursors_and_deletions(stream.id).into_iter().filter_map(known).collect(),
        holds,
    })
}

/// What this replica has of a partition, durably: nothing if it is only about to be made.
fn partition_item(
    engine: &Engine,
    origin: OriginTopicId,
    index: usize,
    no: PartitionNo,
) -> PartitionItem {
    let partition = engine.partition(no);
    let known = partition.as_ref();
    PartitionItem {
        origin,
        partition: u32::try_from(index).expect("at most 4096 partitions"),
        log_start: known.map_or(0, |p| p.log_start()),
        end: known.map_or(0, |p| p.durable_end()),
        lineage: known.map_or_else(Vec::new, |p| p.lineage().entries().to_vec()),
        trimmed: known.map(|p| p.marks().trimmed).filter(|trimmed| *trimmed > 0),
    }
}

/// I6: a session that was opened in one catalog is the upstream's newest still in a later one, and
/// does not take another's epoch for its own.
pub fn check_same_epoch(
    opened: &Catalog,
    now: &Catalog,
    replica: StreamId,
    source: StreamId,
) -> Result<(), Error> {
    let epoch = |catalog: &Catalog| {
        catalog.stream(replica)?.upstream_by_id(source).map(|upstream| upstream.link_epoch)
    };
    match epoch(opened).is_some_and(|opened| epoch(now) == Some(opened)) {
        true => Ok(()),
        false => Err(Error::fenced("the link was opened again meanwhile; say Hello again")),
    }
}

/// Whether a topic of this term had another owner, or none, before: its history has forks.
pub const fn is_inherited(term: Term) -> bool {
    term.number > 1
}

/// A topic that a session is to feed, from what this replica has, or not any more.
pub fn feed_order(
    engine: &Engine,
    stream: &Stream,
    origin: OriginTopicId,
    feed: bool,
) -> FeedOrder {
    let topic = stream.topic_by_origin(origin).filter(|_| feed);
    let numbers = topic.into_iter().flat_map(|topic| &topic.partitions).enumerate();
    let partitions = numbers.map(|(index, no)| partition_item(engine, origin, index, *no));
    FeedOrder { origin, feed, partitions: partitions.collect() }
}

/// How far this replica is where an upstream says how far it is.
pub fn positions(engine: &Engine, stream: &Stream, theirs: &[End]) -> Vec<Position> {
    let position = |end: &End| {
        let no = stream.topic_by_origin(end.origin)?.partition(end.partition)?;
        Some(Position {
            origin: end.origin,
            partition: end.partition,
            theirs: end.offset,
            ours: engine.partition(no)?.durable_end(),
        })
    };
    theirs.iter().filter_map(position).collect()
}

/// The replica's ends in these positions, as an answer.
pub fn our_ends(positions: &[Position]) -> Vec<End> {
    let end = |at: &Position| End { origin: at.origin, partition: at.partition, offset: at.ours };
    positions.iter().map(end).collect()
}

/// What a topic of a link asks of the replica's catalog.
pub fn apply_topic(link: LinkName, item: TopicItem) -> Command {
    Command::ApplyTopic {
        stream: link.stream,
        upstream: link.upstream,
        link_epoch: link.link_epoch,
        origin: item.origin,
        name: item.name,
        partitions: item.partitions,
        timestamp_type: item.timestamp_type,
        config: item.config.into_iter().map(|setting| (setting.key, setting.value)).collect(),
        owner: Owner { stream: item.owner, term: item.term },
        owner_seq: item.owner_seq,
        // How far the catalog was applied is noted once all of a frame's items are.
        source_seq: CatalogSeq(0),
        created_ms: item.created_ms,
    }
}

/// What a deletion asks of it.
pub fn apply_tombstone(link: LinkName, item: &TombstoneItem) -> Command {
    Command::ApplyTombstone {
        stream: link.stream,
        upstream: link.upstream,
        link_epoch: link.link_epoch,
        origin: item.origin,
        owner_seq: item.owner_seq,
        term: item.term,
        source_seq: CatalogSeq(0),
    }
}

/// Whether a topic stands here although that deletion is told.
pub fn outlives(catalog: &Catalog, link: LinkName, item: &TombstoneItem) -> bool {
    let topic = catalog.stream(link.stream).and_then(|s| s.topic_by_origin(item.origin));
    topic.is_some_and(|topic| topic.outlives(item.term))
}

/// Batches as the engine takes them, of a source that knew of the owner's term of this number.
pub fn replica_append(link: LinkName, term: u64, batches: Batches) -> ReplicaAppend {
    ReplicaAppend {
        link,
        topic: batches.origin,
        partition: batches.partition,
        lineage: batches.lineage,
        gap_to: batches.gap_from.map(|_| batches.from),
        compacted: batches.compacted,
        compacted_in: term,
        batches: batches
            .items
            .into_iter()
            .map(|item| ReplicaBatch { arrival_ms: item.arrival_ms, bytes: item.bytes })
            .collect(),
    }
}

/// The partitions here whose records the owner deleted, and up to where.
pub fn trim_starts(catalog: &Catalog, link: LinkName, starts: &[End]) -> Vec<(PartitionNo, i64)> {
    let Some(stream) = catalog.stream(link.stream) else { return Vec::new() };
    let start = |start: &End| {
        let topic = stream.topic_by_origin(start.origin)?;
        Some((topic.partition(start.partition)?, start.offset))
    };
    starts.iter().filter_map(start).collect()
}

/// What a replica has, as the engine counts it.
pub fn acked_ends(ends: &[End]) -> Vec<AckedEnd> {
    let acked =
        |end: &End| AckedEnd { topic: end.origin, partition: end.partition, offset: end.offset };
    ends.iter().map(acked).collect()
}

/// Up to where consumers may read, as the engine keeps it.
pub fn held_watermarks(ends: &[End]) -> Vec<HeldWatermark> {
    let mark = |end: &End| HeldWatermark {
        topic: end.origin,
        partition: end.partition,
        watermark: (0..i64::MAX).contains(&end.offset).then_some(end.offset),
    };
    ends.iter().map(mark).collect()
}

/// What a link tells of commits, as the engine keeps it; aborts need no word.
pub fn link_decisions(stream: StreamId, told: &[TransactionDecision]) -> Vec<LinkDecision> {
    let marker = |item: &MarkerItem| LinkMarker {
        stream,
        topic: item.origin,
        partition: item.partition,
        offset: item.offset,
        first_offset: item.first_offset,
    };
    let committed = told.iter().filter(|one| one.committed);
    let decision = committed.map(|one| LinkDecision {
        producer_id: one.producer_id,
        epoch: one.producer_epoch,
        at_ms: one.decided_ms,
        markers: one.markers.iter().map(marker).collect(),
    });
    decision.collect()
}

/// A commit as a link of this stream tells it: nothing if it has no marker there.
pub fn transaction_decision(stream: StreamId, told: &LinkDecision) -> Option<TransactionDecision> {
    let ours = told.markers.iter().filter(|marker| marker.stream == stream);
    let item = |marker: &LinkMarker| MarkerItem {
        origin: marker.topic,
        partition: marker.partition,
        offset: marker.offset,
        first_offset: marker.first_offset,
    };
    let markers: Vec<MarkerItem> = ours.map(item).collect();
    (!markers.is_empty()).then_some(TransactionDecision {
        producer_id: told.producer_id,
        producer_epoch: told.epoch,
        committed: true,
        decided_ms: told.at_ms,
        markers,
    })
}

/// A log that is to rejoin its owner's history, as the engine takes it.
pub fn rejoin(link: LinkName, frame: Rejoin) -> mainstem_engine::Rejoin {
    mainstem_engine::Rejoin {
        link,
        topic: frame.origin,
        partition: frame.partition,
        lineage: frame.lineage,
        source_end: frame.source_end,
    }
}

/// A topic is to have so many partitions.
pub fn grow(stream: StreamId, topic: OriginTopicId, partitions: u32) -> Command {
    let patch = TopicPatch { partitions: Some(partitions), ..TopicPatch::default() };
    Command::EditTopic { stream, topic, patch }
}

/// What an offer asks of the replica's catalog.
pub fn accept_handover(link: LinkName, term: Term, ends: &[End]) -> Command {
    let LinkName { stream, upstream, link_epoch } = link;
    let ends = ends.iter().map(|end| ((end.origin, end.partition), end.offset)).collect();
    Command::AcceptHandover { stream, upstream, link_epoch, term, ends }
}

/// A replica's hand-over, as its session looks at it.
pub fn handover_view(replica: &Replica) -> Option<HandoverView> {
    let handover = replica.handover.as_ref().filter(|handover| handover.is_open())?;
    Some(HandoverView {
        term: handover.term,
        is_offered: handover.step == HandoverStep::Offered,
        deadline_ms: handover.deadline_ms,
    })
}

/// The name of a link at its receiving end.
pub const fn link_name(stream: StreamId, upstream: StreamId, link_epoch: LinkEpoch) -> LinkName {
    LinkName { stream, upstream, link_epoch }
}

/// Where the sender of a Hello says that its stream lies.
pub fn source_place(hello: &Hello) -> Place {
    Place { cluster: hello.cluster_name.clone(), path: hello.source_path.clone() }
}

macro_rules! stream_settings {
    ($($key:literal => $field:ident),* $(,)?) => {
        /// A stream's settings by their command-line names.
        pub fn settings_to_text(settings: &StreamSettings) -> Vec<Setting> {
            vec![$(Setting { key: $key.to_owned(), value: settings.$field.to_string() }),*]
        }

        /// The settings of that text; names from a newer version are passed over.
        pub fn settings_from_text(text: &[Setting]) -> Result<StreamSettings, Error> {
            let mut settings = StreamSettings::default();
            for Setting { key, value } in text {
                match key.as_str() {
                    $($key => settings.$field = parse(key, value)?,)*
                    _ => {}
                }
            }
            Ok(settings)
        }
    };
}

stream_settings! {
    "ttl" => ttl_seconds,
    "autocreate" => autocreate,
    "defaultpartitions" => default_partitions,
    "compression" => compression,
    "defaulttimestamptype" => default_timestamp_type,
    "produceperm" => produceperm,
    "consumeperm" => consumeperm,
    "topicperm" => topicperm,
    "copyperm" => copyperm,
    "adminperm" => adminperm,
    "ischangelog" => is_changelog,
    "pidexpirysecs" => pid_expiry_seconds,
    "compact" => compact,
    "mincompactionlag" => min_compaction_lag_ms,
    "deleteretention" => delete_retention_ms,
}

/// A replica's settings by their command-line names.
pub fn replica_to_text(settings: &ReplicaSettings) -> Vec<Setting> {
    let setting = |key: &str, value: String| Setting { key: key.to_owned(), value };
    vec![
        setting("throttle", settings.throttle.to_string()),
        setting("networkencryption", settings.network_encryption.to_string()),
        setting("synchronous", settings.synchronous.to_string()),
        setting("networkcompression", settings.network_compression.to_string()),
        setting("ratelimit", settings.rate_bytes_per_s.to_string()),
        setting("synctimeout", settings.sync_timeout_ms.0.to_string()),
        setting("syncpolicy", settings.sync_policy.to_string()),
    ]
}

/// The settings of that text.
pub fn replica_from_text(text: &[Setting]) -> Result<ReplicaSettings, Error> {
    let mut settings = ReplicaSettings::default();
    for Setting { key, value } in text {
        match key.as_str() {
            "throttle" => settings.throttle = parse(key, value)?,
            "networkencryption" => settings.network_encryption = parse(key, value)?,
            "synchronous" => settings.synchronous = parse(key, value)?,
            "networkcompression" => settings.network_compression = parse(key, value)?,
            "ratelimit" => settings.rate_bytes_per_s = parse(key, value)?,
            "synctimeout" => settings.sync_timeout_ms = parse(key, value)?,
            "syncpolicy" => settings.sync_policy = parse(key, value)?,
            _ => {}
        }
    }
    Ok(settings)
}

fn parse<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|_| Error::invalid(format!("\"{value}\" is not a value for {key}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_as_text() {
        let settings = StreamSettings {
            ttl_seconds: 5,
            autocreate: false,
            produceperm: "u:a | u:b".into(),
            compact: true,
            ..StreamSettings::default()
        };
        let mut text = settings_to_text(&settings);
        text.push(Setting { key: "invented".into(), value: "later".into() });
        assert_eq!(settings_from_text(&text).unwrap(), settings);
        text[0].value = "soon".into();
        assert!(settings_from_text(&text).is_err());
        let replica = ReplicaSettings { throttle: true, ..ReplicaSettings::default() };
        assert_eq!(replica_from_text(&replica_to_text(&replica)).unwrap(), replica);
    }
}
