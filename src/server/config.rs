//! Settings of the HTTP front end, each a limit with a name.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use super::cors::Origins;

/// Fields of a JobSpec, by the name of their preset.
pub type Presets = BTreeMap<String, Value>;

/// Settings of the HTTP front end.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients reach this server, without a trailing slash: `https://images.example.com`. Its host is accepted in `Host` and `Origin`.
    pub public_url: Option<String>,
    /// Time for the head of a request to arrive, from its first byte; and for the first byte of a new connection. Default 10 s.
    pub header_timeout: Duration,
    /// Time without a byte after which a body that is being sent, or an answer that is not being read, is given up. Default 30 s.
    pub body_idle_timeout: Duration,
    /// Time without a request after which a connection is closed. Default 75 s.
    pub idle_timeout: Duration,
    /// Time that running requests get when the server stops. Default 30 s.
    pub grace: Duration,
    /// Open connections; more wait to be accepted. Default 10,000.
    pub connections_max: usize,
    /// Headers of a request. Default 100.
    pub headers_max: usize,
    /// Bytes of a request's head. Default 64 KiB.
    pub header_bytes_max: usize,
    /// Bytes of a request's body. Default 64 MiB.
    pub body_bytes_max: u64,
    /// Operations of a job, those of its outputs included. Default 50.
    pub operations_max: usize,
    /// Outputs of a job. Default 20.
    pub outputs_max: usize,
    /// Images that a job's operations may name, those behind URLs included. Default 8.
    pub assets_max: usize,
    /// Bytes of such an image. Default 8 MiB.
    pub asset_bytes_max: u64,
    /// `timeout` of a job that names none. Default 60 s.
    pub timeout_default: Duration,
    /// `max_attempts` of a job that names none. Default 8.
    pub max_attempts_default: u32,
    /// Presets by name: a job specification's fields, judged by [`crate::api::spec::check_preset`] before they come here.
    pub presets: Presets,
    /// Proxies that are believed who a request comes from. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Other sites whose pages may use this server. Default: none.
    pub allow_origins: Origins,
    /// Names of the destinations that outputs may be delivered to.
    pub destinations: Vec<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            public_url: None,
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            grace: Duration::from_secs(30),
            connections_max: 10_000,
            headers_max: 100,
            header_bytes_max: 64 * 1024,
            body_bytes_max: 64 * 1024 * 1024,
            operations_max: 50,
            outputs_max: 20,
            assets_max: 8,
            asset_bytes_max: 8 * 1024 * 1024,
            timeout_default: Duration::from_secs(60),
            max_attempts_default: 8,
            presets: BTreeMap::new(),
            trusted_proxies: Vec::new(),
            allow_origins: Origins::default(),
            destinations: Vec::new(),
        }
    }
}
