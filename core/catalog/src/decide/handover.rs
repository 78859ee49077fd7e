//! Switch-over: ownership passes to a replica that has everything, or stays.

use mainstem_types::{Error, LinkEpoch, OriginTopicId, StreamId, Term};

use super::Draw;
use crate::{Catalog, Command, Event, Handover, HandoverStep, Owner, Replica, Stream, Topic};

impl Catalog {
    pub(super) fn decide_handover(
        &self,
        command: &Command,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        use Command as C;
        let (C::BeginHandover { stream, replica, .. }
        | C::OfferHandover { stream, replica, .. }
        | C::TakeBack { stream, replica, .. }) = command
        else {
            unreachable!("called for commands on hand-overs only")
        };
        let stream = self.expect_stream(*stream)?;
        let replica = stream.expect_replica(replica)?;
        match command {
            C::BeginHandover { job, timeout_ms, .. } => {
                let deadline_ms = draw.now_ms.saturating_add_unsigned(*timeout_ms);
                match &replica.handover {
                    Some(handover) if handover.job == *job => return Ok(Vec::new()),
                    _ => {}
                }
                stream.check_hand_over_to(replica)?;
                let (job, term, step) = (*job, stream.next_term(draw), HandoverStep::Draining);
                let handover =
                    Handover { job, term, step, deadline_ms, error: None, offered_ms: None };
                let seen = Event::TermSeen { stream: stream.id, term };
                Ok(vec![seen, stream.with_handover(replica, handover)])
            }
            C::OfferHandover { link_epoch, .. } => {
                replica.check_epoch(*link_epoch)?;
                let handover = replica.open_handover()?;
                if handover.step == HandoverStep::Offered {
                    return Ok(Vec::new());
                }
                let (step, offered_ms) = (HandoverStep::Offered, Some(draw.now_ms));
                let handover = Handover { step, offered_ms, ..handover.clone() };
                Ok(vec![stream.with_handover(replica, handover)])
            }
            C::TakeBack { job, why, .. } => {
                let handover = replica.open_handover()?;
                if handover.job != *job {
                    return Err(Error::fenced(format!("hand-over {job} is over")));
                }
                Ok(stream.taken_back(why.clone(), draw))
            }
            _ => unreachable!("matched above"),
        }
    }

    pub(super) fn decide_accept_handover(
        &self,
        stream: StreamId,
        (upstream, link_epoch): (StreamId, LinkEpoch),
        term: Term,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        let stream = self.expect_stream(stream)?;
        stream.check_link(upstream, link_epoch)?;
        let offered: Vec<&Topic> = stream
            .carried_topics()
            .map(|topic| &**topic)
            .filter(|topic| topic.owner.stream == upstream)
            .collect();
        if offered.is_empty() && stream.term == term {
            return Ok(Vec::new());
        }
        if stream.highest_term().number >= term.number && stream.seen != term {
            return Err(Error::policy(format!(
                "{} has heard of term {} by now, and does not take term {}; hand it over again",
                stream.path,
                stream.highest_term().number,
                term.number
            )));
        }
        let origins: Vec<OriginTopicId> = offered.iter().map(|topic| topic.origin).collect();
        let owner = Owner { stream: stream.id, term };
        Ok([vec![stream.owner_changed(origins, owner)], stream.doubted(draw.now_ms)].concat())
    }
}

impl Replica {
    fn open_handover(&self) -> Result<&Handover, Error> {
        self.handover
            .as_ref()
            .filter(|handover| handover.is_open())
            .ok_or_else(|| Error::fenced(format!("nothing is being handed over to {}", self.place)))
    }
}

impl Stream {
    /// Refuses a hand-over that could not be finished.
    pub fn check_hand_over_to(&self, replica: &Replica) -> Result<(), Error> {
        self.check_not_handing_over()?;
        if self.own_topics().next().is_none() {
            return Err(Error::policy(format!(
                "no topic belongs to {}, so there is nothing to hand over; run it at the owner (see \
                 `maprcli stream topic list -path {}`)",
                self.path, self.path
            )));
        }
        if replica.replica_id.is_none() || replica.paused {
            return Err(Error::policy(format!(
                "{} is paused or was never reached; let it catch up by `maprcli stream replica \
                 resume` first",
                replica.place
            )));
        }
        let setup = replica.setup.as_ref();
        if setup.is_some_and(|setup| setup.is_open() && !setup.is_failback()) {
            return Err(Error::policy(format!(
                "{} is still being set up or copied to; wait for the end of that",
                replica.place
            )));
        }
        Ok(())
    }

    /// What this stream may hand over.
    pub fn own_topics(&self) -> impl Iterator<Item = &Topic> {
        self.carried_topics().map(|topic| &**topic).filter(|topic| topic.owner.stream == self.id)
    }

    fn with_handover(&self, replica: &Replica, handover: Handover) -> Event {
        let replica = Replica { handover: Some(handover), ..replica.clone() };
        Event::ReplicaSet { stream: self.id, replica }
    }

    /// This stream goes on in a term above the one that it offered. Nothing, if it offered none.
    pub(super) fn taken_back(&self, why: String, draw: &Draw) -> Vec<Event> {
        let Some((replica, handover)) = self.handing_over() else { return Vec::new() };
        let (step, error) = (HandoverStep::TakenBack, Some(why));
        let over = Handover { step, error, ..handover.clone() };
        let owner = Owner { stream: self.id, term: self.next_term(draw) };
        let origins = self.own_topics().map(|topic| topic.origin).collect();
        vec![self.owner_changed(origins, owner), self.with_handover(replica, over)]
    }

    /// The hand-overs that are over, since their term is the owner's.
    pub(super) fn handed_over(&self, terms: impl Iterator<Item = Term>) -> Vec<Event> {
        let Some((replica, handover)) = self.handing_over() else { return Vec::new() };
        let mut terms = terms;
        let done = terms.any(|term| term == handover.term);
        let over = Handover { step: HandoverStep::Done, ..handover.clone() };
        done.then(|| self.with_handover(replica, over)).into_iter().collect()
    }
}
