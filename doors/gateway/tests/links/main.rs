//! Links between whole clusters, over real sockets.

mod adverse;
mod agreement;
mod cluster;
mod compaction;
mod copy;
mod dns;
mod faults;
mod many;
mod name_server;
mod ownership;
mod relay;
mod replicate;
mod setup;
mod source;
mod status;
mod topologies;
mod transactions;
mod verify;
