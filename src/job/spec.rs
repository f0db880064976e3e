//! What the caller asked for, already valid. Made by `api` from JSON or from a query; stored with the job.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Event;
use crate::clock::Timestamp;
use crate::pipeline::Pipeline;

/// Where the image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceSpec {
    /// It came with the request.
    Upload,
    /// It is fetched inside the job.
    Url {
        /// Vetted at submit, and again when dialled.
        url: String,
        /// Sent with the request; erased once the source is stored, never shown.
        headers: Vec<Header>,
    },
}

/// One request header for fetching a source.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Name, lower case.
    pub name: String,
    /// Value; may be a secret.
    pub value: String,
}

impl std::fmt::Debug for Header {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: [REDACTED]", self.name)
    }
}

/// Whom to tell, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSpec {
    /// Vetted at submit, and again when dialled.
    pub url: String,
    /// Events wanted; never empty.
    pub events: Vec<Event>,
}

/// A valid job specification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Where the image comes from.
    pub source: SourceSpec,
    /// What to do with it.
    pub pipeline: Pipeline,
    /// Preset that was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Whom to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSpec>,
    /// −100..100, higher first.
    pub priority: i8,
    /// Not before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// Time one attempt may take, fetch included.
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// Attempts before a transient failure is final.
    pub max_attempts: u32,
    /// How long results are kept after success; `None` takes the server's default.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_millis")]
    pub expires_in: Option<Duration>,
    /// Free label to list by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Given back untouched.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

mod millis {
    //! Durations are stored as whole milliseconds.
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

mod optional_millis {
    //! The same for a duration that may be absent.
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::millis::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<u64>::deserialize(deserializer).map(|millis| millis.map(Duration::from_millis))
    }
}
