//! Which handler answers which command.

use mainstem_api::{Arguments, Row, find_command};
use mainstem_types::{Error, with_full_paths};
use serde_json::Value;

use crate::door::AdminDoor;

/// Rows, or a refusal.
pub(crate) type Answer = Result<Vec<Row>, Error>;

impl AdminDoor {
    /// Carries a command out. Whoever asks may be at home in another cluster, so commands in what is
    /// told name streams in full.
    pub(crate) async fn answer(&self, words: &[&str], pairs: Vec<(String, String)>) -> Answer {
        let answer = self.carry_out(words, pairs).await;
        let catalog = self.engine.catalog();
        let here = catalog.cluster().name.as_str();
        let mut rows = answer.map_err(|error| error.from_cluster(here))?;
        rows.iter_mut().flat_map(|row| row.iter_mut()).for_each(|(key, value)| {
            name_in_full(key, value, here);
        });
        Ok(rows)
    }

    async fn carry_out(&self, words: &[&str], pairs: Vec<(String, String)>) -> Answer {
        let command = find_command(words)?;
        let arguments = command.check(pairs)?;
        self.check_cluster(&arguments)?;
        match command.words {
            ["stream", "create"] => self.create_stream(&arguments).await,
            ["stream", "edit"] => self.edit_stream(&arguments).await,
            ["stream", "delete"] => self.delete_stream(&arguments).await,
            ["stream", "grant"] => self.issue_grant(&arguments).await,
            ["stream", "copy"] => self.start_copy(&arguments).await,
            ["stream", "copy", "status"] => self.copy_status(&arguments),
            ["stream", "topic", "create"] => self.create_topic(&arguments).await,
            ["stream", "topic", "edit"] => self.edit_topic(&arguments).await,
            ["stream", "topic", "rename"] => self.rename_topic(&arguments).await,
            ["stream", "topic", "delete"] => self.delete_topic(&arguments).await,
            ["stream", "cursor", "delete"] => self.delete_cursors(&arguments).await,
            ["stream", "replica", "add"] => self.add_replica(&arguments).await,
            ["stream", "replica", "autosetup"] => self.autosetup(&arguments).await,
            ["stream", "replica", "edit"] => self.edit_replica(&arguments).await,
            ["stream", "replica", "list"] => self.list_replicas(arguments).await,
            ["stream", "replica", verb @ ("pause" | "resume" | "remove")] => {
                self.change_replica(verb, &arguments).await
            }
            ["stream", "replica", "check"] => self.read(arguments, Self::check_replicas).await,
            ["alarm", "list"] => self.list_alarms(&arguments),
            ["alarm", "names"] => Ok(self.alarm_names()),
            ["stream", "export"] => self.read(arguments, Self::describe_export).await,
            ["stream", "digests"] => self.read(arguments, Self::digests).await,
            ["stream", "import", "begin"] => self.begin_import(&arguments).await,
            ["stream", "import", "topic"] => self.import_topic(&arguments).await,
            ["stream", "import", "end"] => self.end_import(&arguments).await,
            ["stream", "replica", "verify"] => self.start_verify(&arguments),
            ["stream", "replica", "verify", "status"] => self.verify_status(&arguments),
            ["stream", "replica", "switchover"] => self.switch_over(&arguments).await,
            ["stream", "replica", "failback"] => self.fail_back(&arguments).await,
            ["stream", "replica", "failover"] => self.fail_over(&arguments).await,
            ["stream", "upstream", "add"] => self.add_upstream(&arguments).await,
            ["stream", "upstream", "list"] => self.list_upstreams(&arguments),
            ["stream", "upstream", "remove"] => self.remove_upstream(&arguments).await,
            ["cluster", "gateway", "set"] => self.set_gateways(&arguments).await,
            ["cluster", "gateway", "get"] => self.get_gateways(&arguments),
            ["cluster", "gateway", "list"] => Ok(self.list_gateways()),
            ["cluster", "gateway", "delete"] => self.delete_gateways(&arguments).await,
            ["cluster", "gateway", "local"] => Ok(self.local_gateways(&arguments)),
            ["cluster", "gateway", "resolve"] => self.resolve_gateways(&arguments).await,
            ["stream", "info"] => self.read(arguments, Self::stream_info).await,
            ["stream", "list"] => self.read(arguments, Self::list_streams).await,
            ["stream", "topic", "info"] => self.read(arguments, Self::topic_info).await,
            ["stream", "topic", "list"] => self.read(arguments, Self::list_topics).await,
            ["stream", "cursor", "list"] => self.read(arguments, Self::list_cursors).await,
            _ => Err(Error::unsupported(format!(
                "`{}` is not served by this version",
                command.name()
            ))),
        }
    }

    /// Runs a handler that may read the disk where it holds up nobody.
    pub(crate) async fn read(
        &self,
        arguments: Arguments,
        handler: fn(&Self, &Arguments) -> Answer,
    ) -> Answer {
        let door = self.clone();
        let task = tokio::task::spawn_blocking(move || handler(&door, &arguments));
        task.await.unwrap_or_else(|_| Err(Error::retry("the command was interrupted; try again")))
    }
}

/// Keys under which there are sentences.
const PROSE: [&str; 6] = ["Msg", "message", "description", "warning", "note", "error"];

fn name_in_full(key: &str, value: &mut Value, here: &str) {
    match value {
        Value::String(text) if PROSE.contains(&key) => *text = with_full_paths(text, here),
        Value::Object(inner) => {
            inner.iter_mut().for_each(|(key, value)| name_in_full(key, value, here));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| name_in_full(key, item, here)),
        _ => {}
    }
}
