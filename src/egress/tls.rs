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
    pub(super) config: ClientConfig,
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
        Ok(Trust { config, empty })
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

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::time::Duration;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ServerConfig, ServerConnection, Stream};

    use super::super::wire::{Wire, egress, egress_resolving};
    use super::super::{EgressError, Phase, Post};
    use super::*;

    /// A certificate for `receiver.test`, signed by itself, valid from 2020 to 2120; made for these tests and of no use elsewhere.
    const CERTIFICATE: &str = "MIIBSjCB8aADAgECAgEBMAoGCCqGSM49BAMCMBgxFjAUBgNVBAMMDXJlY2VpdmVyLnRlc3QwIBcNMjAwMTAxMDAwMDAwWhgP\
         MjEyMDAxMDEwMDAwMDBaMBgxFjAUBgNVBAMMDXJlY2VpdmVyLnRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQlCFZr\
         il+hfHYI6FLIFaFB4xVgti/IG2z7OgZOORB4bCydSL38nRSFwe/M7DE4zrPj3sq7cAfBYaJKlED4nHy/oyowKDAYBgNVHREE\
         ETAPgg1yZWNlaXZlci50ZXN0MAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0EAwIDSAAwRQIgcoMEvvDQ0jvUYR6XThlz/SkKabj7\
         jS/OB78KDKuDgO4CIQDfC5rQiN3jHp6uyAKE+o7+KHcSuQdau+oVrXLhnB1VwQ==";
    /// Its key.
    const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgGS8ZGGWnxgSZM+WSslhOdSyvleoIo31uFcpkAFO28VWhRANC\
         AAQlCFZril+hfHYI6FLIFaFB4xVgti/IG2z7OgZOORB4bCydSL38nRSFwe/M7DE4zrPj3sq7cAfBYaJKlED4nHy/";

    fn certificate() -> CertificateDer<'static> {
        STANDARD.decode(CERTIFICATE).unwrap().into()
    }

    /// Trust in the test certificate alone.
    pub(in super::super) fn roots() -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(certificate()).unwrap();
        roots
    }

    /// Answers one TLS connection with an empty 200, on a thread of its own.
    fn tls_receiver() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let key = PrivateKeyDer::try_from(STANDARD.decode(KEY).unwrap()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate()], key)
            .unwrap();
        std::thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = Stream::new(&mut connection, &mut tcp);
            // A client that objects to the certificate ends the handshake; that is for it to report.
            if stream.read(&mut [0; 4096]).is_ok() {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok();
            }
        });
        address
    }

    fn post(url: &str) -> Post {
        Post {
            url: url.parse().unwrap(),
            headers: hyper::HeaderMap::new(),
            body: "{}".into(),
            timeout: Duration::from_secs(5),
            answer_bytes_max: 100,
        }
    }

    #[tokio::test]
    async fn a_trusted_certificate_for_the_name_is_accepted() {
        let address = tls_receiver();
        let egress = egress_resolving("127.0.0.0/8", vec![address]);
        let answer = egress.post(post("https://receiver.test/hook")).await.unwrap();
        assert_eq!(answer.status, 200);
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_refused_for_good() {
        let address = tls_receiver();
        let egress = egress_resolving("127.0.0.0/8", vec![address]);
        let error = egress.post(post("https://other.test/hook")).await.unwrap_err();
        assert!(matches!(&error, EgressError::Tls { host, .. } if host == "other.test"), "{error:?}");
        assert!(!error.is_transient());
        assert!(error.to_string().contains("certificate"), "{error}");
    }

    #[tokio::test]
    async fn without_authorities_https_says_so_and_dials_nobody() {
        let wire = Wire::answering("").await;
        let error =
            egress("127.0.0.0/8").post(post(&format!("https://{}/", wire.address))).await.unwrap_err();
        assert!(error.to_string().contains("no certificate authorities"), "{error}");
        assert!(!error.is_transient());
        assert_eq!(wire.connections(), 0);
    }

    #[tokio::test]
    async fn a_receiver_that_does_not_speak_tls_is_told_apart_from_one_that_breaks_off() {
        let plain = plain_greeter("HTTP/1.1 400 Bad Request\r\n\r\n");
        let egress = egress_resolving("127.0.0.0/8", vec![plain]);
        let error = egress.post(post("https://receiver.test/")).await.unwrap_err();
        assert!(matches!(&error, EgressError::Tls { transient: false, .. }), "{error:?}");

        let silent = plain_greeter("");
        let egress = egress_resolving("127.0.0.0/8", vec![silent]);
        let error = egress.post(post("https://receiver.test/")).await.unwrap_err();
        assert!(matches!(&error, EgressError::Tls { transient: true, .. }), "{error:?}");
    }

    /// Sends `greeting` after the first bytes of the client and hangs up.
    fn plain_greeter(greeting: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut tcp, _) = listener.accept().unwrap();
            let read = tcp.read(&mut [0; 4096]).unwrap();
            assert!(read > 0);
            tcp.write_all(greeting.as_bytes()).unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_handshake_that_hangs_ends_with_the_connect_timeout() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let egress = egress_resolving("127.0.0.0/8", vec![listener.local_addr().unwrap()]);
        let error = egress.post(post("https://receiver.test/")).await.unwrap_err();
        assert!(matches!(error, EgressError::Timeout { phase: Phase::Connect, .. }), "{error:?}");
        assert!(error.is_transient());
    }
}
