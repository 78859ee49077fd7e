//! Consumer groups over the wire.

use bytes::Bytes;
use mainstem_wire::{
    ApiKey, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest,
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, KafkaError, LeaveGroupRequest,
    ListGroupsRequest, MemberIdentity, OffsetCommitRequest, OffsetCommitRequestPartition,
    OffsetCommitRequestTopic, OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic,
    Response, SyncGroupRequest, SyncGroupRequestAssignment,
};

use crate::node::{Client, TestNode, ask, batch};

const GROUP: &str = "readers";
const TOPIC: &str = "activity.clicks";

fn join(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: GROUP.to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member_id.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"topics"),
        }],
        ..Default::default()
    }
}

/// Goes through the flow in which a newcomer is first told its id, up to the join that waits.
pub(crate) async fn begin(client: &mut Client) -> String {
    let told = ask!(client, JoinGroup, join(""), 5);
    assert_eq!(told.error_code, KafkaError::MemberIdRequired.code());
    client.send(join(&told.member_id), 5).await;
    told.member_id
}

pub(crate) async fn joined(client: &mut Client) -> JoinGroupResponse {
    let (_, Response::JoinGroup(response)) = client.receive(ApiKey::JoinGroup, 5).await else {
        panic!("the answer to a join");
    };
    assert_eq!(response.error_code, 0);
    response
}

fn sync(joined: &JoinGroupResponse, shares: &[(&str, &'static str)]) -> SyncGroupRequest {
    let shares = shares.iter().map(|(member, share)| SyncGroupRequestAssignment {
        member_id: (*member).to_owned(),
        assignment: Bytes::from(*share),
    });
    SyncGroupRequest {
        group_id: GROUP.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: shares.collect(),
        ..Default::default()
    }
}

fn heartbeat(joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: GROUP.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..Default::default()
    }
}

fn commit(generation: i32, member_id: &str, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: GROUP.to_owned(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.to_owned(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: offset,
                committed_metadata: Some("here".to_owned()),
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

/// A commit outside of transactions.
pub(crate) async fn commit_alone(
    client: &mut Client,
    generation: i32,
    member_id: &str,
    offset: i64,
) -> i16 {
    let response = ask!(client, OffsetCommit, commit(generation, member_id, offset), 7);
    response.topics[0].partitions[0].error_code
}

async fn committed(client: &mut Client) -> i64 {
    let request = OffsetFetchRequest {
        group_id: GROUP.to_owned(),
        topics: Some(vec![OffsetFetchRequestTopic {
            name: TOPIC.to_owned(),
            partition_indexes: vec![0],
        }]),
        ..Default::default()
    };
    let response = ask!(client, OffsetFetch, request, 5);
    response.topics[0].partitions[0].committed_offset
}

#[tokio::test]
async fn two_members_share_the_work() {
    let node = TestNode::start().await;
    let (mut one, mut two) = (node.connect().await, node.connect().await);
    begin(&mut one).await;
    begin(&mut two).await;
    let (first, second) = (joined(&mut one).await, joined(&mut two).await);
    assert_eq!((first.generation_id, second.generation_id), (1, 1));
    assert_eq!(first.leader, second.leader);
    let (mut leader, lead, mut follower, follow) = if first.leader == first.member_id {
        (one, first, two, second)
    } else {
        (two, second, one, first)
    };
    assert_eq!((lead.members.len(), follow.members.len()), (2, 0));
    follower.send(sync(&follow, &[]), 3).await;
    let shares = [(lead.member_id.as_str(), "a"), (follow.member_id.as_str(), "b")];
    assert_eq!(ask!(leader, SyncGroup, sync(&lead, &shares), 3).assignment, "a");
    let (_, Response::SyncGroup(synced)) = follower.receive(ApiKey::SyncGroup, 3).await else {
        panic!("the answer to a sync");
    };
    assert_eq!(synced.assignment, "b");
    assert_eq!(ask!(follower, Heartbeat, heartbeat(&follow), 3).error_code, 0);

    let described = DescribeGroupsRequest { groups: vec![GROUP.to_owned()], ..Default::default() };
    let group = ask!(leader, DescribeGroups, described, 5).groups.remove(0);
    assert_eq!((group.group_state.as_str(), group.members.len()), ("Stable", 2));
    assert_eq!(group.members[0].client_host, "/127.0.0.1");

    let leave = LeaveGroupRequest {
        group_id: GROUP.to_owned(),
        members: vec![MemberIdentity { member_id: lead.member_id, ..Default::default() }],
        ..Default::default()
    };
    assert_eq!(ask!(leader, LeaveGroup, leave, 4).members[0].error_code, 0);
    let beat = ask!(follower, Heartbeat, heartbeat(&follow), 3);
    assert_eq!(beat.error_code, KafkaError::RebalanceInProgress.code());
    // The one that is left rejoins and is alone at once.
    let again = ask!(follower, JoinGroup, join(&follow.member_id), 5);
    assert_eq!((again.generation_id, again.members.len()), (2, 1));
}

#[tokio::test]
async fn who_hangs_up_while_joining_holds_up_nobody() {
    let node = TestNode::start().await;
    let (mut one, mut two) = (node.connect().await, node.connect().await);
    // Version 3 joins without being told an id first.
    one.send(join(""), 3).await;
    begin(&mut two).await;
    drop(one);
    let alone = joined(&mut two).await;
    assert_eq!(alone.members.len(), 1, "{alone:?}");
}

#[tokio::test]
async fn commits_are_kept_and_read_back() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut client = node.connect().await;
    for _ in 0..10 {
        client.produce(TOPIC, batch(&["x"])).await;
    }
    assert_eq!(committed(&mut client).await, -1);
    let code =
        |response: mainstem_wire::OffsetCommitResponse| response.topics[0].partitions[0].error_code;
    assert_eq!(code(ask!(client, OffsetCommit, commit(-1, "", 4), 7)), 0);
    assert_eq!(committed(&mut client).await, 4);
    begin(&mut client).await;
    let member = joined(&mut client).await;
    let refused = code(ask!(client, OffsetCommit, commit(-1, "", 9), 7));
    assert_eq!(refused, KafkaError::UnknownMemberId.code());
    ask!(client, SyncGroup, sync(&member, &[]), 3);
    let generation = member.generation_id;
    let mine = commit(generation, &member.member_id, 7);
    assert_eq!(code(ask!(client, OffsetCommit, mine, 7)), 0);
    let late = commit(generation - 1, &member.member_id, 9);
    let refused = code(ask!(client, OffsetCommit, late, 7));
    assert_eq!(refused, KafkaError::IllegalGeneration.code());
    assert_eq!(committed(&mut client).await, 7);
    // All topics, in the form for many groups.
    let everything = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: GROUP.to_owned(),
            topics: None,
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = ask!(client, OffsetFetch, everything, 8);
    let topic = &response.groups[0].topics[0];
    assert_eq!((topic.name.as_str(), topic.partitions[0].committed_offset), (TOPIC, 7));
    assert_eq!(topic.partitions[0].metadata.as_deref(), Some("here"));
}

#[tokio::test]
async fn groups_are_listed_and_deleted_when_empty() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut client = node.connect().await;
    let delete = || DeleteGroupsRequest { groups_names: vec![GROUP.to_owned()] };
    let gone = ask!(client, DeleteGroups, delete(), 1).results[0].error_code;
    assert_eq!(gone, KafkaError::GroupIdNotFound.code());
    ask!(client, OffsetCommit, commit(-1, "", 0), 7);
    let listed = ask!(client, ListGroups, ListGroupsRequest::default(), 4).groups;
    assert_eq!((listed[0].group_id.as_str(), listed[0].group_state.as_str()), (GROUP, "Empty"));
    begin(&mut client).await;
    let member = joined(&mut client).await;
    let stable =
        ListGroupsRequest { states_filter: vec!["Empty".to_owned()], ..Default::default() };
    assert!(ask!(client, ListGroups, stable, 4).groups.is_empty());
    let refused = ask!(client, DeleteGroups, delete(), 1).results[0].error_code;
    assert_eq!(refused, KafkaError::NonEmptyGroup.code());
    let leave = LeaveGroupRequest {
        group_id: GROUP.to_owned(),
        member_id: member.member_id,
        ..Default::default()
    };
    assert_eq!(ask!(client, LeaveGroup, leave, 1).error_code, 0);
    assert_eq!(ask!(client, DeleteGroups, delete(), 1).results[0].error_code, 0);
    assert_eq!(committed(&mut client).await, -1);
}

#[tokio::test]
async fn this_node_coordinates_everything() {
    let node = TestNode::start().await;
    let mut client = node.connect().await;
    let brokers = client.metadata(&[], false).await.brokers;
    for version in 0..=6 {
        let request = FindCoordinatorRequest {
            key: GROUP.to_owned(),
            coordinator_keys: vec![GROUP.to_owned()],
            ..Default::default()
        };
        let response = ask!(client, FindCoordinator, request, version);
        let (node_id, port) = match response.coordinators.first() {
            Some(coordinator) => (coordinator.node_id, coordinator.port),
            None => (response.node_id, response.port),
        };
        assert_eq!((node_id, port), (brokers[0].node_id, brokers[0].port));
    }
}
