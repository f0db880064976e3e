//! What an error looks like: RFC 9457 problem details.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pipeline::Problem;

/// `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProblemDetails {
    /// `/problems/<code>`: a page that explains it.
    #[serde(rename = "type")]
    pub kind: String,
    /// What kind of problem, always the same for a code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time, and what to do.
    pub detail: String,
    /// Stable snake_case code.
    pub code: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Every mistake of a specification.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Mistake>,
    /// Names the request in the server's log; given with errors that are the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// One mistake of a specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mistake {
    /// JSON Pointer (RFC 6901) into the specification, or `/` and the name of a query parameter.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl From<Problem> for Mistake {
    fn from(problem: Problem) -> Mistake {
        Mistake { pointer: problem.pointer, detail: problem.detail }
    }
}
