//! Finding offsets: by time, and by leader epoch.

use crate::message::messages;

messages! {
    /// Asks for offsets by time: -1 the end, -2 the start, -3 the largest timestamp.
    message ListOffsetsRequest 1..=9, flexible 6.. {
        replica_id: i32, ..;
        isolation_level: i8, 2..;
        topics: Vec<ListOffsetsTopic>, ..;
    }

    /// Partitions of one topic to look in.
    part ListOffsetsTopic {
        name: String, ..;
        partitions: Vec<ListOffsetsPartition>, ..;
    }

    /// One partition and the time to look for.
    part ListOffsetsPartition {
        partition_index: i32, ..;
        current_leader_epoch: i32, 4.., default -1;
        timestamp: i64, ..;
    }

    /// Offsets by time.
    message ListOffsetsResponse 1..=9, flexible 6.. {
        throttle_time_ms: i32, 2..;
        topics: Vec<ListOffsetsTopicResponse>, ..;
    }

    /// What was found in one topic.
    part ListOffsetsTopicResponse {
        name: String, ..;
        partitions: Vec<ListOffsetsPartitionResponse>, ..;
    }

    /// What was found in one partition, -1 for nothing.
    part ListOffsetsPartitionResponse {
        partition_index: i32, ..;
        error_code: i16, ..;
        timestamp: i64, .., default -1;
        offset: i64, .., default -1;
        leader_epoch: i32, 4.., default -1;
    }

    /// Asks where leader epochs end, so that a reader can notice a truncated log.
    message OffsetForLeaderEpochRequest 2..=4, flexible 4.. {
        replica_id: i32, 3.., default -2;
        topics: Vec<OffsetForLeaderTopic>, ..;
    }

    /// Partitions of one topic.
    part OffsetForLeaderTopic {
        topic: String, ..;
        partitions: Vec<OffsetForLeaderPartition>, ..;
    }

    /// One partition and the epoch in question.
    part OffsetForLeaderPartition {
        partition: i32, ..;
        current_leader_epoch: i32, .., default -1;
        leader_epoch: i32, ..;
    }

    /// Where leader epochs end.
    message OffsetForLeaderEpochResponse 2..=4, flexible 4.. {
        throttle_time_ms: i32, ..;
        topics: Vec<OffsetForLeaderTopicResult>, ..;
    }

    /// The answers for one topic.
    part OffsetForLeaderTopicResult {
        topic: String, ..;
        partitions: Vec<EpochEndOffset>, ..;
    }

    /// The largest epoch not above the one asked for, and the offset after its last record.
    part EpochEndOffset {
        error_code: i16, ..;
        partition: i32, ..;
        leader_epoch: i32, .., default -1;
        end_offset: i64, .., default -1;
    }
}
