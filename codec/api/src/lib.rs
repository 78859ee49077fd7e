//! See docs/ARCHITECTURE.md.

pub mod links;
