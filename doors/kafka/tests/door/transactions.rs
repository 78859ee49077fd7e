//! Transactions, api by api.

use std::time::Duration;

use bytes::Bytes;
use mainstem_catalog::{Command, ReplicaSettings, StreamSettings, SyncPolicy, SyncState};
use mainstem_engine::{AckedEnd, ReplicaLink};
use mainstem_record::BatchBuilder;
use mainstem_wire::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnTopic, ApiKey,
    EndTxnRequest, FetchRequest, InitProducerIdRequest, InitProducerIdResponse, KafkaError,
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, OffsetFetchRequest,
    OffsetFetchRequestGroup, OffsetFetchRequestTopics, PartitionData, ProduceRequest, Response,
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};

use crate::admin::elsewhere;
use crate::groups;
use crate::node::{Client, TestNode, ask, batch, fetch, produce, values};

const TOPIC: &str = "activity.clicks";
const ID: &str = "mover";
const GROUP: &str = "readers";

async fn with_topic() -> (TestNode, Client) {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 2).await;
    let client = node.connect().await;
    (node, client)
}

fn request(known: (i64, i16)) -> InitProducerIdRequest {
    InitProducerIdRequest {
        transactional_id: Some(ID.to_owned()),
        transaction_timeout_ms: 60_000,
        producer_id: known.0,
        producer_epoch: known.1,
    }
}

async fn begin(client: &mut Client) -> (i64, i16) {
    let begun: InitProducerIdResponse = ask!(client, InitProducerId, request((-1, -1)), 4);
    assert_eq!(begun.error_code, 0);
    (begun.producer_id, begun.producer_epoch)
}

async fn add(client: &mut Client, who: (i64, i16), indexes: &[i32], version: i16) -> Vec<i16> {
    let topics =
        vec![AddPartitionsToTxnTopic { name: TOPIC.to_owned(), partitions: indexes.to_vec() }];
    let request = AddPartitionsToTxnRequest {
        transactional_id: ID.to_owned(),
        producer_id: who.0,
        producer_epoch: who.1,
        topics,
        ..Default::default()
    };
    let mut response = ask!(client, AddPartitionsToTxn, request, version);
    let results = response.results_by_topic.remove(0).results_by_partition;
    results.iter().map(|result| result.partition_error_code).collect()
}

fn part(who: (i64, i16), sequence: i32, value: &str) -> Bytes {
    let mut builder = BatchBuilder::new().producer(who.0, who.1, sequence).transactional();
    builder.push(1_000, None, Some(value.as_bytes()));
    builder.build().freeze()
}

async fn send(client: &mut Client, batch: Bytes) -> i16 {
    let transactional_id = Some(ID.to_owned());
    let request = ProduceRequest { transactional_id, ..produce(TOPIC, 0, batch, -1) };
    let response = ask!(client, Produce, request, 9);
    response.responses[0].partition_responses[0].error_code
}

async fn end(client: &mut Client, who: (i64, i16), committed: bool, version: i16) -> i16 {
    let request = EndTxnRequest {
        transactional_id: ID.to_owned(),
        producer_id: who.0,
        producer_epoch: who.1,
        committed,
    };
    ask!(client, EndTxn, request, version).error_code
}

fn committed_only(offset: i64, wait_ms: i32, bytes_min: i32) -> FetchRequest {
    FetchRequest { isolation_level: 1, ..fetch(TOPIC, offset, wait_ms, bytes_min) }
}

async fn read_committed(client: &mut Client, offset: i64) -> PartitionData {
    let response = ask!(client, Fetch, committed_only(offset, 0, 0), 11);
    response.responses[0].partitions[0].clone()
}

async fn end_for(client: &mut Client, isolation_level: i8) -> i64 {
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let request = ListOffsetsRequest {
        isolation_level,
        topics: vec![ListOffsetsTopic { name: TOPIC.to_owned(), partitions: vec![partition] }],
        ..Default::default()
    };
    ask!(client, ListOffsets, request, 6).topics[0].partitions[0].offset
}

#[tokio::test]
async fn readers_of_what_is_committed_see_a_transaction_when_it_has_ended() {
    let (_node, mut client) = with_topic().await;
    let who = begin(&mut client).await;
    assert_eq!(client.produce(TOPIC, batch(&["plain"])).await.error_code, 0);
    assert_eq!(add(&mut client, who, &[0, 1], 3).await, [0, 0]);
    assert_eq!(send(&mut client, part(who, 0, "first")).await, 0);
    assert_eq!(client.produce(TOPIC, batch(&["behind"])).await.error_code, 0);
    let open = read_committed(&mut client, 0).await;
    assert_eq!((open.high_watermark, open.last_stable_offset), (3, 1));
    assert_eq!(values(&open), [(0, "plain".to_owned())]);
    assert_eq!(values(&client.fetch(TOPIC, 0).await).len(), 3);
    assert_eq!((end_for(&mut client, 0).await, end_for(&mut client, 1).await), (3, 1));
    assert_eq!(end(&mut client, who, true, 3).await, 0);
    assert_eq!(end(&mut client, who, true, 3).await, 0, "asked again, it has ended so");
    let ended = read_committed(&mut client, 1).await;
    assert_eq!((ended.high_watermark, ended.last_stable_offset), (4, 4));
    assert_eq!(ended.aborted_transactions, Some(Vec::new()));
    assert_eq!(end_for(&mut client, 1).await, 4);
    assert_eq!(
        end(&mut client, who, false, 3).await,
        KafkaError::InvalidTxnState.code(),
        "what is committed cannot be aborted"
    );
}

#[tokio::test]
async fn an_aborted_transaction_is_told_with_the_range_that_it_lies_in() {
    let (_node, mut client) = with_topic().await;
    let who = begin(&mut client).await;
    for sequence in 0..2 {
        add(&mut client, who, &[0], 3).await;
        assert_eq!(send(&mut client, part(who, sequence, "dropped")).await, 0);
        assert_eq!(end(&mut client, who, false, 3).await, 0);
    }
    let told = |data: PartitionData| {
        let aborted = data.aborted_transactions.expect("a list").into_iter();
        aborted.map(|one| (one.producer_id, one.first_offset)).collect::<Vec<_>>()
    };
    assert_eq!(told(read_committed(&mut client, 0).await), [(who.0, 0), (who.0, 2)]);
    assert_eq!(told(read_committed(&mut client, 2).await), [(who.0, 2)]);
    assert_eq!(told(client.fetch(TOPIC, 0).await), [], "other readers skip nothing");
}

#[tokio::test]
async fn a_fetch_that_waits_is_woken_by_the_end_of_a_transaction() {
    let (node, mut client) = with_topic().await;
    let who = begin(&mut client).await;
    add(&mut client, who, &[0], 3).await;
    send(&mut client, part(who, 0, "awaited")).await;
    let mut reader = node.connect().await;
    reader.send(committed_only(0, 20_000, 1), 11).await;
    let early = tokio::time::timeout(Duration::from_millis(100), reader.frame()).await;
    assert!(early.is_err(), "nothing is committed yet");
    assert_eq!(end(&mut client, who, true, 3).await, 0);
    let woken = tokio::time::timeout(Duration::from_secs(10), reader.receive(ApiKey::Fetch, 11));
    let (_, Response::Fetch(response)) = woken.await.expect("long before its time is over") else {
        panic!("the answer to another request");
    };
    let data = &response.responses[0].partitions[0];
    assert_eq!((data.last_stable_offset, data.records.is_empty()), (2, false));
}

#[tokio::test]
async fn what_does_not_belong_to_a_transaction_is_refused_by_the_code_that_clients_know() {
    let (_node, mut client) = with_topic().await;
    let who = begin(&mut client).await;
    let state = KafkaError::InvalidTxnState.code();
    assert_eq!(send(&mut client, part(who, 0, "early")).await, state);
    assert_eq!(end(&mut client, who, true, 1).await, state);
    let unknown = KafkaError::UnknownTopicOrPartition.code();
    let not_tried = KafkaError::OperationNotAttempted.code();
    assert_eq!(add(&mut client, who, &[0, 9], 3).await, [not_tried, unknown]);
    assert_eq!(send(&mut client, part(who, 0, "early")).await, state, "none was added");
    let mapping = KafkaError::InvalidProducerIdMapping.code();
    assert_eq!(add(&mut client, (who.0 + 1, 0), &[0], 0).await, [mapping]);
    let heir = begin(&mut client).await;
    assert_eq!(heir, (who.0, who.1 + 1));
    let (fenced, epoch) =
        (KafkaError::ProducerFenced.code(), KafkaError::InvalidProducerEpoch.code());
    assert_eq!(add(&mut client, who, &[0], 1).await, [epoch]);
    assert_eq!(add(&mut client, who, &[0], 2).await, [fenced]);
    assert_eq!(end(&mut client, who, true, 1).await, epoch);
    assert_eq!(end(&mut client, who, true, 2).await, fenced);
    assert_eq!(send(&mut client, part(who, 0, "of a zombie")).await, epoch);
    assert_eq!(ask!(client, InitProducerId, request(who), 3).error_code, epoch);
    assert_eq!(ask!(client, InitProducerId, request(who), 4).error_code, fenced);
    let raised = ask!(client, InitProducerId, request(heir), 4);
    assert_eq!((raised.error_code, raised.producer_epoch), (0, heir.1 + 1));
    let again = ask!(client, InitProducerId, request(heir), 4);
    assert_eq!(again, raised, "asked again, it is answered so");
    for timeout_ms in [0, 900_001] {
        let request =
            InitProducerIdRequest { transaction_timeout_ms: timeout_ms, ..request((-1, -1)) };
        let refused = ask!(client, InitProducerId, request, 4).error_code;
        assert_eq!(refused, KafkaError::InvalidTransactionTimeout.code(), "{timeout_ms} ms");
    }
    let nameless =
        InitProducerIdRequest { transactional_id: Some(String::new()), ..request((-1, -1)) };
    let refused = ask!(client, InitProducerId, nameless, 4).error_code;
    assert_eq!(refused, KafkaError::InvalidRequest.code());
}

fn positions(stable: bool) -> OffsetFetchRequest {
    let topics =
        vec![OffsetFetchRequestTopics { name: TOPIC.to_owned(), partition_indexes: vec![0] }];
    let group = OffsetFetchRequestGroup {
        group_id: GROUP.to_owned(),
        topics: Some(topics),
        ..Default::default()
    };
    OffsetFetchRequest { groups: vec![group], require_stable: stable, ..Default::default() }
}

async fn position(client: &mut Client, stable: bool) -> (i16, i64) {
    let response = ask!(client, OffsetFetch, positions(stable), 8);
    let found = &response.groups[0].topics[0].partitions[0];
    (found.error_code, found.committed_offset)
}

async fn add_group(client: &mut Client, who: (i64, i16)) -> i16 {
    let request = AddOffsetsToTxnRequest {
        transactional_id: ID.to_owned(),
        producer_id: who.0,
        producer_epoch: who.1,
        group_id: GROUP.to_owned(),
    };
    ask!(client, AddOffsetsToTxn, request, 3).error_code
}

async fn commit_offset(client: &mut Client, who: (i64, i16), offset: i64) -> i16 {
    commit_as(client, who, ("", None, -1), offset).await
}

/// `member` is the consumer's id, lasting name and generation.
async fn commit_as(
    client: &mut Client,
    who: (i64, i16),
    member: (&str, Option<&str>, i32),
    offset: i64,
) -> i16 {
    let partition =
        TxnOffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let request = TxnOffsetCommitRequest {
        transactional_id: ID.to_owned(),
        group_id: GROUP.to_owned(),
        producer_id: who.0,
        producer_epoch: who.1,
        generation_id: member.2,
        member_id: member.0.to_owned(),
        group_instance_id: member.1.map(str::to_owned),
        topics: vec![TxnOffsetCommitRequestTopic {
            name: TOPIC.to_owned(),
            partitions: vec![partition],
        }],
    };
    ask!(client, TxnOffsetCommit, request, 3).topics[0].partitions[0].error_code
}

#[tokio::test]
async fn offsets_move_with_the_commit_and_are_unstable_until_then() {
    let (_node, mut client) = with_topic().await;
    let who = begin(&mut client).await;
    let state = KafkaError::InvalidTxnState.code();
    assert_eq!(commit_offset(&mut client, who, 3).await, state, "the group was not added");
    let unstable = KafkaError::UnstableOffsetCommit.code();
    for (offset, committed, after) in [(3, false, -1), (5, true, 5)] {
        assert_eq!(add_group(&mut client, who).await, 0);
        assert_eq!(commit_offset(&mut client, who, offset).await, 0);
        assert_eq!(position(&mut client, true).await, (unstable, -1));
        assert_eq!(position(&mut client, false).await, (0, -1));
        assert_eq!(end(&mut client, who, committed, 3).await, 0);
        assert_eq!(position(&mut client, true).await, (0, after));
    }
}

#[tokio::test]
async fn offsets_of_a_member_are_taken_while_its_group_rebalances_and_only_in_its_generation() {
    let (node, mut client) = with_topic().await;
    let who = begin(&mut client).await;
    assert_eq!(add_group(&mut client, who).await, 0);
    let mut consumer = node.connect().await;
    groups::begin(&mut consumer).await;
    let joined = groups::joined(&mut consumer).await;
    // The work has not been shared out: the generation stands, and the rebalance goes on.
    let (id, generation) = (joined.member_id.as_str(), joined.generation_id);
    let rebalancing = KafkaError::RebalanceInProgress.code();
    assert_eq!(groups::commit_alone(&mut consumer, generation, id, 1).await, rebalancing);
    for (member, error) in [
        ((id, None, generation), None),
        ((id, None, generation - 1), Some(KafkaError::IllegalGeneration)),
        (("another", None, generation), Some(KafkaError::UnknownMemberId)),
        (("", Some("another"), -1), Some(KafkaError::UnknownMemberId)),
        (("", None, -1), None),
    ] {
        let told = commit_as(&mut client, who, member, 5).await;
        assert_eq!(told, error.map_or(0, KafkaError::code), "{member:?}");
    }
    assert_eq!(end(&mut client, who, true, 3).await, 0);
    assert_eq!(position(&mut client, true).await, (0, 5));
}

#[tokio::test]
async fn a_producer_says_both_its_id_and_its_epoch_or_neither() {
    let (_node, mut client) = with_topic().await;
    let who = begin(&mut client).await;
    let invalid = KafkaError::InvalidRequest.code();
    for known in [(who.0, -1), (-1, who.1), (who.0, -7), (-7, who.1), (-7, -7)] {
        for transactional_id in [Some(ID.to_owned()), None] {
            let request = InitProducerIdRequest { transactional_id, ..request(known) };
            let told = ask!(client, InitProducerId, request, 4);
            let expected = (invalid, -1, -1);
            assert_eq!((told.error_code, told.producer_id, told.producer_epoch), expected);
        }
    }
    assert_eq!(add(&mut client, who, &[0], 3).await, [0], "it was not fenced by any of these");
}

/// The stream gets a synchronous replica, which has all that is there.
async fn with_synchronous_replica(node: &TestNode) -> ReplicaLink {
    let (stream, replica) = (node.stream("/activity"), elsewhere());
    let settings = ReplicaSettings {
        synchronous: true,
        sync_policy: SyncPolicy::Refuse,
        ..ReplicaSettings::default()
    };
    let (replica_id, paused, setup) = (None, false, None);
    let place = replica.clone();
    node.change(Command::AddReplica { stream, replica, replica_id, settings, paused, setup }).await;
    let replica = || {
        let catalog = node.engine.catalog();
        catalog.stream(stream).and_then(|s| s.replica(&place)).expect("added").clone()
    };
    let link = ReplicaLink { stream, replica: place.clone(), link_epoch: replica().link_epoch };
    say(node, &link, 0).await;
    while replica().sync_state != SyncState::InForce {
        tokio::task::yield_now().await;
    }
    link
}

/// The replica has the first partition of the topic up to there, and nothing of the second.
async fn say(node: &TestNode, link: &ReplicaLink, end: i64) {
    let catalog = node.engine.catalog();
    let stream = catalog.stream(link.stream).expect("created");
    let topic = stream.topic(&"clicks".parse().expect("a name")).expect("created").origin;
    let of = |partition, offset| AckedEnd { topic, partition, offset };
    let ends = vec![of(0, end), of(1, 0)];
    node.engine.note_acked(link.clone(), ends).await.expect("it is open");
}

#[tokio::test]
async fn the_end_of_a_transaction_that_waits_for_a_replica_holds_up_nobody_behind_it() {
    let (node, mut client) = with_topic().await;
    let link = with_synchronous_replica(&node).await;
    node.create_stream("/alone", StreamSettings::default()).await;
    node.create_topic("/alone", "clicks", 1).await;
    let who = begin(&mut client).await;
    assert_eq!(add(&mut client, who, &[0], 3).await, [0]);
    let transactional_id = Some(ID.to_owned());
    let records = ProduceRequest { transactional_id, ..produce(TOPIC, 0, part(who, 0, "part"), 1) };
    let sent = ask!(client, Produce, records, 9);
    assert_eq!(sent.responses[0].partition_responses[0].error_code, 0);
    say(&node, &link, 1).await;
    let ending = EndTxnRequest {
        transactional_id: ID.to_owned(),
        producer_id: who.0,
        producer_epoch: who.1,
        committed: true,
    };
    client.send(ending, 3).await;
    client.send(produce("alone.clicks", 0, batch(&["behind"]), -1), 9).await;
    let mut reader = node.connect().await;
    while reader.fetch("alone.clicks", 0).await.high_watermark < 1 {
        tokio::task::yield_now().await;
    }
    // Had it waited, it would be refused by now: the replica has not spoken in time.
    say(&node, &link, 2).await;
    let (_, Response::EndTxn(ended)) = client.receive(ApiKey::EndTxn, 3).await else {
        panic!("the answer to another request");
    };
    assert_eq!(ended.error_code, 0);
    let (_, Response::Produce(produced)) = client.receive(ApiKey::Produce, 9).await else {
        panic!("the answer to another request");
    };
    assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
}

#[tokio::test]
async fn a_transaction_that_is_out_of_time_is_aborted_and_its_producer_fenced() {
    let (_node, mut client) = with_topic().await;
    let quick = InitProducerIdRequest { transaction_timeout_ms: 1_500, ..request((-1, -1)) };
    let who = loop {
        let begun = ask!(client, InitProducerId, quick.clone(), 4);
        let who = (begun.producer_id, begun.producer_epoch);
        assert_eq!(add(&mut client, who, &[0], 3).await, [0]);
        match send(&mut client, part(who, 0, "late")).await {
            0 => break who,
            // On a machine that is busy its time may be over before it has sent anything.
            fenced => assert_eq!(fenced, KafkaError::InvalidProducerEpoch.code()),
        }
    };
    let is_open = |data: PartitionData| data.last_stable_offset < data.high_watermark;
    while is_open(read_committed(&mut client, 0).await) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fenced = KafkaError::ProducerFenced.code();
    assert_eq!(end(&mut client, who, true, 3).await, fenced);
    let again = ask!(client, InitProducerId, request(who), 4);
    assert_eq!((again.error_code, again.producer_epoch), (0, who.1 + 1), "it may go on");
}
