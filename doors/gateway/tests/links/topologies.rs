//! More than two clusters: who feeds, who owns, and the way out when two own one name.

use mainstem_api::links::UpstreamReport;
use mainstem_catalog::{Command, Place, TopicPatch};
use mainstem_engine::CursorCommit;
use mainstem_group::CursorKey;
use mainstem_types::{OriginTopicId, StreamId};

use crate::cluster::{Cluster, Group, until};

fn origin(cluster: &Cluster, stream: StreamId, name: &str) -> OriginTopicId {
    let catalog = cluster.catalog();
    catalog.stream(stream).unwrap().topic(&name.parse().unwrap()).unwrap().origin
}

async fn agree(source: &Cluster, from: StreamId, replica: &Cluster, to: StreamId) {
    source.add_replica(from, replica.place("/s"), false).await;
    replica.add_upstream(to, source.place("/s")).await;
}

fn upstream(cluster: &Cluster, stream: StreamId, source: &Cluster) -> UpstreamReport {
    let Place { cluster: name, path } = source.place("/s");
    cluster.links().upstream(stream, &name, &path).unwrap()
}

async fn four(group: &Group) -> ([Cluster; 4], [StreamId; 4]) {
    let clusters = [
        group.cluster("north").await,
        group.cluster("west").await,
        group.cluster("east").await,
        group.cluster("south").await,
    ];
    let mut streams = [StreamId(0); 4];
    for (cluster, stream) in clusters.iter().zip(&mut streams) {
        *stream = cluster.create_stream("/s").await;
    }
    (clusters, streams)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_diamond_is_fed_once_and_by_the_other_side_when_one_goes() {
    let group = Group::new();
    let ([north, west, east, south], [n, w, e, s]) = four(&group).await;
    agree(&north, n, &west, w).await;
    agree(&north, n, &east, e).await;
    agree(&west, w, &south, s).await;
    agree(&east, e, &south, s).await;
    for topic in ["t1", "t2"] {
        north.create_topic(n, topic, 2).await;
        for no in 0..20 {
            north.produce(n, topic, no % 2, &format!("{topic} {no}")).await.unwrap();
        }
    }
    until("all is at the far end", || south.content(s) == north.content(n)).await;
    let fed = |source| upstream(&south, s, source).topics_fed;
    until("both sides have offered", || fed(&west) + fed(&east) == 2).await;
    let sent = |cluster: &Cluster, stream| cluster.report(stream, &south.place("/s")).records_sent;
    until("status has seen it", || sent(&west, w) + sent(&east, e) >= 40).await;
    assert_eq!(sent(&west, w) + sent(&east, e), 40, "each record came once");

    // Whoever feeds goes away, and nothing is lost or called diverged.
    let (gone, stays, stream) = if fed(&west) > 0 { (west, east, e) } else { (east, west, w) };
    let folder = gone.stop().await;
    north.produce(n, "t1", 0, "after the loss").await.unwrap();
    until("the other side feeds", || south.content(s) == north.content(n)).await;
    assert_eq!(upstream(&south, s, &stays).topics_fed, 2);
    until("and knows what is there", || {
        let report = stays.report(stream, &south.place("/s"));
        report.is_uptodate && report.faults.is_empty()
    })
    .await;
    for cluster in [north, stays, south] {
        cluster.stop().await;
    }
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_of_topics_and_cursors_pass_through_a_chain() {
    let group = Group::new();
    let ([north, west, east, south], [n, w, _, s]) = four(&group).await;
    agree(&north, n, &west, w).await;
    agree(&west, w, &south, s).await;
    north.create_topic(n, "t", 1).await;
    north.produce(n, "t", 0, "x").await.unwrap();
    until("the data arrives", || south.content(s) == north.content(n)).await;
    let topic = origin(&north, n, "t");
    let key = |stream| CursorKey { stream, group: "g".parse().unwrap(), topic, partition: 0 };
    let commit = CursorCommit { key: key(n), offset: 1, leader_epoch: 0, metadata: String::new() };
    north.engine.commit_cursors(vec![commit]).await.unwrap();
    until("the cursor arrives", || south.engine.cursor(&key(s)).is_some()).await;
    north.engine.delete_cursors(vec![key(n)]).await.unwrap();
    until("its deletion arrives", || south.engine.cursor(&key(s)).is_none()).await;

    north.engine.change(Command::DeleteTopic { stream: n, topic }).await.unwrap();
    until("the topic is gone", || south.content(s).is_empty()).await;
    until("and forgotten where nobody can bring it back", || {
        north.catalog().stream(n).unwrap().tombstones.is_empty()
    })
    .await;
    for cluster in [north, west, east, south] {
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_change_their_own_topics_and_nobody_elses() {
    let group = Group::new();
    let (one, two) = (group.cluster("sanfrancisco").await, group.cluster("newyork").await);
    let (a, b) = (one.create_stream("/s").await, two.create_stream("/s").await);
    agree(&one, a, &two, b).await;
    agree(&two, b, &one, a).await;
    one.create_topic(a, "west", 1).await;
    two.create_topic(b, "east", 1).await;
    one.produce(a, "west", 0, "w").await.unwrap();
    two.produce(b, "east", 0, "e").await.unwrap();
    until("both have both", || one.content(a).len() == 2 && one.content(a) == two.content(b)).await;
    assert!(one.produce(a, "east", 0, "intruder").await.is_err(), "I5");

    let (west, east) = (origin(&one, a, "west"), origin(&two, b, "east"));
    let grow = |stream, topic| {
        let patch = TopicPatch { partitions: Some(3), ..TopicPatch::default() };
        Command::EditTopic { stream, topic, patch }
    };
    assert!(one.engine.change(grow(a, east)).await.is_err(), "it grows at its owner only");
    two.engine.change(grow(b, east)).await.unwrap();
    two.produce(b, "east", 2, "in a new partition").await.unwrap();
    until("it has grown", || one.content(a) == two.content(b)).await;

    let delete = |stream, topic| Command::DeleteTopic { stream, topic };
    assert!(two.engine.change(delete(b, west)).await.is_err(), "it is deleted at its owner only");
    one.engine.change(delete(a, west)).await.unwrap();
    until("it is gone", || two.content(b).len() == 3 && one.content(a) == two.content(b)).await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_a_conflict_is_seen_at_both_ends_and_ends_with_a_rename() {
    let group = Group::new();
    let ([north, west, east, south], [n, w, _, s]) = four(&group).await;
    agree(&north, n, &south, s).await;
    agree(&west, w, &south, s).await;
    north.create_topic(n, "clicks", 1).await;
    north.produce(n, "clicks", 0, "northern").await.unwrap();
    until("the first owner's is there", || south.content(s) == north.content(n)).await;
    west.create_topic(w, "clicks", 1).await;
    west.create_topic(w, "other", 1).await;
    west.produce(w, "clicks", 0, "western").await.unwrap();
    west.produce(w, "other", 0, "flows").await.unwrap();
    until("the rest flows", || south.content(s).len() == 2).await;
    until("both ends show the conflict", || {
        let here = upstream(&south, s, &west).faults;
        let there = west.report(w, &south.place("/s")).faults;
        [here, there].iter().all(|faults| {
            faults.len() == 1
                && faults[0].topic == "clicks"
                && faults[0].code == "ErrTopicConflict"
                && ["/mapr/north/s", "/mapr/west/s", "topic rename"]
                    .iter()
                    .all(|said| faults[0].message.contains(said))
        })
    })
    .await;
    assert_eq!(south.content(s)[&("clicks".into(), 0)], north.content(n)[&("clicks".into(), 0)]);

    let rename = |cluster: &Cluster, stream, from: &str, to: &str| Command::RenameTopic {
        stream,
        topic: origin(cluster, stream, from),
        name: to.parse().unwrap(),
    };
    let second = rename(&west, w, "clicks", "clicks-west");
    west.engine.change(second).await.unwrap();
    until("the second owner's flows under its new name", || {
        let there = south.content(s);
        there.get(&("clicks-west".into(), 0)) == west.content(w).get(&("clicks-west".into(), 0))
    })
    .await;
    until("nothing is at fault any more", || {
        upstream(&south, s, &west).faults.is_empty()
            && west.report(w, &south.place("/s")).faults.is_empty()
    })
    .await;

    // And a local topic in the way of an upstream's.
    south.create_topic(s, "views", 1).await;
    north.create_topic(n, "views", 1).await;
    north.produce(n, "views", 0, "v").await.unwrap();
    until("it is refused", || !north.report(n, &south.place("/s")).faults.is_empty()).await;
    south.engine.change(rename(&south, s, "views", "views-here")).await.unwrap();
    until("it heals by itself", || {
        south.content(s).get(&("views".into(), 0)) == north.content(n).get(&("views".into(), 0))
    })
    .await;
    for cluster in [north, west, east, south] {
        cluster.stop().await;
    }
}
