//! Whatever a producer or a peer sends is refused or read to its end, within the limit; also with
//! the checksum made right, which a hostile sender would do.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mainstem_record::{
    BatchSlices, check_produced, check_replicated, offset_of_max_timestamp, patch_log_append_time,
    records,
};

const LIMIT_BYTES: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    read(data);
    let mut batch = data.to_vec();
    if batch.len() >= mainstem_record::HEADER_BYTES {
        let length = i32::try_from(batch.len() - 12).expect("inputs are small");
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        patch_log_append_time(&mut batch, 0);
        read(&batch);
    }
});

fn read(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let produced = check_produced(data);
    if let (Ok(header), Ok(replicated)) = (&produced, check_replicated(data)) {
        assert_eq!(header, &replicated);
    }
    for batch in BatchSlices::new(data) {
        let Ok((header, batch)) = batch else { break };
        assert_eq!(header.total_bytes, batch.len());
    }
    if let Ok(records) = records(&bytes, LIMIT_BYTES) {
        let mut read_bytes = 0;
        for record in records {
            let Ok(record) = record else { break };
            read_bytes += record.value.map_or(0, |value| value.len());
        }
        assert!(read_bytes <= LIMIT_BYTES.max(data.len()));
    }
    let _ = offset_of_max_timestamp(&bytes, LIMIT_BYTES);
}
