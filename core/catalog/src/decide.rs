//! Commands become events, or are refused with a sentence that says what to do next.

mod cluster;
mod copy;
mod grant;
mod handover;
mod link;
mod ownership;
mod replica;
mod stream;
mod synchrony;
mod tombstone;
mod topic;
mod undo;
mod upstream;

use mainstem_types::{Error, StreamId};

use crate::{Catalog, Command, Event, Place, Stream};

/// What a decision may draw on besides the state.
pub(crate) struct Draw<'a> {
    random: &'a dyn Fn() -> u128,
    now_ms: i64,
}

impl Catalog {
    /// The events that fulfil `command`; none when there is nothing to do. They hold against this
    /// very state only, and are to be applied in order, all of them or none.
    ///
    /// `random` gives 128 fresh random bits at each call.
    ///
    /// # Errors
    /// A refusal changes nothing.
    pub fn decide(
        &self,
        command: &Command,
        random: &dyn Fn() -> u128,
        now_ms: i64,
    ) -> Result<Vec<Event>, Error> {
        use Command as C;
        let draw = &Draw { random, now_ms };
        match command {
            C::FoundCluster { .. }
            | C::SetGateways { .. }
            | C::DeleteGateways { .. }
            | C::ReserveProducerIds { .. } => self.decide_cluster(command, draw),
            C::CreateStream { path, id, settings } => {
                self.decide_create_stream(path, *id, settings, draw)
            }
            C::EditStream { path, patch } => self.decide_edit_stream(path, patch),
            C::DeleteStream { path } => {
                let stream = self.expect_stream_at(path)?;
                Ok(self.decide_delete_stream(stream, draw))
            }
            C::CreateTopic { .. } => self.decide_create_topic(command, draw),
            C::EditTopic { stream, topic, patch } => self.decide_edit_topic(*stream, *topic, patch),
            C::RenameTopic { stream, topic, name } => {
                self.decide_rename_topic(*stream, *topic, name)
            }
            C::DeleteTopic { stream, topic } => self.decide_delete_topic(*stream, *topic),
            C::AddReplica { .. } => self.decide_add_replica(command, draw),
            C::EditReplica { .. }
            | C::PauseReplica { .. }
            | C::ResumeReplica { .. }
            | C::RemoveReplica { .. }
            | C::EndCopy { .. }
            | C::BeginSetup { .. }
            | C::AdvanceSetup { .. }
            | C::RaiseReplicaEpoch { .. }
            | C::SetReplicaId { .. }
            | C::AckTombstones { .. } => self.decide_replica(command, draw),
            C::DegradeReplica { .. } | C::WidenRisk { .. } | C::BringInForce { .. } => {
                self.decide_synchrony(command, draw)
            }
            C::EndUndo { job } => Ok(self.decide_end_undo(*job)),
            C::AddUpstream { stream, upstream, stream_id } => {
                self.decide_add_upstream(*stream, upstream, *stream_id, draw)
            }
            C::RemoveUpstream { stream, upstream } => {
                self.decide_remove_upstream(*stream, upstream)
            }
            C::OpenLink { stream, source, source_id, source_seq } => {
                self.decide_open_link(*stream, source, *source_id, *source_seq)
            }
            C::ApplyTopic { .. } => self.decide_apply_topic(command),
            C::ApplyTombstone { .. } => self.decide_apply_tombstone(command),
            C::AdvanceUpstream { stream, upstream, link_epoch, source_seq } => {
                let stream = self.expect_stream(*stream)?;
                let upstream = stream.check_link(*upstream, *link_epoch)?;
                let freed = stream.freeable(None);
                Ok(stream.advanced(upstream, *source_seq).into_iter().chain(freed).collect())
            }
            C::IssueGrant { .. } => self.decide_issue_grant(command, draw),
            C::CreateByGrant { .. }
            | C::AddUpstreamByGrant { .. }
            | C::AddReplicaByGrant { .. }
            | C::TakeOverByGrant { .. }
            | C::RollbackByGrant { .. } => self.decide_by_grant(command, draw),
            C::FailOver { stream, upstream } => {
                self.decide_fail_over(*stream, upstream.as_ref(), draw)
            }
            C::Renew { stream } => self.decide_renew(*stream, draw),
            C::MeetTerms { stream, seen, terms } => self.decide_meet_terms(*stream, *seen, terms),
            C::BeginHandover { .. } | C::OfferHandover { .. } | C::TakeBack { .. } => {
                self.decide_handover(command, draw)
            }
            C::AcceptHandover { stream, upstream, link_epoch, term, .. } => {
                self.decide_accept_handover(*stream, (*upstream, *link_epoch), *term, draw)
            }
            C::MakeAside { stream, topic, written_by, written_in } => {
                self.decide_make_aside(*stream, *topic, (*written_by, *written_in), draw)
            }
        }
    }

    /// Refuses an agreement of a stream with itself.
    fn check_other(
        &self,
        stream: &Stream,
        place: &Place,
        id: Option<StreamId>,
    ) -> Result<(), Error> {
        let same = place.cluster == self.cluster.name && place.path == stream.path;
        if same || id == Some(stream.id) {
            return Err(Error::invalid(format!(
                "{} cannot be replicated to itself; name another stream",
                stream.path
            )));
        }
        Ok(())
    }
}

/// The lowest slot from 1 that is free.
fn free_slot(taken: impl Iterator<Item = u32>) -> u32 {
    let taken: std::collections::BTreeSet<u32> = taken.collect();
    (1..).find(|idx| !taken.contains(idx)).expect("fewer slots are taken than numbers exist")
}
