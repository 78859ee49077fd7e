//! Times: where records have them, and as the original's tables show them.

use mainstem_api::iso_time;
use mainstem_engine::Partition;
use mainstem_record::BatchHeader;
use mainstem_types::Error;

/// ISO 8601 in UTC; what is not known is shown as the beginning of 1970, as the original does.
pub(crate) fn shown(ms: Option<i64>) -> String {
    iso_time(ms.unwrap_or(0))
}

/// The first timestamp of the batch that holds an offset; `None` where nothing is.
pub(crate) fn time_at(partition: &Partition, offset: i64) -> Result<Option<i64>, Error> {
    let offset = offset.max(partition.log_start());
    if offset >= partition.high_watermark() {
        return Ok(None);
    }
    let batches = partition.read(offset, 1)?;
    let header = batches.first().and_then(|batch| BatchHeader::decode(&batch.bytes).ok());
    Ok(header.map(|header| header.base_timestamp))
}
