//! The address guard: which addresses and URLs outbound requests may go to.
//!
//! Owns the decision and nothing else: no DNS, no sockets, no clock. `connector` asks it about every address before dialling, `vet_url`
//! asks it about URLs at submit, `get` about every redirect. Public unicast addresses pass; anything else only through the ranges of
//! `egress.allow`. Ranges follow the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890 and its updates).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::Uri;
use ipnet::IpNet;
use url::{Host, Url};

use super::error::Refused;

/// Longest URL that is accepted, in bytes; the usual limit of servers and proxies along the way.
pub const URL_BYTES_MAX: usize = 8192;

/// Decides where requests may go. Cheap to ask: a few comparisons per address.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    allow: Vec<IpNet>,
}

impl Guard {
    /// A guard that lets requests into `allow` as well as to public addresses.
    pub(super) fn new(allow: Vec<IpNet>) -> Guard {
        Guard { allow }
    }

    /// Whether `address` may be dialled.
    ///
    /// # Errors
    /// The kind of address it is ("a loopback address"), when it is neither public nor in an allowed range.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), &'static str> {
        let verdict = match address {
            IpAddr::V4(v4) => special_v4(v4),
            IpAddr::V6(v6) => special_v6(v6),
        };
        let Some(kind) = verdict else { return Ok(()) };
        let embedded = match address {
            IpAddr::V6(v6) => embedded_v4(v6).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        let allowed = |address: IpAddr| self.allow.iter().any(|range| range.contains(&address));
        if allowed(address) || embedded.is_some_and(allowed) { Ok(()) } else { Err(kind) }
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
        let address = match url.host() {
            None => return Err(Refused::malformed("the URL has no host")),
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
        };
        self.check(address).map_err(|kind| {
            Refused::forbidden(format!(
                "{address} is {kind} and only public addresses are reached; to permit it, add its range to the setting \
                 `egress.allow` (`--allow-private-network CIDR`)"
            ))
        })
    }

    /// Parses and vets a URL as it stands in a request: see [`Guard::vet`]. The fragment is dropped, it is never sent.
    ///
    /// # Errors
    /// [`Refused`], also for text that is no URL.
    pub(super) fn vet_text(&self, text: &str) -> Result<Url, Refused> {
        let mut url =
            Url::parse(text).map_err(|error| Refused::malformed(format!("not an absolute URL: {error}")))?;
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

/// What keeps an IPv4 address from being public, if anything.
fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "an address of \"this network\"",
        [10, ..] | [192, 168, ..] => "a private address",
        [172, b, ..] if b & 0xf0 == 16 => "a private address",
        [100, b, ..] if b & 0xc0 == 64 => "a shared (carrier-grade NAT) address",
        [127, ..] => "a loopback address",
        [169, 254, ..] => "a link-local address",
        [192, 0, 0, _] => "an address reserved for protocols",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "a documentation address",
        [192, 88, 99, _] => "a 6to4 relay address",
        [198, 18 | 19, ..] => "a benchmarking address",
        // Azure answers here with the host's own metadata and health channel; it looks public but is not.
        [168, 63, 129, 16] => "a platform service address",
        [224..=239, ..] => "a multicast address",
        [255, 255, 255, 255] => "the broadcast address",
        [240..=255, ..] => "a reserved address",
        _ => return None,
    })
}

/// What keeps an IPv6 address from being public, if anything. Only 2000::/3 is handed out as global unicast, so everything outside is
/// refused by default; the two embeddings that current networks use are judged by the IPv4 address inside.
fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let s = address.segments();
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => return Some("the unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => return Some("a loopback address"),
        // Mapped addresses are dialled as IPv4; NAT64 is how IPv6-only hosts reach any IPv4 address (RFC 6052).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            return embedded_v4(address).and_then(special_v4);
        }
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => return Some("an ISATAP address"),
        _ => {}
    }
    Some(match s {
        [0, 0, 0, 0, 0, 0, ..] => "an IPv4-compatible address",
        [0, 0, 0, 0, 0xffff, 0, ..] => "an IPv4-translated address",
        [0x64, 0xff9b, 1, ..] => "a local NAT64 address",
        [0x100, 0, 0, ..] => "a discard address",
        [0x2001, 0, ..] => "a Teredo address",
        [0x2001, 0xdb8, ..] => "a documentation address",
        [0x3fff, b, ..] if b & 0xf000 == 0 => "a documentation address",
        [0x2001, b, ..] if b & 0xfe00 == 0 => "an address reserved for protocols",
        [0x2002, ..] => "a 6to4 address",
        [0x3ffe, ..] => "a reserved address",
        [a, ..] if a & 0xe000 == 0x2000 => return None,
        [a, ..] if a & 0xfe00 == 0xfc00 => "a unique local address",
        [a, ..] if a & 0xffc0 == 0xfe80 => "a link-local address",
        [a, ..] if a & 0xffc0 == 0xfec0 => "a site-local address",
        [a, ..] if a & 0xff00 == 0xff00 => "a multicast address",
        _ => "a reserved address",
    })
}

/// The IPv4 address a packet to `address` would end at, for every form that carries one.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(join(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(join(high, low)),
        // 64:ff9b::/96 and, when the local prefix is used as a /96, 64:ff9b:1::/48.
        [0x64, 0xff9b, 0 | 1, _, _, _, high, low] => Some(join(high, low)),
        // Teredo hides the client's address behind a bitwise NOT (RFC 4380).
        [0x2001, 0, _, _, _, _, high, low] => Some(join(!high, !low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::error::RefusedKind;
    use super::*;

    /// Every way to spell a forbidden host that a URL parser takes, each with the address it stands for.
    pub(in super::super) const FORBIDDEN: [(&str, &str); 78] = [
        // IPv4 as people write it, then as `inet_aton` and browsers read it: decimal, octal, hexadecimal, short, full-width, encoded.
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("0x7f.0x0.0x0.0x1", "127.0.0.1"),
        ("127.0.0.0x1", "127.0.0.1"),
        ("%31%32%37.0.0.1", "127.0.0.1"),
        ("１２７．０．０．１", "127.0.0.1"),
        ("①②⑦.0.0.1", "127.0.0.1"),
        ("127。0。0。1", "127.0.0.1"),
        ("127.255.255.254", "127.255.255.254"),
        ("0", "0.0.0.0"),
        ("0x0", "0.0.0.0"),
        ("0.1.2.3", "0.1.2.3"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.1", "10.0.0.1"),
        ("167772161", "10.0.0.1"),
        ("10.255.255.255", "10.255.255.255"),
        ("172.16.0.1", "172.16.0.1"),
        ("172.31.255.255", "172.31.255.255"),
        ("0xac.0x10.1", "172.16.0.1"),
        ("192.168.0.1", "192.168.0.1"),
        ("0xc0a80001", "192.168.0.1"),
        ("169.254.169.254", "169.254.169.254"),
        ("2852039166", "169.254.169.254"),
        ("0251.0376.0251.0376", "169.254.169.254"),
        ("0xa9fea9fe", "169.254.169.254"),
        ("100.64.0.1", "100.64.0.1"),
        ("100.100.100.200", "100.100.100.200"),
        ("100.127.255.255", "100.127.255.255"),
        ("168.63.129.16", "168.63.129.16"),
        ("192.0.0.192", "192.0.0.192"),
        ("192.0.2.1", "192.0.2.1"),
        ("192.88.99.1", "192.88.99.1"),
        ("198.18.0.1", "198.18.0.1"),
        ("198.19.255.255", "198.19.255.255"),
        ("198.51.100.1", "198.51.100.1"),
        ("203.0.113.1", "203.0.113.1"),
        ("224.0.0.1", "224.0.0.1"),
        ("239.255.255.255", "239.255.255.255"),
        ("240.0.0.1", "240.0.0.1"),
        ("255.255.255.255", "255.255.255.255"),
        ("4294967295", "255.255.255.255"),
        // IPv6 proper.
        ("[::]", "::"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[fe80::1]", "fe80::1"),
        ("[febf::1]", "febf::1"),
        ("[fec0::1]", "fec0::1"),
        ("[fc00::1]", "fc00::1"),
        ("[fd00:ec2::254]", "fd00:ec2::254"),
        ("[ff02::1]", "ff02::1"),
        ("[100::1]", "100::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[3fff::1]", "3fff::1"),
        ("[2001:2::1]", "2001:2::1"),
        ("[2001:10::1]", "2001:10::1"),
        ("[3ffe::1]", "3ffe::1"),
        ("[4000::1]", "4000::1"),
        ("[5f00::1]", "5f00::1"),
        // IPv4 inside IPv6.
        ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
        ("[::FFFF:7F00:1]", "::ffff:127.0.0.1"),
        ("[0:0:0:0:0:ffff:a9fe:a9fe]", "::ffff:169.254.169.254"),
        ("[::127.0.0.1]", "::127.0.0.1"),
        ("[::a00:1]", "::10.0.0.1"),
        ("[::ffff:0:10.0.0.1]", "::ffff:0:10.0.0.1"),
        ("[64:ff9b::10.0.0.1]", "64:ff9b::10.0.0.1"),
        ("[64:ff9b::a9fe:a9fe]", "64:ff9b::169.254.169.254"),
        ("[64:ff9b:1::8.8.8.8]", "64:ff9b:1::8.8.8.8"),
        ("[2002:7f00:1::]", "2002:7f00:1::"),
        ("[2001:0:4136:e378:8000:63bf:f5ff:fffe]", "2001:0:4136:e378:8000:63bf:f5ff:fffe"),
        ("[2606:4700::5efe:10.0.0.1]", "2606:4700::5efe:10.0.0.1"),
        ("[2606:4700::200:5efe:10.0.0.1]", "2606:4700::200:5efe:10.0.0.1"),
    ];

    fn guard(allow: &[&str]) -> Guard {
        Guard::new(allow.iter().map(|range| range.parse().unwrap()).collect())
    }

    #[test]
    fn no_spelling_of_a_forbidden_address_passes() {
        for (host, stands_for) in FORBIDDEN {
            for url in [format!("http://{host}/hook"), format!("HTTPS:\\\\{host}:8443?q")] {
                let refused = guard(&[]).vet_text(&url).expect_err(&url);
                assert_eq!(refused.kind, RefusedKind::Forbidden, "{url}: {refused}");
                assert!(refused.reason.contains("egress.allow"), "{url}: {refused}");
            }
            assert!(guard(&[]).check(stands_for.parse().unwrap()).is_err(), "{stands_for}");
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
            assert_eq!(open.check(address.parse().unwrap()), Ok(()), "{address}");
        }
        for address in ["127.0.0.1", "::1", "192.168.0.1", "fc00::1", "::ffff:192.168.0.1", "2002:c0a8:1::1"]
        {
            assert!(open.check(address.parse().unwrap()).is_err(), "{address}");
        }
        assert!(guard(&["0.0.0.1/32"]).check("::1".parse().unwrap()).is_err(), "::1 carries no IPv4 address");
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
}
