//! Flags into settings of streams and links.

use mainstem_access::Ace;
use mainstem_api::{Arguments, Row};
use mainstem_catalog::{ReplicaPatch, ReplicaSettings, StreamPatch};
use mainstem_types::{Error, StreamCompression};
use serde_json::json;

/// A permission in its normal form.
fn perm(arguments: &Arguments, flag: &str) -> Result<Option<String>, Error> {
    Ok(arguments.parsed::<Ace>(flag)?.map(|ace| ace.to_string()))
}

/// What `stream create` and `stream edit` were given.
pub(crate) fn stream_patch(arguments: &Arguments) -> Result<StreamPatch, Error> {
    Ok(StreamPatch {
        ttl_seconds: arguments.number("ttl"),
        autocreate: arguments.boolean("autocreate"),
        default_partitions: arguments.number32("defaultpartitions"),
        compression: arguments.parsed("compression")?,
        default_timestamp_type: arguments.parsed("defaulttimestamptype")?,
        produceperm: perm(arguments, "produceperm")?,
        consumeperm: perm(arguments, "consumeperm")?,
        topicperm: perm(arguments, "topicperm")?,
        copyperm: perm(arguments, "copyperm")?,
        adminperm: perm(arguments, "adminperm")?,
        pid_expiry_seconds: arguments.number("pidexpirysecs"),
        compact: arguments.boolean("compact"),
        min_compaction_lag_ms: arguments.number("mincompactionlag"),
        delete_retention_ms: arguments.number("deleteretention"),
        lag_alarm_seconds: arguments.number32("repllagsecalarmthresh").map(Some),
    })
}

/// What links pack by. There is no LZF here, and LZ4 is what replaced it.
fn link_compression(arguments: &Arguments) -> Result<Option<StreamCompression>, Error> {
    let given = arguments.parsed("networkcompression")?;
    Ok(given.map(|word| if word == StreamCompression::Lzf { StreamCompression::Lz4 } else { word }))
}

/// What was asked of a link and is not done to the letter, to be told beside the answer.
pub(crate) fn notes(arguments: &Arguments) -> Result<Vec<Row>, Error> {
    let compression = arguments.parsed::<StreamCompression>("networkcompression")?;
    let notes = [
        (compression == Some(StreamCompression::Lzf))
            .then_some("links have no lzf: this one packs by lz4, and lists that"),
        (arguments.boolean("networkencryption") == Some(false))
            .then_some("links are always encrypted: -networkencryption false changes nothing"),
    ];
    let row = |note| Row::from_iter([("note".to_owned(), json!(note))]);
    Ok(notes.into_iter().flatten().map(row).collect())
}

/// What `replica add` and `replica autosetup` were given.
pub(crate) fn replica_settings(arguments: &Arguments) -> Result<ReplicaSettings, Error> {
    let yes = |flag| arguments.boolean(flag).unwrap_or(false);
    Ok(ReplicaSettings {
        throttle: yes("throttle"),
        network_encryption: yes("networkencryption"),
        synchronous: yes("synchronous"),
        network_compression: link_compression(arguments)?.unwrap_or(StreamCompression::Off),
        rate_bytes_per_s: arguments.number("ratelimit").unwrap_or(0),
        sync_timeout_ms: arguments.parsed("synctimeout")?.unwrap_or_default(),
        sync_policy: arguments.parsed("syncpolicy")?.unwrap_or_default(),
    })
}

/// What `replica edit` was given, but for the place.
pub(crate) fn replica_patch(arguments: &Arguments) -> Result<ReplicaPatch, Error> {
    Ok(ReplicaPatch {
        place: None,
        throttle: arguments.boolean("throttle"),
        network_encryption: arguments.boolean("networkencryption"),
        synchronous: arguments.boolean("synchronous"),
        network_compression: link_compression(arguments)?,
        rate_bytes_per_s: arguments.number("ratelimit"),
        sync_timeout_ms: arguments.parsed("synctimeout")?,
        sync_policy: arguments.parsed("syncpolicy")?,
    })
}
