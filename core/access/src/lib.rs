//! Access control expressions: parsed, printed in one normal form, decided for a caller.
//!
//! It must never know where an expression is kept, nor how a caller proved who they are.

mod ace;
mod parse;

pub use ace::{Ace, Caller};
