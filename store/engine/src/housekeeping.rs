//! What has to be done from time to time: expiry, the view, freed segments, room on the disk.

use std::sync::Arc;

use mainstem_catalog::{Stream, Topic};
use mainstem_group::CursorKey;
use mainstem_log::{Frame, FrameKind};
use mainstem_types::{Error, PartitionNo};

use crate::health::Health;
use crate::op::LinkName;
use crate::room::Room;
use crate::sequencer::Sequencer;
use crate::state::TRIM_BY_OWNER;
use crate::view::ViewChange;

impl Sequencer {
    /// Looks for expired batches when it is time; says whether it found any.
    pub(crate) fn expire_if_due(&mut self) -> bool {
        if !self.is_expiry_due() {
            return false;
        }
        self.housekeeping.expired_at_ms = self.env.clock.monotonic_ms();
        self.look_at_disk();
        let before = self.group.frames.len();
        self.expire();
        self.group.frames.len() > before
    }

    pub(crate) fn is_expiry_due(&self) -> bool {
        let due_ms = self.housekeeping.expired_at_ms + self.settings.expiry_interval_ms;
        self.env.clock.monotonic_ms() >= due_ms
    }

    /// Brings the view up to date and frees segments when it is time, and while the state holds
    /// nothing that is not durable.
    pub(crate) fn keep_view_if_due(&mut self) -> Result<(), Error> {
        let now_ms = self.env.clock.monotonic_ms();
        if now_ms < self.housekeeping.viewed_at_ms + self.settings.view_interval_ms {
            return Ok(());
        }
        self.housekeeping.viewed_at_ms = now_ms;
        self.refresh_view();
        self.log.retire(self.view.applied())?;
        *self.shared.log_stats.lock() = self.log.stats();
        self.publish_health();
        Ok(())
    }

    /// Shows readers how the storage is.
    pub(crate) fn publish_health(&self) {
        let out_of_service = self.state.partitions.iter().filter_map(|(no, partition)| {
            partition.quarantined.as_ref().map(|why| (*no, why.clone()))
        });
        let mut damaged: Vec<_> = out_of_service.collect();
        damaged.sort_unstable();
        *self.shared.health.lock() = Health {
            free_bytes: self.housekeeping.free_bytes,
            free_bytes_min: self.settings.disk_free_bytes_min,
            is_full: self.housekeeping.disk_is_full || self.housekeeping.room != Room::All,
            damaged,
            syncs: self.housekeeping.syncs,
        };
    }

    fn look_at_disk(&mut self) {
        // A disk that cannot say how full it is will say so at the next write.
        self.housekeeping.free_bytes = self.disk.free_bytes().ok();
        let Some(free) = self.housekeeping.free_bytes else { return };
        let is_full = free < self.settings.disk_free_bytes_min;
        if is_full != self.housekeeping.disk_is_full {
            if is_full {
                tracing::error!(free, "the disk is almost full; appends are refused");
            } else {
                tracing::info!(free, "the disk has room again; appends are taken");
            }
        }
        self.housekeeping.disk_is_full = is_full;
    }

    /// Moves log starts past what has outlived its stream's ttl or its topic's retention.
    fn expire(&mut self) {
        let mut starts = Vec::new();
        for stream in self.state.catalog.streams() {
            for topic in stream.topics.values() {
                let kept = Kept::of(stream, topic);
                if kept.is_all() {
                    continue;
                }
                let cut_ms = kept.age_ms.map(|age| self.now_ms.saturating_sub(age));
                for no in &topic.partitions {
                    if let Some(start) = self.expired_start(*no, cut_ms, kept.bytes) {
                        starts.push((*no, start));
                    }
                }
            }
        }
        for (no, start) in starts {
            self.stage_trim(no, start, false);
        }
        self.expire_producers();
        self.sweep_transactions();
        if std::mem::take(&mut self.housekeeping.are_cursors_due) {
            self.housekeeping.cursors_looked_at_ms = self.env.clock.monotonic_ms();
            self.forget_deleted_cursors();
        }
    }

    /// All cursors are looked at then, so it is once an hour.
    pub(crate) fn are_cursors_due(&self) -> bool {
        const HOUR_MS: u64 = 3_600_000;
        self.env.clock.monotonic_ms() >= self.housekeeping.cursors_looked_at_ms + HOUR_MS
    }

    fn expire_producers(&mut self) {
        for partition in self.state.partitions.values_mut() {
            let Some(oldest_ms) = partition.producers.oldest_ms() else { continue };
            let Some(stream) = self.state.catalog.stream(partition.home.stream) else { continue };
            let kept_ms = stream.settings.pid_expiry_seconds.saturating_mul(1000);
            let before_ms = self.now_ms.saturating_sub_unsigned(kept_ms);
            // What the view's writer may be looking at is copied only if it changes.
            if oldest_ms < before_ms {
                Arc::make_mut(&mut partition.producers).expire(before_ms);
            }
        }
    }

    fn expired_start(
        &self,
        no: PartitionNo,
        cut_ms: Option<i64>,
        bytes: Option<u64>,
    ) -> Option<i64> {
        let partition = self.state.partitions.get(&no)?;
        if partition.log_start == partition.end || partition.quarantined.is_some() {
            return None;
        }
        let reader = self.log.reader();
        // Damage is reported by those who read; it expires nothing.
        let by_age = cut_ms.and_then(|cut| reader.first_arriving_at_or_after(no, cut).ok());
        let by_size = bytes.and_then(|bytes| reader.start_for_retained_bytes(no, bytes).ok());
        let start = by_age.max(by_size)?.min(partition.shown_end());
        // Where compaction left nothing, nothing expires.
        let is_due = start > partition.log_start && reader.has_batch_below(no, start).ok()?;
        is_due.then_some(start)
    }

    /// DeleteRecords by a client. Returns the new log start.
    pub(crate) fn sequence_trim(&mut self, no: PartitionNo, log_start: i64) -> Result<i64, Error> {
        let gone = || Error::not_found("the partition does not exist any more");
        let home = self.state.catalog.partition(no).ok_or_else(gone)?;
        let stream = self.state.catalog.stream(home.stream).ok_or_else(gone)?;
        let topic = stream.topic_by_origin(home.topic).ok_or_else(gone)?;
        stream.check_local_write(topic)?;
        let shown_end = self.state.partitions[&no].shown_end();
        if log_start > shown_end {
            return Err(Error::new(
                mainstem_types::ErrorKind::OffsetOutOfRange,
                format!("consumers see the partition up to {shown_end}"),
            ));
        }
        self.stage_owner_trim(no, log_start);
        Ok(self.state.partitions[&no].log_start)
    }

    /// DeleteRecords at the owner, as a link carries it.
    pub(crate) fn sequence_replica_trims(
        &mut self,
        link: LinkName,
        starts: Vec<(PartitionNo, i64)>,
    ) -> Result<(), Error> {
        self.state
            .catalog
            .expect_stream(link.stream)?
            .check_link(link.upstream, link.link_epoch)?;
        for (no, log_start) in starts {
            // A topic that was deleted meanwhile has nothing to trim.
            let Some(home) = self.state.catalog.partition(no) else { continue };
            let stream = self.state.catalog.expect_stream(link.stream)?;
            let topic = stream.topic_by_origin(home.topic).filter(|_| home.stream == stream.id);
            let Some(topic) = topic else { continue };
            if topic.owner.stream == stream.id {
                tracing::warn!(topic = %topic.name, "I5: a link may not trim a topic owned here");
                continue;
            }
            self.check_joined(link, no)?;
            // A sender speaks of a trim once all below it is acknowledged; one that does not
            // deletes nothing that is still to come.
            let end = self.state.partitions[&no].end;
            self.stage_owner_trim(no, log_start.min(end));
        }
        Ok(())
    }

    /// Also where retention has been as far already: the owner's will is passed on to replicas.
    fn stage_owner_trim(&mut self, no: PartitionNo, to: i64) {
        if to > self.state.partitions[&no].marks.trimmed {
            self.stage_trim(no, to, true);
        }
    }

    pub(crate) fn stage_trim(&mut self, no: PartitionNo, to: i64, by_owner: bool) {
        let partition = self.state.partitions.get_mut(&no).expect("looked up before");
        assert!(to <= partition.end, "a log starts before its end");
        partition.trim(to, by_owner);
        assert!(partition.marks.trimmed <= partition.log_start, "I8: what is kept is not trimmed");
        let record_count = if by_owner { TRIM_BY_OWNER } else { 0 };
        self.group.frames.push(Frame { record_count, ..Frame::at(FrameKind::Trim, no, to) });
        self.group.partitions.insert(no);
    }

    /// Sends the view what has changed since it was last told, unless it is still busy with that.
    fn refresh_view(&mut self) {
        if !self.state.dirty.is_empty() && self.view.is_ready() {
            let change = self.take_view_change();
            self.view.store(change);
        }
    }

    /// As [`Self::refresh_view`], waiting for its writer; for the last time. A view that cannot be
    /// written is no reason to stay: the next start replays what it lacks.
    pub(crate) fn flush_view(&mut self) {
        if self.view.wait_ready() {
            self.refresh_view();
            self.view.wait_ready();
        }
    }

    /// What has changed, as it stands now, when the log holds nothing that is not durable. All of
    /// it is shared: the rows are encoded where they are written.
    fn take_view_change(&mut self) -> ViewChange {
        let dirty = std::mem::take(&mut self.state.dirty);
        let of_partition = |no| (no, self.state.partitions.get(&no).cloned());
        let cursors = self.shared.cursors.read();
        let of_cursor = |key: CursorKey| {
            let cursor = cursors.get(&key).cloned();
            (key, cursor)
        };
        let of_transaction = |id| {
            let transaction = self.state.coordinator.by_id(&id).cloned();
            (id, transaction)
        };
        ViewChange {
            applied: self.log.durable(),
            catalog: self.state.catalog.clone(),
            catalog_rows: dirty.catalog,
            partitions: dirty.partitions.into_iter().map(of_partition).collect(),
            cursors: dirty.cursors.into_iter().map(of_cursor).collect(),
            transactions: dirty.transactions.into_iter().map(of_transaction).collect(),
        }
    }
}

/// How long and how much of a topic is kept.
struct Kept {
    age_ms: Option<i64>,
    bytes: Option<u64>,
}

impl Kept {
    /// Of a topic whose policy is to compact and not to delete, everything. Otherwise a topic's `retention.ms` and `retention.bytes` come before its stream's ttl.
    fn of(stream: &Stream, topic: &Topic) -> Self {
        if topic.never_expires() {
            return Self { age_ms: None, bytes: None };
        }
        let config = |name: &str| topic.config.get(name).and_then(|text| text.parse::<i64>().ok());
        let ttl_ms = match stream.settings.ttl_seconds {
            0 => None,
            seconds => i64::try_from(seconds).ok().and_then(|s| s.checked_mul(1000)),
        };
        let age_ms = match config("retention.ms") {
            Some(age_ms) => Some(age_ms).filter(|age_ms| *age_ms >= 0),
            None => ttl_ms,
        };
        Self { age_ms, bytes: config("retention.bytes").and_then(|bytes| bytes.try_into().ok()) }
    }

    fn is_all(&self) -> bool {
        self.age_ms.is_none() && self.bytes.is_none()
    }
}
