//! Which streams there are, in which clusters, and who feeds whom.

use std::collections::BTreeMap;

use mainstem_env::{Random, SeededRandom};
use mainstem_replicate::{Account, Feeders};
use mainstem_types::{OriginTopicId, StreamId};

/// One shape: streams by their cluster and path, and links as (source, replica).
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) name: &'static str,
    pub(crate) sites: &'static [(usize, &'static str)],
    pub(crate) links: &'static [(usize, usize)],
    /// Whether replicas are promoted in it.
    pub(crate) reigns: bool,
    /// How many seeds of a round get it.
    weight: u64,
}

/// Clusters, and streams, by the letter that their topics' names begin with.
pub(crate) const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

const TWO: &[(usize, &str)] = &[(0, "/s"), (1, "/s")];
const THREE: &[(usize, &str)] = &[(0, "/s"), (1, "/s"), (2, "/s")];
const FOUR: &[(usize, &str)] = &[(0, "/s"), (1, "/s"), (2, "/s"), (3, "/s")];

/// Mostly one source and one replica, whose faults are the cheapest to find; of the others each
/// has what no other has.
pub(crate) const TOPOLOGIES: &[Topology] = &[
    Topology { name: "pair", sites: TWO, links: &[(0, 1)], reigns: false, weight: 6 },
    Topology {
        name: "multi-master",
        sites: TWO,
        links: &[(0, 1), (1, 0)],
        reigns: false,
        weight: 3,
    },
    Topology { name: "chain", sites: THREE, links: &[(0, 1), (1, 2)], reigns: false, weight: 2 },
    Topology {
        name: "loop of three",
        sites: THREE,
        links: &[(0, 1), (1, 2), (2, 0)],
        reigns: false,
        weight: 2,
    },
    Topology {
        name: "loop of four",
        sites: FOUR,
        links: &[(0, 1), (1, 2), (2, 3), (3, 0)],
        reigns: false,
        weight: 1,
    },
    Topology {
        name: "one to many",
        sites: FOUR,
        links: &[(0, 1), (0, 2), (0, 3)],
        reigns: false,
        weight: 1,
    },
    Topology {
        name: "many to one",
        sites: FOUR,
        links: &[(0, 3), (1, 3), (2, 3)],
        reigns: false,
        weight: 1,
    },
    Topology {
        name: "diamond",
        sites: FOUR,
        links: &[(0, 1), (0, 2), (1, 3), (2, 3)],
        reigns: false,
        weight: 3,
    },
    Topology {
        name: "mesh of three",
        sites: THREE,
        links: &[(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)],
        reigns: false,
        weight: 2,
    },
    Topology {
        name: "within one cluster",
        sites: &[(0, "/s"), (0, "/t"), (1, "/s")],
        links: &[(0, 1), (1, 2), (0, 2)],
        reigns: false,
        weight: 2,
    },
    Topology {
        name: "fail-over of a pair",
        sites: TWO,
        links: &[(0, 1), (1, 0)],
        reigns: true,
        weight: 3,
    },
    Topology {
        name: "fail-over in a mesh",
        sites: THREE,
        links: &[(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)],
        reigns: true,
        weight: 2,
    },
];

impl Topology {
    /// The one of a name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        TOPOLOGIES.iter().find(|topology| topology.name == name)
    }

    /// The one that a seed gets.
    pub(crate) fn draw(random: &SeededRandom) -> &'static Self {
        let mut at = random.below(TOPOLOGIES.iter().map(|topology| topology.weight).sum());
        for topology in TOPOLOGIES {
            if at < topology.weight {
                return topology;
            }
            at -= topology.weight;
        }
        unreachable!("the draw is below the sum of the weights")
    }

    /// How many clusters it takes.
    pub(crate) fn clusters(&self) -> usize {
        self.sites.iter().map(|(node, _)| node + 1).max().unwrap_or(0)
    }
}

/// A stream in its cluster.
pub(crate) struct Site {
    pub(crate) node: usize,
    pub(crate) path: &'static str,
    pub(crate) stream: StreamId,
    /// As volatile as the process.
    pub(crate) feeders: Feeders,
}

/// A source, its replica, and their agreement.
pub(crate) struct Link {
    pub(crate) source: usize,
    pub(crate) replica: usize,
    pub(crate) raising: bool,
    /// A hand-over is being taken back.
    pub(crate) deciding: bool,
    /// What the source has heard of what the replica holds.
    pub(crate) account: Account,
    /// For a planted bug: what was sent in earlier sessions.
    pub(crate) remembered: BTreeMap<(OriginTopicId, u32), i64>,
}

impl Link {
    pub(crate) fn new(&(source, replica): &(usize, usize)) -> Self {
        let (account, remembered) = (Account::default(), BTreeMap::new());
        Self { source, replica, raising: false, deciding: false, account, remembered }
    }
}
