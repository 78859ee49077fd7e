//! What runs, and where.

use mainstem_api::{Envelope, Row};
use mainstem_types::Error;
use serde_json::{Value, json};

use super::Dev;

const COLUMNS: [&str; 7] = ["cluster", "pid", "state", "kafka", "gateway", "admin", "data"];

impl Dev {
    /// One row for each dev cluster.
    pub(crate) fn status(&self) -> Result<Vec<Row>, Error> {
        let names = self.names()?;
        names.iter().map(|name| self.status_of(name)).collect()
    }

    fn status_of(&self, name: &str) -> Result<Row, Error> {
        let settings = self.settings(name)?;
        let pid = self.process(name).pid();
        let values: [Value; 7] = [
            json!(name),
            json!(pid),
            json!(if pid.is_some() { "running" } else { "stopped" }),
            json!(settings.kafka.listen.to_string()),
            json!(settings.gateway.listen.to_string()),
            json!(settings.admin.listen.to_string()),
            json!(settings.data),
        ];
        Ok(COLUMNS.into_iter().map(str::to_owned).zip(values).collect())
    }

    /// The rows as JSON or as a table.
    pub(crate) fn print_status(&self, as_json: bool) -> Result<String, Error> {
        let rows = self.status()?;
        if as_json {
            return Ok(Envelope::new(self.env.clock.wall_ms(), Ok(rows)).to_json());
        }
        if rows.is_empty() {
            return Ok("no dev clusters; make some with: mainstem dev up --clusters \
                       sanfrancisco,newyork"
                .into());
        }
        Ok(mainstem_cli::table(&COLUMNS, &rows))
    }
}
