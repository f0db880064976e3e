//! What a power cut may undo, and what it may not: commits with and without the disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::tests::{NOW, new_job, opened, run};
use super::writer::Transaction;
use super::*;
use crate::job::Status;
use crate::job::transition::LIVE_VERSIONS;

#[test]
fn what_will_be_done_again_does_not_wait_for_the_disk() {
    run(async {
        let (store, _directory) = opened();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let held = store.writer.call_unsynced(move |_| {
            let _ = gate.recv();
            Ok(())
        });
        let order = Arc::new(AtomicU32::new(0));
        // Its place in the order, and how SQLite commits it: 2 is FULL, 1 is NORMAL.
        let seen = |tx: &mut Transaction<'_>, order: &AtomicU32| {
            let level = tx.connection().query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))?;
            Ok((order.fetch_add(1, Ordering::Relaxed), level))
        };
        let [first, second, third, fourth] = std::array::from_fn(|_| Arc::clone(&order));
        let commits = store.commits();
        let (_, one, two, three, four, ()) = tokio::join!(
            held,
            store.writer.call(move |tx| seen(tx, &first)),
            store.writer.call_unsynced(move |tx| seen(tx, &second)),
            store.writer.call(move |tx| seen(tx, &third)),
            store.writer.call_unsynced(move |tx| seen(tx, &fourth)),
            async move { drop(open) }
        );
        assert_eq!((two, four), (Ok((0, 1)), Ok((1, 1))));
        assert_eq!((one, three), (Ok((2, 2)), Ok((3, 2))));
        // The one that held the writer is in a group with those that it found waiting, or alone.
        assert!((2..=3).contains(&(store.commits() - commits)), "{}", store.commits() - commits);
    });
}

#[test]
fn a_claim_that_a_power_cut_undoes_is_made_again_and_no_version_is_seen_twice() {
    run(async {
        let (store, directory) = opened();
        let new = new_job(0);
        store.insert(new.clone()).await.unwrap();
        let log = |directory: &Path| directory.join(format!("{DATABASE_FILE}-wal"));
        let synced = std::fs::metadata(log(directory.path())).unwrap().len();
        let request = ClaimRequest {
            worker: uuid::Uuid::from_u128(1),
            ready_max: 1,
            fetch_max: 0,
            memory_bytes_max: u64::MAX,
            lease_duration: Duration::from_secs(30),
            ready_turns: Vec::new(),
            fetch_turns: Vec::new(),
        };
        let claimed = store.claim(request, NOW).await.unwrap();
        let seen = claimed[0].job.version + LIVE_VERSIONS - 1;
        // What the disk has after the machine has lost its power.
        let after = tempfile::tempdir().unwrap();
        std::fs::copy(directory.path().join(DATABASE_FILE), after.path().join(DATABASE_FILE)).unwrap();
        std::fs::copy(log(directory.path()), log(after.path())).unwrap();
        File::options().write(true).open(log(after.path())).unwrap().set_len(synced).unwrap();
        let options = Options { is_after_reset: true, ..Options::default() };
        let store = SqliteStore::open(after.path(), options).unwrap();
        let Some(Found::Job(job)) = store.get(new.job.id).await.unwrap() else { panic!("it is lost") };
        assert_eq!(job.status, Status::Queued);
        assert!(job.version > seen, "{} after {seen}", job.version);
    });
}
