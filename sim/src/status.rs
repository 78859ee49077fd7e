//! I9: what status says of a link, against what is so.

use mainstem_catalog::Stream;
use mainstem_engine::Partition;
use mainstem_gateway::backlog::Backlog;
use mainstem_record::BatchHeader;
use mainstem_replicate::Account;
use mainstem_types::{OriginTopicId, StreamId};

use crate::Plant;
use crate::truth::batches_from;
use crate::world::World;

/// Reading every pending batch costs more than all the rest of an event.
const COUNT_EVERY: u64 = 5;

impl World {
    /// After every event, for every link: nothing that is missing at the replica is left out of
    /// what counts as pending, nothing more than what its own words leave open is counted, and
    /// "up to date" means that every topic is there, to its end.
    pub(crate) fn check_status(&mut self) {
        for link in 0..self.links.len() {
            if let Err(lie) = self.is_told_truly(link) {
                self.violate("I9", lie);
            }
        }
    }

    fn is_told_truly(&mut self, link: usize) -> Result<(), String> {
        let (source, replica_site) = (self.links[link].source, self.links[link].replica);
        let catalog = self.catalog(source);
        let Some((stream, replica)) = self.find_replica(&catalog, link) else {
            self.links[link].account = Account::default();
            return Ok(());
        };
        let account = &self.links[link].account;
        let engine = &self.nodes[self.sites[source].node].engine;
        let told = Backlog::count(engine, &stream, replica.replica_id, account);
        let target = self.sites[replica_site].stream;
        let up_to_date = match self.plant {
            Plant::OnlyRecordsCount => told.records == 0 && account.is_heard(),
            _ => told.is_none(&stream, account),
        };
        let mut least_records = 0;
        let count = self.event().is_multiple_of(COUNT_EVERY);
        for (origin, index, ours) in self.partitions_of(link, &stream, Some(target)) {
            let end = ours.durable_end();
            let theirs = self.partition(replica_site, (origin, index));
            let held = theirs.map(|partition| partition.durable_end());
            // One that is fed by another way too may be ahead of this source, and have heard of a
            // deletion first.
            let is_behind = held.map_or(self.stands(origin), |held| held < end);
            if up_to_date && is_behind {
                return Err(format!(
                    "called up to date while partition {index} of {origin} ends at {end} here and \
                     at {held:?} there"
                ));
            }
            if count && (held.is_some() || self.stands(origin)) {
                least_records += records_from(&ours, held.unwrap_or(0));
            }
        }
        if !count {
            return Ok(());
        }
        let mut most = Backlog::default();
        for (origin, index, ours) in self.partitions_of(link, &stream, replica.replica_id) {
            add(&mut most, &ours, account.end(origin, index));
        }
        if told.records < least_records {
            return Err(format!("{least_records} records are missing, {} told", told.records));
        }
        if told != most {
            return Err(format!("what the replica's words leave open is {most:?}, told {told:?}"));
        }
        Ok(())
    }

    /// What a source keeps for its replica: all but the topics that are the replica's own.
    fn partitions_of(
        &self,
        link: usize,
        stream: &Stream,
        target: Option<StreamId>,
    ) -> Vec<(OriginTopicId, u32, std::sync::Arc<Partition>)> {
        let topics = stream.topics.values().filter(|topic| Some(topic.owner.stream) != target);
        let engine = &self.nodes[self.sites[self.links[link].source].node].engine;
        let partitions = topics.flat_map(|topic| {
            (0u32..).zip(&topic.partitions).map(|(index, no)| (topic.origin, index, *no))
        });
        partitions.filter_map(|(topic, at, no)| Some((topic, at, engine.partition(no)?))).collect()
    }
}

/// Counted batch by batch, as the index never does.
fn add(sum: &mut Backlog, partition: &Partition, held: Option<i64>) {
    if held.is_some_and(|held| held >= partition.durable_end()) {
        return;
    }
    sum.partitions += 1;
    // Whatever is not kept, and was not deleted by who owns it.
    let wanted = held.map(|held| held.max(partition.marks().trimmed));
    sum.expired += wanted.map_or(0, |wanted| (wanted..partition.log_start()).count() as u64);
    for batch in batches_from(partition, held.unwrap_or(0)) {
        sum.bytes += batch.bytes.len() as u64;
        sum.records += records_in(&batch.bytes);
        sum.newest_ms = sum.newest_ms.max(batch.arrival_ms);
        if sum.oldest_ms == 0 || batch.arrival_ms < sum.oldest_ms {
            sum.oldest_ms = batch.arrival_ms;
        }
    }
}

fn records_from(partition: &Partition, from: i64) -> u64 {
    batches_from(partition, from).iter().map(|batch| records_in(&batch.bytes)).sum()
}

fn records_in(batch: &[u8]) -> u64 {
    let header = BatchHeader::decode(batch).expect("checked when it was taken");
    u64::try_from(header.record_count).expect("not negative")
}
