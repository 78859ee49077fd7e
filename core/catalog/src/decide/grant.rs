//! What an autosetup or a copy may do at its destination: idempotent by the replica's uuid.

use mainstem_types::{CatalogSeq, Error, StreamId};

use super::replica::check_replica_settings;
use super::{Draw, free_slot};
use crate::{Catalog, Command, Event, Grant, GrantId, Place, Replica, Stream, StreamSettings};

/// Grants that are not yet expired.
const GRANTS_MAX: usize = 1024;

impl Catalog {
    pub(super) fn decide_issue_grant(
        &self,
        command: &Command,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        let Command::IssueGrant {
            grant,
            replica_path,
            replica_id,
            source,
            source_id,
            multimaster,
            use_existing,
            copy,
            expires_ms,
        } = command
        else {
            unreachable!("called for that command only")
        };
        match (self.stream_at(replica_path), use_existing) {
            (Some(_), false) => {
                return Err(Error::exists(format!(
                    "{replica_path} is already a stream; choose another path, delete it first, or \
                     give -useexistingreplica true"
                )));
            }
            (Some(stream), true) if stream.id != *replica_id => {
                return Err(Error::exists(format!(
                    "the stream at {replica_path} has the uuid {}, not {replica_id}; try again",
                    stream.id
                )));
            }
            (None, true) => return self.expect_stream_at(replica_path).map(|_| Vec::new()),
            (None, false) if self.stream(*replica_id).is_some() => {
                return Err(Error::exists(format!("uuid {replica_id} is taken; try again")));
            }
            (None, false) => self.check_stream_names(replica_path)?,
            (Some(_), true) => {}
        }
        if *copy && let Some(stream) = self.stream(*replica_id) {
            stream.check_not_upstream(source, *source_id)?;
        }
        if *replica_id == *source_id {
            return Err(Error::invalid(format!("{source} cannot be a replica of itself")));
        }
        let expired = self.grants.values().filter(|grant| grant.expires_ms <= draw.now_ms);
        let mut events: Vec<Event> =
            expired.map(|grant| Event::GrantDropped { grant: grant.id }).collect();
        if self.grants.len() - events.len() >= GRANTS_MAX {
            return Err(Error::limit(
                "too many autosetups and copies are under way; try again later",
            ));
        }
        events.push(Event::GrantIssued {
            grant: Grant {
                id: *grant,
                replica_path: replica_path.clone(),
                replica_id: *replica_id,
                source: source.clone(),
                source_id: *source_id,
                multimaster: *multimaster,
                use_existing: *use_existing,
                expires_ms: *expires_ms,
                copy: *copy,
            },
        });
        Ok(events)
    }

    pub(super) fn decide_by_grant(
        &self,
        command: &Command,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        use Command as C;
        let (C::CreateByGrant { grant, replica_id, .. }
        | C::AddUpstreamByGrant { grant, replica_id }
        | C::AddReplicaByGrant { grant, replica_id, .. }
        | C::TakeOverByGrant { grant, replica_id, .. }
        | C::RollbackByGrant { grant, replica_id }) = command
        else {
            unreachable!("called for commands by grant only")
        };
        let grant = self.check_grant(*grant, *replica_id)?;
        match command {
            C::CreateByGrant { settings, .. } => self.create_by_grant(grant, settings, draw),
            C::AddUpstreamByGrant { .. } => {
                let stream = self.granted_stream(grant)?;
                if grant.copy {
                    return stream.copy_upstream(grant, draw);
                }
                let unpinned =
                    stream.upstream(&grant.source).is_some_and(|u| u.stream_id.is_none());
                if unpinned || stream.upstream_by_id(grant.source_id).is_some() {
                    return Ok(Vec::new());
                }
                check_fresh(grant, draw)?;
                stream.check_room_for_upstream(&grant.source, Some(grant.source_id))?;
                Ok(vec![stream.with_upstream(&grant.source, Some(grant.source_id), draw)])
            }
            C::AddReplicaByGrant { settings, .. } => {
                check_replica_settings(settings)?;
                self.replica_by_grant(grant, *settings, draw)
            }
            C::TakeOverByGrant { topics, more, .. } => self.take_over(grant, topics, *more, draw),
            C::RollbackByGrant { .. } if grant.copy => Ok(self.rollback_copy(grant)),
            C::RollbackByGrant { .. } => Ok(self.rollback(grant)),
            _ => unreachable!("matched above"),
        }
    }

    /// Refuses whoever shows no grant for this replica and source.
    ///
    /// # Errors
    /// `Denied`.
    pub fn check_granted(
        &self,
        grant: GrantId,
        replica_id: StreamId,
        source_id: StreamId,
    ) -> Result<(), Error> {
        let grant = self.check_grant(grant, replica_id)?;
        if grant.source_id == source_id {
            return Ok(());
        }
        Err(Error::denied("this grant is for another source; give the command again"))
    }

    pub(super) fn check_grant(&self, id: GrantId, replica_id: StreamId) -> Result<&Grant, Error> {
        self.grants.get(&id).filter(|grant| grant.replica_id == replica_id).ok_or_else(|| {
            Error::denied("this grant is unknown here or has expired; give the command again")
        })
    }

    /// The stream that the grant is for, if it is there.
    pub(super) fn granted_stream(&self, grant: &Grant) -> Result<&Stream, Error> {
        match self.stream_at(&grant.replica_path) {
            Some(stream) if stream.id == grant.replica_id => Ok(stream),
            Some(_) => Err(taken(grant)),
            None => Err(Error::not_found(format!(
                "{} is not a valid stream; it was deleted during its setup",
                grant.replica_path
            ))),
        }
    }

    fn create_by_grant(
        &self,
        grant: &Grant,
        settings: &StreamSettings,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        match self.stream_at(&grant.replica_path) {
            Some(stream) if stream.id == grant.replica_id => Ok(Vec::new()),
            Some(_) => Err(taken(grant)),
            None => {
                check_fresh(grant, draw)?;
                let path = &grant.replica_path;
                self.decide_create_stream(path, Some(grant.replica_id), settings, draw)
            }
        }
    }

    fn replica_by_grant(
        &self,
        grant: &Grant,
        settings: crate::ReplicaSettings,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        let stream = self.granted_stream(grant)?;
        if !grant.multimaster {
            return Err(Error::denied("this grant is for one direction; give -multimaster true"));
        }
        if stream.replicas.iter().any(|r| r.replica_id == Some(grant.source_id)) {
            return Ok(Vec::new());
        }
        check_fresh(grant, draw)?;
        stream.check_room_for_replica(&grant.source)?;
        Ok(vec![Event::ReplicaSet {
            stream: stream.id,
            replica: Replica {
                idx: free_slot(stream.replicas.iter().map(|replica| replica.idx)),
                place: grant.source.clone(),
                replica_id: Some(grant.source_id),
                settings,
                paused: false,
                link_epoch: stream.link_epoch.next(),
                acked_tombstone_seq: CatalogSeq::default(),
                created_ms: draw.now_ms,
                setup: None,
                sync_state: settings.first_sync_state(),
                windows: Vec::new(),
                handover: None,
            },
        }])
    }

    /// Deletes the replica if it is the one that was made, and holds nothing that anyone else
    /// brought; the grant goes in any case.
    fn rollback(&self, grant: &Grant) -> Vec<Event> {
        let untouched = |stream: &&Stream| {
            if grant.use_existing {
                return false;
            }
            let from_source = |place: &Place| *place == grant.source;
            stream.upstreams.iter().all(|upstream| from_source(&upstream.place))
                && stream.replicas.iter().all(|replica| from_source(&replica.place))
                && stream.topics.values().all(|topic| topic.owner.stream != stream.id)
        };
        let ours = self.granted_stream(grant).ok().filter(untouched);
        let deleted = ours.map(|stream| Event::StreamDeleted { stream: stream.id });
        deleted.into_iter().chain([Event::GrantDropped { grant: grant.id }]).collect()
    }
}

fn taken(grant: &Grant) -> Error {
    Error::exists(format!(
        "{} is another stream by now; choose another path or delete it first",
        grant.replica_path
    ))
}

/// An expired grant may be used to confirm what was done, not to begin anything.
pub(super) fn check_fresh(grant: &Grant, draw: &Draw) -> Result<(), Error> {
    if draw.now_ms < grant.expires_ms {
        return Ok(());
    }
    Err(Error::denied("this grant has expired; give the command again"))
}

impl Catalog {
    /// The place of a stream of this cluster, as others name it.
    pub fn place(&self, stream: &Stream) -> Place {
        Place { cluster: self.cluster.name.clone(), path: stream.path.clone() }
    }
}
