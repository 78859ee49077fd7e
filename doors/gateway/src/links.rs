//! What the other doors may ask of links (I9: taken when asked, with the reason).

use std::sync::Arc;
use std::time::Duration;

use mainstem_api::links::{
    BoxFuture, CopyGrant, CopyReport, GatewayReport, LinkError, LinkGap, LinkReport, Links,
    NOT_FED, Rates, ReplicaState, SyncStanding, TopicFault, UpstreamReport, VerifyReport,
};
use mainstem_catalog::{
    Command, GrantId, NewSetup, Owner, Place, Replica, ReplicaSettings, Setup, SetupKind,
    SetupStep, Stream, SyncState,
};
use mainstem_replicate::{FaultNote, History};
use mainstem_types::limits::{LINK_HEARTBEAT_MS, LINK_SILENCE_MS_MAX};
use mainstem_types::{
    ClusterName, Error, JobId, OriginTopicId, StreamId, StreamPath, StreamRef, TopicName,
};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::backlog::Backlog;
use crate::board::{GapNote, LinkKey, ReceivingNote, SendingNote, UpstreamKey};
use crate::context::Context;
use crate::dial::{ask, dial};
use crate::link::no_gateway;
use crate::mode::{open_setup, waits_for_load};
use crate::probe::gateway_reports;
use crate::supervisor::Tasks;
use crate::verify::{Verifications, start};

/// A source that said nothing for so long, a few heartbeats, may have more by now than it told.
const SILENT_MS: u64 = 3 * LINK_HEARTBEAT_MS;
const _: () = assert!(SILENT_MS < LINK_SILENCE_MS_MAX);

pub(crate) struct LinkDesk {
    pub(crate) ctx: Context,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) verifications: Arc<Verifications>,
    /// Turns true when the process stops.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Links for LinkDesk {
    fn replica(
        &self,
        stream: StreamId,
        cluster: &ClusterName,
        path: &StreamPath,
    ) -> Option<LinkReport> {
        let place = Place { cluster: cluster.clone(), path: path.clone() };
        self.report_of(&(stream, place)).map(|(report, _)| report)
    }

    fn upstream(
        &self,
        stream: StreamId,
        cluster: &ClusterName,
        path: &StreamPath,
    ) -> Option<UpstreamReport> {
        let place = Place { cluster: cluster.clone(), path: path.clone() };
        self.upstream_report(&(stream, place))
    }

    fn undo(&self, job: JobId) -> Option<LinkError> {
        self.ctx.board.undo(job)
    }

    fn refresh(&self, stream: StreamId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            /// How long an attempt may take to show something.
            const LOOKS: u32 = 40;
            let asked_ms = self.ctx.wall_ms();
            let keys = self.tasks.nudge(stream);
            let is_fresh = |key: &LinkKey| {
                self.ctx.board.sending(key).is_some_and(|note| {
                    note.connected || note.error.is_some_and(|error| error.at_ms >= asked_ms)
                })
            };
            let catalog = self.ctx.engine.catalog();
            let rests = |key: &LinkKey| {
                let replica = catalog.stream(stream).and_then(|s| s.replica(&key.1));
                replica.is_none_or(|replica| replica.paused && open_setup(replica).is_none())
            };
            for _ in 0..LOOKS {
                if keys.iter().all(|key| is_fresh(key) || rests(key)) {
                    return;
                }
                sleep(Duration::from_millis(25)).await;
            }
        })
    }

    fn start_copy(
        &self,
        source: StreamId,
        destination: &StreamRef,
        grant: Option<CopyGrant>,
        reads: Option<u64>,
    ) -> BoxFuture<'_, Result<JobId, Error>> {
        let destination = destination.clone();
        Box::pin(async move {
            let catalog = self.ctx.engine.catalog();
            let stream = catalog.expect_stream(source)?;
            let cluster = destination.cluster.unwrap_or_else(|| catalog.cluster().name.clone());
            let place = Place { cluster, path: destination.path };
            let listed = stream.replica(&place);
            if let Some(setup) = listed.and_then(open_setup) {
                return Ok(setup.job);
            }
            let job = JobId::from_random(self.ctx.env.random.next_u128());
            let setup = NewSetup {
                job,
                kind: SetupKind::Copy,
                grant: None,
                multimaster: false,
                direct_copy: true,
                use_existing: true,
                reads: reads.unwrap_or(0),
            };
            let begin = match (listed, grant) {
                (Some(_), _) => Command::BeginSetup { stream: stream.id, replica: place, setup },
                (None, Some(CopyGrant { grant, stream: to })) => Command::AddReplica {
                    stream: stream.id,
                    replica: place,
                    replica_id: Some(to),
                    settings: ReplicaSettings::default(),
                    paused: true,
                    setup: Some(NewSetup { grant: Some(GrantId::from_bytes(grant)), ..setup }),
                },
                (None, None) => {
                    return Err(Error::unsupported(format!(
                        "{place} is not a replica of {}; `mapr copystream` asks it for a grant to \
                         copy into it, or declare the replica and its upstream, then copy",
                        stream.path
                    )));
                }
            };
            self.ctx.engine.change(begin).await.map(|_| job)
        })
    }

    fn copy(&self, job: JobId) -> Option<CopyReport> {
        let catalog = self.ctx.engine.catalog();
        let found = catalog.streams().find_map(|stream| {
            let of_job = |replica: &&Replica| replica.setup.as_ref().is_some_and(|s| s.job == job);
            stream.replicas.iter().find(of_job).map(|replica| (stream.clone(), replica.clone()))
        });
        let Some((stream, replica)) = found else {
            let refused = self.ctx.board.ended(job)?;
            let percent = if refused.is_none() { 100 } else { 0 };
            let finished = Some(refused.map_or(Ok(()), |reason| Err(Error::policy(reason))));
            return Some(CopyReport { percent, finished, ..CopyReport::default() });
        };
        let setup = replica.setup.as_ref()?;
        let note = self.ctx.board.sending(&(stream.id, replica.place.clone())).unwrap_or_default();
        let finished = match setup.step {
            SetupStep::Replicating => Some(Ok(())),
            SetupStep::Unexpected => {
                let reason = setup.error.clone().unwrap_or_else(|| "the copy was refused".into());
                Some(Err(Error::policy(reason)))
            }
            _ => None,
        };
        let waiting = note.error.clone().filter(|_| finished.is_none() && !note.connected);
        Some(CopyReport {
            percent: percent(setup, &note),
            records: note.records_sent,
            bytes: note.bytes_sent,
            finished,
            waiting,
        })
    }

    fn start_verify(
        &self,
        stream: StreamId,
        replica: &StreamRef,
        topic: Option<&TopicName>,
    ) -> Result<JobId, Error> {
        let stop = self.stop.clone();
        start(&self.ctx, &self.verifications, stop, stream, (replica, topic))
    }

    fn verification(&self, job: JobId) -> Option<VerifyReport> {
        self.verifications.report(job)
    }

    fn resolve(&self, cluster: &ClusterName) -> BoxFuture<'_, Vec<String>> {
        let cluster = cluster.clone();
        Box::pin(async move {
            let gateways = self.ctx.gateways_now(&self.ctx.engine.catalog(), &cluster).await;
            let mut calls = tokio::task::JoinSet::new();
            for (place, gateway) in gateways.into_iter().enumerate() {
                let (ctx, cluster) = (self.ctx.clone(), cluster.clone());
                calls.spawn(async move {
                    let alive = dial(&ctx, &cluster, &gateway).await.is_ok();
                    alive.then_some((place, gateway))
                });
            }
            let mut alive: Vec<(usize, String)> =
                calls.join_all().await.into_iter().flatten().collect();
            alive.sort_unstable();
            alive.into_iter().map(|(_, gateway)| gateway).collect()
        })
    }

    fn remote_stream(
        &self,
        cluster: &ClusterName,
        path: &StreamPath,
    ) -> BoxFuture<'_, Result<Option<StreamId>, Error>> {
        let place = Place { cluster: cluster.clone(), path: path.clone() };
        Box::pin(async move { self.describe(place).await })
    }

    fn gateways(&self) -> Vec<GatewayReport> {
        gateway_reports(&self.ctx)
    }

    fn local_gateways(&self) -> Vec<String> {
        self.ctx.own_gateways.to_vec()
    }
}

impl LinkDesk {
    /// The state of a link now, and what it is behind.
    pub(crate) fn report_of(&self, key: &LinkKey) -> Option<(LinkReport, Backlog)> {
        // The note before the catalog, see `Backlog::count`.
        let note = self.ctx.board.sending(key).unwrap_or_default();
        let catalog = self.ctx.engine.catalog();
        let stream = catalog.stream(key.0)?;
        let replica = stream.replica(&key.1)?;
        let backlog = Backlog::count(&self.ctx.engine, stream, replica.replica_id, &note.account);
        let mut report = self.report(stream, replica, note, &backlog);
        let history = self.ctx.board.sampled(key).history;
        report.lag_ms_max = history.lag_ms_max().max(report.lag_ms);
        report.rates = rates(&history);
        Some((report, backlog))
    }

    /// The state of an upstream now.
    pub(crate) fn upstream_report(&self, key: &UpstreamKey) -> Option<UpstreamReport> {
        let catalog = self.ctx.engine.catalog();
        let stream = catalog.stream(key.0)?;
        let place = &key.1;
        let source = stream.upstream(place)?.stream_id;
        let mut note = self.ctx.board.receiving(key).unwrap_or_default();
        if !note.connected && note.error.is_none() {
            let message = match note.last_contact_ms {
                None => format!("{place} has not called since this cluster was started"),
                Some(_) => format!("no session stands; the last one of {place} did its work"),
            };
            note.error = Some(self.error("NotConnected", message));
        }
        // What a source that is gone has said last is what a fail-over is decided by.
        let pending = note.pending;
        let here = |source_ms: i64| source_ms.saturating_add(note.ahead_ms);
        let counted = pending.counted_ms > 0;
        let lag_ms = match pending.since_ms {
            // What has come to be pending since the source was heard is not known here.
            0 => (note.connected && !self.is_silent(&note)).then_some(0),
            since => u64::try_from(self.ctx.wall_ms().saturating_sub(here(since))).ok(),
        };
        Some(UpstreamReport {
            connected: note.connected,
            last_contact_ms: note.last_contact_ms,
            bytes_pending: pending.bytes,
            puts_pending: pending.records,
            pending_since_ms: pending.since_ms,
            counted_ms: counted.then(|| here(pending.counted_ms)),
            lag_ms: lag_ms.filter(|_| counted),
            rates: rates(&self.ctx.board.upstream_sampled(key).history),
            bytes_received: note.bytes_received,
            records_received: note.records_received,
            sessions: note.sessions,
            connected_since_ms: note.connected_since_ms,
            topics_fed: source.map_or(0, |source| self.ctx.feeding.fed_by(stream, source)),
            error: note.error,
            faults: topic_faults(Some(stream), &note.faults),
        })
    }

    fn is_silent(&self, note: &ReceivingNote) -> bool {
        self.ctx.now_ms() >= note.heard_ms + SILENT_MS
    }

    fn report(
        &self,
        stream: &Stream,
        replica: &Replica,
        note: SendingNote,
        backlog: &Backlog,
    ) -> LinkReport {
        let setup = replica.setup.as_ref();
        let lag_ms = match backlog.oldest_ms {
            0 => 0,
            oldest => u64::try_from(self.ctx.wall_ms().saturating_sub(oldest)).unwrap_or(0),
        };
        let faults = topic_faults(Some(stream), &note.faults);
        let rests = replica.paused && open_setup(replica).is_none();
        let error = if rests {
            // `paused` says why; an error from before the pause says nothing about now.
            setup.and_then(|setup| setup.error.clone()).map(|e| self.error("ErrSetup", e))
        } else if note.connected {
            faults.first().map(|fault| self.fault_as_error(fault))
        } else {
            note.error.clone().or_else(|| self.reason(stream, replica))
        };
        let unknown = !note.account.is_heard() && backlog.partitions > 0;
        let error = if unknown { Some(self.with_unknown(error)) } else { error };
        let error = error.or_else(|| self.not_fed(stream));
        LinkReport {
            state: match setup {
                _ if waits_for_load(stream, replica) => ReplicaState::WaitTillBulkload,
                Some(setup) => state_of(setup.step),
                None => ReplicaState::Replicating,
            },
            connected: note.connected,
            sync: match replica.sync_state {
                _ if self.ctx.engine.is_missing(stream.id, replica.idx) => SyncStanding::Refusing,
                SyncState::Degraded => SyncStanding::Degraded,
                SyncState::Async | SyncState::Joining | SyncState::InForce => SyncStanding::AsAsked,
            },
            // What an earlier contact said holds as long as nothing is known to be wrong.
            is_uptodate: backlog.is_none(stream, &note.account)
                && faults.is_empty()
                && note.error.is_none()
                && error.is_none(),
            min_pending_ms: backlog.oldest_ms,
            max_pending_ms: backlog.newest_ms,
            bytes_pending: backlog.bytes,
            puts_pending: backlog.records,
            buckets_pending: backlog.partitions,
            is_unheard: unknown,
            // A first copy begins with what is kept.
            expired: if open_setup(replica).is_none() && !unknown { backlog.expired } else { 0 },
            copy_percent: setup.map_or(100, |setup| percent(setup, &note)),
            lag_ms,
            lag_ms_max: lag_ms,
            rates: Rates::default(),
            last_contact_ms: note.last_contact_ms,
            stood_ms: note.stood_ms,
            gateway: note.gateway,
            bytes_sent: note.bytes_sent,
            records_sent: note.records_sent,
            sessions: note.sessions,
            connected_since_ms: note.connected_since_ms,
            round_trip_ms: note.round_trip_ms.filter(|_| note.connected),
            error,
            faults,
            gaps: note.gaps.iter().map(|gap| gap_of(stream, gap)).collect(),
        }
    }

    /// Why a link rests that has met no error.
    fn reason(&self, stream: &Stream, replica: &Replica) -> Option<LinkError> {
        let setup_error = replica.setup.as_ref().and_then(|setup| setup.error.clone());
        let (code, message) = match setup_error {
            Some(message) => ("ErrSetup", message),
            None if replica.paused => {
                return None;
            }
            None if waits_for_load(stream, replica) => {
                let from = stream.upstreams.iter().find(|upstream| upstream.copy.is_some());
                let from = from.map(|upstream| upstream.place.to_string()).unwrap_or_default();
                let message = format!(
                    "{} is being filled by a copy or an import of {from}; the set-up begins when \
                     that is over, or when `stream upstream remove` has ended it",
                    stream.path
                );
                ("WaitTillBulkload", message)
            }
            None => ("Connecting", "no session stands yet; the gateways are being called".into()),
        };
        Some(self.error(code, message))
    }

    /// What the replica holds is learned when it answers, and nothing less than all is claimed to
    /// be pending before.
    fn with_unknown(&self, error: Option<LinkError>) -> LinkError {
        const UNKNOWN: &str = "the replica was not heard since this cluster was started, so all \
            that is kept counts as pending";
        match error {
            None => self.error("NotConnected", UNKNOWN.to_owned()),
            Some(error) => LinkError { message: format!("{}; {UNKNOWN}", error.message), ..error },
        }
    }

    /// An owner of before whose topics have passed on, or a relay without its upstream: what it passes
    /// on is old, however well the link stands.
    fn not_fed(&self, stream: &Stream) -> Option<LinkError> {
        let topic = stream.stray_topic()?;
        let (name, Owner { stream: owner, term }) = (&topic.name, topic.owner);
        let here = format!("/mapr/{}{}", self.ctx.engine.catalog().cluster().name, stream.path);
        let listed = stream.replicas.iter().find(|replica| replica.replica_id == Some(owner));
        let since = format!("since term {}, and nothing feeds it here", term.number);
        let message = match listed.map(|replica| &replica.place) {
            Some(owner) => format!(
                "topic {name} belongs to {owner} {since}; to make this stream the owner again run \
                 `maprcli stream replica failback -path {owner} -replica {here}`, to follow {owner} \
                 declare it by `maprcli stream upstream add -path {here} -upstream {owner}` and \
                 `maprcli stream replica add -path {owner} -replica {here}`"
            ),
            None => format!(
                "topic {name} belongs to the stream with uuid {owner} {since}; declare who has it by \
                 `maprcli stream upstream add -path {here}`, or take it over by `maprcli stream \
                 replica failover -path {here}`"
            ),
        };
        Some(self.error(NOT_FED, message))
    }

    fn fault_as_error(&self, fault: &TopicFault) -> LinkError {
        self.error(&fault.code, format!("topic {}: {}", fault.topic, fault.message))
    }

    fn error(&self, code: &str, message: String) -> LinkError {
        LinkError {
            code: code.to_owned(),
            host: self.ctx.engine.catalog().cluster().name.to_string(),
            message,
            at_ms: self.ctx.wall_ms(),
        }
    }

    async fn describe(&self, place: Place) -> Result<Option<StreamId>, Error> {
        let catalog = self.ctx.engine.catalog();
        let here = catalog.cluster();
        if place.cluster == here.name {
            return Ok(catalog.stream_at(&place.path).map(|stream| stream.id));
        }
        let mut last = Error::unreachable(no_gateway(&place.cluster));
        for gateway in self.ctx.gateways_to_call(&catalog, &place.cluster).await {
            let request = mainstem_link::Request {
                cluster_id: here.id,
                cluster_name: here.name.clone(),
                to_cluster: place.cluster.clone(),
                job: JobId(0),
                grant: Vec::new(),
                create_stream: None,
                add_upstream: None,
                add_replica: None,
                describe: Some(place.path.clone()),
                undo: None,
                check_copy: None,
                take_over: None,
                digests: None,
            };
            match ask(&self.ctx, &place.cluster, &gateway, request).await {
                Ok(reply) if reply.code.is_none() => {
                    return Ok(reply.described.and_then(|described| described.stream));
                }
                Ok(reply) => last = Error::denied(reply.message),
                Err(error) => last = error,
            }
        }
        self.ctx.published.ask_again(&place.cluster, self.ctx.now_ms());
        Err(last)
    }
}

fn rates(history: &History) -> Rates {
    let (moment, minute) = (history.rate(), history.rate_of_minute());
    Rates {
        records: moment.records,
        bytes: moment.bytes,
        records_of_minute: minute.records,
        bytes_of_minute: minute.bytes,
    }
}

const fn state_of(step: SetupStep) -> ReplicaState {
    match step {
        SetupStep::CreateSchedule => ReplicaState::CreateSchedule,
        SetupStep::CopySchedule => ReplicaState::CopySchedule,
        SetupStep::CopyInProgress => ReplicaState::CopyInProgress,
        SetupStep::CopyInRecover => ReplicaState::CopyInRecover,
        SetupStep::DeletingCursors => ReplicaState::DeletingCursors,
        SetupStep::Replicating => ReplicaState::Replicating,
        SetupStep::Unexpected => ReplicaState::Unexpected,
    }
}

fn percent(setup: &Setup, note: &SendingNote) -> u8 {
    match setup.step {
        SetupStep::Replicating | SetupStep::DeletingCursors => 100,
        _ => note.copy.map_or(0, |copy| copy.percent()),
    }
}

fn topic_name(stream: Option<&Stream>, origin: OriginTopicId) -> Option<String> {
    stream.and_then(|stream| stream.topic_by_origin(origin)).map(|topic| topic.name.to_string())
}

fn gap_of(stream: &Stream, gap: &GapNote) -> LinkGap {
    LinkGap {
        topic: topic_name(Some(stream), gap.origin).unwrap_or_else(|| gap.origin.to_string()),
        partition: gap.partition,
        from: gap.from,
        to: gap.to,
        at_ms: gap.at_ms,
    }
}

fn topic_faults(stream: Option<&Stream>, faults: &[FaultNote]) -> Vec<TopicFault> {
    let name = |fault: &FaultNote| {
        topic_name(stream, fault.origin)
            .or_else(|| fault.topic.as_ref().map(ToString::to_string))
            .unwrap_or_else(|| fault.origin.to_string())
    };
    let fault = |fault: &FaultNote| TopicFault {
        topic: name(fault),
        partition: fault.partition,
        code: fault.code.word().to_owned(),
        message: fault.message.clone(),
    };
    faults.iter().map(fault).collect()
}
