//! The secrets that belong to a data directory: `DATA_DIR/keys.toml`.
//!
//! Owns that file: readable by its owner alone, written beside and moved into place, on stable storage before anybody relies on it. Two
//! programs that make it at the same moment end with the same secret. Called at start and by `minilab webhook-secret`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::webhook::signature::Secret;

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "keys.toml";

/// What stands at the top of the file.
const HEADING: &str = "# Made by minilab. Whoever reads this can forge webhooks: keep it private.\n\
                       # Webhooks carry one signature for each secret, so a new one can be put first before the old one is dropped.\n";

/// Why the keys of a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The directory can't be made, is something else, or takes no files.
    #[error("the data directory {} cannot be {use_of_it} ({source}); choose another with --data-dir", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What was tried, as a participle: `made`, `used`, `written to`.
        use_of_it: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The file can't be read or written.
    #[error("{} cannot be read or written ({source}); check who owns it, or choose another data directory with --data-dir", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what this program writes.
    #[error("{} is not a list of keys ({reason}); correct it or restore it from a backup", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong; never a secret.
        reason: String,
    },
}

/// The content of the file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    webhook_secrets: Vec<String>,
}

/// The webhook secrets of a data directory; makes directory, file and secret when there is none.
///
/// # Errors
/// [`KeysError`] says which file and what to do.
pub fn read_or_create(data_dir: &Path) -> Result<Vec<Secret>, KeysError> {
    let path = data_dir.join(FILE_NAME);
    if let Some(secrets) = read(&path)? {
        return Ok(secrets);
    }
    let unusable = |use_of_it, source| KeysError::Directory { path: data_dir.to_owned(), use_of_it, source };
    if data_dir.exists() && !data_dir.is_dir() {
        return Err(unusable("used", io::ErrorKind::NotADirectory.into()));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|source| unusable("made", source))?;
    // The file is new: what is in the way is the directory.
    create(data_dir, &path).map_err(|source| unusable("written to", source))?;
    read(&path)?.ok_or_else(|| KeysError::Content { path, reason: "it vanished".to_owned() })
}

fn read(path: &Path) -> Result<Option<Vec<Secret>>, KeysError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        // Something that is no directory on the way there is told as the directory's fault, by who makes it.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(KeysError::File { path: path.to_owned(), source }),
    };
    let wrong = |reason: String| KeysError::Content { path: path.to_owned(), reason };
    // The parser's own message would quote the line, and with it a secret.
    let keys: Keys = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
    let secrets: Result<Vec<Secret>, _> =
        keys.webhook_secrets.iter().map(|text| Secret::parse(text)).collect();
    let secrets = secrets.map_err(|error| wrong(error.to_string()))?;
    if secrets.is_empty() {
        return Err(wrong("`webhook_secrets` is empty".to_owned()));
    }
    Ok(Some(secrets))
}

/// Writes a new file under another name and links it into place, which fails if somebody else was faster; then theirs counts.
fn create(data_dir: &Path, path: &Path) -> io::Result<()> {
    let secret = Secret::generate(rand::random());
    let keys = Keys { webhook_secrets: vec![secret.reveal()] };
    let text = toml::to_string(&keys).map_err(io::Error::other)?;
    let part = data_dir.join(format!(".{FILE_NAME}.{}", Uuid::now_v7().as_simple()));
    let written = write_private(&part, &format!("{HEADING}{text}"));
    let placed = written.and_then(|()| match fs::hard_link(&part, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Some file systems have no links; a rename is as atomic, only the last writer wins.
        Err(_) => fs::rename(&part, path),
        Ok(()) => Ok(()),
    });
    // After a rename there is nothing left to remove.
    let _ = fs::remove_file(&part);
    placed?;
    File::open(data_dir)?.sync_all()
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_kept_private() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("new/data");
        let first = read_or_create(&data_dir).unwrap();
        let again = read_or_create(&data_dir).unwrap();
        assert_eq!(first[0].reveal(), again[0].reveal());
        let mode = fs::metadata(data_dir.join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 1, "no temporary file stays behind");
    }

    #[test]
    fn many_at_once_agree() {
        let directory = tempfile::tempdir().unwrap();
        let make = || read_or_create(directory.path()).unwrap()[0].reveal();
        let secrets: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        // Nobody makes files in there, not even root.
        for unusable in [file.clone(), file.join("data"), PathBuf::from("/proc/self")] {
            let said = read_or_create(&unusable).unwrap_err().to_string();
            assert!(
                said.contains(&format!("data directory {} ", unusable.display()))
                    && said.contains("--data-dir"),
                "{said}"
            );
            assert!(!said.contains(FILE_NAME), "{said}");
        }
    }

    #[test]
    fn messages_never_repeat_a_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        for text in [
            "webhook_secrets = [\"whsec_c2VjcmV0\"",
            "webhook_secrets = [\"whsec_c2VjcmV0\"]",
            "webhook_secrets = []",
        ] {
            fs::write(&path, text).unwrap();
            let error = read_or_create(directory.path()).unwrap_err();
            assert!(
                error.to_string().contains("keys.toml") && !error.to_string().contains("c2Vj"),
                "{error}"
            );
        }
    }
}
