//! Creating and editing streams.

use mainstem_types::limits::{ACE_LENGTH_MAX, PARTITIONS_PER_TOPIC_MAX};
use mainstem_types::{Error, KafkaName, StreamId, StreamPath, Term, TermId};

use super::Draw;
use crate::{Catalog, Event, StreamPatch, StreamSettings};

impl Catalog {
    pub(super) fn decide_create_stream(
        &self,
        path: &StreamPath,
        id: Option<StreamId>,
        settings: &StreamSettings,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        if self.stream_at(path).is_some() {
            return Err(Error::exists(format!(
                "{path} is already a stream; choose another path or delete it first"
            )));
        }
        if let Some(other) = id.and_then(|id| self.stream(id)) {
            return Err(Error::exists(format!(
                "the stream with uuid {} is already at {}; choose another uuid",
                other.id, other.path
            )));
        }
        check_settings(settings)?;
        // The shortest topic name must fit, or the stream could never hold one.
        KafkaName::of(path, &"t".parse().expect("a legal name"))?;
        self.check_stream_names(path)?;
        Ok(vec![Event::StreamCreated {
            id: id.unwrap_or_else(|| StreamId::from_random((draw.random)())),
            path: path.clone(),
            settings: settings.clone(),
            term: Term { number: 1, id: TermId::from_random((draw.random)()) },
            created_ms: draw.now_ms,
        }])
    }

    pub(super) fn decide_edit_stream(
        &self,
        path: &StreamPath,
        patch: &StreamPatch,
    ) -> Result<Vec<Event>, Error> {
        let stream = self.expect_stream_at(path)?;
        let settings = patch.applied_to(&stream.settings);
        check_settings(&settings)?;
        if settings == stream.settings {
            return Ok(Vec::new());
        }
        Ok(vec![Event::StreamEdited { stream: stream.id, settings }])
    }
}

fn check_settings(settings: &StreamSettings) -> Result<(), Error> {
    check_partition_count(settings.default_partitions)?;
    if settings.ttl_seconds > i64::MAX as u64 / 1000 {
        return Err(Error::invalid("the time to live is too long; give seconds, or 0 to keep"));
    }
    let perms = [
        ("produceperm", &settings.produceperm),
        ("consumeperm", &settings.consumeperm),
        ("topicperm", &settings.topicperm),
        ("copyperm", &settings.copyperm),
        ("adminperm", &settings.adminperm),
    ];
    match perms.iter().find(|(_, ace)| ace.len() > ACE_LENGTH_MAX) {
        Some((name, _)) => Err(Error::limit(format!(
            "-{name} is longer than {ACE_LENGTH_MAX} bytes; use groups instead of single users"
        ))),
        None => Ok(()),
    }
}

/// Refuses what no topic can have.
pub(super) fn check_partition_count(partitions: u32) -> Result<(), Error> {
    if (1..=PARTITIONS_PER_TOPIC_MAX).contains(&partitions) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a topic has 1 to {PARTITIONS_PER_TOPIC_MAX} partitions, not {partitions}"
    )))
}
