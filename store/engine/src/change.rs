//! Commands to the catalog, and what they mean for partitions.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainstem_catalog::{Catalog, Command, Event};
use mainstem_log::{Frame, FrameKind};
use mainstem_types::{Error, LineageEntry, PartitionNo};

use crate::partition::Partition;
use crate::replica::epoch_frame;
use crate::sequencer::Sequencer;

impl Sequencer {
    /// Returns the catalog with the change in it; the answer is sent when it is durable.
    pub(crate) fn sequence_change(&mut self, command: &Command) -> Result<Catalog, Error> {
        let random = self.env.random.clone();
        let events = self.state.catalog.decide(command, &|| random.next_u128(), self.now_ms)?;
        for event in &events {
            self.sequence_event(event);
        }
        Ok(self.state.catalog.clone())
    }

    fn sequence_event(&mut self, event: &Event) {
        self.group.catalog_changed = true;
        self.group.frames.push(Frame::node_wide(FrameKind::CatalogEvent, event.encode().into()));
        let shared = self.shared.clone();
        let applied = self.state.apply_event(event, &mut shared.cursors.write());
        for no in applied.partitions_added {
            self.begin_partition(no);
        }
        for (no, _) in applied.partitions_removed {
            self.group.frames.push(Frame::at(FrameKind::PartitionDelete, no, 0));
            self.group.partitions_removed.push(no);
        }
    }

    /// A partition of a topic that is owned here begins its lineage; a replicated one gets its
    /// from the source.
    pub(crate) fn begin_partition(&mut self, no: PartitionNo) {
        self.group.partitions.insert(no);
        let partition = self.state.partitions.get_mut(&no).expect("just added");
        let catalog = &self.state.catalog;
        let stream = catalog.stream(partition.home.stream).expect("just added");
        let topic = stream.topic_by_origin(partition.home.topic).expect("just added");
        if topic.owner.stream != stream.id {
            return;
        }
        let entry = LineageEntry {
            leader_epoch: 0,
            start_offset: 0,
            term_id: topic.owner.term.id,
            owner: stream.id,
        };
        Arc::make_mut(&mut partition.lineage).push(entry);
        self.group.frames.push(epoch_frame(no, &entry));
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
                    Arc::new(Partition::new(home, 0, 0, lineage, reader, damage))
                });
            }
        }
        for no in removed {
            if let Some(partition) = partitions.remove(no) {
                // Those who wait for data look again and find it gone.
                partition.publish(partition.log_start(), partition.durable_end(), None);
            }
        }
    }
}
