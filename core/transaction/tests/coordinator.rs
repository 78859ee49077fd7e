//! The coordinator: who has which transactional id, and what may follow what.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use mainstem_transaction::{
    Begin, Coordinator, Decision, End, Marker, PendingCursor, Transaction, TransactionEvent,
    TransactionState, TransactionalProducer,
};
use mainstem_types::limits::{
    TRANSACTION_CURSOR_BYTES_MAX, TRANSACTION_PARTITIONS_MAX, TRANSACTIONAL_ID_KEPT_MS,
};
use mainstem_types::{Error, ErrorKind, OriginTopicId, PartitionNo, StreamId, TransactionalId};
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000_000;
const TIMEOUT: i32 = 10_000;

fn id(name: &str) -> TransactionalId {
    name.parse().unwrap()
}

/// A coordinator, the events that made it, and the ids that it was given.
#[derive(Default)]
struct Desk {
    coordinator: Coordinator,
    events: Vec<TransactionEvent>,
    drawn: i64,
    now_ms: i64,
}

impl Desk {
    fn apply(&mut self, event: TransactionEvent) {
        self.coordinator.apply(&event);
        self.events.push(event);
    }

    fn begin(
        &mut self,
        name: &str,
        known: Option<(i64, i16)>,
    ) -> Result<TransactionalProducer, Error> {
        let (mut fresh, id) = (None, id(name));
        loop {
            let (producer_id, epoch) =
                match self.coordinator.begin(&id, known, TIMEOUT, fresh, NOW + self.now_ms)? {
                    Begin::NeedsProducerId => {
                        self.drawn += 1;
                        fresh = Some(self.drawn);
                        continue;
                    }
                    Begin::AbortFirst(producer_id) => {
                        self.decide(producer_id, false, true);
                        continue;
                    }
                    Begin::Again { producer_id, epoch } => (producer_id, epoch),
                    Begin::Begun { events, producer_id, epoch } => {
                        events.into_iter().for_each(|event| self.apply(event));
                        (producer_id, epoch)
                    }
                };
            return Ok(TransactionalProducer { id, producer_id, epoch });
        }
    }

    fn add(&mut self, who: &TransactionalProducer, no: u64) -> Result<(), Error> {
        let at_ms = NOW + self.now_ms;
        let event = self.coordinator.add_partitions(who, &[PartitionNo(no)], at_ms)?;
        event.into_iter().for_each(|event| self.apply(event));
        Ok(())
    }

    fn decide(&mut self, producer_id: i64, commit: bool, by_itself: bool) {
        let at_ms = NOW + self.now_ms;
        let decision = self.coordinator.decision(producer_id, commit, by_itself, at_ms);
        self.apply(TransactionEvent::Decided { decision: decision.unwrap() });
    }

    fn end(&mut self, who: &TransactionalProducer, commit: bool) -> Result<(), Error> {
        if self.coordinator.end(who, commit)? == End::Now {
            self.decide(who.producer_id, commit, false);
        }
        Ok(())
    }

    fn may_write(&self, who: &TransactionalProducer, no: u64) -> Result<(), ErrorKind> {
        let checked = self.coordinator.check_append(who.producer_id, who.epoch, PartitionNo(no));
        checked.map_err(|error| error.kind())
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn who_begins_last_has_the_id_and_the_others_are_fenced() {
    let mut desk = Desk::default();
    let first = desk.begin("t", None).unwrap();
    desk.add(&first, 1).unwrap();
    assert_eq!(desk.may_write(&first, 1), Ok(()));
    let second = desk.begin("t", None).unwrap();
    assert_eq!(second.producer_id, first.producer_id);
    assert!(second.epoch > first.epoch);
    assert_eq!(desk.may_write(&first, 1), Err(ErrorKind::InvalidProducerEpoch));
    assert_eq!(kind(desk.add(&first, 1)), ErrorKind::ProducerFenced);
    assert_eq!(kind(desk.end(&first, true)), ErrorKind::ProducerFenced);
    let known = Some((first.producer_id, first.epoch));
    assert_eq!(kind(desk.begin("t", known)), ErrorKind::ProducerFenced);
    let other = desk.begin("u", None).unwrap();
    assert_ne!(other.producer_id, second.producer_id);
    let mixed = TransactionalProducer { id: id("t"), ..other };
    assert_eq!(kind(desk.add(&mixed, 1)), ErrorKind::UnknownTransaction);
}

#[test]
fn who_says_what_it_has_gets_the_next_epoch_once() {
    let mut desk = Desk::default();
    let first = desk.begin("t", None).unwrap();
    let known = Some((first.producer_id, first.epoch));
    let second = desk.begin("t", known).unwrap();
    assert_eq!(second.epoch, first.epoch + 1);
    assert_eq!(desk.begin("t", known).unwrap(), second, "the answer was lost on its way");
    desk.add(&second, 1).unwrap();
    assert_eq!(kind(desk.begin("t", known)), ErrorKind::ProducerFenced, "it was not lost");
}

#[test]
fn an_end_may_be_asked_for_again_but_not_another_one() {
    let mut desk = Desk::default();
    let who = desk.begin("t", None).unwrap();
    assert_eq!(kind(desk.end(&who, true)), ErrorKind::InvalidTransaction, "none was begun");
    assert_eq!(desk.coordinator.end(&who, false), Ok(End::Nothing));
    for commit in [true, false] {
        desk.add(&who, 1).unwrap();
        desk.end(&who, commit).unwrap();
        assert_eq!(desk.coordinator.end(&who, commit), Ok(End::Again(Vec::new())));
        assert_eq!(kind(desk.end(&who, !commit)), ErrorKind::InvalidTransaction);
        assert_eq!(desk.may_write(&who, 1), Err(ErrorKind::InvalidTransaction), "it has ended");
    }
}

#[test]
fn what_is_out_of_time_is_overdue_and_ends_its_producers_epoch() {
    let mut desk = Desk::default();
    let who = desk.begin("t", None).unwrap();
    assert_eq!(desk.coordinator.overdue(i64::MAX), [] as [i64; 0], "nothing is open");
    desk.add(&who, 1).unwrap();
    let deadline_ms = NOW + i64::from(TIMEOUT);
    assert_eq!(desk.coordinator.overdue(deadline_ms - 1), [] as [i64; 0]);
    desk.now_ms = 5_000;
    desk.add(&who, 2).unwrap();
    assert_eq!(desk.coordinator.overdue(deadline_ms), [who.producer_id], "from its first step on");
    desk.decide(who.producer_id, false, true);
    assert_eq!(desk.coordinator.overdue(i64::MAX), [] as [i64; 0]);
    assert_eq!(kind(desk.end(&who, true)), ErrorKind::ProducerFenced);
    let goes_on = desk.begin("t", Some((who.producer_id, who.epoch))).unwrap();
    assert_eq!(goes_on.epoch, who.epoch + 1, "nobody else has had the id since");
}

#[test]
fn when_its_epochs_are_used_up_an_id_gets_another_producer() {
    let mut desk = Desk::default();
    let mut who = desk.begin("t", None).unwrap();
    let first = who.producer_id;
    for _ in 0..i16::MAX - 1 {
        who = desk.begin("t", Some((who.producer_id, who.epoch))).unwrap();
    }
    assert_eq!((who.producer_id, who.epoch), (first, i16::MAX - 1));
    desk.add(&who, 1).unwrap();
    let next = desk.begin("t", None).unwrap();
    assert_eq!((next.producer_id, next.epoch), (first + 1, 0));
    assert_eq!(desk.may_write(&who, 1), Err(ErrorKind::InvalidTransaction));
    assert!(desk.coordinator.get(first).is_none());
}

#[test]
fn an_epoch_that_leaves_no_higher_one_is_given_to_nobody() {
    let mut desk = Desk::default();
    let mut who = desk.begin("t", None).unwrap();
    while who.epoch < i16::MAX - 1 {
        who = desk.begin("t", Some((who.producer_id, who.epoch))).unwrap();
    }
    desk.add(&who, 1).unwrap();
    desk.decide(who.producer_id, false, true);
    assert_eq!(kind(desk.add(&who, 1)), ErrorKind::ProducerFenced, "it was out of time");
    let next = desk.begin("t", Some((who.producer_id, who.epoch))).unwrap();
    assert_eq!((next.producer_id, next.epoch), (who.producer_id + 1, 0));
}

#[test]
fn nobody_has_an_id_by_an_epoch_that_never_was() {
    let mut desk = Desk::default();
    let who = desk.begin("t", None).unwrap();
    let stranger = desk.begin("t", Some((who.producer_id, -1)));
    assert_eq!(kind(stranger), ErrorKind::ProducerFenced);
}

#[test]
fn of_cursors_of_one_place_the_last_counts_and_bytes_are_bounded() {
    let mut desk = Desk::default();
    let who = desk.begin("t", None).unwrap();
    let group = desk.coordinator.add_group(&who, &cursor().group, NOW).unwrap();
    desk.apply(group.unwrap());
    let at = |partition, offset| PendingCursor { partition, offset, ..cursor() };
    let many: Vec<PendingCursor> = (0..9_000).map(|n| at(n % 9_000, 1)).collect();
    for offset in [2, 3] {
        let again: Vec<PendingCursor> = many.iter().map(|one| at(one.partition, offset)).collect();
        let sent: Vec<PendingCursor> = many.iter().cloned().chain(again).collect();
        let event = desk.coordinator.add_cursors(&who, &sent).unwrap();
        desk.apply(event);
        let kept = &desk.coordinator.get(who.producer_id).unwrap().cursors;
        assert_eq!(kept.len(), 9_000, "none counts twice");
        assert!(kept.iter().all(|cursor| cursor.offset == offset));
    }
    let long = |partition| PendingCursor { metadata: "x".repeat(4_096), ..at(partition, 4) };
    let too_many: Vec<PendingCursor> =
        (0..TRANSACTION_CURSOR_BYTES_MAX / 4_096).map(|n| long(n as u32)).collect();
    assert_eq!(kind(desk.coordinator.add_cursors(&who, &too_many)), ErrorKind::Limit);
}

#[test]
fn there_are_limits_and_what_is_idle_goes() {
    let mut desk = Desk::default();
    let who = desk.begin("t", None).unwrap();
    let many: Vec<PartitionNo> = (0..=TRANSACTION_PARTITIONS_MAX as u64).map(PartitionNo).collect();
    assert_eq!(kind(desk.coordinator.add_partitions(&who, &many, NOW)), ErrorKind::Limit);
    for timeout_ms in [0, -1, 900_001] {
        let begun = desk.coordinator.begin(&id("u"), None, timeout_ms, Some(9), NOW);
        assert_eq!(kind(begun), ErrorKind::Invalid);
    }
    desk.add(&who, 1).unwrap();
    let late_ms = NOW + TRANSACTIONAL_ID_KEPT_MS + 1;
    assert_eq!(desk.coordinator.expire(late_ms, 9), [], "what is open is not idle");
    desk.end(&who, true).unwrap();
    assert_eq!(desk.coordinator.expire(late_ms - 1, 9), []);
    let producer_id = who.producer_id;
    let forgotten = desk.coordinator.expire(late_ms, 9);
    assert_eq!(forgotten, [TransactionEvent::Forgotten { producer_id }]);
    forgotten.into_iter().for_each(|event| desk.apply(event));
    assert_eq!(kind(desk.add(&who, 1)), ErrorKind::UnknownTransaction);
}

/// What a few clients do, some of them zombies.
#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(usize, bool),
    Add(usize, u64),
    End(usize, bool),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..4_usize;
    prop_oneof![
        (client.clone(), any::<bool>()).prop_map(|(client, knows)| Step::Begin(client, knows)),
        (client.clone(), 0..3_u64).prop_map(|(client, no)| Step::Add(client, no)),
        (client, any::<bool>()).prop_map(|(client, commit)| Step::End(client, commit)),
        (1..12_000_i64).prop_map(Step::Pass),
    ]
}

fn sorted(coordinator: &Coordinator) -> BTreeMap<TransactionalId, Transaction> {
    coordinator.iter().map(|ours| (ours.id.clone(), ours.clone())).collect()
}

proptest! {
    #[test]
    fn one_producer_at_a_time_may_write_and_a_replay_gives_the_same(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut desk = Desk::default();
        let mut clients: [Option<TransactionalProducer>; 4] = Default::default();
        for step in steps {
            match step {
                Step::Begin(client, knows) => {
                    let name = ["t", "t", "t", "u"][client];
                    let known = clients[client].as_ref().filter(|_| knows);
                    let known = known.map(|who| (who.producer_id, who.epoch));
                    if let Ok(who) = desk.begin(name, known) {
                        // An answer that came twice is two clients' only if both were told so.
                        clients[client] = Some(who);
                    }
                }
                Step::Add(client, no) => {
                    if let Some(who) = clients[client].clone() {
                        let _ = desk.add(&who, no);
                    }
                }
                Step::End(client, commit) => {
                    if let Some(who) = clients[client].clone() {
                        let _ = desk.end(&who, commit);
                    }
                }
                Step::Pass(ms) => {
                    desk.now_ms += ms;
                    for producer_id in desk.coordinator.overdue(NOW + desk.now_ms) {
                        desk.decide(producer_id, false, true);
                    }
                }
            }
            let writers = clients.iter().flatten().filter(|who| who.id == id("t"));
            let writers = writers.filter(|who| (0..3).any(|no| desk.may_write(who, no).is_ok()));
            let mut writers: Vec<_> = writers.map(|who| (who.producer_id, who.epoch)).collect();
            writers.dedup();
            prop_assert!(writers.len() <= 1, "{writers:?}");
            for ours in desk.coordinator.iter() {
                prop_assert!(ours.is_open() || ours.partitions.is_empty());
                prop_assert_eq!(ours.state == TransactionState::Ongoing, ours.is_open());
            }
        }
        let mut again = Coordinator::default();
        for event in &desk.events {
            again.apply(&TransactionEvent::decode(&event.encode()).unwrap());
        }
        prop_assert_eq!(sorted(&again), sorted(&desk.coordinator));
        let mut rows = Coordinator::default();
        for ours in desk.coordinator.iter() {
            rows.insert(Transaction::decode(&ours.encode()).unwrap());
        }
        prop_assert_eq!(sorted(&rows), sorted(&desk.coordinator));
        prop_assert_eq!(rows.overdue(i64::MAX), desk.coordinator.overdue(i64::MAX));
    }
}

fn cursor() -> PendingCursor {
    PendingCursor {
        stream: StreamId(0x11),
        group: "readers".parse().unwrap(),
        topic: OriginTopicId(0x22),
        partition: 3,
        offset: 1_000,
        leader_epoch: 4,
        metadata: "said".to_owned(),
    }
}

/// One event of each variant.
fn events() -> Vec<TransactionEvent> {
    let producer_id = 77;
    let decision = Decision {
        producer_id,
        epoch: 2,
        committed: true,
        at_ms: NOW,
        markers: vec![Marker { partition: PartitionNo(5), offset: 99, first_offset: 90 }],
        cursors: vec![vec![1, 2, 3].into()],
    };
    vec![
        TransactionEvent::ProducerBegun {
            id: id("t"),
            producer_id,
            epoch: 2,
            last_epoch: 1,
            timeout_ms: TIMEOUT,
            at_ms: NOW,
        },
        TransactionEvent::PartitionsAdded {
            producer_id,
            partitions: vec![PartitionNo(5)],
            at_ms: NOW,
        },
        TransactionEvent::GroupAdded { producer_id, group: "readers".parse().unwrap(), at_ms: NOW },
        TransactionEvent::CursorsAdded { producer_id, cursors: vec![cursor()] },
        TransactionEvent::Decided { decision: decision.clone() },
        TransactionEvent::Forgotten { producer_id },
        TransactionEvent::Told { decision },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const EVENTS: [&str; 7] = [
    "8200a600617401184d0202030104192710051b0000018bcfe56800",
    "8201a300184d018105021b0000018bcfe56800",
    "8202a300184d016772656164657273021b0000018bcfe56800",
    "\
     8203a200184d0181a700500000000000000000000000000000001101677265616465727302500000000000\
     00000000000000000000220303041903e80504066473616964",
    "8204a100a600184d010202f5031b0000018bcfe56800048183051863185a058143010203",
    "8205a100184d",
    "8206a100a600184d010202f5031b0000018bcfe56800048183051863185a058143010203",
];
const ROW: &str = "\
     ab00617401184d02020301041927100501061b0000018bcfe56800078105088167726561646572730981a7\
     00500000000000000000000000000000001101677265616465727302500000000000000000000000000000\
     00220303041903e805040664736169640a80";

#[test]
fn events_and_rows_are_these_bytes_and_a_part_of_them_is_none() {
    let mut coordinator = Coordinator::default();
    for (event, golden) in events().iter().zip(EVENTS) {
        let bytes = event.encode();
        assert_eq!(hex(&bytes), golden, "{event:?}");
        assert_eq!(&TransactionEvent::decode(&bytes).unwrap(), event);
        for cut in 0..bytes.len() {
            assert!(TransactionEvent::decode(&bytes[..cut]).is_err(), "{event:?} cut at {cut}");
        }
    }
    events()[..4].iter().for_each(|event| drop(coordinator.apply(event)));
    let row = coordinator.get(77).unwrap();
    let bytes = row.encode();
    assert_eq!(hex(&bytes), ROW);
    assert_eq!(&Transaction::decode(&bytes).unwrap(), row);
    for cut in 0..bytes.len() {
        assert!(Transaction::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}
