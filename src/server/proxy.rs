//! Who a request comes from when it comes by a proxy: the address and the scheme that the client has used.
//!
//! `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded` (RFC 7239) are what anybody may send; they are believed only from the proxies
//! that the setting `trusted_proxies` names, and only as far back as these have written them: from the right, up to the first address that
//! is none of theirs. Where both kinds of headers are there and say different things, a proxy has passed one on unread, and neither is
//! believed. Used by `service`: for the log, and for the guard.

use std::net::IpAddr;

use hyper::header::{self, HeaderMap};
use ipnet::IpNet;

/// Most entries that are looked at: no chain of proxies is this long.
const HOPS_MAX: usize = 32;

/// Who asks, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// Its address, or that of the last machine on the way that nobody vouches for.
    pub(super) address: IpAddr,
    /// Whether it came by https; `None`: as it reached this server, by http, unless a proxy keeps it to itself.
    pub(super) is_https: Option<bool>,
}

impl Client {
    /// Who sends these headers from this address.
    pub(super) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Client {
        let direct = Client { address: peer.to_canonical(), is_https: None };
        if !is_trusted(peer, trusted) {
            return direct;
        }
        let common = by_common_headers(headers, trusted);
        let standard = by_standard(headers, trusted);
        match (common, standard) {
            (Some(one), Some(other)) if agree(one, other) => Client {
                address: one.address.or(other.address).unwrap_or(direct.address),
                is_https: one.is_https.or(other.is_https),
            },
            (Some(_), Some(_)) => direct,
            (Some(told), None) | (None, Some(told)) => {
                Client { address: told.address.unwrap_or(direct.address), is_https: told.is_https }
            }
            (None, None) => direct,
        }
    }
}

/// What one kind of headers tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    address: Option<IpAddr>,
    is_https: Option<bool>,
}

fn agree(one: Told, other: Told) -> bool {
    let same_address = one.address.is_none() || other.address.is_none() || one.address == other.address;
    let same_scheme = one.is_https.is_none() || other.is_https.is_none() || one.is_https == other.is_https;
    same_address && same_scheme
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// `X-Forwarded-For` and `X-Forwarded-Proto`.
fn by_common_headers(headers: &HeaderMap, trusted: &[IpNet]) -> Option<Told> {
    let hops = elements(headers, "x-forwarded-for");
    let scheme = elements(headers, "x-forwarded-proto").into_iter().next().map(|text| scheme(&text));
    if hops.is_empty() && scheme.is_none() {
        return None;
    }
    let address = farthest(hops.iter().map(|hop| node(hop)), trusted);
    Some(Told { address, is_https: scheme.flatten() })
}

/// `Forwarded`.
fn by_standard(headers: &HeaderMap, trusted: &[IpNet]) -> Option<Told> {
    let hops = elements(headers, header::FORWARDED.as_str());
    let last = hops.first()?;
    let is_https = parameter(last, "proto").and_then(|text| scheme(&text));
    let address = farthest(hops.iter().map(|hop| node(&parameter(hop, "for")?)), trusted);
    Some(Told { address, is_https })
}

/// The first address from this end that no proxy of ours vouches for; where all of them do, the one farthest away. What is no address ends
/// the way.
fn farthest(hops: impl Iterator<Item = Option<IpAddr>>, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut reached = None;
    for hop in hops {
        let Some(address) = hop else { break };
        reached = Some(address.to_canonical());
        if !is_trusted(address, trusted) {
            break;
        }
    }
    reached
}

/// Elements of a list header, the one written last first.
fn elements(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    let texts = values.into_iter().rev().flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
    texts.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).take(HOPS_MAX).collect()
}

/// A parameter of an element of `Forwarded`. Quoted texts hold neither comma nor semicolon where they name an address.
fn parameter(element: &str, wanted: &str) -> Option<String> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        name.trim().eq_ignore_ascii_case(wanted).then(|| bare.to_owned())
    })
}

/// The address of a node, which may have a port: `192.0.2.1:80`, `[2001:db8::1]:80`. `unknown` and `_hidden` have none.
fn node(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']')?.0.parse().ok();
    }
    text.parse().ok().or_else(|| text.split_once(':')?.0.parse().ok())
}

fn scheme(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("https") => Some(true),
        _ if text.eq_ignore_ascii_case("http") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Address and scheme for headers from this peer; 10.0.0.0/8 and ::1 are proxies of ours.
    fn client(peer: &str, sent: &[(&'static str, &str)]) -> (String, Option<bool>) {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap());
        let client = Client::of(peer.parse().unwrap(), &headers, &trusted);
        (client.address.to_string(), client.is_https)
    }

    fn address(peer: &str, sent: &[(&'static str, &str)]) -> String {
        client(peer, sent).0
    }

    #[test]
    fn nobody_else_is_believed() {
        let lies = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=192.0.2.1"),
        ];
        assert_eq!(client("203.0.113.5", &lies), ("203.0.113.5".to_owned(), None));
        assert_eq!(address("::ffff:203.0.113.5", &lies), "203.0.113.5");
        assert_eq!(address("::ffff:10.0.0.1", &lies), "192.0.2.1");
    }

    #[test]
    fn what_our_proxies_wrote_is_believed_and_nothing_before_it() {
        for (sent, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("127.0.0.1, 192.0.2.1", "192.0.2.1"),
            ("127.0.0.1, 192.0.2.1, 10.0.0.7, 10.9.9.9", "192.0.2.1"),
            ("10.0.0.7, 10.0.0.8", "10.0.0.7"),
            ("192.0.2.1, unknown, 10.0.0.8", "10.0.0.8"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("nonsense", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(address("10.0.0.1", &[("x-forwarded-for", sent)]), expected, "{sent}");
        }
        let twice = [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "192.0.2.1, 10.0.0.2")];
        assert_eq!(address("::1", &twice), "192.0.2.1", "several headers are one list");
        let long = vec!["10.0.0.3"; 1000].join(",");
        assert_eq!(address("10.0.0.1", &[("x-forwarded-for", &format!("192.0.2.1,{long}"))]), "10.0.0.3");
    }

    #[test]
    fn the_standard_header_says_the_same_in_its_own_words() {
        for (sent, expected, is_https) in [
            ("for=192.0.2.1;proto=https;by=10.0.0.1", "192.0.2.1", Some(true)),
            ("For=\"[2001:db8::1]:4711\"; Proto=http", "2001:db8::1", Some(false)),
            ("for=127.0.0.1, for=192.0.2.1;proto=http, for=10.0.0.7;proto=https", "192.0.2.1", Some(true)),
            ("for=_hidden, for=10.0.0.7", "10.0.0.7", None),
            ("proto=https", "10.0.0.1", Some(true)),
        ] {
            assert_eq!(client("10.0.0.1", &[("forwarded", sent)]), (expected.to_owned(), is_https), "{sent}");
        }
    }

    #[test]
    fn the_scheme_is_the_one_the_last_proxy_tells() {
        for (sent, is_https) in [
            ("https", Some(true)),
            ("HTTP", Some(false)),
            ("https, http", Some(false)),
            ("ftp", None),
            ("", None),
        ] {
            assert_eq!(client("10.0.0.1", &[("x-forwarded-proto", sent)]).1, is_https, "{sent}");
        }
    }

    #[test]
    fn headers_that_contradict_each_other_are_not_believed() {
        let contradicting = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.66")];
        assert_eq!(address("10.0.0.1", &contradicting), "10.0.0.1");
        let same = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1;proto=https")];
        assert_eq!(client("10.0.0.1", &same), ("192.0.2.1".to_owned(), Some(true)));
    }
}
