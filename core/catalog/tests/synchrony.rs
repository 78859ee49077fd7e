//! Synchronous replicas in the catalog: joining, in force, degraded, and windows at risk.

mod world;

use std::collections::BTreeMap;

use mainstem_catalog::{Command, Replica, ReplicaPatch, ReplicaSettings, SyncState, SyncTimeoutMs};
use mainstem_types::limits::{RISK_PARTITIONS_MAX, RISK_WINDOWS_MAX};
use mainstem_types::{ErrorKind, PartitionNo, StreamId};
use world::{Story, place};

const REPLICA: &str = "/mapr/sanfrancisco/a";

fn synchronous() -> (Story, StreamId) {
    let mut story = Story::new();
    let stream = story.stream("/a");
    let settings = ReplicaSettings { synchronous: true, ..ReplicaSettings::default() };
    let replica = place(REPLICA);
    story
        .run(&Command::AddReplica {
            stream,
            replica,
            replica_id: None,
            settings,
            paused: false,
            setup: None,
        })
        .unwrap();
    (story, stream)
}

fn replica(story: &Story, stream: StreamId) -> Replica {
    story.see(stream).replicas[0].clone()
}

fn at_risk(from: u64, count: usize) -> Vec<(PartitionNo, i64)> {
    (from..).take(count).map(|no| (PartitionNo(no), 10)).collect()
}

fn degrade(story: &mut Story, stream: StreamId, at_risk: Vec<(PartitionNo, i64)>) {
    story.run(&Command::DegradeReplica { stream, idx: 1, since_ms: 900, at_risk }).unwrap();
}

fn bring(story: &mut Story, stream: StreamId, ends: BTreeMap<PartitionNo, i64>) {
    story.run(&Command::BringInForce { stream, idx: 1, ends }).unwrap();
}

fn edit(story: &mut Story, stream: StreamId, patch: ReplicaPatch) -> Result<(), ErrorKind> {
    let edit = Command::EditReplica { stream, replica: place(REPLICA), patch };
    story.run(&edit).map(drop).map_err(|error| error.kind())
}

#[test]
fn a_window_says_what_went_out_without_the_replica() {
    let (mut story, stream) = synchronous();
    assert_eq!(replica(&story, stream).sync_state, SyncState::Joining);
    degrade(&mut story, stream, at_risk(1, 1));
    assert_eq!(replica(&story, stream).sync_state, SyncState::Joining, "it was not in force");
    bring(&mut story, stream, BTreeMap::new());
    assert_eq!(replica(&story, stream).sync_state, SyncState::InForce);
    degrade(&mut story, stream, at_risk(1, 1));
    let widen = Command::WidenRisk { stream, idx: 1, at_risk: at_risk(1, 2) };
    assert_eq!(story.run(&widen).unwrap().len(), 1);
    assert!(story.run(&widen).unwrap().is_empty(), "it is known by now");
    let open = replica(&story, stream);
    assert_eq!(open.sync_state, SyncState::Degraded);
    assert_eq!(open.open_window().unwrap().from_ms, 900);
    story.now_ms = 2_000;
    bring(&mut story, stream, BTreeMap::from([(PartitionNo(1), 15)]));
    let done = replica(&story, stream);
    let window = &done.windows[0];
    assert_eq!((done.sync_state, window.to_ms), (SyncState::InForce, Some(2_000)));
    let ranges: Vec<_> = window.ranges.iter().map(|r| (r.partition.0, r.from, r.to)).collect();
    // The second partition is gone by now.
    assert_eq!(ranges, [(1, 10, Some(15)), (2, 10, Some(10))]);
    assert!(story.run(&widen).unwrap().is_empty(), "no window is open");
}

#[test]
fn windows_are_bounded() {
    let (mut story, stream) = synchronous();
    for round in 0..RISK_WINDOWS_MAX + 2 {
        bring(&mut story, stream, BTreeMap::new());
        degrade(&mut story, stream, at_risk(1, RISK_PARTITIONS_MAX - round % 2));
    }
    let at_risk = at_risk(1, RISK_PARTITIONS_MAX + 5);
    let widen = Command::WidenRisk { stream, idx: 1, at_risk };
    story.run(&widen).unwrap();
    assert!(story.run(&widen).unwrap().is_empty(), "a full list is not made again and again");
    let replica = replica(&story, stream);
    assert_eq!(replica.windows.len(), RISK_WINDOWS_MAX);
    let window = replica.open_window().unwrap();
    assert_eq!((window.ranges.len(), window.is_partial), (RISK_PARTITIONS_MAX, true));
}

#[test]
fn who_is_paused_or_not_synchronous_is_not_in_force() {
    let (mut story, stream) = synchronous();
    bring(&mut story, stream, BTreeMap::new());
    let epoch = replica(&story, stream).link_epoch;
    story.run(&Command::PauseReplica { stream, replica: place(REPLICA) }).unwrap();
    let paused = replica(&story, stream);
    assert_eq!(paused.sync_state, SyncState::Degraded);
    assert!(paused.link_epoch > epoch && paused.open_window().is_some(), "never silently");
    bring(&mut story, stream, BTreeMap::new());
    assert_eq!(replica(&story, stream).sync_state, SyncState::Degraded, "nobody feeds it");
    story.run(&Command::ResumeReplica { stream, replica: place(REPLICA) }).unwrap();
    bring(&mut story, stream, BTreeMap::new());
    let resumed = replica(&story, stream);
    assert_eq!((resumed.sync_state, resumed.open_window()), (SyncState::InForce, None));
    degrade(&mut story, stream, at_risk(1, 1));
    let leave = ReplicaPatch { synchronous: Some(false), ..ReplicaPatch::default() };
    edit(&mut story, stream, leave).unwrap();
    let left = replica(&story, stream);
    assert_eq!((left.sync_state, left.open_window()), (SyncState::Async, None));
    assert_eq!((left.windows[1].to_ms, left.windows[1].ranges[0].to), (Some(1_000), None));
    let join = ReplicaPatch { synchronous: Some(true), ..ReplicaPatch::default() };
    edit(&mut story, stream, join).unwrap();
    assert_eq!(replica(&story, stream).sync_state, SyncState::Joining);
    let short = ReplicaPatch { sync_timeout_ms: Some(SyncTimeoutMs(3)), ..ReplicaPatch::default() };
    assert_eq!(edit(&mut story, stream, short), Err(ErrorKind::Invalid));
}
