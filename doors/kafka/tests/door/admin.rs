//! Metadata and the administration of topics.

use mainstem_catalog::{Command, Owner, Place, StreamPatch, StreamSettings};
use mainstem_types::{CatalogSeq, OriginTopicId, StreamId, Term, TermId, TimestampType};
use mainstem_wire::{
    CreatableTopic, CreatableTopicConfig, CreatePartitionsRequest, CreatePartitionsTopic,
    CreateTopicsRequest, DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
    DeleteTopicState, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeConfigsResource, KafkaError, MetadataRequest,
};

use crate::node::{Client, TestNode, ask, batch};

pub(crate) fn elsewhere() -> Place {
    Place {
        cluster: "elsewhere".parse().expect("a name"),
        path: "/source".parse().expect("a path"),
    }
}

fn creatable(name: &str, num_partitions: i32) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions,
        replication_factor: 1,
        ..Default::default()
    }
}

async fn create(client: &mut Client, topic: CreatableTopic, validate_only: bool) -> i16 {
    let request = CreateTopicsRequest { topics: vec![topic], validate_only, ..Default::default() };
    let response = ask!(client, CreateTopics, request, 7);
    let topic = &response.topics[0];
    assert!(topic.error_code == 0 || topic.error_message.as_ref().is_some_and(|m| m.len() > 10));
    topic.error_code
}

pub(crate) async fn config(client: &mut Client, topic: &str, key: &str) -> String {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: 2,
            resource_name: topic.to_owned(),
            configuration_keys: Some(vec![key.to_owned()]),
        }],
        ..Default::default()
    };
    let mut response = ask!(client, DescribeConfigs, request, 4);
    response.results.remove(0).configs.remove(0).value.expect("a value")
}

#[tokio::test]
async fn a_mentioned_topic_is_created_only_where_that_is_allowed() {
    let node = TestNode::start().await;
    let closed = StreamSettings { autocreate: false, ..StreamSettings::default() };
    node.create_stream("/closed", closed).await;
    node.create_stream("/replica", StreamSettings::default()).await;
    let catalog = node.engine.catalog();
    let replica = catalog.stream_at(&"/replica".parse().expect("a path")).expect("created").id;
    node.change(Command::AddUpstream { stream: replica, upstream: elsewhere(), stream_id: None })
        .await;
    let mut client = node.connect().await;
    let missing = KafkaError::UnknownTopicOrPartition.code();
    for (name, create, error) in [
        ("activity.quiet", false, missing),
        ("activity.new", true, 0),
        ("closed.new", true, missing),
        ("replica.new", true, missing),
        ("nowhere", true, missing),
        ("bad name", true, KafkaError::InvalidTopic.code()),
    ] {
        let topic = client.metadata(&[name], create).await.topics.remove(0);
        assert_eq!(topic.error_code, error, "{name}");
        assert_eq!(topic.partitions.len(), usize::from(error == 0));
    }
    let stream = node.engine.catalog().stream_at(&"/replica".parse().expect("a path")).cloned();
    assert!(stream.expect("still there").topics.is_empty());
}

#[tokio::test]
async fn metadata_is_served_in_every_version() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 3).await;
    let mut client = node.connect().await;
    for version in 0..=13 {
        let request = MetadataRequest { topics: None, ..Default::default() };
        let response = ask!(client, Metadata, request, version);
        assert_eq!(response.brokers.len(), 1);
        let topic = &response.topics[0];
        assert_eq!(topic.name.as_deref(), Some("activity.clicks"));
        assert_eq!(topic.partitions.len(), 3);
        assert!(topic.partitions.iter().all(|p| p.leader_id == response.brokers[0].node_id));
    }
    let by_path = client.metadata(&["/mapr/here/activity:clicks"], false).await.topics.remove(0);
    assert_eq!((by_path.error_code, by_path.partitions.len(), by_path.topic_id.0), (0, 3, 0));
    let cluster = ask!(
        client,
        DescribeCluster,
        DescribeClusterRequest { endpoint_type: 1, ..Default::default() },
        1
    );
    assert_eq!((cluster.error_code, cluster.brokers.len()), (0, 1));
}

#[tokio::test]
async fn topics_are_created_with_their_settings() {
    let node = TestNode::start().await;
    let mut client = node.connect().await;
    let mut topic = creatable("activity.made", 4);
    for (name, value) in
        [("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")]
    {
        let value = Some(value.to_owned());
        topic.configs.push(CreatableTopicConfig { name: name.to_owned(), value });
    }
    assert_eq!(create(&mut client, topic.clone(), true).await, 0);
    assert_eq!(client.metadata(&["activity.made"], false).await.topics[0].error_code, 3);
    assert_eq!(create(&mut client, topic.clone(), false).await, 0);
    let again = create(&mut client, topic, false).await;
    assert_eq!(again, KafkaError::TopicAlreadyExists.code());
    assert_eq!(client.metadata(&["activity.made"], false).await.topics[0].partitions.len(), 4);
    assert_eq!(config(&mut client, "activity.made", "cleanup.policy").await, "compact");
    let stamped = config(&mut client, "activity.made", "message.timestamp.type").await;
    assert_eq!(stamped, "LogAppendTime");
    assert_eq!(config(&mut client, "activity.made", "retention.ms").await, "604800000");
    assert_eq!(create(&mut client, creatable("activity.default", -1), false).await, 0);
    for (topic, error) in [
        (creatable("activity.none", 0), KafkaError::InvalidPartitions),
        (creatable("activity.many", 5000), KafkaError::InvalidPartitions),
        (creatable("nowhere", 1), KafkaError::InvalidTopic),
        (creatable("activity.bad name", 1), KafkaError::InvalidTopic),
        (
            CreatableTopic { replication_factor: 0, ..creatable("activity.r", 1) },
            KafkaError::InvalidReplicationFactor,
        ),
        (
            CreatableTopic {
                configs: vec![CreatableTopicConfig {
                    name: "retention.ms".to_owned(),
                    value: Some("soon".to_owned()),
                }],
                ..creatable("activity.c", 1)
            },
            KafkaError::InvalidConfig,
        ),
    ] {
        assert_eq!(create(&mut client, topic, false).await, error.code());
    }
}

#[tokio::test]
async fn topics_grow_are_trimmed_and_deleted() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut client = node.connect().await;
    let grow = |count| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: "activity.clicks".to_owned(),
            count,
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(ask!(client, CreatePartitions, grow(3), 3).results[0].error_code, 0);
    let shrink = ask!(client, CreatePartitions, grow(2), 3).results[0].error_code;
    assert_eq!(shrink, KafkaError::InvalidPartitions.code());
    for _ in 0..5 {
        client.produce("activity.clicks", batch(&["x"])).await;
    }
    let trim = |offset| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "activity.clicks".to_owned(),
            partitions: vec![DeleteRecordsPartition { offset, ..Default::default() }],
        }],
        ..Default::default()
    };
    let trimmed = ask!(client, DeleteRecords, trim(3), 2).topics.remove(0).partitions.remove(0);
    assert_eq!((trimmed.error_code, trimmed.low_watermark), (0, 3));
    let beyond = ask!(client, DeleteRecords, trim(9), 2).topics.remove(0).partitions.remove(0);
    assert_eq!(beyond.error_code, KafkaError::OffsetOutOfRange.code());
    let early = client.fetch("activity.clicks", 1).await;
    assert_eq!(early.error_code, KafkaError::OffsetOutOfRange.code());
    assert_eq!(early.log_start_offset, 3);
    let all = ask!(client, DeleteRecords, trim(-1), 2).topics.remove(0).partitions.remove(0);
    assert_eq!(all.low_watermark, 5);

    let id = client.metadata(&["activity.clicks"], false).await.topics[0].topic_id;
    let delete = || DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name: None, topic_id: id }],
        ..Default::default()
    };
    let deleted = ask!(client, DeleteTopics, delete(), 6).responses.remove(0);
    assert_eq!((deleted.error_code, deleted.name.as_deref()), (0, Some("activity.clicks")));
    let again = ask!(client, DeleteTopics, delete(), 6).responses.remove(0);
    assert_eq!(again.error_code, KafkaError::UnknownTopicId.code());
    let gone = client.produce("activity.clicks", batch(&["x"])).await;
    assert_eq!(gone.error_code, KafkaError::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn i5_nobody_writes_into_a_replicated_topic_from_here() {
    let node = TestNode::start().await;
    let copy = node.create_stream("/copy", StreamSettings::default()).await;
    let (source, place): (_, Place) = (StreamId::from_random(9), elsewhere());
    let add =
        Command::AddUpstream { stream: copy, upstream: place.clone(), stream_id: Some(source) };
    node.change(add).await;
    let open = Command::OpenLink {
        stream: copy,
        source: place,
        source_id: source,
        source_seq: CatalogSeq(1),
    };
    let catalog = node.change(open).await;
    let upstream = &catalog.stream(copy).expect("created").upstreams[0];
    node.change(Command::ApplyTopic {
        stream: copy,
        upstream: source,
        link_epoch: upstream.link_epoch,
        origin: OriginTopicId::from_random(5),
        name: "clicks".parse().expect("a name"),
        partitions: 1,
        timestamp_type: TimestampType::CreateTime,
        config: Default::default(),
        owner: Owner { stream: source, term: Term { number: 1, id: TermId::from_random(3) } },
        owner_seq: CatalogSeq(1),
        source_seq: CatalogSeq(1),
        created_ms: 0,
    })
    .await;
    let mut client = node.connect().await;
    let refused = client.produce("copy.clicks", batch(&["intruder"])).await;
    assert_eq!(refused.error_code, KafkaError::PolicyViolation.code());
    let sentence = refused.error_message.expect("a sentence");
    assert!(sentence.contains("/mapr/elsewhere/source"), "{sentence}");
    assert_eq!(client.fetch("copy.clicks", 0).await.high_watermark, 0);
    // The retention that a stream has is its own, also for replicated topics.
    node.change(Command::EditStream {
        path: "/copy".parse().expect("a path"),
        patch: StreamPatch { ttl_seconds: Some(0), ..Default::default() },
    })
    .await;
    assert_eq!(config(&mut client, "copy.clicks", "retention.ms").await, "-1");
}
