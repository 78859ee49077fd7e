//! Consumer groups as tools see them: describe, list, delete.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use mainstem_group::CursorKey;
use mainstem_types::GroupId;
use mainstem_wire::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, DescribedGroup, DescribedGroupMember, KafkaError, ListGroupsRequest,
    ListGroupsResponse, ListedGroup,
};

use crate::answer::code;
use crate::context::Context;
use crate::distinct::distinct;

/// What Kafka says of a group that has cursors but no members.
const EMPTY: &str = "Empty";
/// What it says of one that does not exist.
const DEAD: &str = "Dead";
/// The kind of group that commits cursors.
const CONSUMER: &str = "consumer";
/// All groups here are of the protocol that Kafka now calls classic.
const CLASSIC: &str = "classic";

pub(crate) fn describe(ctx: &Context, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    // Looked up only if some group has no members: there may be very many cursors.
    let with_cursors = LazyCell::new(|| groups_with_cursors(ctx));
    let names = distinct(request.groups, Clone::clone);
    let groups = names.into_iter().map(|name| describe_one(ctx, name, &with_cursors));
    DescribeGroupsResponse { groups: groups.collect(), ..Default::default() }
}

fn describe_one(
    ctx: &Context,
    group_id: String,
    with_cursors: &LazyCell<BTreeSet<GroupId>, impl FnOnce() -> BTreeSet<GroupId>>,
) -> DescribedGroup {
    let Ok(group) = group_id.parse::<GroupId>() else {
        let error_code = KafkaError::InvalidGroupId.code();
        return DescribedGroup { error_code, group_id, ..Default::default() };
    };
    let Some(found) = ctx.node.groups.with(|c, _| c.describe(&group)) else {
        let (state, kind) =
            if with_cursors.contains(&group) { (EMPTY, CONSUMER) } else { (DEAD, "") };
        return DescribedGroup {
            group_id,
            group_state: state.to_owned(),
            protocol_type: kind.to_owned(),
            ..Default::default()
        };
    };
    let members = found.members.into_iter().map(|member| DescribedGroupMember {
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    });
    DescribedGroup {
        group_id,
        group_state: found.state.to_owned(),
        protocol_type: found.protocol_type,
        protocol_data: found.protocol,
        members: members.collect(),
        ..Default::default()
    }
}

pub(crate) fn list(ctx: &Context, request: &ListGroupsRequest) -> ListGroupsResponse {
    let of_cursors = groups_with_cursors(ctx).into_iter();
    let mut all: BTreeMap<GroupId, (String, &str)> =
        of_cursors.map(|group| (group, (CONSUMER.to_owned(), EMPTY))).collect();
    ctx.node.groups.with(|coordinator, _| {
        for (group, kind, state) in coordinator.list() {
            all.insert(group.clone(), (kind.to_owned(), state));
        }
    });
    let wanted = |filter: &[String], word: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(word))
    };
    let groups = all
        .into_iter()
        .filter(|(_, (_, state))| wanted(&request.states_filter, state))
        .filter(|_| wanted(&request.types_filter, CLASSIC))
        .map(|(group, (protocol_type, state))| ListedGroup {
            group_id: group.to_string(),
            protocol_type,
            group_state: state.to_owned(),
            group_type: CLASSIC.to_owned(),
        });
    ListGroupsResponse { groups: groups.collect(), ..Default::default() }
}

pub(crate) async fn delete(ctx: &Context, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::new();
    for group_id in request.groups_names {
        let error_code = delete_one(ctx, &group_id).await;
        results.push(DeletableGroupResult { group_id, error_code });
    }
    DeleteGroupsResponse { results, ..Default::default() }
}

async fn delete_one(ctx: &Context, group: &str) -> i16 {
    let Ok(group) = group.parse::<GroupId>() else {
        return KafkaError::InvalidGroupId.code();
    };
    if let Err(error) = ctx.node.groups.with(|c, _| c.check_delete(&group)) {
        return error.kafka_code();
    }
    let keys: Vec<CursorKey> = cursors(ctx).filter(|key| key.group == group).collect();
    if keys.is_empty() {
        return KafkaError::GroupIdNotFound.code();
    }
    match ctx.node.engine.delete_cursors(keys).await {
        Ok(()) => 0,
        Err(error) => code(&error),
    }
}

fn groups_with_cursors(ctx: &Context) -> BTreeSet<GroupId> {
    cursors(ctx).map(|key| key.group).collect()
}

fn cursors(ctx: &Context) -> impl Iterator<Item = CursorKey> + use<> {
    let catalog = ctx.node.catalog();
    let streams: Vec<_> = catalog.streams().map(|stream| stream.id).collect();
    let engine = ctx.node.engine.clone();
    streams.into_iter().flat_map(move |stream| engine.cursors(stream)).map(|(key, _)| key)
}
