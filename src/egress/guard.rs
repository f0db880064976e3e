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
