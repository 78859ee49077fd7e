//! Writing: record sets, and the ids of those who write them.

use bytes::Bytes;

use crate::cluster::{LeaderIdAndEpoch, NodeEndpoint};
use crate::message::messages;

messages! {
    /// Record sets to append.
    message ProduceRequest 0..=12, flexible 9.. {
        transactional_id: Option<String>, 3..;
        acks: i16, ..;
        timeout_ms: i32, ..;
        topic_data: Vec<TopicProduceData>, ..;
    }

    /// What to append to one topic.
    part TopicProduceData {
        name: String, ..;
        partition_data: Vec<PartitionProduceData>, ..;
    }

    /// What to append to one partition.
    part PartitionProduceData {
        index: i32, ..;
        records: Option<Bytes>, ..;
    }

    /// What became of each record set.
    message ProduceResponse 0..=12, flexible 9.. {
        responses: Vec<TopicProduceResponse>, ..;
        throttle_time_ms: i32, 1..;
        node_endpoints: Vec<NodeEndpoint>, 10.., tag 0;
    }

    /// What became of one topic's record sets.
    part TopicProduceResponse {
        name: String, ..;
        partition_responses: Vec<PartitionProduceResponse>, ..;
    }

    /// What became of one partition's record set.
    part PartitionProduceResponse {
        index: i32, ..;
        error_code: i16, ..;
        base_offset: i64, ..;
        log_append_time_ms: i64, 2.., default -1;
        log_start_offset: i64, 5.., default -1;
        record_errors: Vec<BatchIndexAndErrorMessage>, 8..;
        error_message: Option<String>, 8..;
        current_leader: LeaderIdAndEpoch, 10.., tag 0;
    }

    /// A record that made its batch be refused.
    part BatchIndexAndErrorMessage {
        batch_index: i32, 8..;
        batch_index_error_message: Option<String>, 8..;
    }

    /// Asks for a producer id, or for a higher epoch of one.
    message InitProducerIdRequest 0..=5, flexible 2.. {
        transactional_id: Option<String>, ..;
        transaction_timeout_ms: i32, ..;
        producer_id: i64, 3.., default -1;
        producer_epoch: i16, 3.., default -1;
    }

    /// A producer id and its epoch.
    message InitProducerIdResponse 0..=5, flexible 2.. {
        throttle_time_ms: i32, ..;
        error_code: i16, ..;
        producer_id: i64, .., default -1;
        producer_epoch: i16, ..;
    }
}
