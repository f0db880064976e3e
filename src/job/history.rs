//! What became of a job's attempts, and whether the job is suspected of having taken the process down. Pure data.

use serde::{Deserialize, Serialize};

use super::Failure;
use crate::clock::Timestamp;

/// Ended attempts that a job remembers; of more, the latest.
pub const ATTEMPTS_KEPT_MAX: usize = 16;

/// Longest message of an attempt's error in the history, in bytes; the job's own `error` has all of it.
const DETAIL_BYTES_MAX: usize = 200;

/// Deaths of the process while a job ran alone, or of the job's own process, after which the job has failed as `crashed`.
pub const DEATHS_MAX: u32 = 3;

/// How often a job's own process has died since it last ended in any other way. That the server stopped or died in between says nothing.
pub(super) fn own_deaths(attempts: &[AttemptRecord]) -> u32 {
    let says_something = |attempt: &&AttemptRecord| match attempt.end {
        AttemptEnd::Released | AttemptEnd::Lost => false,
        AttemptEnd::Died => attempt.error.is_some(),
        AttemptEnd::Succeeded | AttemptEnd::Failed | AttemptEnd::Cancelled => true,
    };
    let telling = attempts.iter().rev().filter(says_something);
    let deaths = telling.take_while(|attempt| attempt.end == AttemptEnd::Died).count();
    u32::try_from(deaths).unwrap_or(u32::MAX)
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptEnd {
    /// Every output was made and stored.
    Succeeded,
    /// With an error; whether another try followed shows in the next entry.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// Given back by a server that was stopping: it doesn't count.
    Released,
    /// Its lease ran out, or the server was killed from outside or lost its machine: it doesn't count.
    Lost,
    /// The process that ran it died, the server's or its own, perhaps of it: counted apart.
    Died,
}

impl AttemptEnd {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            AttemptEnd::Succeeded => "succeeded",
            AttemptEnd::Failed => "failed",
            AttemptEnd::Cancelled => "cancelled",
            AttemptEnd::Released => "released",
            AttemptEnd::Lost => "lost",
            AttemptEnd::Died => "died",
        }
    }
}

/// An attempt that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// From 1, counting every attempt that was begun.
    pub number: u32,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// When its end was recorded.
    pub finished_at: Timestamp,
    /// How it ended.
    pub end: AttemptEnd,
    /// What went wrong, its message cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// Adds an entry and forgets the oldest beyond [`ATTEMPTS_KEPT_MAX`].
pub(super) fn remember(attempts: &mut Vec<AttemptRecord>, mut record: AttemptRecord) {
    if let Some(error) = &mut record.error {
        error.cut_to(DETAIL_BYTES_MAX);
    }
    attempts.push(record);
    let surplus = attempts.len().saturating_sub(ATTEMPTS_KEPT_MAX);
    attempts.drain(..surplus);
}

/// Of a job whose attempt was under way when the process died that ran it: it runs alone until it has ended in any other way. Where attempts
/// run in processes of their own, none is suspected: whose process died is plain to see, and stands in the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// Deaths of the process while nothing but this job ran. Others prove nothing: a bystander dies in them like the culprit.
    pub deaths: u32,
    /// Whether the running attempt is the only one.
    pub is_alone: bool,
    /// Somebody asked for it to be tried again: it waits until nothing else is to be done, so that asking holds nobody up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_retried: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Code;

    #[test]
    fn the_history_is_bounded_in_entries_and_in_their_length() {
        let mut attempts = Vec::new();
        for number in 1..=40 {
            let moment = Timestamp::from_millis(i64::from(number));
            let error = Some(Failure::new(Code::StorageError, "é".repeat(400), true));
            let end = AttemptEnd::Failed;
            remember(
                &mut attempts,
                AttemptRecord { number, started_at: moment, finished_at: moment, end, error },
            );
        }
        let numbers: Vec<u32> = attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, (25..=40).collect::<Vec<u32>>());
        assert!(attempts.iter().all(|attempt| attempt.error.as_ref().unwrap().detail.len() == 200));
    }
}
