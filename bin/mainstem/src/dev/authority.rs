//! The dev clusters' certificates, as files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mainstem_gateway::Authority;
use mainstem_types::{ClusterId, ClusterName, Error};

/// The authority of one home; its key stays in the file.
pub(crate) struct AuthorityFiles {
    dir: PathBuf,
    authority: Authority,
}

/// Where a cluster's certificate and key lie.
pub(crate) struct IdentityFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl AuthorityFiles {
    /// Reads the authority in `dir`, or makes one.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        let dir = dir.to_owned();
        if key.exists() {
            let authority = Authority::from_pem(&read(&certificate)?, &read(&key)?)?;
            return Ok(Self { dir, authority });
        }
        let authority = Authority::create()?;
        write(&certificate, authority.certificate_pem(), 0o644)?;
        // Last, because its being there says that the authority was made.
        write(&key, &authority.key_pem(), 0o600)?;
        Ok(Self { dir, authority })
    }

    /// What all clusters trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Makes a certificate for a cluster, in the cluster's folder.
    pub(crate) fn issue(
        &self,
        id: ClusterId,
        name: &ClusterName,
        dir: &Path,
    ) -> Result<IdentityFiles, Error> {
        let issued = self.authority.issue(id, name)?;
        let files = IdentityFiles { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
        write(&files.certificate, &issued.certificate, 0o644)?;
        write(&files.key, &issued.key, 0o600)?;
        Ok(files)
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|e| Error::storage(format!("{}: {e}", path.display())))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let mut options = fs::File::options();
    let file = options.write(true).create(true).truncate(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| Error::storage(format!("{}: {e}", path.display())))
}
