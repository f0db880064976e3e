//! The tables and how they came to be: every version's step forward, and the pragmas of a connection.
//!
//! `user_version` counts the steps taken. A database from a newer program is refused rather than guessed at. Called by `open`.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::store::{Result, StoreError};

/// Oldest SQLite that is trusted: before 3.51.3 a reset of the write-ahead log could corrupt the database.
const SQLITE_MIN: i32 = 3_051_003;

/// How long to wait for a lock that somebody else holds on the file (a backup, a shell) before giving up.
const BUSY: Duration = Duration::from_secs(5);

/// The steps, oldest first; never edited once released, only added to.
const MIGRATIONS: &[&str] = &[
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
];

/// Refuses a library that is known to lose data.
pub(super) fn check_library(version: i32) -> Result<()> {
    if version >= SQLITE_MIN {
        return Ok(());
    }
    let spell =
        |version: i32| format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000);
    Err(StoreError::Open(format!(
        "SQLite {} can corrupt its write-ahead log; build with {} or newer",
        spell(version),
        spell(SQLITE_MIN)
    )))
}

/// The one connection that writes, its file created and its schema brought up to date.
pub(super) fn open_writer(file: &Path, page_cache_bytes: usize) -> Result<Connection> {
    let connection = Connection::open(file).map_err(|error| cannot_open(file, &error))?;
    prepare_writer(&connection, page_cache_bytes).map_err(|error| cannot_open(file, &error))?;
    migrate(&connection, file)?;
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn open_reader(file: &Path, page_cache_bytes: usize) -> Result<Connection> {
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        prepare(&connection, page_cache_bytes)?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| cannot_open(file, &error))
}

fn prepare(connection: &Connection, page_cache_bytes: usize) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    // A plan doesn't depend on the values that are bound. Without this, statements that partial indexes make SQLite doubt are planned anew
    // for every value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let kibibytes = i64::try_from(page_cache_bytes / 1024).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kibibytes)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn prepare_writer(connection: &Connection, page_cache_bytes: usize) -> rusqlite::Result<()> {
    prepare(connection, page_cache_bytes)?;
    // Must come before the first table. Afterwards it changes nothing but is a write all the same, for which a full disk has no room.
    let is_incremental = connection.pragma_query_value(None, "auto_vacuum", |row| row.get::<_, i64>(0))? == 2;
    if !is_incremental {
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // An acknowledged commit survives a power cut; NORMAL loses it, and the writer uses it for what may be lost.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The writer checkpoints by itself, where it sees a failing fsync; an automatic checkpoint would swallow it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    // Erased source headers may be secrets: what is freed inside a page is overwritten.
    connection.pragma_update(None, "secure_delete", "FAST")
}

/// Refuses a database whose tables are not those of this version: for who only reads, and brings nothing up to date.
pub(super) fn check_version(connection: &Connection, file: &Path) -> Result<()> {
    match version(connection, file)? {
        version if version < MIGRATIONS.len() => Err(StoreError::Open(format!(
            "{} was written by an older version of this program (schema {version}, this one has {}); start this version's server on it once",
            file.display(),
            MIGRATIONS.len()
        ))),
        _ => Ok(()),
    }
}

/// How many steps the database has taken; more than are known is an error.
fn version(connection: &Connection, file: &Path) -> Result<usize> {
    let version: usize = connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
        .map_err(|error| cannot_open(file, &error))? as usize;
    if version > MIGRATIONS.len() {
        return Err(StoreError::Open(format!(
            "{} was written by a newer version of this program (schema {version}, this one knows {}); run that version, or use another data directory",
            file.display(),
            MIGRATIONS.len()
        )));
    }
    Ok(version)
}

/// Takes the steps that are missing, each in a transaction of its own.
fn migrate(connection: &Connection, file: &Path) -> Result<()> {
    let version = version(connection, file)?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(version) {
        let step = step + 1;
        connection
            .execute_batch(&format!("BEGIN IMMEDIATE; {sql}; PRAGMA user_version = {step}; COMMIT;"))
            .map_err(|error| cannot_open(file, &error))?;
    }
    Ok(())
}

fn cannot_open(file: &Path, error: &rusqlite::Error) -> StoreError {
    StoreError::Open(format!("can't open the job store {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_library_is_refused_by_name() {
        let refused = check_library(3_051_002).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "SQLite 3.51.2 can corrupt its write-ahead log; build with 3.51.3 or newer"
        );
        assert_eq!(check_library(3_051_003), Ok(()));
        assert_eq!(check_library(rusqlite::version_number()), Ok(()));
    }

    #[test]
    fn another_value_needs_no_other_plan() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open_writer(&directory.path().join("jobs"), 1 << 20).unwrap();
        let sql = "SELECT next_attempt_at, id FROM deliveries INDEXED BY deliveries_by_receiver \
                   WHERE status = 'pending' AND receiver = ?1 AND next_attempt_at <= ?2 ORDER BY next_attempt_at, id";
        let mut statement = connection.prepare(sql).unwrap();
        for receiver in ["https://a.test", "https://b.test"] {
            assert!(!statement.exists((receiver, 5)).unwrap());
        }
        assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
    }
}
