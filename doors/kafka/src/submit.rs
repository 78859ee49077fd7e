//! From a request to its answer: which file does what.

use mainstem_wire::{Request, RequestHeader};

use crate::answer::Answer;
use crate::context::Context;
use crate::{
    alter_configs, api_versions, cluster, commit, configs, create_topics, fetch, group_admin, join,
    list_offsets, metadata, produce, producer_ids, topic_admin, transactions,
};

/// Submits a request. When this returns, what it changes is in the engine's order, and the next
/// request of the connection may be submitted.
///
/// `frame_bytes` is the size of the frame that the request's byte fields are slices of.
pub(crate) async fn submit(
    ctx: &Context,
    header: &RequestHeader,
    request: Request,
    frame_bytes: usize,
) -> Answer {
    let version = header.api_version;
    let ctx = ctx.clone();
    match request {
        Request::Produce(request) => produce::submit(&ctx, version, request, frame_bytes).await,
        Request::Fetch(request) => {
            Answer::later(async move { fetch::handle(&ctx, version, request).await })
        }
        Request::ListOffsets(request) => {
            Answer::later(async move { list_offsets::handle(&ctx, request).await })
        }
        Request::OffsetForLeaderEpoch(request) => {
            Answer::later(async move { list_offsets::handle_epochs(&ctx, &request) })
        }
        Request::Metadata(request) => {
            metadata::create_mentioned(&ctx, &request).await;
            Answer::later(async move { metadata::handle(&ctx, version, request) })
        }
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
        Request::DescribeGroups(request) => {
            Answer::later(async move { group_admin::describe(&ctx, request) })
        }
        Request::ListGroups(request) => {
            Answer::later(async move { group_admin::list(&ctx, &request) })
        }
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
        Request::InitProducerId(request) => {
            Answer::now(producer_ids::handle(&ctx, version, &request).await)
        }
        Request::AddPartitionsToTxn(request) => {
            Answer::now(transactions::add_partitions(&ctx, version, request).await)
        }
        Request::AddOffsetsToTxn(request) => {
            Answer::now(transactions::add_offsets(&ctx, version, &request).await)
        }
        Request::EndTxn(request) => transactions::end(&ctx, version, request).await,
        Request::TxnOffsetCommit(request) => {
            Answer::now(transactions::commit_offsets(&ctx, request).await)
        }
        Request::AlterConfigs(request) => Answer::now(alter_configs::whole(&ctx, request).await),
        Request::IncrementalAlterConfigs(request) => {
            Answer::now(alter_configs::by_steps(&ctx, request).await)
        }
        Request::DescribeConfigs(request) => {
            Answer::later(async move { configs::handle(&ctx, request) })
        }
    }
}
