//! Which replicas of a stream acknowledgements wait for, and for how long.
//!
//! A replica *joins* without holding anybody up: it has to have had, within a short time, all that
//! was durable at the beginning of that time. Then acknowledgements wait for it already, though
//! nobody may count on that, until it has everything that went out without it; from there on it is
//! *in force*, which the caller makes durable. One that keeps an acknowledgement waiting for longer
//! than its time-out is *degraded*, durably before anything goes on without it, or, if policy says
//! so, *missing*: writes are refused until it keeps up again.

use std::collections::{BTreeMap, VecDeque};

use mainstem_types::{LinkEpoch, PartitionNo};

/// Partitions and offsets of them, each a frontier.
pub type Frontiers = BTreeMap<PartitionNo, i64>;

/// A synchronous replica as the catalog has it, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncMember {
    /// Its slot.
    pub idx: u32,
    /// Whether acknowledgements wait for it (I1).
    pub is_in_force: bool,
    /// The epoch of the session whose word counts.
    pub link_epoch: LinkEpoch,
    /// How long it may keep an acknowledgement waiting.
    pub timeout_ms: u64,
    /// Writes are refused rather than acknowledged without it.
    pub refuses: bool,
}

/// What is to be done, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncWish {
    /// Acknowledgements go on without the replica. It lacks what lies from these offsets on.
    Degrade {
        /// Its slot.
        idx: u32,
        /// Since when, on the monotonic clock, the oldest of it has waited.
        since_ms: u64,
        /// Partitions with something at risk.
        at_risk: Vec<(PartitionNo, i64)>,
    },
    /// Acknowledgements wait for the replica, which has all that is below these ends.
    BringInForce {
        /// Its slot.
        idx: u32,
        /// Where what went out without it ends.
        ends: Frontiers,
    },
    /// Who waits is told that the replica is late; nothing becomes durable.
    GiveUp {
        /// Its slot.
        idx: u32,
    },
}

/// The synchronous replicas of one stream, and the partitions that it owns.
#[derive(Debug, Default)]
pub struct Synchrony {
    members: BTreeMap<u32, Member>,
    /// Durable ends here.
    ends: Frontiers,
    /// What was durable here when, as far as not all whom it concerns have it.
    owed: BTreeMap<PartitionNo, VecDeque<Mark>>,
    wishes: VecDeque<SyncWish>,
    /// Whom acknowledgements wait for has changed.
    is_unsettled: bool,
}

#[derive(Debug)]
struct Member {
    view: SyncMember,
    /// The session that spoke last.
    heard: Option<LinkEpoch>,
    acked: Frontiers,
    /// While it is to prove that it keeps up.
    round: Option<Round>,
    is_missing: bool,
}

/// All that was durable at one moment, to be acknowledged.
#[derive(Debug)]
struct Round {
    since_ms: u64,
    ends: Frontiers,
    /// Acknowledgements wait for the replica already.
    is_holding: bool,
}

/// Up to here a partition was durable at that time.
#[derive(Clone, Copy, Debug)]
struct Mark {
    since_ms: u64,
    end: i64,
}

/// A partition keeps so many marks; a mark stands for an eighth of a time-out.
const MARKS_MAX: usize = 16;

impl Synchrony {
    /// What the catalog says now. Whoever changed its standing begins anew.
    pub fn handle_members(&mut self, members: &[SyncMember]) {
        self.is_unsettled = true;
        self.members.retain(|idx, _| members.iter().any(|member| member.idx == *idx));
        for view in members {
            let member = self.members.entry(view.idx).or_insert_with(|| Member::new(*view));
            let before = std::mem::replace(&mut member.view, *view);
            if before.is_in_force != view.is_in_force || (before.refuses && !view.refuses) {
                (member.round, member.is_missing) = (None, false);
            } else if before.link_epoch != view.link_epoch {
                // A round of a session that is over proves nothing, nor does one that has just
                // ended; the next session begins its own.
                member.round = None;
                let is_stale = |wish: &SyncWish| matches!(wish, SyncWish::BringInForce { idx, .. } if *idx == view.idx);
                self.wishes.retain(|wish| !is_stale(wish));
            }
        }
        self.drop_settled();
    }

    /// After a start: below these frontiers every replica in force is known to have everything.
    pub fn handle_recovered(&mut self, floors: &Frontiers) {
        for member in self.members.values_mut().filter(|member| member.view.is_in_force) {
            member.acked.clone_from(floors);
        }
        self.drop_settled();
    }

    /// A partition is durable up to `end`.
    pub fn handle_end(&mut self, partition: PartitionNo, end: i64, now_ms: u64) {
        let before = self.ends.insert(partition, end);
        if before.is_none() {
            // It was taken over: whoever is about to be counted on has to have it too.
            let rounds = self.members.values_mut().filter_map(|member| member.round.as_mut());
            for round in rounds {
                round.ends.insert(partition, end);
            }
        }
        let floor = self.floor(partition);
        if before.is_some_and(|before| before >= end) || floor.is_none_or(|floor| floor >= end) {
            return;
        }
        let shortest_ms = self.holding().map(|member| member.view.timeout_ms).min().unwrap_or(0);
        let marks = self.owed.entry(partition).or_default();
        let is_full = marks.len() >= MARKS_MAX;
        match marks.back_mut() {
            // Counted from the first of them, so that nobody waits longer than the time-out.
            Some(last) if is_full || now_ms < last.since_ms + shortest_ms / 8 => last.end = end,
            _ => marks.push_back(Mark { since_ms: now_ms, end }),
        }
    }

    /// A partition is no longer owned here.
    pub fn handle_gone(&mut self, partition: PartitionNo) {
        self.ends.remove(&partition);
        self.owed.remove(&partition);
        for member in self.members.values_mut() {
            member.acked.remove(&partition);
            if let Some(round) = &mut member.round {
                round.ends.remove(&partition);
            }
        }
    }

    /// What a session says is durable at its replica: at its beginning of everything that it
    /// knows, then of what moved, and now and then that nothing did. A session that was superseded
    /// counts for nothing.
    pub fn handle_acked(
        &mut self,
        idx: u32,
        epoch: LinkEpoch,
        ends: impl IntoIterator<Item = (PartitionNo, i64)>,
        now_ms: u64,
    ) {
        let Some(member) = self.members.get_mut(&idx) else { return };
        if member.view.link_epoch != epoch {
            return;
        }
        let ends = ends.into_iter();
        if member.heard == Some(epoch) {
            for (partition, end) in ends {
                let acked = member.acked.entry(partition).or_default();
                *acked = (*acked).max(end);
            }
        } else {
            member.heard = Some(epoch);
            let before = std::mem::replace(&mut member.acked, ends.collect());
            let lost = before.iter().any(|(no, acked)| {
                self.ends.contains_key(no) && member.acked.get(no).copied().unwrap_or(0) < *acked
            });
            self.is_unsettled |= member.round.take().is_some_and(|round| round.is_holding);
            if lost && member.view.is_in_force {
                self.give_up(idx, now_ms, now_ms);
            }
        }
        self.check_round(idx, now_ms);
        self.drop_settled();
    }

    /// The time is now; call it several times in the shortest time-out.
    pub fn handle_time(&mut self, now_ms: u64) {
        for idx in self.members.keys().copied().collect::<Vec<_>>() {
            let member = &self.members[&idx];
            let timeout_ms = member.view.timeout_ms;
            if member.view.is_in_force && !member.is_missing {
                let oldest = self.oldest_owed(member);
                if let Some(since_ms) = oldest.filter(|since| now_ms >= since + timeout_ms) {
                    self.give_up(idx, since_ms, now_ms);
                }
            } else if member
                .round
                .as_ref()
                .is_some_and(|r| r.is_holding && now_ms >= r.since_ms + timeout_ms / 2)
            {
                self.begin_round(idx, now_ms, false);
                self.drop_settled();
            }
        }
    }

    /// What to do next; `None` until something happens. Tell the outcome by
    /// [`Self::handle_members`] before anything else.
    pub fn poll_wish(&mut self) -> Option<SyncWish> {
        self.wishes.pop_front()
    }

    /// Up to where everybody for whom acknowledgements wait has a partition; `None` if they wait
    /// for nobody.
    pub fn floor(&self, partition: PartitionNo) -> Option<i64> {
        self.holding().map(|member| member.acked_end(partition)).min()
    }

    /// Whether any partition's floor may be another since this was asked last, though nobody has
    /// acknowledged anything.
    pub fn take_unsettled(&mut self) -> bool {
        std::mem::take(&mut self.is_unsettled)
    }

    /// A replica without which writes are refused now.
    pub fn missing(&self) -> Option<u32> {
        self.members.values().find(|member| member.is_missing).map(|member| member.view.idx)
    }

    /// Whether it was told of the partition.
    pub fn knows(&self, partition: PartitionNo) -> bool {
        self.ends.contains_key(&partition)
    }

    /// The partitions that it was told of.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionNo> + '_ {
        self.ends.keys().copied()
    }

    /// Those for whom acknowledgements wait, durably so or not.
    fn holding(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| {
            member.view.is_in_force || member.round.as_ref().is_some_and(|round| round.is_holding)
        })
    }

    fn oldest_owed(&self, member: &Member) -> Option<u64> {
        let first = |(no, marks): (&PartitionNo, &VecDeque<Mark>)| {
            let acked = member.acked_end(*no);
            marks.iter().find(|mark| mark.end > acked).map(|mark| mark.since_ms)
        };
        self.owed.iter().filter_map(first).min()
    }

    /// A replica in force does not keep up.
    fn give_up(&mut self, idx: u32, since_ms: u64, now_ms: u64) {
        let member = &self.members[&idx];
        if member.view.refuses {
            self.begin_round(idx, now_ms, false);
            let member = self.members.get_mut(&idx).expect("looked up above");
            member.is_missing = true;
            self.wishes.push_back(SyncWish::GiveUp { idx });
            return;
        }
        let at_risk = self.lacking(idx);
        self.wishes.push_back(SyncWish::Degrade { idx, since_ms, at_risk });
    }

    /// What is durable here and not acknowledged by a replica: partitions, and from where on.
    pub fn lacking(&self, idx: u32) -> Vec<(PartitionNo, i64)> {
        let Some(member) = self.members.get(&idx) else { return Vec::new() };
        let lacks = |(no, end): (&PartitionNo, &i64)| {
            let acked = member.acked_end(*no);
            (acked < *end).then_some((*no, acked))
        };
        self.ends.iter().filter_map(lacks).collect()
    }

    fn begin_round(&mut self, idx: u32, now_ms: u64, is_holding: bool) {
        let ends = self.ends.clone();
        if let Some(member) = self.members.get_mut(&idx) {
            let round = Round { since_ms: now_ms, ends, is_holding };
            let before = member.round.replace(round);
            self.is_unsettled |= is_holding || before.is_some_and(|round| round.is_holding);
        }
    }

    /// Looks whether a replica that is not in force, or is missing, keeps up by now.
    fn check_round(&mut self, idx: u32, now_ms: u64) {
        loop {
            let Some(member) = self.members.get_mut(&idx) else { return };
            if member.view.is_in_force && !member.is_missing {
                return;
            }
            let is_done = |round: &Round| {
                round
                    .ends
                    .iter()
                    .all(|(no, end)| member.acked.get(no).copied().unwrap_or(0) >= *end)
            };
            match member.round.as_ref().map(|round| (round, is_done(round))) {
                None => self.begin_round(idx, now_ms, false),
                Some((_, false)) => return,
                Some((round, true)) => {
                    let keeps_up = now_ms - round.since_ms <= member.view.timeout_ms / 4;
                    if round.is_holding {
                        let round = member.round.take().expect("matched above");
                        self.wishes.push_back(SyncWish::BringInForce { idx, ends: round.ends });
                        return;
                    }
                    if keeps_up && member.is_missing {
                        (member.round, member.is_missing) = (None, false);
                        return;
                    }
                    self.begin_round(idx, now_ms, keeps_up);
                }
            }
        }
    }

    /// Forgets what all whom it concerns have.
    fn drop_settled(&mut self) {
        let floors: Vec<(PartitionNo, Option<i64>)> =
            self.owed.keys().map(|no| (*no, self.floor(*no))).collect();
        for (no, floor) in floors {
            let marks = self.owed.get_mut(&no).expect("listed above");
            match floor {
                None => marks.clear(),
                Some(floor) => {
                    while marks.front().is_some_and(|mark| mark.end <= floor) {
                        marks.pop_front();
                    }
                }
            }
            if marks.is_empty() {
                self.owed.remove(&no);
            }
        }
    }
}

impl Member {
    const fn new(view: SyncMember) -> Self {
        Self { view, heard: None, acked: Frontiers::new(), round: None, is_missing: false }
    }

    fn acked_end(&self, partition: PartitionNo) -> i64 {
        self.acked.get(&partition).copied().unwrap_or(0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const P: PartitionNo = PartitionNo(1);
    const Q: PartitionNo = PartitionNo(2);

    fn member(is_in_force: bool, epoch: u64) -> SyncMember {
        SyncMember {
            idx: 1,
            is_in_force,
            link_epoch: LinkEpoch(epoch),
            timeout_ms: 1_000,
            refuses: false,
        }
    }

    fn in_force(ends: &[(PartitionNo, i64)]) -> Synchrony {
        let mut sync = Synchrony::default();
        ends.iter().for_each(|(no, end)| sync.handle_end(*no, *end, 0));
        sync.handle_members(&[member(true, 1)]);
        sync.handle_acked(1, LinkEpoch(1), ends.iter().copied(), 0);
        assert_eq!(sync.poll_wish(), None);
        sync
    }

    #[test]
    fn a_replica_is_in_force_once_it_has_what_went_out_without_it() {
        let mut sync = Synchrony::default();
        sync.handle_end(P, 10, 0);
        sync.handle_members(&[member(false, 1)]);
        assert_eq!(sync.floor(P), None, "joining holds nobody up");
        sync.handle_acked(1, LinkEpoch(1), [(P, 4)], 0);
        // It takes a second for a round: too long to be waited for.
        sync.handle_end(P, 20, 900);
        sync.handle_acked(1, LinkEpoch(1), [(P, 10)], 1_000);
        assert_eq!(sync.floor(P), None);
        sync.handle_end(P, 30, 1_050);
        // The next one is quick: from here on acknowledgements wait, and nobody counts on it.
        sync.handle_acked(1, LinkEpoch(1), [(P, 20)], 1_100);
        assert_eq!((sync.floor(P), sync.poll_wish()), (Some(20), None));
        sync.handle_end(P, 40, 1_110);
        sync.handle_acked(1, LinkEpoch(1), [(P, 30)], 1_120);
        let ends = Frontiers::from([(P, 30)]);
        assert_eq!(sync.poll_wish(), Some(SyncWish::BringInForce { idx: 1, ends }));
    }

    #[test]
    fn who_holds_and_stops_is_let_go_of() {
        let mut sync = Synchrony::default();
        sync.handle_end(P, 10, 0);
        sync.handle_members(&[member(false, 1)]);
        sync.handle_acked(1, LinkEpoch(1), [(P, 5)], 0);
        sync.handle_end(P, 20, 1);
        sync.handle_acked(1, LinkEpoch(1), [(P, 10)], 2);
        assert_eq!(sync.floor(P), Some(10));
        sync.handle_time(501);
        assert_eq!(sync.floor(P), Some(10));
        sync.handle_time(502);
        assert_eq!((sync.floor(P), sync.poll_wish()), (None, None));
    }

    #[test]
    fn an_acknowledgement_waits_no_longer_than_the_timeout() {
        let mut sync = in_force(&[(P, 10), (Q, 5)]);
        for at in 0..20 {
            sync.handle_end(P, 11 + at, 100 + u64::try_from(at).unwrap());
        }
        sync.handle_end(Q, 6, 400);
        sync.handle_acked(1, LinkEpoch(1), [(P, 20)], 500);
        sync.handle_time(1_099);
        assert_eq!(sync.poll_wish(), None);
        sync.handle_time(1_100);
        let at_risk = vec![(P, 20), (Q, 5)];
        assert_eq!(sync.poll_wish(), Some(SyncWish::Degrade { idx: 1, since_ms: 100, at_risk }));
        sync.handle_members(&[member(false, 1)]);
        assert_eq!(sync.floor(P), None);
        assert!(sync.owed.is_empty(), "nobody is waited for");
    }

    #[test]
    fn a_session_that_was_superseded_counts_for_nothing() {
        let mut sync = in_force(&[(P, 10)]);
        sync.handle_end(P, 20, 1);
        sync.handle_members(&[member(true, 2)]);
        sync.handle_acked(1, LinkEpoch(1), [(P, 20)], 2);
        assert_eq!(sync.floor(P), Some(10));
        sync.handle_acked(1, LinkEpoch(2), [(P, 20)], 3);
        assert_eq!(sync.floor(P), Some(20));
    }

    #[test]
    fn a_replica_that_lost_what_it_had_is_not_in_force() {
        let mut sync = in_force(&[(P, 10)]);
        sync.handle_members(&[member(true, 2)]);
        sync.handle_acked(1, LinkEpoch(2), [(P, 3)], 7);
        let at_risk = vec![(P, 3)];
        assert_eq!(sync.poll_wish(), Some(SyncWish::Degrade { idx: 1, since_ms: 7, at_risk }));

        let mut started = Synchrony::default();
        started.handle_members(&[member(true, 1)]);
        started.handle_recovered(&Frontiers::from([(P, 10)]));
        started.handle_end(P, 12, 0);
        assert_eq!(started.floor(P), Some(10), "what is known from before holds");
        started.handle_acked(1, LinkEpoch(1), [(P, 12)], 1);
        assert_eq!((started.floor(P), started.poll_wish()), (Some(12), None));
    }

    #[test]
    fn a_partition_that_is_taken_over_is_asked_for_too() {
        let mut sync = Synchrony::default();
        sync.handle_end(P, 10, 0);
        sync.handle_members(&[member(false, 1)]);
        sync.handle_acked(1, LinkEpoch(1), [(P, 4)], 0);
        sync.handle_end(P, 20, 5);
        sync.handle_acked(1, LinkEpoch(1), [(P, 10)], 10);
        assert_eq!(sync.floor(P), Some(10), "it is about to be counted on");
        sync.handle_end(Q, 5, 15);
        sync.handle_acked(1, LinkEpoch(1), [(P, 20)], 20);
        assert_eq!(sync.poll_wish(), None, "it lacks what lies in the other one");
        sync.handle_acked(1, LinkEpoch(1), [(Q, 5)], 30);
        assert!(matches!(sync.poll_wish(), Some(SyncWish::BringInForce { .. })));
    }

    #[test]
    fn a_missing_replica_is_back_once_it_keeps_up() {
        let refusing = SyncMember { refuses: true, ..member(true, 1) };
        let mut sync = Synchrony::default();
        sync.handle_members(&[refusing]);
        sync.handle_acked(1, LinkEpoch(1), [], 0);
        sync.handle_end(P, 10, 0);
        sync.handle_time(1_000);
        assert_eq!(sync.poll_wish(), Some(SyncWish::GiveUp { idx: 1 }));
        assert_eq!((sync.missing(), sync.floor(P)), (Some(1), Some(0)));
        sync.handle_time(9_000);
        assert_eq!(sync.poll_wish(), None, "once is enough");
        // What was missing comes late, and is followed by a round in time.
        sync.handle_acked(1, LinkEpoch(1), [(P, 10)], 9_100);
        assert_eq!(sync.missing(), None);
        sync.handle_time(9_200);
        assert_eq!(sync.poll_wish(), None);
    }

    #[test]
    fn a_missing_replica_is_back_once_what_it_lacks_is_deleted() {
        for refuses in [true, false] {
            let view = SyncMember { refuses, ..member(true, 1) };
            let mut sync = Synchrony::default();
            sync.handle_members(&[view]);
            sync.handle_acked(1, LinkEpoch(1), [], 0);
            sync.handle_end(P, 10, 0);
            sync.handle_end(Q, 5, 0);
            sync.handle_acked(1, LinkEpoch(1), [(P, 10)], 0);
            sync.handle_time(1_000);
            assert!(sync.poll_wish().is_some(), "it is given up for want of Q");
            if !refuses {
                sync.handle_members(&[member(false, 1)]);
            }
            sync.handle_acked(1, LinkEpoch(1), [], 8_000);
            assert_eq!((sync.missing().is_some(), sync.poll_wish()), (refuses, None));
            sync.handle_gone(Q);
            // Nothing moves any more, and the session stands.
            sync.handle_acked(1, LinkEpoch(1), [], 9_000);
            assert_eq!(sync.missing(), None);
            let ends = Frontiers::from([(P, 10)]);
            let wish = (!refuses).then_some(SyncWish::BringInForce { idx: 1, ends });
            assert_eq!(sync.poll_wish(), wish);
        }
    }

    #[test]
    fn all_in_force_are_waited_for() {
        let second = SyncMember { idx: 2, ..member(true, 1) };
        let mut sync = Synchrony::default();
        sync.handle_members(&[member(true, 1), second]);
        sync.handle_end(P, 10, 0);
        sync.handle_acked(1, LinkEpoch(1), [(P, 10)], 1);
        assert_eq!(sync.floor(P), Some(0));
        sync.handle_acked(2, LinkEpoch(1), [(P, 8)], 2);
        assert_eq!(sync.floor(P), Some(8));
        sync.handle_members(&[member(true, 1)]);
        assert_eq!(sync.floor(P), Some(10), "who is removed holds nobody up");
    }
}
