//! Sequence numbers of batches.

/// A producer's count of records in one partition: from 0 to `i32::MAX`, then 0 again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequence(i32);

impl Sequence {
    /// Where every producer and every epoch begins.
    pub const FIRST: Self = Self(0);

    /// A sequence as it stands in a batch; `None` for the negative values of batches without one.
    pub const fn new(value: i32) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The number itself.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The sequence `records` further, around the end if need be.
    #[must_use]
    pub const fn advance(self, records: u32) -> Self {
        let sum = (self.0 as u64 + records as u64) % (i32::MAX as u64 + 1);
        Self(sum as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_after_the_last_is_the_first() {
        let last = Sequence::new(i32::MAX).unwrap();
        assert_eq!(last.advance(1), Sequence::FIRST);
        assert_eq!(last.advance(3).get(), 2);
        assert_eq!(Sequence::new(i32::MAX - 2).unwrap().advance(2), last);
        assert_eq!(Sequence::FIRST.advance(0), Sequence::FIRST);
        assert_eq!(Sequence::new(-1), None);
    }
}
