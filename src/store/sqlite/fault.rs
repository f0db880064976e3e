//! What can go wrong in an operation, and what it means for the engine.
//!
//! Decides by SQLite's result codes, never by text. Used by the writer, the readers and every verb of this engine.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::store::StoreError;

/// Why an operation failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The engine said so.
    Engine(rusqlite::Error),
    /// A row holds what no version of this program would have written; names the row.
    Damaged(String),
    /// The operation's own code panicked.
    Panicked,
}

/// What a fault means beyond the operation that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// This operation failed; the next may succeed.
    Passing,
    /// The disk is full; works again once there is room.
    Full,
    /// Reading or writing the files failed: what is on the disk is no longer known, so nothing may be promised until a restart.
    Broken,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Engine(error)
    }
}

impl Fault {
    /// What this fault means for the engine.
    pub(super) fn severity(&self) -> Severity {
        let Fault::Engine(rusqlite::Error::SqliteFailure(error, _)) = self else { return Severity::Passing };
        match (error.code, error.extended_code) {
            (ErrorCode::DiskFull, _) => Severity::Full,
            // The index of the write-ahead log could not grow: that too is a full disk, and nothing has been written.
            (_, ffi::SQLITE_IOERR_SHMSIZE) => Severity::Full,
            (_, ffi::SQLITE_IOERR_NOMEM) => Severity::Passing,
            (ErrorCode::SystemIoFailure, _) => Severity::Broken,
            _ => Severity::Passing,
        }
    }

    /// Whether a row, not the engine, is the trouble.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Fault::Damaged(_))
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> StoreError {
        let severity = fault.severity();
        match fault {
            Fault::Damaged(what) => StoreError::Corrupt(what),
            Fault::Panicked => StoreError::Unavailable("a store operation panicked".to_owned()),
            Fault::Engine(_) if severity == Severity::Full => StoreError::Full,
            Fault::Engine(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    StoreError::Corrupt(error.to_string())
                }
                _ => StoreError::Unavailable(error.to_string()),
            },
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A failure as the engine reports it.
    pub(in crate::store::sqlite) fn failure(extended_code: i32) -> Fault {
        Fault::Engine(rusqlite::Error::SqliteFailure(ffi::Error::new(extended_code), None))
    }

    #[test]
    fn a_full_disk_passes_and_a_failed_fsync_does_not() {
        assert_eq!(failure(ffi::SQLITE_FULL).severity(), Severity::Full);
        assert_eq!(failure(ffi::SQLITE_IOERR_SHMSIZE).severity(), Severity::Full);
        assert_eq!(failure(ffi::SQLITE_IOERR_FSYNC).severity(), Severity::Broken);
        assert_eq!(failure(ffi::SQLITE_IOERR_WRITE).severity(), Severity::Broken);
        assert_eq!(failure(ffi::SQLITE_BUSY).severity(), Severity::Passing);
        assert_eq!(Fault::Damaged(String::new()).severity(), Severity::Passing);
    }

    #[test]
    fn faults_are_told_in_the_words_of_the_room() {
        assert_eq!(StoreError::from(failure(ffi::SQLITE_FULL)), StoreError::Full);
        assert!(matches!(StoreError::from(failure(ffi::SQLITE_CORRUPT)), StoreError::Corrupt(_)));
        assert!(matches!(StoreError::from(failure(ffi::SQLITE_IOERR_FSYNC)), StoreError::Unavailable(_)));
        assert_eq!(
            StoreError::from(Fault::Damaged("job 1".to_owned())),
            StoreError::Corrupt("job 1".to_owned())
        );
    }
}
