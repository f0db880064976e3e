//! Trust in outbound TLS: which certificate authorities count, and what to say when there are none.
//!
//! Owns the rustls configuration. It never opens connections; `connector` does. Called by [`super::Egress`] when it is built.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::error::EgressError;

/// A TLS client configuration, and whether it trusts anybody.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    /// What rustls needs for a handshake.
    pub(super) config: Arc<ClientConfig>,
    /// No authority is known: every handshake would fail, and should fail with the true reason.
    pub(super) empty: bool,
}

impl Trust {
    /// Trust in exactly these authorities. HTTP/1.1 is all that is offered, so no protocol is negotiated.
    ///
    /// # Errors
    /// [`EgressError::Setup`] when the cryptography refuses the default protocol versions.
    pub(super) fn new(roots: RootCertStore) -> Result<Trust, EgressError> {
        let empty = roots.is_empty();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| EgressError::Setup(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Trust { config: Arc::new(config), empty })
    }
}

/// The authorities that the system trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured). Unreadable ones are skipped: one odd file
/// must not keep a server from starting that may never make an https request.
pub(super) fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    for error in &found.errors {
        tracing::debug!(%error, "could not read certificate authorities");
    }
    if added == 0 {
        tracing::warn!("no certificate authorities found: https requests to webhooks and sources will fail");
    } else {
        tracing::debug!(added, ignored, "certificate authorities loaded");
    }
    roots
}
