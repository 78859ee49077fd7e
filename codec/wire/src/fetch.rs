//! Reading record batches.

use mainstem_types::KafkaTopicId;

use crate::cluster::{LeaderIdAndEpoch, NodeEndpoint};
use crate::message::messages;
use crate::record_set::RecordSet;

messages! {
    /// Places to read from; in a session, the changes to them.
    message FetchRequest 4..=17, flexible 12.. {
        cluster_id: Option<String>, 12.., tag 0;
        replica_id: i32, ..=14, default -1;
        replica_state: ReplicaState, 15.., tag 1;
        max_wait_ms: i32, ..;
        min_bytes: i32, ..;
        max_bytes: i32, .., default i32::MAX;
        isolation_level: i8, ..;
        session_id: i32, 7..;
        session_epoch: i32, 7.., default -1;
        topics: Vec<FetchTopic>, ..;
        forgotten_topics_data: Vec<ForgottenTopic>, 7..;
        rack_id: String, 11..;
    }

    /// Who asks: -1 for a consumer.
    part ReplicaState {
        replica_id: i32, 15.., default -1;
        replica_epoch: i64, 15.., default -1;
    }

    /// Partitions of one topic to read.
    part FetchTopic {
        topic: String, ..=12;
        topic_id: KafkaTopicId, 13..;
        partitions: Vec<FetchPartition>, ..;
    }

    /// A place to read from.
    part FetchPartition {
        partition: i32, ..;
        current_leader_epoch: i32, 9.., default -1;
        fetch_offset: i64, ..;
        last_fetched_epoch: i32, 12.., default -1;
        log_start_offset: i64, 5.., default -1;
        partition_max_bytes: i32, ..;
    }

    /// Partitions to drop from the session.
    part ForgottenTopic {
        topic: String, 7..=12;
        topic_id: KafkaTopicId, 13..;
        partitions: Vec<i32>, 7..;
    }

    /// Record batches, as they lie in the log.
    message FetchResponse 4..=17, flexible 12.. {
        throttle_time_ms: i32, ..;
        error_code: i16, 7..;
        session_id: i32, 7..;
        responses: Vec<FetchableTopicResponse>, ..;
        node_endpoints: Vec<NodeEndpoint>, 16.., tag 0;
    }

    /// What was read from one topic.
    part FetchableTopicResponse {
        topic: String, ..=12;
        topic_id: KafkaTopicId, 13..;
        partitions: Vec<PartitionData>, ..;
    }

    /// What was read from one partition.
    part PartitionData {
        partition_index: i32, ..;
        error_code: i16, ..;
        high_watermark: i64, ..;
        last_stable_offset: i64, .., default -1;
        log_start_offset: i64, 5.., default -1;
        diverging_epoch: DivergingEpoch, 12.., tag 0;
        current_leader: LeaderIdAndEpoch, 12.., tag 1;
        aborted_transactions: Option<Vec<AbortedTransaction>>, ..;
        preferred_read_replica: i32, 11.., default -1;
        records: RecordSet, ..;
    }

    /// Where the log of the asker left the leader's.
    part DivergingEpoch {
        epoch: i32, 12.., default -1;
        end_offset: i64, 12.., default -1;
    }

    /// A transaction in the returned range that read_committed readers pass over.
    part AbortedTransaction {
        producer_id: i64, ..;
        first_offset: i64, ..;
    }
}
