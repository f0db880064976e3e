//! What stands in `keys.toml`, and how it becomes keys and secrets.
//!
//! Owns the spelling of the file alone. Pure: `mod.rs` reads and writes the text. No message of its errors repeats a secret.

use serde::{Deserialize, Serialize};

use crate::access::{Key, Keyring, Scope, WEIGHT_MAX};
use crate::clock::Timestamp;
use crate::job::KeyId;
use crate::links::LinkKey;
use crate::webhook::secrets::{Dated, Secrets};
use crate::webhook::signature::Secret;

/// The content of the file.
#[derive(Clone, Debug, Default)]
pub struct KeyFile {
    /// Secrets that sign webhooks for jobs whose key has none of its own, newest first.
    pub webhook_secrets: Vec<Dated>,
    /// What signs links in webhooks.
    pub link_key: Option<LinkKey>,
    /// API keys, in the order in which they were made.
    pub keys: Vec<KeyRecord>,
}

/// An API key with what only its keeper wants to know.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// The key as requests meet it.
    pub key: Key,
    /// Secrets of its own for the webhooks of its jobs, newest first.
    pub webhook_secrets: Vec<Dated>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When something about it was last changed.
    pub changed_at: Option<Timestamp>,
    /// When it was withdrawn.
    pub revoked_at: Option<Timestamp>,
}

impl KeyFile {
    /// The keys as requests are held against them.
    pub fn keyring(&self) -> Keyring {
        Keyring::new(self.keys.iter().map(|record| record.key.clone()))
    }

    /// The secrets as deliveries are signed with them.
    pub fn secrets(&self) -> Secrets {
        let own = self.keys.iter().filter(|record| !record.webhook_secrets.is_empty());
        Secrets {
            server: self.webhook_secrets.clone(),
            by_key: own.map(|record| (record.key.id.clone(), record.webhook_secrets.clone())).collect(),
        }
    }

    /// Reads the file's text.
    pub(super) fn parse(text: &str) -> Result<KeyFile, String> {
        // The parser's own message would quote the line, and with it a secret.
        let file: FileText = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let mut keys: Vec<KeyRecord> = Vec::with_capacity(file.keys.len());
        for row in file.keys {
            let name = row.name.clone();
            let record = row.read().map_err(|reason| format!("the key {name:?}: {reason}"))?;
            if keys.iter().any(|other| other.key.id == record.key.id) {
                return Err(format!("two keys have the id {}", record.key.id));
            }
            keys.push(record);
        }
        let wrong = || "`link_key` is none that this program made".to_owned();
        let link_key = file.link_key.map(|text| LinkKey::parse(&text).ok_or_else(wrong)).transpose()?;
        Ok(KeyFile { webhook_secrets: read_secrets(file.webhook_secrets)?, link_key, keys })
    }

    /// The file's text.
    pub(super) fn write(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(&FileText {
            webhook_secrets: self.webhook_secrets.iter().map(SecretText::of).collect(),
            link_key: self.link_key.as_ref().map(LinkKey::reveal),
            keys: self.keys.iter().map(KeyText::of).collect(),
        })
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default)]
    webhook_secrets: Vec<SecretText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link_key: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyText>,
}

/// A secret alone, as older versions and people write it, or with the time at which it was made.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SecretText {
    Alone(String),
    Dated(DatedText),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DatedText {
    secret: String,
    created_at: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    id: KeyId,
    name: String,
    hash: String,
    scopes: Vec<String>,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requests_per_minute: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queue_share: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    webhook_secrets: Vec<SecretText>,
}

fn one() -> u32 {
    1
}

impl KeyText {
    fn of(record: &KeyRecord) -> KeyText {
        let key = &record.key;
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        KeyText {
            id: key.id.clone(),
            name: key.name.clone(),
            hash: key.hash.to_string(),
            scopes: key.scopes.list().iter().map(Scope::to_string).collect(),
            weight: key.weight,
            requests_per_minute: key.requests_per_minute,
            queue_share: key.queue_share,
            created_at: text(record.created_at),
            changed_at: text(record.changed_at),
            revoked_at: text(record.revoked_at),
            webhook_secrets: record.webhook_secrets.iter().map(SecretText::of).collect(),
        }
    }

    fn read(self) -> Result<KeyRecord, String> {
        let scopes = self.scopes.iter().map(|scope| scope.parse()).collect::<Result<Vec<Scope>, _>>()?;
        let revoked_at = read_time(self.revoked_at)?;
        check_weight(self.weight)?;
        self.requests_per_minute.map_or(Ok(()), check_rate)?;
        self.queue_share.map_or(Ok(()), check_share)?;
        if scopes.is_empty() {
            return Err("`scopes` is empty; there are submit, read and admin".to_owned());
        }
        Ok(KeyRecord {
            key: Key {
                id: self.id,
                name: self.name,
                hash: self.hash.parse().map_err(|error| format!("`hash`: {error}"))?,
                scopes: scopes.into_iter().collect(),
                weight: self.weight,
                requests_per_minute: self.requests_per_minute,
                queue_share: self.queue_share,
                is_revoked: revoked_at.is_some(),
            },
            webhook_secrets: read_secrets(self.webhook_secrets)?,
            created_at: read_time(self.created_at)?,
            changed_at: read_time(self.changed_at)?,
            revoked_at,
        })
    }
}

/// Whether a key may weigh this much.
pub fn check_weight(weight: u32) -> Result<(), String> {
    match weight {
        1..=WEIGHT_MAX => Ok(()),
        _ => Err(format!("a weight is a number from 1 to {WEIGHT_MAX}, not {weight}")),
    }
}

/// Whether a key may be told to make this many requests a minute.
pub fn check_rate(requests_per_minute: u32) -> Result<(), String> {
    match requests_per_minute {
        0 => Err("a rate is at least one request a minute; to shut a key out, revoke it".to_owned()),
        _ => Ok(()),
    }
}

/// Whether a key may be given this share of the waiting line.
pub fn check_share(share: f64) -> Result<(), String> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    Err(format!("a share of the queue is more than 0 and at most 1, not {share}"))
}

impl SecretText {
    fn of(dated: &Dated) -> SecretText {
        let secret = dated.secret.reveal();
        match dated.created_at {
            Some(at) => SecretText::Dated(DatedText { secret, created_at: at.to_string() }),
            None => SecretText::Alone(secret),
        }
    }

    fn read(self) -> Result<Dated, String> {
        let (secret, created_at) = match self {
            SecretText::Alone(secret) => (secret, None),
            SecretText::Dated(dated) => (dated.secret, read_time(Some(dated.created_at))?),
        };
        let secret = Secret::parse(&secret).map_err(|error| error.to_string())?;
        Ok(Dated { secret, created_at })
    }
}

fn read_secrets(texts: Vec<SecretText>) -> Result<Vec<Dated>, String> {
    texts.into_iter().map(SecretText::read).collect()
}

fn read_time(text: Option<String>) -> Result<Option<Timestamp>, String> {
    let read = |text: String| {
        Timestamp::parse(&text).ok_or_else(|| format!("{text:?} is no time like 2026-11-21T12:00:00Z"))
    };
    text.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Token;

    #[test]
    fn what_is_written_is_read_back() {
        let id = KeyId::from_random(5);
        let at = Timestamp::parse("2026-11-21T12:00:00Z");
        let dated = |byte| Dated { secret: Secret::generate([byte; 32]), created_at: at };
        let record = KeyRecord {
            key: Key {
                id: id.clone(),
                name: "the \"shop\"".to_owned(),
                hash: Token::new(&id, [3; 32]).hash(),
                scopes: [Scope::Submit, Scope::Read].into_iter().collect(),
                weight: 7,
                requests_per_minute: Some(600),
                queue_share: Some(0.25),
                is_revoked: true,
            },
            webhook_secrets: vec![dated(4)],
            created_at: at,
            changed_at: at,
            revoked_at: at,
        };
        let undated = Dated { secret: Secret::generate([2; 32]), created_at: None };
        let link_key = Some(LinkKey::from_random([9; 32]));
        let file = KeyFile { webhook_secrets: vec![dated(1), undated], link_key, keys: vec![record] };
        let text = file.write().unwrap();
        let again = KeyFile::parse(&text).unwrap();
        assert_eq!(again.write().unwrap(), text);
        assert_eq!((again.keys[0].key.weight, &again.link_key), (7, &file.link_key));
        assert_eq!((again.secrets().server.len(), again.secrets().by_key[&id].len()), (2, 1));
        assert!(again.keyring().get(&id).is_none() && !again.keyring().is_open());
    }

    #[test]
    fn the_file_of_older_versions_is_read() {
        let secret = Secret::generate([1; 32]).reveal();
        let file = KeyFile::parse(&format!("webhook_secrets = [\"{secret}\"]")).unwrap();
        assert_eq!(file.webhook_secrets[0].secret.reveal(), secret);
        assert!(file.keyring().is_open());
    }

    #[test]
    fn a_damaged_link_key_is_named_but_not_shown() {
        let reason = KeyFile::parse("link_key = \"c2VjcmV0\"").unwrap_err();
        assert!(reason.contains("link_key") && !reason.contains("c2Vj"), "{reason}");
    }

    #[test]
    fn mistakes_are_named() {
        let hash = Token::new(&KeyId::from_random(1), [1; 32]).hash();
        let key = |more: &str| {
            let text = format!(
                "[[keys]]\nid = \"a1\"\nname = \"shop\"\nhash = \"{hash}\"\nscopes = [\"read\"]\n{more}"
            );
            KeyFile::parse(&text).map(drop)
        };
        assert_eq!(key(""), Ok(()));
        for (more, told) in [
            ("weight = 0", "from 1 to 1000"),
            ("requests_per_minute = 0", "at least one"),
            ("queue_share = 1.5", "at most 1"),
            ("queue_share = nan", "at most 1"),
            ("created_at = \"yesterday\"", "is no time"),
            ("scops = []", "unknown field"),
            ("webhook_secrets = [\"whsec_c2VjcmV0\"]", "24 to 64 bytes"),
        ] {
            let reason = key(more).unwrap_err();
            assert!(reason.contains(told) && !reason.contains("c2Vj"), "{reason}");
        }
        let twice =
            format!("[[keys]]\nid = \"a1\"\nname = \"\"\nhash = \"{hash}\"\nscopes = [\"read\"]\n").repeat(2);
        assert!(KeyFile::parse(&twice).unwrap_err().contains("two keys"));
        assert!(KeyFile::parse(&twice.replace("read", "write")).unwrap_err().contains("no scope"));
    }
}
