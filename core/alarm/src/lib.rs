//! Which alarms stand, and whether a stream's replicas are well: what was seen of a node goes in,
//! with the time; alarms raised and cleared, and verdicts, come out.
//!
//! It must never know how anything was seen, who is told, or what time it is.

mod alarms;
mod condition;
mod handover;
mod health;
mod name;
mod sight;

pub use alarms::{Alarm, Alarms, Change, Moment};
pub use condition::{AlarmKey, Condition, Level, conditions};
pub use handover::undecided;
pub use health::{Health, Verdict, judge};
pub use name::{AlarmName, Scope};
pub use sight::{
    DamageSight, DiskSight, GatewaySight, HandoverSight, ReplicaSight, Sight, UpstreamSight,
};
