//! What a power cut may undo, and what it may not: commits with and without the disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::fault::Severity;
use super::tests::{NOW, gate, new_job, opened, run};
use super::writer::Transaction;
use super::*;
use crate::job::Status;
use crate::job::transition::LIVE_VERSIONS;

#[test]
fn what_will_be_done_again_does_not_wait_for_the_disk() {
    run(async {
        let (store, _directory) = opened();
        let (open, wait) = gate();
        let held = store.writer.call_unsynced(wait);
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

#[test]
fn a_full_disk_after_a_power_cut_is_no_reason_not_to_start() {
    run(async {
        let (store, directory) = opened();
        store.insert(new_job(0)).await.unwrap();
        drop(store);
        let connection = schema::open_writer(&directory.path().join(DATABASE_FILE), 1 << 20).unwrap();
        // An update fails, and not for want of room.
        connection
            .execute_batch("CREATE TRIGGER full BEFORE UPDATE ON jobs BEGIN SELECT RAISE(ABORT, 'x'); END")
            .unwrap();
        let refused = rows::outgrow_lost_claims(&connection).unwrap_err();
        assert_eq!(refused.severity(), Severity::Passing, "what is not a full disk is told");
        assert!(outgrown(Err(fault::tests::failure(rusqlite::ffi::SQLITE_FULL))).is_ok());
        assert!(outgrown(Err(refused)).is_err());
        assert!(outgrown(Ok(())).is_ok());
    });
}

/// Whether a verb is answered only once it is on stable storage: then it waits for the operation that holds synced commits up here.
async fn is_synced(store: &SqliteStore, verb: BoxFuture<'_, ()>) -> bool {
    let (open, wait) = gate();
    let (open_synced, wait_synced) = gate();
    // Sent in this order, before the first of them ends. The last is answered after those before it that are not synced either.
    let mut sent = [
        store.writer.call_unsynced(wait).map(drop).boxed(),
        store.writer.call(wait_synced).map(drop).boxed(),
        verb,
        store.writer.call_unsynced(|_| Ok(())).map(drop).boxed(),
    ];
    for operation in &mut sent {
        assert!(operation.now_or_never().is_none());
    }
    drop(open);
    let [held, held_synced, mut verb, last] = sent;
    tokio::join!(held, last);
    let is_synced = (&mut verb).now_or_never().is_none();
    drop(open_synced);
    held_synced.await;
    if is_synced {
        verb.await;
    }
    is_synced
}

#[test]
fn only_what_will_be_done_again_is_answered_before_it_is_on_disk() {
    run(async {
        let (store, _directory) = opened();
        let (id, retention, worker) = (JobId::new(), Retention::default(), uuid::Uuid::from_u128(1));
        let (lease, lasting) = (Lease { job: id, attempt: 1, worker }, Duration::from_secs(30));
        let render: Render = Arc::new(|_, _, _| Bytes::new());
        let render = || Arc::clone(&render);
        let attempt = crate::job::Attempt::default();
        let finish =
            Finish { lease, outcome: crate::job::Outcome::Released, attempt, inline_outputs: Vec::new() };
        let source = SourceInfo { image: None, bytes: 1, sha256: String::new(), inline: false };
        let delivered = DeliveryResult {
            status: crate::job::DeliveryStatus::Delivered,
            response_status: Some(200),
            error: None,
            next_attempt_at: None,
            is_sent: true,
            latency: Duration::ZERO,
            answer: Bytes::new(),
        };
        let synced = [
            ("insert", store.insert(new_job(0)).map(drop).boxed()),
            ("claim_suspect", store.claim_suspect(worker, true, lasting, NOW).map(drop).boxed()),
            ("set_source", store.set_source(lease, source, None, 1).map(drop).boxed()),
            ("finish", store.finish(finish, retention, render(), NOW).map(drop).boxed()),
            ("cancel", store.cancel(id, retention, render(), NOW).map(drop).boxed()),
            ("retry", store.retry(id, NOW).map(drop).boxed()),
            ("delete", store.delete(id, NOW).map(drop).boxed()),
            ("reap", store.reap(Reap::Expired, retention, render(), NOW).map(drop).boxed()),
            ("purge", store.purge(retention, 1, NOW).map(drop).boxed()),
            ("redeliver", store.redeliver(id, NOW).map(drop).boxed()),
            ("redeliver_dead_letters", store.redeliver_dead_letters(NOW, None, 1, NOW).map(drop).boxed()),
            (
                "finish_delivery",
                store.finish_delivery(DeliveryId::new(), 1, delivered, NOW).map(drop).boxed(),
            ),
            ("enable_receiver", store.enable_receiver(String::new()).map(drop).boxed()),
        ];
        for (name, verb) in synced {
            assert!(is_synced(&store, verb).await, "{name}");
        }
        assert!(!is_synced(&store, store.extend(vec![lease], lasting, NOW).map(drop).boxed()).await);
    });
}
