//! The HTTP proxy that outbound requests may be sent by.
//!
//! Owns its address and its credentials, which no log and no message shows. Never connects; `connector` does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::HeaderValue;
use percent_encoding::percent_decode_str;
use url::Url;

/// A proxy. It gets requests for http as they are (absolute form), and opens tunnels for https (`CONNECT`). It looks up names, so that it
/// decides which addresses they may lead to.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    address: Uri,
    credentials: Option<HeaderValue>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Proxy").field(&self.address).finish()
    }
}

impl Proxy {
    /// Reads `http://HOST:PORT` or `http://USER:PASSWORD@HOST:PORT`, user and password percent-encoded where they must be.
    ///
    /// # Errors
    /// What is wrong, without the text itself: it may hold a password.
    pub fn parse(text: &str) -> Result<Proxy, String> {
        let wrong = || "it is not a proxy; write it like http://proxy.example.com:3128".to_owned();
        let url = Url::parse(text).map_err(|_| wrong())?;
        let plain = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let Some(host) = url.host_str().filter(|_| url.scheme() == "http" && plain) else {
            return Err(wrong());
        };
        let port = url.port_or_known_default().ok_or_else(wrong)?;
        let address = format!("http://{host}:{port}").parse().map_err(|_| wrong())?;
        if url.username().is_empty() && url.password().is_none() {
            return Ok(Proxy { address, credentials: None });
        }
        let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
        pair.push(b':');
        pair.extend(percent_decode_str(url.password().unwrap_or_default()));
        let mut credentials =
            HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).map_err(|_| wrong())?;
        credentials.set_sensitive(true);
        Ok(Proxy { address, credentials: Some(credentials) })
    }

    /// Its scheme, host and port.
    pub(super) fn address(&self) -> &Uri {
        &self.address
    }

    /// The value of `Proxy-Authorization`.
    pub(super) fn credentials(&self) -> Option<&HeaderValue> {
        self.credentials.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Wire, egress_by};
    use super::super::{EgressError, Get, Post};
    use super::*;

    #[test]
    fn a_proxy_is_read_and_its_password_hidden() {
        let proxy = Proxy::parse("http://us%40er:pa%3Ass@proxy.test:3128/").unwrap();
        assert_eq!(proxy.address().to_string(), "http://proxy.test:3128/");
        assert_eq!(proxy.credentials().unwrap(), &format!("Basic {}", STANDARD.encode("us@er:pa:ss")));
        assert_eq!(format!("{proxy:?}"), "Proxy(http://proxy.test:3128/)");
        assert_eq!(Proxy::parse("http://proxy.test").unwrap().address().to_string(), "http://proxy.test:80/");
        for wrong in ["", "proxy:3128", "https://p/", "socks5://p:1", "http://", "http://p/x", "http://p/?q"]
        {
            assert!(Proxy::parse(wrong).is_err(), "{wrong}");
        }
    }

    fn post(url: &str) -> Post {
        Post {
            url: url.parse().unwrap(),
            headers: hyper::HeaderMap::new(),
            body: "{}".into(),
            timeout: std::time::Duration::from_secs(5),
            answer_bytes_max: 100,
        }
    }

    fn proxy(wire: &Wire) -> Proxy {
        Proxy::parse(&format!("http://user:pass@{}", wire.address)).unwrap()
    }

    #[tokio::test]
    async fn http_is_sent_in_absolute_form_with_the_credentials() {
        let wire = Wire::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
        let egress = egress_by(proxy(&wire));
        let answer = egress.post(post("http://receiver.test/hook?a=b")).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"hi"[..]));
        let request = &wire.requests()[0];
        assert!(request.starts_with("POST http://receiver.test/hook?a=b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("host: receiver.test\r\n"), "{request}");
        assert!(request.contains("proxy-authorization: Basic dXNlcjpwYXNz\r\n"), "{request}");
        let get = Get::new("http://receiver.test/a.png".parse().unwrap(), hyper::HeaderMap::new(), 10);
        egress.get(get).await.unwrap();
        assert_eq!(wire.connections(), 1, "the connection is kept");
    }

    #[tokio::test]
    async fn https_asks_for_a_tunnel_and_says_when_there_is_none() {
        for answer in ["HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP/1.1 407 Who are you\r\n\r\n"] {
            let wire = Wire::answering(answer).await;
            let error = egress_by(proxy(&wire)).post(post("https://receiver.test/")).await.unwrap_err();
            let request = &wire.requests()[0];
            assert!(request.starts_with("CONNECT receiver.test:443 HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{request}");
            assert!(error.is_transient(), "{error:?}");
            assert!(
                error.to_string().contains("receiver.test") && !error.to_string().contains("127."),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn a_proxy_that_is_down_is_not_named_to_who_wanted_to_use_it() {
        // Bound, and not listening.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let proxy = format!("http://{}", socket.local_addr().unwrap());
        for (proxy, url) in [
            (proxy.as_str(), "http://receiver.test/"),
            (proxy.as_str(), "https://receiver.test/"),
            ("http://inner-proxy.test:1", "http://receiver.test/"),
        ] {
            let error = egress_by(Proxy::parse(proxy).unwrap()).post(post(url)).await.unwrap_err();
            assert!(
                matches!(&error, EgressError::Connect { host, .. } if host == "receiver.test"),
                "{error:?}"
            );
            assert!(error.is_transient() && !error.to_string().contains("127."), "{error}");
            assert!(!error.to_string().contains("inner-proxy"), "{error}");
        }
    }

    #[tokio::test]
    async fn literal_addresses_and_ports_are_judged_all_the_same() {
        let wire = Wire::answering("").await;
        let egress = egress_by(proxy(&wire));
        for url in ["http://10.0.0.1/", "https://[::1]/", "http://0x7f.1/", "http://receiver.test:25/"] {
            let error = egress.post(post(url)).await.unwrap_err();
            assert!(matches!(error, EgressError::Forbidden(_)), "{url}: {error:?}");
        }
        assert_eq!(wire.connections(), 0);
    }
}
