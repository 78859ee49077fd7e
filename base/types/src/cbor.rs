//! How the nouns look inside CBOR, in the log and on links alike: ids are 16-byte strings,
//! counters unsigned integers, names text that is checked again as it is read.

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

use crate::{
    CatalogSeq, ClusterId, ClusterName, GroupId, JobId, KafkaTopicId, Lineage, LineageEntry,
    LinkEpoch, OriginTopicId, PartitionNo, StreamCompression, StreamId, StreamPath, Term, TermId,
    TimestampType, TopicName, TransactionalId,
};

macro_rules! ids {
    ($($id:ident),*) => {$(
        impl<C> Encode<C> for $id {
            fn encode<W: Write>(
                &self, e: &mut Encoder<W>, _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.bytes(&self.to_bytes())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $id {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                let bytes = d.bytes()?.try_into();
                bytes.map(Self::from_bytes).map_err(|_| DecodeError::message("an id has 16 bytes"))
            }
        }
    )*};
}

macro_rules! counters {
    ($($counter:ident),*) => {$(
        impl<C> Encode<C> for $counter {
            fn encode<W: Write>(
                &self, e: &mut Encoder<W>, _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.u64(self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $counter {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                d.u64().map(Self)
            }
        }
    )*};
}

macro_rules! words {
    ($($word:ident),*) => {$(
        impl<C> Encode<C> for $word {
            fn encode<W: Write>(
                &self, e: &mut Encoder<W>, _: &mut C,
            ) -> Result<(), EncodeError<W::Error>> {
                e.str(&self.to_string())?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $word {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                d.str()?.parse().map_err(|error: crate::Error| DecodeError::message(error.message()))
            }
        }
    )*};
}

ids!(ClusterId, StreamId, OriginTopicId, KafkaTopicId, TermId, JobId);
counters!(PartitionNo, LinkEpoch, CatalogSeq);
words!(
    ClusterName,
    StreamPath,
    TopicName,
    GroupId,
    TransactionalId,
    TimestampType,
    StreamCompression
);

impl<C> Encode<C> for Term {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(2)?.u64(self.number)?.encode_with(self.id, ctx)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Term {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        check_array(d, 2)?;
        Ok(Self { number: d.u64()?, id: d.decode_with(ctx)? })
    }
}

impl<C> Encode<C> for LineageEntry {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        let has_markers = self.markers > 0;
        e.array(4 + u64::from(has_markers))?.i32(self.leader_epoch)?.i64(self.start_offset)?;
        e.encode_with(self.term_id, ctx)?.encode_with(self.owner, ctx)?;
        if has_markers {
            e.u32(self.markers)?;
        }
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for LineageEntry {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        let length = d.array()?.filter(|length| (4..=5).contains(length));
        let length = length.ok_or_else(|| DecodeError::message("an array of 4 or 5"))?;
        Ok(Self {
            leader_epoch: d.i32()?,
            start_offset: d.i64()?,
            term_id: d.decode_with(ctx)?,
            owner: d.decode_with(ctx)?,
            markers: if length == 5 { d.u32()? } else { 0 },
        })
    }
}

impl<C> Encode<C> for Lineage {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        self.entries().encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Lineage {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, DecodeError> {
        let entries: Vec<LineageEntry> = d.decode_with(ctx)?;
        Self::from_entries(entries).ok_or_else(|| DecodeError::message("a lineage's epochs rise"))
    }
}

fn check_array(d: &mut Decoder<'_>, length: u64) -> Result<(), DecodeError> {
    if d.array()? == Some(length) {
        return Ok(());
    }
    Err(DecodeError::message("an array of another length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<T>(value: &T)
    where
        T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + std::fmt::Debug,
    {
        let bytes = minicbor::to_vec(value).unwrap();
        assert_eq!(&minicbor::decode::<T>(&bytes).unwrap(), value);
        for cut in 0..bytes.len() {
            assert!(minicbor::decode::<T>(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn nouns_survive_cbor() {
        let entry = |leader_epoch| LineageEntry {
            leader_epoch,
            start_offset: 7,
            term_id: TermId(1 << 100),
            owner: StreamId(3),
            markers: u32::try_from(leader_epoch).unwrap_or(0),
        };
        there_and_back(&StreamId(u128::MAX - 1));
        there_and_back(&LinkEpoch(1 << 40));
        there_and_back(&"/apps/orders".parse::<StreamPath>().unwrap());
        there_and_back(&TimestampType::LogAppendTime);
        there_and_back(&Term { number: 4, id: TermId(9) });
        there_and_back(&Lineage::from_entries(vec![entry(0), entry(5)]).unwrap());
    }

    #[test]
    fn a_name_is_checked_as_it_is_read() {
        let bytes = minicbor::to_vec("/a/../b").unwrap();
        assert!(minicbor::decode::<StreamPath>(&bytes).is_err());
    }
}
