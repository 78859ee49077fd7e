//! What rows hold.

use mainstem_api::links::{CopyReport, LinkReport, ReplicaState, VerifiedPartition, VerifyReport};
use serde_json::{Value, json};

use crate::world::{World, unreachable};

fn keys(row: &Value) -> Vec<&str> {
    row.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The documented keys of `replica list`, in their order.
const REPLICA_KEYS: [&str; 20] = [
    "cluster",
    "stream",
    "type",
    "replicaPath",
    "replicaState",
    "paused",
    "throttle",
    "idx",
    "networkencryption",
    "synchronous",
    "networkcompression",
    "propagateExistingData",
    "isUptodate",
    "minPendingTS",
    "maxPendingTS",
    "bytesPending",
    "putsPending",
    "bucketsPending",
    "uuid",
    "copyTableCompletionPercentage",
];

#[tokio::test]
async fn rows_have_the_keys_that_the_table_of_commands_promises() {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    world.rows("stream/topic/create?path=/a&topic=t").await;
    world.rows("stream/replica/add?path=/a&replica=/mapr/newyork/a").await;
    world.rows("stream/upstream/add?path=/a&upstream=/mapr/newyork/b").await;
    world.append("/a", "t", 0, &[1000]).await;
    world.commit("/a", "t", 0, 1).await;
    for (what, words) in [
        ("stream/info?path=/a", "stream info"),
        ("stream/list", "stream list"),
        ("stream/topic/info?path=/a&topic=t", "stream topic info"),
        ("stream/topic/list?path=/a", "stream topic list"),
        ("stream/cursor/list?path=/a", "stream cursor list"),
        ("stream/replica/list?path=/a", "stream replica list"),
        ("stream/upstream/list?path=/a", "stream upstream list"),
    ] {
        let rows = world.rows(what).await;
        assert_eq!(rows.len(), 1, "{what}");
        let words: Vec<&str> = words.split(' ').collect();
        let promised = mainstem_api::find_command(&words).unwrap().output;
        let promised = promised.iter().copied().filter(|key| *key != "errors").collect::<Vec<_>>();
        assert_eq!(keys(&rows[0]), promised, "{what}");
    }
}

#[tokio::test]
async fn a_stream_is_shown_as_it_was_made() {
    let world = World::new().await;
    world.rows("stream/create?path=/apps/orders&creator=ann&ttl=86400&consumeperm=p").await;
    let row = &world.rows("stream/info?path=/mapr/sanfrancisco/apps/orders").await[0];
    assert_eq!(row["ttl"], 86400);
    assert_eq!(row["adminperm"], "u:ann");
    assert_eq!(row["consumeperm"], "p");
    assert_eq!(row["kafkaprefix"], "apps.orders.");
    assert_eq!(row["autocreate"], true);
    world.rows("stream/create?path=/copy&copymetafrom=/apps/orders&defaultpartitions=4").await;
    let row = &world.rows("stream/info?path=/copy").await[0];
    assert_eq!((&row["ttl"], &row["defaultpartitions"]), (&json!(86400), &json!(4)));
    let listed = world.rows("stream/list?path=/mapr/sanfrancisco/apps").await;
    assert_eq!(listed.len(), 1);
    assert_eq!(world.rows("stream/list").await.len(), 2);
}

#[tokio::test]
async fn partitions_and_cursors_are_counted() {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    world.rows("stream/topic/create?path=/a&topic=t&partitions=2").await;
    world.append("/a", "t", 1, &[1000, 1500]).await;
    world.append("/a", "t", 1, &[3000]).await;
    world.commit("/a", "t", 1, 1).await;
    let rows = world.rows("stream/topic/info?path=/a&topic=t").await;
    assert_eq!((&rows[0]["maxoffset"], &rows[1]["maxoffset"]), (&json!(-1), &json!(2)));
    assert_eq!(rows[0]["mintimestamp"], "1970-01-01T00:00:00.000Z");
    assert_eq!(rows[1]["mintimestamp"], "1970-01-01T00:00:01.000Z");
    assert_eq!(rows[1]["maxtimestamp"], "1970-01-01T00:00:03.000Z");
    assert_eq!(rows[1]["minoffsetacrossconsumers"], 1);
    assert!(rows[1]["physicalsize"].as_u64().unwrap() > 100);

    let row = &world.rows("stream/topic/list?path=/a").await[0];
    assert_eq!((&row["consumers"], &row["maxlag"]), (&json!(1), &json!(2)));
    assert_eq!(row["kafkaname"], "a.t");

    let row = &world.rows("stream/cursor/list?path=/a&consumergroup=web&topic=t").await[0];
    assert_eq!(row["produceroffset"], "2");
    assert_eq!(row["committedoffset"], "1");
    assert_eq!(row["consumerlagmillis"], "2000");
    assert_eq!(row["localoffset"], "1");
    assert_eq!(row["replicatedoffset"], "");
    assert!(world.rows("stream/cursor/list?path=/a&consumergroup=other").await.is_empty());
    world.rows("stream/cursor/delete?path=/a&consumergroup=web").await;
    assert!(world.rows("stream/cursor/list?path=/a").await.is_empty());
}

#[tokio::test]
async fn i9_a_replica_tells_what_its_link_tells() {
    let world = World::new().await;
    world.rows("stream/create?path=/a&compression=zlib").await;
    world.rows("stream/replica/add?path=/a&replica=/mapr/newyork/a&paused=true").await;
    let row = &world.rows("stream/replica/list?path=/a").await[0];
    assert_eq!(keys(row)[..20], REPLICA_KEYS);
    assert_eq!(row["paused"], true);
    assert_eq!(row["stream"], "/a");
    assert_eq!(row["networkcompression"], "off", "batches travel as they are kept");
    assert_eq!((&row["isUptodate"], &row["connected"]), (&json!(false), &json!(false)));
    assert!(row.get("errors").is_none());

    *world.links.replica.lock().unwrap() = Some(LinkReport {
        state: ReplicaState::CopyInRecover,
        lag_ms: 1500,
        puts_pending: 9,
        error: Some(unreachable()),
        ..LinkReport::default()
    });
    let row = &world.rows("stream/replica/list?path=/a&refreshnow=true").await[0];
    assert_eq!(*world.links.refreshed.lock().unwrap(), 1);
    assert_eq!(row["replicaState"], "REPLICA_STATE_COPY_IN_RECOVER");
    assert_eq!((&row["lagSeconds"], &row["lagRecords"]), (&json!(1.5), &json!(9)));
    assert_eq!(row["errors"]["Code"], "ErrAllGatewaysUnreachable");

    world.rows("stream/replica/resume?path=/a&replica=/mapr/newyork/a").await;
    world.rows("stream/replica/edit?path=/a&replica=/mapr/newyork/a&throttle=true").await;
    let row = &world.rows("stream/replica/list?path=/a").await[0];
    assert_eq!((&row["paused"], &row["throttle"]), (&json!(false), &json!(true)));
    let old = "stream/replica/edit?path=/a&replica=/mapr/newyork/a&networkcompression=lzf\
               &networkencryption=false";
    let notes = world.rows(old).await;
    let told = |n: usize| notes[n]["note"].as_str().unwrap();
    assert!(notes.len() == 2 && told(0).contains("lz4") && told(1).contains("always encrypted"));
    let row = &world.rows("stream/replica/list?path=/a").await[0];
    assert_eq!(row["networkcompression"], "lz4");
    world.rows("stream/replica/remove?path=/a&replica=/mapr/newyork/a").await;
    assert!(world.rows("stream/replica/list?path=/a").await.is_empty());
}

#[tokio::test]
async fn an_agreement_pins_the_uuid_that_the_other_cluster_tells() {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    let uuid = mainstem_types::StreamId(99).to_string();
    let added = &world.rows("stream/upstream/add?path=/a&upstream=/mapr/newyork/known").await[0];
    assert_eq!(added["uuid"], uuid);
    let added = &world.rows("stream/upstream/add?path=/a&upstream=/mapr/newyork/dark").await[0];
    assert_eq!(added["uuid"], "", "the first Hello pins it");
    world.rows("stream/replica/add?path=/a&replica=/mapr/newyork/known").await;
    assert_eq!(world.rows("stream/replica/list?path=/a").await[0]["uuid"], uuid);
    let edit = "stream/replica/edit?path=/a&replica=/mapr/newyork/known&newreplica=";
    for nowhere in ["/mapr/newyork/nowhere", "/none"] {
        let (errno, message) = world.refusal(&format!("{edit}{nowhere}")).await;
        assert!(errno == 2 && message.contains("is not a valid stream"), "{errno} {message}");
    }
    assert_eq!(world.rows("stream/replica/list?path=/a").await[0]["uuid"], uuid, "left as it was");
    world.rows(&format!("{edit}/mapr/newyork/dark")).await;
    let moved = &world.rows("stream/replica/list?path=/a").await[0];
    assert_eq!((&moved["stream"], &moved["uuid"]), (&json!("/dark"), &json!("")));
}

#[tokio::test]
async fn an_autosetup_takes_a_grant_from_its_destination() {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    let uuid = world.rows("stream/info?path=/a").await[0]["uuid"].as_str().unwrap().to_owned();
    let asked = format!("stream/grant?path=/b&source=/mapr/sanfrancisco/a&sourceuuid={uuid}");
    let granted = &world.rows(&asked).await[0];
    let (grant, replica) = (granted["grant"].as_str().unwrap(), granted["replicauuid"].as_str());
    let replica = replica.unwrap();
    assert_eq!(grant.len(), 32);
    let setup = "stream/replica/autosetup?path=/a&replica=/b";
    world.refusal(&format!("{setup}&grant=zz&replicauuid={replica}")).await;
    world.rows(&format!("{setup}&grant={grant}&replicauuid={replica}")).await;
    let row = &world.rows("stream/replica/list?path=/a").await[0];
    assert_eq!(row["replicaState"], "REPLICA_STATE_CREATE_SCHEDULE");
    assert_eq!((&row["uuid"], &row["paused"]), (&json!(replica), &json!(false)));
    assert_eq!(row["copyTableCompletionPercentage"], 0);

    let remove = "stream/replica/remove?path=/a&replica=/b";
    world.rows(remove).await;
    let row = &world.rows("stream/replica/list?path=/a").await[0];
    assert_eq!((&row["replicaState"], &row["idx"]), (&json!("REPLICA_STATE_REMOVING"), &json!(0)));
    assert_eq!(row["errors"]["Code"], "ErrAllGatewaysUnreachable", "what the link says");
    assert_eq!(row["copyTableCompletionPercentage"], 0, "nothing of it is to stay");
    for check in ["stream/replica/check?path=/a", "stream/replica/check?path=/a&replica=/b"] {
        let row = &world.rows(check).await[0];
        let message = row["message"].as_str().unwrap();
        assert!(message.contains("/mapr/sanfrancisco/b is being removed"), "{message}");
        assert_eq!(row["exitcode"], 2);
    }
    world.rows(remove).await;
    assert!(world.rows("stream/replica/list?path=/a").await.is_empty(), "it was given up");

    world.rows("stream/create?path=/there").await;
    let asked = format!("stream/grant?path=/there&source=/mapr/x/a&sourceuuid={uuid}");
    assert_eq!(world.refusal(&asked).await.0, 17);
    world.rows(&format!("{asked}&useexistingreplica=true")).await;
    world.refusal(&format!("{asked}&useexistingreplica=true&multimaster=true")).await;
}

#[tokio::test]
async fn copies_and_gateways_are_asked_of_the_links() {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    let copy = "stream/copy?src=/a&dst=/mapr/newyork/a";
    for (given, reads) in [("", None), ("&numthreads=9", Some(9))] {
        world.rows(&format!("{copy}{given}")).await;
        assert_eq!(*world.links.copy_reads.lock().unwrap(), reads);
    }
    assert_eq!(world.refusal(&format!("{copy}&numthreads=65")).await.0, 22);
    let started = &world.rows(copy).await[0];
    let job = started["job"].as_str().unwrap();
    assert_eq!(world.refusal(&format!("stream/copy/status?job={job}")).await.0, 2);
    let waiting = CopyReport { percent: 40, waiting: Some(unreachable()), ..Default::default() };
    *world.links.copy.lock().unwrap() = Some(waiting);
    let status = &world.rows(&format!("stream/copy/status?job={job}")).await[0];
    assert_eq!((&status["percent"], &status["finished"]), (&json!(40), &json!(false)));
    assert!(status["errors"]["Msg"].as_str().unwrap().contains("unreachable"));

    world.rows("cluster/gateway/set?dstcluster=newyork&gateways=gw1%20gw2:7661").await;
    let row = json!({"cluster": "newyork", "gatewayConfig": "gw1 gw2:7661"});
    assert_eq!(world.rows("cluster/gateway/get?dstcluster=newyork").await[0], row);
    assert_eq!(world.rows("cluster/gateway/list").await, [row]);
    let row = json!({"cluster": "newyork", "gatewayConfig": "gw1:7660"});
    assert_eq!(world.rows("cluster/gateway/resolve?dstcluster=newyork").await, [row]);
    let row = &world.rows("cluster/gateway/local").await[0];
    assert_eq!(row["gatewayConfig"], "127.0.0.1:7660 127.0.0.2:7660");
    let row = &world.rows("cluster/gateway/local?format=DNS").await[0];
    assert!(row["record"].as_str().unwrap().contains("TXT"));
    world.rows("cluster/gateway/delete?dstcluster=newyork").await;
    assert!(world.rows("cluster/gateway/list").await.is_empty());
}

#[tokio::test]
async fn i9_a_verification_tells_each_partition_or_why_not() {
    let world = World::new().await;
    world.rows("stream/create?path=/a").await;
    let rows = world.rows("stream/replica/verify?path=/a&replica=/mapr/newyork/a&topic=t").await;
    let status = format!("stream/replica/verify/status?job={}", rows[0]["job"].as_str().unwrap());
    let (errno, text) = world.refusal(&status).await;
    assert!(errno == 2 && text.contains("start it again"), "{text}");
    let waiting = Some("nobody answers".to_owned());
    let report = VerifyReport { percent: 5, waiting, ..VerifyReport::default() };
    *world.links.verification.lock().unwrap() = Some(report.clone());
    let row = world.rows(&status).await.remove(0);
    assert_eq!((&row["finished"], &row["percent"]), (&json!(false), &json!(5)));
    assert_eq!(row["errors"]["Msg"], "nobody answers");
    let found = VerifiedPartition {
        topic: "t".into(),
        partition: 2,
        status: "different",
        from: 3,
        to: 11,
        time_ms: 4,
        lag_records: 5,
        by_records: None,
        offset: Some(11),
        difference: Some("epoch"),
        message: "m".into(),
    };
    let report = VerifyReport { finished: Some(Ok(())), partitions: vec![found], ..report };
    *world.links.verification.lock().unwrap() = Some(report);
    let row = world.rows(&status).await.remove(0);
    let promised = mainstem_api::find_command(&["stream", "replica", "verify"]).unwrap().output;
    assert_eq!(keys(&row["partitions"][0]), promised);
    assert_eq!(row["partitions"][0]["offset"], 11);
}
