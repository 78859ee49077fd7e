//! What `mapr importstream` asks of the destination: an agreement's session by hand, its topics,
//! and the take-over at its end.

use std::collections::BTreeMap;

use mainstem_api::Arguments;
use mainstem_catalog::{Command, Owner};
use mainstem_types::{CatalogSeq, Error, LinkEpoch, OriginTopicId, StreamId, Term, TopicName};
use serde_json::json;

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::grant::parse_grant;
use crate::stream::row;

impl AdminDoor {
    /// Opens a session of the source as its Hello would: under the agreement that stands, or one
    /// for this import only, by grant. It fences every other session of that source (I6).
    pub(crate) async fn begin_import(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?;
        let source_id: StreamId = arguments.required("sourceuuid")?;
        if let Some(grant) = arguments.text("grant").map(parse_grant).transpose()? {
            let add = Command::AddUpstreamByGrant { grant, replica_id: stream.id };
            self.engine.change(add).await?;
        }
        let catalog = self.engine.catalog();
        let stream = catalog.expect_stream(stream.id)?;
        let named = self.place(&catalog, arguments, "source")?;
        let upstream = stream.upstream_by_id(source_id).or_else(|| stream.upstream(&named));
        let open = Command::OpenLink {
            stream: stream.id,
            source: upstream.map_or(named, |upstream| upstream.place.clone()),
            source_id,
            // An export is of some time ago; the source itself says later how far it is.
            source_seq: upstream.map_or(CatalogSeq(0), |upstream| upstream.applied_seq),
        };
        let catalog = self.engine.change(open).await?;
        let upstream = catalog.expect_stream(stream.id)?.upstream_by_id(source_id);
        let upstream = upstream.ok_or_else(|| Error::fenced("the upstream was removed"))?;
        Ok(vec![row(json!({"linkepoch": upstream.link_epoch.0}))])
    }

    /// A topic, as the source's link would tell it; answers where each partition ends.
    pub(crate) async fn import_topic(&self, arguments: &Arguments) -> Answer {
        let stream = self.local_stream(&self.engine.catalog(), arguments)?;
        let origin: OriginTopicId = arguments.required("origin")?;
        let name: TopicName = arguments.required("topic")?;
        let config: BTreeMap<String, String> =
            serde_json::from_str(arguments.text("config").unwrap_or("{}"))
                .map_err(|_| Error::invalid("-config is not what `stream export` gives"))?;
        let number = |flag| arguments.number(flag).unwrap_or(0);
        let term = Term { number: number("termnumber"), id: arguments.required("term")? };
        let apply = Command::ApplyTopic {
            stream: stream.id,
            upstream: arguments.required("sourceuuid")?,
            link_epoch: LinkEpoch(number("linkepoch")),
            origin,
            name: name.clone(),
            partitions: arguments.number32("partitions").unwrap_or(1),
            timestamp_type: arguments.required("timestamptype")?,
            config,
            owner: Owner { stream: arguments.required("owner")?, term },
            owner_seq: CatalogSeq(number("ownerseq")),
            source_seq: CatalogSeq(0),
            created_ms: i64::try_from(number("created")).unwrap_or(0),
        };
        let catalog = self.engine.change(apply).await?;
        let topic = catalog.expect_stream(stream.id)?.topic_by_origin(origin).ok_or_else(|| {
            Error::policy(format!(
                "topic {name} was deleted in {}, and stays so while its agreement stands",
                stream.path
            ))
        })?;
        let ends = self.partitions(topic).map(|partition| partition.durable_end());
        Ok(vec![row(json!({"ends": ends.collect::<Vec<_>>()}))])
    }

    /// What was imported by grant becomes the stream's own, or the import is given up.
    pub(crate) async fn end_import(&self, arguments: &Arguments) -> Answer {
        let stream = self.local_stream(&self.engine.catalog(), arguments)?;
        let grant = parse_grant(arguments.text("grant").unwrap_or_default())?;
        let replica_id = stream.id;
        let command = if arguments.boolean("abort") == Some(true) {
            Command::RollbackByGrant { grant, replica_id }
        } else {
            let topics = arguments.list("topics").unwrap_or_default();
            let topics: Result<Vec<OriginTopicId>, Error> =
                topics.iter().map(|topic| topic.parse()).collect();
            let more = arguments.boolean("more").unwrap_or(false);
            Command::TakeOverByGrant { grant, replica_id, topics: topics?, more }
        };
        self.engine.change(command).await?;
        Ok(Vec::new())
    }
}
