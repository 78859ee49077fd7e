//! What is known of each link now, for those who ask (I9).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mainstem_api::links::LinkError;
use mainstem_catalog::Place;
use mainstem_replicate::{Account, CopyProgress, FaultNote, History, Pending, Sample};
use mainstem_types::{ClusterName, JobId, OriginTopicId, StreamId};
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
    pub(crate) stood_ms: Option<i64>,
    pub(crate) error: Option<LinkError>,
    pub(crate) account: Account,
    pub(crate) faults: Vec<FaultNote>,
    pub(crate) bytes_sent: u64,
    pub(crate) records_sent: u64,
    pub(crate) sessions: u64,
    pub(crate) connected_since_ms: Option<i64>,
    pub(crate) round_trip_ms: Option<u64>,
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
    /// The same, on the monotonic clock.
    pub(crate) heard_ms: u64,
    pub(crate) pending: Pending,
    /// What its clock is ahead of the source's, or behind, for all that can be told: a heartbeat's
    /// way is not taken off.
    pub(crate) ahead_ms: i64,
    pub(crate) error: Option<LinkError>,
    pub(crate) faults: Vec<FaultNote>,
    pub(crate) bytes_received: u64,
    pub(crate) records_received: u64,
    pub(crate) sessions: u64,
    pub(crate) connected_since_ms: Option<i64>,
}

/// What the last looks at a link have seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sampled {
    pub(crate) history: History,
    /// What the next heartbeat tells, at the sending end.
    pub(crate) pending: Pending,
}

/// A gateway of another cluster.
#[derive(Clone, Debug)]
pub(crate) struct GatewayNote {
    /// When it was called last, on the monotonic clock.
    pub(crate) called_ms: u64,
    /// Why it did not answer, if it did not.
    pub(crate) trouble: Option<String>,
}

/// A gateway, by its cluster and address.
pub(crate) type GatewayKey = (ClusterName, String);

/// Copies whose agreement went with them, and whose end somebody may still ask for.
const ENDED_MAX: usize = 256;

/// All notes.
#[derive(Default)]
pub(crate) struct Board {
    sending: Mutex<BTreeMap<LinkKey, SendingNote>>,
    receiving: Mutex<BTreeMap<UpstreamKey, ReceivingNote>>,
    sent_samples: Mutex<BTreeMap<LinkKey, Sampled>>,
    received_samples: Mutex<BTreeMap<UpstreamKey, Sampled>>,
    gateways: Mutex<BTreeMap<GatewayKey, GatewayNote>>,
    ended: Mutex<VecDeque<(JobId, Option<String>)>>,
    logged: Mutex<BTreeSet<Logged>>,
    /// Why what removed set-ups made is still there.
    undos: Mutex<BTreeMap<JobId, LinkError>>,
}

/// The stream here, the one at the other end, and what stopped between them.
type Logged = (StreamId, Place, OriginTopicId, Option<u32>, u32);

/// Faults that are remembered as logged; past that some may be logged again.
const LOGGED_MAX: usize = 16 * 1024;

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

    pub(crate) fn note_undo(&self, job: JobId, error: LinkError) {
        self.undos.lock().insert(job, error);
    }

    pub(crate) fn forget_undo(&self, job: JobId) {
        self.undos.lock().remove(&job);
    }

    pub(crate) fn undo(&self, job: JobId) -> Option<LinkError> {
        self.undos.lock().get(&job).cloned()
    }

    /// A copy is over, for that reason if it was given up; its replica is no longer listed.
    pub(crate) fn note_ended(&self, job: JobId, refused: Option<String>) {
        let mut ended = self.ended.lock();
        ended.truncate(ENDED_MAX - 1);
        ended.push_front((job, refused));
    }

    /// Logs each thing that stopped once, however often it is tried again.
    pub(crate) fn log_faults(&self, key: &LinkKey, faults: &[FaultNote]) {
        if faults.is_empty() {
            return;
        }
        let mut logged = self.logged.lock();
        if logged.len() >= LOGGED_MAX {
            logged.clear();
        }
        for fault in faults {
            let FaultNote { origin, partition, code, message, .. } = fault;
            if logged.insert((key.0, key.1.clone(), *origin, *partition, code.number())) {
                tracing::warn!(peer = %key.1, %origin, ?partition, %code, "stopped: {message}");
            }
        }
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

    pub(crate) fn note_gateway(
        &self,
        cluster: &ClusterName,
        address: &str,
        trouble: Option<String>,
        called_ms: u64,
    ) {
        let key = (cluster.clone(), address.to_owned());
        self.gateways.lock().insert(key, GatewayNote { called_ms, trouble });
    }

    pub(crate) fn gateway(&self, key: &GatewayKey) -> Option<GatewayNote> {
        self.gateways.lock().get(key).cloned()
    }

    /// Forgets gateways that nobody lists any more.
    pub(crate) fn keep_gateways(&self, listed: impl Fn(&GatewayKey) -> bool) {
        self.gateways.lock().retain(|key, _| listed(key));
    }

    /// The gateways over which sessions stand.
    pub(crate) fn gateways_in_use(&self) -> BTreeSet<GatewayKey> {
        let sending = self.sending.lock();
        let in_use = sending
            .iter()
            .filter(|(_, note)| note.connected)
            .filter_map(|(key, note)| Some((key.1.cluster.clone(), note.gateway.clone()?)));
        in_use.collect()
    }

    /// What was seen of a replica's link, also of one that has never worked.
    pub(crate) fn sampled(&self, key: &LinkKey) -> Sampled {
        self.sent_samples.lock().get(key).cloned().unwrap_or_default()
    }

    pub(crate) fn note_sample(&self, key: &LinkKey, sample: Sample, pending: Pending) {
        let mut samples = self.sent_samples.lock();
        let sampled = samples.entry(key.clone()).or_default();
        sampled.history.handle_sample(sample);
        sampled.pending = pending;
    }

    pub(crate) fn upstream_sampled(&self, key: &UpstreamKey) -> Sampled {
        self.received_samples.lock().get(key).cloned().unwrap_or_default()
    }

    pub(crate) fn note_upstream_sample(&self, key: &UpstreamKey, sample: Sample) {
        self.received_samples.lock().entry(key.clone()).or_default().history.handle_sample(sample);
    }

    /// Forgets the samples of links that are not agreed on any more.
    pub(crate) fn keep_samples(&self, stands: impl Fn(&LinkKey) -> bool) {
        self.sent_samples.lock().retain(|key, _| stands(key));
        self.received_samples.lock().retain(|key, _| stands(key));
    }
}

impl SendingNote {
    /// Takes note of a gap; one that is declared again after a broken session stays one.
    pub(crate) fn note_gap(&mut self, gap: GapNote) {
        let is_known = |known: &GapNote| {
            (known.origin, known.partition, known.from) == (gap.origin, gap.partition, gap.from)
        };
        self.gaps.retain(|known| !is_known(known));
        self.gaps.truncate(GAPS_MAX - 1);
        self.gaps.push_front(gap);
    }
}
