//! Conditions over time: each alarm is raised once and cleared once, and nothing flaps.

use std::collections::{BTreeMap, VecDeque};

use crate::{AlarmKey, Condition, Level};

/// Cleared alarms that are remembered.
const CLEARED_MAX: usize = 256;

/// One moment on both clocks: durations are of the monotonic one, what is shown of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic clock.
    pub now_ms: u64,
    /// The wall clock.
    pub wall_ms: i64,
}

/// An alarm that stands, or stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Which.
    pub key: AlarmKey,
    /// What is wrong, as of the last look, and what to do next.
    pub message: String,
    /// When it was raised, by the wall clock.
    pub raised_ms: i64,
    /// When it was cleared, if it was.
    pub cleared_ms: Option<i64>,
}

/// What a look has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An alarm is raised.
    Raised(Alarm),
    /// An alarm is cleared.
    Cleared(Alarm),
}

/// All alarms of a node.
#[derive(Debug, Default)]
pub struct Alarms {
    watched: BTreeMap<AlarmKey, Watched>,
    cleared: VecDeque<Alarm>,
}

/// A condition that is bad, or was a moment ago.
#[derive(Debug)]
struct Watched {
    /// Since when it is as it is: bad without a break before it is raised, good without a break
    /// after that.
    since_ms: Option<u64>,
    raised: Option<Alarm>,
}

impl Alarms {
    /// Takes what was seen: one condition for everything that could be wrong, also while it is
    /// not. What is no longer mentioned is gone, and its alarm with it.
    pub fn handle_look(&mut self, conditions: Vec<Condition>, at: Moment) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut before = std::mem::take(&mut self.watched);
        for condition in conditions {
            let known = before.remove(&condition.key);
            let key = condition.key.clone();
            if let Some(watched) = self.watch(condition, known, at, &mut changes) {
                self.watched.insert(key, watched);
            }
        }
        for alarm in before.into_values().filter_map(|watched| watched.raised) {
            changes.push(self.clear(alarm, at));
        }
        changes
    }

    /// The alarms that stand, by name and what they are about.
    pub fn standing(&self) -> impl Iterator<Item = &Alarm> {
        self.watched.values().filter_map(|watched| watched.raised.as_ref())
    }

    /// Alarms that were cleared, the latest first.
    pub fn cleared(&self) -> impl Iterator<Item = &Alarm> {
        self.cleared.iter()
    }

    fn watch(
        &mut self,
        condition: Condition,
        known: Option<Watched>,
        at: Moment,
        changes: &mut Vec<Change>,
    ) -> Option<Watched> {
        let mut watched = known.unwrap_or(Watched { since_ms: None, raised: None });
        let lasts = |since_ms: Option<u64>, delay_ms: u64| {
            at.now_ms >= since_ms.unwrap_or(at.now_ms).saturating_add(delay_ms)
        };
        match (watched.raised.take(), condition.level) {
            (None, Level::Bad) => {
                watched.since_ms = watched.since_ms.or(Some(at.now_ms));
                if lasts(watched.since_ms, condition.raise_after_ms) {
                    let alarm = Alarm {
                        key: condition.key,
                        message: condition.message,
                        raised_ms: at.wall_ms,
                        cleared_ms: None,
                    };
                    changes.push(Change::Raised(alarm.clone()));
                    watched = Watched { since_ms: None, raised: Some(alarm) };
                }
                Some(watched)
            }
            (None, Level::Between) => watched.since_ms.is_some().then_some(watched),
            (None, Level::Good) => None,
            (Some(alarm), Level::Good) => {
                watched.since_ms = watched.since_ms.or(Some(at.now_ms));
                if lasts(watched.since_ms, condition.clear_after_ms) {
                    changes.push(self.clear(alarm, at));
                    return None;
                }
                Some(Watched { raised: Some(alarm), ..watched })
            }
            (Some(alarm), Level::Bad | Level::Between) => {
                let alarm = Alarm { message: condition.message, ..alarm };
                Some(Watched { since_ms: None, raised: Some(alarm) })
            }
        }
    }

    fn clear(&mut self, alarm: Alarm, at: Moment) -> Change {
        let alarm = Alarm { cleared_ms: Some(at.wall_ms), ..alarm };
        self.cleared.truncate(CLEARED_MAX - 1);
        self.cleared.push_front(alarm.clone());
        Change::Cleared(alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AlarmName;

    fn condition(level: Level) -> Condition {
        Condition {
            key: AlarmKey {
                name: AlarmName::ReplError,
                entity: "/a".to_owned(),
                subject: "/mapr/newyork/a".to_owned(),
            },
            level,
            message: format!("{level:?}"),
            raise_after_ms: 10_000,
            clear_after_ms: 5_000,
        }
    }

    /// Levels, a look each second, and the seconds at which something changed: true for raised.
    fn run(levels: &[Option<Level>]) -> Vec<(u64, bool)> {
        let mut alarms = Alarms::default();
        let mut seen = Vec::new();
        for (second, level) in (0..).zip(levels) {
            let at = Moment { now_ms: second * 1000, wall_ms: 77 };
            for change in alarms.handle_look(level.map(condition).into_iter().collect(), at) {
                let raised = matches!(change, Change::Raised(_));
                assert_eq!(alarms.standing().count(), usize::from(raised));
                seen.push((second, raised));
            }
        }
        seen
    }

    #[test]
    fn an_alarm_is_raised_when_trouble_lasts_and_cleared_when_it_is_gone_for_a_while() {
        let (bad, good) = (Some(Level::Bad), Some(Level::Good));
        assert_eq!(run(&[bad; 30]), [(10, true)]);
        let mut levels = vec![bad; 12];
        levels.extend([good; 20]);
        assert_eq!(run(&levels), [(10, true), (17, false)]);
        // One that is not mentioned any more is gone at once.
        let mut levels = vec![bad; 12];
        levels.extend([None; 3]);
        assert_eq!(run(&levels), [(10, true), (12, false)]);
    }

    #[test]
    fn what_comes_and_goes_neither_raises_nor_clears() {
        let (bad, good) = (Some(Level::Bad), Some(Level::Good));
        // Bad for nine seconds at a time.
        let flapping: Vec<_> =
            (0..60).map(|second| if second % 10 == 9 { good } else { bad }).collect();
        assert_eq!(run(&flapping), []);
        // Once raised, good for four seconds at a time.
        let mut levels = vec![bad; 11];
        levels.extend((0..60).map(|second| if second % 5 == 4 { bad } else { good }));
        assert_eq!(run(&levels), [(10, true)]);
        // In between is neither: it does not raise, and does not clear.
        let mut levels = vec![Some(Level::Between); 20];
        levels.extend([bad; 11]);
        levels.extend([Some(Level::Between); 20]);
        assert_eq!(run(&levels), [(30, true)]);
    }

    #[test]
    fn a_standing_alarm_tells_the_latest_and_a_cleared_one_is_remembered() {
        let mut alarms = Alarms::default();
        let at = |second: u64| Moment { now_ms: second * 1000, wall_ms: second as i64 };
        for second in 0..=12 {
            alarms.handle_look(vec![condition(Level::Bad)], at(second));
        }
        alarms.handle_look(vec![condition(Level::Between)], at(13));
        let alarm = alarms.standing().next().unwrap();
        assert_eq!((alarm.message.as_str(), alarm.raised_ms), ("Between", 10));
        alarms.handle_look(Vec::new(), at(14));
        assert_eq!(alarms.standing().count(), 0);
        assert_eq!(alarms.cleared().next().unwrap().cleared_ms, Some(14));
        for second in 100..10_000 {
            let level = if second / 20 % 2 == 0 { Level::Bad } else { Level::Good };
            alarms.handle_look(vec![condition(level)], at(second));
        }
        assert!(alarms.cleared().count() > 200 && alarms.cleared().count() <= CLEARED_MAX);
        assert!(alarms.cleared().is_sorted_by_key(|alarm| std::cmp::Reverse(alarm.cleared_ms)));
    }
}
