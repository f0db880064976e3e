//! What can only be seen from inside: query plans, injected faults, group commit's savepoints, the size of the files.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use rusqlite::{Connection, ffi};
use tempfile::TempDir;

use super::fault::Fault;
use super::writer::Transaction;
use super::*;
use crate::job::{JobSpec, KeyId, SourceSpec, Status};
use crate::pipeline::Pipeline;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_000_000);

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(super) fn opened() -> (SqliteStore, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (SqliteStore::open(directory.path(), Options::default()).unwrap(), directory)
}

/// Work that holds the writer until the sender is dropped; not for ever, or a test that fails would not end.
pub(super) fn gate()
-> (Sender<()>, impl FnMut(&mut Transaction<'_>) -> std::result::Result<(), Fault> + Send + 'static) {
    let (open, closed) = std::sync::mpsc::channel();
    let wait = move |_: &mut Transaction<'_>| {
        let _opened = closed.recv_timeout(Duration::from_secs(10));
        Ok(())
    };
    (open, wait)
}

pub(super) fn new_job(inline_bytes: usize) -> NewJob {
    let spec = JobSpec {
        source: SourceSpec::Upload,
        pipeline: Pipeline::default(),
        preset: None,
        webhook: None,
        priority: 0,
        run_at: None,
        timeout: Duration::from_secs(60),
        max_attempts: 8,
        expires_in: None,
        tag: None,
        metadata: Default::default(),
    };
    let job = Job::submitted(JobId::new(), Arc::new(spec), None, 1, Vec::new(), NOW);
    let inline_source = (inline_bytes > 0).then(|| Bytes::from(vec![7; inline_bytes]));
    NewJob { job, inline_source, inline_assets: Vec::new(), idempotency_key: None }
}

/// The steps of a query, whatever its parameters are.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get::<_, String>(3).unwrap());
    }
    steps
}

#[test]
fn every_query_follows_an_index_and_sorts_nothing() {
    let (_store, directory) = opened();
    let connection = Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
    let filter_of =
        |owner: Option<KeyId>, status: Option<Status>, tag: Option<&str>, before: Option<JobId>| {
            reads::list_query(&ListFilter { status, tag: tag.map(str::to_owned), owner, before, limit: 9 })
        };
    let filter = |status, tag, before| filter_of(None, status, tag, before);
    let own = |status, tag, before| filter_of(Some(KeyId::from_random(1)), status, tag, before);
    let before = Some(JobId::new());
    let queries = [
        (claim::PROMOTE.to_owned(), "jobs_scheduled (run_at<?)"),
        (claim::line_query(), "jobs_claimable (owner=? AND needs_fetch=?)"),
        (claim::NEXT_OWNER.to_owned(), "COVERING INDEX jobs_claimable (owner>?)"),
        (upkeep::expired_leases_query(), "jobs_leased (lease_until<?)"),
        (upkeep::other_leases_query(), "jobs_leased"),
        (upkeep::expired_query(), "jobs_expiring (expires_at"),
        (upkeep::PURGE_TOMBSTONES.to_owned(), "tombstones_by_age (removed_at<?)"),
        (upkeep::PURGE_KEYS.to_owned(), "idempotency_keys_by_age (created_at<?)"),
        (receivers::DUE.to_owned(), "receivers_due (next_due>? AND next_due<?)"),
        (receivers::FAILING_DUE.to_owned(), "receivers_failing_due (next_due>? AND next_due<?)"),
        (receivers::FAILING.to_owned(), "receivers_failing"),
        (receivers::PURGE.to_owned(), "receivers_idle (attempted_at<?)"),
        (log::of_job_query(), "deliveries_by_job (job=?)"),
        (log::dead_query(&DeadLetters::default()), "deliveries_dead"),
        (
            log::dead_query(&DeadLetters {
                receiver: Some(String::new()),
                before: Some(DeliveryId::new()),
                limit: 1,
            }),
            "deliveries_dead_by_receiver (receiver=? AND id<?)",
        ),
        (log::DEAD_SINCE.to_owned(), "deliveries_dead_by_age (ended_at>?)"),
        (claim::suspects_query(), "jobs_suspects"),
        (deliveries::DUE_OF_RECEIVER.to_owned(), "deliveries_by_receiver (receiver=? AND next_attempt_at<?)"),
        (deliveries::PURGE.to_owned(), "deliveries_ended (ended_at"),
        (reads::NEXT_JOB.to_owned(), "jobs_scheduled (run_at>?)"),
        (reads::NEXT_SUSPECT.to_owned(), "jobs_suspects"),
        (reads::NEXT_DELIVERY.to_owned(), "deliveries_due (next_attempt_at>?)"),
        (filter(None, None, before), "(id<?)"),
        (filter(Some(Status::Queued), None, before), "jobs_by_status (status=? AND id<?)"),
        (filter(Some(Status::Queued), None, None), "jobs_by_status (status=?)"),
        (filter(None, Some("a"), before), "jobs_by_tag (tag=? AND id<?)"),
        (
            filter(Some(Status::Queued), Some("a"), before),
            "jobs_by_tag_and_status (tag=? AND status=? AND id<?)",
        ),
        (deliveries::REMOVE.to_owned(), "deliveries_by_job (job=?)"),
        (own(None, None, before), "jobs_by_owner (owner=? AND id<?)"),
        (own(Some(Status::Queued), None, before), "jobs_by_owner_and_status (owner=? AND status=? AND id<?)"),
        (own(None, Some("a"), before), "jobs_by_owner_and_tag (owner=? AND tag=? AND id<?)"),
        (
            own(Some(Status::Queued), Some("a"), before),
            "jobs_by_owner_tag_and_status (owner=? AND tag=? AND status=? AND id<?)",
        ),
    ];
    for (sql, index) in queries {
        let steps = plan(&connection, &sql);
        assert!(steps.iter().any(|step| step.contains(index)), "{sql}\n{steps:#?}");
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{sql}\n{steps:#?}");
        let scans = |step: &&String| {
            step.starts_with("SCAN") && !step.contains("json_each") && !step.contains("INDEX")
        };
        assert_eq!(steps.iter().find(scans), None, "{sql}");
    }
}

#[test]
fn a_full_disk_refuses_until_there_is_room() {
    run(async {
        let (store, directory) = opened();
        let kept = new_job(0);
        store.insert(kept.clone()).await.unwrap();
        // The ballast is made after the first group was answered, so before the second is.
        store.check().await.unwrap();
        let ballast = directory.path().join("ballast");
        assert!(ballast.exists());
        let limit = |pages: i64| {
            store.writer.call(move |tx| {
                let sql = format!("PRAGMA max_page_count = {pages}");
                Ok(tx.connection().query_row(&sql, [], |row| row.get::<_, i64>(0))?)
            })
        };
        let pages = limit(1).await.unwrap();
        let (large, other) = tokio::join!(store.insert(new_job(60_000)), store.insert(new_job(90_000)));
        assert_eq!(large.unwrap_err(), StoreError::Full);
        assert_eq!(other.unwrap_err(), StoreError::Full);
        assert!(!ballast.exists());
        // What needs no new page still works, and nothing is half there.
        assert_eq!(store.check().await, Ok(()));
        assert_eq!(store.counts().await.unwrap().jobs, [1, 0, 0, 0, 0]);
        assert!(matches!(store.get(kept.job.id).await.unwrap(), Some(Found::Job(_))));
        limit(pages + 10_000).await.unwrap();
        assert!(matches!(store.insert(new_job(60_000)).await.unwrap(), Inserted::Created(_)));
        assert_eq!(store.counts().await.unwrap().jobs, [2, 0, 0, 0, 0]);
    });
}

#[test]
fn opening_again_writes_nothing() {
    run(async {
        let (store, directory) = opened();
        store.insert(new_job(0)).await.unwrap();
        drop(store);
        let store = SqliteStore::open(directory.path(), Options::default()).unwrap();
        let log = std::fs::metadata(directory.path().join(format!("{DATABASE_FILE}-wal")));
        assert_eq!(log.map_or(0, |log| log.len()), 0);
        assert_eq!(store.counts().await.unwrap().jobs, [1, 0, 0, 0, 0]);
    });
}

#[test]
fn after_a_failed_fsync_everything_is_refused() {
    run(async {
        let (store, directory) = opened();
        let kept = new_job(0);
        store.insert(kept.clone()).await.unwrap();
        // Usually in one group; if the machine is so slow that they are not, the first is stored.
        let lost = new_job(0);
        let (open, wait) = gate();
        let held = store.writer.call(wait);
        let (_, inserted, failed, ()) = tokio::join!(
            held,
            store.insert(lost.clone()),
            store.writer.call(|_| Err::<(), Fault>(fault::tests::failure(ffi::SQLITE_IOERR_FSYNC))),
            async move { drop(open) }
        );
        assert!(matches!(failed, Err(StoreError::Unavailable(_))));
        let refused = |error: StoreError| {
            assert!(error.to_string().contains("a restart is needed"), "{error}");
        };
        refused(store.insert(new_job(0)).await.unwrap_err());
        refused(store.get(kept.job.id).await.unwrap_err());
        refused(store.counts().await.unwrap_err());
        refused(store.check().await.unwrap_err());
        drop(store);
        let store = SqliteStore::open(directory.path(), Options::default()).unwrap();
        assert!(matches!(store.get(kept.job.id).await.unwrap(), Some(Found::Job(_))));
        assert_eq!(store.get(lost.job.id).await.unwrap().is_some(), inserted.is_ok());
    });
}

#[test]
fn a_failing_operation_undoes_nothing_of_its_neighbours() {
    run(async {
        let (store, _directory) = opened();
        // Holds the writer until all of them wait.
        let (open, wait) = gate();
        let held = store.writer.call(wait);
        let jobs: Vec<NewJob> = (0..5).map(|_| new_job(0)).collect();
        let operations = jobs.iter().enumerate().map(|(index, new)| {
            let new = new.clone();
            store.writer.call(move |tx| {
                jobs::insert(tx, &new)?;
                match index {
                    1 => Err(Fault::Damaged("a row".to_owned())),
                    4 => panic!("on purpose"),
                    _ => Ok(()),
                }
            })
        });
        let operations = futures_util::future::join_all(operations);
        let (_, answers, ()) = tokio::join!(held, operations, async move { drop(open) });
        let stored = |index: usize| index != 1 && index != 4;
        for (index, answer) in answers.iter().enumerate() {
            assert_eq!(answer.is_ok(), stored(index), "{answer:?}");
            assert_eq!(store.get(jobs[index].job.id).await.unwrap().is_some(), stored(index));
        }
        assert_eq!(store.counts().await.unwrap().jobs, [3, 0, 0, 0, 0]);
    });
}

#[test]
fn deleting_gives_space_back() {
    run(async {
        let (store, directory) = opened();
        let size = || std::fs::metadata(directory.path().join(DATABASE_FILE)).unwrap().len();
        let jobs: Vec<NewJob> = (0..300).map(|_| new_job(64 << 10)).collect();
        futures_util::future::join_all(jobs.iter().map(|new| store.insert(new.clone()))).await;
        for new in &jobs {
            store.delete(new.job.id, NOW).await.unwrap().unwrap();
        }
        store.check().await.unwrap();
        drop(store);
        assert!(size() < 8 << 20, "{} bytes", size());
        let store = SqliteStore::open(directory.path(), Options::default()).unwrap();
        assert!(store.list(ListFilter { limit: 9, ..ListFilter::default() }).await.unwrap().is_empty());
    });
}

#[test]
fn the_log_stays_short() {
    run(async {
        let (store, directory) = opened();
        for _ in 0..40 {
            let jobs: Vec<NewJob> = (0..20).map(|_| new_job(60_000)).collect();
            futures_util::future::join_all(jobs.into_iter().map(|new| store.insert(new))).await;
        }
        let log = directory.path().join(format!("{DATABASE_FILE}-wal"));
        let bytes = std::fs::metadata(log).unwrap().len();
        assert!(bytes < 20 << 20, "{bytes} bytes after 48 MB of sources");
    });
}

#[test]
fn the_gauges_are_the_rows() {
    run(async {
        let (store, directory) = opened();
        for _ in 0..30 {
            store.insert(new_job(0)).await.unwrap();
        }
        let request = ClaimRequest {
            worker: uuid::Uuid::from_u128(1),
            ready_max: 11,
            fetch_max: 0,
            memory_bytes_max: u64::MAX,
            lease_duration: Duration::from_secs(30),
            ready_turns: Vec::new(),
            fetch_turns: Vec::new(),
        };
        let claimed = store.claim(request, NOW).await.unwrap();
        store.delete(claimed[0].job.id, NOW).await.unwrap();
        let render: Render = Arc::new(|_, _, _| Bytes::new());
        store.cancel(JobId::new(), Retention::default(), Arc::clone(&render), NOW).await.unwrap();
        let queued = store.waiting().await.unwrap()[3].id;
        store.cancel(queued, Retention::default(), render, NOW).await.unwrap();
        let kept = store.counts().await.unwrap();
        assert_eq!(kept.jobs, [18, 10, 0, 0, 1]);
        let connection = Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
        assert_eq!(reads::count(&connection).unwrap(), kept);
    });
}

#[test]
fn a_claim_looks_at_nobody_who_has_nothing_due() {
    run(async {
        let (store, directory) = opened();
        let owe = |receiver: String, count: u32, at: i64| {
            store.writer.call(move |tx| {
                for _ in 0..count {
                    let new = crate::job::NewDelivery {
                        id: DeliveryId::new(),
                        event: crate::job::Event::Succeeded,
                        url: format!("{receiver}/hook"),
                        receiver: receiver.clone(),
                        body: Bytes::new(),
                        trace_parent: None,
                    };
                    deliveries::insert(tx, JobId::new(), &new, Timestamp::from_millis(at))?;
                }
                Ok(())
            })
        };
        let request = |limit, places: &[(&str, usize)]| DeliveryRequest {
            limit,
            failing_max: limit,
            places: 2,
            places_of: places.iter().map(|(name, free)| ((*name).to_owned(), *free)).collect(),
            lease_duration: Duration::from_secs(30),
        };
        for number in 0..3000 {
            owe(format!("https://waits-{number}.test"), 1, NOW.as_millis() + 1).await.unwrap();
        }
        owe("https://slow.test".to_owned(), 3000, 10).await.unwrap();
        owe("https://b.test".to_owned(), 3, 30).await.unwrap();
        owe("https://a.test".to_owned(), 3, 20).await.unwrap();
        owe("https://z.test".to_owned(), 1, 5).await.unwrap();
        let full = request(4, &[("https://slow.test", 0)]);
        let claimed = store.claim_deliveries(full.clone(), NOW).await.unwrap();
        let receivers: Vec<&str> = claimed.iter().map(|delivery| delivery.receiver.as_str()).collect();
        assert_eq!(receivers, ["https://z.test", "https://a.test", "https://a.test", "https://b.test"]);
        let rest = store.claim_deliveries(full, NOW).await.unwrap();
        assert_eq!(rest.len(), 3);
        let slow = store.claim_deliveries(request(9, &[("https://slow.test", 5)]), NOW).await.unwrap();
        assert!(slow.len() == 5 && slow.iter().all(|delivery| delivery.receiver == "https://slow.test"));
        // What a receiver's row says of it is what its deliveries say.
        let connection = Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
        let wrong = "SELECT count(*) FROM receivers WHERE next_due IS NOT (SELECT min(next_attempt_at) FROM deliveries \
                     WHERE status = 'pending' AND receiver = name)";
        assert_eq!(connection.query_row(wrong, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    });
}

#[test]
fn jobs_that_come_due_together_are_promoted_bit_by_bit() {
    run(async {
        let (store, _directory) = opened();
        let scheduled: Vec<NewJob> = (0..1300)
            .map(|_| {
                let mut new = new_job(0);
                new.job.run_at = NOW.plus(Duration::from_secs(1));
                new
            })
            .collect();
        futures_util::future::join_all(scheduled.into_iter().map(|new| store.insert(new))).await;
        let request = ClaimRequest {
            worker: uuid::Uuid::from_u128(1),
            ready_max: 1,
            fetch_max: 0,
            memory_bytes_max: u64::MAX,
            lease_duration: Duration::from_secs(30),
            ready_turns: Vec::new(),
            fetch_turns: Vec::new(),
        };
        let due = || {
            store.writer.call(|tx| {
                let sql = "SELECT count(*) FROM jobs WHERE status = 'queued' AND due = 1";
                Ok(tx.connection().query_row(sql, [], |row| row.get::<_, i64>(0))?)
            })
        };
        for left in [511, 1022, 1297] {
            assert_eq!(
                store.claim(request.clone(), NOW.plus(Duration::from_secs(1))).await.unwrap().len(),
                1
            );
            assert_eq!(due().await.unwrap(), left);
        }
    });
}

#[tokio::test]
async fn idempotency_keys_of_the_second_schema_are_nobodys() {
    let directory = tempfile::tempdir().unwrap();
    let connection = Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
    connection.execute_batch(include_str!("schema/1.sql")).unwrap();
    connection.execute_batch(include_str!("schema/2.sql")).unwrap();
    let sql = "INSERT INTO idempotency_keys VALUES ('a', zeroblob(32), zeroblob(16), ?1); ";
    connection.execute(sql, [NOW.as_millis()]).unwrap();
    connection.execute("INSERT INTO tombstones VALUES (zeroblob(16), ?1)", [NOW.as_millis()]).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    let store = SqliteStore::open(directory.path(), Options::default()).unwrap();
    let submit = |owner: Option<KeyId>| {
        let mut new = new_job(0);
        new.job.owner = owner;
        let kept = Duration::from_secs(60);
        new.idempotency_key =
            Some(crate::store::IdempotencyKey { key: "a".to_owned(), fingerprint: [0; 32], kept });
        store.insert(new)
    };
    let zero = JobId::from_bytes([0; 16]);
    assert!(matches!(submit(None).await.unwrap(), Inserted::DuplicateGone(id) if id == zero));
    assert!(matches!(store.get(zero).await.unwrap(), Some(Found::Gone(None))));
    let own = KeyId::from_random(1);
    assert!(matches!(submit(Some(own.clone())).await.unwrap(), Inserted::Created(_)));
    assert!(matches!(submit(Some(own)).await.unwrap(), Inserted::Duplicate(_)));
}

/// A store of the first schema with the rows that its program wrote, and whatever this adds.
fn of_the_first_schema(more: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let connection = Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
    connection.execute_batch(include_str!("schema/1.sql")).unwrap();
    connection.execute_batch(include_str!("../../../tests/data/store-v1.sql")).unwrap();
    connection.execute_batch(more).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    directory
}

#[tokio::test]
async fn what_was_under_way_under_the_first_schema_goes_on() {
    let directory = of_the_first_schema(
        "INSERT INTO jobs SELECT X'01A20108697175418E9780FDDA0C02E2', 'running', 2, 1, priority, tag, memory_bytes, needs_fetch, \
         0, created.at, 0, X'00112233445566778899AABBCCDDEEFF', created.at + 30000, NULL, NULL, 0, state, spec \
         FROM jobs, (SELECT 1795313658225 AS at) AS created WHERE status = 'queued'; \
         INSERT INTO deliveries SELECT X'01A20108697175418E9780FDDA0C02E3', id, 'job.succeeded', 'https://a.test/hook', \
         'https://a.test', X'7B7D', 'pending', 1, 1, 1795313688225, NULL, NULL, 1795313658225, NULL FROM jobs WHERE status = 'succeeded'; \
         UPDATE jobs SET pending_deliveries = 1, announced = X'01A20108697175418E9780FDDA0C02E3' WHERE status = 'succeeded'",
    );
    let store = SqliteStore::open(directory.path(), Options::default()).unwrap();
    let now = Timestamp::from_millis(1_795_313_700_000);
    let boot = crate::store::Reap::OthersThan(uuid::Uuid::from_u128(1), crate::job::Loss::Process);
    let render: crate::job::Render = Arc::new(|_, _, _| Bytes::new());
    let reaped = store.reap(boot, crate::job::Retention::default(), render, now).await.unwrap();
    assert_eq!(reaped.len(), 1);
    assert_eq!(
        reaped[0].suspicion,
        Some(crate::job::Suspicion::default()),
        "it was running when the process died"
    );
    let lease = Duration::from_secs(30);
    let claimed = store.claim_suspect(uuid::Uuid::from_u128(1), true, lease, now).await.unwrap().unwrap();
    assert_eq!((claimed.job.id, claimed.job.attempt), (reaped[0].id, 2));
    let all = crate::store::DeliveryRequest {
        limit: 9,
        failing_max: 9,
        places: 9,
        places_of: std::collections::HashMap::new(),
        lease_duration: lease,
    };
    let delivery = store.claim_deliveries(all, now).await.unwrap().remove(0);
    assert_eq!((delivery.attempt, delivery.url.as_str()), (2, "https://a.test/hook"));
    let result = crate::job::DeliveryResult {
        status: crate::job::DeliveryStatus::Delivered,
        next_attempt_at: None,
        response_status: Some(200),
        error: None,
        is_sent: true,
        latency: Duration::ZERO,
        answer: Bytes::new(),
    };
    let told = store.finish_delivery(delivery.id, 2, result, now).await.unwrap().unwrap();
    assert_eq!(told.webhook.unwrap().attempts, 2);
}

#[tokio::test]
async fn rows_of_the_first_schema_are_read_and_worked_on() {
    let directory = of_the_first_schema("");
    let store = SqliteStore::open(directory.path(), Options::default()).unwrap();
    let filter = crate::store::ListFilter { limit: 9, ..Default::default() };
    let jobs = store.list(filter).await.unwrap();
    let told: Vec<(Status, usize)> = jobs.iter().map(|job| (job.status, job.assets.len())).collect();
    assert_eq!(told, [(Status::Queued, 0), (Status::Succeeded, 0)]);
    let output = store.inline_bytes(jobs[1].id, InlineKey::Output("output".to_owned())).await.unwrap();
    assert_eq!(output.map(|bytes| bytes.len()), Some(323));
    let request = ClaimRequest {
        worker: uuid::Uuid::new_v4(),
        ready_max: 9,
        fetch_max: 9,
        memory_bytes_max: u64::MAX,
        lease_duration: Duration::from_secs(30),
        ready_turns: Vec::new(),
        fetch_turns: Vec::new(),
    };
    let claimed = store.claim(request, jobs[0].run_at).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].inline_source.as_ref().map(Bytes::len), Some(871));
}
