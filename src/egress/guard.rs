//! The address guard: which addresses and URLs outbound requests may go to.
//!
//! Owns the decision and nothing else: no DNS, no sockets, no clock. `dial` asks it about every address before dialling, `vet_url`
//! asks it about URLs at submit, `get` about every redirect. Public unicast addresses pass; anything else only through the ranges of
//! `egress.allow`, and nothing that `egress.deny` names. Which addresses are special is [`super::special`]'s knowledge.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use hyper::Uri;
use ipnet::IpNet;
use url::{Host, Url};

use super::Config;
use super::error::Refused;
use super::special::{embedded, special};

/// Longest URL that is accepted, in bytes; the usual limit of servers and proxies along the way.
pub const URL_BYTES_MAX: usize = 8192;

/// Ports that speak something else than HTTP: the "bad ports" of the WHATWG Fetch standard, which browsers refuse. A request to one of
/// them could be taken for a mail or a command. Sorted.
const PORTS_OF_OTHERS: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514,
    515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723,
    2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// Decides where requests may go. Cheap to ask: a few comparisons per address.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    ports: Option<Vec<RangeInclusive<u16>>>,
    /// Requests go to a proxy, which resolves names.
    is_proxied: bool,
}

/// Why an address may not be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// It is this kind of address, and not in an allowed range.
    Special(&'static str),
    /// The operator has ruled it out.
    Denied,
    /// The port is not for requests.
    Port,
}

impl Guard {
    /// A guard that lets requests to public addresses and into `allow`, but never into `deny`, on `ports` only (`None`: all but those
    /// of other protocols, and within `allow` all).
    pub(super) fn new(config: &Config) -> Guard {
        Guard {
            allow: config.allow.clone(),
            deny: config.deny.clone(),
            ports: config.ports.clone(),
            is_proxied: config.proxy.is_some(),
        }
    }

    /// Whether this address and port may be dialled.
    pub(super) fn check(&self, address: SocketAddr) -> Result<(), Objection> {
        let (ip, embedded) = (address.ip(), embedded(address.ip()));
        let is_in = |ranges: &[IpNet]| {
            ranges
                .iter()
                .any(|range| range.contains(&ip) || embedded.is_some_and(|inner| range.contains(&inner)))
        };
        if is_in(&self.deny) {
            return Err(Objection::Denied);
        }
        let is_allowed = is_in(&self.allow);
        match special(ip) {
            Some(kind) if !is_allowed => Err(Objection::Special(kind)),
            _ => self.check_port(address.port(), is_allowed),
        }
    }

    fn check_port(&self, port: u16, is_allowed: bool) -> Result<(), Objection> {
        let fits = match &self.ports {
            Some(ports) => ports.iter().any(|range| range.contains(&port)),
            None => is_allowed || PORTS_OF_OTHERS.binary_search(&port).is_err(),
        };
        if fits { Ok(()) } else { Err(Objection::Port) }
    }

    /// Whether a URL may be requested, as far as its text tells; names are judged when they are dialled.
    ///
    /// # Errors
    /// [`Refused`] for another scheme than http(s), a missing host, credentials in the URL, a URL over [`URL_BYTES_MAX`], or a literal
    /// address that [`Guard::check`] forbids.
    pub(super) fn vet(&self, url: &Url) -> Result<(), Refused> {
        if url.as_str().len() > URL_BYTES_MAX {
            return Err(Refused::malformed(format!("the URL is longer than {URL_BYTES_MAX} bytes")));
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::malformed(format!(
                "the scheme {:?} is not supported; use http or https",
                url.scheme()
            )));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::malformed(
                "the URL must not carry a user name or password; send credentials in a header",
            ));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let address = match url.host() {
            None => return Err(Refused::malformed("the URL has no host")),
            Some(Host::Domain(_)) => {
                // It may lead into an allowed range; but behind a proxy nobody here will ever see the address.
                let is_allowed = !self.is_proxied && !self.allow.is_empty();
                return self.check_port(port, is_allowed).map_err(|_| Refused::port(port));
            }
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
        };
        self.check(SocketAddr::new(address, port)).map_err(|objection| match objection {
            Objection::Special(kind) => Refused::forbidden(format!(
                "{address} is {kind} and only public addresses are reached; to permit it, add its range to the setting \
                 `egress.allow` (`--allow-private-network CIDR`)"
            )),
            Objection::Denied => {
                Refused::forbidden(format!("{address} is in a network that the setting `egress.deny` rules out"))
            }
            Objection::Port => Refused::port(port),
        })
    }

    /// Parses and vets a URL as it stands in a request: see [`Guard::vet`]. The fragment is dropped, it is never sent.
    ///
    /// # Errors
    /// [`Refused`], also for text that is no URL.
    pub(super) fn vet_text(&self, text: &str) -> Result<Url, Refused> {
        let mut url = Url::parse(text).map_err(|error| {
            Refused::malformed(format!("not an absolute URL, as https://example.com/…: {error}"))
        })?;
        url.set_fragment(None);
        self.vet(&url)?;
        request_uri(&url)?;
        Ok(url)
    }
}

/// The URL in the form that goes on the wire.
///
/// # Errors
/// [`Refused`] for the few URLs that browsers take and HTTP does not.
pub(super) fn request_uri(url: &Url) -> Result<Uri, Refused> {
    Uri::try_from(url.as_str())
        .map_err(|error| Refused::malformed(format!("the URL cannot be sent over HTTP: {error}")))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::error::RefusedKind;
    use super::*;

    /// Every way to spell a forbidden host that a URL parser takes, each with the address it stands for.
    pub(in super::super) fn forbidden() -> Vec<(&'static str, &'static str)> {
        let lines = include_str!("../../tests/data/forbidden-hosts.tsv").lines();
        let hosts: Vec<_> = lines
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_once('\t').expect("a host and an address"))
            .collect();
        assert_eq!(hosts.len(), 92);
        hosts
    }

    fn guard(allow: &[&str]) -> Guard {
        Guard::new(&Config { allow: ranges(allow), ..Config::default() })
    }

    fn ranges(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|range| range.parse().unwrap()).collect()
    }

    /// An address as the dialer asks about it.
    fn web(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 443)
    }

    #[test]
    fn no_spelling_of_a_forbidden_address_passes() {
        for (host, stands_for) in forbidden() {
            for url in [format!("http://{host}/hook"), format!("HTTPS:\\\\{host}:8443?q")] {
                let refused = guard(&[]).vet_text(&url).expect_err(&url);
                assert_eq!(refused.kind, RefusedKind::Forbidden, "{url}: {refused}");
                assert!(refused.reason.contains("egress.allow"), "{url}: {refused}");
            }
            assert!(guard(&[]).check(web(stands_for)).is_err(), "{stands_for}");
        }
    }

    #[test]
    fn public_addresses_and_names_pass() {
        for host in [
            "example.com",
            "localhost", // judged when dialled, as every name
            "127.0.0.1.example.com",
            "xn--bcher-kva.example",
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "[2606:4700::1111]",
            "[2001:200::1]",
            "[2003::1]",
            "[3ffd::1]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::8.8.8.8]",
        ] {
            guard(&[]).vet_text(&format!("https://{host}/")).expect(host);
        }
    }

    #[test]
    fn allowed_ranges_pass_in_every_form_and_nothing_else_does() {
        let open = guard(&["10.0.0.0/8", "fd00::/8"]);
        for address in [
            "10.1.2.3",
            "fd00::1",
            "::ffff:10.1.2.3",
            "::10.1.2.3",
            "::ffff:0:10.1.2.3",
            "64:ff9b::10.1.2.3",
            "64:ff9b:1::10.1.2.3",
            "2002:a01:203::1",
            "2001:0:4136:e378:8000:63bf:f5fe:fdfc",
            "2606:4700::5efe:10.1.2.3",
        ] {
            assert_eq!(open.check(web(address)), Ok(()), "{address}");
        }
        for address in ["127.0.0.1", "::1", "192.168.0.1", "fc00::1", "::ffff:192.168.0.1", "2002:c0a8:1::1"]
        {
            assert!(open.check(web(address)).is_err(), "{address}");
        }
        assert!(guard(&["0.0.0.1/32"]).check(web("::1")).is_err(), "::1 carries no IPv4 address");
        assert!(guard(&["127.0.0.0/8"]).vet_text("http://0x7f.1:9000/hook").is_ok());
    }

    #[test]
    fn urls_that_are_no_web_addresses_are_malformed() {
        let long = format!("http://example.com/{}", "a".repeat(URL_BYTES_MAX));
        for url in [
            "",
            "example.com/hook",
            "/hook",
            "http://",
            "http:///",
            "ftp://example.com/",
            "file:///etc/passwd",
            "gopher://example.com/",
            "data:image/png;base64,AAAA",
            "javascript:alert(1)",
            "unix:/run/docker.sock",
            "http://user@example.com/",
            "http://user:pass@example.com/",
            "http://:pass@example.com/",
            "http://example.com:99999/",
            "http://exa mple.com/",
            "http://[::1%25eth0]/",
            "http://256.256.256.256/",
            "http://1.2.3.4.5/",
            long.as_str(),
        ] {
            let refused = guard(&["0.0.0.0/0", "::/0"]).vet_text(url).expect_err(url);
            assert_eq!(refused.kind, RefusedKind::Malformed, "{url}: {refused}");
        }
    }

    #[test]
    fn what_is_vetted_is_what_is_sent() {
        let vetted = guard(&[]).vet_text("HTTP://Bücher.Example:80/a b?c|d`e^{}\"#fragment").unwrap();
        assert_eq!(vetted.as_str(), "http://xn--bcher-kva.example/a%20b?c|d`e^{}%22");
        let uri = request_uri(&vetted).unwrap();
        assert_eq!(uri.host(), vetted.host_str());
        assert_eq!(uri.to_string(), vetted.as_str());
    }

    #[test]
    fn denied_ranges_are_closed_in_every_form_whatever_is_allowed() {
        let config = Config {
            allow: ranges(&["10.0.0.0/8", "fd00::/8"]),
            deny: ranges(&["10.9.0.0/16", "8.8.8.0/24", "2606:4700::/32"]),
            ..Config::default()
        };
        let guard = Guard::new(&config);
        for address in
            ["10.9.1.1", "8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::1111", "2002:a09:1::"]
        {
            assert_eq!(guard.check(web(address)), Err(Objection::Denied), "{address}");
        }
        for address in ["10.8.1.1", "8.8.4.4", "fd00::1", "2606:4701::1"] {
            assert_eq!(guard.check(web(address)), Ok(()), "{address}");
        }
        let refused = guard.vet_text("http://134744072/").unwrap_err();
        assert!(
            refused.kind == RefusedKind::Forbidden && refused.reason.contains("egress.deny"),
            "{refused}"
        );
    }

    #[test]
    fn ports_of_other_protocols_are_closed_but_where_the_operator_allows_all() {
        assert!(PORTS_OF_OTHERS.is_sorted());
        let (closed, open) = (guard(&[]), guard(&["127.0.0.0/8"]));
        for url in
            ["http://8.8.8.8:25/", "https://8.8.8.8:22/", "http://example.com:6667/", "http://8.8.8.8:0/"]
        {
            let refused = closed.vet_text(url).unwrap_err();
            assert!(
                refused.kind == RefusedKind::Forbidden && refused.reason.contains("egress.ports"),
                "{refused}"
            );
        }
        assert!(
            closed.vet_text("http://8.8.8.8:8080/").is_ok() && open.vet_text("http://127.0.0.1:9/").is_ok()
        );
        assert!(open.vet_text("http://8.8.8.8:9/").is_err());
        assert!(open.vet_text("http://example.com:9/").is_ok(), "judged when it is dialled");
        let address = |text: &str| text.parse().unwrap();
        assert_eq!(open.check(address("8.8.8.8:9")), Err(Objection::Port));
        assert_eq!(open.check(address("127.0.0.1:9")), Ok(()));

        let config = Config {
            ports: Some(vec![443..=443, 8000..=8999]),
            allow: ranges(&["127.0.0.0/8"]),
            ..Config::default()
        };
        let listed = Guard::new(&config);
        for (text, is_open) in [
            ("8.8.8.8:443", true),
            ("127.0.0.1:8999", true),
            ("8.8.8.8:80", false),
            ("127.0.0.1:9000", false),
        ] {
            assert_eq!(listed.check(address(text)).is_ok(), is_open, "{text}");
        }
        assert!(
            listed.vet_text("http://example.com/").is_err()
                && listed.vet_text("https://example.com/").is_ok()
        );
    }
}
