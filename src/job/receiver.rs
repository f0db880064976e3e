//! Receivers: what deliveries to one scheme, host and port have in common.
//!
//! A receiver that has failed for days without a single success is disabled: it costs attempts, and keeps results from expiring, for
//! nothing. What an attempt means for it is decided here, once for every engine.

use std::time::Duration;

use super::delivery::DeliveryResult;
use crate::clock::Timestamp;

/// How long a receiver may do nothing but fail before it is disabled.
pub const FAILING_MAX: Duration = Duration::from_secs(120 * 60 * 60);

/// Whether a receiver is worth a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It took the last delivery, or nothing is known of it.
    #[default]
    Well,
    /// It has taken none since its last failure.
    Failing,
    /// It has failed for too long; nothing is sent until somebody enables it.
    Disabled,
}

impl Standing {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Well => "well",
            Standing::Failing => "failing",
            Standing::Disabled => "disabled",
        }
    }
}

/// What is remembered of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Scheme, host and port.
    pub name: String,
    /// First failure since the last success.
    pub failing_since: Option<Timestamp>,
    /// When it was disabled.
    pub disabled_at: Option<Timestamp>,
    /// When it was asked last.
    pub attempted_at: Timestamp,
}

/// Scheme, host and port of a webhook's address: what its receiver is called. What is no URL stands for itself.
pub fn receiver_of(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(url) => url.origin().ascii_serialization(),
        Err(_) => url.to_owned(),
    }
}

impl Receiver {
    /// One that nothing is known of.
    pub fn new(name: String, now: Timestamp) -> Receiver {
        Receiver { name, failing_since: None, disabled_at: None, attempted_at: now }
    }

    /// Whether it is worth a call.
    pub fn standing(&self) -> Standing {
        match (self.disabled_at, self.failing_since) {
            (Some(_), _) => Standing::Disabled,
            (None, Some(_)) => Standing::Failing,
            (None, None) => Standing::Well,
        }
    }

    /// An attempt has ended. A receiver that wants no more of one delivery (410) answers, and does not take it: that tells neither way.
    pub fn attempted(&mut self, result: &DeliveryResult, now: Timestamp) {
        if !result.is_sent {
            return;
        }
        self.attempted_at = now;
        match result.response_status {
            Some(200..=299) => *self = Receiver::new(std::mem::take(&mut self.name), now),
            Some(410) => {}
            _ => {
                let since = *self.failing_since.get_or_insert(now);
                if now.since(since) >= FAILING_MAX {
                    self.disabled_at.get_or_insert(now);
                }
            }
        }
    }

    /// Somebody says that it is well again; whether that was news.
    pub fn enable(&mut self) -> bool {
        let is_news = self.standing() != Standing::Well;
        (self.failing_since, self.disabled_at) = (None, None);
        is_news
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::job::DeliveryStatus;

    fn answered(status: Option<u16>) -> DeliveryResult {
        DeliveryResult {
            status: DeliveryStatus::Pending,
            response_status: status,
            error: None,
            next_attempt_at: None,
            is_sent: true,
            latency: Duration::ZERO,
            answer: Bytes::new(),
        }
    }

    fn at(hours: u64) -> Timestamp {
        Timestamp::default().plus(Duration::from_secs(hours * 3600))
    }

    #[test]
    fn only_five_days_of_nothing_but_failures_disable() {
        let mut receiver = Receiver::new("https://a.test".to_owned(), at(0));
        receiver.attempted(&answered(None), at(1));
        assert_eq!(receiver.standing(), Standing::Failing);
        receiver.attempted(&answered(Some(500)), at(120));
        assert_eq!(receiver.standing(), Standing::Failing);
        receiver.attempted(&answered(Some(204)), at(121));
        assert_eq!(receiver.standing(), Standing::Well);
        receiver.attempted(&answered(Some(410)), at(122));
        assert_eq!(receiver.standing(), Standing::Well);
        receiver.attempted(&answered(Some(302)), at(130));
        receiver.attempted(&answered(Some(410)), at(131));
        receiver.attempted(&DeliveryResult { is_sent: false, ..answered(None) }, at(260));
        assert_eq!(receiver.standing(), Standing::Failing);
        receiver.attempted(&answered(None), at(250));
        assert_eq!((receiver.standing(), receiver.disabled_at), (Standing::Disabled, Some(at(250))));
        receiver.attempted(&answered(None), at(251));
        assert_eq!(receiver.disabled_at, Some(at(250)));
        assert!(receiver.enable());
        assert_eq!((receiver.standing(), receiver.enable()), (Standing::Well, false));
    }
}
