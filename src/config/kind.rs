//! Kinds of settings: what a value looks like and how it is read.
//!
//! Owns the spellings of durations, sizes, addresses and lists. Pure. Called by `layers` with text from a flag, a variable or the file.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::filter::EnvFilter;
use url::Url;

use crate::egress::Proxy;
use crate::server::Origins;
use crate::webhook::signature::Secret;

/// What the values of a setting look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080` or a port alone.
    Address,
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `500ms`, `30s`, `5m`, `24h`, `7d`.
    Duration {
        /// Least value in milliseconds.
        min_ms: u64,
    },
    /// A whole number.
    Integer {
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
    },
    /// Directives of `tracing-subscriber`.
    Log,
    /// CIDRs, separated by commas; a list in the file.
    Networks,
    /// Origins of web pages, or `*`; separated by commas; a list in the file.
    Origins,
    /// A path.
    Path,
    /// Ports and ranges of ports, separated by commas; a list in the file.
    Ports,
    /// `http://HOST:PORT`, with a user and a password if need be; never shown.
    Proxy,
    /// `whsec_…`; never shown.
    Secret,
    /// `64MiB`, `1GB` or a number of bytes.
    Size {
        /// Least value in bytes.
        min: u64,
    },
    /// An http or https address without query.
    Url,
}

/// A value that has been read.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Address(SocketAddr),
    Bool(bool),
    Duration(Duration),
    /// Also sizes, in bytes.
    Integer(u64),
    Networks(Vec<IpNet>),
    Origins(Origins),
    Path(PathBuf),
    Ports(Vec<RangeInclusive<u16>>),
    Proxy(Proxy),
    Secret(Secret),
    Text(String),
}

impl Kind {
    /// What stands for a value in help.
    pub fn placeholder(self) -> &'static str {
        match self {
            Kind::Address => "ADDRESS",
            Kind::Bool => "BOOL",
            Kind::Choice(_) => "WORD",
            Kind::Duration { .. } => "DURATION",
            Kind::Integer { .. } => "NUMBER",
            Kind::Log => "FILTER",
            Kind::Networks => "CIDR,…",
            Kind::Origins => "ORIGIN,…",
            Kind::Path => "PATH",
            Kind::Ports => "PORTS",
            Kind::Proxy => "PROXY",
            Kind::Secret => "SECRET",
            Kind::Size { .. } => "SIZE",
            Kind::Url => "URL",
        }
    }

    /// A value as TOML spells it.
    pub fn literal(self, text: &str) -> String {
        match self {
            Kind::Bool | Kind::Integer { .. } => text.to_owned(),
            _ => toml::Value::from(text).to_string(),
        }
    }

    /// Reads a value.
    pub(super) fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self {
            Kind::Address => address(text).map(Value::Address),
            Kind::Bool => match text {
                "true" | "1" | "yes" | "on" => Ok(Value::Bool(true)),
                "false" | "0" | "no" | "off" => Ok(Value::Bool(false)),
                _ => Err("it is neither `true` nor `false`".to_owned()),
            },
            Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Choice(words) => Err(format!("it is none of {}", words.join(", "))),
            Kind::Duration { min_ms } => {
                let duration = duration(text)?;
                if duration < Duration::from_millis(min_ms) {
                    return Err(format!("it must be at least {min_ms}ms"));
                }
                Ok(Value::Duration(duration))
            }
            Kind::Integer { min, max } => {
                let number = text.replace('_', "").parse::<u64>();
                let number = number.map_err(|_| "it is not a whole number".to_owned())?;
                if number < min || number > max {
                    return Err(format!("it must be from {min} to {max}"));
                }
                Ok(Value::Integer(number))
            }
            Kind::Log => match EnvFilter::builder().parse(text) {
                Ok(_) => Ok(Value::Text(text.to_owned())),
                Err(error) => Err(format!(
                    "{error}; write a level (error, warn, info, debug, trace) or `info,minilab::worker=debug`"
                )),
            },
            Kind::Networks => networks(text).map(Value::Networks),
            Kind::Origins => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Origins::parse(items).map(Value::Origins)
            }
            Kind::Path if text.is_empty() => Err("it is empty".to_owned()),
            Kind::Path => Ok(Value::Path(PathBuf::from(text))),
            Kind::Ports => ports(text).map(Value::Ports),
            Kind::Proxy => Proxy::parse(text).map(Value::Proxy),
            Kind::Secret => Secret::parse(text)
                .map(Value::Secret)
                .map_err(|error| format!("{error}; make one with `echo whsec_$(openssl rand -base64 32)`")),
            Kind::Size { min } => {
                let bytes = size(text)?;
                if bytes < min {
                    return Err(format!("it must be at least {min} bytes"));
                }
                Ok(Value::Integer(bytes))
            }
            Kind::Url => public_url(text).map(Value::Text),
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.strip_prefix("localhost:").unwrap_or(text).parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| {
        "it is not an address with a port; write it like 127.0.0.1:8080, [::1]:8080 or 0.0.0.0:8080"
            .to_owned()
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "it is not a duration; write it like 500ms, 30s, 5m, 24h or 7d".to_owned();
    let (number, unit) = split_unit(text);
    let millis_per_unit: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ if text == "0" => 1,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(millis_per_unit).map(Duration::from_millis).ok_or_else(|| "it is too long".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    let wrong = || "it is not a size; write it like 64MiB, 2GiB or a number of bytes".to_owned();
    let (number, unit) = split_unit(text);
    let bytes_per_unit: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.replace('_', "").parse().map_err(|_| wrong())?;
    number.checked_mul(bytes_per_unit).ok_or_else(|| "it is too large".to_owned())
}

fn split_unit(text: &str) -> (&str, &str) {
    let end =
        text.find(|character: char| !character.is_ascii_digit() && character != '_').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let network = |item: &str| {
        let alone = || item.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
        item.parse()
            .ok()
            .or_else(alone)
            .ok_or_else(|| format!("{item:?} is not a network; write it like 10.0.0.0/8 or fd00::/8"))
    };
    items.map(network).collect()
}

fn ports(text: &str) -> Result<Vec<RangeInclusive<u16>>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last).then_some(first..=last)
    };
    let ranges: Option<Vec<_>> = items.map(range).collect();
    let ranges = ranges.filter(|ranges| !ranges.is_empty());
    ranges.ok_or_else(|| "these are no ports; write them like 80,443,8000-8999".to_owned())
}

fn public_url(text: &str) -> Result<String, String> {
    let wrong =
        || "it is not an address that clients can use; write it like https://images.example.com".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || !plain {
        return Err(wrong());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.placeholder())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1_000 kB"), Ok(1_000_000));
        for wrong in
            ["", "30", "s", "-1s", "1.5h", "30 seconds", "99999999999999999999s", "9999999999999999d"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "MiB", "64 elephants", "-1", "1e9", "99999999TiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_networks_and_urls() {
        assert_eq!(address("8080").unwrap().to_string(), "127.0.0.1:8080");
        assert_eq!(address("localhost:0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(address("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert!(address("example.com:80").is_err());
        assert_eq!(networks("10.0.0.0/8, 192.168.1.7,").unwrap().len(), 2);
        assert!(networks("10.0.0.0/33").unwrap_err().contains("10.0.0.0/33"));
        assert_eq!(public_url("https://a.example/lab/").unwrap(), "https://a.example/lab");
        assert!(public_url("a.example").is_err() && public_url("https://a.example/?x").is_err());
    }

    #[test]
    fn ports_are_single_ones_and_ranges() {
        assert_eq!(ports("80, 443,8000-8999,").unwrap(), [80..=80, 443..=443, 8000..=8999]);
        for wrong in ["", ",", "http", "0-65536", "9-8", "-80", "80-", "65536"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_keep_their_range() {
        let kind = Kind::Integer { min: 1, max: 10 };
        assert!(matches!(kind.parse("1_0"), Ok(Value::Integer(10))));
        for wrong in ["0", "11", "-1", "ten", "1.0"] {
            assert!(kind.parse(wrong).is_err(), "{wrong}");
        }
    }
}
