//! Alarms as they are listed, and the check for scripts, from what the links tell.

use mainstem_api::links::{GatewayReport, LinkReport, ReplicaState, TopicFault};
use serde_json::{Value, json};

use crate::world::{World, unreachable};

const NOW: i64 = 1_700_000_000_000;

/// A link at work, heard a moment ago.
fn working() -> LinkReport {
    LinkReport { connected: true, last_contact_ms: Some(NOW + 3_600_000), ..LinkReport::default() }
}

async fn replicated() -> World {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    world.rows("stream/replica/add?path=/a&replica=/mapr/newyork/a").await;
    world.say(working());
    world
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["alarm name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_alarm_is_listed_from_when_it_is_raised_until_it_is_cleared() {
    let world = replicated().await;
    world.look_after(0);
    assert!(world.rows("alarm/list").await.is_empty());
    let cut = LinkReport { connected: false, error: Some(unreachable()), ..working() };
    world.say(cut);
    world.look_after(0);
    world.look_after(5_000);
    assert!(world.rows("alarm/list").await.is_empty(), "it may pass");
    world.look_after(5_000);
    let row = &world.rows("alarm/list").await[0];
    let keys: Vec<&String> = row.as_object().unwrap().keys().collect();
    let command = mainstem_api::find_command(&["alarm", "list"]).unwrap();
    assert_eq!(keys, command.output);
    assert_eq!(row["alarm name"], "VOLUME_ALARM_TABLE_REPL_ERROR");
    assert_eq!((&row["alarm state"], &row["entity"]), (&json!(1), &json!("/a")));
    assert_eq!(row["alarm statechange time"], NOW + 10_000);
    assert!(row["description"].as_str().unwrap().contains("/mapr/newyork/a: ErrAllGateways"));

    *world.links.gateways.lock().unwrap() = vec![GatewayReport {
        cluster: "newyork".parse().unwrap(),
        address: "gw1:7660".to_owned(),
        trouble: Some("refused".to_owned()),
    }];
    world.look_after(0);
    world.look_after(10_000);
    for (query, found) in [
        ("", 2),
        ("type=VOLUME", 1),
        ("type=node", 1),
        ("type=cluster", 0),
        ("entity=/a", 1),
        ("entity=/mapr/sanfrancisco/a", 1),
        ("entity=newyork", 1),
        ("entity=/b", 0),
        ("alarm=node_alarm_service_gateway_down", 1),
        ("start=1", 1),
        ("limit=1", 1),
        ("history=true", 0),
    ] {
        assert_eq!(world.rows(&format!("alarm/list?{query}")).await.len(), found, "{query}");
    }
    let summary = world.rows("alarm/list?summary=1&type=node").await;
    let counted =
        json!({"alarm name": "NODE_ALARM_SERVICE_GATEWAY_DOWN", "type": "node", "count": 1});
    assert_eq!(summary, [counted]);
    let (_, refused) = world.refusal("alarm/list?alarm=VOLUME_ALARM_TABLE_REPL_LAG").await;
    assert!(refused.contains("did you mean VOLUME_ALARM_TABLE_REPL_LAG_HIGH"), "{refused}");

    world.say(working());
    world.links.gateways.lock().unwrap().clear();
    world.look_after(0);
    assert_eq!(
        names(&world.rows("alarm/list").await),
        ["VOLUME_ALARM_TABLE_REPL_ERROR"],
        "nobody lists the gateway any more; the link has to stand for a while"
    );
    world.look_after(10_000);
    assert!(world.rows("alarm/list").await.is_empty());
    let history = world.rows("alarm/list?history=true").await;
    assert_eq!(history.len(), 2);
    assert_eq!(history[0]["alarm state"], 0);
    assert_eq!(history[0]["alarm statechange time"], NOW + 30_000);
}

#[tokio::test]
async fn the_lag_that_raises_an_alarm_is_the_streams_own() {
    let world = replicated().await;
    let info = "stream/info?path=/a";
    assert_eq!(world.rows(info).await[0]["repllagsecalarmthresh"], 60);
    world.say(LinkReport { lag_ms: 90_000, puts_pending: 3, ..working() });
    let raised = async |world: &World| {
        world.look_after(0);
        world.look_after(10_000);
        names(&world.rows("alarm/list").await) == ["VOLUME_ALARM_TABLE_REPL_LAG_HIGH"]
    };
    assert!(raised(&world).await);
    world.rows("stream/edit?path=/a&repllagsecalarmthresh=300").await;
    assert_eq!(world.rows(info).await[0]["repllagsecalarmthresh"], 300);
    assert!(!raised(&world).await);
    world.rows("stream/edit?path=/a&repllagsecalarmthresh=60").await;
    world.rows("stream/replica/pause?path=/a&replica=/mapr/newyork/a").await;
    assert!(raised(&world).await);
    let told = &world.rows("alarm/list").await[0]["description"];
    assert!(told.as_str().unwrap().contains("it is paused; go on by"), "{told}");
    world.rows("stream/edit?path=/a&repllagsecalarmthresh=0").await;
    assert!(!raised(&world).await);
    world.rows("stream/edit?path=/a&repllagsecalarmthresh=60").await;
    assert!(raised(&world).await);
    world.rows("stream/replica/remove?path=/a&replica=/mapr/newyork/a").await;
    world.look_after(0);
    assert!(world.rows("alarm/list").await.is_empty(), "gone with the replica");
}

#[tokio::test]
async fn every_alarm_is_named_and_explained() {
    let world = World::new().await;
    let rows = world.rows("alarm/names").await;
    assert!(rows.len() >= 7);
    for row in rows {
        let (name, kind) = (row["alarm name"].as_str().unwrap(), row["type"].as_str().unwrap());
        assert!(name.starts_with(&format!("{}_ALARM_", kind.to_uppercase())), "{name}");
        assert!(row["raised when"].as_str().unwrap().len() > 20, "{name}");
    }
}

#[tokio::test]
async fn a_check_says_in_one_line_how_the_replicas_are() {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    let check = async |query: &str| {
        let row = world.rows(&format!("stream/replica/check?path=/a{query}")).await.remove(0);
        let message = row["message"].as_str().unwrap().to_owned();
        assert!(!message.contains('\n') && message.matches('|').count() == 1, "{message}");
        (row["exitcode"].as_u64().unwrap(), message)
    };
    let (code, message) = check("").await;
    assert!(code == 2 && message.contains("REPLICATION BROKEN - /a: it has no replica"));
    world.rows("stream/replica/add?path=/a&replica=/mapr/newyork/a").await;
    world.say(LinkReport { lag_ms: 20_000, puts_pending: 7, ..working() });
    let (code, message) = check("").await;
    assert_eq!(code, 0, "{message}");
    let line = "REPLICATION OK - /a: /mapr/newyork/a: 20.0 s behind | lag=20.0s;60 pending=7";
    assert_eq!(message, line);
    assert_eq!(check("&maxlagseconds=20").await.0, 0);
    let (code, message) = check("&maxlagseconds=19").await;
    assert!(code == 1 && message.starts_with("REPLICATION LAGGING - /a: "), "{message}");
    world.rows("stream/edit?path=/a&repllagsecalarmthresh=10").await;
    assert_eq!(check("").await.0, 1, "the stream's own limit");
    world.rows("stream/replica/add?path=/a&replica=/mapr/boston/a").await;
    let (code, message) = check("&maxlagseconds=60").await;
    assert!(code == 0 && message.contains("2 replicas, at most 20.0 s behind"), "{message}");
    let fault = TopicFault {
        topic: "t".to_owned(),
        partition: None,
        code: "ErrTopicConflict".to_owned(),
        message: "one | two".to_owned(),
    };
    world.say(LinkReport { faults: vec![fault], ..working() });
    let (code, message) = check("").await;
    assert!(code == 2 && message.contains("2 of 2 replicas: /mapr/newyork/a: topic t stopped"));
    world.say(LinkReport { state: ReplicaState::CopyInProgress, copy_percent: 40, ..working() });
    assert_eq!(check("&replica=/mapr/boston/a").await.0, 1);
    world.refusal("stream/replica/check?path=/a&replica=/mapr/denver/a").await;
    world.refusal("stream/replica/check?path=/none").await;
}
