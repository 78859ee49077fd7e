//! What is said of a hand-over: planned, under way, hanging, and taken back.

use mainstem_api::links::LinkReport;
use mainstem_catalog::{Command, Place};
use mainstem_types::{JobId, StreamId};
use serde_json::{Value, json};

use crate::world::{World, unreachable};

const NOW: i64 = 1_700_000_000_000;
const LIST: &str = "stream/replica/list?path=/a";
const CHECK: &str = "stream/replica/check?path=/a";
const DRY_FAILOVER: &str = "stream/replica/failover?path=/a&dryrun=true";
const DRY_SWITCH: &str = "stream/replica/switchover?path=/a&replica=/mapr/newyork/a&dryrun=true";

fn working() -> LinkReport {
    LinkReport { connected: true, last_contact_ms: Some(NOW), ..LinkReport::default() }
}

fn silent() -> LinkReport {
    LinkReport { connected: false, error: Some(unreachable()), ..working() }
}

fn replica() -> Place {
    Place { cluster: "newyork".parse().unwrap(), path: "/a".parse().unwrap() }
}

async fn replicated() -> (World, StreamId) {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    world.rows("stream/topic/create?path=/a&topic=t").await;
    let uuid = StreamId::from_random(9);
    let add = format!("stream/replica/add?path=/a&replica=/mapr/newyork/a&replicauuid={uuid}");
    world.rows(&add).await;
    world.say(working());
    let stream = world.engine.catalog().streams().next().expect("just created").id;
    (world, stream)
}

async fn begin(world: &World, stream: StreamId) {
    let job = JobId(7);
    let begin = Command::BeginHandover { stream, replica: replica(), job, timeout_ms: 30_000 };
    world.engine.change(begin).await.unwrap();
}

async fn offer(world: &World, stream: StreamId) {
    let catalog = world.engine.catalog();
    let of_replica = catalog.stream(stream).unwrap().replica(&replica()).unwrap();
    let link_epoch = of_replica.link_epoch;
    let offer = Command::OfferHandover { stream, replica: replica(), link_epoch };
    world.engine.change(offer).await.unwrap();
}

async fn row(world: &World, what: &str) -> Value {
    world.rows(what).await.remove(0)
}

fn says(row: &Value, key: &str, parts: &[&str]) {
    let told = row[key].as_str().unwrap_or_default();
    for part in parts {
        assert!(told.contains(part), "{key} lacks {part}: {told}");
    }
}

#[tokio::test]
async fn a_hand_over_that_hangs_is_told_in_the_row_the_check_and_an_alarm() {
    let (world, stream) = replicated().await;
    begin(&world, stream).await;
    let checked = row(&world, CHECK).await;
    assert_eq!(checked["exitcode"], 0);
    let under_way = "it is being handed over to /mapr/newyork/a, and writes wait meanwhile";
    says(&checked, "message", &["OK - /a", under_way]);
    offer(&world, stream).await;
    world.say(silent());
    world.look_after(34_000);
    let listed = row(&world, LIST).await;
    assert_eq!(listed["handover"]["error"], Value::Null, "it may be decided yet");
    assert_eq!(listed["handover"]["offeredMs"], NOW);
    assert_eq!(listed["errors"]["Code"], "ErrAllGatewaysUnreachable");
    says(&row(&world, CHECK).await, "message", &["BROKEN", under_way]);
    world.look_after(1_000);
    let listed = row(&world, LIST).await;
    let why = listed["errors"]["Msg"].as_str().unwrap();
    assert_eq!(listed["errors"]["Code"], "ErrHandoverUndecided");
    assert_eq!(listed["handover"]["error"], why);
    assert!(why.starts_with(
        "/mapr/sanfrancisco/a was offered to /mapr/newyork/a at 2023-11-14T22:13:20.000Z, and \
         /mapr/newyork/a was not heard since"
    ));
    assert!(why.contains("failover -path /mapr/sanfrancisco/a`"), "{why}");
    let checked = row(&world, CHECK).await;
    assert_eq!(checked["exitcode"], 2);
    says(&checked, "message", &["BROKEN - /a: /mapr/newyork/a: ", why]);
    assert!(!checked["message"].as_str().unwrap().contains(under_way));
    let alarms = world.rows("alarm/list").await;
    assert!(alarms.iter().any(|alarm| alarm["description"] == why), "{alarms:?}");

    world.rows("stream/replica/failover?path=/a").await;
    world.say(working());
    world.look_after(0);
    world.look_after(10_000);
    assert!(world.rows("alarm/list").await.is_empty());
    let listed = row(&world, LIST).await;
    assert_eq!(
        (&listed["handover"]["state"], &listed["errors"]),
        (&json!("taken back"), &Value::Null)
    );
    world.append("/a", "t", 0, &[1]).await;
}

#[tokio::test]
async fn a_fail_over_at_an_owner_that_hands_over_says_that_it_takes_it_back() {
    let (world, stream) = replicated().await;
    world.append("/a", "t", 0, &[1, 2]).await;
    begin(&world, stream).await;
    let told = row(&world, DRY_FAILOVER).await;
    says(&told, "upstream", &["it takes the hand-over to /mapr/newyork/a back"]);
    says(&told, "warning", &["was not offered the topics yet"]);
    offer(&world, stream).await;
    let told = row(&world, DRY_FAILOVER).await;
    says(&told, "warning", &["may have taken them over", "set aside there"]);
    assert!(!told["warning"].as_str().unwrap().contains("transaction"), "{told}");
    assert_eq!(told["lastContactMs"], NOW);
    let done = world.rows("stream/replica/failover?path=/a").await;
    assert_eq!((&done[0]["term"], &done[0]["dryrun"]), (&told["term"], &json!(false)));
    assert_eq!(done[1], json!({"topic": "t", "partition": 0, "offset": 2}));
    world.append("/a", "t", 0, &[3]).await;
}

#[tokio::test]
async fn a_dry_run_warns_of_what_is_pending() {
    let (world, _) = replicated().await;
    assert_eq!(row(&world, DRY_SWITCH).await["warning"], Value::Null);
    world.say(LinkReport { puts_pending: 9, bytes_pending: 900, ..working() });
    let told = row(&world, DRY_SWITCH).await;
    says(&told, "warning", &["9 records (900 bytes) are pending", "at most for 30 seconds"]);
}
