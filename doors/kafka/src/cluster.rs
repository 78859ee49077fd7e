//! The cluster and who coordinates: this node, in both cases.

use mainstem_wire::{
    Coordinator, DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, KafkaError,
};

use crate::context::Context;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const BROKERS: i8 = 1;

pub(crate) fn find_coordinator(
    ctx: &Context,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let known = matches!(request.key_type, GROUP | TRANSACTION);
    let (error, message) = if known {
        (KafkaError::None, None)
    } else {
        let message = format!("there are no coordinators of type {}", request.key_type);
        (KafkaError::InvalidRequest, Some(message))
    };
    let node_id = if known { ctx.node.node_id() } else { -1 };
    let host = if known { ctx.listener.host.clone() } else { String::new() };
    let port = if known { ctx.listener.port.into() } else { -1 };
    if version < 4 {
        return FindCoordinatorResponse {
            error_code: error.code(),
            error_message: message,
            node_id,
            host,
            port,
            ..Default::default()
        };
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| Coordinator {
        key,
        node_id,
        host: host.clone(),
        port,
        error_code: error.code(),
        error_message: message.clone(),
    });
    FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() }
}

pub(crate) fn describe(ctx: &Context, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        return DescribeClusterResponse {
            error_code: KafkaError::UnsupportedEndpointType.code(),
            error_message: Some("there are no controllers apart from the broker".to_owned()),
            endpoint_type: request.endpoint_type,
            ..Default::default()
        };
    }
    let node_id = ctx.node.node_id();
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: ctx.node.catalog().cluster().id.to_string(),
        controller_id: node_id,
        brokers: vec![DescribeClusterBroker {
            broker_id: node_id,
            host: ctx.listener.host.clone(),
            port: ctx.listener.port.into(),
            rack: None,
        }],
        ..Default::default()
    }
}
