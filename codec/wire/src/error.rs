//! Why a frame was not decoded.

use crate::api::ApiKey;
use crate::malformed::Malformed;

/// Why a frame was not decoded, in terms of what can still be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// An api that is not served. There is no shape to answer in: close the connection.
    #[error("api {api_key} version {api_version} is not known")]
    UnknownApi {
        /// As sent.
        api_key: i16,
        /// As sent.
        api_version: i16,
        /// As sent.
        correlation_id: i32,
    },
    /// A known api in a version that is not: answer with an error and stay connected, for
    /// ApiVersions in version 0's shape.
    #[error("{api_key:?} version {api_version} is not served")]
    UnsupportedVersion {
        /// Which api.
        api_key: ApiKey,
        /// As sent.
        api_version: i16,
        /// To be repeated in the answer.
        correlation_id: i32,
    },
    /// Not a header, or not a body that fits it: close the connection.
    #[error("malformed frame: {0}")]
    Malformed(#[from] Malformed),
    /// A frame longer than allowed, or of negative length: close the connection.
    #[error("a frame of {0} bytes is not allowed")]
    FrameLength(i32),
}
