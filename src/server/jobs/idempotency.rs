//! `Idempotency-Key`: the same submit twice is one job.

use super::super::call::Call;
use super::super::error::{ApiError, Code};
use crate::api;
use crate::job::JobSpec;
use crate::queue::{IdempotencyClaim, KeyGuard};

/// Longest key in bytes.
const KEY_BYTES_MAX: usize = 255;

/// The key of a submit that is under way; another with the same key is turned down meanwhile.
pub(super) struct Key {
    key: String,
    _guard: KeyGuard,
}

impl Key {
    /// The request's key, if it has one.
    pub(super) fn begin(call: &Call) -> Result<Option<Key>, ApiError> {
        let mut values = call.headers().get_all("idempotency-key").iter();
        let Some(value) = values.next() else { return Ok(None) };
        let key = value.to_str().unwrap_or_default();
        let printable = key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        if values.next().is_some() || !printable || !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            let detail = format!(
                "The Idempotency-Key must be one text of 1 to {KEY_BYTES_MAX} printable ASCII characters."
            );
            return Err(ApiError::new(Code::InvalidRequest, detail));
        }
        match call.state.services.queue.begin_key(&call.caller.owner(), key) {
            Some(guard) => Ok(Some(Key { key: key.to_owned(), _guard: guard })),
            None => {
                let detail =
                    "A request with this Idempotency-Key is under way; try again when it has been answered.";
                let error = ApiError::new(Code::IdempotencyInProgress, detail);
                Err(error.retry_after(std::time::Duration::from_secs(1)))
            }
        }
    }

    /// The key and what it stands for.
    pub(super) fn claim(
        &self,
        spec: &JobSpec,
        sha256: Option<&[u8; 32]>,
        assets: &[(String, [u8; 32])],
    ) -> IdempotencyClaim {
        IdempotencyClaim { key: self.key.clone(), fingerprint: api::fingerprint(spec, sha256, assets) }
    }
}
