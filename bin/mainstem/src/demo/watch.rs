//! What the source says of its link, as `stream replica list` shows it.

use std::time::Duration;

use mainstem_types::Error;
use serde_json::Value;

use crate::local_http;

/// Far above what an answer takes on a machine that is at its limit.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// One look at the link.
pub(crate) struct LinkView {
    row: Value,
}

impl LinkView {
    /// Asks the source's admin door.
    pub(crate) fn of(admin: &str, path: &str) -> Result<Self, Error> {
        let url = format!("http://{admin}/rest/stream/replica/list?path={path}&refreshnow=true");
        let gone = |e: ureq::Error| Error::unreachable(format!("the source does not answer: {e}"));
        let answer = local_http::agent(ANSWER_TIMEOUT).get(&url).call();
        let text = answer.and_then(|mut answer| answer.body_mut().read_to_string());
        let value: Value = serde_json::from_str(&text.map_err(gone)?)
            .map_err(|e| Error::corrupt(format!("the source's answer: {e}")))?;
        Ok(Self { row: value["data"][0].clone() })
    }

    pub(crate) fn exists(&self) -> bool {
        self.row.is_object()
    }

    pub(crate) fn state(&self) -> &str {
        self.row["replicaState"].as_str().unwrap_or_default()
    }

    pub(crate) fn is_replicating(&self) -> bool {
        self.state() == "REPLICA_STATE_REPLICATING" && self.row["paused"] == false
    }

    pub(crate) fn is_uptodate(&self) -> bool {
        self.row["isUptodate"] == true && self.pending() == 0
    }

    pub(crate) fn copy_percent(&self) -> u64 {
        self.row["copyTableCompletionPercentage"].as_u64().unwrap_or_default()
    }

    /// Records on their way.
    pub(crate) fn pending(&self) -> u64 {
        self.row["putsPending"].as_u64().unwrap_or_default()
    }

    pub(crate) fn pending_bytes(&self) -> u64 {
        self.row["bytesPending"].as_u64().unwrap_or_default()
    }

    pub(crate) fn lag_seconds(&self) -> f64 {
        self.row["lagSeconds"].as_f64().unwrap_or_default()
    }

    /// Why nothing flows, when nothing flows.
    pub(crate) fn error(&self) -> Option<&str> {
        self.row["errors"]["Msg"].as_str()
    }
}
