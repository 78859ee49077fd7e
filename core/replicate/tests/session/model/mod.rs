//! A source and a replica in memory, joined by the two state machines and a perfect wire.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use mainstem_link::*;
use mainstem_replicate::*;
use mainstem_types::{
    CatalogSeq, ClusterId, Error, ErrorKind, Lineage, LineageEntry, LinkEpoch, OriginTopicId,
    StreamId, Term, TermId,
};

pub(crate) const SOURCE: StreamId = StreamId(0x51);
pub(crate) const REPLICA: StreamId = StreamId(0x52);
pub(crate) const TERM: Term = Term { number: 1, id: TermId(7) };

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Log {
    pub(crate) start: i64,
    /// Deleted by the owner below here.
    pub(crate) trimmed: i64,
    /// (base, next, bytes)
    pub(crate) batches: Vec<(i64, i64, Bytes)>,
    pub(crate) lineage: Vec<LineageEntry>,
}

impl Log {
    pub(crate) fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |batch| batch.1)
    }

    pub(crate) fn push(&mut self, count: i64, text: &str) {
        let base = self.end();
        self.batches.push((base, base + count, Bytes::from(text.to_owned())));
    }

    /// DeleteRecords.
    pub(crate) fn delete(&mut self, to: i64) {
        self.trim(to);
        self.trimmed = to.max(self.trimmed);
    }

    /// Retention.
    pub(crate) fn trim(&mut self, to: i64) {
        self.start = to.max(self.start);
        self.batches.retain(|batch| batch.1 > to);
    }
}

pub(crate) type Logs = BTreeMap<(OriginTopicId, u32), Log>;

pub(crate) fn topic(id: u128, name: &str, partitions: u32, seq: u64) -> TopicItem {
    TopicItem {
        origin: OriginTopicId(id),
        name: name.parse().unwrap(),
        partitions,
        timestamp_type: Default::default(),
        config: Vec::new(),
        owner: SOURCE,
        term: TERM,
        seq: CatalogSeq(seq),
        owner_seq: CatalogSeq(seq),
        created_ms: 0,
    }
}

pub(crate) fn hello(mode: Mode) -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        features: 0,
        cluster_id: ClusterId(1),
        cluster_name: "a".parse().unwrap(),
        producer_prefix: 1,
        node_id: 1,
        source_id: SOURCE,
        source_path: "/s".parse().unwrap(),
        replica_cluster: "b".parse().unwrap(),
        replica_path: "/s".parse().unwrap(),
        replica_id: None,
        link_epoch: LinkEpoch(1),
        term: TERM,
        mode,
        catalog_seq: CatalogSeq(1),
        now_ms: 0,
    }
}

pub(crate) fn identity() -> ReceiverIdentity {
    ReceiverIdentity {
        cluster_id: ClusterId(2),
        cluster_name: "b".parse().unwrap(),
        producer_prefix: 2,
        node_id: 2,
    }
}

/// Both sides and the session between them.
pub(crate) struct World {
    pub(crate) source: Logs,
    pub(crate) replica: Logs,
    pub(crate) topics: Vec<TopicItem>,
    pub(crate) tombstones: Vec<TombstoneItem>,
    pub(crate) seq: CatalogSeq,
    pub(crate) applied: Vec<String>,
    pub(crate) applied_seq: CatalogSeq,
    pub(crate) conflicts: Vec<OriginTopicId>,
    /// Partitions whose batches the replica finds damaged.
    pub(crate) damaged: Vec<(OriginTopicId, u32)>,
    pub(crate) kept: Vec<CursorItem>,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) wire_bytes: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) trims: usize,
    pub(crate) closed: Option<Closing>,
    /// Drops the n-th Batches frame, to see what the far end does about it.
    pub(crate) lose: Option<usize>,
    /// The source's watermarks, where it holds them back; and those that the replica was told.
    pub(crate) watermarks: BTreeMap<(OriginTopicId, u32), i64>,
    pub(crate) held: BTreeMap<(OriginTopicId, u32), i64>,
    /// The commits that the replica was told of.
    pub(crate) told: Vec<TransactionDecision>,
    /// What the source was told of the replica, as often as it was.
    pub(crate) acked: Vec<Vec<(OriginTopicId, u32, i64)>>,
    frames_seen: usize,
    down: VecDeque<Frame>,
}

impl World {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            source: Logs::new(),
            replica: Logs::new(),
            topics: Vec::new(),
            tombstones: Vec::new(),
            seq: CatalogSeq(1),
            applied: Vec::new(),
            applied_seq: CatalogSeq(0),
            conflicts: Vec::new(),
            damaged: Vec::new(),
            kept: Vec::new(),
            sender: Sender::new(SenderSettings::default(), hello(mode), 0),
            receiver: Receiver::new(identity(), ClusterId(1), 0, 0),
            wire_bytes: 0,
            payload_bytes: 0,
            trims: 0,
            closed: None,
            lose: None,
            watermarks: BTreeMap::new(),
            held: BTreeMap::new(),
            told: Vec::new(),
            acked: Vec::new(),
            frames_seen: 0,
            down: VecDeque::new(),
        }
    }

    pub(crate) fn with_topic(mut self, id: u128, partitions: u32) -> Self {
        self.topics.push(topic(id, &format!("t{id}"), partitions, 1));
        for partition in 0..partitions {
            let lineage = vec![LineageEntry {
                leader_epoch: 0,
                start_offset: 0,
                term_id: TERM.id,
                owner: SOURCE,
                markers: 0,
            }];
            let log = Log { lineage, ..Log::default() };
            self.source.insert((OriginTopicId(id), partition), log);
        }
        self
    }

    pub(crate) fn log(&mut self, id: u128, partition: u32) -> &mut Log {
        self.source.get_mut(&(OriginTopicId(id), partition)).unwrap()
    }

    /// A new session over the same two logs.
    pub(crate) fn reconnect(&mut self, mode: Mode) {
        self.sender = Sender::new(SenderSettings::default(), hello(mode), 0);
        self.receiver = Receiver::new(identity(), ClusterId(1), 0, 0);
        self.down.clear();
        self.closed = None;
    }

    pub(crate) fn tell_source(&mut self) {
        self.sender.handle_catalog(self.seq, self.topics.clone(), self.tombstones.clone());
        for ((origin, partition), log) in &self.source {
            let view = PartitionView {
                log_start: log.start,
                durable_end: log.end(),
                trimmed: log.trimmed,
                lineage: Lineage::from_entries(log.lineage.clone()).unwrap(),
                watermark: self.watermarks.get(&(*origin, *partition)).copied(),
            };
            self.sender.handle_partition(*origin, *partition, view);
        }
    }

    /// Runs both machines until neither has anything to do.
    pub(crate) fn run(&mut self) {
        self.tell_source();
        loop {
            let mut idle = true;
            while let Some(action) = self.sender.poll_action() {
                idle = false;
                self.do_sender(action);
            }
            while let Some(action) = self.receiver.poll_action() {
                idle = false;
                self.do_receiver(action);
            }
            while let Some(frame) = self.down.pop_front() {
                idle = false;
                self.sender.handle_frame(frame, 0);
            }
            if idle {
                return;
            }
        }
    }

    fn do_sender(&mut self, action: SenderAction) {
        match action {
            SenderAction::Send(frame) => {
                if let Frame::Batches(batches) = &frame {
                    self.payload_bytes += batches.payload_bytes();
                    self.frames_seen += 1;
                    if self.lose == Some(self.frames_seen) {
                        return;
                    }
                }
                let mut bytes = bytes::BytesMut::new();
                encode_frame(&frame, &mut bytes);
                self.wire_bytes += bytes.len();
                let frame = decode_frame(&mut bytes).unwrap().unwrap();
                self.receiver.handle_frame(frame, 0);
            }
            SenderAction::Read(request) => {
                let log = &self.source[&(request.origin, request.partition)];
                let mut batches = Vec::new();
                let mut bytes = 0;
                for (base, next, data) in &log.batches {
                    let room = batches.is_empty() || bytes + data.len() <= request.bytes_max;
                    if *next > request.from && *next <= request.to && room {
                        bytes += data.len();
                        batches.push(SourceBatch {
                            base_offset: *base,
                            next_offset: *next,
                            arrival_ms: *base,
                            bytes: data.clone(),
                        });
                    }
                }
                self.sender.handle_read(request, log.start, batches);
            }
            SenderAction::Welcomed(welcomed) => assert_eq!(welcomed.replica_id, REPLICA),
            SenderAction::Drained => {}
            SenderAction::Meet(..) => self.sender.handle_met(),
            SenderAction::TellCursors => {}
            SenderAction::Grow(..) => unreachable!("nobody else was an owner"),
            SenderAction::Applied(seq) => assert!(seq <= self.seq),
            SenderAction::Acked(ends) => {
                let ends = ends.into_iter().map(|end| (end.origin, end.partition, end.offset));
                self.acked.push(ends.collect());
            }
            SenderAction::Close(closing) => self.closed = Some(closing),
        }
    }

    fn do_receiver(&mut self, action: ReceiverAction) {
        match action {
            ReceiverAction::Send(frame) => self.down.push_back(frame),
            ReceiverAction::Open(hello) => {
                assert_eq!(hello.source_id, SOURCE);
                let opened = self.opened();
                self.receiver.handle_opened(Ok(opened));
            }
            ReceiverAction::ApplyTopic(item) => {
                let result = if self.conflicts.contains(&item.origin) {
                    Err(Error::policy("the name belongs to another"))
                } else {
                    self.applied.push(format!("{} {}", item.name, item.partitions));
                    (0..item.partitions).for_each(|n| {
                        self.replica.entry((item.origin, n)).or_default();
                    });
                    Ok(())
                };
                self.receiver.handle_topic_applied(item.origin, result);
            }
            ReceiverAction::ApplyTombstone(item) => {
                self.applied.push(format!("delete {}", item.name));
                self.replica.retain(|(origin, _), _| *origin != item.origin);
                self.receiver.handle_topic_applied(item.origin, Ok(()));
            }
            ReceiverAction::Advance(seq) => {
                self.applied_seq = self.applied_seq.max(seq);
                self.receiver.handle_advanced(seq, Ok(()));
            }
            ReceiverAction::Append(token, batches) => {
                let result = self.append(batches);
                self.receiver.handle_appended(token, result);
            }
            ReceiverAction::KeepCursors(cursors) => {
                self.kept.extend(cursors);
                self.receiver.handle_kept(Ok(()));
            }
            ReceiverAction::Trim(starts) => {
                for start in starts {
                    self.trims += 1;
                    let log = self.replica.get_mut(&(start.origin, start.partition)).unwrap();
                    assert!(start.offset <= log.end(), "a trim waits for what lies below it");
                    log.delete(start.offset);
                }
                self.receiver.handle_kept(Ok(()));
            }
            ReceiverAction::Compare(ends) => self.receiver.handle_compared(ends),
            ReceiverAction::KeepDecisions(told) => {
                for marker in told.iter().flat_map(|told| &told.markers) {
                    let log = self.replica.get(&(marker.origin, marker.partition));
                    let end = log.map_or(0, Log::end);
                    assert!(end <= marker.offset, "{marker:?} came before its decision");
                }
                self.told.extend(told);
            }
            ReceiverAction::HoldWatermarks(ends) => {
                self.held.extend(ends.into_iter().map(|e| ((e.origin, e.partition), e.offset)));
            }
            ReceiverAction::Rejoin(token, _) => {
                let error = Error::new(ErrorKind::Diverged, "another history");
                self.receiver.handle_rejoined(token, Err(error));
            }
            ReceiverAction::TakeOver(..) => self.receiver.handle_taken_over(Ok(())),
            ReceiverAction::Close(closing) => self.closed = Some(closing),
        }
    }

    fn opened(&self) -> Opened {
        let partitions = self
            .replica
            .iter()
            .map(|((origin, partition), log)| PartitionItem {
                origin: *origin,
                partition: *partition,
                log_start: log.start,
                end: log.end(),
                lineage: log.lineage.clone(),
                trimmed: (log.trimmed > 0).then_some(log.trimmed),
            })
            .collect();
        Opened {
            replica_id: REPLICA,
            link_epoch: LinkEpoch(1),
            applied_seq: self.applied_seq,
            term: TERM,
            partitions,
            owned: self.topics.iter().filter(|t| t.owner == SOURCE).map(of_topic).collect(),
            cursors: Vec::new(),
            holds: self.held.values().any(|held| *held != i64::MAX),
            terms: Vec::new(),
        }
    }

    fn append(&mut self, batches: Batches) -> Result<i64, Error> {
        let key = (batches.origin, batches.partition);
        if self.damaged.contains(&key) {
            return Err(Error::corrupt("a checksum does not hold"));
        }
        let Some(log) = self.replica.get_mut(&key) else {
            return Err(Error::not_found("no such topic"));
        };
        let is_empty = batches.items.is_empty() && batches.gap_from.is_none();
        if batches.to <= log.end() && batches.gap_from.is_none() && !is_empty {
            let same = batches
                .items
                .iter()
                .all(|item| log.batches.iter().any(|have| have.2 == item.bytes));
            return if same {
                Ok(log.end())
            } else {
                Err(Error::new(ErrorKind::Diverged, "other bytes"))
            };
        }
        let from = batches.gap_from.unwrap_or(batches.from);
        if from != log.end() {
            return Err(Error::misaligned(log.end(), from));
        }
        if batches.gap_from.is_some() && log.batches.is_empty() {
            log.start = batches.from;
        }
        if !batches.lineage.is_empty() {
            log.lineage = batches.lineage;
        }
        // Nothing is taken that consumers would see and may not.
        if let Some(watermark) = self.watermarks.get(&key) {
            assert_eq!(self.held.get(&key), Some(watermark), "told before the batches");
        }
        let mut base = batches.from;
        let span = (batches.to - batches.from) / (batches.items.len().max(1) as i64);
        for item in batches.items {
            log.batches.push((base, base + span, item.bytes));
            base += span;
        }
        Ok(batches.to)
    }
}

fn of_topic(topic: &TopicItem) -> TermItem {
    TermItem { origin: topic.origin, owner: topic.owner, term: topic.term }
}
