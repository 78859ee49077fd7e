//! What went over the links, for whoever looks into a seed.

use mainstem_link::Frame;

use crate::topology::NAMES;
use crate::world::World;

impl World {
    /// Notes a frame as it is taken off the network.
    pub(crate) fn note_frame(&mut self, id: u64, link: usize, down: bool, frame: &Frame) {
        if self.trace.is_none() {
            return;
        }
        let link = &self.links[link];
        let place =
            |site: usize| format!("{}{}", NAMES[self.sites[site].node], self.sites[site].path);
        let (from, to) = (place(link.source), place(link.replica));
        let arrow = if down { "->" } else { "<-" };
        let line = format!("{} session {id} {from} {arrow} {to}: {}", self.event(), told(frame));
        self.trace.iter_mut().for_each(|trace| trace.push(line.clone()));
    }

    /// Notes what somebody does.
    pub(crate) fn note_deed(&mut self, what: impl FnOnce() -> String) {
        let event = self.event();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{event} {}", what()));
        }
    }
}

/// A frame without the bytes of its batches.
fn told(frame: &Frame) -> String {
    match frame {
        Frame::Batches(batches) => {
            let (from, to) = (batches.gap_from.unwrap_or(batches.from), batches.to);
            format!(
                "Batches of {} {}, {from} to {to}, lineage {:?}",
                batches.origin, batches.partition, batches.lineage
            )
        }
        frame => format!("{frame:?}"),
    }
}
