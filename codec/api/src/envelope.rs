//! The envelope: `{"timestamp":…,"timeofday":"…","status":"OK","total":N,"data":[…]}`.

use mainstem_types::Error;
use serde_json::{Map, Value, json};

/// One row of an answer: its keys in the documented order.
pub type Row = Map<String, Value>;

/// Why a command failed, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A Linux error number.
    pub id: i64,
    /// A sentence that says what to do next.
    pub desc: String,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { id: i64::from(error.kind().errno()), desc: error.message().to_owned() }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// When it was given, in milliseconds since 1970.
    pub timestamp: i64,
    /// The rows, or why there are none.
    pub outcome: Result<Vec<Row>, Vec<Failure>>,
}

impl Envelope {
    /// The answer to a command that ended so.
    pub fn new(now_ms: i64, outcome: Result<Vec<Row>, Error>) -> Self {
        Self { timestamp: now_ms, outcome: outcome.map_err(|e| vec![Failure::from(&e)]) }
    }

    /// The JSON, its keys in the documented order.
    pub fn to_value(&self) -> Value {
        let timeofday = time_of_day(self.timestamp);
        match &self.outcome {
            Ok(rows) => json!({
                "timestamp": self.timestamp,
                "timeofday": timeofday,
                "status": "OK",
                "total": rows.len(),
                "data": rows,
            }),
            Err(failures) => {
                let errors = failures.iter().map(|f| json!({"id": f.id, "desc": f.desc}));
                json!({
                    "timestamp": self.timestamp,
                    "timeofday": timeofday,
                    "status": "ERROR",
                    "errors": errors.collect::<Vec<_>>(),
                })
            }
        }
    }

    /// The JSON as the original prints it: indented by tabs.
    pub fn to_json(&self) -> String {
        use serde::Serialize;
        let mut out = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
        self.to_value().serialize(&mut serializer).expect("a Vec takes every byte");
        let text = String::from_utf8(out).expect("JSON is text");
        // The original's scripts count lines, and its empty lists have three.
        match text.strip_suffix("\"data\": []\n}") {
            Some(before) => format!("{before}\"data\": [\n\t\t\n\t]\n}}"),
            None => text,
        }
    }

    /// The answer that these bytes are.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let odd = || Error::corrupt("the answer is not what a Mainstem server gives");
        let value: Value = serde_json::from_slice(bytes).map_err(|_| odd())?;
        let timestamp = value["timestamp"].as_i64().ok_or_else(odd)?;
        let items = |key: &str| value[key].as_array().cloned().unwrap_or_default();
        let outcome = match value["status"].as_str() {
            Some("OK") => Ok(items("data").into_iter().filter_map(into_row).collect()),
            Some("ERROR") => Err(items("errors").iter().map(failure).collect()),
            _ => return Err(odd()),
        };
        Ok(Self { timestamp, outcome })
    }
}

fn into_row(value: Value) -> Option<Row> {
    match value {
        Value::Object(row) => Some(row),
        _ => None,
    }
}

fn failure(value: &Value) -> Failure {
    Failure {
        id: value["id"].as_i64().unwrap_or(22),
        desc: value["desc"].as_str().unwrap_or("no reason was given").to_owned(),
    }
}

/// `2017-10-11 02:43:29.755 GMT+0000 AM`; always in UTC.
fn time_of_day(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
    let half = if hour < 12 { "AM" } else { "PM" };
    format!(
        "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03} GMT+0000 {half}"
    )
}

/// `2017-10-11T02:43:29.755Z`.
pub fn iso_time(ms: i64) -> String {
    let text = time_of_day(ms);
    format!("{}T{}Z", &text[..10], &text[11..23])
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        assert_eq!(time_of_day(0), "1970-01-01 00:00:00.000 GMT+0000 AM");
        assert_eq!(time_of_day(951_827_696_007), "2000-02-29 12:34:56.007 GMT+0000 PM");
        assert_eq!(time_of_day(-1), "1969-12-31 23:59:59.999 GMT+0000 PM");
    }

    #[test]
    fn an_answer_survives_its_json() {
        let row = json!({"path": "/a", "ttl": 5}).as_object().unwrap().clone();
        let good = Envelope::new(7, Ok(vec![row]));
        assert_eq!(Envelope::parse(good.to_json().as_bytes()).unwrap(), good);
        let bad = Envelope::new(7, Err(Error::not_found("/a is not a valid stream")));
        let text = bad.to_json();
        assert_eq!(Envelope::parse(text.as_bytes()).unwrap(), bad);
        assert!(text.contains("\"id\": 2"), "{text}");
        assert!(Envelope::parse(b"{}").is_err() && Envelope::parse(b"").is_err());
    }

    #[test]
    fn keys_keep_their_order() {
        let text = Envelope::new(7, Ok(Vec::new())).to_json();
        assert_eq!(text.lines().count(), 9, "{text}");
        assert!(Envelope::parse(text.as_bytes()).unwrap().outcome.unwrap().is_empty());
        let at = |key: &str| text.find(key).unwrap();
        assert!(at("timestamp") < at("timeofday") && at("timeofday") < at("status"));
        assert!(at("status") < at("total") && at("total") < at("data"));
    }
}
