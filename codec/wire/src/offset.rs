//! How far groups have come.

use crate::message::messages;

messages! {
    /// Offsets a group has come to.
    message OffsetCommitRequest 2..=9, flexible 8.. {
        group_id: String, ..;
        generation_id_or_member_epoch: i32, .., default -1;
        member_id: String, ..;
        group_instance_id: Option<String>, 7..;
        retention_time_ms: i64, ..=4, default -1;
        topics: Vec<OffsetCommitRequestTopic>, ..;
    }

    /// Offsets in one topic.
    part OffsetCommitRequestTopic {
        name: String, ..;
        partitions: Vec<OffsetCommitRequestPartition>, ..;
    }

    /// The offset in one partition.
    part OffsetCommitRequestPartition {
        partition_index: i32, ..;
        committed_offset: i64, ..;
        committed_leader_epoch: i32, 6.., default -1;
        committed_metadata: Option<String>, ..;
    }

    /// What became of each offset.
    message OffsetCommitResponse 2..=9, flexible 8.. {
        throttle_time_ms: i32, 3..;
        topics: Vec<OffsetCommitResponseTopic>, ..;
    }

    /// What became of one topic's offsets.
    part OffsetCommitResponseTopic {
        name: String, ..;
        partitions: Vec<OffsetCommitResponsePartition>, ..;
    }

    /// What became of one partition's offset.
    part OffsetCommitResponsePartition {
        partition_index: i32, ..;
        error_code: i16, ..;
    }

    /// Asks for committed offsets: of one group up to version 7, of many from 8.
    message OffsetFetchRequest 1..=9, flexible 6.. {
        group_id: String, ..=7;
        topics: Option<Vec<OffsetFetchRequestTopic>>, ..=7, null 2..;
        groups: Vec<OffsetFetchRequestGroup>, 8..;
        require_stable: bool, 7..;
    }

    /// Partitions of one topic, up to version 7.
    part OffsetFetchRequestTopic {
        name: String, ..=7;
        partition_indexes: Vec<i32>, ..=7;
    }

    /// One group; topics null for all of them.
    part OffsetFetchRequestGroup {
        group_id: String, 8..;
        member_id: Option<String>, 9..;
        member_epoch: i32, 9.., default -1;
        topics: Option<Vec<OffsetFetchRequestTopics>>, 8..;
    }

    /// Partitions of one topic, from version 8.
    part OffsetFetchRequestTopics {
        name: String, 8..;
        partition_indexes: Vec<i32>, 8..;
    }

    /// Committed offsets.
    message OffsetFetchResponse 1..=9, flexible 6.. {
        throttle_time_ms: i32, 3..;
        topics: Vec<OffsetFetchResponseTopic>, ..=7;
        error_code: i16, 2..=7;
        groups: Vec<OffsetFetchResponseGroup>, 8..;
    }

    /// Offsets in one topic, up to version 7.
    part OffsetFetchResponseTopic {
        name: String, ..=7;
        partitions: Vec<OffsetFetchResponsePartition>, ..=7;
    }

    /// The offset in one partition, -1 for none, up to version 7.
    part OffsetFetchResponsePartition {
        partition_index: i32, ..=7;
        committed_offset: i64, ..=7;
        committed_leader_epoch: i32, 5..=7, default -1;
        metadata: Option<String>, ..=7;
        error_code: i16, ..=7;
    }

    /// Offsets of one group.
    part OffsetFetchResponseGroup {
        group_id: String, 8..;
        topics: Vec<OffsetFetchResponseTopics>, 8..;
        error_code: i16, 8..;
    }

    /// Offsets in one topic, from version 8.
    part OffsetFetchResponseTopics {
        name: String, 8..;
        partitions: Vec<OffsetFetchResponsePartitions>, 8..;
    }

    /// The offset in one partition, -1 for none, from version 8.
    part OffsetFetchResponsePartitions {
        partition_index: i32, 8..;
        committed_offset: i64, 8..;
        committed_leader_epoch: i32, 8.., default -1;
        metadata: Option<String>, 8..;
        error_code: i16, 8..;
    }
}
