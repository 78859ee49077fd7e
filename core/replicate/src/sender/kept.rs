//! What the source keeps of what it sends.

use super::{ReadRequest, Sender};

impl Sender {
    /// What the source keeps of a partition, asked after a read and told before
    /// [`Self::handle_read`]: its first offset, up to where compaction may have written anew, and the
    /// gaps that were declared to the source itself.
    pub fn handle_kept(
        &mut self,
        request: &ReadRequest,
        log_start: i64,
        compacted: i64,
        gaps: impl IntoIterator<Item = (i64, i64)>,
    ) {
        if let Some(partition) = self.partitions.get_mut(&(request.origin, request.partition)) {
            partition.kept = (log_start, compacted);
            partition.gaps = gaps.into_iter().collect();
        }
    }
}
