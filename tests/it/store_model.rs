//! The model: random verbs against the reference and the embedded engine, which must agree on every answer and every record.

use std::time::Duration;

use bytes::Bytes;
use minilab::clock::Timestamp;
use minilab::job::{
    Attempt, Code, Delivery, DeliveryId, DeliveryRecord, DeliveryStatus, Event, Failure, Job, JobId, JobSpec,
    KeyId, Lease, Loss, Outcome, Retention, Status, WebhookSpec,
};
use minilab::store::memory::MemoryStore;
use minilab::store::sqlite::SqliteStore;
use minilab::store::{
    ClaimRequest, DeadLetters, DeliveryRequest, Finish, Found, IdempotencyKey, InlineKey, Inserted, JobStore,
    ListFilter, NewJob, Reap, Redelivered, Removed, Retried,
};
use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

use crate::store::{open, run};
use crate::support::jobs::{
    START, attempted, deliveries, ending, new_job, render, request, source, spec, success, url_spec,
};

const RECEIVERS: [&str; 2] = ["https://a.test", "https://b.test"];
const TAGS: [&str; 2] = ["red", "blue"];

/// One random verb; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Verb {
    Insert {
        priority: i8,
        fetch: bool,
        inline: bool,
        memory: u64,
        delay: u64,
        hook: usize,
        tag: usize,
        key: usize,
        owner: usize,
    },
    Claim {
        ready: usize,
        fetch: usize,
        memory: u64,
        worker: u128,
        turns: Vec<usize>,
    },
    ClaimSuspect {
        worker: u128,
        alone: bool,
    },
    Extend {
        pick: usize,
    },
    SetSource {
        pick: usize,
        inline: bool,
    },
    Finish {
        pick: usize,
        how: usize,
        delay: u64,
    },
    Cancel {
        pick: usize,
    },
    Retry {
        pick: usize,
    },
    Delete {
        pick: usize,
    },
    Reap {
        boot: Option<u128>,
    },
    Purge {
        limit: usize,
    },
    ClaimDeliveries {
        limit: usize,
        except: usize,
    },
    FinishDelivery {
        pick: usize,
        how: usize,
        delay: u64,
    },
    Redeliver {
        pick: usize,
    },
    RedeliverDead {
        since: u64,
        receiver: usize,
        limit: usize,
    },
    Enable {
        receiver: usize,
    },
    List {
        status: usize,
        tag: usize,
        owner: usize,
        before: usize,
        limit: usize,
    },
    Wait {
        millis: u64,
    },
    Restart,
}

fn verb() -> impl Strategy<Value = Verb> {
    let pick = 0..1000_usize;
    prop_oneof![
        6 => (-1..2_i8, any::<bool>(), any::<bool>(), 0..4_u64, 0..4_u64, 0..4_usize, 0..3_usize, 0..12_usize, 0..4_usize).prop_map(
            |(priority, fetch, inline, memory, delay, hook, tag, key, owner)| Verb::Insert {
                priority, fetch, inline, memory, delay, hook, tag, key, owner
            }
        ),
        5 => (0..4_usize, 0..3_usize, 0..7_u64, 1..3_u128, proptest::collection::vec(0..4_usize, 0..4))
            .prop_map(|(ready, fetch, memory, worker, turns)| Verb::Claim { ready, fetch, memory, worker, turns }),
        2 => (1..3_u128, any::<bool>()).prop_map(|(worker, alone)| Verb::ClaimSuspect { worker, alone }),
        1 => pick.clone().prop_map(|pick| Verb::Extend { pick }),
        2 => (pick.clone(), any::<bool>()).prop_map(|(pick, inline)| Verb::SetSource { pick, inline }),
        9 => (pick.clone(), 0..5_usize, 0..3_u64).prop_map(|(pick, how, delay)| Verb::Finish { pick, how, delay }),
        2 => pick.clone().prop_map(|pick| Verb::Cancel { pick }),
        2 => pick.clone().prop_map(|pick| Verb::Retry { pick }),
        1 => pick.clone().prop_map(|pick| Verb::Delete { pick }),
        2 => proptest::option::of(1..3_u128).prop_map(|boot| Verb::Reap { boot }),
        2 => (0..4_usize).prop_map(|limit| Verb::Purge { limit }),
        4 => (1..4_usize, 0..4_usize).prop_map(|(limit, except)| Verb::ClaimDeliveries { limit, except }),
        6 => (pick, 0..3_usize, 0..3_u64)
            .prop_map(|(pick, how, delay)| Verb::FinishDelivery { pick, how, delay }),
        1 => (0..1000_usize).prop_map(|pick| Verb::Redeliver { pick }),
        1 => (0..30_u64, 0..4_usize, 0..4_usize)
            .prop_map(|(since, receiver, limit)| Verb::RedeliverDead { since, receiver, limit }),
        1 => (0..2_usize).prop_map(|receiver| Verb::Enable { receiver }),
        2 => (0..6_usize, 0..3_usize, 0..4_usize, 0..1000_usize, 0..5_usize)
            .prop_map(|(status, tag, owner, before, limit)| Verb::List { status, tag, owner, before, limit }),
        3 => prop_oneof![Just(0), Just(1), Just(2), 0..20_000_u64, Just(90_000)].prop_map(|millis| Verb::Wait { millis }),
        1 => Just(Verb::Restart),
    ]
}

/// Short enough that waiting makes things expire.
fn retention() -> Retention {
    Retention {
        succeeded: Duration::from_secs(20),
        failed: Duration::from_secs(30),
        tombstones: Duration::from_secs(40),
        deliveries: Duration::from_secs(10),
        idempotency_keys: Duration::from_secs(25),
    }
}

/// One of two owners, or nobody.
fn owner(pick: usize) -> Option<KeyId> {
    (1..3).contains(&pick).then(|| KeyId::from_random(pick as u64))
}

/// A delivery as both engines must see it: its id is each engine's own.
type Seen = (JobId, Option<KeyId>, Event, String, String, Bytes, u32);

fn seen(delivery: &Delivery) -> Seen {
    let Delivery { job, owner, event, url, receiver, body, attempt, .. } = delivery.clone();
    (job, owner, event, url, receiver, body, attempt)
}

/// Both engines and what a caller of them would remember.
struct Pair {
    memory: MemoryStore,
    sqlite: Option<SqliteStore>,
    directory: TempDir,
    now: Timestamp,
    jobs: Vec<JobId>,
    leases: Vec<Lease>,
    deliveries: Vec<(DeliveryId, DeliveryId, u32)>,
}

/// Asks both engines, compares, and gives the answer.
macro_rules! both {
    ($pair:ident, $store:ident => $call:expr, $view:expr) => {{
        let ask = async |$store: &dyn JobStore| $call.await.unwrap();
        let expected = ask(&$pair.memory).await;
        let found = ask($pair.sqlite()).await;
        prop_assert_eq!($view(&expected), $view(&found));
        (expected, found)
    }};
}

fn inserted(answer: &Inserted) -> (u8, Option<Job>, Option<JobId>) {
    match answer {
        Inserted::Created(job) => (0, Some(job.clone()), None),
        Inserted::Duplicate(job) => (1, Some(job.clone()), None),
        Inserted::DuplicateGone(id) => (2, None, Some(*id)),
        Inserted::Mismatch => (3, None, None),
    }
}

fn found(answer: &Option<Found>) -> Option<Option<Job>> {
    answer.as_ref().map(|found| match found {
        Found::Job(job) => Some((**job).clone()),
        Found::Gone(_) => None,
    })
}

fn retried(answer: &Retried) -> (u8, Option<Job>) {
    match answer {
        Retried::Queued(job) => (0, Some((**job).clone())),
        Retried::WrongState(job) => (1, Some((**job).clone())),
        Retried::Gone => (2, None),
        Retried::Unknown => (3, None),
    }
}

fn redelivered(answer: &Redelivered) -> (u8, Option<Job>) {
    match answer {
        Redelivered::Due(job) => (0, Some((**job).clone())),
        Redelivered::Nothing(job) => (1, Some((**job).clone())),
        Redelivered::Gone => (2, None),
        Redelivered::Unknown => (3, None),
    }
}

/// Records of deliveries without their ids, which are each engine's own.
fn logged(records: &[DeliveryRecord]) -> Vec<DeliveryRecord> {
    let id = DeliveryId::from_bytes([0; 16]);
    records.iter().map(|record| DeliveryRecord { id, ..record.clone() }).collect()
}

fn removed(answer: impl IntoIterator<Item = Removed>) -> Vec<Job> {
    answer.into_iter().map(|removed| removed.job).collect()
}

fn same<T: Clone>(answer: &T) -> T {
    answer.clone()
}

impl Pair {
    fn new() -> Pair {
        let directory = tempfile::tempdir().unwrap();
        let sqlite = Some(open(directory.path()));
        let (jobs, leases, deliveries) = (Vec::new(), Vec::new(), Vec::new());
        Pair { memory: MemoryStore::new(), sqlite, directory, now: START, jobs, leases, deliveries }
    }

    fn sqlite(&self) -> &SqliteStore {
        self.sqlite.as_ref().unwrap()
    }

    fn later(&self, seconds: u64) -> Timestamp {
        self.now.plus(Duration::from_secs(seconds))
    }

    fn job(&self, pick: usize) -> JobId {
        if self.jobs.is_empty() { JobId::new() } else { self.jobs[pick % self.jobs.len()] }
    }

    async fn step(&mut self, verb: Verb) -> Result<(), TestCaseError> {
        let now = self.now;
        match verb {
            Verb::Insert { .. } => self.insert(verb).await?,
            Verb::Claim { ready, fetch, memory, worker, turns } => {
                let ready_turns: Vec<Option<KeyId>> = turns.iter().map(|turn| owner(*turn)).collect();
                let fetch_turns = ready_turns.iter().rev().cloned().collect();
                let request = ClaimRequest {
                    ready_max: ready,
                    fetch_max: fetch,
                    memory_bytes_max: memory,
                    ready_turns,
                    fetch_turns,
                    ..request(Uuid::from_u128(worker))
                };
                let view = |answer: &Vec<minilab::store::Claimed>| -> Vec<(Job, Lease, Option<Bytes>)> {
                    let claimed = answer.iter();
                    claimed.map(|one| (one.job.clone(), one.lease, one.inline_source.clone())).collect()
                };
                let (claimed, _) = both!(self, store => store.claim(request.clone(), now), view);
                self.leases.extend(claimed.iter().map(|claimed| claimed.lease));
            }
            Verb::ClaimSuspect { worker, alone } => {
                let view = |answer: &Option<minilab::store::Claimed>| {
                    answer.as_ref().map(|one| (one.job.clone(), one.lease, one.inline_source.clone()))
                };
                let (worker, lease) = (Uuid::from_u128(worker), Duration::from_secs(30));
                let (claimed, _) = both!(self, store => store.claim_suspect(worker, alone, lease, now), view);
                self.leases.extend(claimed.iter().map(|claimed| claimed.lease));
            }
            Verb::Extend { pick } => {
                let leases: Vec<Lease> = self.leases.iter().copied().skip(pick % 7).step_by(2).collect();
                let seconds = Duration::from_secs(15);
                both!(self, store => store.extend(leases.clone(), seconds, now), same);
            }
            Verb::Reap { boot } => {
                let loss = if now.as_millis() % 3 == 0 { Loss::Lease } else { Loss::Process };
                let which =
                    boot.map_or(Reap::Expired, |worker| Reap::OthersThan(Uuid::from_u128(worker), loss));
                both!(self, store => store.reap(which, retention(), render(), now), same);
            }
            Verb::Purge { limit } => {
                both!(self, store => store.purge(retention(), limit, now), |answer: &Vec<Removed>| removed(answer.clone()));
            }
            Verb::Wait { millis } => self.now = now.plus(Duration::from_millis(millis)),
            Verb::Restart => {
                self.sqlite = None;
                self.sqlite = Some(open(self.directory.path()));
            }
            Verb::List { status, tag, owner: whose, before, limit } => {
                let before = (before % 3 != 0).then(|| self.job(before));
                let tag = TAGS.get(tag).map(|tag| (*tag).to_owned());
                let status = Status::ALL.get(status).copied();
                let filter = ListFilter { status, tag, owner: owner(whose), before, limit };
                both!(self, store => store.list(filter.clone()), same);
            }
            Verb::ClaimDeliveries { .. } | Verb::FinishDelivery { .. } => self.deliver(verb).await?,
            Verb::Redeliver { .. } | Verb::RedeliverDead { .. } | Verb::Enable { .. } => {
                self.send_again(verb).await?;
            }
            Verb::SetSource { .. } | Verb::Finish { .. } => self.run(verb).await?,
            Verb::Cancel { .. } | Verb::Retry { .. } | Verb::Delete { .. } => self.ask(verb).await?,
        }
        Ok(())
    }

    async fn insert(&mut self, verb: Verb) -> Result<(), TestCaseError> {
        let Verb::Insert { priority, fetch, inline, memory, delay, hook, tag, key, owner: whose } = verb
        else {
            return Ok(());
        };
        let events = if hook == 1 { vec![Event::Failed] } else { Event::ALL.to_vec() };
        let webhook = RECEIVERS.get(hook).map(|url| WebhookSpec { url: format!("{url}/hook"), events });
        let run_at = (delay > 0).then(|| self.later(delay));
        let tag = TAGS.get(tag).map(|tag| (*tag).to_owned());
        let base = if fetch { url_spec() } else { spec() };
        let mut new = new_job(JobSpec { priority, run_at, webhook, tag, ..base }, self.now);
        new.job.memory_bytes = memory;
        new.job.owner = owner(whose);
        if inline && !fetch {
            new.job.source = Some(source(true));
            new.inline_source = Some(Bytes::from(vec![priority as u8; 9]));
        }
        let kept = retention().idempotency_keys;
        new.idempotency_key = (key < 6).then(|| IdempotencyKey {
            key: format!("key {}", key % 3),
            fingerprint: [u8::from(key == 5); 32],
            kept,
        });
        self.jobs.push(new.job.id);
        let new: NewJob = new;
        both!(self, store => store.insert(new.clone()), inserted);
        Ok(())
    }

    async fn run(&mut self, verb: Verb) -> Result<(), TestCaseError> {
        if self.leases.is_empty() {
            return Ok(());
        }
        let now = self.now;
        match verb {
            Verb::SetSource { pick, inline } => {
                let lease = self.leases[pick % self.leases.len()];
                let bytes = inline.then(|| Bytes::from_static(b"fetched"));
                both!(self, store => store.set_source(lease, source(inline), bytes.clone(), 3), same);
            }
            Verb::Finish { pick, how, delay } => {
                // Mostly the newest leases, which may still hold.
                let back = (pick % 4).min(self.leases.len() - 1);
                let lease = self.leases[self.leases.len() - 1 - back];
                let failure = Failure::new(Code::Timeout, "too slow", true);
                let finish = match how {
                    0 | 1 => success(lease),
                    2 => ending(lease, Outcome::Retry(failure, self.later(delay))),
                    3 => ending(lease, Outcome::Failed(failure)),
                    _ if delay == 0 => ending(lease, Outcome::Cancelled),
                    _ => ending(lease, Outcome::Released),
                };
                let attempt = Attempt { has_run: pick % 2 == 0, ..finish.attempt };
                let finish = Finish { attempt, ..finish };
                both!(self, store => store.finish(finish.clone(), retention(), render(), now), same);
            }
            _ => {}
        }
        Ok(())
    }

    async fn ask(&mut self, verb: Verb) -> Result<(), TestCaseError> {
        let now = self.now;
        match verb {
            Verb::Cancel { pick } => {
                let id = self.job(pick);
                both!(self, store => store.cancel(id, retention(), render(), now), found);
            }
            Verb::Retry { pick } => {
                let id = self.job(pick);
                both!(self, store => store.retry(id, now), retried);
            }
            Verb::Delete { pick } => {
                let id = self.job(pick);
                both!(self, store => store.delete(id, now), |answer: &Option<Removed>| removed(answer.clone()));
            }
            _ => {}
        }
        Ok(())
    }

    async fn deliver(&mut self, verb: Verb) -> Result<(), TestCaseError> {
        let now = self.now;
        match verb {
            Verb::ClaimDeliveries { limit, except } => {
                let places_of = RECEIVERS.get(except).iter().map(|url| ((**url).to_owned(), 0)).collect();
                let request = DeliveryRequest {
                    failing_max: limit / 2,
                    places: 2,
                    places_of,
                    lease_duration: Duration::from_secs(5),
                    ..deliveries(limit)
                };
                let view = |answer: &Vec<Delivery>| answer.iter().map(seen).collect::<Vec<Seen>>();
                let (expected, found) =
                    both!(self, store => store.claim_deliveries(request.clone(), now), view);
                let pairs = expected.iter().zip(&found).map(|(one, other)| (one.id, other.id, one.attempt));
                self.deliveries.extend(pairs);
            }
            Verb::FinishDelivery { pick, how, delay } if !self.deliveries.is_empty() => {
                let back = (pick % 4).min(self.deliveries.len() - 1);
                let (memory, sqlite, attempt) = self.deliveries[self.deliveries.len() - 1 - back];
                let status = DeliveryStatus::ALL[how];
                let answered = if status == DeliveryStatus::Delivered { 200 } else { 500 };
                let next_attempt_at = (how == 0).then(|| self.later(delay));
                let result = attempted(status, (delay > 0).then_some(answered), next_attempt_at);
                let expected =
                    self.memory.finish_delivery(memory, attempt, result.clone(), now).await.unwrap();
                let found = self.sqlite().finish_delivery(sqlite, attempt, result, now).await.unwrap();
                prop_assert_eq!(expected, found);
            }
            _ => {}
        }
        Ok(())
    }

    async fn send_again(&mut self, verb: Verb) -> Result<(), TestCaseError> {
        let now = self.now;
        match verb {
            Verb::Redeliver { pick } => {
                let id = self.job(pick);
                both!(self, store => store.redeliver(id, now), redelivered);
            }
            Verb::RedeliverDead { since, receiver, limit } => {
                let since = now.minus(Duration::from_secs(since));
                let receiver = RECEIVERS.get(receiver).map(|url| (*url).to_owned());
                both!(self, store => store.redeliver_dead_letters(since, receiver.clone(), limit, now), same);
            }
            Verb::Enable { receiver } => {
                let receiver = RECEIVERS[receiver].to_owned();
                both!(self, store => store.enable_receiver(receiver.clone()), same);
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything that can be read must be the same.
    async fn compare(&self) -> Result<(), TestCaseError> {
        let now = self.now;
        let everything = ListFilter { limit: usize::MAX, ..ListFilter::default() };
        both!(self, store => store.list(everything.clone()), same);
        both!(self, store => store.counts(), same);
        both!(self, store => store.waiting(), same);
        both!(self, store => store.next_due(now), same);
        both!(self, store => store.failing_receivers(9), same);
        let dead = DeadLetters { limit: 99, ..DeadLetters::default() };
        both!(self, store => store.dead_letters(dead.clone()), logged);
        for receiver in RECEIVERS {
            let dead = DeadLetters { receiver: Some(receiver.to_owned()), ..dead.clone() };
            both!(self, store => store.dead_letters(dead.clone()), logged);
        }
        for id in &self.jobs {
            both!(self, store => store.get(*id), found);
            both!(self, store => store.deliveries(*id), logged);
            for key in [InlineKey::Source, InlineKey::Output("output".to_owned())] {
                both!(self, store => store.inline_bytes(*id, key.clone()), same);
            }
        }
        Ok(())
    }
}

/// A history that both engines must tell in the same way.
fn history(verbs: Vec<Verb>) -> Result<(), TestCaseError> {
    run(async {
        let mut pair = Pair::new();
        for verb in verbs {
            pair.step(verb).await?;
            let counts = pair.memory.counts().await.unwrap();
            prop_assert_eq!(counts, pair.sqlite().counts().await.unwrap());
        }
        pair.compare().await?;
        pair.step(Verb::Restart).await?;
        pair.compare().await
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_engines_tell_the_same_history(verbs in proptest::collection::vec(verb(), 1..120)) {
        history(verbs)?;
    }
}

#[test]
fn the_model_reaches_every_state() {
    // A model that never got anywhere would agree about nothing.
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let verbs = proptest::collection::vec(verb(), 1000).new_tree(&mut runner).unwrap().current();
    run(async {
        let mut pair = Pair::new();
        let mut most = minilab::store::Counts::default();
        for verb in verbs {
            pair.step(verb).await.unwrap();
            let counts = pair.memory.counts().await.unwrap();
            for (most, count) in most.jobs.iter_mut().zip(counts.jobs) {
                *most = count.max(*most);
            }
            for (most, count) in most.deliveries.iter_mut().zip(counts.deliveries) {
                *most = count.max(*most);
            }
        }
        pair.compare().await.unwrap();
        assert!(most.jobs.iter().chain(&most.deliveries).all(|count| *count > 0), "{most:?}");
        let gone = pair.jobs.iter().map(|id| pair.memory.get(*id));
        let gone = futures_util::future::join_all(gone).await;
        assert!(gone.iter().any(|found| matches!(found, Ok(Some(Found::Gone(_))))));
        assert!(gone.iter().any(|found| matches!(found, Ok(None))));
    });
}
