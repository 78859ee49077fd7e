//! Partition numbers in CBOR as runs `[first, count, first, count, …]`: a topic's partitions are
//! nearly always one run.

use mainstem_types::PartitionNo;
use mainstem_types::limits::PARTITIONS_PER_TOPIC_MAX;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};

pub(crate) fn encode<C, W: Write>(
    numbers: &[PartitionNo],
    e: &mut Encoder<W>,
    _: &mut C,
) -> Result<(), EncodeError<W::Error>> {
    let runs: Vec<&[PartitionNo]> = numbers.chunk_by(|a, b| a.0 + 1 == b.0).collect();
    e.array(runs.len() as u64 * 2)?;
    for run in runs {
        e.u64(run[0].0)?.u64(run.len() as u64)?;
    }
    Ok(())
}

pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<PartitionNo>, DecodeError> {
    let words = d.array()?.ok_or_else(|| DecodeError::message("runs state their number"))?;
    if words % 2 != 0 {
        return Err(DecodeError::message("runs are pairs"));
    }
    let mut numbers = Vec::new();
    for _ in 0..words / 2 {
        let (first, count) = (d.u64()?, d.u64()?);
        let room = u64::from(PARTITIONS_PER_TOPIC_MAX) - numbers.len() as u64;
        let end = first.checked_add(count).filter(|_| (1..=room).contains(&count));
        let end = end.ok_or_else(|| DecodeError::message("a run is too long"))?;
        numbers.extend((first..end).map(PartitionNo));
    }
    Ok(numbers)
}
