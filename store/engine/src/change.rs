//! Commands to the catalog, and what they mean for partitions.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_catalog::{Catalog, Command, Event};
use mainstem_log::{Frame, FrameKind};
use mainstem_types::{Error, LineageEntry, PartitionNo, StreamId};

use crate::partition::Partition;
use crate::replica::epoch_frame;
use crate::sequencer::Sequencer;
use crate::state::owner_term;

/// Epochs that terms of which nothing is known may have had; far from the highest.
const EPOCHS_OF_TERMS_MAX: u64 = 1 << 30;

impl Sequencer {
    /// Returns the catalog with the change in it; the answer is sent when it is durable.
    pub(crate) fn sequence_change(&mut self, command: &Command) -> Result<Catalog, Error> {
        self.check_brought(command)?;
        let random = self.env.random.clone();
        let events = self.state.catalog.decide(command, &|| random.next_u128(), self.now_ms)?;
        let mut begun_anew = Vec::new();
        for event in &events {
            begun_anew.extend(self.sequence_event(event));
        }
        // Only now: what was to be handed over may be written to again.
        begun_anew.into_iter().for_each(|no| self.complete_open(no));
        Ok(self.state.catalog.clone())
    }

    /// A hand-over is of one history: the new owner begins exactly where the old one has ended. What
    /// has come by another way, or was written here in an earlier reign, is to be compared first.
    fn check_brought(&self, command: &Command) -> Result<(), Error> {
        let Command::AcceptHandover { stream, upstream, link_epoch, ends, .. } = command else {
            return Ok(());
        };
        let stream = self.state.catalog.expect_stream(*stream)?;
        stream.check_link(*upstream, *link_epoch)?;
        for topic in stream.carried_topics().filter(|topic| topic.owner.stream == *upstream) {
            for (index, no) in (0u32..).zip(&topic.partitions) {
                let brought = ends.get(&(topic.origin, index)).copied().unwrap_or(0);
                let end = self.state.partitions[no].end;
                if end != brought {
                    return Err(Error::retry(format!(
                        "topic {} ends at {end} in partition {index}, and its owner has ended at \
                         {brought}; the two are to be compared anew before it is taken over",
                        topic.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// Gives the partitions that are written here in another term than before.
    fn sequence_event(&mut self, event: &Event) -> Vec<PartitionNo> {
        self.group.catalog_changed = true;
        self.group.frames.push(Frame::node_wide(FrameKind::CatalogEvent, event.encode().into()));
        let shared = self.shared.clone();
        let applied = self.state.apply_event(event, &mut shared.cursors.write());
        let streams: BTreeSet<StreamId> =
            applied.rows.iter().filter_map(mainstem_catalog::RowKey::stream).collect();
        let begun_anew = [&*applied.partitions_taken_over, &applied.partitions_renewed].concat();
        for no in applied.partitions_added.iter().chain(&begun_anew) {
            self.begin_reign(*no);
        }
        self.abort_given_up(&applied.partitions_given_up);
        self.take_cursors_over(&applied.partitions_taken_over);
        self.hand_cursors_over(&applied.given_up);
        self.group.partitions_given_up.extend(applied.partitions_given_up);
        for (no, _) in applied.partitions_removed {
            self.group.frames.push(Frame::at(FrameKind::PartitionDelete, no, 0));
            self.group.partitions_removed.push(no);
        }
        streams.into_iter().for_each(|stream| self.follow_synchrony(stream));
        if let Event::UpstreamRemoved { stream, .. } = event {
            self.show_orphans(*stream);
        }
        begun_anew
    }

    /// A partition of a topic that is owned here begins its owner's term at its end, whether it is
    /// new or was taken over; a replicated one gets its lineage from the source.
    pub(crate) fn begin_reign(&mut self, no: PartitionNo) {
        self.group.partitions.insert(no);
        let Some(entry) = self.due_epoch(no) else { return };
        let partition = self.state.partitions.get_mut(&no).expect("its epoch is due");
        let owned_in = owner_term(&self.state.catalog, partition.home);
        let follows = partition.begin_epoch(&entry, owned_in);
        assert!(follows, "an epoch begins at the end, above those before it");
        self.group.frames.push(epoch_frame(no, &entry));
    }

    /// The epoch that is still to begin where the topic's owner is this stream in a term that the
    /// lineage does not know.
    pub(crate) fn due_epoch(&self, no: PartitionNo) -> Option<LineageEntry> {
        let partition = self.state.partitions.get(&no).expect("events name partitions that exist");
        let stream = self.state.catalog.stream(partition.home.stream).expect("it has a stream");
        let topic = stream.topic_by_origin(partition.home.topic).expect("it has a topic");
        let newest = partition.lineage.last();
        let known = newest.is_some_and(|entry| entry.term_id == topic.owner.term.id);
        // What was set aside keeps the lineage of those who wrote it.
        let is_written = topic.owner.stream == stream.id && topic.aside.is_none();
        // Epochs never go down for a client, also where it comes from a reign that we know nothing
        // of: that had at most one epoch for each term below this one.
        let terms_before = topic.owner.term.number.saturating_sub(1).min(EPOCHS_OF_TERMS_MAX);
        let terms_before = i32::try_from(terms_before).expect("so few fit");
        (is_written && !known).then(|| LineageEntry {
            leader_epoch: newest.map_or(0, |entry| entry.leader_epoch + 1).max(terms_before),
            start_offset: partition.end,
            term_id: topic.owner.term.id,
            owner: stream.id,
            markers: u32::try_from(self.left_open(no, partition.end).len()).unwrap_or(u32::MAX),
        })
    }

    /// Lets readers find new partitions and lose deleted ones.
    pub(crate) fn publish_partitions(
        &mut self,
        moved: &BTreeSet<PartitionNo>,
        removed: &[PartitionNo],
    ) {
        let mut partitions = self.shared.partitions.write();
        for no in moved {
            if let Some(state) = self.state.partitions.get(no) {
                let home = (*no, state.home.stream, state.home.topic, state.home.index);
                partitions.entry(*no).or_insert_with(|| {
                    let (reader, lineage) = (self.log.reader(), state.lineage.clone());
                    let damage = self.shared.damage.clone();
                    Arc::new(Partition::new(home, (0, 0, state.held), lineage, reader, damage))
                });
            }
        }
        for no in removed {
            if let Some(partition) = partitions.remove(no) {
                // Those who wait for data look again and find it gone.
                partition.publish(
                    partition.log_start(),
                    partition.durable_end(),
                    partition.held_watermark(),
                    None,
                );
            }
        }
    }
}
