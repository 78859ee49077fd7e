//! Operations on cursors: commits by groups here, those that a link carries, deletion.

use std::collections::{BTreeMap, BTreeSet};

use mainstem_catalog::Topic;
use mainstem_group::{Cursor, CursorColumn, CursorKey, CursorRecord, CursorValue};
use mainstem_log::{Frame, FrameKind};
use mainstem_types::limits::{CURSOR_DELETION_KEPT_MS, CURSOR_DELETIONS_AT_ONCE};
use mainstem_types::{Error, OriginTopicId, PartitionNo, StreamId, TermId};

use crate::op::{CursorCommit, LinkName};
use crate::sequencer::Sequencer;
use crate::state::PartitionState;

impl Sequencer {
    pub(crate) fn sequence_commits(&mut self, commits: Vec<CursorCommit>) -> Result<(), Error> {
        for commit in &commits {
            self.check_cursor(&commit.key)?;
            // The next owner would not hear of it.
            self.state.catalog.expect_stream(commit.key.stream)?.check_not_handing_over()?;
        }
        for commit in commits {
            let stream = self.state.catalog.expect_stream(commit.key.stream)?;
            let topic = stream.topic_by_origin(commit.key.topic).expect("checked above");
            let term = topic.owner.term.id;
            let end = self.end_of_cut(topic, commit.key.partition);
            let is_cut = commit.offset > end;
            let value = CursorValue {
                offset: commit.offset.min(end),
                leader_epoch: if is_cut { -1 } else { commit.leader_epoch },
                metadata: commit.metadata,
                commit_ms: self.now_ms,
                version: self.next_cursor_version(),
                term,
            };
            self.stage_cursor(commit.key, CursorColumn::Local, Some(value));
        }
        Ok(())
    }

    /// I4: what a group had read beyond the end was cut since, if the topic ever changed hands.
    pub(crate) fn end_of_cut(&self, topic: &Topic, partition: u32) -> i64 {
        let no = topic.partition(partition).filter(|_| topic.owner.term.number > 1);
        let state = no.and_then(|no| self.state.partitions.get(&no));
        state.map_or(i64::MAX, |state| state.end.max(state.marks.anew_to))
    }

    pub(crate) fn sequence_replicated_cursors(
        &mut self,
        link: LinkName,
        cursors: Vec<(CursorKey, CursorValue)>,
    ) -> Result<(), Error> {
        let stream = self.state.catalog.expect_stream(link.stream)?;
        stream.check_link(link.upstream, link.link_epoch)?;
        for (key, value) in cursors {
            // A cursor of a topic that was deleted meanwhile has nothing to say any more.
            if key.stream != link.stream
                || self.check_cursor(&key).is_err()
                || self.is_of_before(link, &key, &value)
            {
                continue;
            }
            self.stage_cursor(key, CursorColumn::Replicated, Some(value));
        }
        Ok(())
    }

    /// Whether a relay tells what may have been committed in an earlier term than what is known
    /// here. The owner has the last word.
    fn is_of_before(&self, link: LinkName, key: &CursorKey, value: &CursorValue) -> bool {
        let stream = self.state.catalog.stream(key.stream);
        let owner = stream.and_then(|stream| stream.topic_by_origin(key.topic)).map(|t| t.owner);
        let is_relayed =
            owner.is_some_and(|owner| owner.stream != link.upstream && owner.term.id != value.term);
        let cursors = self.shared.cursors.read();
        let known = cursors.get(key).and_then(|cursor| cursor.replicated.as_ref());
        is_relayed
            && known.is_some_and(|known| {
                known.term != value.term && !self.is_later(key, value.term, known.term)
            })
    }

    /// Whether one term came after another, as the partition's lineage here shows.
    fn is_later(&self, key: &CursorKey, term: TermId, than: TermId) -> bool {
        let stream = self.state.catalog.stream(key.stream);
        let topic = stream.and_then(|stream| stream.topic_by_origin(key.topic));
        let no = topic.and_then(|topic| topic.partition(key.partition));
        let Some(partition) = no.and_then(|no| self.state.partitions.get(&no)) else {
            return false;
        };
        let reign = |term: TermId| {
            partition.lineage.entries().iter().position(|entry| entry.term_id == term)
        };
        reign(than).is_some_and(|than| reign(term).is_some_and(|term| term > than))
    }

    /// Replicas have to hear of what is deleted at the owner, by whatever way and however late: the
    /// deletion is kept in the cursor's place.
    pub(crate) fn sequence_cursor_deletes(&mut self, keys: Vec<CursorKey>) {
        for key in keys {
            // What this very group sets before is not among the durable ones yet.
            let is_staged = self.group.cursors.iter().any(|record| record.key == key);
            let durable = self.shared.cursors.read().get(&key).cloned();
            let durable = durable.and_then(Cursor::standing).unwrap_or_default();
            if is_staged || durable.local.is_some() {
                let deletion = self.owned_term(&key).map(|term| {
                    let version = self.next_cursor_version();
                    CursorValue::deletion(self.now_ms, version, term)
                });
                self.stage_cursor(key.clone(), CursorColumn::Local, deletion);
            }
            if is_staged || durable.replicated.is_some() {
                self.stage_cursor(key, CursorColumn::Replicated, None);
            }
        }
    }

    /// Deletions that every replica has heard of long ago, or never will.
    pub(crate) fn forget_deleted_cursors(&mut self) {
        let before_ms = self.now_ms - CURSOR_DELETION_KEPT_MS;
        let gone = self.shared.cursors.read().deleted_before(before_ms, CURSOR_DELETIONS_AT_ONCE);
        for key in gone {
            self.stage_cursor(key.clone(), CursorColumn::Local, None);
            self.stage_cursor(key, CursorColumn::Replicated, None);
        }
    }

    /// I4: cursors of partitions that were cut do not point past their ends, or what comes anew. The
    /// owner may tell them again, once what it has beyond has come.
    pub(crate) fn keep_cursors_within(&mut self, partitions: &[PartitionNo]) {
        for (key, cursor, end) in self.cursors_of(partitions, |p| p.end.max(p.marks.anew_to)) {
            let columns = [
                (CursorColumn::Local, cursor.local),
                (CursorColumn::Replicated, cursor.replicated),
            ];
            for (column, value) in columns {
                if let Some(value) = value.filter(|value| value.offset > end) {
                    let value = value.set_back(end);
                    // A lower version replaces nothing that is there.
                    self.stage_cursor(key.clone(), column, None);
                    self.stage_cursor(key.clone(), column, Some(value));
                }
            }
        }
    }

    /// I4: what is written from now on to partitions that were taken over is another history. Where
    /// a cursor points past its beginning, it is set there, by this owner's word.
    pub(crate) fn take_cursors_over(&mut self, partitions: &[PartitionNo]) {
        for (key, cursor, end) in self.cursors_of(partitions, |partition| partition.end) {
            let Some(term) = self.owned_term(&key) else { continue };
            if let Some(value) = cursor.newest(term).filter(|value| value.offset > end) {
                let version = self.next_cursor_version();
                let value =
                    CursorValue { offset: end, leader_epoch: -1, version, term, ..value.clone() };
                self.stage_cursor(key, CursorColumn::Local, Some(value));
            }
        }
    }

    /// The cursors of some partitions, with the offset that counts as the partition's end.
    fn cursors_of(
        &self,
        partitions: &[PartitionNo],
        end: impl Fn(&PartitionState) -> i64,
    ) -> Vec<(CursorKey, Cursor, i64)> {
        let mut ends: BTreeMap<(StreamId, OriginTopicId, u32), i64> = BTreeMap::new();
        for no in partitions {
            let partition = &self.state.partitions[no];
            let home = partition.home;
            ends.insert((home.stream, home.topic, home.index), end(partition));
        }
        let streams: BTreeSet<StreamId> = ends.keys().map(|(stream, ..)| *stream).collect();
        let newest = self.newest_cursors(&streams).into_iter();
        let with_end = newest.filter_map(|(key, cursor)| {
            let end = *ends.get(&(key.stream, key.topic, key.partition))?;
            Some((key, cursor, end))
        });
        with_end.collect()
    }

    /// What groups committed here while this stream owned a topic is, from now on, what they have
    /// committed at its owner.
    pub(crate) fn hand_cursors_over(&mut self, given_up: &[(StreamId, OriginTopicId, TermId)]) {
        let terms: BTreeMap<(StreamId, OriginTopicId), TermId> =
            given_up.iter().map(|(stream, topic, term)| ((*stream, *topic), *term)).collect();
        let streams: BTreeSet<StreamId> = given_up.iter().map(|(stream, ..)| *stream).collect();
        for (key, cursor) in self.newest_cursors(&streams) {
            let term = terms.get(&(key.stream, key.topic));
            let Some(value) = cursor.local.filter(|value| Some(&value.term) == term) else {
                continue;
            };
            // The next owner may have told its own already.
            let is_told = cursor.replicated.is_some_and(|told| {
                told.term != value.term && !self.is_later(&key, value.term, told.term)
            });
            if !is_told {
                self.stage_cursor(key, CursorColumn::Replicated, Some(value));
            }
        }
    }

    /// The cursors of these streams with what this group has done to them.
    fn newest_cursors(&self, streams: &BTreeSet<StreamId>) -> Vec<(CursorKey, Cursor)> {
        let cursors = self.shared.cursors.read();
        let durable = streams.iter().flat_map(|stream| cursors.of_stream(*stream));
        let mut newest: BTreeMap<CursorKey, Cursor> = durable.collect();
        let staged = self.group.cursors.iter();
        for record in staged.filter(|record| streams.contains(&record.key.stream)) {
            let cursor = newest.entry(record.key.clone()).or_default();
            match record.column {
                CursorColumn::Local => cursor.local.clone_from(&record.value),
                CursorColumn::Replicated => cursor.replicated.clone_from(&record.value),
            }
        }
        newest.into_iter().collect()
    }

    /// The term of a cursor's topic, if that is owned here.
    fn owned_term(&self, key: &CursorKey) -> Option<TermId> {
        let topic = self.state.catalog.stream(key.stream)?.topic_by_origin(key.topic)?;
        (topic.owner.stream == key.stream).then_some(topic.owner.term.id)
    }

    pub(crate) fn check_cursor(&self, key: &CursorKey) -> Result<(), Error> {
        let topic = self
            .state
            .catalog
            .stream(key.stream)
            .and_then(|stream| stream.topic_by_origin(key.topic))
            .filter(|topic| topic.partition(key.partition).is_some());
        match topic {
            Some(_) => Ok(()),
            None => Err(Error::not_found("the topic or partition of the cursor does not exist")),
        }
    }

    /// Rises over every commit here, also across restarts: the highest is with the cursors, unless
    /// that one's deletion was forgotten, and then the clock has gone on. A replica that still knows
    /// it would take a lower version for an old one.
    pub(crate) fn next_cursor_version(&mut self) -> u64 {
        let known = self.shared.cursors.read().version().max(self.cursor_version);
        let cluster = self.state.catalog.cluster().id;
        self.cursor_version = CursorValue::next_version(known, self.now_ms, cluster);
        self.cursor_version
    }

    fn stage_cursor(&mut self, key: CursorKey, column: CursorColumn, value: Option<CursorValue>) {
        let record = CursorRecord { key, column, value };
        let payload = minicbor::to_vec(&record).expect("a Vec takes every byte").into();
        self.group.frames.push(Frame::node_wide(FrameKind::Cursor, payload));
        self.group.cursors.push(record);
    }

    /// Shows readers the cursors of the group that has just become durable.
    pub(crate) fn publish_cursors(&mut self, records: Vec<CursorRecord>) {
        if records.is_empty() {
            return;
        }
        let mut streams = BTreeSet::new();
        // A topic deleted by a later operation of the same group took its cursors with it.
        let stands: Vec<bool> =
            records.iter().map(|record| self.check_cursor(&record.key).is_ok()).collect();
        let mut cursors = self.shared.cursors.write();
        for (record, stands) in records.into_iter().zip(stands) {
            if !stands {
                continue;
            }
            streams.insert(record.key.stream);
            self.state.dirty.cursors.insert(record.key.clone());
            cursors.apply(record);
        }
        drop(cursors);
        self.shared.cursor_watchers.tell(&streams);
    }
}
