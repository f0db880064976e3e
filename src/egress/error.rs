//! What can go wrong with an outbound request, in words that are safe to show to whoever asked for it.
//!
//! Owns [`EgressError`] and [`Refused`]. Their messages name hosts as the caller wrote them and never an address that a name was
//! resolved to: a job's error must not become a map of the network behind the server. Read by `webhook` and `worker`.

use std::fmt;
use std::time::Duration;

/// Why a request was turned down before (or instead of) being sent. `Display` gives the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// Whether the request makes no sense or is merely not permitted here.
    pub kind: RefusedKind,
    /// One sentence for the caller; it names the setting that would permit the request, if one does.
    pub reason: String,
}

/// The two families of refusals; at submit the first is `invalid_spec`, the second `source_forbidden` or `webhook_forbidden`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedKind {
    /// No server could honour it: not a URL, another scheme than http(s), a header that breaks HTTP.
    Malformed,
    /// Well formed, but it points where this server must not reach.
    Forbidden,
}

impl Refused {
    pub(super) fn malformed(reason: impl Into<String>) -> Refused {
        Refused { kind: RefusedKind::Malformed, reason: reason.into() }
    }

    pub(super) fn forbidden(reason: impl Into<String>) -> Refused {
        Refused { kind: RefusedKind::Forbidden, reason: reason.into() }
    }

    /// A port that requests are not sent to.
    pub(super) fn port(port: u16) -> Refused {
        Refused::forbidden(format!(
            "requests are not sent to port {port}; the ports that they may be sent to are the setting `egress.ports`"
        ))
    }

    /// The same refusal of a URL that a source redirected to: whoever named the source has never seen it.
    pub(super) fn behind_redirect(self) -> Refused {
        Refused::forbidden(format!("the source redirects to a URL that is not followed: {}", self.reason))
    }
}

/// Which part of a request ran out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Name lookup, TCP and TLS together.
    Connect,
    /// From the request to the head of the answer.
    Answer,
    /// While the body of the answer was arriving.
    Body,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Connect => "no connection could be made",
            Phase::Answer => "no answer came",
            Phase::Body => "the answer was not complete",
        })
    }
}

/// Failure of an outbound request. Messages are meant for the person who named the URL.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EgressError {
    /// The URL, a redirect or every address of the host is off limits.
    #[error(transparent)]
    Forbidden(#[from] Refused),
    /// The host has no address, or the lookup failed.
    #[error("the name {host:?} could not be resolved: {detail}")]
    Resolve {
        /// Host as the URL spells it.
        host: String,
        /// What the resolver said.
        detail: String,
    },
    /// None of the host's addresses took the connection.
    #[error("could not connect to {host}: {detail}")]
    Connect {
        /// Host as the URL spells it.
        host: String,
        /// What the system said about the last address tried.
        detail: String,
    },
    /// The host took the connection but no trusted TLS session came of it.
    #[error("no trusted TLS connection to {host}: {detail}")]
    Tls {
        /// Host as the URL spells it.
        host: String,
        /// What was wrong with the handshake or the certificate.
        detail: String,
        /// True when the connection broke off, false when TLS itself objected (a bad certificate stays bad).
        transient: bool,
    },
    /// A deadline passed.
    #[error("{phase} within {} ms", limit.as_millis())]
    Timeout {
        /// What was being waited for.
        phase: Phase,
        /// The deadline that passed, counted from the start of that request (or of the connection).
        limit: Duration,
    },
    /// The body is larger than the caller takes.
    #[error("the body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The source answered with something else than an image could come with; the second field is its `Retry-After`.
    #[error("the source answered with status {0}")]
    Status(u16, Option<Duration>),
    /// The source kept redirecting.
    #[error("more than {limit} redirects")]
    TooManyRedirects {
        /// Redirects that are followed.
        limit: usize,
    },
    /// The connection broke off before the answer was complete.
    #[error("the connection broke off: {0}")]
    Interrupted(String),
    /// The answer is not HTTP as agreed: unreadable, an encoding nobody asked for, a redirect to nowhere.
    #[error("the answer is not usable: {0}")]
    Protocol(String),
    /// TLS could not be set up at start.
    #[error("could not set up TLS: {0}")]
    Setup(String),
}

impl EgressError {
    /// Whether the same request may succeed later: true for everything the network or a busy server causes, false for what will stay as it is.
    pub fn is_transient(&self) -> bool {
        match self {
            EgressError::Resolve { .. } | EgressError::Connect { .. } => true,
            EgressError::Timeout { .. } | EgressError::Interrupted(_) => true,
            EgressError::Tls { transient, .. } => *transient,
            EgressError::Status(status, _) => matches!(status, 408 | 425 | 429 | 500..=599),
            EgressError::Forbidden(_) | EgressError::TooLarge { .. } => false,
            EgressError::TooManyRedirects { .. } | EgressError::Protocol(_) | EgressError::Setup(_) => false,
        }
    }
}
