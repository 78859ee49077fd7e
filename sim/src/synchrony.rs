//! Synchronous replicas: who asks for them, and what must hold of acknowledgements and watermarks.

use mainstem_catalog::{
    Command, Replica, ReplicaPatch, ReplicaSettings, SyncPolicy, SyncState, SyncTimeoutMs,
};
use mainstem_engine::{AckedEnd, Engine, Partition, ReplicaLink};
use mainstem_env::Random;
use mainstem_gateway::translate;
use mainstem_link::{Batches, End};
use mainstem_record::BatchHeader;
use mainstem_types::{LinkEpoch, OriginTopicId};

use crate::Plant;
use crate::connection::SenderSide;
use crate::node::{Answer, Purpose};
use crate::producer::{Acknowledged, batch_id};
use crate::world::World;

/// What people and links do.
impl World {
    /// Every other seed has synchronous replicas, most of the time.
    pub(crate) fn replica_settings(&self) -> ReplicaSettings {
        if !self.synchronous {
            return ReplicaSettings::default();
        }
        let timeout_ms = 200 + self.random.below(1_500);
        ReplicaSettings {
            synchronous: self.random.below(5) != 0,
            sync_timeout_ms: SyncTimeoutMs(u32::try_from(timeout_ms).expect("a small number")),
            sync_policy: self.policy(),
            ..ReplicaSettings::default()
        }
    }

    fn policy(&self) -> SyncPolicy {
        if self.random.below(3) == 0 { SyncPolicy::Refuse } else { SyncPolicy::Degrade }
    }

    /// Somebody changes his mind about a replica.
    pub(crate) fn change_synchrony(&mut self, link: usize) {
        let patch = ReplicaPatch {
            synchronous: Some(self.synchronous && self.random.below(3) != 0),
            sync_policy: Some(self.policy()),
            ..ReplicaPatch::default()
        };
        self.edit_replica(link, patch);
    }

    /// A topic whose name is taken at the replica never comes there: nobody may insist on it.
    pub(crate) fn insist_on_nobody(&mut self) {
        for link in 0..self.links.len() {
            let sync_policy = Some(SyncPolicy::Degrade);
            self.edit_replica(link, ReplicaPatch { sync_policy, ..ReplicaPatch::default() });
        }
    }

    fn edit_replica(&mut self, link: usize, patch: ReplicaPatch) {
        let (site, replica) = (self.links[link].source, self.replica_place(link));
        let edit = Command::EditReplica { stream: self.id(site), replica, patch };
        self.node_mut(site).change(Purpose::Whatever, edit);
    }

    /// What a session says that its replica has.
    pub(crate) fn note_acked(&mut self, link: usize, side: &SenderSide, ends: &[End]) {
        self.tell_acked(link, side.epoch, translate::acked_ends(ends));
    }

    fn tell_acked(&mut self, link: usize, link_epoch: LinkEpoch, ends: Vec<AckedEnd>) {
        let (site, replica) = (self.links[link].source, self.replica_place(link));
        let stream = self.id(site);
        let engine = self.engine(site).clone();
        self.node_mut(site).submit(Purpose::Whatever, async move {
            let link = ReplicaLink { stream, replica, link_epoch };
            Answer::Done(engine.note_acked(link, ends).await)
        });
    }

    /// For a planted bug: what was sent is taken for acknowledged.
    pub(crate) fn note_sent(&mut self, link: usize, side: &SenderSide, batches: &Batches) {
        if self.plant == Plant::AckBeforeReplica {
            let (origin, partition) = (batches.origin, batches.partition);
            self.note_acked(link, side, &[End { origin, partition, offset: batches.to }]);
        }
    }

    /// For planted bugs: a replica that is in force and not connected is taken to have everything.
    pub(crate) fn pretend_acked(&mut self, site: usize) {
        for link in 0..self.links.len() {
            let connected = self.connections.values().any(|c| c.link == link && c.sender.is_some());
            if self.links[link].source != site || connected {
                continue;
            }
            let catalog = self.catalog(site);
            let Some((stream, replica)) = self.find_replica(&catalog, link) else { continue };
            if replica.sync_state != SyncState::InForce {
                continue;
            }
            let owned = stream.topics.values().filter(|topic| topic.owner.stream == stream.id);
            let partitions = owned.flat_map(|topic| {
                (0u32..).zip(&topic.partitions).map(|(index, no)| (topic.origin, index, *no))
            });
            let engine = self.engine(site);
            let end = |(topic, partition, no)| {
                let offset = engine.partition(no)?.durable_end();
                Some(AckedEnd { topic, partition, offset })
            };
            let ends = partitions.filter_map(end).collect();
            self.tell_acked(link, replica.link_epoch, ends);
        }
    }
}

/// What must hold.
impl World {
    /// I1: whoever is in force when a batch is acknowledged has it, durably.
    pub(crate) fn check_in_force(&mut self, site: usize, promise: &Acknowledged) {
        let key = (promise.origin, promise.index);
        let next = promise.base_offset + i64::from(promise.count);
        if self.partition(site, key).is_none() {
            return; // The topic was deleted meanwhile.
        }
        for (replica, at) in self.in_force(site) {
            let end = self.partition(at, key).map_or(0, |partition| partition.durable_end());
            if end < next {
                let message = format!(
                    "{promise:?} was acknowledged, and {} in force ends at {end}",
                    replica.place
                );
                self.violate("I1 in force", message);
            }
            self.sync.promised.push((at, promise.clone()));
        }
    }

    /// Replicas in force of a node's stream, and where they lie.
    pub(crate) fn in_force(&self, site: usize) -> Vec<(Replica, usize)> {
        let catalog = self.catalog(site);
        let links = self.links.iter().enumerate().filter(|(_, link)| link.source == site);
        let found = links.filter_map(|(at, link)| {
            let (_, replica) = self.find_replica(&catalog, at)?;
            (replica.sync_state == SyncState::InForce).then_some((replica, link.replica))
        });
        found.collect()
    }

    /// Readers see no more than is everywhere where it must be, and never less than before.
    pub(crate) fn check_watermarks(&mut self) {
        for site in 0..self.sites.len() {
            let in_force = self.in_force(site);
            for (key, partition) in self.partitions_at(site, true) {
                let seen = partition.high_watermark();
                let before = self.sync.now.insert((site, key.0, key.1), seen).unwrap_or(0);
                if seen < before {
                    self.violate("watermark", format!("it fell from {before} to {seen}"));
                }
                let ever = self.sync.ever.get(&key).copied().unwrap_or(0);
                for (replica, at) in &in_force {
                    let end = self.partition(*at, key).map_or(0, |there| there.durable_end());
                    if seen > ever.max(end) {
                        let message = format!(
                            "{seen} is shown, and {} in force ends at {end}",
                            replica.place
                        );
                        self.violate("watermark", message);
                    }
                }
                self.sync.ever.insert(key, ever.max(seen));
            }
        }
        for site in 0..self.sites.len() {
            if self.stream(site).is_some_and(|stream| stream.upstreams.is_empty()) {
                self.note_orphans(site);
            }
        }
        for site in 0..self.sites.len() {
            for (key, partition) in self.partitions_at(site, false) {
                let (seen, ever) = (partition.high_watermark(), self.sync.ever.get(&key).copied());
                let orphaned = self.sync.orphaned.get(&key).copied().unwrap_or(0);
                if seen > ever.unwrap_or(0).max(partition.log_start()).max(orphaned) {
                    let message = format!("a replica shows {seen}, its owner at most {ever:?}");
                    self.violate("watermark", message);
                }
            }
        }
    }

    /// A site without upstreams shows all that it has, and passes that on.
    pub(crate) fn note_orphans(&mut self, site: usize) {
        for (key, partition) in self.partitions_at(site, false) {
            let orphaned = self.sync.orphaned.entry(key).or_default();
            *orphaned = partition.high_watermark().max(*orphaned);
        }
    }

    /// The source is lost for good, or the replica is promoted: what was acknowledged while it was
    /// in force is there.
    pub(crate) fn check_promised(&mut self, is_meant: impl Fn(usize) -> bool) {
        let promised = std::mem::take(&mut self.sync.promised);
        let (meant, rest): (Vec<_>, Vec<_>) =
            promised.into_iter().partition(|(at, _)| is_meant(*at));
        self.sync.promised = rest;
        for (at, promise) in meant {
            let Some(partition) = self.partition(at, (promise.origin, promise.index)) else {
                continue; // Deleted, here as at the source.
            };
            // Retention took it, here or before it came here, or compaction may have.
            let key = (promise.origin, promise.index);
            let taken = partition.log_start().max(partition.marks().compacted);
            if promise.base_offset < taken.max(self.kept_from(at, key)) {
                continue;
            }
            let found = partition.read(promise.base_offset, 1).ok();
            let header = found.and_then(|found| BatchHeader::decode(&found.first()?.bytes).ok());
            let is_there = header.is_some_and(|header| batch_id(&header) == promise.id());
            if !is_there {
                self.violate("I1 in force", format!("{promise:?} is not at the replica"));
            }
        }
    }

    /// What is set aside at a site is not promised there any more.
    pub(crate) fn forget_promises(&mut self, site: usize, key: (OriginTopicId, u32), end: i64) {
        self.sync.promised.retain(|(at, promise)| {
            *at != site || (promise.origin, promise.index) != key || promise.base_offset < end
        });
    }

    /// Whether everything that is durable is shown.
    pub(crate) fn is_shown(&self) -> Result<(), String> {
        for site in 0..self.sites.len() {
            let all = [true, false].into_iter().flat_map(|owned| self.partitions_at(site, owned));
            for (key, partition) in all.filter(|(key, _)| self.stands(key.0)) {
                let (seen, end) = (partition.high_watermark(), partition.durable_end());
                if seen != end {
                    return Err(format!("{} {} is shown to {seen}, not to {end}", key.0, key.1));
                }
            }
        }
        Ok(())
    }

    fn partitions_at(
        &self,
        site: usize,
        owned: bool,
    ) -> Vec<((OriginTopicId, u32), std::sync::Arc<Partition>)> {
        let Some(stream) = self.stream(site) else { return Vec::new() };
        let engine: &Engine = self.engine(site);
        let topics =
            stream.topics.values().filter(|topic| (topic.owner.stream == stream.id) == owned);
        let partitions = topics.flat_map(|topic| {
            let of_topic = (0u32..).zip(&topic.partitions);
            of_topic.filter_map(|(index, no)| Some(((topic.origin, index), engine.partition(*no)?)))
        });
        partitions.collect()
    }
}
