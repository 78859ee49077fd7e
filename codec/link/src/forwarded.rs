//! What a gateway in a process of its own says before it passes a caller's bytes on.

use mainstem_types::ClusterId;
use minicbor::{Decode, Encode};

/// Whose certificate the caller showed. Taken only from a certificate of the cluster's own.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Forwarded {
    /// The caller's cluster.
    #[n(0)]
    pub cluster_id: ClusterId,
    /// All DNS names of its certificate.
    #[cbor(n(1), with = "crate::items", has_nil)]
    pub names: Vec<String>,
}
