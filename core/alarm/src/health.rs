//! One word on a stream's replicas, for scripts and monitors.

use crate::{ReplicaSight, undecided};
use mainstem_api::links::{NOT_FED, ReplicaState, SyncStanding};

/// How long a replica may be out of contact before it counts as broken: a session that ended is
/// taken up again within this time.
const CONTACT_MS_MAX: i64 = 10_000;

/// How well a replica is, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It is fed, and not further behind than allowed.
    Fine,
    /// It is further behind than allowed, not waited for as was asked, misses what expired
    /// meanwhile, or its first copy is not done.
    Lagging,
    /// Nothing flows, or some topic does not, or nobody may write until the replica is heard.
    Broken,
}

/// A replica's health, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How well it is.
    pub health: Health,
    /// Why, in a few words.
    pub why: String,
}

impl Health {
    /// As `stream replica check` says it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fine => "OK",
            Self::Lagging => "LAGGING",
            Self::Broken => "BROKEN",
        }
    }

    /// What a script sees.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Lagging => 1,
            Self::Broken => 2,
        }
    }
}

/// Judges a replica, with the lag that it may have.
pub fn judge(replica: &ReplicaSight, lag_ms_max: u64, wall_ms: i64) -> Verdict {
    if let Some(why) = undecided(replica, wall_ms) {
        return Verdict { health: Health::Broken, why };
    }
    let link = &replica.link;
    // Who refuses a session is heard too.
    let is_heard =
        link.stood_ms.is_some_and(|stood| wall_ms.saturating_sub(stood) <= CONTACT_MS_MAX);
    // A set-up that has just begun has not called anybody yet.
    let begins = link.state != ReplicaState::Replicating
        && link.error.as_ref().is_none_or(|error| error.code == "Connecting");
    let is_cut_off = !replica.is_paused && !link.connected && !is_heard && !begins;
    let reason = || match &link.error {
        Some(error) => format!("{}: {}", error.code, error.message),
        None => "no session stands".to_owned(),
    };
    let lag = format!("{:.1} s behind", link.lag_ms as f64 / 1000.0);
    let paused = if replica.is_paused { ", paused" } else { "" };
    let is_not_fed = link.error.as_ref().is_some_and(|error| error.code == NOT_FED);
    if link.state == ReplicaState::Unexpected || is_cut_off || is_not_fed {
        return Verdict { health: Health::Broken, why: reason() };
    }
    if let Some(fault) = link.faults.first() {
        let others = match link.faults.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let why = format!("topic {}{others} stopped: {}", fault.topic, fault.message);
        return Verdict { health: Health::Broken, why };
    }
    if link.sync == SyncStanding::Refusing {
        let why = "it does not keep up, and acks=all is refused".to_owned();
        return Verdict { health: Health::Broken, why };
    }
    if link.sync == SyncStanding::Degraded {
        let why = format!("acks=all goes on without it, {lag}{paused}");
        return Verdict { health: Health::Lagging, why };
    }
    if link.state != ReplicaState::Replicating {
        let why = format!("being set up, {} % copied{paused}", link.copy_percent);
        return Verdict { health: Health::Lagging, why };
    }
    if link.expired > 0 {
        let expired = link.expired;
        let why = format!("retention has deleted {expired} offsets before they were sent{paused}");
        return Verdict { health: Health::Lagging, why };
    }
    if link.lag_ms > lag_ms_max {
        return Verdict { health: Health::Lagging, why: format!("{lag}{paused}") };
    }
    Verdict { health: Health::Fine, why: format!("{lag}{paused}") }
}

#[cfg(test)]
mod tests {
    use mainstem_api::links::{LinkError, LinkReport, TopicFault};

    use super::*;
    use crate::HandoverSight;

    const NOW: i64 = 1_700_000_000_000;

    fn fine() -> ReplicaSight {
        ReplicaSight {
            stream: "/a".parse().unwrap(),
            replica: "/mapr/newyork/a".to_owned(),
            is_paused: false,
            lag_ms_max: None,
            link: LinkReport {
                connected: true,
                stood_ms: Some(NOW - 500),
                ..LinkReport::default()
            },
            handover: None,
        }
    }

    fn handover(is_offered: bool, deadline_ms: i64) -> Option<HandoverSight> {
        let (source, offered_ms) = ("/mapr/boston/a".to_owned(), None);
        Some(HandoverSight { source, is_offered, offered_ms, deadline_ms })
    }

    #[test]
    fn a_replica_is_judged_by_contact_faults_set_up_and_lag() {
        type Case = (Health, &'static str, fn(&mut ReplicaSight));
        let cases: &[Case] = &[
            (Health::Fine, "0.0 s behind", |_| {}),
            (Health::Fine, "60.0 s", |r| r.link.lag_ms = 60_000),
            (Health::Lagging, "60.0 s", |r| r.link.lag_ms = 60_001),
            (Health::Lagging, "paused", |r| (r.is_paused, r.link.lag_ms) = (true, 70_000)),
            (Health::Lagging, "without it", |r| r.link.sync = SyncStanding::Degraded),
            (Health::Broken, "refused", |r| r.link.sync = SyncStanding::Refusing),
            (Health::Lagging, "0 % copied", |r| {
                r.link.state = ReplicaState::CreateSchedule;
                (r.link.connected, r.link.stood_ms) = (false, None);
            }),
            (Health::Lagging, "deleted 7 offsets", |r| r.link.expired = 7),
            // Paused with nothing to be sent is what a person wanted, however long ago.
            (Health::Fine, "paused", |r| {
                (r.is_paused, r.link.connected, r.link.stood_ms) = (true, false, Some(0));
            }),
            // Between two sessions.
            (Health::Fine, "0.0 s", |r| r.link.connected = false),
            (Health::Broken, "ErrX: call them", |r| {
                (r.link.connected, r.link.stood_ms) = (false, Some(NOW - 10_001));
                r.link.error = Some(LinkError {
                    code: "ErrX".to_owned(),
                    host: "here".to_owned(),
                    message: "call them".to_owned(),
                    at_ms: NOW,
                });
            }),
            (Health::Broken, "no session", |r| {
                (r.link.connected, r.link.stood_ms) = (false, None);
            }),
            (Health::Broken, "ErrNotFed: topic t belongs to another", |r| {
                r.link.error = Some(LinkError {
                    code: NOT_FED.to_owned(),
                    host: "here".to_owned(),
                    message: "topic t belongs to another".to_owned(),
                    at_ms: NOW,
                });
            }),
            (Health::Broken, "topic t stopped: two owners", |r| {
                r.link.faults = vec![TopicFault {
                    topic: "t".to_owned(),
                    partition: None,
                    code: "ErrTopicConflict".to_owned(),
                    message: "two owners".to_owned(),
                }];
            }),
            (Health::Lagging, "40 % copied", |r| {
                (r.link.state, r.link.copy_percent) = (ReplicaState::CopyInProgress, 40);
            }),
            (Health::Broken, "", |r| r.link.state = ReplicaState::Unexpected),
            (Health::Fine, "0.0 s", |r| r.handover = handover(true, NOW - 4_999)),
            (Health::Fine, "0.0 s", |r| r.handover = handover(false, NOW - 60_000)),
            (Health::Broken, "stay refused", |r| r.handover = handover(true, NOW - 5_000)),
        ];
        for (at, (health, says, change)) in cases.iter().enumerate() {
            let mut replica = fine();
            change(&mut replica);
            let verdict = judge(&replica, 60_000, NOW);
            assert_eq!(verdict.health, *health, "case {at}: {}", verdict.why);
            assert!(verdict.why.contains(says), "case {at}: {}", verdict.why);
        }
    }
}
