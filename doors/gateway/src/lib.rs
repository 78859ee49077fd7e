//! Links over sockets, both ends: mutual TLS, the gateways' listener, and one task per replica.
//!
//! It must never know why a frame is sent or what a topic holds: `core/replicate` decides, the
//! engine checks and keeps, and this crate moves bytes between them and tells of what it saw.

pub mod backlog;
mod board;
mod context;
mod dial;
mod dns;
mod feeding;
mod gateway;
mod handover;
mod link;
mod links;
mod listener;
mod mode;
mod pki;
mod probe;
mod receiver;
mod relay;
mod request;
mod resolve;
mod sampler;
mod sender;
mod supervisor;
mod tls;
pub mod translate;
mod turns;
mod undo;
mod verify;
mod wire;

pub use context::Directory;
pub use dns::DnsSettings;
pub use gateway::{Gateway, GatewaySettings};
pub use pki::{Authority, CertificatePem};
pub use relay::{Relay, RelaySettings};
pub use tls::LinkTls;
