//! What is served.

use mainstem_wire::{ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey};

/// Tools take this feature for the broker's release and show or hide pages by it: level 21 is that
/// of Kafka 3.9.
const METADATA_VERSION: i16 = 21;

pub(crate) fn handle() -> ApiVersionsResponse {
    let name = || "metadata.version".to_owned();
    ApiVersionsResponse {
        supported_features: vec![SupportedFeatureKey {
            name: name(),
            min_version: 1,
            max_version: METADATA_VERSION,
        }],
        finalized_features_epoch: 0,
        finalized_features: vec![FinalizedFeatureKey {
            name: name(),
            max_version_level: METADATA_VERSION,
            min_version_level: METADATA_VERSION,
        }],
        ..ApiVersionsResponse::supported()
    }
}
