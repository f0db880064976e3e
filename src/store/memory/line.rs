//! Who waits, and in which order: the reference's way of taking turns among owners. Used by the reference engine alone.

use std::collections::BTreeMap;

use super::{Owner, State};
use crate::clock::Timestamp;
use crate::job::{Job, JobId, Status};
use crate::store::Found;

impl State {
    /// The tombstone of a job.
    pub(super) fn gone(&self, id: JobId) -> Option<Found> {
        self.tombstones.get(&id).map(|(_, owner)| Found::Gone(owner.clone()))
    }

    /// Due jobs of one kind in the order of claiming: one of an owner a turn, then those of owners who have none.
    pub(super) fn line(&self, needs_fetch: bool, turns: &[Owner], now: Timestamp) -> Vec<JobId> {
        let mut lines: BTreeMap<&Owner, Vec<&Job>> = BTreeMap::new();
        let queued = self.rows.values().map(|row| &row.job).filter(|job| job.status == Status::Queued);
        for job in queued.filter(|job| job.run_at <= now && job.suspicion.is_none()) {
            if job.needs_fetch() == needs_fetch {
                lines.entry(&job.owner).or_default().push(job);
            }
        }
        for line in lines.values_mut() {
            line.sort_by_key(|job| (i16::from(job.spec.priority), std::cmp::Reverse(job.id)));
        }
        let mut order: Vec<JobId> = Vec::new();
        for turn in turns {
            order.extend(lines.get_mut(turn).and_then(Vec::pop).map(|job| job.id));
        }
        let others = lines.into_iter().filter(|(owner, _)| !turns.contains(owner));
        order.extend(others.flat_map(|(_, line)| line.into_iter().rev()).map(|job| job.id));
        order
    }
}
