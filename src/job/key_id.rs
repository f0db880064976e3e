//! Ids of API keys: public names, by which jobs remember who submitted them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Identifies an API key, and thereby the owner of jobs. No secret: it stands in rows, logs and lists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(Box<str>);

/// A text that is no id of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of a key has 1 to {} of a to z and 0 to 9", KeyId::LENGTH_MAX)]
pub struct KeyIdError;

impl KeyId {
    /// Longest id in characters.
    pub const LENGTH_MAX: usize = 32;

    /// A new id, from randomness that only has to be different every time: 16 hexadecimal digits.
    pub fn from_random(random: u64) -> KeyId {
        KeyId(format!("{random:016x}").into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<KeyId, KeyIdError> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !is_plain || !(1..=KeyId::LENGTH_MAX).contains(&text.len()) {
            return Err(KeyIdError);
        }
        Ok(KeyId(text.into()))
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyIdError;

    fn try_from(text: String) -> Result<KeyId, KeyIdError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> String {
        id.0.into()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
