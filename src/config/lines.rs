//! Where in the configuration file each key stands.
//!
//! Owns the text's lines and nothing of what the keys mean. Called by `layers`, so that every mistake names its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::Origin;

/// A configuration file, by its keys.
pub(super) struct FileKeys {
    path: PathBuf,
    lines: BTreeMap<String, usize>,
}

impl FileKeys {
    /// Finds the keys of a text; none if it is no TOML.
    pub(super) fn of(path: &Path, text: &str) -> FileKeys {
        let mut lines = BTreeMap::new();
        if let Ok(table) = DeTable::parse(text) {
            note(text, "", table.get_ref(), &mut lines);
        }
        FileKeys { path: path.to_owned(), lines }
    }

    /// Where the value of a key came from.
    pub(super) fn origin(&self, key: &str) -> Origin {
        Origin::File { path: self.path.clone(), line: self.lines.get(key).copied() }
    }
}

fn note(text: &str, prefix: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let name =
            if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        if let DeValue::Table(inner) = value.get_ref() {
            note(text, &name, inner, lines);
        }
        lines.insert(name, line_of(text, key.span().start));
    }
}

/// The line, from 1, in which this byte of a text stands.
pub(super) fn line_of(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_line_however_it_is_nested() {
        let text = "listen = \"x\"\n\n[limits]\nbody = 1\nqueue = 2\n\n[presets.avatar]\nformat = \"webp\"\n";
        let keys = FileKeys::of(Path::new("a.toml"), text);
        for (key, line) in [("listen", 1), ("limits.body", 4), ("limits.queue", 5), ("presets.avatar", 7)] {
            assert_eq!(keys.origin(key).to_string(), format!("a.toml:{line}"), "{key}");
        }
        assert_eq!(keys.origin("nowhere").to_string(), "a.toml");
        assert_eq!(FileKeys::of(Path::new("b.toml"), "no toml").origin("no").to_string(), "b.toml");
    }
}
