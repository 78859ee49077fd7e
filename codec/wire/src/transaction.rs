//! Transactions: what takes part in one, and how it ends (KIP-98).

use crate::message::messages;

messages! {
    /// Partitions that a producer is about to write to in its transaction. Clients send up to
    /// version 3; version 4 has many transactions.
    message AddPartitionsToTxnRequest 0..=4, flexible 3.. {
        transactional_id: String, ..=3;
        producer_id: i64, ..=3;
        producer_epoch: i16, ..=3;
        topics: Vec<AddPartitionsToTxnTopic>, ..=3;
        transactions: Vec<AddPartitionsToTxnTransaction>, 4..;
    }

    /// One transaction, from version 4.
    part AddPartitionsToTxnTransaction {
        transactional_id: String, 4..;
        producer_id: i64, 4..;
        producer_epoch: i16, 4..;
        verify_only: bool, 4..;
        topics: Vec<AddPartitionsToTxnTopic>, 4..;
    }

    /// Partitions of one topic.
    part AddPartitionsToTxnTopic {
        name: String, ..;
        partitions: Vec<i32>, ..;
    }

    /// Whether they take part now: all of them or none.
    message AddPartitionsToTxnResponse 0..=4, flexible 3.. {
        throttle_time_ms: i32, ..;
        error_code: i16, 4..;
        results_by_transaction: Vec<AddPartitionsToTxnResult>, 4..;
        results_by_topic: Vec<AddPartitionsToTxnTopicResult>, ..=3;
    }

    /// One transaction's outcome, from version 4.
    part AddPartitionsToTxnResult {
        transactional_id: String, 4..;
        topic_results: Vec<AddPartitionsToTxnTopicResult>, 4..;
    }

    /// One topic's outcome.
    part AddPartitionsToTxnTopicResult {
        name: String, ..;
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult>, ..;
    }

    /// One partition's outcome.
    part AddPartitionsToTxnPartitionResult {
        partition_index: i32, ..;
        partition_error_code: i16, ..;
    }

    /// A group whose offsets a producer is about to commit in its transaction.
    message AddOffsetsToTxnRequest 0..=4, flexible 3.. {
        transactional_id: String, ..;
        producer_id: i64, ..;
        producer_epoch: i16, ..;
        group_id: String, ..;
    }

    /// Whether the group takes part.
    message AddOffsetsToTxnResponse 0..=4, flexible 3.. {
        throttle_time_ms: i32, ..;
        error_code: i16, ..;
    }

    /// A transaction ends.
    message EndTxnRequest 0..=4, flexible 3.. {
        transactional_id: String, ..;
        producer_id: i64, ..;
        producer_epoch: i16, ..;
        committed: bool, ..;
    }

    /// Whether it did.
    message EndTxnResponse 0..=4, flexible 3.. {
        throttle_time_ms: i32, ..;
        error_code: i16, ..;
    }

    /// Offsets that a group comes to if the transaction is committed.
    message TxnOffsetCommitRequest 0..=4, flexible 3.. {
        transactional_id: String, ..;
        group_id: String, ..;
        producer_id: i64, ..;
        producer_epoch: i16, ..;
        generation_id: i32, 3.., default -1;
        member_id: String, 3..;
        group_instance_id: Option<String>, 3..;
        topics: Vec<TxnOffsetCommitRequestTopic>, ..;
    }

    /// Offsets in one topic.
    part TxnOffsetCommitRequestTopic {
        name: String, ..;
        partitions: Vec<TxnOffsetCommitRequestPartition>, ..;
    }

    /// The offset in one partition.
    part TxnOffsetCommitRequestPartition {
        partition_index: i32, ..;
        committed_offset: i64, ..;
        committed_leader_epoch: i32, 2.., default -1;
        committed_metadata: Option<String>, ..;
    }

    /// What became of each offset.
    message TxnOffsetCommitResponse 0..=4, flexible 3.. {
        throttle_time_ms: i32, ..;
        topics: Vec<TxnOffsetCommitResponseTopic>, ..;
    }

    /// What became of one topic's offsets.
    part TxnOffsetCommitResponseTopic {
        name: String, ..;
        partitions: Vec<TxnOffsetCommitResponsePartition>, ..;
    }

    /// What became of one partition's offset.
    part TxnOffsetCommitResponsePartition {
        partition_index: i32, ..;
        error_code: i16, ..;
    }
}
