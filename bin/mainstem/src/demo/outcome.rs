//! What was sent against what is there: the counts by which the demo is judged.

use std::collections::HashMap;

use super::readback::PartitionContent;

/// The end of the story, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Records that the producer was told are safe.
    pub(crate) sent: u64,
    /// Records at the replica.
    pub(crate) replicated: u64,
    /// Records that are there more than once, on either side.
    pub(crate) duplicates: u64,
    /// Acknowledged records that are missing, on either side.
    pub(crate) lost: u64,
    /// Records that are not the same on both sides.
    pub(crate) different: u64,
}

impl Outcome {
    /// Compares both sides with what was sent, and with each other record by record and byte by
    /// byte. Each record's key says which of the sent ones it is.
    pub(crate) fn of(sent: u64, source: &[PartitionContent], replica: &[PartitionContent]) -> Self {
        let (source_missing, source_repeated) = account(sent, source);
        let (replica_missing, replica_repeated) = account(sent, replica);
        Self {
            sent,
            replicated: replica.iter().map(|partition| partition.records.len() as u64).sum(),
            duplicates: source_repeated.max(replica_repeated),
            lost: source_missing.max(replica_missing),
            different: differences(source, replica),
        }
    }

    pub(crate) fn is_perfect(&self) -> bool {
        *self == Self { sent: self.sent, replicated: self.sent, ..Self::default() }
    }
}

fn account(sent: u64, partitions: &[PartitionContent]) -> (u64, u64) {
    let mut seen: HashMap<&[u8], u64> = HashMap::new();
    for record in partitions.iter().flat_map(|partition| &partition.records) {
        *seen.entry(record.key.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let missing = (0..sent).filter(|n| !seen.contains_key(n.to_string().as_bytes())).count();
    let repeated = seen.values().map(|count| count - 1).sum();
    (missing as u64, repeated)
}

fn differences(source: &[PartitionContent], replica: &[PartitionContent]) -> u64 {
    let of_partition = |(ours, theirs): (&PartitionContent, &PartitionContent)| {
        let apart = ours.records.len().abs_diff(theirs.records.len());
        let unequal = ours.records.iter().zip(&theirs.records).filter(|(a, b)| a != b).count();
        // Equal records in unequal batches are a difference, too: replicas are byte for byte.
        let is_other = apart + unequal == 0 && ours.batches != theirs.batches;
        (apart + unequal + usize::from(is_other)) as u64
    };
    source.iter().zip(replica).map(of_partition).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::readback::Found;

    fn side(keys: &[&'static str]) -> Vec<PartitionContent> {
        let found = |(offset, key): (usize, &&'static str)| Found {
            offset: i64::try_from(offset).unwrap(),
            timestamp: 0,
            key: Some(key.as_bytes().into()),
            value: None,
        };
        let records = keys.iter().enumerate().map(found).collect();
        vec![PartitionContent { batches: Vec::new(), records }]
    }

    #[test]
    fn what_is_lost_repeated_or_different_is_counted() {
        let all = side(&["0", "1", "2"]);
        assert!(Outcome::of(3, &all, &side(&["0", "1", "2"])).is_perfect());
        let lost = Outcome::of(3, &all, &side(&["0", "1"]));
        assert_eq!((lost.lost, lost.different, lost.is_perfect()), (1, 1, false));
        let twice = Outcome::of(3, &side(&["0", "1", "2", "2"]), &all);
        assert_eq!((twice.duplicates, twice.is_perfect()), (1, false));
        let swapped = Outcome::of(3, &all, &side(&["0", "2", "1"]));
        assert_eq!((swapped.lost, swapped.duplicates, swapped.different), (0, 0, 2));
        assert!(!swapped.is_perfect());
    }
}
