//! Mistakes in the configuration, all of them at once, each with the ways to correct it.

use std::fmt;
use std::path::PathBuf;

use super::table::Setting;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table's default.
    Default,
    /// A configuration file.
    File {
        /// Which.
        path: PathBuf,
        /// The line, from 1, if it is known.
        line: Option<usize>,
    },
    /// An environment variable.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => formatter.write_str("the default"),
            Origin::File { path, line: Some(line) } => write!(formatter, "{}:{line}", path.display()),
            Origin::File { path, line: None } => write!(formatter, "{}", path.display()),
            Origin::Variable(name) | Origin::Flag(name) => formatter.write_str(name),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, in one sentence without a full stop.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl Mistake {
    /// A value that can't be read. A secret is never repeated.
    pub(super) fn value(setting: &Setting, given: &str, origin: &Origin, reason: &str) -> Mistake {
        let shown = match setting.kind {
            super::Kind::Secret | super::Kind::Proxy => "(hidden)".to_owned(),
            _ => format!("{given:?}"),
        };
        Mistake {
            what: format!("{} is {shown} (from {origin}), but {reason}", setting.name),
            advice: format!("set it with {}", setting.ways()),
        }
    }

    /// Two values that don't go together, or one that must not be.
    pub(super) fn new(what: impl Into<String>, advice: impl Into<String>) -> Mistake {
        Mistake { what: what.into(), advice: advice.into() }
    }
}

/// Why there are no settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Every mistake, in the order of the table.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.as_slice() {
            [mistake] => write!(formatter, "{}; {}", mistake.what, mistake.advice),
            mistakes => {
                write!(formatter, "{} mistakes in the configuration:", mistakes.len())?;
                for mistake in mistakes {
                    write!(formatter, "\n  {}\n    {}", mistake.what, mistake.advice)?;
                }
                Ok(())
            }
        }
    }
}
