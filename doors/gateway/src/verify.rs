//! Proofs that a replica holds what its source holds: jobs that ask both sides for digests.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mainstem_api::links::{VerifiedPartition, VerifyReport};
use mainstem_catalog::{Catalog, Place, Stream};
use mainstem_engine::Partition;
use mainstem_env::Env;
use mainstem_link::{DigestAnswer, DigestQuery, DigestRange, Request};
use mainstem_replicate::{Finding, Narrowing, Verdict};
use mainstem_types::limits::DIGEST_STRIDE_OFFSETS;
use mainstem_types::{Error, ErrorKind, JobId, OriginTopicId, StreamId, StreamRef, TopicName};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::context::Context;
use crate::dial::{Dialled, dial, exchange};
use crate::link::no_gateway;

/// Jobs under way at a time; they take turns in any case.
const RUNNING_MAX: usize = 8;
/// Jobs whose outcome somebody may still ask for.
const REMEMBERED_MAX: usize = 32;
/// Partitions in one question.
const PARTITIONS_AT_ONCE: usize = 64;
/// How long an answer may take, others' turns included.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// How often a gateway is called in vain before what is left is given up.
const CALLS_MAX: u32 = 30;
const CALL_PAUSE: Duration = Duration::from_secs(1);

/// What a job compares.
type Subject = (StreamId, Place, Option<TopicName>);

struct Verification {
    job: JobId,
    subject: Subject,
    report: Mutex<VerifyReport>,
}

/// All jobs that are remembered, the newest first.
#[derive(Default)]
pub(crate) struct Verifications(Mutex<VecDeque<Arc<Verification>>>);

impl Verifications {
    pub(crate) fn report(&self, job: JobId) -> Option<VerifyReport> {
        let jobs = self.0.lock();
        jobs.iter().find(|known| known.job == job).map(|known| known.report.lock().clone())
    }

    /// The job on that subject if one is under way, or a new one to be run.
    fn join(&self, env: &Env, subject: Subject) -> Result<(Arc<Verification>, bool), Error> {
        let mut jobs = self.0.lock();
        let is_open = |job: &Verification| job.report.lock().finished.is_none();
        if let Some(known) = jobs.iter().find(|job| job.subject == subject && is_open(job)) {
            return Ok((known.clone(), false));
        }
        if jobs.iter().filter(|job| is_open(job)).count() >= RUNNING_MAX {
            return Err(Error::retry(format!(
                "{RUNNING_MAX} replicas are being verified already; try again later"
            )));
        }
        let job = JobId::from_random(env.random.next_u128());
        let new = Arc::new(Verification { job, subject, report: Mutex::default() });
        // Open jobs are the newest but for a few, so that none is forgotten.
        jobs.truncate(REMEMBERED_MAX - 1);
        jobs.push_front(new.clone());
        Ok((new, true))
    }
}

/// Begins a job, or joins the one under way.
pub(crate) fn start(
    ctx: &Context,
    verifications: &Verifications,
    mut stop: watch::Receiver<bool>,
    stream: StreamId,
    (replica, topic): (&StreamRef, Option<&TopicName>),
) -> Result<JobId, Error> {
    let catalog = ctx.engine.catalog();
    let stream = catalog.expect_stream(stream)?;
    let here = || catalog.cluster().name.clone();
    let cluster = replica.cluster.clone().unwrap_or_else(here);
    let place = Place { cluster, path: replica.path.clone() };
    let replica_id = replica_id(stream, &place)?;
    if let Some(name) = topic.filter(|name| stream.topic(name).is_none()) {
        return Err(Error::not_found(format!(
            "{name} is not a topic of {}; see `stream topic list -path {}`",
            stream.path, stream.path
        )));
    }
    let aside = topic.and_then(|name| stream.topic(name)).and_then(|topic| topic.aside.as_ref());
    if let Some(aside) = aside {
        return Err(Error::invalid(format!(
            "what was set aside of {} is kept here only, and no replica holds it",
            aside.name
        )));
    }
    let subject = (stream.id, place, topic.cloned());
    let (verification, is_new) = verifications.join(&ctx.env, subject)?;
    let job = verification.job;
    if is_new {
        let run = Run {
            left: subjects(ctx, stream, replica_id, topic),
            ctx: ctx.clone(),
            verification,
            replica_id,
            active: Vec::new(),
            connection: None,
            total: 0,
            done: 0,
        };
        tokio::spawn(async move {
            tokio::select! {
                () = run.run() => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }
    Ok(job)
}

fn replica_id(stream: &Stream, place: &Place) -> Result<StreamId, Error> {
    let replica = stream.replica(place).ok_or_else(|| {
        Error::not_found(format!(
            "{place} is not a replica of {}; see `stream replica list -path {}`, or compare any \
             two streams by `mapr diffstreams`",
            stream.path, stream.path
        ))
    })?;
    replica.replica_id.ok_or_else(|| {
        Error::retry(format!(
            "{place} has never been reached, so its uuid is not known; see its errors by `stream \
             replica list -path {}`",
            stream.path
        ))
    })
}

/// A partition that is compared.
struct Compared {
    topic: TopicName,
    partition: Arc<Partition>,
    narrowing: Narrowing,
}

fn subjects(
    ctx: &Context,
    stream: &Stream,
    replica: StreamId,
    only: Option<&TopicName>,
) -> VecDeque<Compared> {
    let mut found = VecDeque::new();
    let topics =
        stream.carried_topics().filter(|topic| only.is_none_or(|name| topic.name == *name));
    for topic in topics {
        for (index, no) in (0u32..).zip(&topic.partitions) {
            let Some(partition) = ctx.engine.partition(*no) else { continue };
            // Only what began here is never ahead there: others may feed the replica as well.
            let owned = topic.owner.stream == stream.id && stream.id != replica;
            let key: (OriginTopicId, u32) = (topic.origin, index);
            let (start, end) = (partition.log_start(), partition.durable_end());
            let narrowing = Narrowing::new(key, start, end, owned);
            found.push_back(Compared { topic: topic.name.clone(), partition, narrowing });
        }
    }
    found
}

/// A job at work.
struct Run {
    ctx: Context,
    verification: Arc<Verification>,
    replica_id: StreamId,
    left: VecDeque<Compared>,
    active: Vec<Compared>,
    connection: Option<(Dialled, String)>,
    /// Offsets to be compared in all, and those of partitions that are done.
    total: u64,
    done: u64,
}

impl Run {
    async fn run(mut self) {
        self.total = self.left.iter().map(|compared| compared.narrowing.progress().1).sum();
        let result = loop {
            while self.active.len() < PARTITIONS_AT_ONCE
                && let Some(next) = self.left.pop_front()
            {
                self.active.push(next);
            }
            if self.active.is_empty() {
                break Ok(());
            }
            if let Err(error) = self.round().await {
                if !matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Retry) {
                    break Err(error);
                }
                self.give_up(error.message());
            }
            self.report_finished();
        };
        let mut report = self.verification.report.lock();
        report.partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        report.percent = 100;
        report.waiting = None;
        report.finished = Some(result);
    }

    /// One question to both sides about everything that is under comparison.
    async fn round(&mut self) -> Result<(), Error> {
        let question = |compared: &Compared| compared.narrowing.question();
        let ranges: Vec<DigestRange> = self.active.iter().filter_map(question).collect();
        assert_eq!(ranges.len(), self.active.len(), "what has a verdict is no longer active");
        let (engine, asked) = (self.ctx.engine.clone(), ranges.clone());
        let (ctx, stream) = (self.ctx.clone(), self.verification.subject.0);
        let read = move || engine.digests(stream, DIGEST_STRIDE_OFFSETS, &asked);
        let ours = async { ctx.turns.run(&ctx.env, read).await };
        let (theirs, ours) = tokio::join!(self.ask(&ranges), ours);
        let (theirs, ours) = (theirs?, ours?);
        if theirs.len() != ranges.len() {
            return Err(Error::corrupt(format!(
                "the replica gave {} answers to {} questions",
                theirs.len(),
                ranges.len()
            )));
        }
        let mut useful = false;
        for ((compared, mut ours), theirs) in self.active.iter_mut().zip(ours).zip(theirs) {
            // As it is after the replica spoke: whatever it had by then, we had before (I3).
            ours.log_start = compared.partition.log_start();
            ours.end = compared.partition.durable_end();
            useful |= compared.narrowing.handle(&ours, &theirs);
        }
        if useful {
            return Ok(());
        }
        Err(Error::retry("the answers of both sides lead nowhere; verify again"))
    }

    /// Each gateway in turn, for a while.
    async fn ask(&mut self, ranges: &[DigestRange]) -> Result<Vec<DigestAnswer>, Error> {
        let mut last = Error::unreachable(no_gateway(&self.verification.subject.1.cluster));
        for call in 0..CALLS_MAX {
            match self.ask_once(ranges).await {
                Ok(answers) => return Ok(answers),
                Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Retry) => {
                    last = error;
                }
                Err(error) => return Err(error),
            }
            // A connection that stood too long idle is no reason to wait.
            let stood = self.connection.take().is_some();
            if call > 0 || !stood {
                self.verification.report.lock().waiting = Some(last.message().to_owned());
                sleep(CALL_PAUSE).await;
            }
        }
        Err(last)
    }

    async fn ask_once(&mut self, ranges: &[DigestRange]) -> Result<Vec<DigestAnswer>, Error> {
        let catalog = self.ctx.engine.catalog();
        let (stream, place, _) = &self.verification.subject;
        // An agreement that was taken away ends this too (I6).
        let known = replica_id(catalog.expect_stream(*stream)?, place)?;
        if known != self.replica_id {
            return Err(Error::fenced(format!("{place} is another stream by now; verify again")));
        }
        if self.connection.is_none() {
            self.connection = Some(call(&self.ctx, &catalog, place).await?);
        }
        let request = self.request(&catalog, ranges);
        let (dialled, gateway) = self.connection.as_mut().expect("just called");
        let reply = exchange(dialled, gateway, request, ANSWER_PATIENCE).await?;
        self.verification.report.lock().waiting = None;
        match reply.code {
            None => Ok(reply.digests),
            Some(_) if reply.may_retry => Err(Error::retry(reply.message)),
            Some(_) => Err(Error::denied(reply.message)),
        }
    }

    fn request(&self, catalog: &Catalog, ranges: &[DigestRange]) -> Request {
        let here = catalog.cluster();
        let query = DigestQuery {
            stream: self.replica_id,
            source: self.verification.subject.0,
            stride: DIGEST_STRIDE_OFFSETS,
            ranges: ranges.to_vec(),
        };
        Request {
            cluster_id: here.id,
            cluster_name: here.name.clone(),
            to_cluster: self.verification.subject.1.cluster.clone(),
            job: self.verification.job,
            grant: Vec::new(),
            create_stream: None,
            add_upstream: None,
            add_replica: None,
            describe: None,
            undo: None,
            check_copy: None,
            take_over: None,
            digests: Some(Box::new(query)),
        }
    }

    /// What is left cannot be told.
    fn give_up(&mut self, reason: &str) {
        self.active.extend(self.left.drain(..));
        self.active.iter_mut().for_each(|c| c.narrowing.give_up(reason.to_owned()));
    }

    fn report_finished(&mut self) {
        let mut report = self.verification.report.lock();
        let mut done = self.done;
        self.active.retain(|compared| {
            let (compared_offsets, of) = compared.narrowing.progress();
            let Some(verdict) = compared.narrowing.verdict() else {
                done += compared_offsets;
                return true;
            };
            self.done += of;
            done += of;
            report.partitions.push(row(compared, verdict));
            false
        });
        let percent = (done.min(self.total) * 100).checked_div(self.total).unwrap_or(0);
        report.percent = u8::try_from(percent).unwrap_or(100);
    }
}

async fn call(ctx: &Context, catalog: &Catalog, place: &Place) -> Result<(Dialled, String), Error> {
    let mut last = Error::unreachable(no_gateway(&place.cluster));
    for gateway in ctx.gateways_to_call(catalog, &place.cluster).await {
        match dial(ctx, &place.cluster, &gateway).await {
            Ok(dialled) => return Ok((dialled, gateway)),
            Err(error) => last = error,
        }
    }
    ctx.published.ask_again(&place.cluster, ctx.now_ms());
    Err(last)
}

fn row(compared: &Compared, verdict: Verdict) -> VerifiedPartition {
    let Verdict { from, to, arrival_ms, lag, by_records, finding } = verdict;
    let (status, offset, difference, message) = match finding {
        Finding::Identical => {
            let how = by_records.map_or_else(String::new, |by| {
                format!(
                    "; from {} to {}, where either side was compacted, in the {} records that \
                     both keep",
                    by.from, by.to, by.records
                )
            });
            let what = format!("identical from offset {from} to offset {to}{how}");
            ("identical", None, None, what)
        }
        Finding::Different { offset, how } => {
            let what =
                format!("the first batch that differs is at offset {offset}: {}", how.word());
            ("different", Some(offset), Some(how.word()), what)
        }
        Finding::Unknown(reason) => ("unknown", None, None, reason),
    };
    VerifiedPartition {
        topic: compared.topic.to_string(),
        partition: compared.partition.index,
        status,
        from,
        to,
        time_ms: arrival_ms,
        lag_records: lag,
        by_records: by_records.map(|by| (by.from, by.to, by.records)),
        offset,
        difference,
        message,
    }
}
