//! I9: every key of `replica list` and `upstream list`, one by one, from what the links tell.

use mainstem_api::links::{LinkGap, LinkReport, Rates, ReplicaState, TopicFault, UpstreamReport};
use serde_json::{Value, json};

use crate::world::{World, unreachable};

type Case<R> = (&'static str, fn(&mut R), Value);

fn fault() -> TopicFault {
    TopicFault {
        topic: "t".to_owned(),
        partition: Some(3),
        code: "ErrTopicConflict".to_owned(),
        message: "two owners".to_owned(),
    }
}

fn gap() -> LinkGap {
    LinkGap { topic: "t".to_owned(), partition: 3, from: 5, to: 9, at_ms: 7 }
}

/// A key of `replica list`, what the link says, and what is shown then.
fn replica_cases() -> Vec<Case<LinkReport>> {
    vec![
        ("replicaState", |r| r.state = ReplicaState::CopyInRecover, {
            json!("REPLICA_STATE_COPY_IN_RECOVER")
        }),
        ("isUptodate", |r| r.is_uptodate = true, json!(true)),
        ("minPendingTS", |r| r.min_pending_ms = 1_700_000_000_123, json!(1_700_000_000_123_u64)),
        ("maxPendingTS", |r| r.max_pending_ms = 1_700_000_000_124, json!(1_700_000_000_124_u64)),
        ("bytesPending", |r| r.bytes_pending = 10, json!(10)),
        ("lagBytes", |r| r.bytes_pending = 10, json!(10)),
        ("putsPending", |r| r.puts_pending = 9, json!(9)),
        ("lagRecords", |r| r.puts_pending = 9, json!(9)),
        ("bucketsPending", |r| r.buckets_pending = 2, json!(2)),
        ("expiredUnsent", |r| r.expired = 2, json!(2)),
        ("connected", |r| r.connected = true, json!(true)),
        ("lagSeconds", |r| r.lag_ms = 1_500, json!(1.5)),
        ("rpoSeconds", |r| r.lag_ms = 1_500, json!(1.5)),
        ("lagSecondsMaxMinute", |r| r.lag_ms_max = 2_250, json!(2.25)),
        ("lastContactMs", |r| r.last_contact_ms = Some(7), json!(7)),
        ("connectedSinceMs", |r| r.connected_since_ms = Some(6), json!(6)),
        ("roundTripMs", |r| r.round_trip_ms = Some(12), json!(12)),
        ("sessions", |r| r.sessions = 3, json!(3)),
        ("gateway", |r| r.gateway = Some("gw1:7660".to_owned()), json!("gw1:7660")),
        ("recordsSent", |r| r.records_sent = 100, json!(100)),
        ("bytesSent", |r| r.bytes_sent = 1_000, json!(1_000)),
        ("recordsPerSecond", |r| r.rates = rates(), json!(1.3)),
        ("bytesPerSecond", |r| r.rates = rates(), json!(20.0)),
        ("recordsPerSecondMinute", |r| r.rates = rates(), json!(3.0)),
        ("bytesPerSecondMinute", |r| r.rates = rates(), json!(4.0)),
        ("faults", |r| r.faults = vec![fault()], {
            json!([{"topic": "t", "partition": 3, "Code": "ErrTopicConflict", "Msg": "two owners"}])
        }),
        ("gaps", |r| r.gaps = vec![gap()], {
            json!([{
                "from": 5, "to": 9, "records": 4, "noticedMs": 7, "topic": "t", "partition": 3,
            }])
        }),
        ("errors", |r| r.error = Some(unreachable()), {
            json!({
                "Code": "ErrAllGatewaysUnreachable",
                "Host": "here",
                "Msg": "All configured gateways to cluster newyork are unreachable",
                "lastSeenMs": 5,
            })
        }),
    ]
}

fn upstream_cases() -> Vec<Case<UpstreamReport>> {
    vec![
        ("connected", |u| u.connected = true, json!(true)),
        ("lastContactMs", |u| u.last_contact_ms = Some(7), json!(7)),
        ("connectedSinceMs", |u| u.connected_since_ms = Some(6), json!(6)),
        ("sessions", |u| u.sessions = 3, json!(3)),
        ("bytesPending", |u| u.bytes_pending = 10, json!(10)),
        ("putsPending", |u| u.puts_pending = 9, json!(9)),
        ("pendingAsOfMs", |u| u.counted_ms = Some(8), json!(8)),
        ("lagSeconds", |u| u.lag_ms = Some(250), json!(0.25)),
        ("recordsReceived", |u| u.records_received = 100, json!(100)),
        ("bytesReceived", |u| u.bytes_received = 1_000, json!(1_000)),
        ("recordsPerSecond", |u| u.rates = rates(), json!(1.3)),
        ("bytesPerSecond", |u| u.rates = rates(), json!(20.0)),
        ("recordsPerSecondMinute", |u| u.rates = rates(), json!(3.0)),
        ("bytesPerSecondMinute", |u| u.rates = rates(), json!(4.0)),
        ("faults", |u| u.faults = vec![fault()], {
            json!([{"topic": "t", "partition": 3, "Code": "ErrTopicConflict", "Msg": "two owners"}])
        }),
        ("errors", |u| u.error = Some(unreachable()), {
            json!({
                "Code": "ErrAllGatewaysUnreachable",
                "Host": "here",
                "Msg": "All configured gateways to cluster newyork are unreachable",
                "lastSeenMs": 5,
            })
        }),
    ]
}

fn rates() -> Rates {
    Rates { records: 1.26, bytes: 20.0, records_of_minute: 3.0, bytes_of_minute: 4.0 }
}

/// The keys that a changed report may change with the case's own.
const TOGETHER: [(&str, &str); 3] =
    [("bytesPending", "lagBytes"), ("putsPending", "lagRecords"), ("lagSeconds", "rpoSeconds")];

fn may_change(case: &str, key: &str) -> bool {
    let is_rate = |key: &str| key.contains("PerSecond");
    case == key
        || (is_rate(case) && is_rate(key))
        || TOGETHER.iter().any(|(a, b)| (case, key) == (a, b) || (case, key) == (b, a))
}

/// Each case changes its own key to what is so, and no other.
fn check_case(case: &str, plain: &Value, row: &Value, shown: &Value) {
    assert_eq!(&row[case], shown, "{case}");
    assert_ne!(plain.get(case), Some(shown), "{case} must be able to differ");
    for (key, value) in row.as_object().unwrap() {
        if !may_change(case, key) {
            assert_eq!(Some(value), plain.get(key), "{case} changed {key}");
        }
    }
}

#[tokio::test]
async fn i9_every_key_of_a_replica_shows_what_its_link_says() {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    world.rows("stream/replica/add?path=/a&replica=/mapr/newyork/a").await;
    let list = "stream/replica/list?path=/a";
    *world.links.replica.lock().unwrap() = Some(LinkReport::default());
    let plain = world.rows(list).await.remove(0);
    let command = mainstem_api::find_command(&["stream", "replica", "list"]).unwrap();
    for (case, change, shown) in replica_cases() {
        let mut report = LinkReport::default();
        change(&mut report);
        *world.links.replica.lock().unwrap() = Some(report);
        let row = world.rows(list).await.remove(0);
        check_case(case, &plain, &row, &shown);
        assert!(command.output.contains(&case), "{case} is not in the help");
    }
    // All that the help promises is there, in its order, when there is something to say.
    *world.links.replica.lock().unwrap() =
        Some(LinkReport { error: Some(unreachable()), ..LinkReport::default() });
    let row = world.rows(list).await.remove(0);
    assert_eq!(row.as_object().unwrap().keys().collect::<Vec<_>>(), command.output);
}

#[tokio::test]
async fn i9_every_key_of_an_upstream_shows_what_its_link_says() {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    world.rows("stream/upstream/add?path=/a&upstream=/mapr/newyork/known").await;
    let list = "stream/upstream/list?path=/a";
    *world.links.upstream.lock().unwrap() = UpstreamReport::default();
    let plain = world.rows(list).await.remove(0);
    let command = mainstem_api::find_command(&["stream", "upstream", "list"]).unwrap();
    for (case, change, shown) in upstream_cases() {
        let mut report = UpstreamReport::default();
        change(&mut report);
        *world.links.upstream.lock().unwrap() = report;
        let row = world.rows(list).await.remove(0);
        check_case(case, &plain, &row, &shown);
        assert!(command.output.contains(&case), "{case} is not in the help");
    }
    let row = world.rows(list).await.remove(0);
    assert_eq!(row.as_object().unwrap().keys().collect::<Vec<_>>(), command.output);
}
