//! The name servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use mainstem_types::Error;

use super::{DnsSettings, TxtAnswer, TxtLookUp};

/// How long one name server may take to answer one packet.
const PACKET_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPTS: usize = 2;

pub(super) fn look_up_by(settings: DnsSettings) -> Option<TxtLookUp> {
    if settings == DnsSettings::Off {
        return None;
    }
    Some(Arc::new(move |name| Box::pin(look_up(settings, name))))
}

/// One look-up, by a resolver of its own: there are few, none may be answered from memory, and a
/// machine that has moved to another network is asked to read its settings again.
async fn look_up(settings: DnsSettings, name: String) -> Result<TxtAnswer, Error> {
    // Cluster names may be longer than a label, or have empty ones: no record can be about those.
    let Ok(name) = Name::from_ascii(&name) else { return Ok(TxtAnswer::None) };
    let resolver = resolver(settings).map_err(|e| Error::unreachable(e.to_string()))?;
    match resolver.lookup(name, RecordType::TXT).await {
        Ok(lookup) => Ok(records(&lookup)),
        Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok(TxtAnswer::None),
        Err(error) => Err(Error::unreachable(error.to_string())),
    }
}

fn resolver(settings: DnsSettings) -> Result<TokioResolver, NetError> {
    let mut builder = match settings {
        DnsSettings::Server(server) => TokioResolver::builder_with_config(
            ResolverConfig::from_parts(None, Vec::new(), vec![name_server(server)]),
            TokioRuntimeProvider::default(),
        ),
        DnsSettings::System | DnsSettings::Off => TokioResolver::builder_tokio()?,
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = PACKET_TIMEOUT;
    options.attempts = ATTEMPTS;
    builder.build()
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let at = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
    NameServerConfig::new(server.ip(), true, connections)
}

/// The TXT records at the end of whatever aliases there are.
fn records(lookup: &Lookup) -> TxtAnswer {
    let of_record = |data: &RData| match data {
        RData::TXT(txt) => Some(txt.txt_data.iter().map(|string| string.to_vec()).collect()),
        _ => None,
    };
    let records: Vec<_> = lookup.answers().iter().filter_map(|r| of_record(&r.data)).collect();
    let ttl_s = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
    if records.is_empty() { TxtAnswer::None } else { TxtAnswer::Records { records, ttl_s } }
}
