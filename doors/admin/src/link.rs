//! What links report, as rows show it; and bounded copies.

use mainstem_api::links::{CopyGrant, LinkError, LinkGap, Rates, TopicFault};
use mainstem_api::{Arguments, Row};
use mainstem_types::{Error, JobId, StreamRef};
use serde_json::{Value, json};

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::grant::parse_grant;
use crate::stream::row;

/// `errors:{Code,Host,Msg}`, and since when.
pub(crate) fn errors(error: &LinkError) -> Value {
    json!({
        "Code": error.code,
        "Host": error.host,
        "Msg": error.message,
        "lastSeenMs": error.at_ms,
    })
}

/// Milliseconds as seconds with their fraction.
pub(crate) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// How fast a link moves, to a tenth: more would be noise.
pub(crate) fn rates(rates: &Rates) -> Row {
    let tenths = |rate: f64| (rate * 10.0).round() / 10.0;
    row(json!({
        "recordsPerSecond": tenths(rates.records),
        "bytesPerSecond": tenths(rates.bytes),
        "recordsPerSecondMinute": tenths(rates.records_of_minute),
        "bytesPerSecondMinute": tenths(rates.bytes_of_minute),
    }))
}

/// Topics that stopped.
pub(crate) fn faults(faults: &[TopicFault]) -> Value {
    let fault = |fault: &TopicFault| {
        json!({
            "topic": fault.topic,
            "partition": fault.partition,
            "Code": fault.code,
            "Msg": fault.message,
        })
    };
    faults.iter().map(fault).collect()
}

/// Offsets that a replica will never hold.
pub(crate) fn gaps(gaps: &[LinkGap]) -> Value {
    let shown = |gap: &LinkGap| {
        let mut shown = gap_value(gap.from, gap.to, gap.at_ms);
        shown["topic"] = gap.topic.as_str().into();
        shown["partition"] = gap.partition.into();
        shown
    };
    gaps.iter().map(shown).collect()
}

/// A gap from one offset up to another, which held that many records at most.
pub(crate) fn gap_value(from: i64, to: i64, at_ms: i64) -> Value {
    json!({"from": from, "to": to, "records": to - from, "noticedMs": at_ms})
}

impl AdminDoor {
    pub(crate) async fn start_copy(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let source = catalog.expect_stream_at(&self.local_path(arguments, "src")?)?;
        let to = self.place(&catalog, arguments, "dst")?;
        if to == catalog.place(source) {
            return Err(Error::invalid(format!("{to} cannot be copied into itself")));
        }
        let to = StreamRef { cluster: Some(to.cluster), path: to.path };
        let grant = match (arguments.text("grant"), arguments.parsed("replicauuid")?) {
            (Some(hex), Some(stream)) => {
                Some(CopyGrant { grant: parse_grant(hex)?.to_bytes(), stream })
            }
            (None, None) => None,
            _ => {
                return Err(Error::invalid("-grant and -replicauuid go together; give both"));
            }
        };
        let job =
            self.links.start_copy(source.id, &to, grant, arguments.number("numthreads")).await?;
        Ok(vec![row(json!({"job": job.to_string()}))])
    }

    pub(crate) fn copy_status(&self, arguments: &Arguments) -> Answer {
        let job: JobId = arguments.required("job")?;
        let report = self.links.copy(job).ok_or_else(|| {
            Error::not_found(format!("copy {job} is not known here; start it again"))
        })?;
        let mut status = row(json!({
            "job": job.to_string(),
            "percent": report.percent,
            "records": report.records,
            "bytes": report.bytes,
            "finished": report.finished.is_some(),
        }));
        let errors = match (&report.finished, &report.waiting) {
            (Some(Err(error)), _) => {
                Some(json!({"errno": error.kind().errno(), "Msg": error.message()}))
            }
            (None, Some(waiting)) => Some(errors(waiting)),
            _ => None,
        };
        status.extend(errors.map(|errors| ("errors".to_owned(), errors)));
        Ok(vec![status])
    }
}
