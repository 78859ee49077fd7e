//! What a partition knows of transactions: which are open in it, and which stretches were aborted.
//!
//! Owner and replica keep it alike, from the batches that stand in the partition and from its lineage,
//! so that a reader of what is committed sees the same at both.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstem_types::limits::{ABORTED_PER_PARTITION_MAX, TOLD_COMMITS_PER_PARTITION_MAX};
use mainstem_types::{Error, TermId};
use minicbor::{Decode, Encode};

/// Offsets of which is remembered what was open there.
const CHECKPOINTS_MAX: usize = 32;
/// Where more are open than this, nothing is remembered.
const CHECKPOINT_OPEN_MAX: usize = 32;
/// Ends that are remembered while nobody says up to where readers see.
const LATE_MAX: usize = 64 * 1024;
const NO_MARKER: i64 = -1;

/// A transaction that has records here and no marker yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The producer's epoch when it began.
    pub epoch: i16,
    /// The offset of its first record.
    pub first_offset: i64,
}

/// A transaction of which readers of what is committed skip the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct AbortedRange {
    /// Whose.
    #[n(0)]
    pub producer_id: i64,
    /// The offset of its first record.
    #[n(1)]
    pub first_offset: i64,
    /// The offset of its marker.
    #[n(2)]
    pub marker: i64,
}

/// A commit that the topic's owner has decided, as it was told before its marker came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ToldCommit {
    /// Whose.
    #[n(0)]
    pub producer_id: i64,
    /// The marker's epoch.
    #[n(1)]
    pub epoch: i16,
    /// The marker's offset.
    #[n(2)]
    pub marker: i64,
    /// The offset of the transaction's first record.
    #[n(3)]
    pub first_offset: i64,
    /// The term in which the topic was owned when it was told.
    #[n(4)]
    pub term: TermId,
}

/// A partition's account of transactions. Cheap to clone while few are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    open: BTreeMap<i64, OpenTransaction>,
    /// (first offset, marker) of ended ones whose markers readers may not see yet.
    late: Vec<(i64, i64)>,
    /// In the order of their markers. Shared with readers.
    aborted: Arc<Vec<AbortedRange>>,
    /// Below it aborted ones were forgotten.
    known_from: i64,
    last_marker: i64,
    /// Commits that the owner has decided and whose markers are not here yet.
    told: Vec<ToldCommit>,
    /// Rising, and the closer together the nearer they are to the end: from there the account can
    /// be told anew.
    checkpoints: Vec<Checkpoint>,
}

/// What was open at an offset.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct Checkpoint {
    #[n(0)]
    offset: i64,
    #[n(1)]
    open: Vec<OpenRow>,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            late: Vec::new(),
            aborted: Arc::default(),
            known_from: 0,
            last_marker: NO_MARKER,
            told: Vec::new(),
            checkpoints: Vec::new(),
        }
    }
}

impl Account {
    /// Takes note of records of a transaction.
    pub fn note_records(&mut self, producer_id: i64, epoch: i16, first_offset: i64) {
        self.open.entry(producer_id).or_insert(OpenTransaction { epoch, first_offset });
    }

    /// Takes note of the marker that ends a producer's transaction, if it has one open here.
    pub fn note_marker(&mut self, producer_id: i64, is_commit: bool, marker: i64) {
        self.last_marker = marker;
        self.told.retain(|told| told.marker > marker);
        let Some(open) = self.open.remove(&producer_id) else { return };
        let first_offset = open.first_offset;
        if !is_commit {
            Arc::make_mut(&mut self.aborted).push(AbortedRange {
                producer_id,
                first_offset,
                marker,
            });
            self.bound_aborted();
        }
        self.note_late(first_offset, marker);
        self.note_checkpoint(marker + 1);
    }

    /// Takes note that nothing of `from..to` is to be had any more, nor any marker that lay there. What
    /// was told to be committed there is; of anything else that is open nobody will ever say, and
    /// readers skip it. Its range ends right below the gap, where it has no marker.
    pub fn note_gap(&mut self, from: i64, to: i64) {
        for (producer_id, open) in self.open.clone() {
            let told = self.told_commit(producer_id);
            if told.is_some_and(|told| told.marker >= to) {
                continue;
            }
            self.open.remove(&producer_id);
            let (first_offset, marker) = (open.first_offset, from - 1);
            if told.is_none() {
                let range = AbortedRange { producer_id, first_offset, marker };
                Arc::make_mut(&mut self.aborted).push(range);
            }
            self.note_late(first_offset, marker);
            // A cut within the gap opens it again.
            self.last_marker = to - 1;
        }
        self.bound_aborted();
        self.told.retain(|told| told.marker >= to);
        if self.last_marker == to - 1 {
            self.note_checkpoint(to);
        }
    }

    /// Takes note of a commit whose marker is still to come; whether that is news.
    pub fn note_told(&mut self, told: ToldCommit) -> bool {
        if told.marker <= self.last_marker || self.is_told(&told) {
            return false;
        }
        if self.told.len() == TOLD_COMMITS_PER_PARTITION_MAX {
            self.told.remove(0);
        }
        self.told.push(told);
        true
    }

    /// The commit that was told of the transaction which the producer has open here, if it was. A
    /// later one of the same producer says nothing of it: this one may have been aborted, and that
    /// is not told.
    pub fn told_commit(&self, producer_id: i64) -> Option<ToldCommit> {
        let open = self.open_of(producer_id)?;
        // What is open may have lost its first records to retention, and begins later here.
        let is_it = |told: &&ToldCommit| {
            told.producer_id == producer_id && told.first_offset <= open.first_offset
        };
        self.told.iter().filter(is_it).min_by_key(|told| told.marker).copied()
    }

    /// Whether this commit was told, and its marker is still to come.
    pub fn is_told(&self, told: &ToldCommit) -> bool {
        self.told.contains(told)
    }

    /// A reign begins at `start`: what was told beyond in any term but this one is void.
    pub fn forget_told(&mut self, start: i64, but_in: Option<TermId>) {
        self.told.retain(|told| told.marker < start || Some(told.term) == but_in);
    }

    /// How many commits are told and not here.
    pub fn told_count(&self) -> usize {
        self.told.len()
    }

    /// Readers see up to `held`, or everything: what ended below that has ended for them too.
    pub fn settle(&mut self, held: Option<i64>) {
        self.late.retain(|(_, marker)| held.is_some_and(|held| *marker >= held));
    }

    /// Whether [`Self::settle`] would change anything.
    pub fn is_settled(&self, held: Option<i64>) -> bool {
        self.late.iter().all(|(_, marker)| held.is_some_and(|held| *marker >= held))
    }

    /// The first offset of any transaction of which readers have not seen the end.
    pub fn first_unstable(&self) -> Option<i64> {
        let open = self.open.values().map(|open| open.first_offset);
        open.chain(self.late.iter().map(|(first_offset, _)| *first_offset)).min()
    }

    /// The producer's transaction, if it has one open here.
    pub fn open_of(&self, producer_id: i64) -> Option<OpenTransaction> {
        self.open.get(&producer_id).copied()
    }

    /// All that are open, by rising producer id.
    pub fn open(&self) -> impl Iterator<Item = (i64, OpenTransaction)> {
        self.open.iter().map(|(id, open)| (*id, *open))
    }

    /// How many are open.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Those that were aborted, in the order of their markers.
    pub const fn aborted(&self) -> &Arc<Vec<AbortedRange>> {
        &self.aborted
    }

    /// The first offset from which all that were aborted are known.
    pub const fn known_from(&self) -> i64 {
        self.known_from
    }

    /// Ends what began before `start`, where a reign began whose owner never had it, and has ended by
    /// `settled` all that it had. Readers skip it, and its range ends right below the reign, where it
    /// has no marker.
    pub fn end_before(&mut self, start: i64, settled: i64) {
        let is_old = |_: &i64, open: &mut OpenTransaction| open.first_offset < start;
        let old: Vec<(i64, OpenTransaction)> = self.open.extract_if(.., is_old).collect();
        for (producer_id, open) in old {
            let (first_offset, marker) = (open.first_offset, start - 1);
            let range = AbortedRange { producer_id, first_offset, marker };
            let aborted = Arc::make_mut(&mut self.aborted);
            let at = aborted.partition_point(|known| known.marker <= marker);
            aborted.insert(at, range);
            self.note_late(first_offset, marker);
        }
        self.bound_aborted();
        // A cut amid those markers, or where the reign begins, opens it again.
        self.last_marker = self.last_marker.max(settled.max(start + 1) - 1);
    }

    /// Forgets aborted ones that lie below the partition's start.
    pub fn trim(&mut self, log_start: i64) {
        let gone = self.aborted.partition_point(|range| range.marker < log_start);
        if gone > 0 {
            Arc::make_mut(&mut self.aborted).drain(..gone);
        }
    }

    /// If everything from `to` on is undone, a transaction that ended there may be open again, and
    /// only the batches below tell since where. Gives the offset from which they have to be noted
    /// again, after [`Self::begin_at`] it; nothing if no marker is undone. What is open with no more
    /// than records that are gone, whoever begins to write at `to` may not know of, and never end: so
    /// where some of it began below `log_start`, all that is there is noted again.
    pub fn retold_from(&self, to: i64, log_start: i64) -> Option<i64> {
        let is_there = |open: &OpenRow| open.first_offset >= log_start;
        let known = self
            .checkpoints
            .iter()
            .rfind(|known| known.offset <= to && known.open.iter().all(is_there));
        let is_gone = |open: &OpenTransaction| open.first_offset < log_start.min(to);
        let is_due = self.last_marker >= to || self.open.values().any(is_gone);
        is_due.then(|| known.map_or(log_start.min(to), |known| known.offset))
    }

    /// Forgets everything from an offset on that [`Self::retold_from`] gave.
    pub fn begin_at(&mut self, from: i64) {
        let known = self.checkpoints.iter().find(|known| known.offset == from);
        let open = known.map(|known| of_rows(&known.open)).unwrap_or_default();
        self.truncate(from);
        let is_open = |range: &AbortedRange| {
            let open = open.get(&range.producer_id);
            open.is_some_and(|open| open.first_offset == range.first_offset)
        };
        if self.aborted.iter().any(is_open) {
            // What was ended without a marker.
            Arc::make_mut(&mut self.aborted).retain(|range| !is_open(range));
        }
        self.open = open;
    }

    /// Forgets everything from `to` on. Exact where no marker is undone.
    pub fn truncate(&mut self, to: i64) {
        self.open.retain(|_, open| open.first_offset < to);
        self.late.retain(|(_, marker)| *marker < to);
        let kept = self.aborted.partition_point(|range| range.marker < to);
        if kept < self.aborted.len() {
            Arc::make_mut(&mut self.aborted).truncate(kept);
        }
        self.told.retain(|told| told.marker < to);
        self.checkpoints.retain(|known| known.offset <= to);
        self.last_marker = self.last_marker.min(to - 1).max(NO_MARKER);
        self.known_from = self.known_from.min(to.max(0));
    }

    /// Whether nothing was ever noted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn note_late(&mut self, first_offset: i64, marker: i64) {
        if self.late.len() == LATE_MAX {
            self.late.remove(0);
        }
        self.late.push((first_offset, marker));
    }

    fn note_checkpoint(&mut self, offset: i64) {
        if self.open.len() > CHECKPOINT_OPEN_MAX {
            return;
        }
        self.checkpoints.push(Checkpoint { offset, open: rows_of(&self.open) });
        if self.checkpoints.len() > CHECKPOINTS_MAX {
            self.thin_checkpoints(offset);
        }
    }

    /// Forgets the one without which the least is told anew, measured by what was cut: the places
    /// become the farther apart the farther they are from the end.
    fn thin_checkpoints(&mut self, end: i64) {
        let cut: Vec<i64> = self.checkpoints.iter().map(|known| end - known.offset).collect();
        // A cut just below the one after it is told anew from the one before.
        let share = |at: &usize| cut[at - 1] as f64 / cut[at + 1].max(1) as f64;
        let least = (1..cut.len() - 1).min_by(|a, b| share(a).total_cmp(&share(b)));
        if let Some(least) = least {
            self.checkpoints.remove(least);
        }
    }

    fn bound_aborted(&mut self) {
        const AT_ONCE: usize = ABORTED_PER_PARTITION_MAX / 16;
        if self.aborted.len() > ABORTED_PER_PARTITION_MAX {
            let last = self.aborted[AT_ONCE - 1].marker;
            Arc::make_mut(&mut self.aborted).drain(..AT_ONCE);
            self.known_from = self.known_from.max(last + 1);
        }
    }
}

/// Those of `aborted` that have records in `from..to`, as readers of it have to know them.
pub fn aborted_between(aborted: &[AbortedRange], from: i64, to: i64) -> Vec<AbortedRange> {
    let later = aborted.partition_point(|range| range.marker < from);
    aborted[later..].iter().filter(|range| range.first_offset < to).copied().collect()
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct AccountRow {
    #[n(0)]
    open: Vec<OpenRow>,
    #[n(1)]
    aborted: Vec<AbortedRange>,
    #[n(2)]
    known_from: i64,
    #[n(3)]
    last_marker: i64,
    #[n(4)]
    checkpoints: Vec<Checkpoint>,
    #[n(5)]
    late: Vec<(i64, i64)>,
    #[n(6)]
    told: Option<Vec<ToldCommit>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct OpenRow {
    #[n(0)]
    producer_id: i64,
    #[n(1)]
    epoch: i16,
    #[n(2)]
    first_offset: i64,
}

fn rows_of(open: &BTreeMap<i64, OpenTransaction>) -> Vec<OpenRow> {
    let row = |(producer_id, open): (&i64, &OpenTransaction)| OpenRow {
        producer_id: *producer_id,
        epoch: open.epoch,
        first_offset: open.first_offset,
    };
    open.iter().map(row).collect()
}

fn of_rows(rows: &[OpenRow]) -> BTreeMap<i64, OpenTransaction> {
    let open = |row: &OpenRow| {
        let (epoch, first_offset) = (row.epoch, row.first_offset);
        (row.producer_id, OpenTransaction { epoch, first_offset })
    };
    rows.iter().map(open).collect()
}

impl Account {
    /// The account's bytes: a CBOR map, see docs/FORMAT.md.
    pub fn encode(&self) -> Vec<u8> {
        let row = AccountRow {
            open: rows_of(&self.open),
            aborted: self.aborted.to_vec(),
            known_from: self.known_from,
            last_marker: self.last_marker,
            checkpoints: self.checkpoints.clone(),
            late: self.late.clone(),
            told: (!self.told.is_empty()).then(|| self.told.clone()),
        };
        minicbor::to_vec(row).expect("writing to memory does not fail")
    }

    /// The account of these bytes. Unknown fields are skipped; wrong bytes are
    /// [`Corrupt`](mainstem_types::ErrorKind::Corrupt).
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let row: AccountRow = minicbor::decode(bytes)
            .map_err(|error| Error::corrupt(format!("an account of transactions: {error}")))?;
        if !row.aborted.is_sorted_by(|a, b| a.marker <= b.marker) {
            return Err(Error::corrupt("an account of transactions: markers that do not rise"));
        }
        Ok(Self {
            open: of_rows(&row.open),
            late: row.late,
            aborted: Arc::new(row.aborted),
            known_from: row.known_from,
            last_marker: row.last_marker,
            told: row.told.unwrap_or_default(),
            checkpoints: row.checkpoints,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_open_one_bounds_what_is_stable_and_aborted_ones_are_told_by_range() {
        let mut account = Account::default();
        account.note_records(1, 0, 10);
        account.note_records(2, 5, 12);
        account.note_records(1, 0, 14);
        assert_eq!(account.first_unstable(), Some(10));
        account.note_marker(1, false, 20);
        account.settle(None);
        assert_eq!(account.first_unstable(), Some(12));
        account.note_marker(2, true, 21);
        account.note_marker(3, false, 22);
        account.settle(None);
        assert_eq!((account.first_unstable(), account.open_count()), (None, 0));
        let range = AbortedRange { producer_id: 1, first_offset: 10, marker: 20 };
        assert_eq!(aborted_between(account.aborted(), 0, 10), []);
        assert_eq!(aborted_between(account.aborted(), 0, 11), [range]);
        assert_eq!(aborted_between(account.aborted(), 20, 21), [range]);
        assert_eq!(aborted_between(account.aborted(), 21, 99), []);
        account.trim(20);
        assert_eq!(account.aborted().len(), 1, "its marker is still there");
        account.trim(21);
        assert_eq!(account.aborted().len(), 0);
    }

    #[test]
    fn an_end_that_readers_may_not_see_yet_is_none_for_them() {
        let mut account = Account::default();
        account.note_records(1, 0, 5);
        account.note_marker(1, true, 9);
        account.settle(Some(9));
        assert_eq!(account.first_unstable(), Some(5));
        assert!(account.is_settled(Some(9)) && !account.is_settled(Some(10)));
        account.settle(Some(10));
        assert_eq!(account.first_unstable(), None);
    }

    #[test]
    fn a_commit_that_was_told_is_known_until_its_marker_or_another_reign_comes() {
        let mut account = Account::default();
        let told = |first_offset, marker| ToldCommit {
            producer_id: 1,
            epoch: 3,
            marker,
            first_offset,
            term: TermId(1),
        };
        assert_eq!(account.told_commit(1), None, "nothing is open");
        account.note_records(1, 3, 5);
        assert!(account.note_told(told(12, 20)));
        assert_eq!(account.told_commit(1), None, "another one is, and may have been aborted");
        assert!(account.note_told(told(4, 9)));
        assert!(!account.note_told(told(4, 9)), "it is known");
        assert_eq!((account.told_commit(1), account.told_commit(2)), (Some(told(4, 9)), None));
        assert_eq!(Account::decode(&account.encode()).unwrap(), account);
        account.note_marker(1, true, 9);
        assert_eq!(account.told_count(), 1);
        account.note_records(1, 3, 12);
        assert_eq!(account.told_commit(1), Some(told(12, 20)));
        assert!(!account.note_told(told(4, 9)), "its marker is here");
        account.forget_told(20, Some(TermId(1)));
        assert_eq!(account.told_count(), 1, "it was decided in the reign that begins");
        account.forget_told(20, Some(TermId(2)));
        assert_eq!(account.told_count(), 0);
    }

    #[test]
    fn a_gap_ends_what_is_open_as_it_was_told_or_else_readers_skip_it() {
        let mut account = Account::default();
        let told = |producer_id, marker| {
            let first_offset = 10 + producer_id;
            ToldCommit { producer_id, epoch: 0, marker, first_offset, term: TermId(1) }
        };
        for producer_id in 1..5 {
            account.note_records(producer_id, 0, 10 + producer_id);
        }
        account.note_told(told(2, 25));
        account.note_told(told(3, 35));
        account.note_gap(20, 30);
        account.settle(None);
        let skipped =
            |producer_id| AbortedRange { producer_id, first_offset: 10 + producer_id, marker: 19 };
        assert_eq!(**account.aborted(), [skipped(1), skipped(4)]);
        assert_eq!(account.first_unstable(), Some(13), "its marker is still to come");
        assert_eq!(Account::decode(&account.encode()).unwrap(), account);
        assert_eq!(aborted_between(account.aborted(), 20, 99), [], "no marker ends the skipping");
        account.note_marker(3, true, 35);
        account.settle(None);
        assert_eq!((account.first_unstable(), account.told_count()), (None, 0));
        assert_eq!(account.retold_from(25, 0), Some(0), "a cut may undo the gap");
        assert_eq!(account.retold_from(36, 0), None);
    }

    #[test]
    fn the_oldest_aborted_ones_go_and_what_they_covered_is_known_to_be_unknown() {
        let mut account = Account::default();
        let end = ABORTED_PER_PARTITION_MAX as i64 + 1;
        for n in 0..end {
            account.note_records(1, 0, 2 * n);
            account.note_marker(1, false, 2 * n + 1);
        }
        assert!(account.aborted().len() <= ABORTED_PER_PARTITION_MAX);
        let oldest = account.aborted().first().map(|range| range.first_offset);
        assert_eq!(oldest, Some(account.known_from()));
    }

    const GOLDEN: &str =
        "a6008183070218640181830502181e0200031828048282181f8082182980058182181e1828";

    fn sample() -> Account {
        let mut account = Account::default();
        account.note_records(5, 2, 2);
        account.note_marker(5, false, 30);
        account.note_records(5, 2, 30);
        account.note_marker(5, true, 40);
        account.settle(Some(40));
        account.note_records(7, 2, 100);
        account
    }

    #[test]
    fn the_account_is_these_bytes_and_a_part_of_them_is_none() {
        let bytes = sample().encode();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        assert_eq!(Account::decode(&bytes).unwrap(), sample());
        for end in 0..bytes.len() {
            assert!(Account::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    /// However often transactions ended, and whether or not some were always open.
    #[test]
    fn after_a_cut_little_more_than_the_cut_is_told_anew() {
        for overlap in [0, 1, 3] {
            let mut account = Account::default();
            let end = 100_000;
            for offset in 0..end {
                account.note_records(offset % 7, 0, offset);
                if offset % 2 == 1 {
                    account.note_marker((offset - overlap).rem_euclid(7), true, offset);
                }
            }
            account.settle(None);
            for cut in [1, 10, 100, 1_000, 10_000, 60_000] {
                let from = account.retold_from(end - cut, 0).unwrap();
                assert!(end - from <= 3 * cut + 32, "{overlap}: from {from}, {cut} are cut");
            }
        }
    }

    /// Who begins to write at the cut may never have had the records, and then ends nothing.
    #[test]
    fn after_a_cut_nothing_is_open_that_has_no_record_left() {
        let mut account = Account::default();
        account.note_records(1, 0, 5);
        account.note_records(2, 0, 6);
        account.note_marker(2, true, 8);
        account.note_records(3, 0, 20);
        account.note_marker(3, true, 22);
        for (to, log_start, expected) in [(15, 0, 9), (15, 14, 14), (30, 14, 14)] {
            let mut cut = account.clone();
            cut.trim(log_start);
            assert_eq!(cut.retold_from(to, log_start), Some(expected), "to {to} from {log_start}");
            cut.begin_at(expected);
            let is_open = cut.open_of(1).is_some();
            assert_eq!(is_open, log_start == 0, "to {to} from {log_start}");
        }
        assert_eq!(account.retold_from(30, 0), None, "nothing is undone");
    }

    /// What happens to a partition, one offset each.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Records(i64),
        Marker(i64, bool),
        Plain,
    }

    fn note(account: &mut Account, offset: i64, step: Step) {
        match step {
            Step::Records(id) => account.note_records(id, 0, offset),
            Step::Marker(id, is_commit) => account.note_marker(id, is_commit, offset),
            Step::Plain => {}
        }
        account.settle(None);
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4_i64).prop_map(Step::Records),
            (0..4_i64, any::<bool>()).prop_map(|(id, is_commit)| Step::Marker(id, is_commit)),
            Just(Step::Plain),
        ]
    }

    proptest! {
        #[test]
        fn after_a_cut_it_is_as_if_the_rest_had_never_been(
            steps in prop::collection::vec(step(), 1..200), cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(steps.len());
            let (mut whole, mut part) = (Account::default(), Account::default());
            for (offset, step) in (0..).zip(&steps) {
                note(&mut whole, offset, *step);
                if offset < cut as i64 {
                    note(&mut part, offset, *step);
                }
            }
            let from = whole.retold_from(cut as i64, 0);
            match from {
                Some(from) => whole.begin_at(from),
                None => whole.truncate(cut as i64),
            }
            for offset in from.unwrap_or(cut as i64)..cut as i64 {
                note(&mut whole, offset, steps[offset as usize]);
            }
            prop_assert_eq!(whole.open().collect::<Vec<_>>(), part.open().collect::<Vec<_>>());
            prop_assert_eq!(whole.aborted(), part.aborted());
            prop_assert_eq!(whole.first_unstable(), part.first_unstable());
        }
    }
}
