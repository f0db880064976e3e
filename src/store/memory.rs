//! The reference engine: plain maps under one lock, written to be obviously right.
//!
//! Owns no file and survives nothing; every verb is a few lines over [`Job`]'s own methods, and costs what the number of jobs costs.
//! The exam runs it beside the embedded engine, and the model test demands that the two agree. Used by tests of the rooms above.

mod deliveries;
mod line;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use self::deliveries::DeliveryRow;
use super::{
    ClaimRequest, Claimed, Counts, DeadLetters, DeliveryRequest, Extended, Finish, Found, InlineKey,
    Inserted, JobStore, ListFilter, NewJob, NextDue, Reap, Redelivered, Removed, Result, Retried, Waiting,
};
use crate::clock::Timestamp;
use crate::job::{
    Delivery, DeliveryId, DeliveryRecord, DeliveryResult, DeliveryStatus, Job, JobId, KeyId, Lease, Loss,
    Receiver, Render, Retention, SourceInfo, Standing, Status,
};

/// A store that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<JobId, Row>,
    /// By job and [`InlineKey::name`].
    inline: BTreeMap<(JobId, String), Bytes>,
    deliveries: BTreeMap<DeliveryId, DeliveryRow>,
    receivers: BTreeMap<String, Receiver>,
    tombstones: BTreeMap<JobId, (Timestamp, Owner)>,
    keys: BTreeMap<(Owner, String), KeyRow>,
}

/// The key that submitted a job.
type Owner = Option<KeyId>;

#[derive(Clone, Debug)]
struct Row {
    job: Job,
    /// Of the running attempt.
    lease: Option<(Uuid, Timestamp)>,
    /// The delivery that `job.webhook` shows.
    announced: Option<DeliveryId>,
}

#[derive(Debug)]
struct KeyRow {
    fingerprint: [u8; 32],
    job: JobId,
    created_at: Timestamp,
}

impl State {
    fn put(&mut self, id: JobId, key: InlineKey, bytes: Bytes) {
        self.inline.insert((id, key.name().into_owned()), bytes);
    }

    fn bytes(&self, id: JobId, key: &InlineKey) -> Option<Bytes> {
        self.inline.get(&(id, key.name().into_owned())).cloned()
    }

    /// The job if the lease still holds.
    fn held(&self, lease: &Lease) -> Option<Row> {
        self.rows.get(&lease.job).filter(|row| row.job.is_held_by(lease)).cloned()
    }

    /// Saves a job that has just left the state of running or queued, with its announcement if it has ended.
    fn end(&mut self, mut row: Row, render: &Render, now: Timestamp) -> Job {
        if let Some(new) = row.job.announce(render, now) {
            row.announced = Some(new.id);
            self.announce(&row.job, new, now);
        }
        row.lease = None;
        let job = row.job.clone();
        self.rows.insert(job.id, row);
        job
    }

    /// Removes a job and all that hangs on it.
    fn remove(&mut self, id: JobId, now: Timestamp) -> Option<Removed> {
        let row = self.rows.remove(&id)?;
        self.inline.retain(|(job, _), _| *job != id);
        self.deliveries.retain(|_, row| row.delivery.job != id);
        self.tombstones.insert(id, (now, row.job.owner.clone()));
        Some(Removed { job: row.job })
    }
}

#[async_trait]
impl JobStore for MemoryStore {
    async fn insert(&self, new: NewJob) -> Result<Inserted> {
        let mut state = self.state();
        let NewJob { job, inline_source, inline_assets, idempotency_key } = new;
        let now = job.created_at;
        if let Some(key) = &idempotency_key
            && let Some(known) = state.keys.get(&(job.owner.clone(), key.key.clone()))
            && known.created_at.plus(key.kept) > now
        {
            return Ok(match state.rows.get(&known.job) {
                _ if known.fingerprint != key.fingerprint => Inserted::Mismatch,
                Some(row) => Inserted::Duplicate(row.job.clone()),
                None => Inserted::DuplicateGone(known.job),
            });
        }
        if let Some(row) = state.rows.get(&job.id) {
            return Ok(Inserted::Duplicate(row.job.clone()));
        }
        if state.tombstones.contains_key(&job.id) {
            return Ok(Inserted::DuplicateGone(job.id));
        }
        if let Some(key) = idempotency_key {
            let row = KeyRow { fingerprint: key.fingerprint, job: job.id, created_at: now };
            state.keys.insert((job.owner.clone(), key.key), row);
        }
        if let Some(bytes) = inline_source {
            state.put(job.id, InlineKey::Source, bytes);
        }
        for (name, bytes) in inline_assets {
            state.put(job.id, InlineKey::Asset(name), bytes);
        }
        state.rows.insert(job.id, Row { job: job.clone(), lease: None, announced: None });
        Ok(Inserted::Created(job))
    }

    async fn get(&self, id: JobId) -> Result<Option<Found>> {
        let state = self.state();
        Ok(match state.rows.get(&id) {
            Some(row) => Some(Found::Job(Box::new(row.job.clone()))),
            None => state.gone(id),
        })
    }

    async fn list(&self, filter: ListFilter) -> Result<Vec<Job>> {
        let state = self.state();
        let jobs = state.rows.values().rev().map(|row| &row.job);
        Ok(jobs
            .filter(|job| filter.status.is_none_or(|status| job.status == status))
            .filter(|job| filter.tag.is_none() || job.spec.tag == filter.tag)
            .filter(|job| filter.owner.is_none() || job.owner == filter.owner)
            .filter(|job| filter.before.is_none_or(|before| job.id < before))
            .take(filter.limit)
            .cloned()
            .collect())
    }

    async fn inline_bytes(&self, id: JobId, key: InlineKey) -> Result<Option<Bytes>> {
        Ok(self.state().bytes(id, &key))
    }

    async fn waiting(&self) -> Result<Vec<Waiting>> {
        let state = self.state();
        let queued = state.rows.values().map(|row| &row.job).filter(|job| job.status == Status::Queued);
        let mut waiting: Vec<Waiting> = queued
            .map(|job| Waiting {
                id: job.id,
                priority: job.spec.priority,
                run_at: job.run_at,
                is_suspect: job.suspicion.is_some(),
                is_retried: job.suspicion.is_some_and(|suspicion| suspicion.is_retried),
                needs_fetch: job.needs_fetch(),
                owner: job.owner.clone(),
            })
            .collect();
        waiting.sort_by_key(|waiting| (-i16::from(waiting.priority), waiting.id));
        Ok(waiting)
    }

    async fn claim(&self, request: ClaimRequest, now: Timestamp) -> Result<Vec<Claimed>> {
        let mut state = self.state();
        let mut chosen = Vec::new();
        let mut memory_left = request.memory_bytes_max;
        for id in state.line(false, &request.ready_turns, now).into_iter().take(request.ready_max) {
            let Some(left) = memory_left.checked_sub(state.rows[&id].job.memory_bytes) else { break };
            memory_left = left;
            chosen.push(id);
        }
        chosen.extend(state.line(true, &request.fetch_turns, now).into_iter().take(request.fetch_max));
        chosen.sort_by_key(|id| (-i16::from(state.rows[id].job.spec.priority), *id));
        let mut claimed = Vec::new();
        for id in chosen {
            let bytes = state.bytes(id, &InlineKey::Source);
            let Some(row) = state.rows.get_mut(&id) else { continue };
            let inline_source = bytes.filter(|_| row.job.source.as_ref().is_some_and(|source| source.inline));
            row.job.claim(now);
            row.lease = Some((request.worker, now.plus(request.lease_duration)));
            let lease = Lease { job: id, attempt: row.job.attempt, worker: request.worker };
            claimed.push(Claimed { job: row.job.clone(), lease, inline_source });
        }
        Ok(claimed)
    }

    async fn claim_suspect(
        &self,
        worker: Uuid,
        is_alone: bool,
        lease_duration: Duration,
        now: Timestamp,
    ) -> Result<Option<Claimed>> {
        let mut state = self.state();
        let state = &mut *state;
        let is_due = |row: &&mut Row| row.job.status == Status::Queued && row.job.run_at <= now;
        let queued = state.rows.values_mut().filter(is_due);
        let suspects = queued.filter_map(|row| row.job.suspicion.map(|suspicion| (suspicion.deaths, row)));
        let worst = suspects.max_by_key(|(deaths, row)| (*deaths, std::cmp::Reverse(row.job.id)));
        Ok(worst.map(|(_, row)| {
            row.job.claim_suspect(is_alone, now);
            row.lease = Some((worker, now.plus(lease_duration)));
            let lease = Lease { job: row.job.id, attempt: row.job.attempt, worker };
            let is_inline = row.job.source.as_ref().is_some_and(|source| source.inline);
            let key = (row.job.id, InlineKey::Source.name().into_owned());
            let inline_source = state.inline.get(&key).filter(|_| is_inline).cloned();
            Claimed { job: row.job.clone(), lease, inline_source }
        }))
    }

    async fn extend(
        &self,
        leases: Vec<Lease>,
        lease_duration: Duration,
        now: Timestamp,
    ) -> Result<Vec<Extended>> {
        let mut state = self.state();
        let extend = |lease: &Lease| match state.rows.get_mut(&lease.job) {
            Some(row) if row.job.is_held_by(lease) => {
                row.lease = Some((lease.worker, now.plus(lease_duration)));
                if row.job.cancel_requested { Extended::CancelRequested } else { Extended::Held }
            }
            _ => Extended::Lost,
        };
        Ok(leases.iter().map(extend).collect())
    }

    async fn set_source(
        &self,
        lease: Lease,
        source: SourceInfo,
        inline: Option<Bytes>,
        memory_bytes: u64,
    ) -> Result<Option<Job>> {
        let mut state = self.state();
        let Some(mut row) = state.held(&lease) else { return Ok(None) };
        row.job.set_source(source, memory_bytes);
        if let Some(bytes) = inline {
            state.put(lease.job, InlineKey::Source, bytes);
        }
        state.rows.insert(lease.job, row.clone());
        Ok(Some(row.job))
    }

    async fn finish(
        &self,
        finish: Finish,
        retention: Retention,
        render: Render,
        now: Timestamp,
    ) -> Result<Option<Job>> {
        let mut state = self.state();
        let Some(mut row) = state.held(&finish.lease) else { return Ok(None) };
        row.job.finish(finish.outcome, finish.attempt, &retention, now);
        if row.job.status == Status::Succeeded {
            for (name, bytes) in finish.inline_outputs {
                state.put(row.job.id, InlineKey::Output(name), bytes);
            }
        }
        Ok(Some(state.end(row, &render, now)))
    }

    async fn cancel(
        &self,
        id: JobId,
        retention: Retention,
        render: Render,
        now: Timestamp,
    ) -> Result<Option<Found>> {
        let mut state = self.state();
        let Some(mut row) = state.rows.get(&id).cloned() else {
            return Ok(state.gone(id));
        };
        if !row.job.cancel(&retention, now) {
            return Ok(Some(Found::Job(Box::new(row.job))));
        }
        let job = if row.job.status == Status::Running {
            state.rows.insert(id, row.clone());
            row.job
        } else {
            state.end(row, &render, now)
        };
        Ok(Some(Found::Job(Box::new(job))))
    }

    async fn retry(&self, id: JobId, now: Timestamp) -> Result<Retried> {
        let mut state = self.state();
        if state.tombstones.contains_key(&id) {
            return Ok(Retried::Gone);
        }
        let Some(row) = state.rows.get_mut(&id) else { return Ok(Retried::Unknown) };
        if !row.job.retry(now) {
            return Ok(Retried::WrongState(Box::new(row.job.clone())));
        }
        row.announced = None;
        Ok(Retried::Queued(Box::new(row.job.clone())))
    }

    async fn delete(&self, id: JobId, now: Timestamp) -> Result<Option<Removed>> {
        Ok(self.state().remove(id, now))
    }

    async fn reap(
        &self,
        reap: Reap,
        retention: Retention,
        render: Render,
        now: Timestamp,
    ) -> Result<Vec<Job>> {
        let mut state = self.state();
        let dead = |row: &&Row| match (reap, row.lease) {
            (Reap::Expired, Some((_, until))) => until <= now,
            (Reap::OthersThan(worker, _), Some((holder, _))) => holder != worker,
            (_, None) => false,
        };
        let rows: Vec<Row> = state.rows.values().filter(dead).cloned().collect();
        if reap != Reap::Expired {
            state.release_deliveries(now);
        }
        let loss = match reap {
            Reap::Expired => Loss::Lease,
            Reap::OthersThan(_, loss) => loss,
        };
        let mut jobs = Vec::new();
        for mut row in rows {
            row.job.reap(loss, &retention, now);
            jobs.push(state.end(row, &render, now));
        }
        Ok(jobs)
    }

    async fn purge(&self, retention: Retention, limit: usize, now: Timestamp) -> Result<Vec<Removed>> {
        let mut state = self.state();
        let deliveries = oldest(&state.deliveries, limit, |row| {
            row.ended_at.filter(|ended| ended.plus(retention.deliveries) <= now)
        });
        state.deliveries.retain(|id, _| !deliveries.contains(id));
        state.forget_receivers(now.minus(retention.deliveries), limit);
        let tombstones = oldest(&state.tombstones, limit, |(removed, _)| {
            Some(*removed).filter(|removed| removed.plus(retention.tombstones) <= now)
        });
        state.tombstones.retain(|id, _| !tombstones.contains(id));
        let keys = oldest(&state.keys, limit, |row| {
            Some(row.created_at).filter(|created| created.plus(retention.idempotency_keys) <= now)
        });
        state.keys.retain(|key, _| !keys.contains(key));
        let pending = |id: JobId| {
            let mut rows = state.deliveries.values();
            rows.any(|row| row.delivery.job == id && row.status == DeliveryStatus::Pending)
        };
        let jobs = oldest(&state.rows, limit, |row| {
            row.job.expires_at.filter(|expires_at| *expires_at <= now && !pending(row.job.id))
        });
        Ok(jobs.into_iter().filter_map(|id| state.remove(id, now)).collect())
    }

    async fn claim_deliveries(&self, request: DeliveryRequest, now: Timestamp) -> Result<Vec<Delivery>> {
        Ok(self.state().claim_deliveries(&request, now))
    }

    async fn finish_delivery(
        &self,
        id: DeliveryId,
        attempt: u32,
        result: DeliveryResult,
        now: Timestamp,
    ) -> Result<Option<Job>> {
        Ok(self.state().finish_delivery(id, attempt, &result, now))
    }

    async fn deliveries(&self, job: JobId) -> Result<Vec<DeliveryRecord>> {
        Ok(self.state().deliveries_of(job))
    }

    async fn dead_letters(&self, filter: DeadLetters) -> Result<Vec<DeliveryRecord>> {
        Ok(self.state().dead_letters(&filter))
    }

    async fn redeliver(&self, job: JobId, now: Timestamp) -> Result<Redelivered> {
        Ok(self.state().redeliver(job, now))
    }

    async fn redeliver_dead_letters(
        &self,
        since: Timestamp,
        receiver: Option<String>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Job>> {
        Ok(self.state().redeliver_dead_letters(since, receiver.as_deref(), limit, now))
    }

    async fn failing_receivers(&self, limit: usize) -> Result<Vec<Receiver>> {
        let state = self.state();
        let failing = state.receivers.values().filter(|receiver| receiver.standing() != Standing::Well);
        Ok(failing.take(limit).cloned().collect())
    }

    async fn enable_receiver(&self, receiver: String) -> Result<bool> {
        Ok(self.state().receivers.get_mut(&receiver).is_some_and(Receiver::enable))
    }

    async fn counts(&self) -> Result<Counts> {
        let state = self.state();
        let jobs = Status::ALL
            .map(|status| state.rows.values().filter(|row| row.job.status == status).count() as u64);
        let deliveries = DeliveryStatus::ALL
            .map(|status| state.deliveries.values().filter(|row| row.status == status).count() as u64);
        Ok(Counts { jobs, deliveries })
    }

    async fn counts_of(&self, owner: KeyId) -> Result<Counts> {
        let state = self.state();
        let is_own = |job: &Job| job.owner.as_ref() == Some(&owner);
        let own = || state.rows.values().map(|row| &row.job).filter(|job| is_own(job));
        let of_own =
            |row: &&DeliveryRow| state.rows.get(&row.delivery.job).is_some_and(|own| is_own(&own.job));
        let jobs = Status::ALL.map(|status| own().filter(|job| job.status == status).count() as u64);
        let deliveries = DeliveryStatus::ALL.map(|status| {
            state.deliveries.values().filter(of_own).filter(|row| row.status == status).count() as u64
        });
        Ok(Counts { jobs, deliveries })
    }

    async fn next_due(&self, now: Timestamp) -> Result<NextDue> {
        let state = self.state();
        let queued = state.rows.values().filter(|row| row.job.status == Status::Queued);
        let pending = state.deliveries.values().filter(|row| row.status == DeliveryStatus::Pending);
        Ok(NextDue {
            job: queued.map(|row| row.job.run_at).filter(|run_at| *run_at > now).min(),
            delivery: pending.map(|row| row.next_attempt_at).filter(|next| *next > now).min(),
        })
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// The keys of at most `limit` entries that have a moment by `moment`, earliest first.
fn oldest<K: Ord + Clone, V>(
    map: &BTreeMap<K, V>,
    limit: usize,
    moment: impl Fn(&V) -> Option<Timestamp>,
) -> Vec<K> {
    let mut found: Vec<(Timestamp, &K)> =
        map.iter().filter_map(|(key, value)| moment(value).map(|at| (at, key))).collect();
    found.sort();
    found.into_iter().take(limit).map(|(_, key)| key.clone()).collect()
}
