//! What a killed put leaves behind: `object_store` writes to `NAME#NUMBER` and renames, and lists no such file.
//!
//! Walks the directories itself, since nobody else names these files. Blocking. Used by the blobs for the sweep.

use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

/// Between a blob's file name and the number of its staged file; no key has it.
const MARK: char = '#';

/// Removes staged files last written before a moment; how many.
pub(super) fn remove(root: &Path, before: SystemTime) -> std::io::Result<u64> {
    let mut removed = 0;
    for kind in super::key::DIRECTORIES {
        for shard in entries(&root.join(kind))? {
            if !shard.file_type()?.is_dir() {
                continue;
            }
            for file in entries(&shard.path())? {
                let is_staged = file.file_name().to_string_lossy().contains(MARK);
                // It may have got its name meanwhile.
                if is_staged
                    && let Ok(state) = file.metadata()
                    && state.modified()? < before
                {
                    match std::fs::remove_file(file.path()) {
                        Ok(()) => removed += 1,
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
    Ok(removed)
}

/// What is in a directory; nothing if it isn't there.
fn entries(directory: &Path) -> std::io::Result<Vec<std::fs::DirEntry>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_old_staged_files_go() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(remove(root.path(), SystemTime::now()).unwrap(), 0);
        let shard = root.path().join("results/0a");
        std::fs::create_dir_all(&shard).unwrap();
        for name in ["a.1.output", "a.1.output#1", "b.1.output#12"] {
            std::fs::write(shard.join(name), b"x").unwrap();
        }
        let later = SystemTime::now() + Duration::from_secs(60);
        let earlier = SystemTime::now() - Duration::from_secs(60);
        assert_eq!(remove(root.path(), earlier).unwrap(), 0);
        assert_eq!(remove(root.path(), later).unwrap(), 2);
        let left: Vec<_> =
            std::fs::read_dir(&shard).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["a.1.output"]);
    }
}
