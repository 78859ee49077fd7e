//! Reading a whole topic back, as any consumer may.

use bytes::Bytes;
use mainstem_record::{Batches, records};
use mainstem_types::Error;
use mainstem_types::limits::DECOMPRESSED_BYTES_MAX;
use mainstem_wire::{FetchPartition, FetchRequest, FetchTopic, PartitionData, Response};

use super::connection::Connection;
use super::producer::check;

const FETCH_BYTES: i32 = 1024 * 1024;

/// One partition: its batches as they are stored, and the records in them.
#[derive(Default)]
pub(crate) struct PartitionContent {
    pub(crate) batches: Vec<Bytes>,
    pub(crate) records: Vec<Found>,
}

/// A record where it was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
}

/// Everything that stands in a topic's partitions, each read to its end.
pub(crate) fn read_topic(
    address: &str,
    topic: &str,
    partitions: usize,
) -> Result<Vec<PartitionContent>, Error> {
    let mut connection = Connection::open(address)?;
    (0..partitions).map(|index| read_partition(&mut connection, topic, index)).collect()
}

fn read_partition(
    connection: &mut Connection,
    topic: &str,
    index: usize,
) -> Result<PartitionContent, Error> {
    let mut content = PartitionContent::default();
    let mut next = 0;
    loop {
        let data = fetch(connection, topic, index, next)?;
        let at_end = next >= data.high_watermark;
        for batch in Batches::new(data.records.into_bytes()) {
            let batch = batch.map_err(|e| Error::corrupt(e.to_string()))?;
            next = batch.header.next_offset();
            let found = records(&batch.bytes, DECOMPRESSED_BYTES_MAX)
                .map_err(|e| Error::corrupt(e.to_string()))?;
            for record in found {
                let record = record.map_err(|e| Error::corrupt(e.to_string()))?;
                let (offset, timestamp) = (record.offset, record.timestamp);
                let (key, value) = (record.key, record.value);
                content.records.push(Found { offset, timestamp, key, value });
            }
            content.batches.push(batch.bytes);
        }
        if at_end {
            return Ok(content);
        }
    }
}

fn fetch(
    connection: &mut Connection,
    topic: &str,
    index: usize,
    fetch_offset: i64,
) -> Result<PartitionData, Error> {
    let partition = FetchPartition {
        partition: i32::try_from(index).expect("few partitions"),
        fetch_offset,
        partition_max_bytes: FETCH_BYTES,
        ..FetchPartition::default()
    };
    let topic =
        FetchTopic { topic: topic.into(), partitions: vec![partition], ..FetchTopic::default() };
    let request = FetchRequest { max_wait_ms: 0, topics: vec![topic], ..FetchRequest::default() };
    let Response::Fetch(answer) = connection.call(request, 12)? else {
        unreachable!("an answer is of its request's kind");
    };
    check(answer.error_code, None)?;
    let partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
    let data = partitions.last().ok_or_else(|| Error::not_found("the topic is not there"))?;
    check(data.error_code, None)?;
    Ok(data)
}
