//! Certificates for links: one authority that the clusters of a group trust, one certificate each.

use mainstem_types::{ClusterId, ClusterName, Error};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

/// What a certificate says after a cluster's id.
const ID_SUFFIX: &str = ".cluster.mainstem";
/// And after its name in hexadecimal.
const NAME_SUFFIX: &str = ".name.mainstem";
/// A DNS label has at most 63 characters.
const LABEL_LENGTH: usize = 60;

/// Signs the certificates of a group of clusters. Whoever holds its key can join a cluster to the
/// group, so it stays with the operator; no server needs it.
pub struct Authority {
    certificate_pem: String,
    key: KeyPair,
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct CertificatePem {
    /// The certificate.
    pub certificate: String,
    /// Its private key: a secret.
    pub key: String,
}

impl Authority {
    /// A new authority with a key of its own.
    pub fn create() -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(|e| failed("make the authority's key", &e))?;
        let params = authority_params();
        let certificate = params.self_signed(&key).map_err(|e| failed("sign the authority", &e))?;
        Ok(Self { certificate_pem: certificate.pem(), key })
    }

    /// The authority that [`Self::certificate_pem`] and [`Self::key_pem`] wrote down.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key_pem).map_err(|e| failed("read the authority's key", &e))?;
        Ok(Self { certificate_pem: certificate_pem.to_owned(), key })
    }

    /// What the clusters trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key: a secret.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// A certificate for one cluster, for both ends of its links.
    pub fn issue(&self, id: ClusterId, name: &ClusterName) -> Result<CertificatePem, Error> {
        let issuer = Issuer::new(authority_params(), &self.key);
        let key = KeyPair::generate().map_err(|e| failed("make a cluster's key", &e))?;
        let names = vec![id_to_dns(id), name_to_dns(name)];
        let mut params = CertificateParams::new(names).map_err(|e| failed("name a cluster", &e))?;
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate =
            params.signed_by(&key, &issuer).map_err(|e| failed("sign a cluster", &e))?;
        Ok(CertificatePem { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// What the authority's certificate says, the same for every authority: only keys differ.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Mainstem clusters");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The DNS name that stands for a cluster's id in its certificate.
pub(crate) fn id_to_dns(id: ClusterId) -> String {
    format!("{id}{ID_SUFFIX}")
}

/// The id that a DNS name of a certificate stands for, if it stands for one.
pub(crate) fn id_from_dns(name: &str) -> Option<ClusterId> {
    name.strip_suffix(ID_SUFFIX)?.parse().ok()
}

/// The DNS name that stands for a cluster's name: hexadecimal, since a cluster's name may have
/// characters, capitals and a length that no DNS name can have.
pub(crate) fn name_to_dns(name: &ClusterName) -> String {
    let hex: String = name.as_str().bytes().map(|byte| format!("{byte:02x}")).collect();
    let labels: Vec<&str> = hex
        .as_bytes()
        .chunks(LABEL_LENGTH)
        .map(|label| std::str::from_utf8(label).expect("hexadecimal is text"))
        .collect();
    format!("{}{NAME_SUFFIX}", labels.join("."))
}

/// The cluster's name that a DNS name of a certificate stands for, if it stands for one.
pub(crate) fn name_from_dns(name: &str) -> Option<ClusterName> {
    let hex = name.strip_suffix(NAME_SUFFIX)?.replace('.', "");
    let digits = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(digits).collect();
    String::from_utf8(bytes?).ok()?.parse().ok()
}

fn failed(what: &str, error: &rcgen::Error) -> Error {
    Error::invalid(format!("could not {what}: {error}; check the files under MAINSTEM_HOME"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_survive_as_dns_names() {
        let id = ClusterId::from_random(77);
        assert_eq!(id_from_dns(&id_to_dns(id)), Some(id));
        assert_eq!(id_from_dns("example.org"), None);
        assert_eq!(name_to_dns(&"ny".parse().unwrap()), "6e79.name.mainstem");
        let long: ClusterName = "a_B-".repeat(16).parse().unwrap();
        assert!(name_to_dns(&long).split('.').all(|label| label.len() <= 63));
        assert_eq!(name_from_dns(&name_to_dns(&long)), Some(long));
        for strange in ["6e7.name.mainstem", "ü1.name.mainstem", ".name.mainstem", "6e79"] {
            assert_eq!(name_from_dns(strange), None, "{strange}");
        }
    }

    #[test]
    fn an_authority_survives_its_files() {
        let authority = Authority::create().unwrap();
        let again = Authority::from_pem(authority.certificate_pem(), &authority.key_pem()).unwrap();
        let issued = again.issue(ClusterId(1), &"a".parse().unwrap()).unwrap();
        assert!(issued.certificate.contains("BEGIN CERTIFICATE"));
        assert!(Authority::from_pem("", "").is_err());
    }
}
