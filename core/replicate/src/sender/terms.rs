//! What the replica says of owners and terms.

use mainstem_link::{Batches, Code, Rejoin, TermItem};
use mainstem_types::{StreamId, Term};

use super::partition::Start;
use super::{Key, Phase, Sender, SenderAction};

impl Sender {
    /// What [`SenderAction::Meet`] told is durable, and the catalog with it was told.
    pub fn handle_met(&mut self) {
        self.meeting = self.meeting.saturating_sub(1);
        if self.phase == Phase::Meeting && self.meeting == 0 {
            self.open();
        }
    }

    /// A higher term is met before anything is answered or sent under a lower one (I5); says
    /// whether there was one. Two of one number are a conflict, for people to resolve.
    pub(super) fn handle_terms(&mut self, seen: Term, items: Vec<TermItem>) -> bool {
        // Who took what it was offered may have told so by another way before.
        let offered = self.handover.map(|handover| handover.term);
        let (topics, mut met) = (&mut self.topics, Vec::new());
        for item in &items {
            if topics.handle_met(item) || Some(item.term) == offered {
                met.push(item.clone());
            }
        }
        self.terms.extend(items.into_iter().map(|item| (item.origin, item)));
        let is_news = seen.number > self.seen.number;
        if is_news {
            self.seen = seen;
        }
        let must_meet = is_news || !met.is_empty();
        if must_meet {
            self.meeting += 1;
            self.actions.push_back(SenderAction::Meet(self.seen, met));
        }
        must_meet
    }

    /// The catalog has come to know topics of which the replica has told a higher term before: of a
    /// promotion, for one, that was under way.
    pub(super) fn meet_late(&mut self) {
        let topics = &mut self.topics;
        let met = self.terms.values().filter(|item| topics.handle_met(item));
        let met: Vec<TermItem> = met.cloned().collect();
        if !met.is_empty() {
            self.meeting += 1;
            self.actions.push_back(SenderAction::Meet(self.seen, met));
        }
    }

    pub(super) fn stop_rivals(&mut self) {
        for (origin, item) in &self.terms {
            let ours = self.topics.term(*origin);
            if ours.is_some_and(|ours| ours.number == item.term.number && ours.id != item.term.id) {
                let message = format!(
                    "two streams were made owner of this topic in term {}, here and at the replica; \
                     say at the one that is to go on `maprcli stream replica failover -again true`: \
                     what only the other one has is set aside there",
                    item.term.number
                );
                self.stopped.insert(*origin, (Code::Conflict, message));
            }
        }
    }

    /// Since our Hello we have come to own, in a higher term, what the replica took for its own: its
    /// Welcome does not list what it has of that.
    pub(super) fn overrules(&self, replica: StreamId) -> bool {
        self.terms.iter().any(|(origin, item)| {
            let ours = self.topics.term(*origin).map_or(0, |term| term.number);
            let is_unlisted = item.owner == replica && item.term.number >= self.greeted.number;
            is_unlisted && ours > item.term.number
        })
    }

    /// Tells of reigns in which nothing was written yet.
    pub(super) fn send_reigns(&mut self) {
        for key in std::mem::take(&mut self.reigns_due) {
            // Not what has come to be the replica's own meanwhile.
            let is_ours = self.topics.owner(key.0) != self.replica && self.may_send(key);
            let Some(partition) = self.partitions.get_mut(&key).filter(|_| is_ours) else {
                continue;
            };
            let Some((end, lineage)) = partition.take_reigns() else { continue };
            let frame = Batches {
                origin: key.0,
                partition: key.1,
                from: end,
                to: end,
                gap_from: None,
                lineage,
                source_end: end,
                compacted: 0,
                items: Vec::new(),
            };
            self.actions.push_back(SenderAction::Send(frame.into()));
        }
    }

    /// Begins a partition where the replica is; or has it rejoin our history first.
    pub(super) fn start(&mut self, key: Key) {
        let Some(owner) = self.topics.owner(key.0).filter(|_| self.phase == Phase::Open) else {
            return;
        };
        let Some(term) = self.topics.term(key.0) else { return };
        let may_rejoin = self.topics.is_told(key.0, key.1)
            && !self.stopped.contains_key(&key.0)
            && self.is_fed(key.0);
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        let was_begun = partition.next.is_some();
        match partition.start(owner != self.source, term.id, self.replica_holds) {
            Ok(Start::Nothing) => {
                self.moved.insert(key);
                self.decisions_dirty |= !was_begun && partition.next.is_some();
            }
            // The replica must know of its owner first.
            Ok(Start::Rejoin(..)) if !may_rejoin => {}
            Ok(Start::Rejoin(lineage, source_end)) => {
                partition.handle_rejoin_sent();
                let (origin, partition) = key;
                let rejoin = Rejoin { origin, partition, lineage, source_end };
                self.actions.push_back(SenderAction::Send(rejoin.into()));
            }
            Err((code, message)) => self.stop_partition(key, code, message, true),
        }
    }
}
