//! `stream upstream add|list|remove`.

use mainstem_api::{Arguments, Row};
use mainstem_catalog::{Command, Stream, Upstream};
use serde_json::json;

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::link::{errors, faults, rates, seconds};
use crate::stream::row;

impl AdminDoor {
    /// Shows which uuid was pinned, if one is known already.
    pub(crate) async fn add_upstream(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?.id;
        let upstream = self.place(&catalog, arguments, "upstream")?;
        let stream_id = self.uuid_of(&catalog, arguments, "upstreamuuid", &upstream).await?;
        let command = Command::AddUpstream { stream, upstream: upstream.clone(), stream_id };
        let catalog = self.engine.change(command).await?;
        let added = catalog.stream(stream).and_then(|stream| stream.upstream(&upstream));
        Ok(added.map(agreement_row).into_iter().collect())
    }

    pub(crate) async fn remove_upstream(&self, arguments: &Arguments) -> Answer {
        let catalog = self.engine.catalog();
        let stream = self.local_stream(&catalog, arguments)?.id;
        let upstream = self.place(&catalog, arguments, "upstream")?;
        self.engine.change(Command::RemoveUpstream { stream, upstream }).await?;
        Ok(Vec::new())
    }

    pub(crate) fn list_upstreams(&self, arguments: &Arguments) -> Answer {
        let stream = self.local_stream(&self.engine.catalog(), arguments)?;
        Ok(stream.upstreams.iter().map(|upstream| self.upstream_row(&stream, upstream)).collect())
    }

    fn upstream_row(&self, stream: &Stream, upstream: &Upstream) -> Row {
        let place = &upstream.place;
        let link = self.links.upstream(stream.id, &place.cluster, &place.path).unwrap_or_default();
        let mut shown = agreement_row(upstream);
        shown.extend(row(json!({
            "connected": link.connected,
            "lastContactMs": link.last_contact_ms,
            "connectedSinceMs": link.connected_since_ms,
            "sessions": link.sessions,
            "bytesPending": link.bytes_pending,
            "putsPending": link.puts_pending,
            "pendingAsOfMs": link.counted_ms,
            "lagSeconds": link.lag_ms.map(seconds),
            "recordsReceived": link.records_received,
            "bytesReceived": link.bytes_received,
            "setAside": self.set_aside(stream),
        })));
        shown.extend(rates(&link.rates));
        shown.insert("topicsFed".to_owned(), json!(link.topics_fed));
        shown.insert("faults".to_owned(), faults(&link.faults));
        shown.extend(link.error.as_ref().map(|error| ("errors".to_owned(), errors(error))));
        shown
    }
}

fn agreement_row(upstream: &Upstream) -> Row {
    row(json!({
        "cluster": upstream.place.cluster.as_str(),
        "stream": upstream.place.path.as_str(),
        "idx": upstream.idx,
        "uuid": upstream.stream_id.map(|id| id.to_string()).unwrap_or_default(),
    }))
}
