//! Opening: the view gives a state, the log brings it up to date.

use std::collections::HashMap;
use std::sync::Arc;

use mainstem_catalog::{Catalog, Replica, SyncState};
use mainstem_env::{Disk, Env};
use mainstem_group::{Cursor, CursorKey};
use mainstem_log::{CommitLog, Frame, FrameKind, LocalLog, LogReader, Position, Recovered};
use mainstem_transaction::{Coordinator, Transaction};
use mainstem_types::{Error, ErrorKind, PartitionNo};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::cursors::Cursors;
use crate::damage::DamageReports;
use crate::duties::Housekeeping;
use crate::partition::{Partition, Removed};
use crate::pending_cursors::PendingCursors;
use crate::queue::Queue;
use crate::sequencer::{Group, Sequencer};
use crate::settings::{EngineSettings, ViewMode};
use crate::shared::Shared;
use crate::state::{PartitionState, State};
use crate::subscription::CursorWatchers;
use crate::sync_desk::SyncDesk;
use crate::view::{View, tag};
use crate::view_writer::ViewWriter;

/// Recovers a data directory and everything that readers see of it.
pub(crate) fn open(
    env: Env,
    disk: Arc<dyn Disk>,
    settings: EngineSettings,
) -> Result<Sequencer, Error> {
    let lock = mainstem_log::lock(&*disk)?;
    let view = View::open(&disk)?;
    let (applied, rows) = view.load()?;
    let (mut state, mut cursors) = load(rows)?;
    let mut replay = |_, frame| state.replay(&frame, &mut cursors);
    let (log, recovered) = LocalLog::open(
        disk.clone(),
        lock.clone(),
        &*env.random,
        settings.log.clone(),
        applied,
        &mut replay,
    )?;
    check_nothing_lost(&recovered)?;
    quarantine(&mut state, &recovered);
    settle_ends(&mut state, &log.reader());
    settle_watermarks(&mut state);
    settle_transactions(&mut state);
    report(applied, &recovered, &state);
    let view = match settings.view_mode {
        ViewMode::Inline => ViewWriter::inline(disk.clone(), view, applied),
        ViewMode::Background => ViewWriter::spawn(disk.clone(), view, applied)?,
    };
    let damage = Arc::<DamageReports>::default();
    let shared = Shared {
        queue: Queue::new(settings.queue_bytes_max),
        catalog: watch::Sender::new(state.catalog.clone()),
        cuts: watch::Sender::new(0),
        partitions: RwLock::new(handles(&state, &log.reader(), &damage)),
        cursors: RwLock::new(cursors),
        cursor_watchers: CursorWatchers::default(),
        log_stats: Mutex::new(log.stats()),
        health: Mutex::default(),
        missing: Mutex::default(),
        damage,
        to_tell: RwLock::default(),
        pending_cursors: RwLock::new(PendingCursors::of(&state.coordinator)),
        removed: Removed::default(),
    };
    let mut sequencer = Sequencer {
        now_ms: env.clock.wall_ms(),
        env,
        disk,
        settings,
        shared: Arc::new(shared),
        state,
        log: Box::new(log),
        view,
        group: Group::default(),
        housekeeping: Housekeeping::default(),
        sync: SyncDesk::default(),
        cursor_version: 0,
        _lock: lock,
    };
    sequencer.finish_what_was_cut();
    sequencer.recover_to_tell();
    sequencer.publish_health();
    sequencer.recover_synchrony();
    Ok(sequencer)
}

/// What every later answer builds on must be whole. A partition can be out of service alone; a
/// node without some of its catalog cannot (I8).
fn check_nothing_lost(recovered: &Recovered) -> Result<(), Error> {
    let Some(why) = &recovered.node_wide_lost else { return Ok(()) };
    Err(Error::corrupt(format!(
        "{why}: acknowledged changes to streams, topics, agreements or cursors are lost, and \
         nothing can say which, so this node does not start; restore the data directory from a \
         backup, or put it aside, start with an empty one and copy the streams back from a \
         cluster that replicates them"
    )))
}

impl Sequencer {
    /// A group longer than one write can be cut by a crash between an event and the frames of the
    /// partitions that it begins, takes over or ends, or between a transaction's decision and its
    /// markers. Nobody was told of it; the rest of it is done now.
    fn finish_what_was_cut(&mut self) {
        let in_service = |(no, partition): (&PartitionNo, &PartitionState)| {
            partition.quarantined.is_none().then_some(*no)
        };
        let mut begun: Vec<_> = self.state.partitions.iter().filter_map(in_service).collect();
        begun.retain(|no| self.due_epoch(*no).is_some());
        begun.sort_unstable();
        for no in begun {
            self.begin_reign(no);
        }
        // A crash between the loss of a topic and the end of who wrote to it.
        let open = self.state.coordinator.open().flat_map(|ours| &ours.partitions).copied();
        let is_policy = |error: &Error| error.kind() == ErrorKind::Policy;
        let given_up: Vec<PartitionNo> =
            open.filter(|no| self.check_local_write(*no).is_err_and(|e| is_policy(&e))).collect();
        self.abort_given_up(&given_up);
        let mut open: Vec<_> = self.state.partitions.iter().filter_map(in_service).collect();
        open.sort_unstable();
        open.into_iter().for_each(|no| self.complete_open(no));
        let mut ended = self.log.reader().partitions();
        ended.retain(|no| !self.state.partitions.contains_key(no));
        ended.sort_unstable();
        let end = |no| Frame::at(FrameKind::PartitionDelete, no, 0);
        self.group.frames.extend(ended.into_iter().map(end));
    }
}

fn load(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(State, Cursors), Error> {
    let (mut catalog, mut partitions, mut cursors) = (Vec::new(), Vec::new(), Cursors::default());
    let mut coordinator = Coordinator::default();
    for (mut key, value) in rows {
        if key.is_empty() {
            return Err(Error::corrupt("the materialised view has a row without a key"));
        }
        match key.remove(0) {
            tag::CATALOG => catalog.push((key, value)),
            tag::PARTITION => partitions.push((key, value)),
            tag::CURSOR => {
                let damaged = |e| Error::corrupt(format!("a cursor's row: {e}"));
                let key: CursorKey = minicbor::decode(&key).map_err(damaged)?;
                let cursor: Cursor = minicbor::decode(&value).map_err(damaged)?;
                cursors.insert(key, cursor);
            }
            tag::TRANSACTION => coordinator.insert(Transaction::decode(&value)?),
            other => {
                return Err(Error::unsupported(format!(
                    "the materialised view has rows of kind {other}; start a newer version"
                )));
            }
        }
    }
    let mut state =
        State { catalog: Catalog::from_rows(catalog)?, coordinator, ..State::default() };
    for (key, row) in partitions {
        let no = key.try_into().map(u64::from_be_bytes).map(PartitionNo);
        let no = no.map_err(|_| Error::corrupt("a partition's row has a key of another length"))?;
        let home = state.catalog.partition(no).ok_or_else(|| {
            Error::corrupt(format!("partition {no} has a row but stands in no topic"))
        })?;
        state.partitions.insert(no, PartitionState::from_row(home, &row)?);
    }
    Ok((state, cursors))
}

/// I8: damaged partitions are out of service with a reason, and the rest serve on.
fn quarantine(state: &mut State, recovered: &Recovered) {
    for damage in &recovered.quarantined {
        tracing::error!(
            partition = damage.partition.0,
            offset = damage.offset,
            why = damage.why,
            "stored data is damaged; the partition is out of service"
        );
        if let Some(partition) = state.partitions.get_mut(&damage.partition) {
            partition.quarantine(damage.offset, &damage.why);
        }
    }
}

/// The log is the order of everything: what it holds and what the state says must agree, or the
/// partition is out of service. What such a one shows is what the log has.
fn settle_ends(state: &mut State, reader: &LogReader) {
    for (no, partition) in &mut state.partitions {
        let (end, bounds) = (partition.end, reader.bounds(*no));
        if bounds.map_or(0, |bounds| bounds.end) != end && partition.quarantined.is_none() {
            let why = match bounds {
                Some(bounds) => format!("the log ends at {}, not at {end}", bounds.end),
                None => "the log does not know it".to_owned(),
            };
            tracing::error!(partition = no.0, why, "the partition is out of service");
            partition.quarantine(bounds.map_or(0, |bounds| bounds.end.min(end)), &why);
        }
        if let (Some(_), Some(bounds)) = (&partition.quarantined, bounds) {
            (partition.log_start, partition.end) = (bounds.start, bounds.end);
        }
    }
}

/// What was written down of watermarks holds as long as a replica is in force that has yet to say
/// what it has. A group that was cut may have left a partition without one: nothing of it was
/// told to anybody.
fn settle_watermarks(state: &mut State) {
    for partition in state.partitions.values_mut() {
        let Some(stream) = state.catalog.stream(partition.home.stream) else { continue };
        let topic = stream.topic_by_origin(partition.home.topic);
        let Some(topic) = topic.filter(|topic| topic.owner.stream == stream.id) else { continue };
        if topic.aside.is_some() {
            partition.held = None;
            continue;
        }
        let in_force = |replica: &Replica| replica.sync_state == SyncState::InForce;
        let held = partition.held.unwrap_or(partition.log_start);
        partition.held = stream.replicas.iter().any(in_force).then_some(held);
    }
}

/// What has ended has ended for readers, as far as they see the markers.
fn settle_transactions(state: &mut State) {
    for partition in state.partitions.values_mut() {
        if !partition.transactions.is_settled(partition.held) {
            Arc::make_mut(&mut partition.transactions).settle(partition.held);
        }
    }
}

fn handles(
    state: &State,
    reader: &LogReader,
    damage: &Arc<DamageReports>,
) -> HashMap<PartitionNo, Arc<Partition>> {
    let handle = |(no, partition): (&PartitionNo, &PartitionState)| {
        let home = (*no, partition.home.stream, partition.home.topic, partition.home.index);
        let frontiers = (partition.log_start, partition.end, partition.held);
        let (lineage, reader) = (partition.lineage.clone(), reader.clone());
        let handle = Partition::new(home, frontiers, lineage, reader, damage.clone());
        handle.publish_marks(&partition.marks);
        handle.publish_transactions(&partition.transactions, state.is_left_open(partition));
        (*no, Arc::new(handle))
    };
    state.partitions.iter().map(handle).collect()
}

fn report(applied: Position, recovered: &Recovered, state: &State) {
    tracing::info!(
        %applied,
        durable = %recovered.durable,
        generation = recovered.generation,
        replayed = recovered.replayed_frames,
        torn_bytes = recovered.torn_bytes,
        partitions = state.partitions.len(),
        "recovered"
    );
}
