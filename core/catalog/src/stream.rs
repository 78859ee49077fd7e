//! Streams and their topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use mainstem_types::{
    CatalogSeq, Error, ErrorKind, KafkaTopicId, LinkEpoch, OriginTopicId, PartitionNo,
    StreamCompression, StreamId, StreamPath, Term, TermId, TimestampType, TopicName,
};
use minicbor::{Decode, Encode};

use crate::{Handover, Place, Replica, Upstream};

/// A named set of topics: the unit that people administer, secure and replicate.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Its uuid; a replica has one of its own.
    pub id: StreamId,
    /// Where it lies in its cluster.
    pub path: StreamPath,
    /// What `stream create` and `stream edit` set.
    pub settings: StreamSettings,
    /// The term under which topics that begin here are owned.
    pub term: Term,
    /// Rises with every change to what the stream contains.
    pub catalog_seq: CatalogSeq,
    /// The highest epoch that any agreement of this stream has had; new ones start above it.
    pub link_epoch: LinkEpoch,
    /// When it was created here.
    pub created_ms: i64,
    /// The highest term that anyone has told this stream of; the next one is above it.
    pub seen: Term,
    /// Its topics by name.
    pub topics: OrdMap<TopicName, Arc<Topic>>,
    /// The names of its topics by their origin.
    pub(crate) names: OrdMap<OriginTopicId, TopicName>,
    /// Deleted topics that somebody might still bring back.
    pub tombstones: OrdMap<OriginTopicId, Tombstone>,
    /// To whom it is replicated, by slot.
    pub replicas: Vec<Replica>,
    /// From whom it is replicated, by slot.
    pub upstreams: Vec<Upstream>,
}

impl Stream {
    /// The topic of that name.
    pub fn topic(&self, name: &TopicName) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The topic of that origin.
    pub fn topic_by_origin(&self, origin: OriginTopicId) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&origin)?)
    }

    /// Whether a copy or an import fills it now, after which what came belongs to it.
    pub fn is_loading(&self) -> bool {
        self.upstreams.iter().any(|upstream| upstream.copy.is_some())
    }

    /// The topics that links carry: all but those that keep what was set aside here.
    pub fn carried_topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values().filter(|topic| topic.aside.is_none())
    }

    /// A topic of another stream that none of the upstreams can bring: neither is its owner, or has
    /// told it for the owner.
    pub fn stray_topic(&self) -> Option<&Topic> {
        self.carried_topics().map(|topic| &**topic).find(|topic| self.is_stray(topic))
    }

    pub(crate) fn is_stray(&self, topic: &Topic) -> bool {
        let is_upstream = |id: &StreamId| self.upstream_by_id(*id).is_some();
        // One that has not called yet may be anybody.
        let is_known = self.upstreams.iter().all(|upstream| upstream.stream_id.is_some());
        let owner = topic.owner.stream;
        let is_brought = is_upstream(&owner) || topic.told_by.iter().any(is_upstream);
        owner != self.id && is_known && !is_brought
    }

    /// The agreement with the replica at `place`.
    pub fn replica(&self, place: &Place) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.place == *place)
    }

    /// The agreement with the upstream at `place`.
    pub fn upstream(&self, place: &Place) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.place == *place)
    }

    /// The agreement with the upstream whose uuid is pinned as `source`.
    pub fn upstream_by_id(&self, source: StreamId) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.stream_id == Some(source))
    }

    /// Whether the stream takes what it takes from `upstream` and also feeds it.
    pub fn is_multimaster_with(&self, upstream: &Upstream) -> bool {
        self.replicas.iter().any(|replica| {
            replica.place == upstream.place
                || (replica.replica_id.is_some() && replica.replica_id == upstream.stream_id)
        })
    }

    /// Whether a client's mere mention of a topic may create it: by the stream's `autocreate`,
    /// and never in a replica, lest a consumer that is early brings a rival into being.
    pub fn may_autocreate(&self) -> bool {
        self.settings.autocreate && self.upstreams.iter().all(|u| self.is_multimaster_with(u))
    }

    /// Refuses a local write to a topic that somebody else owns (I5), or that keeps what was set
    /// aside (I8).
    pub fn check_local_write(&self, topic: &Topic) -> Result<(), Error> {
        if let Some(aside) = &topic.aside {
            return Err(Error::policy(format!(
                "topic {} of {} keeps records that were set aside and is not written to; produce \
                 what you want to keep to the owner of {}",
                topic.name, self.path, aside.name
            )));
        }
        self.check_owned(topic, "write to it there")?;
        self.check_not_handing_over()
    }

    /// Refuses, for a while, what a replica that is to be the owner would not get.
    pub fn check_not_handing_over(&self) -> Result<(), Error> {
        let Some((replica, _)) = self.handing_over() else { return Ok(()) };
        Err(Error::new(
            ErrorKind::HandingOver,
            format!(
                "{} is being handed over to {}; try again, here or there (see `maprcli stream \
                 replica list -path {}`)",
                self.path, replica.place, self.path
            ),
        ))
    }

    /// The hand-over that is under way, and to whom.
    pub fn handing_over(&self) -> Option<(&Replica, &Handover)> {
        self.replicas.iter().find_map(|replica| {
            let handover = replica.handover.as_ref().filter(|handover| handover.is_open())?;
            Some((replica, handover))
        })
    }

    /// Refuses what only the topic's owner may do, and says what to do instead.
    pub(crate) fn check_owned(&self, topic: &Topic, instead: &str) -> Result<(), Error> {
        if topic.owner.stream == self.id {
            return Ok(());
        }
        let owner = topic.owner.stream;
        let by_replica =
            || self.replicas.iter().find(|r| r.replica_id == Some(owner)).map(|r| &r.place);
        let place = self.upstream_by_id(owner).map(|upstream| &upstream.place).or_else(by_replica);
        let from = place
            .map_or_else(|| format!("the stream with uuid {owner}"), |place| place.to_string());
        Err(Error::policy(format!(
            "topic {} of {} is replicated from {from}; {instead}",
            topic.name, self.path
        )))
    }

    /// The agreement under which a link writes here, if it still stands in that epoch (I6).
    pub fn check_link(&self, source: StreamId, epoch: LinkEpoch) -> Result<&Upstream, Error> {
        let Some(upstream) = self.upstream_by_id(source) else {
            return Err(Error::fenced(format!(
                "{} no longer lists the stream with uuid {source} as its upstream",
                self.path
            )));
        };
        if upstream.link_epoch != epoch {
            return Err(Error::fenced(format!(
                "link epoch {epoch} from {} was superseded by {}; say Hello again",
                upstream.place, upstream.link_epoch
            )));
        }
        Ok(upstream)
    }
}

/// What `stream create` and `stream edit` set, with the original's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StreamSettings {
    /// Seconds that a record is kept after it arrived; 0 keeps for ever.
    #[n(0)]
    pub ttl_seconds: u64,
    /// Whether a first publish creates its topic.
    #[n(1)]
    pub autocreate: bool,
    /// Partitions of a topic that does not say otherwise.
    #[n(2)]
    pub default_partitions: u32,
    /// Shown, and what a link's compression defaults to.
    #[n(3)]
    pub compression: StreamCompression,
    /// Whose clock stamps records, where the topic does not say otherwise.
    #[n(4)]
    pub default_timestamp_type: TimestampType,
    /// Who may produce (normalised access control expression).
    #[n(5)]
    pub produceperm: String,
    /// Who may consume.
    #[n(6)]
    pub consumeperm: String,
    /// Who may create, edit and delete topics.
    #[n(7)]
    pub topicperm: String,
    /// Who may copy.
    #[n(8)]
    pub copyperm: String,
    /// Who may administer.
    #[n(9)]
    pub adminperm: String,
    /// A changelog's topics keep their number of partitions.
    #[n(10)]
    pub is_changelog: bool,
    /// Seconds after which an idle producer's state is forgotten.
    #[n(11)]
    pub pid_expiry_seconds: u64,
    /// Whether only the newest record of a key is kept.
    #[n(12)]
    pub compact: bool,
    /// Milliseconds for which compaction leaves a record alone.
    #[n(13)]
    pub min_compaction_lag_ms: u64,
    /// Milliseconds for which compaction keeps a key's deletion.
    #[n(14)]
    pub delete_retention_ms: u64,
    /// Seconds that a replica may be behind before an alarm is raised, 0 for never; `None` for
    /// [`LAG_ALARM_SECONDS`].
    #[n(15)]
    pub lag_alarm_seconds: Option<u32>,
}

/// A minute: replicas are behind by milliseconds as long as nothing is wrong.
pub const LAG_ALARM_SECONDS: u32 = 60;

impl StreamSettings {
    /// The lag at which an alarm is raised; `None` for never.
    pub fn lag_alarm_ms(&self) -> Option<u64> {
        let seconds = self.lag_alarm_seconds.unwrap_or(LAG_ALARM_SECONDS);
        (seconds > 0).then_some(u64::from(seconds) * 1000)
    }
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            ttl_seconds: 604_800,
            autocreate: true,
            default_partitions: 1,
            compression: StreamCompression::default(),
            default_timestamp_type: TimestampType::default(),
            produceperm: String::new(),
            consumeperm: String::new(),
            topicperm: String::new(),
            copyperm: String::new(),
            adminperm: String::new(),
            is_changelog: false,
            pid_expiry_seconds: 604_800,
            compact: false,
            min_compaction_lag_ms: 0,
            delete_retention_ms: 86_400_000,
            lag_alarm_seconds: None,
        }
    }
}

/// A topic of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Topic {
    /// Its identity everywhere and for ever.
    #[n(0)]
    pub origin: OriginTopicId,
    /// Its identity for Kafka clients of this cluster.
    #[n(1)]
    pub kafka_id: KafkaTopicId,
    /// Its bare name.
    #[n(2)]
    pub name: TopicName,
    /// This stream's sequence when it was created.
    #[n(3)]
    pub first_seq: CatalogSeq,
    /// This stream's sequence when it was last changed.
    #[n(4)]
    pub changed_seq: CatalogSeq,
    /// The owner's sequence when it was last changed there; orders changes that arrive by two ways.
    #[n(5)]
    pub owner_seq: CatalogSeq,
    /// Number in the log of each partition, by index; never shrinks.
    #[cbor(n(6), with = "crate::partition_runs")]
    pub partitions: Vec<PartitionNo>,
    /// Whose clock stamps its records.
    #[n(7)]
    pub timestamp_type: TimestampType,
    /// Kafka topic configs, as given.
    #[n(8)]
    pub config: BTreeMap<String, String>,
    /// Who may write it (I5).
    #[n(9)]
    pub owner: Owner,
    /// When it was created at its owner.
    #[n(10)]
    pub created_ms: i64,
    /// Upstreams that told it and do not own it: each may bring it back until it tells the
    /// deletion.
    #[cbor(n(13), default, skip_if = "Vec::is_empty")]
    pub told_by: Vec<StreamId>,
    /// What it keeps, if it keeps what a fail-over left behind (I8).
    #[n(11)]
    pub aside: Option<Aside>,
}

/// Where the records of a topic come from that keeps what was set aside: records of another topic
/// that its present owner does not have.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Aside {
    /// The topic that they were written to.
    #[n(0)]
    pub origin: OriginTopicId,
    /// Its name.
    #[n(1)]
    pub name: TopicName,
    /// Who wrote them.
    #[n(2)]
    pub written_by: StreamId,
    /// In which term.
    #[n(3)]
    pub written_in: TermId,
    /// The owner whose term displaced them.
    #[n(4)]
    pub displaced_by: Owner,
    /// When they were set aside.
    #[n(5)]
    pub set_aside_ms: i64,
}

impl Topic {
    /// The log's number of a partition.
    pub fn partition(&self, index: u32) -> Option<PartitionNo> {
        self.partitions.get(index as usize).copied()
    }

    /// Whether it stands although its owner of then deleted it in the term of this number: it was
    /// promoted elsewhere before that was heard there.
    pub fn outlives(&self, deleted_in: Option<u64>) -> bool {
        deleted_in.is_some_and(|number| number < self.owner.term.number)
    }

    /// How many partitions it has.
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).expect("at most 4096 partitions, checked in decide")
    }
}

/// Who may write a topic: a stream in a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Owner {
    /// The owning stream; another stream's uuid means: replicated, no local writes.
    #[n(0)]
    pub stream: StreamId,
    /// Its term.
    #[n(1)]
    pub term: Term,
}

/// That a topic was deleted, so that a late create or batch does not bring it back.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Tombstone {
    /// The deleted topic.
    #[n(0)]
    pub origin: OriginTopicId,
    /// Its name.
    #[n(1)]
    pub name: TopicName,
    /// This stream's sequence at the deletion.
    #[n(2)]
    pub seq: CatalogSeq,
    /// The owner's sequence at the deletion.
    #[n(3)]
    pub owner_seq: CatalogSeq,
    /// Upstreams that told the topic and have not told its deletion.
    #[cbor(n(4), default, skip_if = "Vec::is_empty")]
    pub waits_for: Vec<StreamId>,
    /// The number of the term in which its owner deleted it, if that is known.
    #[n(5)]
    pub term: Option<u64>,
    /// Whose it was as it was deleted here, if that is known.
    #[n(6)]
    pub owner: Option<StreamId>,
}

impl Tombstone {
    /// Whether a topic of this term stands although the deletion is known: its owner was promoted
    /// before it heard of that, so the deletion was an old master's.
    pub fn is_outlived_by(&self, term: Term) -> bool {
        self.term.is_some_and(|deleted_in| deleted_in < term.number)
    }
}
