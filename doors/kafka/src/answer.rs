//! From a request to its response: what is done at once, and what is waited for.

use std::future::Future;
use std::pin::Pin;

use mainstem_types::Error;
use mainstem_wire::{KafkaError, Request, RequestHeader, Response};

use crate::context::Context;
use crate::{
    api_versions, cluster, commit, configs, create_topics, fetch, group_admin, join, list_offsets,
    metadata, produce, producer_ids, topic_admin,
};

/// A response that is there, or will be.
pub(crate) enum Answer {
    Now(Box<Response>),
    /// Runs when its turn to be written has come, so that reads see what earlier writes on the
    /// same connection have done.
    Later(Pin<Box<dyn Future<Output = Outcome> + Send>>),
}

/// What became of a request.
pub(crate) enum Outcome {
    Respond(Box<Response>),
    /// The client asked for no answer.
    Silence,
    /// The client asked for no answer, but must notice that something went wrong.
    Close(String),
}

impl Answer {
    pub(crate) fn now(response: impl Into<Response>) -> Self {
        Self::Now(Box::new(response.into()))
    }

    pub(crate) fn later<R: Into<Response>>(
        response: impl Future<Output = R> + Send + 'static,
    ) -> Self {
        Self::Later(Box::pin(async move { Outcome::Respond(Box::new(response.await.into())) }))
    }
}

/// Submits a request. When this returns, what it changes is in the engine's order, and the next
/// request of the connection may be submitted.
pub(crate) async fn submit(ctx: &Context, header: &RequestHeader, request: Request) -> Answer {
    let version = header.api_version;
    let ctx = ctx.clone();
    match request {
        Request::Produce(request) => produce::submit(&ctx, version, request).await,
        Request::Fetch(request) => {
            Answer::later(async move { fetch::handle(&ctx, version, request).await })
        }
        Request::ListOffsets(request) => {
            Answer::later(async move { list_offsets::handle(&ctx, request).await })
        }
        Request::OffsetForLeaderEpoch(request) => {
            Answer::later(async move { list_offsets::handle_epochs(&ctx, &request) })
        }
        Request::Metadata(request) => Answer::now(metadata::handle(&ctx, version, request).await),
        Request::ApiVersions(_) => Answer::now(api_versions::handle()),
        Request::FindCoordinator(request) => {
            Answer::now(cluster::find_coordinator(&ctx, version, request))
        }
        Request::DescribeCluster(request) => Answer::now(cluster::describe(&ctx, &request)),
        Request::JoinGroup(request) => join::join(&ctx, header, request),
        Request::SyncGroup(request) => join::sync(&ctx, request),
        Request::Heartbeat(request) => Answer::now(join::heartbeat(&ctx, request)),
        Request::LeaveGroup(request) => Answer::now(join::leave(&ctx, version, request)),
        Request::OffsetCommit(request) => Answer::now(commit::commit(&ctx, request).await),
        Request::OffsetFetch(request) => {
            Answer::later(async move { commit::fetch(&ctx, version, request) })
        }
        Request::DescribeGroups(request) => Answer::now(group_admin::describe(&ctx, request)),
        Request::ListGroups(request) => Answer::now(group_admin::list(&ctx, &request)),
        Request::DeleteGroups(request) => Answer::now(group_admin::delete(&ctx, request).await),
        Request::CreateTopics(request) => {
            Answer::now(create_topics::handle(&ctx, version, request).await)
        }
        Request::DeleteTopics(request) => {
            Answer::now(topic_admin::delete(&ctx, version, request).await)
        }
        Request::CreatePartitions(request) => {
            Answer::now(topic_admin::create_partitions(&ctx, request).await)
        }
        Request::DeleteRecords(request) => {
            Answer::now(topic_admin::delete_records(&ctx, request).await)
        }
        Request::InitProducerId(request) => Answer::now(producer_ids::handle(&ctx, &request).await),
        Request::DescribeConfigs(request) => Answer::now(configs::handle(&ctx, request)),
    }
}

/// The code that a client is told for an error of the engine.
pub(crate) fn code(error: &Error) -> i16 {
    error.kind().kafka_code()
}

/// A refusal: a code, and a sentence where the response has room for one.
pub(crate) type Refusal = (KafkaError, String);
