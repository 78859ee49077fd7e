//! A server's settings: one file, unknown keys refused, every default with its reason.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mainstem_gateway::DnsSettings;
use mainstem_types::{ClusterId, ClusterName, Error, StreamPath};
use serde::{Deserialize, Serialize};

/// `mainstem.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServeSettings {
    /// The cluster's name, as in `/mapr/<name>/…`.
    pub(crate) name: String,
    /// The cluster's id, when its certificate was made before its data; else one is drawn.
    pub(crate) id: Option<String>,
    /// The data directory.
    pub(crate) data: PathBuf,
    /// The list of known clusters; theirs are the gateways that links dial when nothing else is
    /// set. Read anew at each look-up, so that clusters may come later.
    pub(crate) clusters: Option<PathBuf>,
    /// Written down to listen on other addresses than loopback without authentication.
    #[serde(default)]
    pub(crate) insecure: bool,
    /// The Kafka listener.
    pub(crate) kafka: KafkaListener,
    /// Where links arrive.
    pub(crate) gateway: GatewayListener,
    /// REST.
    pub(crate) admin: AdminListener,
    /// The log's size.
    #[serde(default)]
    pub(crate) log: LogSection,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaListener {
    pub(crate) listen: SocketAddr,
    /// What clients are told to connect to; the address listened on if absent.
    pub(crate) advertised: Option<String>,
    /// The stream whose topics are also known by their bare names.
    pub(crate) default_stream: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewayListener {
    pub(crate) listen: SocketAddr,
    /// The authority that signed the certificates of all clusters that link, as PEM.
    pub(crate) ca: PathBuf,
    /// This cluster's certificate, with its id as subject alternative name.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
    /// Who is asked for the gateways of clusters that no list is set for: the `"system"`'s name
    /// servers if absent, the one at an address and port, or `"off"`.
    pub(crate) dns: Option<String>,
}

impl GatewayListener {
    pub(crate) fn dns(&self) -> Result<DnsSettings, Error> {
        let Some(dns) = &self.dns else { return Ok(DnsSettings::default()) };
        dns.parse().map_err(|e: Error| e.context("gateway.dns"))
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminListener {
    pub(crate) listen: SocketAddr,
}

/// How much disk the log takes in steps.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogSection {
    /// One segment file; three of them are always there. 256 MiB for servers, 64 MiB in `dev`.
    pub(crate) segment_bytes: u32,
    /// Newest batches kept in memory. 128 MiB.
    pub(crate) tail_cache_bytes: usize,
    /// Appends are refused below this many free bytes. 1 GiB.
    pub(crate) disk_free_bytes_min: u64,
}

impl Default for LogSection {
    fn default() -> Self {
        let engine = mainstem_engine::EngineSettings::default();
        Self {
            segment_bytes: engine.log.segment_bytes,
            tail_cache_bytes: engine.log.tail_cache_bytes,
            disk_free_bytes_min: engine.disk_free_bytes_min,
        }
    }
}

/// The file of a process that is a gateway only (`serve --roles gateway`).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RelayFile {
    /// The cluster's name, as in the server's file.
    pub(crate) name: String,
    /// `host:port` of the server's own gateway listener.
    pub(crate) server: String,
    /// Where this gateway listens, with the cluster's certificate. Links are mutual TLS, so any
    /// address will do.
    pub(crate) gateway: GatewayListener,
}

impl RelayFile {
    /// Reads and checks the file.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let settings: Self = read(path)?;
        settings.check().map_err(|e| e.context(path.display()))?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Error> {
        self.cluster_name()?;
        if self.gateway.dns.is_some() {
            return Err(Error::invalid(
                "gateway.dns is of no use to a process that is a gateway only, since it calls \
                 nobody but its server; write it into the server's file",
            ));
        }
        Ok(())
    }

    pub(crate) fn cluster_name(&self) -> Result<ClusterName, Error> {
        self.name.parse()
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, Error> {
    let wrong = |why: String| Error::invalid(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
    toml::from_str(&text).map_err(|e| wrong(e.to_string()))
}

impl ServeSettings {
    /// Reads and checks the file.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let settings: Self = read(path)?;
        settings.check().map_err(|e| e.context(path.display()))?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Error> {
        self.cluster_name()?;
        self.cluster_id()?;
        self.default_stream()?;
        self.gateway.dns()?;
        for (what, address) in [
            ("kafka", self.kafka.listen),
            ("gateway", self.gateway.listen),
            ("admin", self.admin.listen),
        ] {
            // Links are mutual TLS wherever they listen.
            let is_open = what != "gateway" && !address.ip().is_loopback();
            if is_open && !self.insecure {
                return Err(Error::denied(format!(
                    "{what}.listen = {address} can be reached by others without TLS and \
                     authentication; listen on 127.0.0.1, or write insecure = true to accept that"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn cluster_name(&self) -> Result<ClusterName, Error> {
        self.name.parse()
    }

    pub(crate) fn cluster_id(&self) -> Result<Option<ClusterId>, Error> {
        self.id.as_deref().map(str::parse).transpose()
    }

    pub(crate) fn default_stream(&self) -> Result<Option<StreamPath>, Error> {
        self.kafka.default_stream.as_deref().map(str::parse).transpose()
    }

    pub(crate) fn to_toml(&self) -> Result<String, Error> {
        toml::to_string_pretty(self).map_err(|e| Error::invalid(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "newyork"
        data = "data"
        [kafka]
        listen = "127.0.0.1:0"
        [gateway]
        listen = "0.0.0.0:7660"
        ca = "ca.pem"
        certificate = "cert.pem"
        key = "key.pem"
        [admin]
        listen = "127.0.0.1:0"
    "#;

    fn parse(text: &str) -> Result<(), Error> {
        let settings: ServeSettings =
            toml::from_str(text).map_err(|e| Error::invalid(e.to_string()))?;
        settings.check()
    }

    #[test]
    fn loopback_is_fine_and_other_addresses_must_be_accepted_in_writing() {
        parse(GOOD).unwrap();
        let open = GOOD.replacen("127.0.0.1:0", "0.0.0.0:9092", 1);
        assert!(parse(&open).unwrap_err().message().contains("insecure = true"));
        parse(&format!("insecure = true\n{open}")).unwrap();
    }

    #[test]
    fn unknown_keys_refuse_to_start() {
        let error = parse(&format!("colour = 3\n{GOOD}")).unwrap_err();
        assert!(error.message().contains("colour"), "{error}");
    }

    #[test]
    fn a_name_server_is_an_address_and_port_or_the_systems_or_none() {
        let with = |dns: &str| GOOD.replacen("[gateway]", &format!("[gateway]\ndns = {dns}"), 1);
        let dns = |text: &str| toml::from_str::<ServeSettings>(text).unwrap().gateway.dns();
        assert_eq!(dns(GOOD).unwrap(), DnsSettings::System);
        assert_eq!(dns(&with("\"system\"")).unwrap(), DnsSettings::System);
        assert_eq!(dns(&with("\"off\"")).unwrap(), DnsSettings::Off);
        let server = DnsSettings::Server(([127, 0, 0, 1], 5353).into());
        assert_eq!(dns(&with("\"127.0.0.1:5353\"")).unwrap(), server);
        for wrong in ["\"\"", "\"127.0.0.1\"", "\"ns.example:53\"", "\"none\"", "53", "false"] {
            let error = parse(&with(wrong)).unwrap_err();
            assert!(error.message().contains("dns"), "{error}");
        }
    }

    #[test]
    fn a_gateway_alone_looks_nothing_up() {
        let (_, gateway) = GOOD.split_once("[gateway]").unwrap();
        let (gateway, _) = gateway.split_once("[admin]").unwrap();
        let head = "name = \"newyork\"\nserver = \"127.0.0.1:7660\"\n[gateway]\n";
        let parse = |text: &str| toml::from_str::<RelayFile>(text).unwrap().check();
        parse(&format!("{head}{gateway}")).unwrap();
        let error = parse(&format!("{head}dns = \"off\"\n{gateway}")).unwrap_err();
        assert!(error.message().contains("gateway.dns"), "{error}");
    }
}
