//! A hand-over at its owner: nobody writes the topics until it is decided who owns them next.

use mainstem_api::iso_time;

use crate::{HandoverSight, ReplicaSight};

/// The owner hears within a few seconds of the time-out that a replica which is there took over, or
/// takes the topics back; what lasts longer does not end by itself.
const ANSWER_MS: i64 = 5_000;

/// Why writes are refused without limit, and what to do: the replica was offered the topics, and
/// has not said in time whether it took them. Only it knows.
pub fn undecided(replica: &ReplicaSight, wall_ms: i64) -> Option<String> {
    let handover = replica.handover.as_ref().filter(|handover| handover.is_offered)?;
    if wall_ms.saturating_sub(handover.deadline_ms) < ANSWER_MS {
        return None;
    }
    let (source, name) = (&handover.source, &replica.replica);
    let offered = match handover.offered_ms {
        Some(at_ms) => format!("{source} was offered to {name} at {}", iso_time(at_ms)),
        None => format!("{source} was offered to {name}"),
    };
    Some(format!(
        "{offered}, and {}; writes to {source} stay refused until {name} answers, and go on by \
         themselves then; to take it back without hearing {name}, run `maprcli stream replica \
         failover -path {source}` (see what it warns of by -dryrun true)",
        silence(replica, handover)
    ))
}

/// Since when nothing is heard, and why, as far as it is known.
fn silence(replica: &ReplicaSight, handover: &HandoverSight) -> String {
    let (name, link) = (&replica.replica, &replica.link);
    let heard = link.last_contact_ms.filter(|heard| Some(*heard) > handover.offered_ms);
    let silence = match heard {
        Some(at_ms) => format!("{name} has not answered; it was heard last at {}", iso_time(at_ms)),
        None => format!("{name} was not heard since"),
    };
    match link.error.as_ref().filter(|_| !link.connected) {
        Some(error) => format!("{silence} ({}: {})", error.code, error.message),
        None => silence,
    }
}

#[cfg(test)]
mod tests {
    use mainstem_api::links::{LinkError, LinkReport};

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn offered() -> ReplicaSight {
        ReplicaSight {
            stream: "/a".parse().unwrap(),
            replica: "/mapr/newyork/a".to_owned(),
            is_paused: false,
            lag_ms_max: None,
            link: LinkReport { last_contact_ms: Some(NOW - 100), ..LinkReport::default() },
            handover: Some(HandoverSight {
                source: "/mapr/boston/a".to_owned(),
                is_offered: true,
                offered_ms: Some(NOW),
                deadline_ms: NOW + 30_000,
            }),
        }
    }

    #[test]
    fn what_was_offered_and_not_answered_in_time_is_told_with_its_way_out() {
        let mut replica = offered();
        assert_eq!(undecided(&replica, NOW + 34_999), None, "it may be decided yet");
        let told = undecided(&replica, NOW + 35_000).unwrap();
        for part in [
            "/mapr/boston/a was offered to /mapr/newyork/a at 2023-11-14T22:13:20.000Z, and ",
            "/mapr/newyork/a was not heard since; ",
            "writes to /mapr/boston/a stay refused until /mapr/newyork/a answers",
            "go on by themselves",
            "`maprcli stream replica failover -path /mapr/boston/a`",
        ] {
            assert!(told.contains(part), "{told}");
        }
        replica.link.error = Some(LinkError {
            code: "ErrX".to_owned(),
            host: "here".to_owned(),
            message: "call them".to_owned(),
            at_ms: NOW,
        });
        let told = undecided(&replica, NOW + 35_000).unwrap();
        assert!(told.contains("not heard since (ErrX: call them)"), "{told}");
        replica.link.last_contact_ms = Some(NOW + 1_000);
        let told = undecided(&replica, NOW + 35_000).unwrap();
        assert!(told.contains("has not answered; it was heard last at 2023-11-14T22:13:21"));
    }

    #[test]
    fn what_was_not_offered_is_taken_back_by_its_owner() {
        let mut replica = offered();
        replica.handover.as_mut().unwrap().is_offered = false;
        assert_eq!(undecided(&replica, NOW + 100_000), None);
        replica.handover = None;
        assert_eq!(undecided(&replica, NOW + 100_000), None);
    }
}
