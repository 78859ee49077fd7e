//! Ids: 128 random bits for what must be unique everywhere, counters for what is local.

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind};

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u128);

        impl $name {
            /// The id as sixteen bytes, most significant first, as UUIDs are sent.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The id that [`Self::to_bytes`] gave.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }

            /// A version 4 UUID from 128 random bits; never zero.
            pub const fn from_random(bits: u128) -> Self {
                Self(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().as_u128())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&uuid::Uuid::from_u128(self.0), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                uuid::Uuid::parse_str(text).map(|id| Self(id.as_u128())).map_err(|_| {
                    Error::new(ErrorKind::Invalid, format!("\"{text}\" is not a uuid"))
                })
            }
        }
    };
}

random_id! {
    /// A cluster, for the life of its data directory.
    ClusterId
}
random_id! {
    /// A stream. A replica has an id of its own.
    StreamId
}
random_id! {
    /// A topic, from its birth at its first owner, and the same in every replica for ever.
    OriginTopicId
}
random_id! {
    /// A topic as Kafka clients of one cluster see it.
    KafkaTopicId
}
random_id! {
    /// One reign of one owner; changes only by fail-over or an explicit hand-over.
    TermId
}
random_id! {
    /// A tracked piece of work, such as an autosetup.
    JobId
}

impl ClusterId {
    /// The node id that the cluster's Kafka clients see: 31 bits of the id, never zero. Clients
    /// take brokers of one number for one broker, so linked clusters refuse an equal one.
    pub fn node_id(self) -> i32 {
        let folded = self.0 ^ (self.0 >> 64);
        let low = (folded ^ (folded >> 32)) & 0x7fff_ffff;
        i32::try_from(low).expect("31 bits").max(1)
    }
}

impl KafkaTopicId {
    /// The id for a topic whose origin id is already taken by another stream of this cluster.
    pub fn derived(origin: OriginTopicId, stream: StreamId) -> Self {
        let namespace = uuid::Uuid::from_u128(origin.0);
        Self(uuid::Uuid::new_v5(&namespace, &stream.to_bytes()).as_u128())
    }
}

impl OriginTopicId {
    /// The topic that keeps what a stream set aside of this one, last written in the term
    /// `written_in`, when the term `displaced_by` displaced it: the same however often it is asked
    /// for.
    pub fn set_aside(self, stream: StreamId, displaced_by: TermId, written_in: TermId) -> Self {
        let namespace = uuid::Uuid::from_u128(self.0);
        let terms = [displaced_by.to_bytes(), written_in.to_bytes()].concat();
        let name = [stream.to_bytes().to_vec(), terms].concat();
        Self(uuid::Uuid::new_v5(&namespace, &name).as_u128())
    }
}

impl From<OriginTopicId> for KafkaTopicId {
    fn from(origin: OriginTopicId) -> Self {
        Self(origin.0)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// A partition's number in one cluster's log. Never reused; 0 names no partition.
    PartitionNo
}
counter! {
    /// Counts every Hello and every change of an agreement, so that nothing older is sequenced.
    LinkEpoch
}
counter! {
    /// Counts the changes to what a stream contains, at its owner.
    CatalogSeq
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_uuids_and_parse_back() {
        let id = StreamId::from_random(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
        assert_eq!(id.to_string().parse::<StreamId>().unwrap(), id);
        assert_eq!(StreamId::from_bytes(id.to_bytes()), id);
        assert!("nonsense".parse::<StreamId>().is_err());
    }

    #[test]
    fn node_ids_are_positive_and_differ_by_cluster() {
        let ids = [0, 1, u128::MAX, 1 << 127, 7 << 40].map(|id| ClusterId(id).node_id());
        assert!(ids.iter().all(|id| *id > 0));
        assert_ne!(ids[3], ids[4]);
    }

    #[test]
    fn a_derived_topic_id_differs_by_stream_and_stays() {
        let origin = OriginTopicId::from_random(1);
        let (a, b) = (StreamId::from_random(2), StreamId::from_random(3));
        assert_eq!(KafkaTopicId::derived(origin, a), KafkaTopicId::derived(origin, a));
        assert_ne!(KafkaTopicId::derived(origin, a), KafkaTopicId::derived(origin, b));
        assert_ne!(KafkaTopicId::derived(origin, a), KafkaTopicId::from(origin));
    }
}
