//! Links between whole clusters, over real sockets.

mod adverse;
mod agreement;
mod cluster;
mod replicate;
mod setup;
