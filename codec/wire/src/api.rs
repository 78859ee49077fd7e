//! The apis that are served, each with its request and its response.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::malformed::Malformed;
use crate::message::Message;
use crate::rope::Rope;
use crate::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, AlterConfigsRequest, AlterConfigsResponse, ApiVersionsRequest,
    ApiVersionsResponse, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteGroupsRequest, DeleteGroupsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse, DescribeClusterRequest,
    DescribeClusterResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    DescribeGroupsRequest, DescribeGroupsResponse, EndTxnRequest, EndTxnResponse, FetchRequest,
    FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest,
    HeartbeatResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    InitProducerIdRequest, InitProducerIdResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse,
    ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, ProduceRequest, ProduceResponse,
    SyncGroupRequest, SyncGroupResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

macro_rules! apis {
    ($($name:ident = $key:literal: $request:ident => $response:ident;)*) => {
        /// What a request asks for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("[`", stringify!($request), "`], [`", stringify!($response), "`].")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// All that are served, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code as sent.
            pub const fn code(self) -> i16 {
                self as i16
            }

            /// The api with this code.
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Versions to advertise, all of which are read and written. Produce below 3 is among
            /// them because some clients look for version 0; it carries old message formats, so
            /// the door answers it with `UNSUPPORTED_VERSION`.
            pub const fn supported_versions(self) -> RangeInclusive<i16> {
                match self {
                    $(Self::$name => <$request as Message>::VERSIONS,)*
                }
            }

            pub(crate) fn is_flexible(self, version: i16) -> bool {
                match self {
                    $(Self::$name => <$request as Message>::is_flexible(version),)*
                }
            }
        }

        /// A request's body.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is the message of its name")]
        pub enum Request {
            $($name($request),)*
        }

        impl Request {
            /// What it asks for.
            pub fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }

            pub(crate) fn encode(&self, version: i16, out: &mut Rope) {
                match self {
                    $(Self::$name(body) => body.encode(version, out),)*
                }
            }

            pub(crate) fn decode(
                api_key: ApiKey,
                version: i16,
                body: Bytes,
            ) -> Result<Self, Malformed> {
                match api_key {
                    $(ApiKey::$name => Message::decode(body, version).map(Self::$name),)*
                }
            }

            #[cfg(test)]
            pub(crate) fn roll(
                dice: &mut crate::oracle::Dice,
                api_key: ApiKey,
                version: i16,
            ) -> Self {
                match api_key {
                    $(ApiKey::$name => Self::$name(Message::roll(dice, version)),)*
                }
            }
        }

        /// A response's body.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is the message of its name")]
        pub enum Response {
            $($name($response),)*
        }

        impl Response {
            /// What it answers.
            pub fn api_key(&self) -> ApiKey {
                match self {
                    $(Self::$name(_) => ApiKey::$name,)*
                }
            }

            pub(crate) fn encode(&self, version: i16, out: &mut Rope) {
                match self {
                    $(Self::$name(body) => body.encode(version, out),)*
                }
            }

            pub(crate) fn decode(
                api_key: ApiKey,
                version: i16,
                body: Bytes,
            ) -> Result<Self, Malformed> {
                match api_key {
                    $(ApiKey::$name => Message::decode(body, version).map(Self::$name),)*
                }
            }

            #[cfg(test)]
            pub(crate) fn roll(
                dice: &mut crate::oracle::Dice,
                api_key: ApiKey,
                version: i16,
            ) -> Self {
                match api_key {
                    $(ApiKey::$name => Self::$name(Message::roll(dice, version)),)*
                }
            }
        }

        $(
            const _: () = assert!(
                *<$request as Message>::VERSIONS.start()
                    == *<$response as Message>::VERSIONS.start()
                    && *<$request as Message>::VERSIONS.end()
                        == *<$response as Message>::VERSIONS.end()
                    && <$request as Message>::FLEXIBLE_FROM
                        == <$response as Message>::FLEXIBLE_FROM,
                "a request and its response have the same versions"
            );

            impl From<$request> for Request {
                fn from(body: $request) -> Self {
                    Self::$name(body)
                }
            }

            impl From<$response> for Response {
                fn from(body: $response) -> Self {
                    Self::$name(body)
                }
            }
        )*
    };
}

apis! {
    Produce = 0: ProduceRequest => ProduceResponse;
    Fetch = 1: FetchRequest => FetchResponse;
    ListOffsets = 2: ListOffsetsRequest => ListOffsetsResponse;
    Metadata = 3: MetadataRequest => MetadataResponse;
    OffsetCommit = 8: OffsetCommitRequest => OffsetCommitResponse;
    OffsetFetch = 9: OffsetFetchRequest => OffsetFetchResponse;
    FindCoordinator = 10: FindCoordinatorRequest => FindCoordinatorResponse;
    JoinGroup = 11: JoinGroupRequest => JoinGroupResponse;
    Heartbeat = 12: HeartbeatRequest => HeartbeatResponse;
    LeaveGroup = 13: LeaveGroupRequest => LeaveGroupResponse;
    SyncGroup = 14: SyncGroupRequest => SyncGroupResponse;
    DescribeGroups = 15: DescribeGroupsRequest => DescribeGroupsResponse;
    ListGroups = 16: ListGroupsRequest => ListGroupsResponse;
    ApiVersions = 18: ApiVersionsRequest => ApiVersionsResponse;
    CreateTopics = 19: CreateTopicsRequest => CreateTopicsResponse;
    DeleteTopics = 20: DeleteTopicsRequest => DeleteTopicsResponse;
    DeleteRecords = 21: DeleteRecordsRequest => DeleteRecordsResponse;
    InitProducerId = 22: InitProducerIdRequest => InitProducerIdResponse;
    OffsetForLeaderEpoch = 23: OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse;
    AddPartitionsToTxn = 24: AddPartitionsToTxnRequest => AddPartitionsToTxnResponse;
    AddOffsetsToTxn = 25: AddOffsetsToTxnRequest => AddOffsetsToTxnResponse;
    EndTxn = 26: EndTxnRequest => EndTxnResponse;
    TxnOffsetCommit = 28: TxnOffsetCommitRequest => TxnOffsetCommitResponse;
    DescribeConfigs = 32: DescribeConfigsRequest => DescribeConfigsResponse;
    AlterConfigs = 33: AlterConfigsRequest => AlterConfigsResponse;
    CreatePartitions = 37: CreatePartitionsRequest => CreatePartitionsResponse;
    DeleteGroups = 42: DeleteGroupsRequest => DeleteGroupsResponse;
    IncrementalAlterConfigs = 44: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse;
    DescribeCluster = 60: DescribeClusterRequest => DescribeClusterResponse;
}
