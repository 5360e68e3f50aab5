//! Certificates and the settings of TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::error::LoadError;

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

fn unusable(path: &Path, because: &impl ToString) -> LoadError {
    LoadError::File { path: path.to_owned(), because: because.to_string() }
}

/// Write a certificate for `localhost` that vouches for itself, and its key.
pub(crate) fn write_certificate(folder: &Path) -> Result<(), LoadError> {
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(|error| unusable(folder, &error))?;
    for (name, text) in [(CERTIFICATE, made.cert.pem()), (KEY, made.signing_key.serialize_pem())] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| unusable(&path, &error))?;
    }
    Ok(())
}

/// A client that trusts this certificate alone.
pub(crate) fn client(certificate: Option<&Path>) -> Result<Option<Arc<ClientConfig>>, LoadError> {
    let Some(path) = certificate else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path).map_err(|error| unusable(path, &error))?)?;
    Ok(Some(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())))
}

/// A server with the certificate and the key of a folder.
pub(crate) fn server(folder: Option<&Path>) -> Result<Option<Arc<ServerConfig>>, LoadError> {
    let Some(folder) = folder else { return Ok(None) };
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    let chain = vec![CertificateDer::from_pem_file(&certificate).map_err(|error| unusable(&certificate, &error))?];
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| unusable(&key, &error))?;
    Ok(Some(Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?)))
}
