//! The replica's half of agreements.

use mainstem_types::limits::UPSTREAMS_PER_STREAM_MAX;
use mainstem_types::{CatalogSeq, Error, LinkEpoch, StreamId};

use super::{Draw, free_slot};
use crate::{Catalog, Event, Place, Stream, Upstream};

impl Catalog {
    pub(super) fn decide_add_upstream(
        &self,
        stream: StreamId,
        place: &Place,
        source_id: Option<StreamId>,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        let stream = self.expect_stream(stream)?;
        self.check_other(stream, place, source_id)?;
        stream.check_room_for_upstream(place, source_id)?;
        Ok(vec![stream.with_upstream(place, source_id, draw)])
    }

    pub(super) fn decide_remove_upstream(
        &self,
        stream: StreamId,
        place: &Place,
    ) -> Result<Vec<Event>, Error> {
        let stream = self.expect_stream(stream)?;
        let upstream = stream.expect_upstream(place)?;
        let (id, link_epoch) = (stream.id, stream.link_epoch.next());
        let mut events = vec![Event::UpstreamRemoved { stream: id, idx: upstream.idx, link_epoch }];
        events.extend(stream.wait_no_more_for(upstream));
        Ok(events)
    }

    pub(super) fn decide_open_link(
        &self,
        stream: StreamId,
        source: &Place,
        source_id: StreamId,
        source_seq: CatalogSeq,
    ) -> Result<Vec<Event>, Error> {
        let stream = self.expect_stream(stream)?;
        self.check_other(stream, source, Some(source_id))?;
        // A uuid is no secret: only the cluster that was agreed on may speak for it.
        let pinned = stream
            .upstream_by_id(source_id)
            .filter(|upstream| upstream.place.cluster == source.cluster);
        let Some(upstream) = pinned.or_else(|| stream.upstream(source)) else {
            let here = Place { cluster: self.cluster.name.clone(), path: stream.path.clone() };
            return Err(Error::denied(format!(
                "{here} does not list {source} as its upstream; run `maprcli stream upstream add \
                 -path {here} -upstream {source}`"
            )));
        };
        if upstream.stream_id.is_some_and(|pinned| pinned != source_id) {
            return Err(Error::policy(format!(
                "{source} is not the stream that {} agreed on (its uuid is {source_id} now); \
                 remove the upstream and add it again",
                stream.path
            )));
        }
        // What was taken over from it here is told, so that it does not go on with that; nothing else
        // comes from it.
        let is_owner = stream.carried_topics().any(|topic| topic.owner.stream == source_id);
        if is_owner && source_seq < upstream.applied_seq {
            return Err(Error::policy(format!(
                "source went backwards: {source} is at catalog sequence {source_seq}, but {} has \
                 seen {}; it was restored from an older state, so set the replica up anew",
                stream.path, upstream.applied_seq
            )));
        }
        let upstream = Upstream {
            stream_id: Some(source_id),
            link_epoch: stream.link_epoch.next(),
            applied_seq: upstream.applied_seq.min(source_seq),
            ..upstream.clone()
        };
        Ok(vec![Event::UpstreamSet { stream: stream.id, upstream }])
    }
}

impl Stream {
    pub(super) fn expect_upstream(&self, place: &Place) -> Result<&Upstream, Error> {
        self.upstream(place).ok_or_else(|| {
            Error::not_found(format!(
                "{place} is not an upstream of {}; see `stream upstream list -path {}`",
                self.path, self.path
            ))
        })
    }

    /// Refuses a place or uuid that is listed, and the 65th.
    pub(super) fn check_room_for_upstream(
        &self,
        place: &Place,
        source_id: Option<StreamId>,
    ) -> Result<(), Error> {
        let same = |upstream: &&Upstream| {
            upstream.place == *place || (source_id.is_some() && upstream.stream_id == source_id)
        };
        if let Some(upstream) = self.upstreams.iter().find(same) {
            return Err(Error::exists(format!(
                "{} is already an upstream of {}; remove it first, or see `stream upstream list`",
                upstream.place, self.path
            )));
        }
        if self.upstreams.len() >= UPSTREAMS_PER_STREAM_MAX {
            return Err(Error::limit(format!(
                "{} has {UPSTREAMS_PER_STREAM_MAX} upstreams, which is the most; remove one first",
                self.path
            )));
        }
        Ok(())
    }

    pub(super) fn with_upstream(
        &self,
        place: &Place,
        source_id: Option<StreamId>,
        draw: &Draw,
    ) -> Event {
        Event::UpstreamSet {
            stream: self.id,
            upstream: Upstream {
                idx: free_slot(self.upstreams.iter().map(|upstream| upstream.idx)),
                place: place.clone(),
                stream_id: source_id,
                link_epoch: LinkEpoch(self.link_epoch.0 + 1),
                applied_seq: CatalogSeq::default(),
                created_ms: draw.now_ms,
                copy: None,
            },
        }
    }
}
