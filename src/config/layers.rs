//! Layers of values: defaults < file < environment < flags.
//!
//! Owns reading `minilab.toml`, matching names to the table and deciding which layer wins. It reads the process's environment and
//! arguments only through [`Sources`], which the caller fills. Collects every mistake instead of stopping at the first.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::{Mistake, Origin};
use super::kind::Value;
use super::lines::{FileKeys, line_of};
use super::suggest::nearest;
use super::table::{SETTINGS, Setting, find};
use crate::destination;
use crate::pipeline::assets::is_name;

/// File that is read when none is named and it exists.
pub const DEFAULT_FILE: &str = "minilab.toml";
/// Beginning of every environment variable.
const PREFIX: &str = "MINILAB_";
/// Beginnings of the variables that destinations may use.
const CLOUD_PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];
/// Variables of the program that are no settings.
const OTHER_VARIABLES: [&str; 4] = ["MINILAB_API_KEY", "MINILAB_COMMIT", "MINILAB_CONFIG", "MINILAB_SERVER"];

/// Everything that settings are made from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Configuration file; must exist.
    pub file: Option<PathBuf>,
    /// Directory in which [`DEFAULT_FILE`] is looked for when no file is named; `None`: nowhere.
    pub default_file_in: Option<PathBuf>,
    /// Environment variables; others than `MINILAB_…` are passed over, but for those of cloud services, which destinations may use.
    pub environment: Vec<(String, String)>,
    /// Settings given as flags, by name, in order; the last one counts.
    pub flags: Vec<(String, String)>,
    /// CIDRs of `--allow-private-network`, added to `egress.allow`.
    pub allow_private_networks: Vec<String>,
}

/// Values by setting, with what went wrong on the way.
#[derive(Debug, Default)]
pub(super) struct Layers {
    values: BTreeMap<&'static str, Value>,
    pub(super) texts: BTreeMap<&'static str, String>,
    pub(super) origins: BTreeMap<&'static str, Origin>,
    pub(super) presets: BTreeMap<String, serde_json::Value>,
    pub(super) assets: BTreeMap<String, PathBuf>,
    pub(super) fonts: BTreeMap<String, PathBuf>,
    pub(super) destinations: BTreeMap<String, destination::Config>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) notices: Vec<String>,
    pub(super) file: Option<PathBuf>,
}

impl Layers {
    /// Reads all layers; later ones win.
    pub(super) fn read(sources: &Sources) -> Layers {
        let mut layers = Layers::default();
        for setting in SETTINGS {
            if let Some(default) = setting.default {
                layers.put(setting, default, Origin::Default);
            }
        }
        layers.read_file(sources);
        layers.lend_environment(&sources.environment);
        layers.read_environment(&sources.environment);
        for (name, text) in &sources.flags {
            if let Some(setting) = find(name) {
                let flag = format!("--{}", setting.flag().unwrap_or_default());
                layers.put(setting, text, Origin::Flag(flag));
            }
        }
        layers
    }

    fn put(&mut self, setting: &'static Setting, text: &str, origin: Origin) {
        match setting.kind.parse(text) {
            Ok(value) => {
                self.values.insert(setting.name, value);
                self.texts.insert(setting.name, text.to_owned());
                self.origins.insert(setting.name, origin);
            }
            Err(reason) => self.mistakes.push(Mistake::value(setting, text, &origin, &reason)),
        }
    }

    fn read_environment(&mut self, environment: &[(String, String)]) {
        for (variable, text) in environment {
            if !variable.starts_with(PREFIX) || text.is_empty() {
                continue;
            }
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == *variable) {
                self.put(setting, text, Origin::Variable(variable.clone()));
            } else if !OTHER_VARIABLES.contains(&variable.as_str()) {
                // Not a mistake: container platforms make variables such as MINILAB_PORT out of a service's name.
                let known = nearest(variable, SETTINGS.iter().map(Setting::variable));
                let hint = known.map(|known| format!("; did you mean {known}?")).unwrap_or_default();
                self.notices.push(format!("the variable {variable} is not a setting{hint}"));
            }
        }
    }

    /// Destinations may use the variables that programs of their kinds have in common.
    fn lend_environment(&mut self, environment: &[(String, String)]) {
        let is_common = |variable: &str| CLOUD_PREFIXES.iter().any(|prefix| variable.starts_with(prefix));
        let common = environment.iter().filter(|(variable, text)| is_common(variable) && !text.is_empty());
        let common: Vec<(String, String)> = common.cloned().collect();
        for destination in self.destinations.values_mut() {
            destination.environment.clone_from(&common);
        }
    }

    fn read_file(&mut self, sources: &Sources) {
        let default = || sources.default_file_in.as_ref().map(|directory| directory.join(DEFAULT_FILE));
        let Some(path) = sources.file.clone().or_else(|| default().filter(|path| path.exists())) else {
            return;
        };
        let read = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        let mut keys = None;
        let table = read.and_then(|text| {
            keys = Some(FileKeys::of(&path, &text));
            text.parse::<toml::Table>().map_err(|error| match error.span() {
                // The parser's own message would quote the line, which may hold a secret.
                Some(span) => format!("line {}: {}", line_of(&text, span.start), error.message()),
                None => error.message().to_owned(),
            })
        });
        match (table, keys) {
            (Ok(table), Some(keys)) => {
                self.read_table("", table, &keys);
                self.file = Some(path);
            }
            (Ok(_), None) => {}
            (Err(reason), _) => self.mistakes.push(Mistake::new(
                format!("the configuration file {} cannot be read: {}", path.display(), reason),
                "correct it, or name another with --config or MINILAB_CONFIG",
            )),
        }
    }

    fn read_table(&mut self, prefix: &str, table: toml::Table, file: &FileKeys) {
        for (key, value) in table {
            let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            let is_section = SETTINGS
                .iter()
                .any(|setting| setting.name.strip_prefix(&name).is_some_and(|rest| rest.starts_with('.')));
            match (find(&name), value) {
                (Some(setting), value) => match as_text(&value) {
                    Some(text) => self.put(setting, &text, file.origin(&name)),
                    None => {
                        let origin = file.origin(&name);
                        let reason = format!("a {} is wanted", setting.kind);
                        self.mistakes.push(Mistake::value(setting, &value.to_string(), &origin, &reason));
                    }
                },
                (None, toml::Value::Table(presets)) if name == "presets" => self.read_presets(presets, file),
                (None, toml::Value::Table(files)) if name == "assets" => {
                    self.assets = self.read_files("assets", "logo.png", files, file);
                }
                (None, toml::Value::Table(files)) if name == "fonts" => {
                    self.fonts = self.read_files("fonts", "brand.ttf", files, file);
                }
                (None, toml::Value::Table(tables)) if name == "destinations" => {
                    self.read_destinations(tables, file);
                }
                (None, toml::Value::Table(section)) if is_section => self.read_table(&name, section, file),
                (None, _) => self.unknown_key(&name, file),
            }
        }
    }

    fn read_presets(&mut self, presets: toml::Table, file: &FileKeys) {
        for (name, fields) in presets {
            if fields.is_table() {
                self.presets.insert(name, as_json(fields));
            } else {
                self.mistakes.push(Mistake::new(
                    format!("presets.{name} in {} is not a table", file.origin(&format!("presets.{name}"))),
                    format!("write the fields of a JobSpec under [presets.{name}]"),
                ));
            }
        }
    }

    /// What the options mean is for the destination to know; here is only what they look like.
    fn read_destinations(&mut self, tables: toml::Table, file: &FileKeys) {
        for (name, table) in tables {
            let texts = table.as_table().and_then(|table| {
                let text = |(key, value): (&String, &toml::Value)| Some((key.clone(), as_text(value)?));
                table.iter().map(text).collect::<Option<BTreeMap<String, String>>>()
            });
            match texts {
                Some(mut options) if is_name(&name) => {
                    let url = options.remove("url").unwrap_or_default();
                    let destination = destination::Config { url, options, environment: Vec::new() };
                    self.destinations.insert(name, destination);
                }
                Some(_) => self.mistakes.push(Mistake::new(
                    format!(
                        "destinations.{name} in {} can't be named by a job",
                        file.origin(&format!("destinations.{name}"))
                    ),
                    "call it by a to z, 0 to 9, _ and -, at most 64 of them",
                )),
                None => self.mistakes.push(Mistake::new(
                    format!(
                        "destinations.{name} in {} is not a table of texts",
                        file.origin(&format!("destinations.{name}"))
                    ),
                    format!("write url = \"s3://bucket/prefix\" and options under [destinations.{name}]"),
                )),
            }
        }
    }

    /// Names with the files that they stand for.
    fn read_files(
        &mut self,
        kind: &str,
        example: &str,
        files: toml::Table,
        file: &FileKeys,
    ) -> BTreeMap<String, PathBuf> {
        let mut read = BTreeMap::new();
        for (name, value) in files {
            match value.as_str() {
                Some(file) if is_name(&name) => drop(read.insert(name, PathBuf::from(file))),
                Some(_) => self.mistakes.push(Mistake::new(
                    format!(
                        "{kind}.{name} in {} can't be named by a job",
                        file.origin(&format!("{kind}.{name}"))
                    ),
                    "call it by a to z, 0 to 9, _ and -, at most 64 of them",
                )),
                None => self.mistakes.push(Mistake::new(
                    format!(
                        "{kind}.{name} in {} is not the path of a file",
                        file.origin(&format!("{kind}.{name}"))
                    ),
                    format!("write {kind}.{name} = \"{example}\""),
                )),
            }
        }
        read
    }

    fn unknown_key(&mut self, name: &str, file: &FileKeys) {
        let known = nearest(name, SETTINGS.iter().map(|setting| setting.name.to_owned()));
        let advice = match known {
            Some(known) => format!("did you mean `{known}`?"),
            None => "see `minilab serve --help` for all of them".to_owned(),
        };
        self.mistakes
            .push(Mistake::new(format!("`{name}` in {} is not a setting", file.origin(name)), advice));
    }

    /// What holds, and where each value came from.
    pub(super) fn effective(&self) -> BTreeMap<&'static str, (String, Origin)> {
        let shown = |setting: &'static Setting| {
            let origin = self.origins.get(setting.name)?.clone();
            // What has no flag is a secret, or may hold one.
            let text = match setting.flag() {
                None => "(hidden)".to_owned(),
                Some(_) => self.texts.get(setting.name)?.clone(),
            };
            Some((setting.name, (text, origin)))
        };
        SETTINGS.iter().filter_map(shown).collect()
    }

    /// The value of a setting that has one: it has a default, and a mistaken one keeps its default until the mistakes are reported.
    pub(super) fn value(&self, name: &'static str) -> &Value {
        self.values.get(name).expect("the table has a setting of this name with a default")
    }

    /// The value of a setting that may be absent.
    pub(super) fn optional(&self, name: &'static str) -> Option<&Value> {
        debug_assert!(find(name).is_some(), "{name} is not in the table");
        self.values.get(name)
    }
}

/// The text that one would write in a variable for this value of the file.
fn as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(items) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            texts.map(|texts| texts.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// The same in JSON; times become strings.
fn as_json(value: toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(as_json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, as_json(value))).collect(),
    }
}
