//! One frame of each kind, every field set to something that can be told apart.

use bytes::Bytes;
use mainstem_link::*;
use mainstem_types::{
    CatalogSeq, ClusterId, JobId, LineageEntry, LinkEpoch, OriginTopicId, StreamId, Term, TermId,
    TimestampType,
};

fn setting(key: &str, value: &str) -> Setting {
    Setting { key: key.into(), value: value.into() }
}

fn end(offset: i64) -> End {
    End { origin: OriginTopicId(0xa0), partition: 3, offset }
}

fn lineage() -> Vec<LineageEntry> {
    let entry = |leader_epoch, start_offset, term| LineageEntry {
        leader_epoch,
        start_offset,
        term_id: TermId(term),
        owner: StreamId(0x51),
        markers: 0,
    };
    vec![entry(0, 0, 7), entry(2, 900, 8)]
}

fn hello() -> Frame {
    Hello {
        version_min: 1,
        version_max: 1,
        features: 5,
        cluster_id: ClusterId(0xc1),
        cluster_name: "sanfrancisco".parse().unwrap(),
        producer_prefix: 0x1234,
        node_id: 77,
        source_id: StreamId(0x51),
        source_path: "/activity".parse().unwrap(),
        replica_cluster: "newyork".parse().unwrap(),
        replica_path: "/copies/activity".parse().unwrap(),
        replica_id: Some(StreamId(0x52)),
        link_epoch: LinkEpoch(9),
        term: Term { number: 1, id: TermId(7) },
        mode: Mode::Replicate,
        catalog_seq: CatalogSeq(12),
        now_ms: 1_700_000_000_000,
    }
    .into()
}

fn welcome() -> Frame {
    Welcome {
        version: 1,
        features: 1,
        cluster_id: ClusterId(0xc2),
        cluster_name: "newyork".parse().unwrap(),
        producer_prefix: 0x4321,
        node_id: 78,
        replica_id: StreamId(0x52),
        link_epoch: LinkEpoch(4),
        applied_seq: CatalogSeq(11),
        term: Term { number: 1, id: TermId(7) },
        credit_bytes: 1 << 24,
        partitions: vec![PartitionItem {
            origin: OriginTopicId(0xa0),
            partition: 3,
            log_start: 10,
            end: 1000,
            lineage: lineage(),
            trimmed: None,
        }],
        cursors: vec![CursorVersion {
            group: "readers".into(),
            origin: OriginTopicId(0xa0),
            partition: 3,
            version: 6,
            term: TermId(7),
        }],
        more: true,
        holds: false,
        terms: Vec::new(),
    }
    .into()
}

/// A replica that knows what the owner deleted.
pub(crate) fn welcome_with_trims() -> Frame {
    let Frame::Welcome(mut welcome) = welcome() else { unreachable!("as it is made") };
    welcome.partitions[0].trimmed = Some(9);
    welcome.into()
}

fn topics() -> Frame {
    Topics {
        topics: vec![TopicItem {
            origin: OriginTopicId(0xa0),
            name: "clicks".parse().unwrap(),
            partitions: 4,
            timestamp_type: TimestampType::LogAppendTime,
            config: vec![setting("retention.ms", "1000")],
            owner: StreamId(0x51),
            term: Term { number: 1, id: TermId(7) },
            seq: CatalogSeq(12),
            created_ms: 1_600_000_000_000,
            owner_seq: CatalogSeq(3),
        }],
        tombstones: vec![TombstoneItem {
            origin: OriginTopicId(0xa1),
            name: "gone".parse().unwrap(),
            seq: CatalogSeq(10),
            owner_seq: CatalogSeq(2),
            term: Some(1),
        }],
        complete_to: CatalogSeq(12),
    }
    .into()
}

fn batches() -> Frame {
    Batches {
        origin: OriginTopicId(0xa0),
        partition: 3,
        from: 1000,
        to: 1012,
        gap_from: Some(990),
        lineage: lineage(),
        source_end: 2000,
        compacted: 0,
        items: vec![
            BatchItem { arrival_ms: 5, bytes: Bytes::from_static(b"first batch") },
            BatchItem { arrival_ms: 6, bytes: Bytes::from_static(b"the second one") },
        ],
    }
    .into()
}

fn request() -> Frame {
    Request {
        cluster_id: ClusterId(0xc1),
        cluster_name: "sanfrancisco".parse().unwrap(),
        to_cluster: "newyork".parse().unwrap(),
        job: JobId(0x10b),
        grant: b"let me in".to_vec(),
        create_stream: Some(CreateStream {
            path: "/activity".parse().unwrap(),
            stream: StreamId(0x52),
            settings: vec![setting("ttl", "86400")],
        }),
        add_upstream: Some(AddUpstream {
            path: "/activity".parse().unwrap(),
            stream: StreamId(0x52),
            source_path: "/activity".parse().unwrap(),
            source: StreamId(0x51),
        }),
        add_replica: Some(AddReplica {
            path: "/activity".parse().unwrap(),
            stream: StreamId(0x52),
            replica_path: "/activity".parse().unwrap(),
            replica: StreamId(0x51),
            settings: vec![setting("throttle", "true")],
        }),
        describe: Some("/activity".parse().unwrap()),
        undo: Some(StreamId(0x52)),
        check_copy: None,
        take_over: None,
        digests: None,
    }
    .into()
}

fn reply() -> Frame {
    Reply {
        cluster_id: ClusterId(0xc2),
        cluster_name: "newyork".parse().unwrap(),
        code: Some(Code::Exists),
        message: "there is a stream at /activity already".into(),
        may_retry: true,
        described: Some(Described {
            stream: Some(StreamId(0x52)),
            settings: vec![setting("ttl", "86400")],
        }),
        whole: None,
        digests: Vec::new(),
    }
    .into()
}

fn cursors() -> Frame {
    Cursors {
        cursors: vec![CursorItem {
            group: "readers".into(),
            origin: OriginTopicId(0xa0),
            partition: 3,
            offset: 500,
            leader_epoch: 2,
            metadata: "mine".into(),
            commit_ms: 4,
            version: 6,
            term: TermId(7),
        }],
    }
    .into()
}

fn reserved() -> Vec<Frame> {
    vec![
        TransactionDecisions {
            decisions: vec![TransactionDecision {
                producer_id: 8,
                producer_epoch: 1,
                committed: true,
                decided_ms: 3,
                markers: vec![MarkerItem {
                    origin: OriginTopicId(0xa0),
                    partition: 3,
                    offset: 40,
                    first_offset: 38,
                }],
            }],
        }
        .into(),
        Positions { ends: vec![end(41)] }.into(),
        Feed {
            feed: vec![OriginTopicId(0xa0)],
            hold: vec![OriginTopicId(0xa1), OriginTopicId(0xa2)],
            partitions: vec![PartitionItem {
                origin: OriginTopicId(0xa0),
                partition: 3,
                log_start: 2,
                end: 42,
                lineage: Vec::new(),
                trimmed: None,
            }],
        }
        .into(),
        Digests {
            digests: vec![DigestItem {
                origin: OriginTopicId(0xa0),
                partition: 3,
                from: 0,
                to: 4096,
                digest: vec![1, 2, 3],
            }],
        }
        .into(),
        Terms {
            terms: vec![TermItem {
                origin: OriginTopicId(0xa0),
                owner: StreamId(0x52),
                term: Term { number: 2, id: TermId(8) },
            }],
        }
        .into(),
    ]
}

/// One of each kind.
pub(crate) fn frames() -> Vec<Frame> {
    let mut frames = vec![
        hello(),
        welcome(),
        Refused { code: Code::NoUpstream, message: "add it".into(), may_retry: true }.into(),
        topics(),
        batches(),
        Ack {
            ends: vec![end(1012)],
            applied_seq: CatalogSeq(12),
            term: Some(Term { number: 1, id: TermId(7) }),
        }
        .into(),
        Credit { bytes: 25 }.into(),
        Forwarded { cluster_id: ClusterId(0xc3), names: vec!["a.b".into(), "c.d".into()] }.into(),
        cursors(),
        HighWatermarks { ends: vec![end(1010)] }.into(),
        Heartbeat {
            now_ms: 5,
            pending_bytes: 6,
            pending_records: 7,
            pending_since_ms: 8,
            ends: vec![end(2000)],
            pending_counted_ms: 0,
            echo_ms: 0,
        }
        .into(),
        Trims { starts: vec![end(20)] }.into(),
        Fault {
            origin: OriginTopicId(0xa0),
            partition: Some(3),
            code: Code::Misaligned,
            message: "not at the end".into(),
            expected_offset: Some(1000),
        }
        .into(),
        Bye { code: Code::Removed, message: "the replica was removed".into() }.into(),
        request(),
        reply(),
        Rejoin { origin: OriginTopicId(0xa0), partition: 3, lineage: lineage(), source_end: 1000 }
            .into(),
        HandOver { term: Term { number: 2, id: TermId(8) } }.into(),
    ];
    frames.extend(reserved());
    frames
}

/// What heartbeats say since they tell when they counted, each in a file of its own.
pub(crate) fn of_status() -> [(&'static str, Frame); 2] {
    let counted = Heartbeat {
        now_ms: 1_700_000_000_500,
        pending_bytes: 6,
        pending_records: 7,
        pending_since_ms: 8,
        pending_counted_ms: 1_700_000_000_000,
        ..Heartbeat::default()
    };
    let echo = Heartbeat { now_ms: 5, echo_ms: 1_700_000_000_400, ..Heartbeat::default() };
    [("10-Heartbeat-counted.bin", counted.into()), ("10-Heartbeat-echo.bin", echo.into())]
}

/// A Welcome of a replica that owns a topic.
pub(crate) fn of_another_owner() -> [(&'static str, Frame); 1] {
    let Frame::Welcome(welcome) = welcome() else { unreachable!("that is what it is") };
    let term = TermItem {
        origin: OriginTopicId(0xa0),
        owner: StreamId(0x52),
        term: Term { number: 2, id: TermId(8) },
    };
    [("02-Welcome-terms.bin", Welcome { terms: vec![term], ..welcome }.into())]
}

/// Requests and the answer of a copy that takes over, each in a file of its own.
pub(crate) fn of_a_copy() -> [(&'static str, Frame); 3] {
    let (Frame::Request(request), Frame::Reply(reply)) = (request(), reply()) else {
        unreachable!("that is what they are")
    };
    let bare = Request {
        create_stream: None,
        add_upstream: None,
        add_replica: None,
        describe: None,
        undo: None,
        ..request
    };
    let check = CheckCopy {
        stream: StreamId(0x52),
        topics: vec![CopyTopic { origin: OriginTopicId(0xa0), name: "clicks".parse().unwrap() }],
        partitions: vec![PartitionItem {
            origin: OriginTopicId(0xa0),
            partition: 3,
            log_start: 5,
            end: 90,
            lineage: vec![LineageEntry {
                leader_epoch: 0,
                start_offset: 0,
                term_id: TermId(0x7e),
                owner: StreamId(0x51),
                markers: 0,
            }],
            trimmed: None,
        }],
    };
    let take = TakeOver { stream: StreamId(0x52), topics: vec![OriginTopicId(0xa1)], more: true };
    let asked = Request { check_copy: Some(Box::new(check)), ..bare.clone() };
    let told = Reply { code: None, described: None, whole: Some(1), ..reply };
    let taken = Request { take_over: Some(Box::new(take)), ..bare };
    [
        ("18-Request-check-copy.bin", asked.into()),
        ("18-Request-take-over.bin", taken.into()),
        ("19-Reply-check-copy.bin", told.into()),
    ]
}

/// The question and the answer of a proof of equality, each in a file of its own.
pub(crate) fn of_a_proof() -> [(&'static str, Frame); 2] {
    let (Frame::Request(request), Frame::Reply(reply)) = (request(), reply()) else {
        unreachable!("that is what they are")
    };
    let range = |from, batches| DigestRange {
        origin: OriginTopicId(0xa0),
        partition: 3,
        from,
        to: 9000,
        batches,
        records: false,
    };
    let query = DigestQuery {
        stream: StreamId(0x52),
        source: StreamId(0x51),
        stride: 4096,
        ranges: vec![range(5, false), range(4096, true)],
    };
    let asked = Request {
        create_stream: None,
        add_upstream: None,
        add_replica: None,
        describe: None,
        undo: None,
        digests: Some(Box::new(query)),
        ..request
    };
    let part =
        |from, leader_epoch| DigestPart { from, to: 8192, leader_epoch, digest: vec![7; 32] };
    let whole = DigestAnswer {
        log_start: 5,
        end: 9000,
        upto: 8192,
        parts: vec![part(5, 0), part(4096, 0)],
        arrival_ms: 6,
        code: None,
        message: None,
        compacted: None,
    };
    let damaged = DigestAnswer {
        parts: vec![part(4096, 2)],
        code: Some(Code::Corrupt),
        message: Some("offset 8192: damaged".into()),
        ..whole.clone()
    };
    let told = Reply { code: None, described: None, digests: vec![whole, damaged], ..reply };
    [("18-Request-digests.bin", asked.into()), ("19-Reply-digests.bin", told.into())]
}

/// What is said of log compaction, each in a file of its own.
pub(crate) fn of_compaction() -> [(&'static str, Frame); 3] {
    let Frame::Batches(batches) = batches() else { unreachable!("that is what it is") };
    let [(_, Frame::Request(request)), (_, Frame::Reply(reply))] = of_a_proof() else {
        unreachable!("that is what they are")
    };
    let mut query = request.digests.clone().unwrap();
    query.ranges.iter_mut().for_each(|range| range.records = true);
    let asked = Request { digests: Some(query), ..request };
    let mut told = reply.digests.clone();
    for answer in &mut told {
        answer.compacted = Some(9_000);
        answer.parts.iter_mut().for_each(|part| part.digest = vec![7; 2 * RECORD_DIGEST_BYTES]);
    }
    [
        ("05-Batches-compacted.bin", Batches { compacted: 1_500, ..batches }.into()),
        ("18-Request-digests-records.bin", asked.into()),
        ("19-Reply-digests-records.bin", Reply { digests: told, ..reply }.into()),
    ]
}
