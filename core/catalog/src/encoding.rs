//! How ids, names and small enums stand in CBOR. The bytes are a contract: see docs/FORMAT.md.

use std::str::FromStr;

use mainstem_types::{
    CatalogSeq, ClusterId, ClusterName, JobId, KafkaTopicId, LinkEpoch, OriginTopicId, PartitionNo,
    StreamCompression, StreamId, StreamPath, Term, TermId, TimestampType, TopicName,
};
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decoder, Encoder};

type EncodeResult<W> = Result<(), EncodeError<<W as Write>::Error>>;

/// A value of `mainstem-types` inside a CBOR map.
pub(crate) trait Field: Sized {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> EncodeResult<W>;
    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError>;
}

/// For `#[cbor(with = "crate::encoding")]`.
pub(crate) fn encode<C, T: Field, W: Write>(
    value: &T,
    e: &mut Encoder<W>,
    _: &mut C,
) -> EncodeResult<W> {
    value.put(e)
}

/// For `#[cbor(with = "crate::encoding")]`.
pub(crate) fn decode<C, T: Field>(d: &mut Decoder<'_>, _: &mut C) -> Result<T, DecodeError> {
    T::take(d)
}

macro_rules! ids {
    ($($id:ty),*) => {$(
        impl Field for $id {
            fn put<W: Write>(&self, e: &mut Encoder<W>) -> EncodeResult<W> {
                e.bytes(&self.to_bytes())?.ok()
            }

            fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let bytes = d.bytes()?.try_into();
                bytes.map(Self::from_bytes).map_err(|_| DecodeError::message("an id has 16 bytes"))
            }
        }
    )*};
}
ids!(ClusterId, StreamId, OriginTopicId, KafkaTopicId, TermId, JobId, crate::GrantId);

macro_rules! counters {
    ($($counter:ident),*) => {$(
        impl Field for $counter {
            fn put<W: Write>(&self, e: &mut Encoder<W>) -> EncodeResult<W> {
                e.u64(self.0)?.ok()
            }

            fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                d.u64().map($counter)
            }
        }
    )*};
}
counters!(PartitionNo, LinkEpoch, CatalogSeq);

macro_rules! names {
    ($($name:ty),*) => {$(
        impl Field for $name {
            fn put<W: Write>(&self, e: &mut Encoder<W>) -> EncodeResult<W> {
                e.str(self.as_str())?.ok()
            }

            fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                <$name>::from_str(d.str()?).map_err(DecodeError::message)
            }
        }
    )*};
}
names!(ClusterName, StreamPath, TopicName);

macro_rules! numbered {
    ($name:ident { $($number:literal => $variant:ident),* }) => {
        impl Field for $name {
            fn put<W: Write>(&self, e: &mut Encoder<W>) -> EncodeResult<W> {
                e.u8(match self { $(Self::$variant => $number),* })?.ok()
            }

            fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                match d.u8()? {
                    $($number => Ok(Self::$variant),)*
                    other => Err(DecodeError::unknown_variant(i64::from(other))),
                }
            }
        }
    };
}
numbered!(TimestampType { 0 => CreateTime, 1 => LogAppendTime });
numbered!(StreamCompression { 0 => Off, 1 => Lz4, 2 => Lzf, 3 => Zlib });

impl Field for Term {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> EncodeResult<W> {
        e.array(2)?.u64(self.number)?;
        self.id.put(e)
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        if d.array()? != Some(2) {
            return Err(DecodeError::message("a term is an array of two"));
        }
        Ok(Self { number: d.u64()?, id: TermId::take(d)? })
    }
}

impl<T: Field> Field for Option<T> {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> EncodeResult<W> {
        match self {
            Some(value) => value.put(e),
            None => e.null()?.ok(),
        }
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Null {
            d.skip()?;
            return Ok(None);
        }
        T::take(d).map(Some)
    }
}

/// Partition numbers as runs `[first, count, first, count, …]`: a topic's partitions are nearly
/// always one run.
impl Field for Vec<PartitionNo> {
    fn put<W: Write>(&self, e: &mut Encoder<W>) -> EncodeResult<W> {
        let runs: Vec<&[PartitionNo]> = self.chunk_by(|a, b| a.0 + 1 == b.0).collect();
        e.array(runs.len() as u64 * 2)?;
        for run in runs {
            e.u64(run[0].0)?.u64(run.len() as u64)?;
        }
        Ok(())
    }

    fn take(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        const PARTITIONS_MAX: u64 = mainstem_types::limits::PARTITIONS_PER_TOPIC_MAX as u64;
        let words = d.array()?.ok_or_else(|| DecodeError::message("runs of known length"))?;
        if words % 2 != 0 {
            return Err(DecodeError::message("runs are pairs"));
        }
        let mut numbers = Self::new();
        for _ in 0..words / 2 {
            let (first, count) = (d.u64()?, d.u64()?);
            let room = PARTITIONS_MAX - numbers.len() as u64;
            let end = first.checked_add(count).filter(|_| (1..=room).contains(&count));
            let end = end.ok_or_else(|| DecodeError::message("a run is too long"))?;
            numbers.extend((first..end).map(PartitionNo));
        }
        Ok(numbers)
    }
}
