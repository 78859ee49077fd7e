//! Links between whole clusters, over real sockets.

mod agreement;
mod cluster;
mod replicate;
mod setup;
