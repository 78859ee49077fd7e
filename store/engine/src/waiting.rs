//! Answers to `acks=all` whose batches are durable here and not yet at the synchronous replicas.
//!
//! They wait outside of the sequencer's way, each until the last of its batches is settled, and
//! are bounded by the caller in number.

use std::collections::{BTreeMap, HashMap};

use mainstem_types::{Error, PartitionNo};
use tokio::sync::oneshot;

use crate::op::Appended;

/// Where a batch went, and what must be true before its producer may know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    pub(crate) appended: Appended,
    pub(crate) partition: PartitionNo,
    pub(crate) next_offset: i64,
}

pub(crate) type Answers = Vec<Result<Appended, Error>>;

/// All that wait.
#[derive(Default)]
pub(crate) struct Waiting {
    replies: BTreeMap<u64, WaitingReply>,
    /// Which batches of which reply, by the offset that must be everywhere.
    batches: HashMap<PartitionNo, BTreeMap<(i64, u64), Vec<usize>>>,
    count: usize,
    next: u64,
}

struct WaitingReply {
    waiter: oneshot::Sender<Answers>,
    answers: Answers,
    left: usize,
}

impl Waiting {
    /// Batches that wait.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Sends an answer, or keeps it until those of its batches are settled that `waits` names.
    pub(crate) fn take(
        &mut self,
        waiter: oneshot::Sender<Answers>,
        promises: Vec<Result<Promise, Error>>,
        waits: impl Fn(&Promise) -> bool,
    ) {
        let id = self.next;
        self.next += 1;
        let mut left = 0;
        for (at, promise) in promises.iter().enumerate() {
            if let Ok(promise) = promise
                && waits(promise)
            {
                let of_partition = self.batches.entry(promise.partition).or_default();
                of_partition.entry((promise.next_offset, id)).or_default().push(at);
                left += 1;
            }
        }
        let answers = promises.into_iter().map(|p| p.map(|promise| promise.appended)).collect();
        if left == 0 {
            // Whoever asked may have gone away; then nobody is told.
            let _ = waiter.send(answers);
            return;
        }
        self.count += left;
        self.replies.insert(id, WaitingReply { waiter, answers, left });
    }

    /// A partition is everywhere up to `watermark`.
    pub(crate) fn release(&mut self, partition: PartitionNo, watermark: i64) {
        let Some(batches) = self.batches.get_mut(&partition) else { return };
        let later = batches.split_off(&(watermark.saturating_add(1), 0));
        let settled = std::mem::replace(batches, later);
        if batches.is_empty() {
            self.batches.remove(&partition);
        }
        for ((_, id), places) in settled {
            places.iter().for_each(|_| self.settle(id));
        }
    }

    /// What waits for a partition is answered by an error.
    pub(crate) fn fail(&mut self, partition: PartitionNo, error: &Error) {
        for ((_, id), places) in self.batches.remove(&partition).unwrap_or_default() {
            for at in places {
                if let Some(reply) = self.replies.get_mut(&id) {
                    reply.answers[at] = Err(error.clone());
                }
                self.settle(id);
            }
        }
    }

    fn settle(&mut self, id: u64) {
        let reply = self.replies.get_mut(&id).expect("a batch waits as long as its reply");
        reply.left -= 1;
        self.count -= 1;
        if reply.left == 0
            && let Some(reply) = self.replies.remove(&id)
        {
            let _ = reply.waiter.send(reply.answers);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn promise(partition: u64, next_offset: i64) -> Result<Promise, Error> {
        let appended = Appended { base_offset: 0, append_time_ms: None, log_start: 0 };
        Ok(Promise { appended, partition: PartitionNo(partition), next_offset })
    }

    #[test]
    fn an_answer_goes_once_the_last_of_its_batches_is_settled() {
        let mut waiting = Waiting::default();
        let (waiter, mut answer) = oneshot::channel();
        let refused = Err(Error::retry("no"));
        let promises = vec![promise(1, 5), promise(2, 7), refused, promise(2, 7), promise(3, 1)];
        waiting.take(waiter, promises, |promise| promise.partition != PartitionNo(3));
        assert_eq!(waiting.count(), 3);
        waiting.release(PartitionNo(1), 4);
        waiting.release(PartitionNo(2), 7);
        assert_eq!((waiting.count(), answer.try_recv().ok()), (1, None));
        waiting.fail(PartitionNo(1), &Error::not_found("gone"));
        let answers = answer.try_recv().unwrap();
        let is_error: Vec<bool> = answers.iter().map(Result::is_err).collect();
        assert_eq!((waiting.count(), is_error), (0, vec![true, false, true, false, false]));
        assert!(waiting.batches.is_empty() && waiting.replies.is_empty());
    }

    #[test]
    fn who_waits_for_nothing_is_answered_at_once() {
        let mut waiting = Waiting::default();
        let (waiter, mut answer) = oneshot::channel();
        waiting.take(waiter, vec![promise(1, 5)], |_| false);
        assert_eq!((answer.try_recv().unwrap().len(), waiting.count()), (1, 0));
    }
}
