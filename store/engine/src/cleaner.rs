//! The background work of log compaction: which partition is next, reading it, having it rewritten.
//!
//! It changes nothing itself. It reads a partition's batches as any reader does, asks
//! `mainstem_compaction` what is left of them, and hands that to the sequencer a step at a time.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstem_catalog::Compaction;
use mainstem_compaction::{Newest, RowBatch, Rules, compact_row};
use mainstem_env::Env;
use mainstem_log::{LogError, StoredBatch};
use mainstem_record::BatchHeader;
use mainstem_transaction::Producers;
use mainstem_types::limits::{COMPACTION_MAP_BYTES, COMPACTION_STEP_BYTES};
use mainstem_types::{Error, PartitionNo};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::op::{Compact, CompactStep, Op};
use crate::partition::Partition;
use crate::shared::Shared;

/// How compaction goes about its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanerSettings {
    /// How often it looks for partitions to compact, in milliseconds. A second: looking costs
    /// little, and reads no batch, where nothing has come.
    pub interval_ms: u64,
    /// How long a partition is left alone after a pass, in milliseconds. Ten seconds: where little
    /// is written, a share of it is soon new.
    pub pass_interval_ms: u64,
    /// Memory for the keys of one pass; a partition with more takes several.
    pub map_bytes: usize,
    /// What is read, and written, in one step: so long at most does a producer wait for it.
    pub step_bytes: usize,
}

impl Default for CleanerSettings {
    fn default() -> Self {
        Self {
            interval_ms: 1_000,
            pass_interval_ms: 10_000,
            map_bytes: COMPACTION_MAP_BYTES,
            step_bytes: COMPACTION_STEP_BYTES,
        }
    }
}

/// What a step of the cleaner found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleaning {
    /// Nothing is due.
    Idle,
    /// Something was read or handed over.
    Worked,
    /// The sequencer has still to answer, or to take the next step.
    Waiting,
    /// The engine was closed.
    Closed,
}

type Pushing = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Compacts one partition after the other.
pub struct Cleaner {
    shared: Arc<Shared>,
    env: Env,
    settings: CleanerSettings,
    work: Work,
    answer: Option<oneshot::Receiver<Result<Option<Arc<Producers>>, Error>>>,
    /// Waits for its turn in the queue.
    pushing: Option<Pushing>,
    look_at_ms: u64,
    /// What was known of partitions when they were last looked at.
    known: HashMap<PartitionNo, Known>,
    /// Where the last look ended.
    last: PartitionNo,
}

#[derive(Clone, Copy, Default)]
struct Known {
    /// The newest batch, so that it is read only once.
    newest: Option<NewestBatch>,
    /// Up to where it could have been compacted, with nothing due.
    upto: i64,
    /// When the first tombstone may go that the last pass left.
    horizon_ms: Option<i64>,
    not_before_ms: u64,
    /// The last pass had no room for all keys.
    is_unfinished: bool,
}

/// Where the newest batch begins, for an end and a number of cuts.
#[derive(Clone, Copy)]
struct NewestBatch {
    end: i64,
    cuts: u64,
    base_offset: i64,
}

enum Work {
    Idle,
    /// Learns the newest offset of each key.
    Survey(Pass),
    /// Waits until the frontier is durable.
    Begin(Pass),
    Rewrite(Pass),
    /// Notes that all below was looked at.
    Finish(Pass),
}

/// One pass through a partition.
struct Pass {
    partition: Arc<Partition>,
    rules: Compaction,
    /// The partition's cuts when the pass began, asked before anything was read.
    cuts: u64,
    /// Its log start then.
    start: i64,
    newest: Newest,
    producers: Arc<Producers>,
    /// There was no room for all keys.
    is_full: bool,
    at: i64,
    /// Up to here keys are looked at.
    upto: i64,
    /// What the step under way takes, once it is answered.
    taken: (u64, u64),
    horizon_ms: Option<i64>,
    /// A batch was met that stays whole, and of which no deletion that follows may go.
    keeps_deletions: bool,
}

impl Cleaner {
    pub(crate) fn new(shared: Arc<Shared>, env: Env, settings: CleanerSettings) -> Self {
        Self {
            shared,
            env,
            settings,
            work: Work::Idle,
            answer: None,
            pushing: None,
            look_at_ms: 0,
            known: HashMap::new(),
            last: PartitionNo(0),
        }
    }

    /// Works on a thread of its own until the engine is closed. After each step it rests as long
    /// as that took, and longer while producers wait for their turn.
    pub fn spawn(mut self) -> Result<std::thread::JoinHandle<()>, Error> {
        const LOADED_REST: Duration = Duration::from_millis(20);
        const IDLE_REST: Duration = Duration::from_millis(100);
        let run = move || {
            loop {
                let begun_us = self.env.clock.monotonic_us();
                let rest = match self.step() {
                    Cleaning::Closed => return,
                    Cleaning::Idle => IDLE_REST,
                    Cleaning::Waiting => Duration::from_millis(1),
                    Cleaning::Worked if self.shared.queue.is_loaded() => LOADED_REST,
                    Cleaning::Worked => {
                        Duration::from_micros(self.env.clock.monotonic_us() - begun_us)
                    }
                };
                std::thread::sleep(rest);
            }
        };
        std::thread::Builder::new()
            .name("cleaner".into())
            .spawn(run)
            .map_err(|e| Error::storage(format!("no thread for log compaction: {e}")))
    }

    /// One step: a look around, a read, or a word with the sequencer. Reads the disk.
    pub fn step(&mut self) -> Cleaning {
        if self.shared.queue.is_closed() {
            return Cleaning::Closed;
        }
        if let Some(pushing) = self.pushing.take() {
            return self.poll_push(pushing);
        }
        if let Some(answer) = &mut self.answer {
            let answered = match answer.try_recv() {
                Err(TryRecvError::Empty) => return Cleaning::Waiting,
                Err(TryRecvError::Closed) => return Cleaning::Closed,
                Ok(answered) => answered,
            };
            self.answer = None;
            self.handle_answer(answered);
            return Cleaning::Worked;
        }
        match std::mem::replace(&mut self.work, Work::Idle) {
            Work::Idle => self.look(),
            Work::Survey(pass) => self.survey(pass),
            Work::Rewrite(pass) => self.rewrite(pass),
            // Both wait for an answer.
            work @ (Work::Begin(_) | Work::Finish(_)) => {
                self.work = work;
                Cleaning::Waiting
            }
        }
    }

    /// Looks for the next partition that is due, one after the other so that each gets its turn.
    fn look(&mut self) -> Cleaning {
        let now_ms = self.env.clock.monotonic_ms();
        if now_ms < self.look_at_ms {
            return Cleaning::Idle;
        }
        let mut due = self.compacted_partitions();
        due.sort_unstable_by_key(|(no, _)| (*no <= self.last, *no));
        for (no, rules) in due {
            let partition = self.shared.partitions.read().get(&no).cloned();
            let Some(partition) = partition else { continue };
            if let Some(pass) = self.begin_if_due(partition, rules) {
                self.last = no;
                self.work = Work::Survey(pass);
                return Cleaning::Worked;
            }
        }
        self.last = PartitionNo(0);
        self.look_at_ms = now_ms + self.settings.interval_ms;
        Cleaning::Idle
    }

    fn compacted_partitions(&mut self) -> Vec<(PartitionNo, Compaction)> {
        let catalog = self.shared.catalog.borrow().clone();
        let mut found = HashMap::new();
        for stream in catalog.streams() {
            for topic in stream.topics.values() {
                if let Some(rules) = stream.compaction_of(topic) {
                    found.extend(topic.partitions.iter().map(|no| (*no, rules)));
                }
            }
        }
        self.known.retain(|no, _| found.contains_key(no));
        found.into_iter().collect()
    }

    fn begin_if_due(&mut self, partition: Arc<Partition>, rules: Compaction) -> Option<Pass> {
        let (cuts, start) = (partition.cuts(), partition.log_start());
        let now_ms = self.env.clock.wall_ms();
        let cleaned = partition.marks().cleaned;
        // Whether a pass before the last start left tombstones is not known; if so they are old by
        // then.
        let retention_ms = i64::try_from(rules.delete_retention_ms).unwrap_or(i64::MAX);
        let old_ms = (cleaned > start).then_some(now_ms.saturating_add(retention_ms));
        let known = self.known.entry(partition.no);
        let known = known.or_insert(Known { horizon_ms: old_ms, ..Known::default() });
        if self.env.clock.monotonic_ms() < known.not_before_ms {
            return None;
        }
        // Damage is told by who reads it; it is not compacted.
        let newest = newest_batch(&partition, cuts, known.newest).ok()?;
        known.newest = Some(newest);
        let upto = upto(&partition, newest.base_offset, &rules, now_ms).ok()?;
        let cleaned = cleaned.clamp(start, upto.max(start));
        let is_over =
            known.horizon_ms.is_some_and(|horizon_ms| horizon_ms <= now_ms) || known.is_unfinished;
        if upto <= start || upto == known.upto && !is_over && rules.max_lag_ms.is_none() {
            return None;
        }
        if !is_over && !is_dirty(&partition, &rules, (start, cleaned, upto), now_ms) {
            known.upto = upto;
            return None;
        }
        Some(Pass {
            partition,
            rules,
            cuts,
            start,
            newest: Newest::new(self.settings.map_bytes),
            producers: Arc::default(),
            is_full: false,
            at: cleaned,
            upto,
            taken: (0, 0),
            horizon_ms: None,
            keeps_deletions: false,
        })
    }

    /// Reads on; at the end, or when there is no room for more keys, what is known is put to use.
    fn survey(&mut self, mut pass: Pass) -> Cleaning {
        let Some(batches) = self.read(&pass) else { return Cleaning::Worked };
        for batch in &batches {
            if !pass.newest.add(&batch.bytes) {
                pass.is_full = true;
                break;
            }
            pass.at = batch.next_offset;
        }
        if !pass.is_full && !batches.is_empty() && pass.at < pass.upto {
            self.work = Work::Survey(pass);
            return Cleaning::Worked;
        }
        pass.upto = if pass.is_full { pass.at } else { pass.upto };
        pass.at = pass.start;
        let step = CompactStep::Begin(pass.upto);
        let op = self.op(&pass, step);
        self.work = Work::Begin(pass);
        self.push(op)
    }

    /// Reads on from the start, and has what changes written anew.
    fn rewrite(&mut self, mut pass: Pass) -> Cleaning {
        let batches = if pass.at < pass.upto { self.read(&pass) } else { Some(Vec::new()) };
        let Some(batches) = batches else { return Cleaning::Worked };
        let Some(last) = batches.last() else {
            let op = self.op(&pass, CompactStep::Done(pass.upto));
            self.work = Work::Finish(pass);
            return self.push(op);
        };
        let to = last.next_offset;
        let producers = &pass.producers;
        let keeps_empty = |header: &BatchHeader| {
            header.has_producer_id() && producers.remembers(header.producer_id, header.base_offset)
        };
        let rules = Rules {
            now_ms: self.env.clock.wall_ms(),
            delete_retention_ms: pass.rules.delete_retention_ms,
            keeps_empty: &keeps_empty,
            keeps_deletions: pass.keeps_deletions,
        };
        let rows: Vec<RowBatch> = batches.into_iter().map(row_batch).collect();
        let row = compact_row(pass.at, &rows, &pass.newest, &rules);
        pass.horizon_ms = pass.horizon_ms.into_iter().chain(row.horizon_ms).min();
        pass.keeps_deletions = row.keeps_deletions;
        pass.at = to;
        pass.taken = (row.records, row.bytes);
        if row.places.is_empty() {
            self.work = Work::Rewrite(pass);
            return Cleaning::Worked;
        }
        let op = self.op(&pass, CompactStep::Rewrite(row.places));
        self.work = Work::Rewrite(pass);
        self.push(op)
    }

    /// The next batches of a pass; `None`, and the pass is over, if they cannot be read.
    fn read(&mut self, pass: &Pass) -> Option<Vec<StoredBatch>> {
        let partition = &pass.partition;
        let bytes_max = self.settings.step_bytes;
        let read = partition.log().read(partition.no, pass.at, pass.upto, bytes_max);
        match read.map_err(|error| partition.note_damage(error)) {
            Ok(batches) => Some(batches),
            Err(error) => {
                self.abandon(partition.no, &error);
                None
            }
        }
    }

    fn abandon(&mut self, no: PartitionNo, error: &Error) {
        tracing::debug!(partition = no.0, %error, "a pass of log compaction was given up");
        if let Some(known) = self.known.get_mut(&no) {
            // It is looked at again, as if something had come, and not at once: the disk may be full.
            known.upto = -1;
            let now_ms = self.env.clock.monotonic_ms();
            known.not_before_ms = now_ms + self.settings.pass_interval_ms;
        }
        self.look_at_ms = self.env.clock.monotonic_ms() + self.settings.interval_ms;
    }

    fn op(&mut self, pass: &Pass, step: CompactStep) -> Op {
        let (reply, answer) = oneshot::channel();
        self.answer = Some(answer);
        let (partition, cuts) = (pass.partition.no, pass.cuts);
        Op::Compact { compact: Compact { partition, cuts, step }, reply }
    }

    /// Queues behind all others that wait for room there, so that it has its turn under any load.
    fn push(&mut self, op: Op) -> Cleaning {
        let shared = self.shared.clone();
        self.poll_push(Box::pin(async move { shared.queue.push(op).await }))
    }

    fn poll_push(&mut self, mut pushing: Pushing) -> Cleaning {
        match pushing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Cleaning::Worked,
            Poll::Ready(Err(_)) => Cleaning::Closed,
            Poll::Pending => {
                self.pushing = Some(pushing);
                Cleaning::Waiting
            }
        }
    }

    fn handle_answer(&mut self, answered: Result<Option<Arc<Producers>>, Error>) {
        let work = std::mem::replace(&mut self.work, Work::Idle);
        match (work, answered) {
            (Work::Begin(mut pass), Ok(producers)) => {
                pass.producers = producers.expect("who begins is told of the producers");
                self.work = Work::Rewrite(pass);
            }
            (Work::Rewrite(mut pass), Ok(_)) => {
                let (records, bytes) = std::mem::take(&mut pass.taken);
                pass.partition.note_removed(records, bytes);
                self.shared.removed.add(records, bytes);
                self.work = Work::Rewrite(pass);
            }
            (Work::Finish(pass), Ok(_)) => {
                let Pass { upto, horizon_ms, is_full: is_unfinished, .. } = pass;
                let rest_ms = if is_unfinished { 0 } else { self.settings.pass_interval_ms };
                let not_before_ms = self.env.clock.monotonic_ms() + rest_ms;
                if let Some(known) = self.known.get_mut(&pass.partition.no) {
                    let newest = known.newest;
                    *known = Known { newest, upto, horizon_ms, not_before_ms, is_unfinished };
                }
            }
            (Work::Begin(pass) | Work::Rewrite(pass) | Work::Finish(pass), Err(error)) => {
                self.abandon(pass.partition.no, &error);
            }
            // Neither has asked anything.
            (Work::Idle | Work::Survey(_), _) => {}
        }
    }
}

/// The newest batch, read if anything has come or was cut since it was last `known`.
fn newest_batch(
    partition: &Partition,
    cuts: u64,
    known: Option<NewestBatch>,
) -> Result<NewestBatch, LogError> {
    let end = partition.durable_end();
    if let Some(known) = known.filter(|known| (known.end, known.cuts) == (end, cuts)) {
        return Ok(known);
    }
    let newest = partition.log().read(partition.no, end - 1, end, 1)?;
    // Where the log ends in a gap, the newest batch is somewhere below, and all waits for the next.
    let base_offset = newest.last().map_or(i64::MIN, |batch| batch.base_offset);
    Ok(NewestBatch { end, cuts, base_offset })
}

/// The end of what may be compacted now: never the newest batch, by which readers get on to the end.
fn upto(
    partition: &Partition,
    newest: i64,
    rules: &Compaction,
    now_ms: i64,
) -> Result<i64, LogError> {
    let upto = newest.min(partition.compactable_end());
    if rules.min_lag_ms == 0 {
        return Ok(upto);
    }
    let lag_ms = i64::try_from(rules.min_lag_ms).unwrap_or(i64::MAX);
    let young = now_ms.saturating_sub(lag_ms).saturating_add(1);
    Ok(partition.log().first_arriving_at_or_after(partition.no, young)?.min(upto))
}

/// Whether enough of `start..upto` lies above what was looked at, or has for too long.
fn is_dirty(
    partition: &Partition,
    rules: &Compaction,
    (start, cleaned, upto): (i64, i64, i64),
    now_ms: i64,
) -> bool {
    if cleaned >= upto {
        return false;
    }
    let (no, log) = (partition.no, partition.log());
    let bytes = |from| log.bytes_between(no, from, upto).map_or(0, |extent| extent.bytes);
    let dirty = bytes(cleaned);
    if dirty == 0 {
        return false;
    }
    let is_late = |max_ms: u64| {
        let first = log.backlog(no, cleaned, upto).map_or(now_ms, |all| all.first_arrival_ms);
        first <= now_ms.saturating_sub_unsigned(max_ms)
    };
    dirty as f64 >= rules.dirty_ratio * bytes(start) as f64 || rules.max_lag_ms.is_some_and(is_late)
}

fn row_batch(batch: StoredBatch) -> RowBatch {
    let StoredBatch { base_offset, next_offset, arrival_ms, bytes, .. } = batch;
    RowBatch { base_offset, next_offset, arrival_ms, bytes }
}
