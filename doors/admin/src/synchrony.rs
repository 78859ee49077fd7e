//! What `stream replica list` says of synchronous replicas.

use mainstem_api::Row;
use mainstem_api::links::SyncStanding;
use mainstem_catalog::{Catalog, Replica, RiskRange, RiskWindow};
use serde_json::{Value, json};

/// Adds our own keys, which the original does not have.
pub(crate) fn synchrony(
    row: &mut Row,
    catalog: &Catalog,
    replica: &Replica,
    standing: SyncStanding,
) {
    let settings = &replica.settings;
    let state = match standing {
        SyncStanding::Refusing => "refusing",
        SyncStanding::AsAsked | SyncStanding::Degraded => replica.sync_state.word(),
    };
    let windows: Value = replica.windows.iter().map(|at| window(catalog, at)).collect();
    row.insert("syncState".to_owned(), json!(state));
    row.insert("syncTimeoutMs".to_owned(), json!(settings.sync_timeout_ms.0));
    row.insert("syncPolicy".to_owned(), json!(settings.sync_policy.to_string()));
    row.insert("windowsAtRisk".to_owned(), windows);
}

/// Times and offsets; those of an open window have no end yet.
fn window(catalog: &Catalog, window: &RiskWindow) -> Value {
    let partitions: Value = window.ranges.iter().map(|at| range(catalog, at)).collect();
    json!({
        "fromMs": window.from_ms,
        "toMs": window.to_ms,
        "partitions": partitions,
        "isPartial": window.is_partial,
    })
}

fn range(catalog: &Catalog, range: &RiskRange) -> Value {
    let home = catalog.partition(range.partition);
    let topic = home.and_then(|home| catalog.stream(home.stream)?.topic_by_origin(home.topic));
    json!({
        // A topic that was deleted since has no name any more.
        "topic": topic.map(|topic| topic.name.to_string()),
        "partition": home.map(|home| home.index),
        "fromOffset": range.from,
        "toOffset": range.to,
    })
}
