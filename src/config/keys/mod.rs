//! The keys and secrets that belong to a data directory: `DATA_DIR/keys.toml`.
//!
//! Owns that file: readable by its owner alone, written beside and moved into place, on stable storage before anybody relies on it; who
//! changes it holds a lock from reading to writing, so that no change is lost to another. Read at start and at every reload; changed by
//! `minilab keys` and `minilab webhook-secret`, also beside a running server.

pub mod file;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

pub use file::{KeyFile, KeyRecord};

use crate::clock::Clock;
use crate::links::LinkKey;
use crate::webhook::secrets::Dated;
use crate::webhook::signature::Secret;

/// Name of the file in the data directory.
pub const FILE_NAME: &str = "keys.toml";

/// What stands at the top of the file.
const HEADING: &str = "# Made by minilab. Whoever reads this can forge webhooks and links: keep it private. A running server reads it again on SIGHUP.\n\
                       # Webhooks carry a signature for each secret, the newest first; one whose successor is older than a day signs no more.\n";

/// Why the keys of a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The directory can't be made, is something else, or takes no files.
    #[error("the data directory {} cannot be {use_of_it} ({source}); choose another with --data-dir", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What was tried, as a participle: `made`, `used`, `locked`, `written to`.
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

/// What a data directory holds; nothing if it has no such file.
///
/// # Errors
/// [`KeysError`] says which file and what to do.
pub fn read(data_dir: &Path) -> Result<Option<KeyFile>, KeysError> {
    let path = data_dir.join(FILE_NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        // Something that is no directory on the way there is told as the directory's fault, by who makes it.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(KeysError::File { path, source }),
    };
    KeyFile::parse(&text).map(Some).map_err(|reason| KeysError::Content { path, reason })
}

/// What a data directory holds, with at least one secret to sign webhooks with and a key for links; makes what there is none of.
///
/// # Errors
/// [`KeysError`] says which file and what to do.
pub fn read_or_create(data_dir: &Path) -> Result<KeyFile, KeysError> {
    match read(data_dir)? {
        Some(file) if !file.webhook_secrets.is_empty() && file.link_key.is_some() => Ok(file),
        _ => change(data_dir, |file| file.clone()),
    }
}

/// Changes what a data directory holds; makes the directory if need be, and what signs webhooks and links if there is none. Whoever
/// changes it at the same moment waits.
///
/// # Errors
/// [`KeysError`] says which file and what to do.
pub fn change<T>(data_dir: &Path, change: impl FnOnce(&mut KeyFile) -> T) -> Result<T, KeysError> {
    let unusable = |use_of_it, source| KeysError::Directory { path: data_dir.to_owned(), use_of_it, source };
    if data_dir.exists() && !data_dir.is_dir() {
        return Err(unusable("used", io::ErrorKind::NotADirectory.into()));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|source| unusable("made", source))?;
    let directory = File::open(data_dir).map_err(|source| unusable("used", source))?;
    flock(&directory, FlockOperation::LockExclusive).map_err(|error| unusable("locked", error.into()))?;
    let mut file = read(data_dir)?.unwrap_or_default();
    if file.webhook_secrets.is_empty() {
        let secret = Secret::generate(rand::random());
        file.webhook_secrets.push(Dated { secret, created_at: Some(Clock::System.now()) });
    }
    file.link_key.get_or_insert_with(|| LinkKey::from_random(rand::random()));
    let changed = change(&mut file);
    replace(data_dir, &file).map_err(|source| unusable("written to", source))?;
    directory.sync_all().map_err(|source| unusable("written to", source))?;
    // Closing is not enough: a program that is being started elsewhere in this process holds a copy of the descriptor for a moment.
    let _ = flock(&directory, FlockOperation::Unlock);
    Ok(changed)
}

/// Writes the file under another name and moves it into place.
fn replace(data_dir: &Path, file: &KeyFile) -> io::Result<()> {
    let text = file.write().map_err(io::Error::other)?;
    let part = data_dir.join(format!(".{FILE_NAME}.{}", Uuid::now_v7().as_simple()));
    let written = write_private(&part, &format!("{HEADING}{text}"));
    let placed = written.and_then(|()| fs::rename(&part, data_dir.join(FILE_NAME)));
    if placed.is_err() {
        // It may not be there at all.
        let _ = fs::remove_file(&part);
    }
    placed
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

    fn revealed(file: &KeyFile) -> Vec<String> {
        file.webhook_secrets.iter().map(|dated| dated.secret.reveal()).collect()
    }

    #[test]
    fn no_change_is_lost_to_another() {
        let directory = tempfile::tempdir().unwrap();
        let add = |byte: u8| {
            let secret = Secret::generate([byte; 32]);
            change(directory.path(), |file| {
                file.webhook_secrets.insert(0, Dated { secret, created_at: None });
            })
            .unwrap();
        };
        std::thread::scope(|scope| {
            for byte in 0..8 {
                let add = &add;
                scope.spawn(move || add(byte));
            }
        });
        // The one that was made because there was none, and the eight.
        assert_eq!(read(directory.path()).unwrap().unwrap().webhook_secrets.len(), 9);
    }

    #[test]
    fn a_secret_is_made_once_and_kept_private() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("new/data");
        let first = read_or_create(&data_dir).unwrap();
        let again = read_or_create(&data_dir).unwrap();
        assert_eq!(revealed(&first), revealed(&again));
        let mode = fs::metadata(data_dir.join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 1, "no temporary file stays behind");
    }

    #[test]
    fn many_at_once_agree() {
        let directory = tempfile::tempdir().unwrap();
        let make = || revealed(&read_or_create(directory.path()).unwrap());
        let secrets: Vec<Vec<String>> = std::thread::scope(|scope| {
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
        for text in ["webhook_secrets = [\"whsec_c2VjcmV0\"", "webhook_secrets = [\"whsec_c2VjcmV0\"]"] {
            fs::write(&path, text).unwrap();
            let error = read_or_create(directory.path()).unwrap_err();
            assert!(
                error.to_string().contains("keys.toml") && !error.to_string().contains("c2Vj"),
                "{error}"
            );
        }
    }
}
