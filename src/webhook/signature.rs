//! Signatures of webhooks after Standard Webhooks 1.0 (<https://www.standardwebhooks.com>), symmetric version `v1`.
//!
//! Owns secrets, signing and verifying. Pure: no clock and no randomness of its own, both are handed in. Called by the deliverer (to sign)
//! and by the command line (to make secrets and to verify).

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// What every secret begins with.
const PREFIX: &str = "whsec_";
/// Length of a secret in bytes, as the standard has it.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Signatures of one header that are looked at: more secrets than anybody rotates at once.
const SIGNATURES_MAX: usize = 16;
/// How far a timestamp may be off by default; the tolerance of the reference libraries.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// Base64 as the standard writes it; missing padding is forgiven when reading.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key shared with one receiver. Never printed by `Debug`.
#[derive(Clone)]
pub struct Secret {
    key: Vec<u8>,
}

/// Why a text is no secret. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Something else, perhaps a bare key.
    #[error("a webhook secret starts with `whsec_`")]
    Prefix,
    /// What follows the prefix is not base64.
    #[error("a webhook secret is `whsec_` followed by base64; this is not base64")]
    Encoding,
    /// Too short to be safe or too long to be right.
    #[error("a webhook secret holds 24 to 64 bytes, this one holds {0}")]
    Length(usize),
}

/// Why a message is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// `webhook-timestamp` is not a whole number of seconds.
    #[error("webhook-timestamp is not a Unix time in seconds")]
    Timestamp,
    /// An old message, perhaps replayed, or a wrong clock.
    #[error("webhook-timestamp is too old")]
    TooOld,
    /// A wrong clock on either side.
    #[error("webhook-timestamp is in the future")]
    TooNew,
    /// No signature in the header was made with one of the secrets for this id, timestamp and body.
    #[error("no signature matches")]
    Mismatch,
}

impl Secret {
    /// Reads `whsec_<base64>`.
    ///
    /// # Errors
    /// [`SecretError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Secret, SecretError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        let key = BASE64.decode(encoded).map_err(|_| SecretError::Encoding)?;
        if !SECRET_BYTES.contains(&key.len()) {
            return Err(SecretError::Length(key.len()));
        }
        Ok(Secret { key })
    }

    /// A new secret from 32 bytes of cryptographic randomness.
    pub fn generate(random: [u8; 32]) -> Secret {
        Secret { key: random.to_vec() }
    }

    /// The secret as `whsec_<base64>`, to be shown once to its owner.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(&self.key))
    }

    /// The signature `v1,<base64 HMAC-SHA256>` of one message sent at `timestamp_unix` (seconds).
    pub fn sign(&self, id: &str, timestamp_unix: i64, body: &[u8]) -> String {
        format!("v1,{}", BASE64.encode(self.mac(id, timestamp_unix, body)))
    }

    /// HMAC-SHA256 over `<id>.<timestamp>.<body>`.
    fn mac(&self, id: &str, timestamp_unix: i64, body: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(id.as_bytes());
        mac.update(format!(".{timestamp_unix}.").as_bytes());
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([REDACTED])")
    }
}

/// The value of `webhook-signature`: one signature per secret, so that receivers can rotate theirs without missing a message.
pub fn sign_with_all(secrets: &[Secret], id: &str, timestamp_unix: i64, body: &[u8]) -> String {
    let signatures: Vec<String> =
        secrets.iter().map(|secret| secret.sign(id, timestamp_unix, body)).collect();
    signatures.join(" ")
}

/// The three headers of a message, as received.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// `webhook-id`
    pub id: &'a str,
    /// `webhook-timestamp`
    pub timestamp: &'a str,
    /// `webhook-signature`
    pub signature: &'a str,
}

/// Checks that one of the `secrets` signed this message and that it is at most `tolerance` away from `now_unix` (seconds). Signatures are
/// compared in constant time; the time taken depends on the number of signatures and secrets only.
///
/// # Errors
/// [`VerifyError`]: the message must not be trusted.
pub fn verify(
    secrets: &[Secret],
    signed: Signed<'_>,
    body: &[u8],
    now_unix: i64,
    tolerance: Duration,
) -> Result<(), VerifyError> {
    let timestamp: i64 = signed.timestamp.parse().map_err(|_| VerifyError::Timestamp)?;
    let tolerance = i64::try_from(tolerance.as_secs()).unwrap_or(i64::MAX);
    let age = now_unix.saturating_sub(timestamp);
    if age > tolerance {
        return Err(VerifyError::TooOld);
    }
    if age < tolerance.saturating_neg() {
        return Err(VerifyError::TooNew);
    }
    let expected: Vec<[u8; 32]> =
        secrets.iter().map(|secret| secret.mac(signed.id, timestamp, body)).collect();
    let mut matches = subtle::Choice::from(0);
    for signature in signed.signature.split(' ').take(SIGNATURES_MAX) {
        let Some(given) = signature.strip_prefix("v1,") else { continue };
        let Ok(given) = BASE64.decode(given) else { continue };
        for mac in &expected {
            matches |= mac.as_slice().ct_eq(&given);
        }
    }
    if bool::from(matches) { Ok(()) } else { Err(VerifyError::Mismatch) }
}
