//! The network: frames late, connections broken, clusters cut off from each other.

use mainstem_env::Random;

use crate::world::World;

impl World {
    pub(crate) fn hang_up(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.cut();
        }
    }

    /// One frame that can get through does, somewhere.
    pub(crate) fn deliver_one(&mut self) {
        let waiting: Vec<(u64, bool)> = self
            .connections
            .iter()
            .flat_map(|(id, c)| {
                let (down, up) = (self.gets_through(*id, true), self.gets_through(*id, false));
                let down = (down && c.has_down()).then_some((*id, true));
                down.into_iter().chain((up && c.has_up()).then_some((*id, false)))
            })
            .collect();
        if waiting.is_empty() {
            return;
        }
        match waiting[self.pick(waiting.len())] {
            (id, _) if self.connections[&id].is_slow && self.random.below(8) != 0 => {}
            (id, true) => self.deliver_down(id),
            (id, false) => self.deliver_up(id),
        }
    }

    pub(crate) fn cut_one(&mut self) {
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.pick(ids.len())];
        if self.random.below(2) == 0 {
            self.hang_up(id);
        } else if let Some(connection) = self.connections.get_mut(&id) {
            connection.abandon();
        }
    }

    /// The way between two clusters is cut, in one direction or in both, without either of them
    /// being told: what was sent waits, as in TCP, and may arrive when nobody reckons with it.
    pub(crate) fn cut_off_or_heal(&mut self) {
        if !self.cut_off.is_empty() && self.random.below(2) == 0 {
            self.cut_off.clear();
            return;
        }
        let link = &self.links[self.pick(self.links.len())];
        let (a, b) = (self.sites[link.source].node, self.sites[link.replica].node);
        if a == b {
            return;
        }
        let ways = [vec![(a, b)], vec![(b, a)], vec![(a, b), (b, a)]];
        self.cut_off.extend(&ways[self.pick(ways.len())]);
    }

    /// Whether frames of a connection arrive now, in the direction of its data or against it.
    fn gets_through(&self, id: u64, down: bool) -> bool {
        let link = &self.links[self.connections[&id].link];
        let (a, b) = (self.sites[link.source].node, self.sites[link.replica].node);
        !self.cut_off.contains(&if down { (a, b) } else { (b, a) })
    }
}
