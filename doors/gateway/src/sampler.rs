//! One look at every link each second: what rates, the worst lag and heartbeats tell of.

use std::sync::Arc;
use std::time::Duration;

use mainstem_replicate::Sample;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::board::{LinkKey, UpstreamKey};
use crate::links::LinkDesk;

/// Between two looks.
const INTERVAL_MS: u64 = 1_000;
/// Looking takes at most this share of the time, however many partitions there are.
const SHARE: u64 = 20;

/// Looks until told to stop.
pub(crate) async fn sample_links(desk: Arc<LinkDesk>, mut stop: watch::Receiver<bool>) {
    loop {
        let begun_ms = desk.ctx.now_ms();
        let looking = desk.clone();
        // Counting may read the log's index from disk. A look that panicked has told of it.
        let _ = tokio::task::spawn_blocking(move || looking.sample()).await;
        let spent_ms = desk.ctx.now_ms() - begun_ms;
        let pause_ms = INTERVAL_MS.max(spent_ms * SHARE);
        tokio::select! {
            () = sleep(Duration::from_millis(pause_ms)) => {}
            _ = stop.changed() => return,
        }
    }
}

impl LinkDesk {
    fn sample(&self) {
        let catalog = self.ctx.engine.catalog();
        self.ctx.board.keep_samples(|(stream, place)| {
            let stream = catalog.stream(*stream);
            stream.is_some_and(|s| s.replica(place).is_some() || s.upstream(place).is_some())
        });
        for stream in catalog.streams() {
            for replica in &stream.replicas {
                self.sample_replica(&(stream.id, replica.place.clone()));
            }
            for upstream in &stream.upstreams {
                self.sample_upstream(&(stream.id, upstream.place.clone()));
            }
        }
    }

    fn sample_replica(&self, key: &LinkKey) {
        let Some((report, backlog)) = self.report_of(key) else { return };
        let sample = Sample {
            at_ms: self.ctx.now_ms(),
            records: report.records_sent,
            bytes: report.bytes_sent,
            // What counts as pending because nobody was heard says nothing of the link.
            lag_ms: (!report.is_unheard).then_some(report.lag_ms),
        };
        let pending = backlog.pending(self.ctx.wall_ms());
        self.ctx.board.note_sample(key, sample, pending);
    }

    fn sample_upstream(&self, key: &UpstreamKey) {
        let Some(report) = self.upstream_report(key) else { return };
        let sample = Sample {
            at_ms: self.ctx.now_ms(),
            records: report.records_received,
            bytes: report.bytes_received,
            lag_ms: report.lag_ms,
        };
        self.ctx.board.note_upstream_sample(key, sample);
    }
}
