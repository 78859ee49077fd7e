//! Places in the durable order.

use std::fmt;

/// A place in a node's durable order: the segment's number in the upper half, the byte in it in
/// the lower. Grows for ever, across restarts too. It is a frontier: the place *after* what was
/// written, so that a replay from it repeats nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// Before everything: replay from here is replay of all that is kept.
    pub const START: Self = Self(0);

    /// The place at byte `byte` of segment `segment`.
    pub const fn new(segment: u32, byte: u32) -> Self {
        Self((segment as u64) << 32 | byte as u64)
    }

    /// The segment's number.
    pub const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The byte in the segment.
    pub const fn byte(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment(), self.byte())
    }
}
