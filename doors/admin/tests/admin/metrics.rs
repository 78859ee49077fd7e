//! `/metrics`, read as a scraper reads it.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use mainstem_api::links::LinkReport;

use crate::world::World;

/// Samples by name and labels, after the rules of the text format.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let mut kinds = BTreeMap::new();
    let mut samples = BTreeMap::new();
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
            assert_eq!(kinds.insert(name, kind), None, "{name} is told twice");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let plain = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let family = plain.filter(|name| kinds.get(name) == Some(&"histogram")).unwrap_or(name);
            assert!(kinds.contains_key(family), "{line} comes before its type");
            let total = name.ends_with("_total");
            assert_eq!(total, kinds[family] == "counter", "{name}");
            assert_eq!(samples.insert(series.to_owned(), value.parse().unwrap()), None, "{line}");
        }
    }
    samples
}

#[tokio::test]
async fn a_scraper_reads_links_alarms_and_the_log() {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    world.rows("stream/topic/create?path=/a&topic=t").await;
    world.append("/a", "t", 0, &[1]).await;
    world.rows("stream/replica/add?path=/a&replica=/mapr/newyork/a").await;
    world.rows("stream/replica/add?path=/a&replica=/mapr/boston/a").await;
    world.rows("stream/upstream/add?path=/a&upstream=/mapr/newyork/known").await;
    world.say(LinkReport { lag_ms: 61_500, puts_pending: 9, sessions: 2, ..Default::default() });
    world.look_after(0);
    world.look_after(10_000);
    // The sequencer shows its account within a moment.
    while world.engine.health().syncs.counts.iter().sum::<u64>() == 0 {
        tokio::task::yield_now().await;
    }
    let request = || Request::get("/metrics");
    let (status, kind, page) = world.text(request().body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status, kind.as_str()),
        (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8")
    );
    let samples = samples(&page);
    let of_link = |name: &str, cluster: &str| {
        samples[&format!("mainstem_replica_{name}{{stream=\"/a\",replica=\"/mapr/{cluster}/a\"}}")]
    };
    for cluster in ["newyork", "boston"] {
        assert_eq!(of_link("lag_seconds", cluster), 61.5);
        assert_eq!(of_link("pending_records", cluster), 9.0);
        assert_eq!(of_link("sessions_total", cluster), 2.0);
        assert_eq!(of_link("connected", cluster), 0.0);
    }
    assert!(!page.contains("mainstem_replica_round_trip_seconds{"), "not known, so not told");
    assert_eq!(samples["mainstem_alarms{alarm=\"VOLUME_ALARM_TABLE_REPL_LAG_HIGH\"}"], 2.0);
    assert_eq!(samples["mainstem_alarms{alarm=\"CLUSTER_ALARM_CLUSTER_FULL\"}"], 0.0);
    assert!(samples["mainstem_log_sync_seconds_count"] >= 1.0);
    let all = samples["mainstem_log_sync_seconds_bucket{le=\"+Inf\"}"];
    assert_eq!(all, samples["mainstem_log_sync_seconds_count"]);
    let from_a_page = request().header(header::ORIGIN, "http://evil.example");
    let (status, _, page) = world.text(from_a_page.body(Body::empty()).unwrap()).await;
    assert!(status == StatusCode::FORBIDDEN && !page.contains("mainstem_replica"));
}
