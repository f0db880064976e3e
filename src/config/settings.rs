//! The settings of a server, made of the rooms' own `Config`s.
//!
//! Owns the way from values to those types, and the checks that concern more than one value. Called by `cli` and by embedding programs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::error::{ConfigError, Mistake, Origin};
use super::keys::{self, KeysError};
use super::kind::{Kind, Value};
use super::layers::{Layers, Sources};
use super::machine;
use crate::access::Keyring;
use crate::egress::Proxy;
use crate::links::LinkKey;
use crate::webhook::signature::Secret;
use crate::worker::isolation;
use crate::{destination, egress, job, pipeline, queue, server, webhook, worker};

/// What a server runs with. Secrets don't show in `Debug`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A second address, for `/health/*` and `/metrics` alone.
    pub health_listen: Option<SocketAddr>,
    /// Directory of everything that is kept.
    pub data_dir: PathBuf,
    /// What links begin with, without a slash at the end; `None`: the address listened on.
    pub public_url: Option<String>,
    /// Directives of what is logged.
    pub log: String,
    /// Time for requests and jobs to finish once the server is told to stop.
    pub grace: Duration,
    /// Images that every job may use, by name; read when the server starts.
    pub assets: BTreeMap<String, PathBuf>,
    /// Fonts that every job may write in beside the bundled ones, by name; read when the server starts.
    pub fonts: BTreeMap<String, PathBuf>,
    /// Where results may be delivered to, by name; prepared when the server starts.
    pub destinations: BTreeMap<String, destination::Config>,
    /// Inbound HTTP, with the presets: fields of a JobSpec by name, which `app` has judged before anything is served.
    pub server: server::Config,
    /// Processing and fetching.
    pub worker: worker::Config,
    /// Waiting and keeping.
    pub queue: queue::Config,
    /// Outbound requests.
    pub egress: egress::Config,
    /// API keys; `None` until [`Settings::read_keys`].
    pub keyring: Option<Arc<Keyring>>,
    /// Secrets that sign webhooks; until [`Settings::read_keys`] at most the configured one.
    pub webhook_secrets: webhook::Secrets,
    /// What signs links in webhooks; `None` until the server starts, unless [`Settings::read_keys`] has found it.
    pub link_key: Option<LinkKey>,
}

/// Settings, and what an operator may want to know about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// Remarks that are no mistakes.
    pub notices: Vec<String>,
    /// Every value that was given or is a default, as one would write it, secrets hidden, and where it came from; by name of the setting.
    pub effective: BTreeMap<&'static str, (String, Origin)>,
}

/// Reads all layers. These are the program's settings: where nothing else is said, images are processed in processes of their own, and a
/// program that embeds the server must begin with [`crate::child_main_if_requested`].
///
/// # Errors
/// Every mistake that was found, each naming the flag, the variable and the key of the file.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut layers = Layers::read(sources);
    let networks = allowed_networks(&mut layers, &sources.allow_private_networks);
    refuse_open_door(&mut layers);
    refuse_everybodys_pages(&mut layers);
    if !layers.mistakes.is_empty() {
        return Err(ConfigError { mistakes: layers.mistakes });
    }
    let settings = assemble(&layers, networks);
    let effective = layers.effective();
    Ok(Loaded { settings, file: layers.file, notices: layers.notices, effective })
}

impl Settings {
    /// The defaults, with another data directory and a free port of the loopback address: for programs that embed the server. Images are
    /// processed on threads; `worker.isolation` changes that for a program whose `main` begins with [`crate::child_main_if_requested`].
    pub fn in_directory(data_dir: impl AsRef<Path>) -> Settings {
        let mut settings = assemble(&Layers::read(&Sources::default()), Vec::new());
        settings.data_dir = data_dir.as_ref().to_owned();
        settings.listen = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        settings.worker.isolation = isolation::Config::default();
        settings
    }

    /// Reads the API keys and secrets of the data directory. Without a configured secret there is one to sign webhooks with afterwards:
    /// directory and secret are made if need be. Reads and writes files: call it off the event loop. A server does so at its start, if
    /// nobody has before.
    ///
    /// # Errors
    /// When the directory or its `keys.toml` can't be read or written.
    pub fn read_keys(&mut self) -> Result<(), KeysError> {
        let configured = std::mem::take(&mut self.webhook_secrets.server);
        let file = match configured.is_empty() {
            true => keys::read_or_create(&self.data_dir),
            false => keys::read(&self.data_dir).map(Option::unwrap_or_default),
        };
        let file = match file {
            Ok(file) => file,
            Err(error) => {
                self.webhook_secrets.server = configured;
                return Err(error);
            }
        };
        self.keyring = Some(Arc::new(file.keyring()));
        self.link_key = file.link_key.clone();
        self.webhook_secrets = file.secrets();
        if !configured.is_empty() {
            self.webhook_secrets.server = configured;
        }
        Ok(())
    }
}

impl Settings {
    /// Makes sure that links can be signed, also where a secret was configured and the data directory has none. Reads and writes files.
    ///
    /// # Errors
    /// When the directory or its `keys.toml` can't be read or written.
    pub fn ensure_link_key(&mut self) -> Result<LinkKey, KeysError> {
        match &self.link_key {
            Some(key) => Ok(key.clone()),
            None => {
                let key = keys::read_or_create(&self.data_dir)?.link_key;
                let key = key.unwrap_or_else(|| LinkKey::from_random(rand::random()));
                Ok(self.link_key.insert(key).clone())
            }
        }
    }
}

fn allowed_networks(layers: &mut Layers, appended: &[String]) -> Vec<IpNet> {
    let mut networks = match layers.optional("egress.allow") {
        Some(Value::Networks(networks)) => networks.clone(),
        _ => Vec::new(),
    };
    for text in appended {
        match Kind::Networks.parse(text) {
            Ok(Value::Networks(more)) => networks.extend(more),
            Ok(_) => {}
            Err(reason) => layers.mistakes.push(Mistake::new(
                format!("--allow-private-network is {text:?}, but {reason}"),
                "give one network at a time; the flag may be repeated",
            )),
        }
    }
    networks
}

/// Without API keys, whoever reaches the port is master of the server.
fn refuse_open_door(layers: &mut Layers) {
    let (Value::Address(listen), Value::Bool(insecure), Value::Path(data_dir)) =
        (layers.value("listen"), layers.value("insecure_no_auth"), layers.value("data_dir"))
    else {
        return;
    };
    let health = match layers.optional("health_listen") {
        Some(Value::Address(health)) => Some(("health_listen", health)),
        _ => None,
    };
    let is_exposed = |(_, address): &(&str, &SocketAddr)| !address.ip().is_loopback();
    let Some((name, listen)) = [Some(("listen", listen)), health].into_iter().flatten().find(is_exposed)
    else {
        return;
    };
    if *insecure {
        return;
    }
    if asks_no_key(data_dir) {
        let (port, data_dir) = (listen.port(), data_dir.display());
        layers.mistakes.push(Mistake::new(
            format!("{name} is {listen}, which other machines can reach, and nothing asks them for a key"),
            format!(
                "make a key with `minilab keys add NAME --data-dir {data_dir}` (in a container: the same image and volume \
                 with the command `keys add NAME`), \
                 add --insecure-no-auth (MINILAB_INSECURE_NO_AUTH=true) if everyone who can reach it may use it, \
                 or listen on 127.0.0.1:{port}"
            ),
        ));
    }
}

/// Without API keys, a page of any site could use a server that lets all of them, with nothing but a visit.
fn refuse_everybodys_pages(layers: &mut Layers) {
    let Some(Value::Origins(origins)) = layers.optional("cors.allow_origins") else { return };
    let Value::Path(data_dir) = layers.value("data_dir") else { return };
    if origins.are_all() && asks_no_key(data_dir) {
        let data_dir = data_dir.display();
        layers.mistakes.push(Mistake::new(
            "cors.allow_origins is `*`, and nothing asks those pages for a key".to_owned(),
            format!("name the origins, or make a key with `minilab keys add NAME --data-dir {data_dir}`"),
        ));
    }
}

/// Whether nobody needs a key. A file that can't be read stops the start by itself.
fn asks_no_key(data_dir: &Path) -> bool {
    keys::read(data_dir).is_ok_and(|file| file.is_none_or(|file| file.keyring().is_open()))
}

fn assemble(layers: &Layers, networks: Vec<IpNet>) -> Settings {
    let values = Values(layers);
    let listen = values.address("listen");
    let public_url = values.text("public_url");
    let memory_limit = values.integer("memory_limit").unwrap_or_else(machine::memory_share);
    let limits = pipeline::Limits {
        pixels_max: values.number("limits.pixels"),
        side_max: values.number("limits.side"),
        frames_max: values.number("limits.frames"),
        frame_pixels_max: values.number("limits.frame_pixels"),
        memory_bytes_max: memory_limit,
    };
    let queue = queue::Config {
        queued_max: values.number("limits.queue"),
        retention: job::Retention {
            succeeded: values.duration("retention.succeeded"),
            failed: values.duration("retention.failed"),
            tombstones: values.duration("retention.tombstones"),
            deliveries: values.duration("retention.deliveries"),
            idempotency_keys: values.duration("retention.idempotency_keys"),
        },
        public_url: public_url.clone().unwrap_or_else(|| format!("http://{listen}")),
        ..queue::Config::default()
    };
    let worker = worker::Config {
        workers: values.integer("workers").map_or_else(machine::workers, |number| number as usize),
        memory_bytes_max: memory_limit,
        limits,
        source: worker::SourceConfig {
            total_timeout: values.duration("source.total"),
            answer_timeout: values.duration("source.first_byte"),
            bytes_max: values.number("limits.body"),
            asset_bytes_max: values.number("limits.asset"),
            ..worker::SourceConfig::default()
        },
        grace: values.duration("grace"),
        lease_duration: queue.lease_duration,
        isolation: isolation(&values),
        ..worker::Config::default()
    };
    let public_url_of_server = public_url.clone();
    Settings {
        listen,
        health_listen: values.optional_address("health_listen"),
        data_dir: values.path("data_dir"),
        public_url,
        log: values.text("log").unwrap_or_default(),
        grace: values.duration("grace"),
        assets: layers.assets.clone(),
        fonts: layers.fonts.clone(),
        destinations: layers.destinations.clone(),
        server: server::Config {
            public_url: public_url_of_server,
            header_timeout: values.duration("timeouts.header"),
            body_idle_timeout: values.duration("timeouts.body_idle"),
            idle_timeout: values.duration("timeouts.idle"),
            grace: values.duration("grace"),
            connections_max: values.number("limits.connections"),
            body_bytes_max: values.number("limits.body"),
            operations_max: values.number("limits.operations"),
            outputs_max: values.number("limits.outputs"),
            assets_max: values.number("limits.assets"),
            asset_bytes_max: values.number("limits.asset"),
            timeout_default: values.duration("limits.timeout"),
            presets: layers.presets.clone(),
            trusted_proxies: values.networks("trusted_proxies"),
            allow_origins: values.origins("cors.allow_origins"),
            ..server::Config::default()
        },
        worker,
        queue,
        egress: egress::Config {
            allow: networks,
            deny: values.networks("egress.deny"),
            ports: values.ports("egress.ports"),
            proxy: values.proxy("egress.proxy"),
            connect_timeout: values.duration("source.connect"),
        },
        keyring: None,
        webhook_secrets: webhook::Secrets::of_server(values.secret("webhook_secret")),
        link_key: None,
    }
}

fn isolation(values: &Values<'_>) -> isolation::Config {
    let of_program =
        if cfg!(target_os = "linux") { isolation::Mode::Process } else { isolation::Mode::Thread };
    let named = |word: String| isolation::Mode::ALL.into_iter().find(|mode| mode.name() == word);
    isolation::Config {
        mode: values.text("isolation").and_then(named).unwrap_or(of_program),
        require_sandbox: values.bool("require_sandbox"),
        ..isolation::Config::default()
    }
}

/// Typed access to values. A setting's kind and its reader here stand in one crate; a test reads every setting, so a wrong pair shows.
struct Values<'a>(&'a Layers);

impl Values<'_> {
    fn address(&self, name: &'static str) -> SocketAddr {
        match self.0.value(name) {
            Value::Address(address) => *address,
            other => unreachable!("{name} is an address, not {other:?}"),
        }
    }

    fn optional_address(&self, name: &'static str) -> Option<SocketAddr> {
        match self.0.optional(name)? {
            Value::Address(address) => Some(*address),
            other => unreachable!("{name} is an address, not {other:?}"),
        }
    }

    fn bool(&self, name: &'static str) -> bool {
        match self.0.value(name) {
            Value::Bool(value) => *value,
            other => unreachable!("{name} is true or false, not {other:?}"),
        }
    }

    fn duration(&self, name: &'static str) -> Duration {
        match self.0.value(name) {
            Value::Duration(duration) => *duration,
            other => unreachable!("{name} is a duration, not {other:?}"),
        }
    }

    fn path(&self, name: &'static str) -> PathBuf {
        match self.0.value(name) {
            Value::Path(path) => path.clone(),
            other => unreachable!("{name} is a path, not {other:?}"),
        }
    }

    fn integer(&self, name: &'static str) -> Option<u64> {
        match self.0.optional(name)? {
            Value::Integer(number) => Some(*number),
            other => unreachable!("{name} is a number, not {other:?}"),
        }
    }

    /// A number with a default, in the type that its room wants; the table's range fits that type.
    fn number<T: TryFrom<u64>>(&self, name: &'static str) -> T {
        let number = self.integer(name).and_then(|number| T::try_from(number).ok());
        number.expect("the table gives it a default and a range within its type")
    }

    fn networks(&self, name: &'static str) -> Vec<IpNet> {
        match self.0.optional(name) {
            None => Vec::new(),
            Some(Value::Networks(networks)) => networks.clone(),
            other => unreachable!("{name} are networks, not {other:?}"),
        }
    }

    fn origins(&self, name: &'static str) -> server::Origins {
        match self.0.optional(name) {
            None => server::Origins::default(),
            Some(Value::Origins(origins)) => origins.clone(),
            other => unreachable!("{name} are origins, not {other:?}"),
        }
    }

    fn ports(&self, name: &'static str) -> Option<Vec<RangeInclusive<u16>>> {
        match self.0.optional(name)? {
            Value::Ports(ports) => Some(ports.clone()),
            other => unreachable!("{name} are ports, not {other:?}"),
        }
    }

    fn proxy(&self, name: &'static str) -> Option<Proxy> {
        match self.0.optional(name)? {
            Value::Proxy(proxy) => Some(proxy.clone()),
            other => unreachable!("{name} is a proxy, not {other:?}"),
        }
    }

    fn text(&self, name: &'static str) -> Option<String> {
        match self.0.optional(name)? {
            Value::Text(text) => Some(text.clone()),
            other => unreachable!("{name} is a text, not {other:?}"),
        }
    }

    fn secret(&self, name: &'static str) -> Option<Secret> {
        match self.0.optional(name)? {
            Value::Secret(secret) => Some(secret.clone()),
            other => unreachable!("{name} is a secret, not {other:?}"),
        }
    }
}
