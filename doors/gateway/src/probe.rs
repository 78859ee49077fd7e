//! Whether the gateways of the clusters that are replicated to answer: those that no link uses
//! just now are called from time to time.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstem_api::links::GatewayReport;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::board::GatewayKey;
use crate::context::Context;
use crate::dial::dial;

/// Between two rounds, and so about as old as what is known may be.
const INTERVAL_MS: u64 = 10_000;
/// Calls at once: some may take as long as a call may take.
const CALLS_MAX: usize = 16;

/// Calls until told to stop.
pub(crate) async fn probe_gateways(ctx: Context, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = call_all(&ctx) => {}
            _ = stop.changed() => return,
        }
        tokio::select! {
            () = sleep(Duration::from_millis(INTERVAL_MS)) => {}
            _ = stop.changed() => return,
        }
    }
}

async fn call_all(ctx: &Context) {
    let listed = listed(ctx);
    ctx.board.keep_gateways(|key| listed.contains(key));
    let in_use = ctx.board.gateways_in_use();
    let is_due = |key: &&GatewayKey| {
        let known = ctx.board.gateway(key);
        let is_fresh = known.is_some_and(|note| ctx.now_ms() < note.called_ms + INTERVAL_MS);
        !is_fresh && !in_use.contains(key)
    };
    let due: Vec<&GatewayKey> = listed.iter().filter(is_due).collect();
    for some in due.chunks(CALLS_MAX) {
        let mut calls = JoinSet::new();
        for (cluster, address) in some.iter().map(|key| (*key).clone()) {
            let ctx = ctx.clone();
            // The call itself takes note of how it went.
            calls.spawn(async move { drop(dial(&ctx, &cluster, &address).await) });
        }
        calls.join_all().await;
    }
}

/// The gateways of every cluster that some stream is replicated to.
fn listed(ctx: &Context) -> BTreeSet<GatewayKey> {
    let catalog = ctx.engine.catalog();
    let replicas = catalog.streams().flat_map(|stream| &stream.replicas);
    let clusters: BTreeSet<_> = replicas.map(|replica| replica.place.cluster.clone()).collect();
    let of_cluster = |cluster| {
        let gateways = ctx.gateways(&catalog, &cluster);
        gateways.into_iter().map(move |address| (cluster.clone(), address))
    };
    clusters.into_iter().flat_map(of_cluster).collect()
}

/// What is known of them now; one that was not called yet is left out.
pub(crate) fn gateway_reports(ctx: &Context) -> Vec<GatewayReport> {
    let in_use = ctx.board.gateways_in_use();
    let report = |key: GatewayKey| {
        let known = ctx.board.gateway(&key);
        let trouble = match (in_use.contains(&key), known) {
            // A session says more than a call.
            (true, _) => None,
            (false, Some(note)) => note.trouble,
            (false, None) => return None,
        };
        let (cluster, address) = key;
        Some(GatewayReport { cluster, address, trouble })
    };
    listed(ctx).into_iter().filter_map(report).collect()
}
