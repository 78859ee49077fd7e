//! What the replica has as the session begins.

use mainstem_link::{Code, FEATURE_FEEDERS, Mode, Welcome};
use mainstem_types::limits::PARTITIONS_PER_TOPIC_MAX;
use mainstem_types::{Lineage, OriginTopicId};

use super::{Key, Phase, Sender, SenderAction, Welcomed};

impl Sender {
    pub(super) fn handle_welcome(&mut self, chunk: Welcome) {
        if self.phase == Phase::Greeting {
            self.replica = Some(chunk.replica_id);
            self.actions.push_back(SenderAction::Welcomed(Welcomed {
                cluster_id: chunk.cluster_id,
                replica_id: chunk.replica_id,
                link_epoch: chunk.link_epoch,
                features: chunk.features,
            }));
            // A bounded session brings everything: at its end nothing may be missing.
            if chunk.features & FEATURE_FEEDERS != 0 && self.mode == Mode::Replicate {
                self.feeding.begin();
            }
            self.replica_holds = chunk.holds;
            self.credit = i64::try_from(chunk.credit_bytes).unwrap_or(i64::MAX);
            self.acked_seq = chunk.applied_seq;
        }
        self.phase = Phase::Welcoming;
        for item in chunk.partitions {
            let Some(lineage) = Lineage::from_entries(item.lineage) else {
                let message = "the replica's lineage does not rise".to_owned();
                self.stop_partition((item.origin, item.partition), Code::Corrupt, message, false);
                continue;
            };
            self.topics.handle_held(item.origin);
            self.note_growth(item.origin, item.partition, &lineage);
            let partition = self.partitions.entry((item.origin, item.partition)).or_default();
            partition.handle_welcome(item.end, lineage, item.trimmed.unwrap_or(0));
        }
        chunk.cursors.into_iter().for_each(|cursor| self.cursors.handle_known(cursor));
        self.terms.extend(chunk.terms.into_iter().map(|item| (item.origin, item)));
        if !chunk.more {
            self.phase = Phase::Meeting;
            let terms = std::mem::take(&mut self.terms).into_values().collect();
            if !self.handle_terms(chunk.term, terms) {
                self.open();
            }
        }
    }

    /// A partition of a topic that is owned here, written in another term or not yet, and not known
    /// here, was added by an owner of before: what a person was told is done stays done.
    fn note_growth(&mut self, origin: OriginTopicId, partition: u32, lineage: &Lineage) {
        let term = self.topics.term(origin).map(|term| term.id);
        let is_ours = self.topics.owner(origin) == Some(self.source);
        let is_of_another = lineage.last().is_none_or(|last| Some(last.term_id) != term);
        let is_new = self.topics.partitions(origin).is_some_and(|count| partition >= count);
        if is_ours && is_of_another && is_new && partition < PARTITIONS_PER_TOPIC_MAX {
            let count = self.grown.entry(origin).or_default();
            *count = (partition + 1).max(*count);
        }
    }

    /// Asked for until it is done: nothing changes in the midst of a hand-over.
    pub(super) fn grow(&mut self) {
        if self.phase != Phase::Open || self.mode != Mode::Replicate {
            return;
        }
        let topics = &self.topics;
        self.grown.retain(|origin, count| {
            let is_ours = topics.owner(*origin) == Some(self.source);
            is_ours && topics.partitions(*origin).is_some_and(|partitions| partitions < *count)
        });
        let grow = |(origin, count): (&OriginTopicId, &u32)| SenderAction::Grow(*origin, *count);
        self.actions.extend(self.grown.iter().map(grow));
    }

    pub(super) fn open(&mut self) {
        let Some(replica) = self.replica else { return };
        if self.overrules(replica) {
            self.stop(
                Code::Fenced,
                "a person has decided who owns the topics; the link begins anew",
            );
            return;
        }
        self.phase = Phase::Open;
        self.is_fresh = self.mode == Mode::Replicate;
        self.moved.extend(self.partitions.keys());
        self.topics.handle_welcome(self.acked_seq, replica);
        // The last session may have ended before its answer was noted.
        self.actions.push_back(SenderAction::Applied(self.acked_seq));
        self.grow();
        self.stop_rivals();
        let (terms, topics) = (&self.terms, &self.topics);
        self.cursors.forget(|origin, _| {
            // It will give the topic up, and take what it has committed itself for the last word.
            let theirs = terms.get(&origin).filter(|item| item.owner == replica);
            theirs.is_some_and(|item| {
                topics.term(origin).is_some_and(|ours| ours.number > item.term.number)
            })
        });
        self.cursors.drop_known();
        (self.catalog_dirty, self.cursors_dirty) = (true, true);
        let keys: Vec<Key> = self.partitions.keys().copied().collect();
        for key in keys {
            self.start(key);
        }
        if self.mode == Mode::Copy {
            self.send_catalog();
            self.finish_seq = self.topics.told_to().unwrap_or_default();
            for (key, partition) in &mut self.partitions {
                if self.topics.is_told(key.0, key.1) {
                    partition.stop = partition.view.as_ref().map(|view| view.durable_end);
                }
            }
        }
    }
}
