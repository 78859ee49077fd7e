//! Frames, order, limits, versions.

use bytes::Bytes;
use mainstem_env::Env;
use mainstem_kafka::{KafkaDoor, KafkaSettings, ListenerSettings};
use mainstem_types::ErrorKind;
use mainstem_wire::{ApiKey, ApiVersionsRequest, KafkaError, Response, encode_request};
use tokio::io::AsyncWriteExt;

use crate::node::{TestNode, ask, batch, fetch, produce, values};

const TOPIC: &str = "activity.clicks";

#[tokio::test]
async fn answers_come_in_the_order_of_the_requests() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut client = node.connect().await;
    let mut sent = Vec::new();
    for n in 0..40 {
        sent.push((client.send(produce(TOPIC, 0, batch(&["x"]), -1), 9).await, ApiKey::Produce, 9));
        // A fetch that would wait if the produce before it were not done when its turn comes.
        let fetch = fetch(TOPIC, n, 60_000, 1);
        sent.push((client.send(fetch, 11).await, ApiKey::Fetch, 11));
        let versions = ApiVersionsRequest::default();
        sent.push((client.send(versions, 0).await, ApiKey::ApiVersions, 0));
    }
    for (n, (id, api, version)) in sent.into_iter().enumerate() {
        let (answered, response) = client.receive(api, version).await;
        assert_eq!(answered, id);
        match response {
            Response::Produce(response) => {
                let appended = &response.responses[0].partition_responses[0];
                assert_eq!(usize::try_from(appended.base_offset), Ok(n / 3));
            }
            Response::Fetch(response) => {
                assert!(!values(&response.responses[0].partitions[0]).is_empty());
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_waiting_fetch_does_not_hold_up_a_produce_behind_it() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut client = node.connect().await;
    // What the fetch waits for comes from the request behind it on the same connection.
    client.send(fetch(TOPIC, 0, 120_000, 1), 11).await;
    client.send(produce(TOPIC, 0, batch(&["x"]), -1), 9).await;
    let (_, Response::Fetch(response)) = client.receive(ApiKey::Fetch, 11).await else {
        panic!("the first answer is to the first request");
    };
    assert_eq!(values(&response.responses[0].partitions[0]).len(), 1);
    client.receive(ApiKey::Produce, 9).await;
}

#[tokio::test]
async fn i7_frames_that_lie_close_their_connection_and_no_other() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut innocent = node.connect().await;
    // 2 GiB that never come.
    let mut liar = node.connect().await;
    liar.socket.write_all(&i32::MAX.to_be_bytes()).await.expect("a socket");
    assert!(liar.is_closed().await);
    // A Produce of 2^30 topics in a frame of some bytes.
    let mut liar = node.connect().await;
    let mut body = Vec::new();
    body.extend(0_i16.to_be_bytes()); // Produce
    body.extend(3_i16.to_be_bytes()); // version
    body.extend(1_i32.to_be_bytes()); // correlation id
    body.extend((-1_i16).to_be_bytes()); // no client id
    body.extend((-1_i16).to_be_bytes()); // no transactional id
    body.extend((-1_i16).to_be_bytes()); // acks
    body.extend(1000_i32.to_be_bytes()); // time-out
    body.extend((1_i32 << 30).to_be_bytes()); // topics
    let length = u32::try_from(body.len()).expect("small");
    liar.socket.write_all(&length.to_be_bytes()).await.expect("a socket");
    liar.socket.write_all(&body).await.expect("a socket");
    assert!(liar.is_closed().await);
    // An api that does not exist.
    let mut liar = node.connect().await;
    liar.socket.write_all(&[0, 0, 0, 8, 0x7f, 0, 0, 0, 0, 0, 0, 1]).await.expect("a socket");
    assert!(liar.is_closed().await);
    assert_eq!(innocent.produce(TOPIC, batch(&["x"])).await.error_code, 0);
}

#[tokio::test]
async fn api_versions_answers_every_version() {
    let node = TestNode::start().await;
    let mut client = node.connect().await;
    for version in 0..=4 {
        let response = ask!(client, ApiVersions, ApiVersionsRequest::default(), version);
        assert_eq!(response.error_code, 0);
        let produce = response.api_keys.iter().find(|api| api.api_key == 0).expect("served");
        assert_eq!((produce.min_version, produce.max_version), (0, 12));
        // What clients would ask for at once if it were advertised, and would not get.
        assert!(response.api_keys.iter().all(|api| ![71, 72].contains(&api.api_key)));
    }
    // One from the future is answered in the shape of version 0, with the way back.
    let request = ApiVersionsRequest::default().into();
    let mut frame = encode_request(&request, 3, 77, None).concat();
    frame[6..8].copy_from_slice(&9_i16.to_be_bytes());
    client.socket.write_all(&frame).await.expect("a socket");
    let frame = client.frame().await;
    let (id, Response::ApiVersions(fallback)) =
        mainstem_wire::decode_response(ApiKey::ApiVersions, 0, &frame).expect("version 0's shape")
    else {
        panic!("an answer to ApiVersions");
    };
    assert_eq!((id, fallback.error_code), (77, KafkaError::UnsupportedVersion.code()));
    assert_eq!(fallback.api_keys.len(), 1);
    assert_eq!(ask!(client, ApiVersions, ApiVersionsRequest::default(), 3).error_code, 0);
}

#[tokio::test]
async fn an_unknown_version_does_not_close_the_connection() {
    let node = TestNode::start().await;
    let mut client = node.connect().await;
    let frame: &[u8] = &[0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 5, 0xff, 0xff];
    client.socket.write_all(frame).await.expect("a socket");
    assert_eq!(client.frame().await, Bytes::from_static(&[0, 0, 0, 5, 0, 35]));
    assert_eq!(ask!(client, ApiVersions, ApiVersionsRequest::default(), 3).error_code, 0);
}

#[tokio::test]
async fn a_default_stream_goes_by_bare_names() {
    let node = TestNode::start_with(|settings| {
        settings.listeners.push(ListenerSettings {
            listen: "127.0.0.1:0".parse().expect("an address"),
            advertised: Some(("kafka.example".to_owned(), 1234)),
            default_stream: Some("/activity".parse().expect("a path")),
        });
    })
    .await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut plain = node.connect_to(0).await;
    let mut bare = node.connect_to(1).await;
    assert_eq!(bare.produce("clicks", batch(&["x"])).await.error_code, 0);
    assert_eq!(values(&plain.fetch(TOPIC, 0).await).len(), 1);
    let listed = |response: mainstem_wire::MetadataResponse| {
        response.topics.into_iter().map(|topic| topic.name.unwrap_or_default()).collect::<Vec<_>>()
    };
    let all = mainstem_wire::MetadataRequest { topics: None, ..Default::default() };
    let seen = ask!(bare, Metadata, all.clone(), 12);
    assert_eq!((seen.brokers[0].host.as_str(), seen.brokers[0].port), ("kafka.example", 1234));
    assert_eq!(listed(seen), ["clicks"]);
    assert_eq!(listed(ask!(plain, Metadata, all, 12)), [TOPIC]);
    // The full name works too, but no client meets one id under two names.
    let by_both = bare.metadata(&["clicks", TOPIC], false).await;
    assert_ne!(by_both.topics[0].topic_id.0, 0);
    assert_eq!((by_both.topics[1].error_code, by_both.topics[1].topic_id.0), (0, 0));
}

#[tokio::test]
async fn closing_the_door_ends_connections() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut client = node.connect().await;
    assert_eq!(client.produce(TOPIC, batch(&["x"])).await.error_code, 0);
    client.send(fetch(TOPIC, 1, 120_000, 1), 11).await;
    node.door.close().await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_client_that_takes_no_answers_does_not_keep_the_door_open() {
    let node = TestNode::start().await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut client = node.connect().await;
    let large = "x".repeat(1_000_000);
    assert_eq!(client.produce(TOPIC, batch(&[&large])).await.error_code, 0);
    // Far more than the sockets hold, and more requests than may be under way.
    for _ in 0..100 {
        client.send(fetch(TOPIC, 0, 0, 1), 11).await;
    }
    let closing = tokio::time::timeout(std::time::Duration::from_secs(20), node.door.close());
    assert!(closing.await.is_ok());
}

#[tokio::test]
async fn silence_ends_a_connection_unless_an_answer_is_owed() {
    let node = TestNode::start_with(|settings| settings.idle_timeout_ms = 300).await;
    node.create_topic("/activity", "clicks", 1).await;
    let mut silent = node.connect().await;
    let mut patient = node.connect().await;
    patient.send(fetch(TOPIC, 0, 120_000, 1), 11).await;
    assert!(silent.is_closed().await);
    // The other has been silent for as long, but waits for its fetch.
    let mut writer = node.connect().await;
    assert_eq!(writer.produce(TOPIC, batch(&["x"])).await.error_code, 0);
    let (_, Response::Fetch(response)) = patient.receive(ApiKey::Fetch, 11).await else {
        panic!("the answer to a fetch");
    };
    assert_eq!(values(&response.responses[0].partitions[0]).len(), 1);
    assert!(patient.is_closed().await);
}

#[tokio::test]
async fn one_client_too_many_is_turned_away() {
    let node = TestNode::start_with(|settings| settings.connections_max = 1).await;
    let mut first = node.connect().await;
    assert_eq!(ask!(first, ApiVersions, ApiVersionsRequest::default(), 3).error_code, 0);
    assert!(node.connect().await.is_closed().await);
    assert_eq!(ask!(first, ApiVersions, ApiVersionsRequest::default(), 3).error_code, 0);
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let node = TestNode::start().await;
    let taken = node.door.addresses()[0];
    let settings = KafkaSettings::listening_on(taken);
    let opened = KafkaDoor::open(node.engine.clone(), Env::system(), settings).await;
    let error = opened.err().expect("the address is taken");
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert!(error.message().contains(&taken.to_string()), "{error}");
}
