//! Requests that no honest client sends.

use mainstem_env::{Random, SeededRandom};
use mainstem_wire::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
    AlterConfigsRequest, AlterConfigsResource, AlterableConfig, ApiKey, ApiVersionsRequest,
    CreatableTopic, CreatePartitionsRequest, CreatePartitionsTopic, CreateTopicsRequest,
    DeleteGroupsRequest, DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
    DeleteTopicState, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeConfigsResource, DescribeGroupsRequest, EndTxnRequest, FindCoordinatorRequest,
    HeartbeatRequest, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource,
    IncrementallyAlterableConfig, InitProducerIdRequest, JoinGroupRequest,
    JoinGroupRequestProtocol, LeaveGroupRequest, ListGroupsRequest, ListOffsetsPartition,
    ListOffsetsRequest, ListOffsetsTopic, MemberIdentity, MetadataRequest, MetadataRequestTopic,
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition, OffsetForLeaderTopic, Request, SyncGroupRequest,
    SyncGroupRequestAssignment, TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic, encode_request,
};
use tokio::io::AsyncWriteExt;

use crate::node::{TestNode, ask, batch, fetch, produce};

const TOPIC: &str = "activity.clicks";
const GROUP: &str = "g";

fn requests() -> Vec<Request> {
    let topic = || TOPIC.to_owned();
    let group = || GROUP.to_owned();
    let mut all = membership();
    all.extend([
        Request::from(produce(TOPIC, 0, batch(&["a", "b"]), -1)),
        fetch(TOPIC, 0, 0, 1).into(),
        ApiVersionsRequest::default().into(),
        InitProducerIdRequest::default().into(),
        DescribeClusterRequest::default().into(),
        ListGroupsRequest::default().into(),
        DescribeGroupsRequest { groups: vec![group()], ..Default::default() }.into(),
        DeleteGroupsRequest { groups_names: vec![group()] }.into(),
        FindCoordinatorRequest { coordinator_keys: vec![group()], ..Default::default() }.into(),
        ListOffsetsRequest {
            topics: vec![ListOffsetsTopic {
                name: topic(),
                partitions: vec![ListOffsetsPartition { timestamp: 5, ..Default::default() }],
            }],
            ..Default::default()
        }
        .into(),
        OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic: topic(),
                partitions: vec![OffsetForLeaderPartition::default()],
            }],
            ..Default::default()
        }
        .into(),
        MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some("activity.new".to_owned()),
                ..Default::default()
            }]),
            ..Default::default()
        }
        .into(),
        DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: 2,
                resource_name: topic(),
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
    ]);
    all.extend(administration());
    all.extend(transactions());
    all
}

fn transactions() -> Vec<Request> {
    let (transactional_id, group_id) = ("t".to_owned(), GROUP.to_owned());
    vec![
        InitProducerIdRequest {
            transactional_id: Some(transactional_id.clone()),
            transaction_timeout_ms: 1_000,
            ..Default::default()
        }
        .into(),
        AddPartitionsToTxnRequest {
            transactional_id: transactional_id.clone(),
            topics: vec![AddPartitionsToTxnTopic {
                name: TOPIC.to_owned(),
                partitions: vec![0, 1],
            }],
            ..Default::default()
        }
        .into(),
        AddOffsetsToTxnRequest {
            transactional_id: transactional_id.clone(),
            group_id: group_id.clone(),
            ..Default::default()
        }
        .into(),
        TxnOffsetCommitRequest {
            transactional_id: transactional_id.clone(),
            group_id,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: TOPIC.to_owned(),
                partitions: vec![TxnOffsetCommitRequestPartition::default()],
            }],
            ..Default::default()
        }
        .into(),
        EndTxnRequest { transactional_id, committed: true, ..Default::default() }.into(),
    ]
}

fn membership() -> Vec<Request> {
    let topic = || TOPIC.to_owned();
    let group_id = GROUP.to_owned();
    vec![
        JoinGroupRequest {
            group_id: group_id.clone(),
            session_timeout_ms: 6000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".to_owned(),
                metadata: TOPIC.into(),
            }],
            ..Default::default()
        }
        .into(),
        SyncGroupRequest {
            group_id: group_id.clone(),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: "m".to_owned(),
                assignment: TOPIC.into(),
            }],
            ..Default::default()
        }
        .into(),
        HeartbeatRequest { group_id: group_id.clone(), ..Default::default() }.into(),
        LeaveGroupRequest {
            group_id: group_id.clone(),
            members: vec![MemberIdentity::default()],
            ..Default::default()
        }
        .into(),
        OffsetCommitRequest {
            group_id: group_id.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: topic(),
                partitions: vec![OffsetCommitRequestPartition::default()],
            }],
            ..Default::default()
        }
        .into(),
        OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup { group_id, ..Default::default() }],
            ..Default::default()
        }
        .into(),
    ]
}

fn administration() -> Vec<Request> {
    let topic = || TOPIC.to_owned();
    vec![
        CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: "activity.made".to_owned(),
                num_partitions: 2,
                replication_factor: 1,
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        DeleteTopicsRequest {
            topics: vec![DeleteTopicState {
                name: Some("activity.made".to_owned()),
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name: topic(), count: 3, ..Default::default() }],
            ..Default::default()
        }
        .into(),
        AlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: topic(),
                configs: vec![AlterableConfig { name: "retention.ms".into(), value: None }],
            }],
            ..Default::default()
        }
        .into(),
        IncrementalAlterConfigsRequest {
            resources: vec![IncrementalAlterConfigsResource {
                resource_type: 2,
                resource_name: topic(),
                configs: vec![IncrementallyAlterableConfig {
                    name: "retention.ms".into(),
                    config_operation: 0,
                    value: Some("-1".into()),
                }],
            }],
            ..Default::default()
        }
        .into(),
        DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: topic(),
                partitions: vec![DeleteRecordsPartition { offset: 1, ..Default::default() }],
            }],
            ..Default::default()
        }
        .into(),
    ]
}

#[tokio::test]
async fn no_bytes_bring_the_door_down() {
    const ROUNDS: u64 = 60;
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 2).await;
    let random = SeededRandom::new(11);
    let below = |end: usize| usize::try_from(random.below(end as u64)).expect("below a usize");
    let requests = requests();
    let asked: std::collections::BTreeSet<_> = requests.iter().map(Request::api_key).collect();
    assert_eq!(asked.len(), ApiKey::ALL.len(), "every api takes part");
    for _ in 0..ROUNDS {
        let mut client = node.connect().await;
        for request in &requests {
            let versions = request.api_key().supported_versions();
            let span = usize::try_from(versions.end() - versions.start()).expect("rising") + 1;
            let version = versions.start() + i16::try_from(below(span)).expect("few versions");
            let mut frame = encode_request(request, version, 1, Some("x")).concat();
            // Behind length, api, version and correlation id.
            for _ in 0..below(4) {
                let at = 12 + below(frame.len() - 12);
                frame[at] = u8::try_from(below(256)).expect("a byte");
            }
            if client.socket.write_all(&frame).await.is_err() {
                client = node.connect().await;
            }
        }
    }
    let mut client = node.connect().await;
    client.metadata(&[TOPIC], false).await;
    // Tells of every connection that panicked.
    node.door.close().await;
}

#[tokio::test]
async fn what_is_asked_twice_is_answered_once() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 100).await;
    let mut client = node.connect().await;
    let topics = client.metadata(&[TOPIC; 10_000], false).await.topics;
    assert_eq!((topics.len(), topics[0].partitions.len()), (1, 100));
    let groups =
        DescribeGroupsRequest { groups: vec![GROUP.to_owned(); 10_000], ..Default::default() };
    assert_eq!(ask!(client, DescribeGroups, groups, 5).groups.len(), 1);
    let resource = DescribeConfigsResource {
        resource_type: 2,
        resource_name: TOPIC.to_owned(),
        ..Default::default()
    };
    let configs =
        DescribeConfigsRequest { resources: vec![resource; 10_000], ..Default::default() };
    assert_eq!(ask!(client, DescribeConfigs, configs, 4).results.len(), 1);
    let group =
        OffsetFetchRequestGroup { group_id: GROUP.to_owned(), topics: None, ..Default::default() };
    let offsets = OffsetFetchRequest { groups: vec![group; 10_000], ..Default::default() };
    assert_eq!(ask!(client, OffsetFetch, offsets, 8).groups.len(), 1);
}
