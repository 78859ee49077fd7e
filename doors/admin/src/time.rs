//! Times as the original's tables show them.

use mainstem_api::iso_time;

/// ISO 8601 in UTC; what is not known is shown as the beginning of 1970, as the original does.
pub(crate) fn shown(ms: Option<i64>) -> String {
    iso_time(ms.unwrap_or(0))
}
