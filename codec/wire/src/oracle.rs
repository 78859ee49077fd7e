//! Every message in every version through another implementation, both ways.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as other;
use kafka_protocol::protocol::{Decodable, Encodable};

use crate::message::Message;
use crate::rope::Rope;
use crate::value::{Shape, Wire};

const ROLLS: u64 = 200;

/// Random values from a seed (`SplitMix64`).
pub struct Dice(u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn roll_option<T: Wire>(&mut self, shape: Shape) -> Option<T> {
        if shape.nullable && self.below(3) == 0 { None } else { Some(T::roll(self, shape)) }
    }
}

fn encode<M: Message>(message: &M, version: i16) -> Bytes {
    let mut out = Rope::new();
    message.encode(version, &mut out);
    let length = out.len();
    let bytes = out.into_bytes();
    assert_eq!(bytes.len(), length);
    bytes
}

fn check<Ours, Theirs>()
where
    Ours: Message + PartialEq + std::fmt::Debug,
    Theirs: Encodable + Decodable + std::fmt::Debug,
{
    for version in Ours::VERSIONS {
        for seed in 0..ROLLS {
            check_one::<Ours, Theirs>(version, seed);
        }
    }
}

fn check_one<Ours, Theirs>(version: i16, seed: u64)
where
    Ours: Message + PartialEq + std::fmt::Debug,
    Theirs: Encodable + Decodable + std::fmt::Debug,
{
    let name = std::any::type_name::<Ours>();
    let ours = Ours::roll(&mut Dice(seed), version);
    let bytes = encode(&ours, version);
    assert_eq!(Ours::decode(bytes.clone(), version).unwrap(), ours, "{name} {version} {seed}");

    let mut rest = bytes.clone();
    let theirs = Theirs::decode(&mut rest, version)
        .unwrap_or_else(|error| panic!("{name} {version} {seed}: {error} in {ours:?}"));
    assert!(rest.is_empty(), "{name} {version} {seed}: they leave {} bytes", rest.len());
    let mut again = BytesMut::new();
    theirs.encode(&mut again, version).unwrap_or_else(|error| panic!("{name} {version}: {error}"));
    assert_eq!(again, bytes, "{name} {version} {seed}: {ours:?} {theirs:?}");

    // Whatever is missing, or wrong, is an error and not a panic.
    let cut = Dice(seed ^ 1).below(bytes.len().max(1));
    if !bytes.is_empty() {
        assert!(
            Ours::decode(bytes.slice(..cut), version).is_err(),
            "{name} {version} {seed} {cut}"
        );
        let mut damaged = bytes.to_vec();
        damaged[cut] = Dice(seed ^ 2).next() as u8;
        let _ = Ours::decode(damaged.into(), version);
    }
}

macro_rules! oracle {
    ($($test:ident: $($message:ident)*;)*) => {$(
        #[test]
        fn $test() {
            $(check::<crate::$message, other::$message>();)*
        }
    )*};
}

oracle! {
    init_producer_id_agrees: InitProducerIdRequest InitProducerIdResponse;
    fetch_agrees: FetchRequest FetchResponse;
    list_offsets_agrees: ListOffsetsRequest ListOffsetsResponse;
    epochs_agree: OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
    metadata_agrees: MetadataRequest MetadataResponse;
    offsets_agree: OffsetCommitRequest OffsetCommitResponse OffsetFetchRequest OffsetFetchResponse;
    coordinators_agree: FindCoordinatorRequest FindCoordinatorResponse;
    joining_agrees: JoinGroupRequest JoinGroupResponse SyncGroupRequest SyncGroupResponse;
    staying_agrees: HeartbeatRequest HeartbeatResponse LeaveGroupRequest LeaveGroupResponse;
    groups_agree: DescribeGroupsRequest DescribeGroupsResponse ListGroupsRequest
        ListGroupsResponse DeleteGroupsRequest DeleteGroupsResponse;
    api_versions_agrees: ApiVersionsRequest ApiVersionsResponse;
    topics_agree: CreateTopicsRequest CreateTopicsResponse DeleteTopicsRequest
        DeleteTopicsResponse CreatePartitionsRequest CreatePartitionsResponse;
    trims_agree: DeleteRecordsRequest DeleteRecordsResponse;
    configs_agree: DescribeConfigsRequest DescribeConfigsResponse AlterConfigsRequest
        AlterConfigsResponse IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
    transactions_agree: AddPartitionsToTxnRequest AddPartitionsToTxnResponse
        AddOffsetsToTxnRequest AddOffsetsToTxnResponse EndTxnRequest EndTxnResponse
        TxnOffsetCommitRequest TxnOffsetCommitResponse;
    cluster_agrees: DescribeClusterRequest DescribeClusterResponse;
}

/// The other implementation does not speak versions below 3, which we only refuse politely.
#[test]
fn produce_agrees() {
    for version in 3..=12 {
        for seed in 0..ROLLS {
            check_one::<crate::ProduceRequest, other::ProduceRequest>(version, seed);
            check_one::<crate::ProduceResponse, other::ProduceResponse>(version, seed);
        }
    }
}

/// Header and body together, for every api in every version.
#[test]
fn frames_agree() {
    use kafka_protocol::messages::ApiKey as OtherKey;
    for &key in crate::ApiKey::ALL {
        let other_key = OtherKey::try_from(key.code()).unwrap();
        for version in key.supported_versions() {
            let mut dice = Dice(version.cast_unsigned().into());
            let request = crate::Request::roll(&mut dice, key, version);
            let client_id = [None, Some("clïent")][dice.below(2)];
            let frame = crate::encode_request(&request, version, 77, client_id).concat();
            let mut frame = Bytes::from(frame);
            assert_eq!(frame.split_to(4), (frame.len() as i32).to_be_bytes()[..]);
            let (header, decoded) = crate::decode_request(&frame).unwrap();
            assert_eq!((&decoded, header.correlation_id), (&request, 77));
            assert_eq!(header.client_id.as_deref(), client_id);

            let mut rest = frame.clone();
            let header_version = other_key.request_header_version(version);
            let theirs = other::RequestHeader::decode(&mut rest, header_version).unwrap();
            assert_eq!((theirs.request_api_key, theirs.request_api_version), (key.code(), version));
            assert_eq!((theirs.correlation_id, theirs.client_id.as_deref()), (77, client_id));
            let mut body = Rope::new();
            request.encode(version, &mut body);
            assert_eq!(rest, body.into_bytes(), "{key:?} {version}: where the header ends");

            let response = crate::Response::roll(&mut dice, key, version);
            let frame = Bytes::from(crate::encode_response(&header, &response).concat());
            let frame = frame.slice(4..);
            let decoded = crate::decode_response(key, version, &frame).unwrap();
            assert_eq!(decoded, (77, response.clone()));
            let mut rest = frame;
            let header_version = other_key.response_header_version(version);
            let theirs = other::ResponseHeader::decode(&mut rest, header_version).unwrap();
            assert_eq!(theirs.correlation_id, 77);
            let mut body = Rope::new();
            response.encode(version, &mut body);
            assert_eq!(rest, body.into_bytes(), "{key:?} {version}: where the header ends");
        }
    }
}

#[test]
fn error_codes_agree() {
    use kafka_protocol::ResponseError;
    for code in -5..200 {
        let theirs = ResponseError::try_from_code(code);
        match (crate::KafkaError::from_code(code), theirs) {
            (Some(crate::KafkaError::None), None) => assert_eq!(code, 0),
            (None, Some(ResponseError::Unknown(_))) => {}
            (Some(ours), Some(theirs)) => {
                assert_eq!(ours.code(), theirs.code());
                assert_eq!(ours.is_retriable(), theirs.is_retriable(), "{ours}");
            }
            (ours, theirs) => panic!("{code}: {ours:?} {theirs:?}"),
        }
    }
}
