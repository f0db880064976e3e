//! What can go wrong between a client and its server, told so that the reader knows what to do.
//!
//! Owns [`ClientError`] and the reading of problem documents (RFC 9457). It never decides about repeating; `transport` does.

use std::error::Error as StdError;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a call did not give what it promises.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's address cannot be used.
    #[error("{given:?} is not the address of a server ({reason}); write it like http://127.0.0.1:8080")]
    Address {
        /// As given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The API key can't stand in a header; it is not repeated here.
    #[error("the API key is none: it has characters that no key has; check MINILAB_API_KEY or --api-key")]
    Key,
    /// No connection: nobody listens there, the name does not resolve, or TLS was refused.
    #[error(
        "cannot reach {server} ({cause}): is the server running at {server}? start it with `minilab serve`"
    )]
    Unreachable {
        /// The server's address.
        server: String,
        /// The innermost reason.
        cause: String,
    },
    /// The address says https, and what listens there speaks without TLS.
    #[error("{server} does not speak TLS ({cause}); if it is a plain http server, write {plain}")]
    NotTls {
        /// The server's address.
        server: String,
        /// The address with http.
        plain: String,
        /// What TLS says.
        cause: String,
    },
    /// The connection broke before the answer was whole.
    #[error("the connection to {server} broke ({cause}); the request may or may not have been carried out")]
    Interrupted {
        /// The server's address.
        server: String,
        /// The innermost reason.
        cause: String,
    },
    /// Neither side moved a byte for too long.
    #[error("{server} did not answer: no byte came or went for {} s", idle.as_secs())]
    Stalled {
        /// The server's address.
        server: String,
        /// For how long.
        idle: Duration,
    },
    /// The server said no and why.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The answer is not one that Minilab gives.
    #[error("{server} gave an answer that is not Minilab's ({what}); is it the right address?")]
    Answer {
        /// The server's address.
        server: String,
        /// What was unexpected.
        what: String,
    },
    /// The job was still not finished when the caller's time was over.
    #[error("job {id} is still {status} after {} s", limit.as_secs())]
    NotFinished {
        /// The job.
        id: String,
        /// Where it stands.
        status: crate::job::Status,
        /// The caller's limit.
        limit: Duration,
    },
    /// A local file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What arrived is not what the server stored.
    #[error("the downloaded bytes of {what} are damaged (SHA-256 {actual}, expected {expected}); try again")]
    Digest {
        /// Job and output.
        what: String,
        /// Hex.
        expected: String,
        /// Hex.
        actual: String,
    },
    /// TLS could not be set up on this machine.
    #[error("TLS cannot be used: {0}")]
    Tls(String),
}

impl ClientError {
    /// The server's refusal, if this is one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            ClientError::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the server has no such job or output, or no longer.
    pub fn is_not_found(&self) -> bool {
        self.problem().is_some_and(|problem| matches!(problem.status, 404 | 410))
    }

    /// Whether the server could not be spoken with at all.
    pub fn is_connection(&self) -> bool {
        matches!(
            self,
            ClientError::Unreachable { .. }
                | ClientError::NotTls { .. }
                | ClientError::Interrupted { .. }
                | ClientError::Stalled { .. }
        )
    }
}

/// A refusal as the server words it (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A page that explains it.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words.
    #[serde(default)]
    pub title: String,
    /// HTTP status.
    #[serde(default)]
    pub status: u16,
    /// This very case, for people.
    #[serde(default)]
    pub detail: String,
    /// Stable snake_case code.
    #[serde(default)]
    pub code: String,
    /// Whether the same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// Every mistake in a spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemItem>,
    /// Time the server asks to wait before the next try, from `Retry-After`.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// One mistake in a spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemItem {
    /// JSON Pointer to the value.
    #[serde(default)]
    pub pointer: String,
    /// What is wrong with it.
    #[serde(default)]
    pub detail: String,
}

impl Problem {
    /// Reads the body of a refusal; a body that is no problem document (a proxy's page) still yields the status.
    pub(super) fn read(status: u16, body: &[u8]) -> Problem {
        let mut problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        problem.status = status;
        problem
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = [&self.detail, &self.title].into_iter().find(|text| !text.is_empty());
        match said {
            Some(text) => write!(formatter, "{text}")?,
            None => write!(formatter, "the server answered with HTTP status {}", self.status)?,
        }
        if !self.code.is_empty() {
            write!(formatter, " ({} {})", self.status, self.code)?;
        }
        let is_said = |item: &ProblemItem| said.is_some_and(|said| said.contains(&item.detail));
        for item in self.errors.iter().filter(|item| !is_said(item)) {
            write!(formatter, "\n  {}: {}", item.pointer, item.detail)?;
        }
        Ok(())
    }
}

/// The innermost reason of an error: the outer ones of HTTP libraries only name their layers.
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Whether TLS met bytes that are none of TLS: the answer of a plain server.
pub(super) fn is_not_tls(error: &(dyn StdError + 'static)) -> bool {
    let mut inner = Some(error);
    while let Some(error) = inner {
        if matches!(error.downcast_ref(), Some(rustls::Error::InvalidMessage(_))) {
            return true;
        }
        // What an `io::Error` wraps is not its source.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        inner = wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_lists_every_mistake() {
        let body = br#"{"type":"/problems/invalid_spec","title":"The spec is invalid","status":422,"detail":"2 mistakes",
            "code":"invalid_spec","retryable":false,"errors":[{"pointer":"/width","detail":"must be 1..16384"}]}"#;
        let problem = Problem::read(422, body);
        assert_eq!(problem.to_string(), "2 mistakes (422 invalid_spec)\n  /width: must be 1..16384");
        assert!(!ClientError::Refused(Box::new(problem)).is_not_found());
    }

    #[test]
    fn a_proxys_page_still_yields_the_status() {
        let problem = Problem::read(502, b"<html>bad gateway</html>");
        assert_eq!(problem.to_string(), "the server answered with HTTP status 502");
    }
}
