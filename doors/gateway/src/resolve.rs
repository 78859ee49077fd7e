//! Looking up the gateways of clusters by DNS, before and while links need them.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstem_catalog::Catalog;
use mainstem_types::ClusterName;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::context::Context;

/// Follows the catalog, and the age of what is known, until told to stop.
pub(crate) async fn resolve_gateways(ctx: Context, mut stop: watch::Receiver<bool>) {
    if !ctx.published.is_on() {
        return;
    }
    let mut catalog = ctx.engine.watch_catalog();
    let mut look_ups = JoinSet::new();
    loop {
        let wanted = wanted(&ctx, &catalog.borrow_and_update().clone());
        let (due, next_ms) = ctx.published.take_due(&wanted, ctx.now_ms());
        for cluster in due {
            let ctx = ctx.clone();
            look_ups.spawn(async move {
                let answer = ctx.published.look_up(&cluster).await;
                ctx.published.note(&cluster, answer, ctx.now_ms());
            });
        }
        let next = async {
            match next_ms {
                Some(at) => sleep(Duration::from_millis(at.saturating_sub(ctx.now_ms()))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = next => {}
            () = ctx.published.woken() => {}
            Some(_) = look_ups.join_next() => {}
            changed = catalog.changed() => if changed.is_err() { return },
            _ = stop.changed() => return,
        }
    }
}

/// The clusters that something is or was replicated to and for which no list was set.
fn wanted(ctx: &Context, catalog: &Catalog) -> BTreeSet<ClusterName> {
    let replicas = catalog.streams().flat_map(|stream| &stream.replicas);
    let places = replicas.map(|replica| &replica.place);
    let places = places.chain(catalog.undos().map(|undo| &undo.place));
    let clusters: BTreeSet<&ClusterName> = places.map(|place| &place.cluster).collect();
    clusters.into_iter().filter(|name| ctx.is_looked_up(catalog, name)).cloned().collect()
}
