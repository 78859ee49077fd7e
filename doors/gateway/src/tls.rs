//! Mutual TLS: both ends of a link show a certificate of the same authority.

use std::sync::Arc;

use mainstem_types::{ClusterId, ClusterName, Error};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::pki::{CertificatePem, id_from_dns, name_from_dns, name_to_dns};

const ALPN: &[u8] = b"mainstem-link/1";

/// A cluster's TLS for both ends of links. Cheap to clone.
#[derive(Clone)]
pub struct LinkTls {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connector: TlsConnector,
    own: PeerIdentity,
}

impl LinkTls {
    /// From the authority's certificate and the cluster's own, all PEM.
    pub fn from_pem(authority_pem: &str, own: &CertificatePem) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(roots(authority_pem)?);
        let chain: Vec<CertificateDer<'static>> = certificates(&own.certificate)?;
        let identity =
            PeerIdentity::of(Some(&chain)).map_err(|e| bad("the cluster's certificate", &e))?;
        let key = || {
            PrivateKeyDer::from_pem_slice(own.key.as_bytes())
                .map_err(|e| bad("the cluster's private key", &e))
        };
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|e| bad("the authority's certificate", &e))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let builder = builder.with_client_cert_verifier(verifier);
                builder.with_single_cert(chain.clone(), key().map_err(|error| as_rustls(&error))?)
            })
            .map_err(|e| bad("the cluster's certificate", &e))?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                let builder = builder.with_root_certificates(roots);
                builder.with_client_auth_cert(chain, key().map_err(|error| as_rustls(&error))?)
            })
            .map_err(|e| bad("the cluster's certificate", &e))?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
            own: identity,
        })
    }

    /// Whether peers will take who shows this certificate for that cluster.
    ///
    /// # Errors
    /// It is another cluster's: no peer would talk to it.
    pub fn check_own(&self, name: &ClusterName, id: Option<ClusterId>) -> Result<(), Error> {
        if self.own.is_named(name) && id.is_none_or(|id| id == self.own.id) {
            return Ok(());
        }
        let id = id.map_or_else(String::new, |id| format!(" ({id})"));
        Err(Error::invalid(format!(
            "the certificate under [gateway] is of cluster {}, not of {name}{id}, so that no other \
             cluster would talk to it; give the one that was issued for {name}",
            self.own.id
        )))
    }
}

/// The name that a gateway's certificate must carry to speak for a cluster.
pub(crate) fn server_name(cluster: &ClusterName) -> ServerName<'static> {
    ServerName::try_from(name_to_dns(cluster)).expect("hexadecimal labels make a DNS name")
}

/// The cluster whose certificate a gateway has shown, where that is not the one that was called.
pub(crate) fn mistaken_for(error: &std::io::Error) -> Option<ClusterName> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForNameContext {
        presented,
        ..
    }) = error
    else {
        return None;
    };
    // As rustls shows them: `DnsName("…")`.
    presented.iter().find_map(|shown| name_from_dns(shown.split('"').nth(1)?))
}

/// Whom a peer's certificate names, signed by the authority.
#[derive(Clone, Debug)]
pub(crate) struct PeerIdentity {
    /// The cluster's id.
    pub(crate) id: ClusterId,
    names: Vec<String>,
}

impl PeerIdentity {
    /// The peer of a connection whose handshake is done.
    pub(crate) fn of(chain: Option<&[CertificateDer<'_>]>) -> Result<Self, Error> {
        let certificate = chain
            .and_then(<[_]>::first)
            .ok_or_else(|| Error::denied("the peer shows no certificate"))?;
        let parsed = webpki::EndEntityCert::try_from(certificate)
            .map_err(|e| Error::denied(format!("the peer's certificate cannot be read: {e}")))?;
        let names: Vec<String> = parsed.valid_dns_names().map(str::to_owned).collect();
        let id = names
            .iter()
            .find_map(|name| id_from_dns(name))
            .ok_or_else(|| Error::denied("the peer's certificate names no cluster"))?;
        Ok(Self { id, names })
    }

    /// The peer that another gateway of this cluster spoke to.
    pub(crate) fn forwarded(id: ClusterId, names: Vec<String>) -> Self {
        Self { id, names }
    }

    /// All DNS names of the certificate.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the certificate is of a cluster of this name.
    pub(crate) fn is_named(&self, cluster: &ClusterName) -> bool {
        let expected = name_to_dns(cluster);
        self.names.contains(&expected)
    }
}

fn roots(authority_pem: &str) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority_pem)? {
        roots.add(certificate).map_err(|e| bad("the authority's certificate", &e))?;
    }
    Ok(roots)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let list = list.map_err(|e| bad("a certificate", &e))?;
    if list.is_empty() {
        return Err(Error::invalid("a certificate file holds no certificate"));
    }
    Ok(list)
}

fn as_rustls(error: &Error) -> rustls::Error {
    rustls::Error::General(error.message().to_owned())
}

fn bad(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("{what} cannot be used: {error}; check the files under MAINSTEM_HOME"))
}
