//! The directories of blobs: who makes them, and when a name in them is there to stay. Blocking.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::key;

/// Makes the directories that will be needed, so that the first jobs need not make and sync one each. What a full disk has no room for is
/// made later, when it is needed.
pub(super) fn make_shards(root: &Path) -> io::Result<()> {
    for directory in key::DIRECTORIES.map(|name| root.join(name)) {
        if !make_directory(&directory)? {
            break;
        }
        for shard in key::shards() {
            if !make_directory(&directory.join(shard))? {
                break;
            }
        }
        // Even if all were there: whoever made them may not have got this far.
        // Whatever the reason, a failure ends the start: nobody would sync these names again, and what is put under them could be lost.
        std::fs::File::open(&directory)?.sync_all()?;
    }
    std::fs::File::open(root)?.sync_all()?;
    sync_above(root)
}

/// Whether the directory is there now; not if the disk is full.
fn make_directory(path: &Path) -> io::Result<bool> {
    match std::fs::create_dir(path) {
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Ok(false),
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(true),
    }
}

/// Makes what is missing of the directories above a blob, and puts their names on stable storage.
pub(super) fn make_above(blob: &Path) -> io::Result<()> {
    let Some(directory) = blob.parent() else { return Ok(()) };
    let made = match std::fs::create_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_above(directory)?;
            std::fs::create_dir(directory)
        }
        made => made,
    };
    match made {
        // Somebody else has made it, and may not have got any further.
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_above(directory),
    }
}

/// Puts the name of a file or directory, or its absence, on stable storage.
pub(super) fn sync_above(path: &Path) -> io::Result<()> {
    let here = Path::new(".");
    let directory = path.parent().map(|parent| if parent.as_os_str().is_empty() { here } else { parent });
    directory.map_or(Ok(()), |directory| std::fs::File::open(directory)?.sync_all())
}
