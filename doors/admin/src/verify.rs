//! `stream replica verify`: jobs of the gateway, told as rows.

use mainstem_api::links::VerifiedPartition;
use mainstem_api::{Arguments, Row};
use mainstem_types::{Error, JobId, StreamRef, TopicName};
use serde_json::json;

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::stream::row;

impl AdminDoor {
    pub(crate) fn start_verify(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?;
        let replica = self.place(&catalog, arguments, "replica")?;
        let replica = StreamRef { cluster: Some(replica.cluster), path: replica.path };
        let topic: Option<TopicName> = arguments.parsed("topic")?;
        let job = self.links.start_verify(stream.id, &replica, topic.as_ref())?;
        Ok(vec![row(json!({"job": job.to_string()}))])
    }

    pub(crate) fn verify_status(&self, arguments: &Arguments) -> Answer {
        let job: JobId = arguments.required("job")?;
        let report = self.links.verification(job).ok_or_else(|| {
            Error::not_found(format!("verification {job} is not known here; start it again"))
        })?;
        let partitions: Vec<Row> = report.partitions.iter().map(partition_row).collect();
        let mut status = row(json!({
            "job": job.to_string(),
            "percent": report.percent,
            "finished": report.finished.is_some(),
            "partitions": partitions,
        }));
        let errors = match (&report.finished, &report.waiting) {
            (Some(Err(error)), _) => {
                Some(json!({"errno": error.kind().errno(), "Msg": error.message()}))
            }
            (None, Some(waiting)) => Some(json!({"Msg": waiting})),
            _ => None,
        };
        status.extend(errors.map(|errors| ("errors".to_owned(), errors)));
        Ok(vec![status])
    }
}

fn partition_row(found: &VerifiedPartition) -> Row {
    row(json!({
        "topic": found.topic,
        "partition": found.partition,
        "status": found.status,
        "from": found.from,
        "to": found.to,
        "time": found.time_ms,
        "lagRecords": found.lag_records,
        "recordsFrom": found.by_records.map(|(from, ..)| from),
        "recordsTo": found.by_records.map(|(_, to, _)| to),
        "offset": found.offset,
        "difference": found.difference,
        "message": found.message,
    }))
}
