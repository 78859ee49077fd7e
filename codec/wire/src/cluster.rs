//! The cluster and where its brokers are.

use crate::message::messages;

messages! {
    /// Asks for the cluster: its brokers (endpoint type 1) or controllers (2).
    message DescribeClusterRequest 0..=1, flexible 0.. {
        include_cluster_authorized_operations: bool, ..;
        endpoint_type: i8, 1.., default 1;
    }

    /// The cluster and its brokers.
    message DescribeClusterResponse 0..=1, flexible 0.. {
        throttle_time_ms: i32, ..;
        error_code: i16, ..;
        error_message: Option<String>, ..;
        endpoint_type: i8, 1.., default 1;
        cluster_id: String, ..;
        controller_id: i32, .., default -1;
        brokers: Vec<DescribeClusterBroker>, ..;
        cluster_authorized_operations: i32, .., default i32::MIN;
    }

    /// A broker and its address.
    part DescribeClusterBroker {
        broker_id: i32, ..;
        host: String, ..;
        port: i32, ..;
        rack: Option<String>, ..;
    }

    /// Who leads a partition now, as far as the answering broker knows.
    part LeaderIdAndEpoch {
        leader_id: i32, .., default -1;
        leader_epoch: i32, .., default -1;
    }

    /// Where a broker named elsewhere in the response is reached.
    part NodeEndpoint {
        node_id: i32, ..;
        host: String, ..;
        port: i32, ..;
        rack: Option<String>, ..;
    }
}
