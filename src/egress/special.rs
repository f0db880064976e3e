//! Which addresses are not public, and why. Knowledge only: whether such an address may be reached is decided by `guard`.
//!
//! Ranges follow the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890 and its updates). A NAT64 prefix of a network's own
//! (RFC 6052, section 2.2) looks like any other address: who runs one names it in `egress.deny`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What keeps an address from being public, if anything.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

/// The IPv4 address inside an IPv6 address that carries one.
pub(super) fn embedded(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => embedded_v4(v6).map(IpAddr::V4),
    }
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
