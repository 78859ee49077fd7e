//! Which versions of which apis are served.

use crate::api::ApiKey;
use crate::message::messages;

messages! {
    /// Asks which versions of which apis are served.
    message ApiVersionsRequest 0..=4, flexible 3.. {
        client_software_name: String, 3..;
        client_software_version: String, 3..;
    }

    /// Which versions of which apis are served. Its header never has tagged fields.
    message ApiVersionsResponse 0..=4, flexible 3.. {
        error_code: i16, ..;
        api_keys: Vec<ApiVersion>, ..;
        throttle_time_ms: i32, 1..;
        supported_features: Vec<SupportedFeatureKey>, 3.., tag 0;
        finalized_features_epoch: i64, 3.., tag 1, default -1;
        finalized_features: Vec<FinalizedFeatureKey>, 3.., tag 2;
        zk_migration_ready: bool, 3.., tag 3;
    }

    /// The versions of one api.
    part ApiVersion {
        api_key: i16, ..;
        min_version: i16, ..;
        max_version: i16, ..;
    }

    /// A feature this broker could have.
    part SupportedFeatureKey {
        name: String, 3..;
        min_version: i16, 3..;
        max_version: i16, 3..;
    }

    /// A feature in force in the cluster.
    part FinalizedFeatureKey {
        name: String, 3..;
        max_version_level: i16, 3..;
        min_version_level: i16, 3..;
    }
}

impl ApiVersion {
    /// The versions of `api_key` that are served here.
    pub fn supported(api_key: ApiKey) -> Self {
        let versions = api_key.supported_versions();
        let (min_version, max_version) = (*versions.start(), *versions.end());
        Self { api_key: api_key.code(), min_version, max_version }
    }
}

impl ApiVersionsResponse {
    /// All that is served here, without features.
    pub fn supported() -> Self {
        let api_keys = ApiKey::ALL.iter().copied().map(ApiVersion::supported).collect();
        Self { api_keys, ..Self::default() }
    }
}
