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
    configs_agree: DescribeConfigsRequest DescribeConfigsResponse;
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
