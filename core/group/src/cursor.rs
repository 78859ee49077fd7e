//! Cursors: the offsets that consumer groups have committed, here and at the topic's owner.

use minicbor::{Decode, Encode};

use mainstem_types::{ClusterId, GroupId, OriginTopicId, StreamId, TermId};

/// Which group stands where: one cursor for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct CursorKey {
    /// The stream that holds the topic in this cluster.
    #[n(0)]
    pub stream: StreamId,
    /// The consumer group.
    #[n(1)]
    pub group: GroupId,
    /// The topic.
    #[n(2)]
    pub topic: OriginTopicId,
    /// The partition's index within the topic.
    #[n(3)]
    pub partition: u32,
}

/// One committed position.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CursorValue {
    /// The next offset that the group will read; below zero it was deleted, which holds until
    /// another commit, at replicas too.
    #[n(0)]
    pub offset: i64,
    /// The leader epoch of the last record read; -1 when the client did not say.
    #[n(1)]
    pub leader_epoch: i32,
    /// The client's own words.
    #[n(2)]
    pub metadata: String,
    /// Wall-clock milliseconds of the commit.
    #[n(3)]
    pub commit_ms: i64,
    /// Rises with every commit in the cluster where it was made. Even; odd where the commit with the
    /// next higher one was set back because its data was cut.
    #[n(4)]
    pub version: u64,
    /// The topic's term at the time of the commit.
    #[n(5)]
    pub term: TermId,
}

impl CursorValue {
    /// The deletion of a cursor, by a version of its own: whatever way it comes to a replica, what
    /// was committed before it does not come back.
    pub const fn deletion(commit_ms: i64, version: u64, term: TermId) -> Self {
        Self { offset: -1, leader_epoch: -1, metadata: String::new(), commit_ms, version, term }
    }

    /// The version of the next commit in a cluster: above all that are known there, and above the
    /// one that a value which was set back had. Its low byte tells clusters apart that commit in the
    /// same millisecond: a replica's groups may commit there as well.
    pub fn next_version(known: u64, now_ms: i64, cluster: ClusterId) -> u64 {
        const MIX: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        let mark = (cluster.0.wrapping_mul(MIX) >> 121) << 1;
        let clock = u64::try_from(now_ms).unwrap_or(0);
        let tick = clock.max(known >> 8).saturating_add(1);
        (tick << 8) | u64::try_from(mark).unwrap_or(0)
    }

    /// The same commit where the log ends at `end` by now. It gives way to the commit as it was,
    /// should that be told again together with its data.
    #[must_use]
    pub fn set_back(self, end: i64) -> Self {
        let version = self.version.saturating_sub(1) | 1;
        Self { offset: end, leader_epoch: -1, version, ..self }
    }

    /// Whether it says that the cursor was deleted.
    pub const fn is_deletion(&self) -> bool {
        self.offset < 0
    }

    /// Whether `other` may take its place: versions count within one term, and another term's
    /// value is news whatever its number.
    pub fn yields_to(&self, other: &Self) -> bool {
        self.term != other.term || self.version <= other.version
    }
}

/// The two columns of a cursor. Replicated ones flow from the topic's owner outwards, never back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Cursor {
    /// What the group committed in this cluster.
    #[n(0)]
    pub local: Option<CursorValue>,
    /// What the group committed at the topic's owner, as far as it has come here. It may point
    /// past the end of the data that has come.
    #[n(1)]
    pub replicated: Option<CursorValue>,
}

impl Cursor {
    /// Where a consumer here continues, given the topic's term, the partition's end and its leader
    /// epoch: at its own commit in this term, else at the replicated one, which waits for its data
    /// (I4). An epoch that is not known here is not told: the client would look for metadata that
    /// shows it, for ever.
    pub fn effective(&self, term: TermId, end: i64, leader_epoch: i32) -> Option<CursorValue> {
        let mut value = self.of_term(term, end).filter(|value| !value.is_deletion())?;
        if value.leader_epoch > leader_epoch {
            value.leader_epoch = -1;
        }
        Some(value)
    }

    /// What stands of it, without what is deleted; nothing if that is all.
    pub fn standing(self) -> Option<Self> {
        let stands = |value: &CursorValue| !value.is_deletion();
        let standing =
            Self { local: self.local.filter(stands), replicated: self.replicated.filter(stands) };
        (standing != Self::default()).then_some(standing)
    }

    /// The last word in a term: a local commit of that term, else what came from elsewhere. What was
    /// committed here in another term is as old as that.
    pub fn newest(&self, term: TermId) -> Option<&CursorValue> {
        let local = self.local.as_ref().filter(|local| local.term == term);
        local.or(self.replicated.as_ref()).or(self.local.as_ref())
    }

    fn of_term(&self, term: TermId, end: i64) -> Option<CursorValue> {
        let mut value = self.newest(term)?.clone();
        let is_local = self.local.as_ref().is_some_and(|local| local.term == term);
        // A commit of another term is one of another owner's, wherever it was made.
        if !is_local && value.offset > end {
            value.offset = end;
            value.leader_epoch = -1;
        }
        Some(value)
    }
}

/// Which column a record in the log speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum CursorColumn {
    /// Committed here.
    #[n(0)]
    Local,
    /// Come from the topic's owner.
    #[n(1)]
    Replicated,
}

/// A change of one cursor, as a frame of the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CursorRecord {
    /// Whose cursor.
    #[n(0)]
    pub key: CursorKey,
    /// Which column.
    #[n(1)]
    pub column: CursorColumn,
    /// Its value, or nothing when it was deleted.
    #[n(2)]
    pub value: Option<CursorValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(offset: i64, term: u128) -> CursorValue {
        let metadata = String::new();
        CursorValue {
            offset,
            leader_epoch: 3,
            metadata,
            commit_ms: 0,
            version: 1,
            term: TermId(term),
        }
    }

    #[test]
    fn fault_19_i4_a_replicated_cursor_waits_for_its_data() {
        let cursor = Cursor { local: None, replicated: Some(value(100, 1)) };
        let clamped = cursor.effective(TermId(1), 40, 3).unwrap();
        assert_eq!((clamped.offset, clamped.leader_epoch), (40, -1));
        assert_eq!(cursor.effective(TermId(1), 100, 3).unwrap().offset, 100);
    }

    #[test]
    fn fault_08_an_epoch_that_is_not_known_here_is_not_told() {
        let cursor = Cursor { local: None, replicated: Some(value(100, 1)) };
        let told = |epoch| cursor.effective(TermId(1), 100, epoch).unwrap().leader_epoch;
        assert_eq!((told(2), told(3), told(4)), (-1, 3, 3));
        let local = Cursor { local: Some(value(10, 1)), replicated: None };
        assert_eq!(local.effective(TermId(1), 100, 0).unwrap().leader_epoch, -1);
    }

    #[test]
    fn fault_18_a_local_commit_of_this_term_wins() {
        let cursor = Cursor { local: Some(value(10, 1)), replicated: Some(value(20, 1)) };
        assert_eq!(cursor.effective(TermId(1), 50, 3).unwrap().offset, 10);
        assert_eq!(cursor.effective(TermId(2), 50, 3).unwrap().offset, 20);
        let alone = Cursor { local: Some(value(10, 1)), replicated: None };
        assert_eq!(alone.effective(TermId(2), 50, 3).unwrap().offset, 10);
        assert_eq!(Cursor::default().effective(TermId(2), 50, 3), None);
    }

    #[test]
    fn a_deletion_hides_what_came_before_it_and_not_what_comes_after() {
        let deleted = CursorValue::deletion(0, 2, TermId(1));
        let cursor = Cursor { local: None, replicated: Some(deleted.clone()) };
        assert_eq!((cursor.effective(TermId(1), 50, 3), cursor.standing()), (None, None));
        let cursor = Cursor { local: Some(value(10, 1)), replicated: Some(deleted.clone()) };
        assert_eq!(cursor.effective(TermId(1), 50, 3).unwrap().offset, 10);
        assert_eq!(cursor.effective(TermId(2), 50, 3), None, "that of another owner is older");
        assert_eq!(cursor.standing().unwrap().replicated, None);
        assert!(value(10, 1).yields_to(&deleted) && deleted.yields_to(&deleted));
        assert!(!deleted.yields_to(&value(10, 1)) && deleted.yields_to(&value(10, 2)));
    }

    #[test]
    fn what_was_set_back_gives_way_to_its_commit_and_to_no_earlier_one() {
        let committed = |version| CursorValue { version, ..value(10, 1) };
        let next = |known| CursorValue::next_version(known, 0, ClusterId(7));
        let first = next(41);
        let second = next(first);
        let back = committed(second).set_back(7);
        assert_eq!((back.offset, back.leader_epoch, back.term), (7, -1, TermId(1)));
        assert!(back.yields_to(&committed(second)) && !back.yields_to(&committed(first)));
        assert!(!committed(second).yields_to(&back));
        let again = back.clone().set_back(3);
        assert_eq!((again.offset, again.version), (3, back.version));
        for known in [0, 1, first, second, back.version] {
            assert!(next(known) % 2 == 0 && next(known) > (known | 1));
        }
        assert!(next(back.version) > second, "also after a restart");
        assert_ne!(first, CursorValue::next_version(41, 0, ClusterId(8)));
        let now = CursorValue::next_version(41, 1_700_000_000_000, ClusterId(7));
        assert!(now > CursorValue::next_version(41, 1_699_999_999_999, ClusterId(8)));
    }

    #[test]
    fn records_survive_cbor_and_truncation_is_an_error() {
        let key = CursorKey {
            stream: StreamId(1),
            group: "g".parse().unwrap(),
            topic: OriginTopicId(2),
            partition: 3,
        };
        let record = CursorRecord { key, column: CursorColumn::Local, value: Some(value(7, 8)) };
        let bytes = minicbor::to_vec(&record).unwrap();
        assert_eq!(minicbor::decode::<CursorRecord>(&bytes).unwrap(), record);
        for cut in 0..bytes.len() {
            assert!(minicbor::decode::<CursorRecord>(&bytes[..cut]).is_err());
        }
    }
}
