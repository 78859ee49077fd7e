//! What readers ask to see.

/// The isolation level of readers of what is committed; 0 is that of all others.
pub(crate) const READ_COMMITTED: i8 = 1;
