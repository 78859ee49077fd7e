//! What is known of each link now, for those who ask (I9).

use std::collections::{BTreeMap, HashMap, VecDeque};

use mainstem_api::links::LinkError;
use mainstem_catalog::Place;
use mainstem_link::{Ack, Welcome};
use mainstem_replicate::{CopyProgress, FaultNote, Pending};
use mainstem_types::{CatalogSeq, JobId, OriginTopicId, StreamId};
use parking_lot::Mutex;

/// A replica of a stream of this cluster.
pub(crate) type LinkKey = (StreamId, Place);
/// An upstream of a stream of this cluster: the stream, and where its source says it lies.
pub(crate) type UpstreamKey = (StreamId, Place);

/// The sending end.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendingNote {
    pub(crate) connected: bool,
    pub(crate) gateway: Option<String>,
    pub(crate) last_contact_ms: Option<i64>,
    pub(crate) error: Option<LinkError>,
    pub(crate) acked: HashMap<(OriginTopicId, u32), i64>,
    /// Up to here the replica has applied the source's catalog.
    pub(crate) applied_seq: CatalogSeq,
    pub(crate) faults: Vec<FaultNote>,
    pub(crate) bytes_sent: u64,
    pub(crate) records_sent: u64,
    pub(crate) sessions: u64,
    pub(crate) copy: Option<CopyProgress>,
    /// The newest gaps declared.
    pub(crate) gaps: VecDeque<GapNote>,
}

/// Offsets that the source did not keep long enough for a replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GapNote {
    pub(crate) origin: OriginTopicId,
    pub(crate) partition: u32,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) at_ms: i64,
}

/// Gaps of one link that are remembered.
const GAPS_MAX: usize = 64;

/// The receiving end.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivingNote {
    /// The session that speaks; an older one's end does not touch a newer one's note.
    pub(crate) session: u64,
    pub(crate) connected: bool,
    pub(crate) last_contact_ms: Option<i64>,
    pub(crate) pending: Pending,
    pub(crate) error: Option<LinkError>,
    pub(crate) faults: Vec<FaultNote>,
}

/// Copies whose agreement went with them, and whose end somebody may still ask for.
const ENDED_MAX: usize = 256;

/// All notes.
#[derive(Default)]
pub(crate) struct Board {
    sending: Mutex<BTreeMap<LinkKey, SendingNote>>,
    receiving: Mutex<BTreeMap<UpstreamKey, ReceivingNote>>,
    ended: Mutex<VecDeque<(JobId, Option<String>)>>,
}

impl Board {
    pub(crate) fn sending(&self, key: &LinkKey) -> Option<SendingNote> {
        self.sending.lock().get(key).cloned()
    }

    pub(crate) fn note_sending(&self, key: &LinkKey, change: impl FnOnce(&mut SendingNote)) {
        change(self.sending.lock().entry(key.clone()).or_default());
    }

    pub(crate) fn forget_sending(&self, key: &LinkKey) {
        self.sending.lock().remove(key);
    }

    /// A copy is over, for that reason if it was given up; its replica is no longer listed.
    pub(crate) fn note_ended(&self, job: JobId, refused: Option<String>) {
        let mut ended = self.ended.lock();
        ended.truncate(ENDED_MAX - 1);
        ended.push_front((job, refused));
    }

    /// How a copy ended that is no longer listed, as far as it is remembered.
    pub(crate) fn ended(&self, job: JobId) -> Option<Option<String>> {
        let ended = self.ended.lock();
        ended.iter().find(|(of, _)| *of == job).map(|(_, refused)| refused.clone())
    }

    pub(crate) fn receiving(&self, key: &UpstreamKey) -> Option<ReceivingNote> {
        self.receiving.lock().get(key).cloned()
    }

    /// Forgets what is no longer agreed on.
    pub(crate) fn keep_receiving(&self, stands: impl Fn(&UpstreamKey) -> bool) {
        self.receiving.lock().retain(|key, _| stands(key));
    }

    pub(crate) fn note_receiving(
        &self,
        key: &UpstreamKey,
        change: impl FnOnce(&mut ReceivingNote),
    ) {
        change(self.receiving.lock().entry(key.clone()).or_default());
    }
}

impl SendingNote {
    /// What a Welcome says that the replica holds; its first part begins a new account, since the
    /// replica may have been made anew.
    pub(crate) fn note_welcome(&mut self, chunk: &Welcome, first: bool) {
        if first {
            self.acked.clear();
            self.applied_seq = chunk.applied_seq;
        }
        for item in &chunk.partitions {
            self.acked.insert((item.origin, item.partition), item.end);
        }
    }

    /// Takes note of a gap; one that is declared again after a broken session stays one.
    pub(crate) fn note_gap(&mut self, gap: GapNote) {
        let is_known = |known: &GapNote| {
            (known.origin, known.partition, known.from) == (gap.origin, gap.partition, gap.from)
        };
        self.gaps.retain(|known| !is_known(known));
        self.gaps.truncate(GAPS_MAX - 1);
        self.gaps.push_front(gap);
    }

    /// What an Ack says that it holds by now.
    pub(crate) fn note_ack(&mut self, ack: &Ack) {
        self.applied_seq = self.applied_seq.max(ack.applied_seq);
        for end in &ack.ends {
            let acked = self.acked.entry((end.origin, end.partition)).or_default();
            *acked = (*acked).max(end.offset);
        }
    }
}
