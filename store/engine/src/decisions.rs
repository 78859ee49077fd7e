//! Commits that replicas hear of before their markers, so that a promotion between two markers of
//! one transaction does not commit it in part.
//!
//! Only commits are told, and only those with more than one marker: what is not told is aborted,
//! and a marker that stands alone is its own decision.

use mainstem_transaction::{Decision, Marker, ToldCommit, TransactionEvent, TransactionState};
use mainstem_types::Error;

use crate::engine::Engine;
use crate::op::{LinkDecision, LinkMarker, LinkName, Op};
use crate::sequencer::Sequencer;

impl Engine {
    /// Commits with several markers from the `from`-th on, and the number to go on from. One that
    /// is decided is here before readers see any of its markers.
    pub fn commits_to_tell(&self, from: u64) -> (Vec<LinkDecision>, u64) {
        self.shared.to_tell.read().since(from)
    }

    /// Queues, in order with appends, what a link tells of commits before it brings their markers.
    /// The streams of the markers mean nothing; they are in the link's.
    pub async fn keep_decisions(
        &self,
        link: LinkName,
        decisions: Vec<LinkDecision>,
    ) -> Result<(), Error> {
        self.shared.queue.push(Op::KeepDecisions { link, decisions }).await
    }
}

impl Sequencer {
    /// Commits whose markers are still to come, as the link's source says.
    pub(crate) fn sequence_told(
        &mut self,
        link: LinkName,
        decisions: &[LinkDecision],
    ) -> Result<(), Error> {
        let stream = self.state.catalog.expect_stream(link.stream)?.clone();
        stream.check_link(link.upstream, link.link_epoch)?;
        for told in decisions {
            let known = |marker: &LinkMarker| {
                let topic = stream.topic_by_origin(marker.topic)?;
                let no = topic.partition(marker.partition);
                let no = no.filter(|_| topic.owner.stream != stream.id)?;
                let partition = self.state.partitions.get(&no)?;
                let (producer_id, epoch) = (told.producer_id, told.epoch);
                let LinkMarker { offset, first_offset, .. } = *marker;
                let term = topic.owner.term.id;
                let commit = ToldCommit { producer_id, epoch, marker: offset, first_offset, term };
                let is_here = offset < partition.end;
                let is_known = partition.transactions.is_told(&commit);
                (!is_here && !is_known).then_some(Marker { partition: no, offset, first_offset })
            };
            let markers: Vec<Marker> = told.markers.iter().filter_map(known).collect();
            if markers.is_empty() {
                continue;
            }
            let here = markers
                .iter()
                .map(|marker| LinkMarker { stream: stream.id, ..link_marker_of(self, *marker) });
            // Passed on along a chain.
            let passed = LinkDecision { markers: here.collect(), ..told.clone() };
            self.group.to_tell.push(passed);
            self.stage_transaction(&TransactionEvent::Told {
                decision: Decision {
                    producer_id: told.producer_id,
                    epoch: told.epoch,
                    committed: true,
                    at_ms: told.at_ms,
                    markers,
                    cursors: Vec::new(),
                },
            });
        }
        Ok(())
    }

    /// Replicas are to hear of a commit, if there are any.
    pub(crate) fn note_to_tell(&mut self, decision: &Decision) {
        let told = self.link_decision(decision.producer_id, decision.epoch, &decision.markers);
        let has_replicas = |marker: &LinkMarker| {
            let stream = self.state.catalog.stream(marker.stream);
            stream.is_some_and(|stream| !stream.replicas.is_empty())
        };
        if told.markers.iter().any(has_replicas) {
            self.group.to_tell.push(LinkDecision { at_ms: decision.at_ms, ..told });
        }
    }

    /// After a start: the last commit of each transactional id.
    pub(crate) fn recover_to_tell(&self) {
        let committed = self
            .state
            .coordinator
            .iter()
            .filter(|ours| ours.state == TransactionState::Committed && ours.markers.len() > 1);
        let decisions = committed.map(|ours| LinkDecision {
            at_ms: ours.since_ms,
            ..self.link_decision(ours.producer_id, ours.epoch, &ours.markers)
        });
        self.shared.to_tell.write().extend(decisions.collect());
    }

    fn link_decision(&self, producer_id: i64, epoch: i16, markers: &[Marker]) -> LinkDecision {
        let stands = |marker: &&Marker| self.state.partitions.contains_key(&marker.partition);
        let markers = markers.iter().filter(stands).map(|marker| link_marker_of(self, *marker));
        LinkDecision { producer_id, epoch, at_ms: 0, markers: markers.collect() }
    }
}

fn link_marker_of(sequencer: &Sequencer, marker: Marker) -> LinkMarker {
    let home = sequencer.state.partitions[&marker.partition].home;
    LinkMarker {
        stream: home.stream,
        topic: home.topic,
        partition: home.index,
        offset: marker.offset,
        first_offset: marker.first_offset,
    }
}
