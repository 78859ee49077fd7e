//! The Kafka listener: stock clients produce, consume and administer through it.
//!
//! It must never know how records are kept or what a cluster agrees with another: it translates
//! requests into operations of the engine and answers back, and decides nothing that outlives a
//! connection but consumer groups' membership.

mod alter_configs;
mod answer;
mod api_versions;
mod blocking;
mod cluster;
mod commit;
mod configs;
mod connection;
mod context;
mod create_topics;
mod distinct;
mod door;
mod fetch;
mod fetch_room;
mod frames;
mod group_admin;
mod groups;
mod isolation;
mod join;
mod key_checks;
mod list_offsets;
mod metadata;
mod names;
mod node;
mod produce;
mod producer_ids;
mod settings;
mod submit;
mod topic_admin;
mod transactions;

pub use door::KafkaDoor;
pub use settings::{KafkaSettings, ListenerSettings};
