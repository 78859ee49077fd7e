//! How producer ids are drawn, so that two clusters never draw the same one.

use mainstem_types::ClusterId;

const COUNTER_BITS: u32 = 24;
const PREFIX_BITS: u32 = 39;

/// The upper half of all producer ids of one incarnation of a cluster: 39 bits, hashed from the
/// cluster's id and the incarnation that its data directory drew. Clusters that link tell each
/// other theirs and refuse an equal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProducerIdPrefix(u64);

impl ProducerIdPrefix {
    /// The prefix of an incarnation of a cluster. It is the same for ever: ids lie in batches.
    pub fn of(cluster: ClusterId, incarnation: u128) -> Self {
        let bytes = cluster.to_bytes().into_iter().chain(incarnation.to_be_bytes());
        // FNV-1a gathers the bytes, the finalizer of SplitMix64 spreads them over the high bits.
        let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((hash ^ (hash >> 31)) >> (64 - PREFIX_BITS))
    }

    /// The prefix of the cluster that gave out `producer_id`; `None` for "no producer".
    pub fn of_producer(producer_id: i64) -> Option<Self> {
        u64::try_from(producer_id).ok().map(|id| Self(id >> COUNTER_BITS))
    }

    /// The 39 bits, as they are sent to a peer.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The id with this prefix and a counter, of which the low 24 bits count.
    pub const fn producer_id(self, counter: u32) -> i64 {
        let counter = counter as u64 & ((1 << COUNTER_BITS) - 1);
        (self.0 << COUNTER_BITS | counter) as i64
    }
}

/// A block of counters that was reserved durably, so that a restart never gives one out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    prefix: ProducerIdPrefix,
    counters: std::ops::Range<u32>,
}

impl ProducerIdBlock {
    /// How many ids one incarnation has to give.
    pub const COUNTERS_MAX: u32 = 1 << COUNTER_BITS;

    /// A reserved block; what lies above the last counter is not given out.
    pub fn new(prefix: ProducerIdPrefix, counters: std::ops::Range<u32>) -> Self {
        let end = counters.end.min(Self::COUNTERS_MAX);
        Self { prefix, counters: counters.start..end }
    }

    /// The next id; `None` when the block is used up.
    pub fn take(&mut self) -> Option<i64> {
        self.counters.next().map(|counter| self.prefix.producer_id(counter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_never_changes_between_releases() {
        let cluster = ClusterId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
        let bits =
            [ProducerIdPrefix::of(cluster, 0).bits(), ProducerIdPrefix::of(cluster, 1).bits()];
        assert_eq!(bits, GOLDEN);
    }

    const GOLDEN: [u64; 2] = [87_556_634_065, 404_576_991_816];

    #[test]
    fn a_block_gives_each_id_once_and_stops_at_the_last_counter() {
        let prefix = ProducerIdPrefix::of(ClusterId(7), 9);
        let end = ProducerIdBlock::COUNTERS_MAX;
        let mut block = ProducerIdBlock::new(prefix, end - 2..end + 5);
        assert_eq!(block.take(), Some(prefix.producer_id(end - 2)));
        assert_eq!(block.take(), Some(prefix.producer_id(end - 1)));
        assert_eq!(block.take(), None);
        assert_eq!(ProducerIdPrefix::of_producer(-1), None);
    }

    proptest! {
        #[test]
        fn ids_are_not_negative_and_tell_their_cluster(
            cluster: u128, incarnation: u128, counter in 0..ProducerIdBlock::COUNTERS_MAX,
        ) {
            let prefix = ProducerIdPrefix::of(ClusterId(cluster), incarnation);
            let id = prefix.producer_id(counter);
            prop_assert!(id >= 0);
            prop_assert_eq!(ProducerIdPrefix::of_producer(id), Some(prefix));
            prop_assert_eq!(id & ((1 << COUNTER_BITS) - 1), i64::from(counter));
        }
    }
}
