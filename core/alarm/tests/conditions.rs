//! Which sights are bad, by which name, in which words; and that nothing is told twice.

use mainstem_alarm::{
    AlarmName, Alarms, Change, DamageSight, DiskSight, GatewaySight, HandoverSight, Level, Moment,
    ReplicaSight, Sight, UpstreamSight, conditions,
};
use mainstem_api::links::{
    LinkError, LinkGap, LinkReport, NOT_FED, ReplicaState, SyncStanding, TopicFault, UpstreamReport,
};

const GIB: u64 = 1024 * 1024 * 1024;

fn error(code: &str) -> Option<LinkError> {
    Some(LinkError {
        code: code.to_owned(),
        host: "here".to_owned(),
        message: "see to it".to_owned(),
        at_ms: 1,
    })
}

fn faults(code: &str, topics: usize) -> Vec<TopicFault> {
    let fault = |at| TopicFault {
        topic: format!("t{at:02}"),
        partition: None,
        code: code.to_owned(),
        message: "because".to_owned(),
    };
    (0..topics).map(fault).collect()
}

const NOW: i64 = 1_700_000_000_000;

fn gap() -> LinkGap {
    LinkGap { topic: "t".to_owned(), partition: 1, from: 3, to: 9, at_ms: NOW }
}

fn offered(deadline_ms: i64) -> HandoverSight {
    let (source, offered_ms) = ("/mapr/boston/a".to_owned(), Some(deadline_ms - 30_000));
    HandoverSight { source, is_offered: true, offered_ms, deadline_ms }
}

/// A node on which all is well; what expired an hour ago was told.
fn well() -> Sight {
    Sight {
        wall_ms: NOW + 3_600_000,
        replicas: vec![ReplicaSight {
            stream: "/a".parse().unwrap(),
            replica: "/mapr/newyork/a".to_owned(),
            is_paused: false,
            lag_ms_max: Some(60_000),
            link: LinkReport { connected: true, gaps: vec![gap()], ..LinkReport::default() },
            handover: None,
        }],
        upstreams: vec![UpstreamSight {
            stream: "/b".parse().unwrap(),
            upstream: "/mapr/boston/b".to_owned(),
            link: UpstreamReport { connected: true, ..UpstreamReport::default() },
        }],
        gateways: ["gw1:7660", "gw2:7660"]
            .map(|address| GatewaySight {
                cluster: "newyork".parse().unwrap(),
                address: address.to_owned(),
                trouble: None,
            })
            .into(),
        damaged: Vec::new(),
        disk: DiskSight {
            free_bytes: Some(100 * GIB),
            free_bytes_min: GIB,
            is_full: false,
            pinned_by: vec![("/a clicks 0".to_owned(), 5 * GIB)],
        },
    }
}

fn bad(sight: &Sight) -> Vec<(AlarmName, String, String)> {
    let bad = conditions(sight).into_iter().filter(|c| c.level == Level::Bad);
    bad.map(|c| (c.key.name, c.key.entity, c.message)).collect()
}

#[test]
fn each_trouble_has_its_name_and_says_what_to_do() {
    type Case = (fn(&mut Sight), AlarmName, &'static str, &'static [&'static str]);
    let cases: &[Case] = &[
        (
            |s| (s.replicas[0].link.connected, s.replicas[0].link.error) = (false, error("ErrX")),
            AlarmName::ReplError,
            "/a",
            &["nothing flows to /mapr/newyork/a: ErrX: see to it"],
        ),
        (
            |s| s.replicas[0].link.state = ReplicaState::Unexpected,
            AlarmName::ReplError,
            "/a",
            &["nothing flows to /mapr/newyork/a"],
        ),
        (
            |s| s.replicas[0].link.faults = faults("ErrDiverged", 12),
            AlarmName::ReplError,
            "/a",
            &["topic t00, t01,", "t09 and 2 more (ErrDiverged: because) stopped"],
        ),
        (
            |s| s.replicas[0].handover = Some(offered(s.wall_ms - 5_000)),
            AlarmName::ReplError,
            "/a",
            &["writes to /mapr/boston/a stay refused", "failover -path /mapr/boston/a`"],
        ),
        (
            // The link stands, and its source has nothing to give.
            |s| s.replicas[0].link.error = error(NOT_FED),
            AlarmName::ReplError,
            "/a",
            &["nothing flows to /mapr/newyork/a: ErrNotFed: see to it"],
        ),
        (
            |s| s.replicas[0].link.faults = faults("ErrTopicConflict", 1),
            AlarmName::ReplConflict,
            "/a",
            &["topic t00 (ErrTopicConflict: because) of /a is refused at /mapr/newyork/a"],
        ),
        (
            |s| (s.replicas[0].link.lag_ms, s.replicas[0].link.puts_pending) = (75_000, 9),
            AlarmName::ReplLagHigh,
            "/a",
            &["75 s behind, 60 s are allowed", "9 records", "-repllagsecalarmthresh"],
        ),
        (
            |s| s.replicas[0].link.expired = 9,
            AlarmName::ReplGap,
            "/a",
            &["deleted 9 offsets of /a that /mapr/newyork/a never got", "-ttl"],
        ),
        (
            |s| (s.wall_ms, s.replicas[0].link.gaps) = (NOW + 3_599_999, vec![gap()]),
            AlarmName::ReplGap,
            "/a",
            &["offsets 3 to 8 of topic t, partition 1", "sent to /mapr/newyork/a"],
        ),
        (
            |s| s.replicas[0].link.sync = SyncStanding::Degraded,
            AlarmName::ReplAsync,
            "/a",
            &["/mapr/newyork/a does not keep up", "goes on without it", "windowsAtRisk"],
        ),
        (
            |s| s.replicas[0].link.sync = SyncStanding::Refusing,
            AlarmName::ReplAsync,
            "/a",
            &["is refused", "-syncpolicy degrade"],
        ),
        (
            |s| (s.replicas[0].link.lag_ms, s.replicas[0].is_paused) = (75_000, true),
            AlarmName::ReplLagHigh,
            "/a",
            &["it is paused; go on by `stream replica resume -path /a -replica /mapr/newyork/a`"],
        ),
        (
            |s| {
                (s.upstreams[0].link.connected, s.upstreams[0].link.error) =
                    (false, error("ErrConnectionLost"));
            },
            AlarmName::ReplError,
            "/b",
            &["nothing comes from /mapr/boston/b: ErrConnectionLost"],
        ),
        (
            |s| s.upstreams[0].link.faults = faults("ErrTopicConflict", 1),
            AlarmName::ReplConflict,
            "/b",
            &["topic t00", "from /mapr/boston/b is refused here"],
        ),
        (
            |s| s.upstreams[0].link.faults = faults("ErrCorrupt", 1),
            AlarmName::ReplError,
            "/b",
            &["from /mapr/boston/b stopped here"],
        ),
        (
            |s| s.gateways[1].trouble = Some("refused".to_owned()),
            AlarmName::GatewayDown,
            "newyork",
            &["1 of 2 gateways", "not gw2:7660 (refused)", "-dstcluster newyork"],
        ),
        (
            |s| s.gateways.iter_mut().for_each(|g| g.trouble = Some("refused".to_owned())),
            AlarmName::GatewayDown,
            "newyork",
            &["0 of 2 gateways", "gw1:7660, gw2:7660"],
        ),
        (
            |s| {
                s.damaged = vec![DamageSight {
                    stream: "/a".parse().unwrap(),
                    partition: "clicks 3".to_owned(),
                    why: "offset 7: wrong checksum".to_owned(),
                }];
            },
            AlarmName::DataUnavailable,
            "/a",
            &["clicks 3 (offset 7: wrong checksum)", "restore"],
        ),
        (
            |s| s.disk.free_bytes = Some(2 * GIB - 1),
            AlarmName::AlmostFull,
            "CLUSTER",
            &["appends are refused below 1024 MiB; 2047 MiB", "/a clicks 0 5120 MiB", "-ttl"],
        ),
        (|s| s.disk.is_full = true, AlarmName::Full, "CLUSTER", &["appends are refused; "]),
    ];
    assert_eq!(bad(&well()), []);
    for (at, (change, name, entity, says)) in cases.iter().enumerate() {
        let mut sight = well();
        change(&mut sight);
        let found = bad(&sight);
        assert_eq!(found.len(), 1, "case {at}: {found:?}");
        let (found_name, found_entity, message) = &found[0];
        assert_eq!((found_name, found_entity.as_str()), (name, *entity), "case {at}");
        assert!(says.iter().all(|says| message.contains(says)), "case {at}: {message}");
    }
}

#[test]
fn what_is_meant_to_be_is_no_trouble() {
    let cases: &[fn(&mut Sight)] = &[
        |s| (s.replicas[0].is_paused, s.replicas[0].link.connected) = (true, false),
        |s| (s.replicas[0].lag_ms_max, s.replicas[0].link.lag_ms) = (None, u64::MAX),
        |s| s.replicas[0].link.lag_ms = 60_000,
        // A first copy is behind by everything.
        |s| {
            s.replicas[0].link.state = ReplicaState::CopyInProgress;
            s.replicas[0].link.lag_ms = 7 * 86_400_000;
        },
        |s| {
            (s.upstreams[0].link.connected, s.upstreams[0].link.error) = (false, error("Paused"));
        },
        |s| {
            (s.upstreams[0].link.connected, s.upstreams[0].link.error) =
                (false, error("NotConnected"));
        },
        |s| s.disk.free_bytes = None,
    ];
    for (at, change) in cases.iter().enumerate() {
        let mut sight = well();
        change(&mut sight);
        assert_eq!(bad(&sight), [], "case {at}");
    }
}

#[test]
fn a_lag_that_swings_around_its_limit_is_told_once() {
    let (mut alarms, mut told) = (Alarms::default(), Vec::new());
    let lags = [50_000, 61_000, 59_000, 62_000, 58_000, 61_000, 50_000, 61_000, 55_000];
    for (second, lag_ms) in (0u64..).zip(lags.iter().cycle().take(300).chain(&[0; 20])) {
        let mut sight = well();
        sight.replicas[0].link.lag_ms = *lag_ms;
        let at = Moment { now_ms: second * 10_000, wall_ms: 0 };
        told.extend(alarms.handle_look(conditions(&sight), at));
    }
    // Below four fifths of the limit for a while, only at the end.
    let raised = told.iter().filter(|change| matches!(change, Change::Raised(_))).count();
    assert_eq!((raised, told.len()), (1, 2), "{told:?}");
}

#[test]
fn a_removed_replica_takes_its_alarms_along() {
    let mut alarms = Alarms::default();
    let mut sight = well();
    sight.replicas[0].link.connected = false;
    for second in 0..20 {
        let at = Moment { now_ms: second * 1000, wall_ms: 0 };
        alarms.handle_look(conditions(&sight), at);
    }
    assert_eq!(alarms.standing().count(), 1);
    sight.replicas.clear();
    let at = Moment { now_ms: 20_000, wall_ms: 0 };
    assert_eq!(alarms.handle_look(conditions(&sight), at).len(), 1);
    assert_eq!(alarms.standing().count(), 0);
}

#[test]
fn a_lag_that_is_only_feared_raises_nothing() {
    let mut sight = well();
    let link = &mut sight.replicas[0].link;
    (link.lag_ms, link.is_unheard) = (3_600_000, true);
    assert_eq!(bad(&sight), []);
}

/// In a multi-master stream each is the other's replica and upstream.
#[test]
fn both_ends_of_two_links_have_alarms_of_their_own() {
    let mut sight = well();
    let other = sight.replicas[0].replica.clone();
    (sight.upstreams[0].stream, sight.upstreams[0].upstream) = ("/a".parse().unwrap(), other);
    let mut keys: Vec<_> = conditions(&sight).into_iter().map(|found| found.key).collect();
    let all = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all, "one of two with one key would be told at every look");
}
