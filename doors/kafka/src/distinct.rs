//! What a request asks twice is answered once.

use std::collections::BTreeSet;

/// The items without those whose key came before. A short request that repeats one name would
/// otherwise be answered with gigabytes.
pub(crate) fn distinct<T, K: Ord>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = BTreeSet::new();
    items.into_iter().filter(|item| seen.insert(key(item))).collect()
}
