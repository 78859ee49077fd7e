//! Committed positions of consumer groups.

use std::collections::BTreeMap;

use mainstem_catalog::Catalog;
use mainstem_engine::CursorCommit;
use mainstem_group::{Cursor, CursorKey, CursorValue, MemberRef};
use mainstem_types::limits::METADATA_LENGTH_MAX;
use mainstem_types::{ErrorKind, GroupId};
use mainstem_wire::{
    KafkaError, OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic, OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};

use crate::answer::code;
use crate::context::Context;
use crate::distinct::distinct;
use crate::join::group_code;
use crate::names::{Found, Names};

/// Makes the positions durable before it answers.
pub(crate) async fn commit(ctx: &Context, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let member = MemberRef {
        member_id: request.member_id.clone(),
        instance_id: request.group_instance_id.clone(),
        generation: request.generation_id_or_member_epoch,
    };
    let allowed = match request.group_id.parse::<GroupId>() {
        Ok(group) => {
            let checked =
                ctx.node.groups.with(|c, now_ms| c.handle_commit(&group, &member, now_ms));
            checked.map(|()| group).map_err(|error| group_code(Err(error)))
        }
        Err(_) => Err(KafkaError::InvalidGroupId.code()),
    };
    let (commits, mut response) = match &allowed {
        Ok(group) => translate(ctx, group, &request),
        Err(code) => return all_refused(&request, *code),
    };
    if !commits.is_empty()
        && let Err(error) = ctx.node.engine.commit_cursors(commits).await
    {
        tracing::warn!(group = request.group_id, %error, "a commit was not kept");
        let taken = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        // A coordinator has no leader: what clients retry there has another number.
        let code = match error.kind() {
            ErrorKind::HandingOver => KafkaError::CoordinatorLoadInProgress.code(),
            _ => code(&error),
        };
        taken.filter(|p| p.error_code == 0).for_each(|p| p.error_code = code);
    }
    response
}

fn translate(
    ctx: &Context,
    group: &GroupId,
    request: &OffsetCommitRequest,
) -> (Vec<CursorCommit>, OffsetCommitResponse) {
    let catalog = ctx.node.catalog();
    let names = ctx.names(&catalog);
    let mut commits = Vec::new();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let position = Position {
                partition_index: partition.partition_index,
                offset: partition.committed_offset,
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata.as_ref(),
            };
            let commit = cursor_commit(&names, group, &topic.name, &position);
            let error_code = commit.as_ref().map_or_else(|error| error.code(), |_| 0);
            commits.extend(commit);
            OffsetCommitResponsePartition { partition_index: partition.partition_index, error_code }
        });
        OffsetCommitResponseTopic { name: topic.name.clone(), partitions: partitions.collect() }
    });
    let topics = topics.collect();
    (commits, OffsetCommitResponse { topics, ..Default::default() })
}

/// A position as clients commit it, alone or in a transaction.
pub(crate) struct Position<'a> {
    pub(crate) partition_index: i32,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: Option<&'a String>,
}

pub(crate) fn cursor_commit(
    names: &Names<'_>,
    group: &GroupId,
    topic: &str,
    position: &Position<'_>,
) -> Result<CursorCommit, KafkaError> {
    let index = u32::try_from(position.partition_index).ok();
    let found = names.partition(topic, position.partition_index).zip(index);
    let ((found, _), index) = found.ok_or(KafkaError::UnknownTopicOrPartition)?;
    let metadata = position.metadata.cloned().unwrap_or_default();
    if metadata.len() > METADATA_LENGTH_MAX {
        return Err(KafkaError::OffsetMetadataTooLarge);
    }
    if position.offset < 0 {
        return Err(KafkaError::OffsetOutOfRange);
    }
    Ok(CursorCommit {
        key: key(group, &found, index),
        offset: position.offset,
        leader_epoch: position.leader_epoch,
        metadata,
    })
}

fn key(group: &GroupId, found: &Found, partition: u32) -> CursorKey {
    CursorKey {
        stream: found.stream.id,
        group: group.clone(),
        topic: found.topic.origin,
        partition,
    }
}

fn all_refused(request: &OffsetCommitRequest, error_code: i16) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code,
        });
        OffsetCommitResponseTopic { name: topic.name.clone(), partitions: partitions.collect() }
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

/// (topic, partitions) of one group, in the order asked, with `Place::At(None)` where nothing is
/// committed.
type Positions = Vec<(String, Vec<(i32, Place)>)>;

/// What is known of one position; `Unstable` while an open transaction is to move it, and only for
/// who asked for what is stable.
enum Place {
    At(Option<CursorValue>),
    Unstable,
}

/// Where groups continue: at their own commits, or at those that came from the topic's owner.
pub(crate) fn fetch(
    ctx: &Context,
    version: i16,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let catalog = ctx.node.catalog();
    if version < 8 {
        let asked = request.topics.map(|topics| {
            topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
        });
        let stable = request.require_stable;
        let (error_code, positions) = positions(ctx, &catalog, &request.group_id, asked, stable);
        let topics = positions.into_iter().map(|(name, partitions)| OffsetFetchResponseTopic {
            name,
            partitions: partitions.into_iter().map(|(at, value)| single(at, value)).collect(),
        });
        return OffsetFetchResponse { topics: topics.collect(), error_code, ..Default::default() };
    }
    let asked = distinct(request.groups, |group| group.group_id.clone());
    let groups = asked.into_iter().map(|group| {
        let asked = group.topics.map(|topics| {
            topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
        });
        let stable = request.require_stable;
        let (error_code, positions) = positions(ctx, &catalog, &group.group_id, asked, stable);
        let topics = positions.into_iter().map(|(name, partitions)| OffsetFetchResponseTopics {
            name,
            partitions: partitions.into_iter().map(|(at, value)| of_many(at, value)).collect(),
        });
        OffsetFetchResponseGroup { group_id: group.group_id, topics: topics.collect(), error_code }
    });
    OffsetFetchResponse { groups: groups.collect(), ..Default::default() }
}

fn positions(
    ctx: &Context,
    catalog: &Catalog,
    group: &str,
    asked: Option<Vec<(String, Vec<i32>)>>,
    stable: bool,
) -> (i16, Positions) {
    let Ok(group) = group.parse::<GroupId>() else {
        return (KafkaError::InvalidGroupId.code(), Vec::new());
    };
    let names = ctx.names(catalog);
    let positions = match asked {
        Some(asked) => {
            let topics = asked.into_iter().map(|(name, partitions)| {
                let found = names.resolve(&name).found();
                let at = |index: i32| {
                    let known = found.as_ref().zip(u32::try_from(index).ok());
                    let Some((found, partition)) = known else { return Place::At(None) };
                    place(ctx, found, &key(&group, found, partition), stable)
                };
                let partitions = partitions.into_iter().map(|index| (index, at(index)));
                let partitions = partitions.collect();
                (name, partitions)
            });
            topics.collect()
        }
        None => everything(ctx, catalog, &names, &group, stable),
    };
    (0, positions)
}

/// Whatever the group has committed, in any stream.
fn everything(
    ctx: &Context,
    catalog: &Catalog,
    names: &Names<'_>,
    group: &GroupId,
    stable: bool,
) -> Positions {
    let mut topics: BTreeMap<String, Vec<(i32, Place)>> = BTreeMap::new();
    for stream in catalog.streams() {
        for (key, _) in ctx.node.engine.cursors(stream.id) {
            let Some(topic) = stream.topic_by_origin(key.topic).filter(|_| key.group == *group)
            else {
                continue;
            };
            let found = Found { stream: stream.clone(), topic: topic.clone() };
            let (place, index) = (place(ctx, &found, &key, stable), i32::try_from(key.partition));
            if let (Place::At(Some(_)) | Place::Unstable, Ok(index)) = (&place, index) {
                topics.entry(names.listed(&found)).or_default().push((index, place));
            }
        }
    }
    topics.into_iter().collect()
}

fn place(ctx: &Context, found: &Found, key: &CursorKey, stable: bool) -> Place {
    if stable && ctx.node.engine.is_cursor_pending(key) {
        return Place::Unstable;
    }
    let cursor = ctx.node.engine.cursor(key);
    Place::At(cursor.and_then(|cursor| effective(ctx, found, key.partition, &cursor)))
}

fn effective(ctx: &Context, found: &Found, partition: u32, cursor: &Cursor) -> Option<CursorValue> {
    let no = found.topic.partition(partition)?;
    let partition = ctx.node.engine.partition(no)?;
    let (term, end) = (found.topic.owner.term.id, partition.awaited_end());
    cursor.effective(term, end, partition.leader_epoch())
}

fn single(partition_index: i32, place: Place) -> OffsetFetchResponsePartition {
    let (error_code, (committed_offset, committed_leader_epoch, metadata)) = fields(place);
    OffsetFetchResponsePartition {
        partition_index,
        committed_offset,
        committed_leader_epoch,
        metadata,
        error_code,
    }
}

fn of_many(partition_index: i32, place: Place) -> OffsetFetchResponsePartitions {
    let (error_code, (committed_offset, committed_leader_epoch, metadata)) = fields(place);
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset,
        committed_leader_epoch,
        metadata,
        error_code,
    }
}

fn fields(place: Place) -> (i16, (i64, i32, Option<String>)) {
    let nothing = (-1, -1, Some(String::new()));
    match place {
        Place::At(Some(value)) => (0, (value.offset, value.leader_epoch, Some(value.metadata))),
        Place::At(None) => (0, nothing),
        Place::Unstable => (KafkaError::UnstableOffsetCommit.code(), nothing),
    }
}
