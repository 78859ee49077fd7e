//! The log's settings, with the reason for each default.

/// How a log is kept. Plain values; what the log works on is passed to it when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// A segment is sealed when the next group would make it longer. 256 MiB: scanned in well
    /// under a second after a crash, and a roll every quarter second at full speed costs nothing.
    pub segment_bytes: u32,
    /// A segment is sealed at this many indexed frames, which bounds the memory of the unsealed
    /// segment's index (48 bytes each) and the length of a footer. One million.
    pub segment_batches_max: u32,
    /// Segments written with zeros ahead of need. Two: one is taken while the next is made.
    pub reserve_segments: u32,
    /// Who makes the reserve.
    pub reserve_mode: ReserveMode,
    /// Payload bytes of one group, though a group holds at least one frame whatever its size.
    /// 8 MiB: past that a bigger group is no faster, and only makes the first waiter wait.
    pub group_bytes_max: u32,
    /// Decoded footer columns of sealed segments kept in memory. 64 MiB: the index of about
    /// 1.4 million old batches, and the bound on what reading history costs.
    pub footer_cache_bytes: usize,
    /// Newest batches kept in memory for consumers and senders that are near the end. 128 MiB:
    /// a tenth of a second at full speed, seconds at usual ones.
    pub tail_cache_bytes: usize,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 256 * 1024 * 1024,
            segment_batches_max: 1_000_000,
            reserve_segments: 2,
            reserve_mode: ReserveMode::Background,
            group_bytes_max: 8 * 1024 * 1024,
            footer_cache_bytes: 64 * 1024 * 1024,
            tail_cache_bytes: 128 * 1024 * 1024,
        }
    }
}

/// Who writes reserve segments full of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveMode {
    /// A thread of the log's own, so that no write waits for it.
    Background,
    /// The writer, right when a segment is taken or freed: for simulations in one thread.
    Inline,
}
