//! `stream replica failover` at an owner that hands over: it stays the owner.

use mainstem_catalog::{Command, HandoverStep, Place, Stream};
use mainstem_types::OriginTopicId;
use serde_json::json;

use crate::dispatch::Answer;
use crate::door::AdminDoor;
use crate::stream::row;

impl AdminDoor {
    /// Takes the hand-over back that is under way, without hearing the replica; `None` if there is
    /// none.
    pub(crate) async fn take_back(&self, stream: &Stream, is_dry: bool) -> Option<Answer> {
        let (replica, handover) = stream.handing_over()?;
        let place = &replica.place;
        let link = self.links.replica(stream.id, &place.cluster, &place.path).unwrap_or_default();
        let origins: Vec<OriginTopicId> = stream.own_topics().map(|topic| topic.origin).collect();
        let (number, catalog) = if is_dry {
            (stream.highest_term().number + 1, self.engine.catalog())
        } else {
            // Of this hand-over only: one that is over by now has made the replica the owner.
            let command = Command::TakeBack {
                stream: stream.id,
                replica: place.clone(),
                job: handover.job,
                why: "taken back by a fail-over, without hearing the replica".to_owned(),
            };
            let changed = self.engine.change(command).await;
            match changed.and_then(|now| Ok((now.expect_stream(stream.id)?.term.number, now))) {
                Ok(changed) => changed,
                Err(error) => return Some(Err(error)),
            }
        };
        let cuts = self.cuts(&catalog, stream.id, &origins, is_dry);
        let heard = link.last_contact_ms;
        let summary = row(json!({
            "upstream": format!("none: it takes the hand-over to {place} back"),
            "term": number,
            "topics": origins.len(),
            "partitions": cuts.len(),
            "lastContactMs": heard.map_or_else(|| json!("unknown"), |at_ms| json!(at_ms)),
            "dryrun": is_dry,
            "warning": warning(place, handover.step),
        }));
        Some(Ok([vec![summary], cuts].concat()))
    }
}

fn warning(place: &Place, step: HandoverStep) -> String {
    match step {
        HandoverStep::Offered => format!(
            "{place} was offered these topics, and may have taken them over: then it takes records \
             until it hears of this term. What it has beyond these offsets is set aside there once \
             it does, not lost."
        ),
        HandoverStep::Draining | HandoverStep::Done | HandoverStep::TakenBack => {
            format!("none: {place} was not offered the topics yet, so nothing is lost or set aside")
        }
    }
}
