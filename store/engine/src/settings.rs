//! The engine's settings, with the reason for each default.

use mainstem_log::LogSettings;
use mainstem_types::limits::SEQUENCER_QUEUE_BYTES;

/// How a node keeps its streams. Plain values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// The commit log's own.
    pub log: LogSettings,
    /// Bytes of operations that may wait for the sequencer; producers are held back beyond.
    pub queue_bytes_max: usize,
    /// Below this many free bytes appends are refused, so that deletes, trims and cursors still
    /// have room. One GiB: the segments in reserve and a checkpoint of the view, several times.
    pub disk_free_bytes_min: u64,
    /// How often expired batches are looked for. A second: expiry is by TTLs of seconds and more.
    pub expiry_interval_ms: u64,
    /// How often the materialised view is brought up to date. A second bounds the replay at start
    /// to about as much as the unsealed segment, which is read anyway.
    pub view_interval_ms: u64,
    /// Who writes the view.
    pub view_mode: ViewMode,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            log: LogSettings::default(),
            queue_bytes_max: SEQUENCER_QUEUE_BYTES,
            disk_free_bytes_min: 1024 * 1024 * 1024,
            expiry_interval_ms: 1_000,
            view_interval_ms: 1_000,
            view_mode: ViewMode::Background,
        }
    }
}

/// Who writes the materialised view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewMode {
    /// A thread of its own, so that no append waits for it.
    Background,
    /// The sequencer, for simulations in one thread.
    Inline,
}
