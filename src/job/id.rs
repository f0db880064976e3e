//! Job ids: UUIDv7, so that they sort by the time of submission.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identifies a job; written as a hyphenated lower-case UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// A new id; ids made by one process sort in the order in which they were made.
    pub fn new() -> JobId {
        JobId(Uuid::now_v7())
    }

    /// The sixteen bytes, as stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// From the stored sixteen bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> JobId {
        JobId(Uuid::from_bytes(bytes))
    }
}

impl Default for JobId {
    fn default() -> JobId {
        JobId::new()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(formatter)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    /// Only the hyphenated form is read: an id has one spelling in addresses and keys.
    fn from_str(text: &str) -> Result<JobId, uuid::Error> {
        uuid::fmt::Hyphenated::from_str(text).map(|id| JobId(id.into_uuid()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_creation_and_read_back() {
        let ids: Vec<JobId> = (0..1000).map(|_| JobId::new()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(ids[0].to_string().parse::<JobId>().unwrap(), ids[0]);
    }

    #[test]
    fn only_the_hyphenated_spelling_is_read() {
        let id = JobId::new();
        assert!(id.to_string().replace('-', "").parse::<JobId>().is_err());
        assert!(format!("{{{id}}}").parse::<JobId>().is_err());
    }
}
