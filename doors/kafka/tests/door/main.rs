//! The door from outside: raw sockets against a real engine over a simulated disk.

mod admin;
mod alter;
mod compaction;
mod connections;
mod groups;
mod handover;
mod hostile;
mod node;
mod offsets;
mod records;
mod transactions;
