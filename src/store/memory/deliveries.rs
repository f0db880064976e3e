//! The verbs on deliveries and receivers.

use super::{State, oldest};
use crate::clock::Timestamp;
use crate::job::{
    Delivery, DeliveryAttempt, DeliveryId, DeliveryRecord, DeliveryResult, DeliveryStatus, Job, JobId,
    NewDelivery, Receiver, Standing,
};
use crate::store::{DeadLetters, DeliveryRequest, DueOf, Redelivered, in_turns};

/// A delivery as it is kept.
#[derive(Debug)]
pub(super) struct DeliveryRow {
    /// With the number of the last attempt.
    pub(super) delivery: Delivery,
    pub(super) status: DeliveryStatus,
    pub(super) claimed: bool,
    pub(super) next_attempt_at: Timestamp,
    created_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    log: Vec<DeliveryAttempt>,
}

impl DeliveryRow {
    fn record(&self) -> DeliveryRecord {
        let waits = self.status == DeliveryStatus::Pending && !self.claimed;
        DeliveryRecord {
            id: self.delivery.id,
            job: self.delivery.job,
            event: self.delivery.event,
            url: self.delivery.url.clone(),
            status: self.status,
            attempts_begun: self.delivery.attempt,
            created_at: self.created_at,
            ended_at: self.ended_at,
            next_attempt_at: waits.then_some(self.next_attempt_at),
            attempts: self.log.clone(),
        }
    }

    fn send_again(&mut self, now: Timestamp) {
        self.status = DeliveryStatus::Pending;
        self.next_attempt_at = now;
        self.ended_at = None;
        self.delivery.scheduled_attempt = 0;
    }
}

impl State {
    /// Stores a delivery that is due at once.
    pub(super) fn announce(&mut self, job: &Job, new: NewDelivery, now: Timestamp) {
        self.receivers
            .entry(new.receiver.clone())
            .or_insert_with(|| Receiver::new(new.receiver.clone(), now));
        let delivery = Delivery {
            id: new.id,
            job: job.id,
            owner: job.owner.clone(),
            event: new.event,
            url: new.url,
            receiver: new.receiver,
            body: new.body,
            attempt: 0,
            scheduled_attempt: 0,
            trace_parent: new.trace_parent,
            standing: Standing::Well,
        };
        let row = DeliveryRow {
            delivery,
            status: DeliveryStatus::Pending,
            claimed: false,
            next_attempt_at: now,
            created_at: now,
            ended_at: None,
            log: Vec::new(),
        };
        self.deliveries.insert(new.id, row);
    }

    /// Makes what others had claimed due at once.
    pub(super) fn release_deliveries(&mut self, now: Timestamp) {
        for row in self.deliveries.values_mut().filter(|row| row.claimed) {
            row.claimed = false;
            row.next_attempt_at = now;
        }
    }

    /// Forgets at most `limit` receivers that are owed nothing and were last asked at `before` or earlier.
    pub(super) fn forget_receivers(&mut self, before: Timestamp, limit: usize) {
        let is_owed = |name: &str| {
            let mut owed = self.deliveries.values().filter(|row| row.status == DeliveryStatus::Pending);
            owed.any(|row| row.delivery.receiver == name)
        };
        let idle = oldest(&self.receivers, limit, |receiver| {
            Some(receiver.attempted_at).filter(|at| *at <= before && !is_owed(&receiver.name))
        });
        self.receivers.retain(|name, _| !idle.contains(name));
    }

    fn standing(&self, receiver: &str) -> Standing {
        self.receivers.get(receiver).map_or(Standing::Well, Receiver::standing)
    }

    pub(super) fn claim_deliveries(&mut self, request: &DeliveryRequest, now: Timestamp) -> Vec<Delivery> {
        let mut receivers: Vec<(Timestamp, &String)> = Vec::new();
        let is_due = |row: &&DeliveryRow| row.status == DeliveryStatus::Pending && row.next_attempt_at <= now;
        for name in self.receivers.keys().filter(|name| request.places(name) > 0) {
            let due = self.deliveries.values().filter(is_due).filter(|row| row.delivery.receiver == *name);
            receivers.extend(due.map(|row| row.next_attempt_at).min().map(|first| (first, name)));
        }
        receivers.sort();
        let (mut well, mut failing) = (0, 0);
        receivers.retain(|(_, name)| match self.standing(name) {
            Standing::Well => {
                well += 1;
                well <= request.limit
            }
            Standing::Failing | Standing::Disabled => {
                failing += 1;
                failing <= request.failing_max.min(request.limit)
            }
        });
        let due_of = |(_, name): &(Timestamp, &String)| DueOf {
            is_failing: self.standing(name) != Standing::Well,
            due: oldest(&self.deliveries, request.places(name), |row| {
                (is_due(&row) && row.delivery.receiver == **name).then_some(row.next_attempt_at)
            })
            .into_iter()
            .map(|id| (self.deliveries[&id].next_attempt_at, id))
            .collect(),
        };
        let receivers: Vec<DueOf<(Timestamp, DeliveryId)>> = receivers.iter().map(due_of).collect();
        let mut claimed = Vec::new();
        for (_, id) in in_turns(&receivers, request.limit, request.failing_max) {
            let Some(row) = self.deliveries.get_mut(&id) else { continue };
            row.delivery.attempt += 1;
            row.delivery.scheduled_attempt += 1;
            row.claimed = true;
            row.next_attempt_at = now.plus(request.lease_duration);
            let delivery = row.delivery.clone();
            claimed.push(Delivery { standing: self.standing(&delivery.receiver), ..delivery });
        }
        claimed
    }

    pub(super) fn finish_delivery(
        &mut self,
        id: DeliveryId,
        attempt: u32,
        result: &DeliveryResult,
        now: Timestamp,
    ) -> Option<Job> {
        let row = self.deliveries.get_mut(&id)?;
        if !row.claimed || row.delivery.attempt != attempt {
            return None;
        }
        row.claimed = false;
        row.status = result.status;
        row.next_attempt_at = result.next_attempt_at.unwrap_or(now);
        row.ended_at = (result.status != DeliveryStatus::Pending).then_some(now);
        row.log.push(DeliveryAttempt::new(attempt, result, now));
        if let Some(receiver) = self.receivers.get_mut(&row.delivery.receiver) {
            receiver.attempted(result, now);
        }
        let job = self.rows.get_mut(&row.delivery.job)?;
        if job.announced == Some(id) {
            job.job.delivery_attempted(attempt, result, now);
        }
        Some(job.job.clone())
    }

    pub(super) fn deliveries_of(&self, job: JobId) -> Vec<DeliveryRecord> {
        let newest_first = self.deliveries.values().rev();
        newest_first.filter(|row| row.delivery.job == job).map(DeliveryRow::record).collect()
    }

    pub(super) fn dead_letters(&self, filter: &DeadLetters) -> Vec<DeliveryRecord> {
        let dead = self.deliveries.values().rev().filter(|row| row.status == DeliveryStatus::Failed);
        dead.filter(|row| filter.receiver.as_ref().is_none_or(|name| row.delivery.receiver == *name))
            .filter(|row| filter.before.is_none_or(|before| row.delivery.id < before))
            .take(filter.limit)
            .map(|row| {
                let mut record = row.record();
                record.attempts.drain(..record.attempts.len().saturating_sub(1));
                record
            })
            .collect()
    }

    pub(super) fn redeliver(&mut self, job: JobId, now: Timestamp) -> Redelivered {
        let Some(found) = self.rows.get(&job) else {
            let is_gone = self.tombstones.contains_key(&job);
            return if is_gone { Redelivered::Gone } else { Redelivered::Unknown };
        };
        let Some(row) = self.deliveries.values().rev().find(|row| row.delivery.job == job) else {
            return Redelivered::Nothing(Box::new(found.job.clone()));
        };
        match row.claimed {
            true => Redelivered::Due(Box::new(found.job.clone())),
            false => match self.send_again(row.delivery.id, now) {
                Some(job) => Redelivered::Due(Box::new(job)),
                None => Redelivered::Unknown,
            },
        }
    }

    pub(super) fn redeliver_dead_letters(
        &mut self,
        since: Timestamp,
        receiver: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<Job> {
        let dead = oldest(&self.deliveries, limit, |row| {
            let is_meant = receiver.is_none_or(|name| row.delivery.receiver == name);
            row.ended_at.filter(|ended| row.status == DeliveryStatus::Failed && is_meant && *ended >= since)
        });
        dead.into_iter().filter_map(|id| self.send_again(id, now)).collect()
    }

    fn send_again(&mut self, id: DeliveryId, now: Timestamp) -> Option<Job> {
        let delivery = self.deliveries.get_mut(&id)?;
        delivery.send_again(now);
        let name = delivery.delivery.receiver.clone();
        self.receivers.entry(name.clone()).or_insert_with(|| Receiver::new(name, now));
        let row = self.rows.get_mut(&delivery.delivery.job)?;
        if row.announced == Some(id) {
            row.job.redelivered(now);
        }
        Some(row.job.clone())
    }
}
