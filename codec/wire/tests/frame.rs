//! Frames as peers send them: wrong ones, unknown ones, and none copied.

use bytes::Bytes;
use mainstem_wire::{
    ApiKey, FetchResponse, FetchableTopicResponse, KafkaError, PartitionData, PartitionProduceData,
    ProduceRequest, RecordSet, Request, RequestHeader, Response, TopicProduceData, WireError,
    decode_request, decode_response, encode_request, encode_response,
    encode_unsupported_api_versions, frame_bytes,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn produce(records: Bytes) -> Request {
    let partition = PartitionProduceData { index: 3, records: Some(records) };
    let topic = TopicProduceData { name: "a.b".to_owned(), partition_data: vec![partition] };
    ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() }
        .into()
}

fn without_length(frame: &[Bytes]) -> Bytes {
    Bytes::from(frame.concat()).slice(4..)
}

fn contains(whole: &Bytes, part: &Bytes) -> bool {
    whole.as_ptr_range().contains(&part.as_ptr())
}

#[test]
fn produced_records_share_the_frame() {
    for version in 0..=12 {
        let request = produce(Bytes::from(vec![5; 100]));
        let frame = without_length(&encode_request(&request, version, 1, Some("me")));
        let (header, decoded) = decode_request(&frame).unwrap();
        assert_eq!((header.api_key, header.api_version), (ApiKey::Produce, version));
        assert_eq!(decoded, request);
        let Request::Produce(decoded) = decoded else { unreachable!() };
        let records = decoded.topic_data[0].partition_data[0].records.as_ref().unwrap();
        assert!(contains(&frame, records));
    }
}

#[test]
fn bytes_behind_a_request_are_left_alone() {
    // What librdkafka sends to ask for all topics: null, two booleans, no tags, three zeros.
    let mut frame = vec![0, 3, 0, 13, 0, 0, 0, 1, 0xff, 0xff, 0];
    frame.extend_from_slice(&[0; 7]);
    let (header, request) = decode_request(&Bytes::from(frame)).unwrap();
    assert_eq!((header.api_key, header.api_version), (ApiKey::Metadata, 13));
    let Request::Metadata(request) = request else { unreachable!() };
    assert_eq!(request.topics, None);
}

#[test]
fn fetched_batches_leave_as_they_came() {
    let batches = [Bytes::from(vec![1; 4096]), Bytes::from(vec![2; 8192])];
    let partition =
        PartitionData { records: batches.iter().cloned().collect(), ..Default::default() };
    let topic = FetchableTopicResponse { partitions: vec![partition], ..Default::default() };
    let response: Response = FetchResponse { responses: vec![topic], ..Default::default() }.into();
    for api_version in 4..=17 {
        let api_key = ApiKey::Fetch;
        let header = RequestHeader { api_key, api_version, correlation_id: 9, client_id: None };
        let pieces = encode_response(&header, &response);
        for batch in &batches {
            assert!(pieces.iter().any(|piece| piece.as_ptr() == batch.as_ptr()));
        }
        let frame = without_length(&pieces);
        assert_eq!(frame_bytes(pieces[0][..4].try_into().unwrap(), 1 << 20), Ok(frame.len()));
        let (correlation_id, decoded) = decode_response(api_key, api_version, &frame).unwrap();
        assert_eq!((correlation_id, &decoded), (9, &response));
    }
}

#[test]
fn record_sets_are_equal_whatever_their_pieces() {
    let whole = RecordSet::from(Bytes::from_static(b"abcd"));
    let halves: RecordSet = [&b"ab"[..], b"cd"].map(Bytes::from_static).into_iter().collect();
    assert_eq!(whole, halves);
    assert_eq!((halves.len(), halves.into_bytes()), (4, Bytes::from_static(b"abcd")));
    assert_ne!(whole, RecordSet::default());
}

#[test]
fn unknown_apis_and_versions_can_be_told_apart() {
    let head = |key: i16, version: i16| {
        let mut frame = Vec::new();
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&42i32.to_be_bytes());
        Bytes::from(frame)
    };
    assert_eq!(
        decode_request(&head(71, 0)),
        Err(WireError::UnknownApi { api_key: 71, api_version: 0, correlation_id: 42 })
    );
    let api_key = ApiKey::ApiVersions;
    assert_eq!(
        decode_request(&head(18, 9)),
        Err(WireError::UnsupportedVersion { api_key, api_version: 9, correlation_id: 42 })
    );
    let api_key = ApiKey::Fetch;
    assert_eq!(
        decode_request(&head(1, 3)),
        Err(WireError::UnsupportedVersion { api_key, api_version: 3, correlation_id: 42 })
    );
    for length in 0..8 {
        let cut = head(18, 0).slice(..length);
        assert!(matches!(decode_request(&cut), Err(WireError::Malformed(_))));
    }
    assert_eq!(frame_bytes([0xff; 4], 100), Err(WireError::FrameLength(-1)));
    assert_eq!(frame_bytes([0, 0, 0, 101], 100), Err(WireError::FrameLength(101)));
    assert_eq!(frame_bytes([0, 0, 0, 100], 100), Ok(100));
}

#[test]
fn the_fallback_of_api_versions_is_shaped_as_version_0() {
    let expected = [
        0, 0, 0, 16, // length
        0, 0, 0, 7, // correlation id
        0, 35, // UNSUPPORTED_VERSION
        0, 0, 0, 1, // one api
        0, 18, 0, 0, 0, 4, // ApiVersions 0-4
    ];
    assert_eq!(encode_unsupported_api_versions(7).concat(), expected);
    let frame = without_length(&encode_unsupported_api_versions(7));
    let (_, response) = decode_response(ApiKey::ApiVersions, 0, &frame).unwrap();
    let Response::ApiVersions(response) = response else { unreachable!() };
    assert_eq!(KafkaError::from_code(response.error_code), Some(KafkaError::UnsupportedVersion));
}

#[test]
fn produce_is_advertised_from_0() {
    let supported = mainstem_wire::ApiVersionsResponse::supported();
    assert_eq!(supported.api_keys.len(), ApiKey::ALL.len());
    let produce = &supported.api_keys[0];
    assert_eq!((produce.api_key, produce.min_version, produce.max_version), (0, 0, 12));
    assert!(supported.api_keys.is_sorted_by_key(|api| api.api_key));
}

#[test]
fn every_truncation_of_a_request_is_malformed() {
    for version in 0..=12 {
        let frame =
            without_length(&encode_request(&produce(Bytes::from_static(b"abc")), version, 1, None));
        for length in 0..frame.len() {
            let cut = frame.slice(..length);
            assert!(matches!(decode_request(&cut), Err(WireError::Malformed(_))));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bodies_never_panic(
        key in 0..ApiKey::ALL.len(), version in 0i16..18, body in vec(any::<u8>(), 0..100),
    ) {
        let key = ApiKey::ALL[key];
        let mut frame = [key.code().to_be_bytes(), version.to_be_bytes()].concat();
        frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff, 0]);
        frame.extend_from_slice(&body);
        if let Ok((header, request)) = decode_request(&frame.into()) {
            prop_assert_eq!(header.api_key, request.api_key());
        }
        if key.supported_versions().contains(&version) {
            let _ = decode_response(key, version, &body.into());
        }
    }
}
