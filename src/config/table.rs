//! The one table of settings. Flags, variables, file keys, help, the README's table and error messages are all made from it.
//!
//! Owns names, kinds, defaults and words. It never reads a value; `kind` and `layers` do. Adding a setting is one row here and the
//! place in `settings` that uses it.

use super::kind::Kind;
use crate::worker::isolation::Mode;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Key in `minilab.toml`, nested by dots.
    pub name: &'static str,
    /// Heading under which help and README show it.
    pub group: Group,
    /// What its values look like.
    pub kind: Kind,
    /// Value if none is given, as one would write it; `None` if it is worked out or simply absent.
    pub default: Option<&'static str>,
    /// The default in words, where `default` is `None`.
    pub default_words: &'static str,
    /// One sentence.
    pub doc: &'static str,
}

/// Headings of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Addresses, shutdown, connections.
    Server,
    /// Where and how long things are kept.
    Storage,
    /// What an image and a job may cost.
    Work,
    /// What the server asks of other machines.
    Outbound,
}

impl Group {
    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Group::Server => "Server",
            Group::Storage => "Storage",
            Group::Work => "Images and jobs",
            Group::Outbound => "Webhooks and outbound requests",
        }
    }
}

impl Setting {
    /// The environment variable: `MINILAB_LIMITS_BODY`.
    pub fn variable(&self) -> String {
        format!("MINILAB_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// The flag without its dashes, or `None` for what is or holds a secret: every user of a machine can read its command lines.
    pub fn flag(&self) -> Option<String> {
        (!matches!(self.kind, Kind::Secret | Kind::Proxy)).then(|| self.name.replace(['.', '_'], "-"))
    }

    /// The default as shown to people.
    pub fn default_text(&self) -> &'static str {
        self.default.unwrap_or(self.default_words)
    }

    /// Every way to set it, for messages.
    pub fn ways(&self) -> String {
        match self.flag() {
            Some(flag) => format!("--{flag}, {} or `{}` in minilab.toml", self.variable(), self.name),
            None => format!("{} or `{}` in minilab.toml", self.variable(), self.name),
        }
    }
}

/// The setting with this name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

const fn row(
    name: &'static str,
    group: Group,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { name, group, kind, default: Some(default), default_words: "", doc }
}

const fn open(
    name: &'static str,
    group: Group,
    kind: Kind,
    default_words: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { name, group, kind, default: None, default_words, doc }
}

use Group::{Outbound, Server, Storage, Work};

const ANY: Kind = Kind::Duration { min_ms: 0 };
const MILLI: Kind = Kind::Duration { min_ms: 1 };
const COUNT: Kind = Kind::Integer { min: 1, max: u32::MAX as u64 };

/// Every setting, in the order of help and README. `presets.*`, `assets.*`, `fonts.*` and `destinations.*` are not
/// among them: they are tables of their own in the file.
pub const SETTINGS: &[Setting] = &[
    row(
        "listen",
        Server,
        Kind::Address,
        "127.0.0.1:8080",
        "Address and port to listen on; port 0 takes a free one",
    ),
    open(
        "health_listen",
        Server,
        Kind::Address,
        "none",
        "A second address for /health/* and /metrics alone, answered however busy the server is",
    ),
    open(
        "public_url",
        Server,
        Kind::Url,
        "the listening address",
        "How clients reach this server; begins every link in a webhook",
    ),
    row(
        "insecure_no_auth",
        Server,
        Kind::Bool,
        "false",
        "Listen on an address that other machines reach, without API keys",
    ),
    open(
        "trusted_proxies",
        Server,
        Kind::Networks,
        "none",
        "Proxies, as CIDRs, whose `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded` are believed",
    ),
    open(
        "cors.allow_origins",
        Server,
        Kind::Origins,
        "none",
        "Other sites whose pages may use this server, such as `https://app.example.com`; `*` for all",
    ),
    row("grace", Server, ANY, "30s", "Time that requests and jobs get to finish after SIGTERM or Ctrl-C"),
    row("limits.connections", Server, COUNT, "10000", "Open connections at a time"),
    row("timeouts.header", Server, MILLI, "10s", "Time for a request's headers to arrive"),
    row("timeouts.body_idle", Server, MILLI, "30s", "Longest pause within a request's body"),
    row("timeouts.idle", Server, MILLI, "75s", "How long an idle connection is kept"),
    row(
        "log",
        Server,
        Kind::Log,
        "info",
        "What is logged: a level, or directives as in `info,minilab::worker=debug`",
    ),
    row("data_dir", Storage, Kind::Path, "./minilab-data", "Directory of the database, images and keys"),
    row("limits.queue", Storage, COUNT, "100000", "Jobs waiting at a time; more are refused with 429"),
    row(
        "retention.succeeded",
        Storage,
        MILLI,
        "24h",
        "How long a succeeded job is kept, unless it says so itself",
    ),
    row("retention.failed", Storage, MILLI, "7d", "How long a failed or cancelled job is kept"),
    row(
        "retention.tombstones",
        Storage,
        MILLI,
        "30d",
        "How long a removed job is answered with 410 rather than 404",
    ),
    row("retention.deliveries", Storage, MILLI, "7d", "How long ended webhook deliveries are kept"),
    row("retention.idempotency_keys", Storage, MILLI, "24h", "How long an Idempotency-Key is remembered"),
    open(
        "workers",
        Work,
        Kind::Integer { min: 1, max: 1024 },
        "one more than processors",
        "Threads that process images",
    ),
    open(
        "isolation",
        Work,
        Kind::Choice(&[Mode::Process.name(), Mode::ProcessPerJob.name(), Mode::Thread.name()]),
        "`process` on Linux, else `thread`",
        "Where images are processed: in sandboxed processes, in a fresh one for each job, or in threads",
    ),
    row(
        "require_sandbox",
        Work,
        Kind::Bool,
        "false",
        "Refuse to start where this system lacks a layer of the sandbox",
    ),
    open(
        "memory_limit",
        Work,
        Kind::Size { min: 64 << 20 },
        "60 % of the container's limit or of RAM",
        "Memory that running jobs may use together",
    ),
    row(
        "limits.body",
        Work,
        Kind::Size { min: 1 },
        "64MiB",
        "Largest request body, and largest image fetched from a URL",
    ),
    row(
        "limits.pixels",
        Work,
        Kind::Integer { min: 1, max: u64::MAX },
        "100000000",
        "Most pixels of an image, width times height",
    ),
    row("limits.side", Work, COUNT, "16384", "Most pixels a side"),
    row("limits.frames", Work, COUNT, "500", "Most frames of an animation"),
    row(
        "limits.frame_pixels",
        Work,
        COUNT,
        "1000000000",
        "Most pixels of an animation that is kept: frames × width × height",
    ),
    row("limits.outputs", Work, COUNT, "20", "Most outputs of a job"),
    row("limits.operations", Work, COUNT, "50", "Most operations of a job"),
    row(
        "limits.assets",
        Work,
        Kind::Integer { min: 1, max: 14 },
        "8",
        "Most images that a job's operations may name beside its source",
    ),
    row("limits.asset", Work, Kind::Size { min: 1 }, "8MiB", "Largest of these images"),
    row("limits.timeout", Work, MILLI, "60s", "Time for one attempt, unless the job asks for another"),
    row(
        "source.connect",
        Outbound,
        MILLI,
        "5s",
        "Time to connect to the server of a source URL or a webhook",
    ),
    row(
        "source.first_byte",
        Outbound,
        MILLI,
        "30s",
        "Time from asking for a source URL to the beginning of its answer",
    ),
    row("source.total", Outbound, MILLI, "60s", "Time to fetch a source URL"),
    open(
        "egress.allow",
        Outbound,
        Kind::Networks,
        "none",
        "Networks that may be called besides public addresses, as CIDRs",
    ),
    open(
        "egress.deny",
        Outbound,
        Kind::Networks,
        "none",
        "Networks that are never called, not even if public or allowed, as CIDRs",
    ),
    open(
        "egress.ports",
        Outbound,
        Kind::Ports,
        "all but those of other protocols; in `egress.allow`, all",
        "Ports that may be called, such as `80,443,8000-8999`",
    ),
    open(
        "egress.proxy",
        Outbound,
        Kind::Proxy,
        "none",
        "HTTP proxy of all outbound requests; it then decides what names lead to",
    ),
    open(
        "webhook_secret",
        Outbound,
        Kind::Secret,
        "made at first start, kept in DATA_DIR/keys.toml",
        "Secret that signs webhooks, `whsec_…`",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_default_is_a_valid_value() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            assert!(SETTINGS[..index].iter().all(|other| other.variable() != setting.variable()));
            assert!(setting.doc.len() < 100 && !setting.doc.ends_with('.'), "{}", setting.doc);
            if let Some(default) = setting.default {
                assert!(setting.kind.parse(default).is_ok(), "{}", setting.name);
            }
        }
    }

    #[test]
    fn a_name_has_three_spellings() {
        let setting = find("limits.body").unwrap();
        assert_eq!(setting.ways(), "--limits-body, MINILAB_LIMITS_BODY or `limits.body` in minilab.toml");
        assert_eq!(find("webhook_secret").unwrap().flag(), None);
    }
}
