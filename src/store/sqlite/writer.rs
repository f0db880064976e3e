//! The one thread that writes, and group commit.
//!
//! Operations wait in a bounded channel. The thread takes what is there, at most [`GROUP_MAX`] of them or [`GROUP_TIME`], commits once, and
//! only then answers everybody. What need not outlive a power cut doesn't wait for the disk: it goes first, in a group of its own. Where
//! one fails, the group is rolled back and run again with each in a savepoint, so that it undoes nothing
//! of its neighbours': a savepoint for every operation would copy every page that it touches. So an operation may run twice. Nothing waits
//! for company: an operation that comes alone is committed alone. A caller that goes away does not take its operation back. Also keeps
//! the write-ahead log short, gives freed pages back, and keeps the ballast. Used by the verbs of this engine.

use std::collections::VecDeque;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus_client::metrics::histogram::Histogram;
use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection};
use tokio::sync::{mpsc, oneshot};

use super::ballast::Ballast;
use super::fault::{Fault, Severity};
use super::shared::Shared;
use crate::store::{Counts, Result, StoreError};

/// Most operations in one commit; beyond this measured throughput does not grow.
const GROUP_MAX: usize = 64;
/// Longest that operations are gathered before they are committed.
const GROUP_TIME: Duration = Duration::from_millis(2);
/// Operations that may wait before callers have to.
const QUEUE_LENGTH: usize = 1024;
/// Frames of the write-ahead log (pages of 4 KiB) after which it is copied into the database.
const CHECKPOINT_FRAMES: i64 = 1000;
/// Frames after which new readers are made to wait until the log can start again from its beginning.
const RESTART_FRAMES: i64 = 16 * CHECKPOINT_FRAMES;
/// Free pages that are kept for reuse rather than given back to the file system.
const FREE_PAGES_KEPT: i64 = 1000;
/// Free pages given back at a time, between operations.
const FREE_PAGES_STEP: i64 = 500;
/// The same without ballast, when none are kept: what is given back must be written to the log first.
const FREE_PAGES_STEP_FULL: i64 = 50;

/// When an operation may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commit {
    /// Once it is on stable storage.
    Synced,
    /// Once it is in the log, which outlives this process but not a power cut.
    Written,
}

/// What an operation works on.
pub(super) struct Transaction<'c> {
    connection: &'c Connection,
    /// The gauges as this transaction leaves them.
    pub(super) counts: Counts,
    /// Whether pages may have become free.
    pub(super) freed: bool,
}

impl<'c> Transaction<'c> {
    /// A statement, prepared once per connection.
    pub(super) fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'c>> {
        self.connection.prepare_cached(sql)
    }

    /// The connection, for reading inside the transaction.
    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }
}

/// A queued operation: runs inside a group, is answered after its commit.
trait Operation: Send {
    fn commit(&self) -> Commit;
    fn run(&mut self, tx: &mut Transaction<'_>) -> std::result::Result<(), Fault>;
    /// `failed`: nothing of it was committed.
    fn answer(self: Box<Self>, failed: Option<StoreError>);
}

type Receiver = mpsc::Receiver<Box<dyn Operation>>;

struct Call<T, W> {
    commit: Commit,
    work: W,
    result: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, W> Operation for Call<T, W>
where
    T: Send,
    W: FnMut(&mut Transaction<'_>) -> std::result::Result<T, Fault> + Send,
{
    fn commit(&self) -> Commit {
        self.commit
    }

    fn run(&mut self, tx: &mut Transaction<'_>) -> std::result::Result<(), Fault> {
        self.result = Some((self.work)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<StoreError>) {
        let answer = match (failed, self.result) {
            (None, Some(result)) => Ok(result),
            (Some(error), _) => Err(error),
            (None, None) => Err(StoreError::Unavailable("the operation did not run".to_owned())),
        };
        // Who no longer listens has been served all the same.
        let _ = self.reply.send(answer);
    }
}

/// The sending end; dropping it lets the thread finish what waits, checkpoint, and end.
#[derive(Debug)]
pub(super) struct Writer {
    sender: Option<mpsc::Sender<Box<dyn Operation>>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for dyn Operation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Operation")
    }
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        connection: Connection,
        ballast: Ballast,
        shared: Arc<Shared>,
        commit_seconds: Histogram,
    ) -> std::io::Result<Writer> {
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            Thread {
                connection,
                receiver,
                waiting: Waiting::default(),
                commits: None,
                shared,
                commit_seconds,
                freed: true,
                ballast,
                is_full: false,
            }
            .run()
        })?;
        Ok(Writer { sender: Some(sender), thread: Some(thread) })
    }

    /// Runs `work` in a transaction; `Ok` once it is on stable storage.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Transaction<'_>) -> std::result::Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.send(Commit::Synced, work).await
    }

    /// Runs `work` in a transaction; `Ok` once it is in the log: for what a power cut may undo, because it will be done again. Whatever is
    /// synced later takes it to stable storage, too. Callers have one such call under way at most: these go first, and many would keep the
    /// others waiting.
    pub(super) async fn call_unsynced<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Transaction<'_>) -> std::result::Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.send(Commit::Written, work).await
    }

    async fn send<T: Send + 'static>(
        &self,
        commit: Commit,
        work: impl FnMut(&mut Transaction<'_>) -> std::result::Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let ended = || StoreError::Unavailable("the store's writer has ended".to_owned());
        let (reply, answer) = oneshot::channel();
        let call = Box::new(Call { commit, work, result: None, reply });
        let Some(sender) = &self.sender else { return Err(ended()) };
        sender.send(call).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// Operations taken from the channel, apart by how they are committed.
#[derive(Default)]
struct Waiting {
    synced: VecDeque<Box<dyn Operation>>,
    written: VecDeque<Box<dyn Operation>>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.synced.is_empty() && self.written.is_empty()
    }

    fn is_full(&self) -> bool {
        self.synced.len() + self.written.len() >= GROUP_MAX
    }

    fn push(&mut self, operation: Box<dyn Operation>) {
        self.of(operation.commit()).push_back(operation);
    }

    /// The next operation for a group; what is found on the way and doesn't belong into it waits for another.
    fn next(&mut self, commit: Commit, receiver: &mut Receiver) -> Option<Box<dyn Operation>> {
        loop {
            if let Some(next) = self.of(commit).pop_front() {
                return Some(next);
            }
            if self.is_full() {
                return None;
            }
            self.push(receiver.try_recv().ok()?);
        }
    }

    /// Whose turn it is: those who are served without the disk are not made to wait for those who aren't.
    fn turn(&self) -> Commit {
        if self.written.is_empty() { Commit::Synced } else { Commit::Written }
    }

    fn of(&mut self, commit: Commit) -> &mut VecDeque<Box<dyn Operation>> {
        match commit {
            Commit::Synced => &mut self.synced,
            Commit::Written => &mut self.written,
        }
    }
}

struct Thread {
    connection: Connection,
    receiver: Receiver,
    waiting: Waiting,
    /// How the connection commits, if that is known.
    commits: Option<Commit>,
    shared: Arc<Shared>,
    /// What commits take.
    commit_seconds: Histogram,
    freed: bool,
    ballast: Ballast,
    /// Something found the disk full, and there has been no room for ballast since.
    is_full: bool,
}

/// An operation that has run, and why it failed if it did.
type Ran = (Box<dyn Operation>, Option<StoreError>);

impl Thread {
    fn run(mut self) {
        while self.wait() {
            let commit = self.waiting.turn();
            if let Some(first) = self.waiting.next(commit, &mut self.receiver) {
                self.group(first);
            }
            self.tidy();
        }
        if self.shared.broken().is_none() {
            self.checkpoint("TRUNCATE");
            self.ballast.make_for_next_start();
        } else {
            // Closing the last connection would write and fsync once more.
            let config = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            if let Err(error) = self.connection.set_db_config(config, true) {
                tracing::error!(%error, "the store's log could not be left as it is");
            }
        }
    }

    /// Waits until there is something to do; `false` if there will be nothing any more.
    fn wait(&mut self) -> bool {
        if self.waiting.is_empty() {
            let Some(first) = self.receiver.blocking_recv() else { return false };
            self.waiting.push(first);
        }
        while !self.waiting.is_full()
            && let Ok(next) = self.receiver.try_recv()
        {
            self.waiting.push(next);
        }
        true
    }

    fn group(&mut self, first: Box<dyn Operation>) {
        if let Some(broken) = self.shared.broken() {
            return first.answer(Some(broken));
        }
        let mut ran = Vec::new();
        match self.gather(first, &mut ran) {
            Ok(counts) => {
                self.shared.committed(counts);
                for (operation, failed) in ran {
                    operation.answer(failed);
                }
            }
            Err(fault) => {
                let error = self.give_up(fault);
                for (operation, failed) in ran {
                    operation.answer(Some(failed.unwrap_or_else(|| error.clone())));
                }
            }
        }
    }

    /// Runs what waits, and commits it; the gauges as they are then. An error undoes all of it.
    fn gather(
        &mut self,
        first: Box<dyn Operation>,
        ran: &mut Vec<Ran>,
    ) -> std::result::Result<Counts, Fault> {
        let started = Instant::now();
        let commit = first.commit();
        let begun = self.commit_as(commit).and_then(|()| execute(&self.connection, "BEGIN IMMEDIATE"));
        ran.push((first, None));
        begun?;
        let committed = self.shared.counts();
        let mut tx = Transaction { connection: &self.connection, counts: committed, freed: false };
        while let Some((operation, _)) = ran.last_mut() {
            match attempt(&mut tx, operation.as_mut()) {
                Ok(()) => {}
                Err(fault) if fault.severity() == Severity::Passing => {
                    (tx.counts, tx.freed) = (committed, false);
                    apart(&mut tx, ran)?;
                    break;
                }
                Err(fault) => return Err(fault),
            }
            if ran.len() >= GROUP_MAX || started.elapsed() >= GROUP_TIME {
                break;
            }
            let Some(next) = self.waiting.next(commit, &mut self.receiver) else { break };
            ran.push((next, None));
        }
        let (counts, freed) = (tx.counts, tx.freed);
        let began = Instant::now();
        execute(&self.connection, "COMMIT")?;
        if commit == Commit::Synced {
            self.commit_seconds.observe(began.elapsed().as_secs_f64());
        }
        self.freed |= freed;
        Ok(counts)
    }

    /// Sets how the next transaction is committed. Takes effect as the statement is prepared, so it can't be prepared once.
    fn commit_as(&mut self, commit: Commit) -> std::result::Result<(), Fault> {
        if self.commits != Some(commit) {
            let level = match commit {
                Commit::Synced => "FULL",
                Commit::Written => "NORMAL",
            };
            self.commits = None;
            self.connection.pragma_update(None, "synchronous", level)?;
            self.commits = Some(commit);
        }
        Ok(())
    }

    /// Undoes a group, and stops everything for good if the disk can no longer be trusted.
    fn give_up(&mut self, fault: Fault) -> StoreError {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a failed group could not be rolled back");
        }
        self.judge(fault)
    }

    /// Makes room on a full disk for those who free more of it.
    /// Never tries again after a failed write or fsync: the kernel may have dropped the pages and call the next one a success.
    fn judge(&mut self, fault: Fault) -> StoreError {
        let severity = fault.severity();
        let error = StoreError::from(fault);
        match severity {
            Severity::Broken => {
                tracing::error!(%error, "the store can no longer trust its disk and refuses everything until a restart");
                self.shared.break_down(&error.to_string())
            }
            Severity::Full => {
                self.ballast.drop_now(Instant::now());
                if !std::mem::replace(&mut self.is_full, true) {
                    tracing::warn!(%error, "a group of store operations failed; what needs room fails until there is some");
                }
                error
            }
            Severity::Passing => {
                tracing::warn!(%error, "a group of store operations failed");
                error
            }
        }
    }

    /// Between groups: keeps the log short, and gives space back while nobody waits.
    fn tidy(&mut self) {
        if self.ballast.make(Instant::now()) && std::mem::take(&mut self.is_full) {
            tracing::info!("there is room for the store again");
        }
        loop {
            if self.shared.broken().is_some() {
                return;
            }
            self.keep_log_short();
            if !self.freed || !self.waiting.is_empty() || !self.receiver.is_empty() {
                return;
            }
            let (kept, step) = match self.ballast.is_held() {
                true => (FREE_PAGES_KEPT, FREE_PAGES_STEP),
                false => (0, FREE_PAGES_STEP_FULL),
            };
            let step = self.pragma("freelist_count").and_then(|free| {
                self.freed = free > kept + step;
                if self.freed { vacuum(&self.connection, step) } else { Ok(()) }
            });
            if let Err(error) = step {
                self.freed = false;
                self.judge(error.into());
            }
        }
    }

    fn keep_log_short(&mut self) {
        let Some((frames, copied)) = self.checkpoint("NOOP") else { return };
        if frames - copied >= CHECKPOINT_FRAMES {
            self.checkpoint("PASSIVE");
        }
        if frames >= RESTART_FRAMES {
            self.checkpoint("RESTART");
        }
    }

    /// Frames in the log, and those of them that are in the database too. A log that somebody reads stays for the next time.
    fn checkpoint(&mut self, mode: &str) -> Option<(i64, i64)> {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let run =
            || self.connection.prepare_cached(&sql)?.query_row([], |row| Ok((row.get(1)?, row.get(2)?)));
        match run() {
            Ok(state) => Some(state),
            Err(error) => {
                self.judge(error.into());
                None
            }
        }
    }

    fn pragma(&self, name: &str) -> rusqlite::Result<i64> {
        self.connection.prepare_cached(&format!("PRAGMA {name}"))?.query_row([], |row| row.get(0))
    }
}

fn vacuum(connection: &Connection, pages: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Runs one operation; a panic is its failure, not the thread's.
fn attempt(tx: &mut Transaction<'_>, operation: &mut dyn Operation) -> std::result::Result<(), Fault> {
    catch_unwind(AssertUnwindSafe(|| operation.run(tx))).unwrap_or(Err(Fault::Panicked))
}

/// Starts a group again after one of its operations failed, each in a savepoint now, and notes which fail.
fn apart(tx: &mut Transaction<'_>, ran: &mut [Ran]) -> std::result::Result<(), Fault> {
    // Some errors make the engine roll back by itself.
    if !tx.connection.is_autocommit() {
        execute(tx.connection, "ROLLBACK")?;
    }
    execute(tx.connection, "BEGIN IMMEDIATE")?;
    for (operation, failed) in ran {
        let (counts, freed) = (tx.counts, tx.freed);
        execute(tx.connection, "SAVEPOINT operation")?;
        if let Err(fault) = attempt(tx, operation.as_mut()) {
            if tx.connection.is_autocommit() || fault.severity() != Severity::Passing {
                return Err(fault);
            }
            (tx.counts, tx.freed) = (counts, freed);
            execute(tx.connection, "ROLLBACK TO operation")?;
            *failed = Some(StoreError::from(fault));
        }
        execute(tx.connection, "RELEASE operation")?;
    }
    Ok(())
}

fn execute(connection: &Connection, sql: &str) -> std::result::Result<(), Fault> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
