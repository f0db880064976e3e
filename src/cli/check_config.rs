//! `check-config`: what a server would run with, where each value comes from, and every mistake, without starting one.

use serde_json::{Map, Value, json};

use super::exit::Exit;
use super::screen::Screen;
use super::serve::ServeArgs;
use crate::app::App;
use crate::config::{self, Loaded, SETTINGS, Setting};

/// Judges the settings as `serve` would, and whatever they name, then prints them as one could write them into `minilab.toml`.
pub(super) fn run(args: &ServeArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let loaded = config::load(&args.sources())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(App::check(loaded.settings.clone()))?;
    if screen.is_json() {
        screen.document(&document(&loaded))?;
        return Ok(Exit::Ok);
    }
    let mut group = None;
    for (setting, value, origin) in rows(&loaded) {
        if group != Some(setting.group) {
            let space = if group.is_some() { "\n" } else { "" };
            screen.line(&format!("{space}# {}", setting.group.title()))?;
            group = Some(setting.group);
        }
        let line = match value {
            // A secret; a word in its place would be taken for one.
            Some(hidden) if setting.flag().is_none() => format!("# {} is {hidden}", setting.name),
            Some(value) => format!("{} = {}", setting.name, setting.kind.literal(&value)),
            None => format!("# {} is {}", setting.name, setting.default_text()),
        };
        screen.line(&format!("{line:<48} # {origin}"))?;
    }
    for (kind, names) in named(&loaded) {
        if !names.is_empty() {
            screen.line(&format!("\n# {kind}: {}", names.join(", ")))?;
        }
    }
    for notice in &loaded.notices {
        screen.hint(notice);
    }
    Ok(Exit::Ok)
}

/// Every setting with its value, if it has one, and its origin.
fn rows(loaded: &Loaded) -> impl Iterator<Item = (&'static Setting, Option<String>, String)> {
    SETTINGS.iter().map(|setting| match loaded.effective.get(setting.name) {
        Some((value, origin)) => (setting, Some(value.clone()), origin.to_string()),
        None => (setting, None, "the default".to_owned()),
    })
}

/// What the file names besides.
fn named(loaded: &Loaded) -> [(&'static str, Vec<String>); 4] {
    let settings = &loaded.settings;
    [
        ("presets", settings.server.presets.keys().cloned().collect()),
        ("assets", settings.assets.keys().cloned().collect()),
        ("fonts", settings.fonts.keys().cloned().collect()),
        ("destinations", settings.destinations.keys().cloned().collect()),
    ]
}

fn document(loaded: &Loaded) -> Value {
    let row = |(setting, value, origin): (&'static Setting, Option<String>, String)| {
        let value = value.unwrap_or_else(|| setting.default_text().to_owned());
        (setting.name.to_owned(), json!({"value": value, "origin": origin}))
    };
    let settings: Map<String, Value> = rows(loaded).map(row).collect();
    let mut document = json!({"file": loaded.file, "settings": settings, "notices": loaded.notices});
    for (kind, names) in named(loaded) {
        document[kind] = json!(names);
    }
    document
}
