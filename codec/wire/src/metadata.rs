//! Brokers and topics, as every client asks for them first.

use mainstem_types::KafkaTopicId;

use crate::message::messages;

messages! {
    /// Asks for brokers and topics. No topics: none in version 0 means all, null does later.
    message MetadataRequest 0..=13, flexible 9.. {
        topics: Option<Vec<MetadataRequestTopic>>, .., null 1..;
        allow_auto_topic_creation: bool, 4.., default true;
        include_cluster_authorized_operations: bool, 8..=10;
        include_topic_authorized_operations: bool, 8..;
    }

    /// A topic by name, or by id with the name null.
    part MetadataRequestTopic {
        topic_id: KafkaTopicId, 10..;
        name: Option<String>, .., null 10..;
    }

    /// Brokers and topics.
    message MetadataResponse 0..=13, flexible 9.. {
        throttle_time_ms: i32, 3..;
        brokers: Vec<MetadataResponseBroker>, ..;
        cluster_id: Option<String>, 2..;
        controller_id: i32, 1.., default -1;
        topics: Vec<MetadataResponseTopic>, ..;
        cluster_authorized_operations: i32, 8..=10, default i32::MIN;
        error_code: i16, 13..;
    }

    /// A broker and its address.
    part MetadataResponseBroker {
        node_id: i32, ..;
        host: String, ..;
        port: i32, ..;
        rack: Option<String>, 1..;
    }

    /// A topic, or why there is none.
    part MetadataResponseTopic {
        error_code: i16, ..;
        name: Option<String>, .., null 12..;
        topic_id: KafkaTopicId, 10..;
        is_internal: bool, 1..;
        partitions: Vec<MetadataResponsePartition>, ..;
        topic_authorized_operations: i32, 8.., default i32::MIN;
    }

    /// A partition and who serves it.
    part MetadataResponsePartition {
        error_code: i16, ..;
        partition_index: i32, ..;
        leader_id: i32, ..;
        leader_epoch: i32, 7.., default -1;
        replica_nodes: Vec<i32>, ..;
        isr_nodes: Vec<i32>, ..;
        offline_replicas: Vec<i32>, 5..;
    }
}
