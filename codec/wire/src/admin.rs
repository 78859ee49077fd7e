//! Creating, changing and deleting topics, and their settings.

use mainstem_types::KafkaTopicId;

use crate::message::messages;

messages! {
    /// Topics to create.
    message CreateTopicsRequest 2..=7, flexible 5.. {
        topics: Vec<CreatableTopic>, ..;
        timeout_ms: i32, .., default 60_000;
        validate_only: bool, ..;
    }

    /// A topic to create; -1 for the default number of partitions and replicas.
    part CreatableTopic {
        name: String, ..;
        num_partitions: i32, ..;
        replication_factor: i16, ..;
        assignments: Vec<CreatableReplicaAssignment>, ..;
        configs: Vec<CreatableTopicConfig>, ..;
    }

    /// Where the replicas of one partition shall lie.
    part CreatableReplicaAssignment {
        partition_index: i32, ..;
        broker_ids: Vec<i32>, ..;
    }

    /// A setting of the new topic.
    part CreatableTopicConfig {
        name: String, ..;
        value: Option<String>, ..;
    }

    /// What became of each topic.
    message CreateTopicsResponse 2..=7, flexible 5.. {
        throttle_time_ms: i32, ..;
        topics: Vec<CreatableTopicResult>, ..;
    }

    /// What became of one topic.
    part CreatableTopicResult {
        name: String, ..;
        topic_id: KafkaTopicId, 7..;
        error_code: i16, ..;
        error_message: Option<String>, ..;
        topic_config_error_code: i16, 5.., tag 0;
        num_partitions: i32, 5.., default -1;
        replication_factor: i16, 5.., default -1;
        configs: Option<Vec<CreatableTopicConfigs>>, 5.., default Some(Vec::new());
    }

    /// A setting of the created topic.
    part CreatableTopicConfigs {
        name: String, 5..;
        value: Option<String>, 5..;
        read_only: bool, 5..;
        config_source: i8, 5.., default -1;
        is_sensitive: bool, 5..;
    }

    /// Topics to delete: by name up to version 5, by name or id from 6.
    message DeleteTopicsRequest 1..=6, flexible 4.. {
        topics: Vec<DeleteTopicState>, 6..;
        topic_names: Vec<String>, ..=5;
        timeout_ms: i32, ..;
    }

    /// A topic by name, or by id with the name null.
    part DeleteTopicState {
        name: Option<String>, 6..;
        topic_id: KafkaTopicId, 6..;
    }

    /// What became of each topic.
    message DeleteTopicsResponse 1..=6, flexible 4.. {
        throttle_time_ms: i32, ..;
        responses: Vec<DeletableTopicResult>, ..;
    }

    /// What became of one topic.
    part DeletableTopicResult {
        name: Option<String>, .., null 6..;
        topic_id: KafkaTopicId, 6..;
        error_code: i16, ..;
        error_message: Option<String>, 5..;
    }

    /// Asks for settings of topics (type 2) and brokers (type 4).
    message DescribeConfigsRequest 1..=4, flexible 4.. {
        resources: Vec<DescribeConfigsResource>, ..;
        include_synonyms: bool, ..;
        include_documentation: bool, 3..;
    }

    /// One topic or broker; keys null for all of its settings.
    part DescribeConfigsResource {
        resource_type: i8, ..;
        resource_name: String, ..;
        configuration_keys: Option<Vec<String>>, ..;
    }

    /// Settings.
    message DescribeConfigsResponse 1..=4, flexible 4.. {
        throttle_time_ms: i32, ..;
        results: Vec<DescribeConfigsResult>, ..;
    }

    /// Settings of one topic or broker.
    part DescribeConfigsResult {
        error_code: i16, ..;
        error_message: Option<String>, ..;
        resource_type: i8, ..;
        resource_name: String, ..;
        configs: Vec<DescribeConfigsResourceResult>, ..;
    }

    /// One setting. Source 1 is the topic's own, 4 the broker's file, 5 the default.
    part DescribeConfigsResourceResult {
        name: String, ..;
        value: Option<String>, ..;
        read_only: bool, ..;
        config_source: i8, .., default -1;
        is_sensitive: bool, ..;
        synonyms: Vec<DescribeConfigsSynonym>, ..;
        config_type: i8, 3..;
        documentation: Option<String>, 3..;
    }

    /// Where a setting would come from if it were not set here.
    part DescribeConfigsSynonym {
        name: String, ..;
        value: Option<String>, ..;
        source: i8, ..;
    }

    /// Settings that topics shall have, and no others.
    message AlterConfigsRequest 0..=2, flexible 2.. {
        resources: Vec<AlterConfigsResource>, ..;
        validate_only: bool, ..;
    }

    /// All settings of one topic.
    part AlterConfigsResource {
        resource_type: i8, ..;
        resource_name: String, ..;
        configs: Vec<AlterableConfig>, ..;
    }

    /// One setting; null for the default.
    part AlterableConfig {
        name: String, ..;
        value: Option<String>, ..;
    }

    /// What became of each resource.
    message AlterConfigsResponse 0..=2, flexible 2.. {
        throttle_time_ms: i32, ..;
        responses: Vec<AlterConfigsResourceResponse>, ..;
    }

    /// What became of one resource.
    part AlterConfigsResourceResponse {
        error_code: i16, ..;
        error_message: Option<String>, ..;
        resource_type: i8, ..;
        resource_name: String, ..;
    }

    /// Changes to settings of topics.
    message IncrementalAlterConfigsRequest 0..=1, flexible 1.. {
        resources: Vec<IncrementalAlterConfigsResource>, ..;
        validate_only: bool, ..;
    }

    /// Changes to settings of one topic.
    part IncrementalAlterConfigsResource {
        resource_type: i8, ..;
        resource_name: String, ..;
        configs: Vec<IncrementallyAlterableConfig>, ..;
    }

    /// Operation 0 sets, 1 goes back to the default, 2 adds to a list, 3 takes from it.
    part IncrementallyAlterableConfig {
        name: String, ..;
        config_operation: i8, ..;
        value: Option<String>, ..;
    }

    /// What became of each resource.
    message IncrementalAlterConfigsResponse 0..=1, flexible 1.. {
        throttle_time_ms: i32, ..;
        responses: Vec<AlterConfigsResourceResponse>, ..;
    }

    /// Topics that shall have more partitions.
    message CreatePartitionsRequest 0..=3, flexible 2.. {
        topics: Vec<CreatePartitionsTopic>, ..;
        timeout_ms: i32, ..;
        validate_only: bool, ..;
    }

    /// A topic and the number of partitions it shall have.
    part CreatePartitionsTopic {
        name: String, ..;
        count: i32, ..;
        assignments: Option<Vec<CreatePartitionsAssignment>>, ..;
    }

    /// Where the replicas of one new partition shall lie.
    part CreatePartitionsAssignment {
        broker_ids: Vec<i32>, ..;
    }

    /// What became of each topic's growth.
    message CreatePartitionsResponse 0..=3, flexible 2.. {
        throttle_time_ms: i32, ..;
        results: Vec<CreatePartitionsTopicResult>, ..;
    }

    /// What became of one topic's growth.
    part CreatePartitionsTopicResult {
        name: String, ..;
        error_code: i16, ..;
        error_message: Option<String>, ..;
    }

    /// Records to delete, from the start of partitions.
    message DeleteRecordsRequest 0..=2, flexible 2.. {
        topics: Vec<DeleteRecordsTopic>, ..;
        timeout_ms: i32, ..;
    }

    /// Partitions of one topic to trim.
    part DeleteRecordsTopic {
        name: String, ..;
        partitions: Vec<DeleteRecordsPartition>, ..;
    }

    /// The new start of one partition, -1 for the high watermark.
    part DeleteRecordsPartition {
        partition_index: i32, ..;
        offset: i64, ..;
    }

    /// What became of each trim.
    message DeleteRecordsResponse 0..=2, flexible 2.. {
        throttle_time_ms: i32, ..;
        topics: Vec<DeleteRecordsTopicResult>, ..;
    }

    /// What became of one topic's trims.
    part DeleteRecordsTopicResult {
        name: String, ..;
        partitions: Vec<DeleteRecordsPartitionResult>, ..;
    }

    /// The start of one partition after the trim.
    part DeleteRecordsPartitionResult {
        partition_index: i32, ..;
        low_watermark: i64, ..;
        error_code: i16, ..;
    }
}
