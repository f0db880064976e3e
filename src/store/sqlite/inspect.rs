//! Looking into a data directory from outside: for `doctor` and `backup`, beside a running server or without one.
//!
//! Reads on a connection of its own and changes nothing; only [`Inspection::of_stopped`], which takes the directory's lock first, may
//! repair. Blocking. Called by `app`.

use std::path::Path;

use bytes::Bytes;
use rusqlite::Connection;

use super::ballast::Ballast;
use super::lock::DirectoryLock;
use super::{DATABASE_FILE, Options, reads, rows, schema};
use crate::job::{Job, JobId};
use crate::store::{Found, InlineKey, Result, StoreError};

/// A database that is being looked into.
#[derive(Debug)]
pub struct Inspection {
    connection: Connection,
    _lock: Option<DirectoryLock>,
}

/// A job as it was found.
#[derive(Clone, Debug)]
pub enum Examined {
    /// Its record.
    Job(Box<Job>),
    /// Its row can't be read; the text names it.
    Unreadable(String),
}

/// Something in the database that fits nothing else in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// What, and how many.
    pub detail: String,
    /// Whether it was put right.
    pub repaired: bool,
}

/// What must not be there, how it is called, and how it is put right.
const MISFITS: [(&str, &str, &str); 4] = [
    (
        "SELECT count(*) FROM inline_bytes WHERE job NOT IN (SELECT id FROM jobs)",
        "images stored in the database belong to no job",
        "DELETE FROM inline_bytes WHERE job NOT IN (SELECT id FROM jobs)",
    ),
    (
        "SELECT count(*) FROM deliveries WHERE job NOT IN (SELECT id FROM jobs)",
        "webhook deliveries belong to no job",
        "DELETE FROM deliveries WHERE job NOT IN (SELECT id FROM jobs)",
    ),
    (
        "SELECT count(*) FROM delivery_attempts WHERE delivery NOT IN (SELECT id FROM deliveries)",
        "recorded attempts belong to no webhook delivery",
        "DELETE FROM delivery_attempts WHERE delivery NOT IN (SELECT id FROM deliveries)",
    ),
    (
        "SELECT count(*) FROM jobs WHERE pending_deliveries <> \
         (SELECT count(*) FROM deliveries WHERE job = jobs.id AND status = 'pending')",
        "jobs count their pending webhook deliveries wrongly",
        "UPDATE jobs SET pending_deliveries = (SELECT count(*) FROM deliveries WHERE job = jobs.id AND status = 'pending') \
         WHERE pending_deliveries <> (SELECT count(*) FROM deliveries WHERE job = jobs.id AND status = 'pending')",
    ),
];

impl Inspection {
    /// Opens the database for reading, whether a server runs on it or not.
    ///
    /// # Errors
    /// [`StoreError::Open`] with a sentence for operators: there is none, it can't be read, or another version wrote it.
    pub fn open(directory: &Path) -> Result<Inspection> {
        let file = directory.join(DATABASE_FILE);
        if !file.is_file() {
            return Err(StoreError::Open(format!("there is no job store in {}", directory.display())));
        }
        let connection = schema::open_reader(&file, Options::default().page_cache_bytes)?;
        schema::check_version(&connection, &file)?;
        Ok(Inspection { connection, _lock: None })
    }

    /// The same for a directory that no server uses, nor can use while this lives: its faults may be repaired.
    ///
    /// # Errors
    /// Those of [`Inspection::open`], and that a server runs on the directory.
    pub fn of_stopped(directory: &Path) -> Result<Inspection> {
        drop(Inspection::open(directory)?);
        let lock = DirectoryLock::take(directory)?;
        // Opening writes, too: what a full disk does not keep a server from, it must not keep the doctor from.
        drop(Ballast::dropped(directory));
        let file = directory.join(DATABASE_FILE);
        let connection = schema::open_writer(&file, Options::default().page_cache_bytes)?;
        Ok(Inspection { connection, _lock: Some(lock) })
    }

    /// What the engine itself finds wrong with its file: pages, indexes, constraints.
    pub fn damage(&self) -> Result<Vec<String>> {
        let check = || {
            let mut statement = self.connection.prepare("PRAGMA integrity_check")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.filter(|row| row.as_deref() != Ok("ok")).collect::<rusqlite::Result<Vec<String>>>()
        };
        check().map_err(unreadable)
    }

    /// At most `limit` jobs with ids greater than `after`, and where to go on; `None` after the last.
    pub fn jobs(&self, after: Option<&[u8]>, limit: usize) -> Result<(Vec<Examined>, Option<Vec<u8>>)> {
        let sql = format!("SELECT {} FROM jobs WHERE id > ?1 ORDER BY id LIMIT {limit}", rows::COLUMNS);
        let read = || -> std::result::Result<_, super::fault::Fault> {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let mut found = statement.query([after.unwrap_or_default()])?;
            let (mut jobs, mut last) = (Vec::new(), None);
            while let Some(row) = found.next()? {
                last = Some(row.get_ref(0)?.as_bytes().unwrap_or_default().to_vec());
                jobs.push(match rows::decode(row) {
                    Ok(row) => Examined::Job(Box::new(row.job)),
                    Err(fault) => Examined::Unreadable(StoreError::from(fault).to_string()),
                });
            }
            Ok((jobs, last))
        };
        Ok(read()?)
    }

    /// The job as it is now, if it is there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is there and can't be read.
    pub fn job(&self, id: JobId) -> Result<Option<Job>> {
        match reads::get(&self.connection, id) {
            Ok(Some(Found::Job(job))) => Ok(Some(*job)),
            Ok(Some(Found::Gone(_)) | None) => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Bytes that live in the database.
    pub fn inline_bytes(&self, id: JobId, key: &InlineKey) -> Result<Option<Bytes>> {
        Ok(reads::inline_bytes(&self.connection, id, key)?)
    }

    /// Rows that fit no other; put right if the directory is locked and `repair` is wanted.
    pub fn misfits(&self, repair: bool) -> Result<Vec<Misfit>> {
        let mut misfits = Vec::new();
        for (query, what, cure) in MISFITS {
            let count: u64 =
                self.connection.query_row(query, [], |row| row.get::<_, u32>(0)).map_err(unreadable)?.into();
            if count > 0 {
                let repaired = repair && self._lock.is_some();
                if repaired {
                    self.connection.execute(cure, []).map_err(unreadable)?;
                }
                misfits.push(Misfit { detail: format!("{count} {what}"), repaired });
            }
        }
        Ok(misfits)
    }

    /// Writes a consistent copy of the database as it is at this moment into another directory, on stable storage.
    pub fn copy_to(&self, directory: &Path) -> Result<()> {
        let file = directory.join(DATABASE_FILE);
        let name = file.to_str().ok_or_else(|| StoreError::Open(format!("{} is no text", file.display())))?;
        self.connection.execute("VACUUM INTO ?1", [name]).map_err(|error| {
            // Half a copy is none, and would be in the way of the next try. What can't be removed is told by that one.
            let _removed = std::fs::remove_file(&file);
            StoreError::Open(format!("can't copy the job store to {}: {error}", file.display()))
        })?;
        let sync = |path: &Path| std::fs::File::open(path).and_then(|file| file.sync_all());
        sync(&file).and_then(|()| sync(directory)).map_err(|error| {
            StoreError::Open(format!("can't copy the job store to {}: {error}", file.display()))
        })
    }

    /// Marks the running jobs of a copy as run by nobody: whoever starts on the copy takes them back, and no death of a process is counted
    /// against them.
    pub fn release_running(&self) -> Result<()> {
        let nobody = uuid::Uuid::nil();
        self.connection
            .execute("UPDATE jobs SET worker = ?1 WHERE lease_until IS NOT NULL", [nobody.as_bytes()])
            .map_err(unreadable)?;
        Ok(())
    }

    /// Forgets jobs of a copy that were removed from the original while their bytes were being copied. They leave tombstones.
    pub fn forget(&self, ids: &[JobId]) -> Result<()> {
        let forget = || -> rusqlite::Result<()> {
            let transaction = self.connection.unchecked_transaction()?;
            for id in ids {
                let id = id.as_bytes();
                transaction.execute("DELETE FROM inline_bytes WHERE job = ?1", [id])?;
                transaction.execute(
                    "DELETE FROM delivery_attempts WHERE delivery IN (SELECT id FROM deliveries WHERE job = ?1)",
                    [id],
                )?;
                transaction.execute("DELETE FROM deliveries WHERE job = ?1", [id])?;
                transaction.execute(
                    "INSERT OR REPLACE INTO tombstones (job, removed_at) \
                     SELECT id, coalesce(expires_at, run_at) FROM jobs WHERE id = ?1",
                    [id],
                )?;
                transaction.execute("DELETE FROM jobs WHERE id = ?1", [id])?;
            }
            transaction.commit()
        };
        forget().map_err(unreadable)
    }
}

fn unreadable(error: rusqlite::Error) -> StoreError {
    super::fault::Fault::from(error).into()
}
