//! Members of consumer groups: join, sync, heartbeat, leave.

use bytes::Bytes;
use mainstem_group::{
    GroupError, JoinGroup, JoinRefused, Joined, MemberRef, Protocol, SyncGroup, Synced,
};
use mainstem_types::GroupId;
use mainstem_wire::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    JoinGroupResponseMember, KafkaError, LeaveGroupRequest, LeaveGroupResponse, MemberIdentity,
    MemberResponse, RequestHeader, SyncGroupRequest, SyncGroupResponse,
};

use crate::answer::Answer;
use crate::context::Context;

/// From this version on a newcomer is told its id before it joins (KIP-394).
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
/// From this version on a returning leader can be told to assign nothing (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;

/// A copy: a slice would hold its whole frame in memory for as long as the group remembers it, and
/// the group counts only what the slice shows.
fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(crate) fn join(ctx: &Context, header: &RequestHeader, request: JoinGroupRequest) -> Answer {
    let version = header.api_version;
    let Ok(group) = request.group_id.parse::<GroupId>() else {
        let member_id = request.member_id;
        return Answer::now(refused_join(KafkaError::InvalidGroupId.code(), member_id));
    };
    let protocols = request.protocols.into_iter();
    let join = JoinGroup {
        group,
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        client_id: header.client_id.clone().unwrap_or_default(),
        client_host: ctx.client_host.to_string(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        protocol_type: request.protocol_type,
        protocols: protocols
            .map(|p| Protocol { name: p.name, metadata: own(&p.metadata) })
            .collect(),
        member_id_required: version >= MEMBER_ID_REQUIRED_FROM,
        skips_assignment: version >= SKIP_ASSIGNMENT_FROM,
        fresh_id: ctx.node.env.random.next_u128(),
    };
    let waiting = ctx.node.groups.join(&join);
    Answer::later(async move {
        match waiting.answer().await {
            Some(Ok(joined)) => joined_response(joined),
            Some(Err(JoinRefused { error, member_id })) => {
                refused_join(error.kafka_code(), member_id)
            }
            None => refused_join(KafkaError::CoordinatorNotAvailable.code(), join.member_id),
        }
    })
}

fn joined_response(joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        metadata: member.metadata,
    });
    JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: Some(joined.protocol_type),
        protocol_name: Some(joined.protocol),
        leader: joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id,
        members: members.collect(),
        ..Default::default()
    }
}

fn refused_join(error_code: i16, member_id: String) -> JoinGroupResponse {
    JoinGroupResponse { error_code, member_id, ..Default::default() }
}

pub(crate) fn sync(ctx: &Context, request: SyncGroupRequest) -> Answer {
    let Ok(group) = request.group_id.parse::<GroupId>() else {
        return Answer::now(refused_sync(KafkaError::InvalidGroupId.code()));
    };
    let assignments = request.assignments.into_iter();
    let sync = SyncGroup {
        group,
        member: MemberRef {
            member_id: request.member_id,
            instance_id: request.group_instance_id,
            generation: request.generation_id,
        },
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignments: assignments.map(|share| (share.member_id, own(&share.assignment))).collect(),
    };
    let waiting = ctx.node.groups.sync(&sync);
    Answer::later(async move {
        match waiting.answer().await {
            Some(Ok(Synced { protocol_type, protocol, assignment })) => SyncGroupResponse {
                protocol_type: Some(protocol_type),
                protocol_name: Some(protocol),
                assignment,
                ..Default::default()
            },
            Some(Err(error)) => refused_sync(error.kafka_code()),
            None => refused_sync(KafkaError::CoordinatorNotAvailable.code()),
        }
    })
}

fn refused_sync(error_code: i16) -> SyncGroupResponse {
    SyncGroupResponse { error_code, assignment: Bytes::new(), ..Default::default() }
}

pub(crate) fn heartbeat(ctx: &Context, request: HeartbeatRequest) -> HeartbeatResponse {
    let member = MemberRef {
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        generation: request.generation_id,
    };
    let error_code = match request.group_id.parse::<GroupId>() {
        Ok(group) => {
            let beat =
                ctx.node.groups.with(|c, now_ms| c.handle_heartbeat(&group, &member, now_ms));
            group_code(beat)
        }
        Err(_) => KafkaError::InvalidGroupId.code(),
    };
    HeartbeatResponse { error_code, ..Default::default() }
}

pub(crate) fn leave(ctx: &Context, version: i16, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let Ok(group) = request.group_id.parse::<GroupId>() else {
        let error_code = KafkaError::InvalidGroupId.code();
        return LeaveGroupResponse { error_code, ..Default::default() };
    };
    let alone = version < 3;
    let leaving = if alone {
        vec![MemberIdentity { member_id: request.member_id, ..Default::default() }]
    } else {
        request.members
    };
    let members = leaving.into_iter().map(|member| {
        let left = ctx.node.groups.with(|c, now_ms| {
            c.handle_leave(&group, &member.member_id, member.group_instance_id.as_deref(), now_ms)
        });
        MemberResponse {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            error_code: group_code(left),
        }
    });
    let members: Vec<_> = members.collect();
    let error_code = if alone { members[0].error_code } else { 0 };
    LeaveGroupResponse { error_code, members, ..Default::default() }
}

pub(crate) fn group_code(result: Result<(), GroupError>) -> i16 {
    result.map_or_else(GroupError::kafka_code, |()| 0)
}
