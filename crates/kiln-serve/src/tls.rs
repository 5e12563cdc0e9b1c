//! TLS from PEM files, by rustls with ring.
//! Owns the reading of certificate and key; protocol and ciphers are rustls' defaults (TLS 1.2 and 1.3).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::ServeError;

/// What shakes hands.
pub(crate) fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    let fault = |path: &Path, problem: String| ServeError::Tls { path: PathBuf::from(path), problem };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| fault(chain, format!("expected certificates in PEM: {e}")))?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| fault(key, format!("expected a private key in PEM: {e}")))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, private))
        .map_err(|e| fault(chain, e.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
