//! When acknowledgements wait for a replica, as the engine has found it to be.

use std::collections::BTreeSet;

use mainstem_types::limits::RISK_PARTITIONS_MAX;
use mainstem_types::{Error, PartitionNo};

use super::Draw;
use crate::{Catalog, Command, Event, RiskRange, RiskWindow, SyncState};

impl Catalog {
    pub(super) fn decide_synchrony(
        &self,
        command: &Command,
        draw: &Draw,
    ) -> Result<Vec<Event>, Error> {
        let (Command::DegradeReplica { stream, idx, .. }
        | Command::WidenRisk { stream, idx, .. }
        | Command::BringInForce { stream, idx, .. }) = command
        else {
            unreachable!("called for synchronous replicas only")
        };
        let (stream, idx) = (self.expect_stream(*stream)?, *idx);
        let replica = stream.replicas.iter().find(|replica| replica.idx == idx);
        let replica = replica.ok_or_else(|| Error::fenced("the replica was removed meanwhile"))?;
        let stream = stream.id;
        let event = match command {
            Command::DegradeReplica { since_ms, at_risk, .. } => {
                if replica.sync_state != SyncState::InForce {
                    return Ok(Vec::new());
                }
                let (ranges, is_partial) = begin_ranges(at_risk, &BTreeSet::new());
                let window = RiskWindow { from_ms: *since_ms, to_ms: None, ranges, is_partial };
                Event::ReplicaDegraded { stream, idx, window }
            }
            Command::WidenRisk { at_risk, .. } => {
                let Some(window) = replica.open_window().filter(|window| !window.is_partial) else {
                    return Ok(Vec::new());
                };
                let known = window.ranges.iter().map(|range| range.partition).collect();
                let (ranges, is_partial) = begin_ranges(at_risk, &known);
                if ranges.is_empty() && !is_partial {
                    return Ok(Vec::new());
                }
                Event::RiskWidened { stream, idx, ranges, is_partial }
            }
            Command::BringInForce { ends, .. } => {
                let waits = matches!(replica.sync_state, SyncState::Joining | SyncState::Degraded);
                if !waits || replica.paused {
                    return Ok(Vec::new());
                }
                // A partition that is gone by now has nothing at risk.
                let end = |range: &RiskRange| ends.get(&range.partition).copied();
                let ranges = replica.open_window().map_or(&[][..], |window| &window.ranges);
                let ends = ranges.iter().map(|range| end(range).unwrap_or(range.from)).collect();
                Event::ReplicaInForce { stream, idx, at_ms: draw.now_ms, ends }
            }
            _ => unreachable!("matched above"),
        };
        Ok(vec![event])
    }
}

/// As many ranges as there is room for beside the known ones, and whether others were left out.
fn begin_ranges(
    at_risk: &[(PartitionNo, i64)],
    known: &BTreeSet<PartitionNo>,
) -> (Vec<RiskRange>, bool) {
    let news = at_risk.iter().filter(|(partition, _)| !known.contains(partition));
    let mut ranges: Vec<RiskRange> = news
        .map(|(partition, from)| RiskRange { partition: *partition, from: *from, to: None })
        .collect();
    let room = RISK_PARTITIONS_MAX - known.len();
    let is_partial = ranges.len() > room;
    ranges.truncate(room);
    (ranges, is_partial)
}
