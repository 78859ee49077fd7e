//! `/metrics`: what status tells, as Prometheus reads it. Everything is taken when it is asked for.

use std::collections::BTreeMap;
use std::fmt::Write;

use mainstem_alarm::AlarmName;
use mainstem_engine::SYNC_MS_BOUNDS;

use crate::door::AdminDoor;
use crate::link::seconds;

/// The text format, version 0.0.4.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page under way.
#[derive(Default)]
struct Page(String);

/// A label's name and value.
type Label<'a> = (&'a str, &'a str);

impl Page {
    /// Begins a metric; its samples follow.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect(NEVER_FAILS);
    }

    fn sample(&mut self, name: &str, labels: &[Label], value: f64) {
        self.0.push_str(name);
        for (at, (label, value)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(self.0, "{before}{label}=\"{value}\"").expect(NEVER_FAILS);
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        writeln!(self.0, " {value}").expect(NEVER_FAILS);
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }
}

const NEVER_FAILS: &str = "writing to a String does not fail";

/// A number of one kind of link.
type Figure<T> = (&'static str, &'static str, &'static str, fn(&T) -> Option<f64>);

impl AdminDoor {
    /// The page. Its labels are names of what the catalog lists, and so bounded as that is.
    pub fn metrics(&self) -> String {
        let mut page = Page::default();
        self.replica_metrics(&mut page);
        self.upstream_metrics(&mut page);
        self.node_metrics(&mut page);
        page.0
    }

    fn replica_metrics(&self, page: &mut Page) {
        use mainstem_api::links::LinkReport as Link;
        let figures: &[Figure<Link>] = &[
            ("lag_seconds", "gauge", "age of the oldest record that the replica lacks", |link| {
                Some(seconds(link.lag_ms))
            }),
            ("pending_records", "gauge", "records that the replica lacks", |link| {
                Some(link.puts_pending as f64)
            }),
            ("pending_bytes", "gauge", "bytes that the replica lacks", |link| {
                Some(link.bytes_pending as f64)
            }),
            ("up_to_date", "gauge", "1 if it lacks nothing", |link| {
                Some(f64::from(u8::from(link.is_uptodate)))
            }),
            ("connected", "gauge", "1 if a session stands", |link| {
                Some(f64::from(u8::from(link.connected)))
            }),
            ("in_error", "gauge", "1 if something is wrong; see replica list", |link| {
                Some(f64::from(u8::from(link.error.is_some())))
            }),
            ("topics_stopped", "gauge", "topics that do not flow", |link| {
                Some(link.faults.len() as f64)
            }),
            ("sent_records_total", "counter", "records sent", |link| {
                Some(link.records_sent as f64)
            }),
            ("sent_bytes_total", "counter", "bytes of batches sent", |link| {
                Some(link.bytes_sent as f64)
            }),
            ("sessions_total", "counter", "sessions opened", |link| Some(link.sessions as f64)),
            ("round_trip_seconds", "gauge", "a frame and its answer", |link| {
                link.round_trip_ms.map(seconds)
            }),
        ];
        let catalog = self.engine.catalog();
        let mut links = Vec::new();
        for stream in catalog.streams() {
            for replica in &stream.replicas {
                let place = &replica.place;
                let link = self.links.replica(stream.id, &place.cluster, &place.path);
                links.extend(link.map(|link| (stream.path.clone(), place.to_string(), link)));
            }
        }
        for (name, kind, help, figure) in figures {
            let name = format!("mainstem_replica_{name}");
            page.metric(&name, kind, help);
            for (stream, replica, link) in &links {
                let labels = [("stream", stream.as_str()), ("replica", replica.as_str())];
                if let Some(value) = figure(link) {
                    page.sample(&name, &labels, value);
                }
            }
        }
    }

    fn upstream_metrics(&self, page: &mut Page) {
        use mainstem_api::links::UpstreamReport as Link;
        let figures: &[Figure<Link>] = &[
            ("lag_seconds", "gauge", "age of the oldest record still to come", |link| {
                link.lag_ms.map(seconds)
            }),
            ("connected", "gauge", "1 if a session stands", |link| {
                Some(f64::from(u8::from(link.connected)))
            }),
            ("received_records_total", "counter", "records received", |link| {
                Some(link.records_received as f64)
            }),
            ("received_bytes_total", "counter", "bytes of batches received", |link| {
                Some(link.bytes_received as f64)
            }),
        ];
        let catalog = self.engine.catalog();
        let mut links = Vec::new();
        for stream in catalog.streams() {
            for upstream in &stream.upstreams {
                let place = &upstream.place;
                let link = self.links.upstream(stream.id, &place.cluster, &place.path);
                links.extend(link.map(|link| (stream.path.clone(), place.to_string(), link)));
            }
        }
        for (name, kind, help, figure) in figures {
            let name = format!("mainstem_upstream_{name}");
            page.metric(&name, kind, help);
            for (stream, upstream, link) in &links {
                let labels = [("stream", stream.as_str()), ("upstream", upstream.as_str())];
                if let Some(value) = figure(link) {
                    page.sample(&name, &labels, value);
                }
            }
        }
    }

    fn node_metrics(&self, page: &mut Page) {
        let (health, log) = (self.engine.health(), self.engine.log_stats());
        let mut standing: BTreeMap<AlarmName, u64> = BTreeMap::new();
        for alarm in self.alarms.lock().standing() {
            *standing.entry(alarm.key.name).or_default() += 1;
        }
        page.metric("mainstem_alarms", "gauge", "alarms that stand");
        for name in AlarmName::ALL {
            let count = standing.get(name).copied().unwrap_or(0);
            page.sample("mainstem_alarms", &[("alarm", name.word())], count as f64);
        }
        if let Some(free) = health.free_bytes {
            let help = "bytes free on the log's disk";
            page.one("mainstem_disk_free_bytes", "gauge", help, free as f64);
        }
        let damaged = health.damaged.len() as f64;
        for (name, help, value) in [
            ("partitions", "partitions known", log.partitions as f64),
            ("partitions_damaged", "partitions out of service", damaged),
            ("log_segments", "segments in use", f64::from(log.segments)),
            ("log_segment_bytes", "their bytes on disk", log.segment_bytes as f64),
            ("log_live_bytes", "bytes of live batches in them", log.live_bytes as f64),
        ] {
            page.one(&format!("mainstem_{name}"), "gauge", help, value);
        }
        let (records, bytes) = self.engine.removed_by_compaction();
        for (name, help, value) in [
            ("compaction_removed_records_total", "records that log compaction took", records),
            ("compaction_removed_bytes_total", "bytes that log compaction took", bytes),
        ] {
            page.one(&format!("mainstem_{name}"), "counter", help, value as f64);
        }
        let syncs = &health.syncs;
        let name = "mainstem_log_sync_seconds";
        page.metric(name, "histogram", "time of the sync that makes a group of appends durable");
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (bound_ms, count) in SYNC_MS_BOUNDS.iter().zip(&syncs.counts) {
            below += count;
            page.sample(&bucket, &[("le", &seconds(*bound_ms).to_string())], below as f64);
        }
        let all = syncs.counts.iter().sum::<u64>() as f64;
        page.sample(&bucket, &[("le", "+Inf")], all);
        page.sample(&format!("{name}_sum"), &[], seconds(syncs.sum_ms));
        page.sample(&format!("{name}_count"), &[], all);
    }
}
