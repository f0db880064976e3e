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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use hyper::HeaderMap;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"type":"job.succeeded","data":{}}"#;

    fn secret(fill: u8) -> Secret {
        Secret::generate([fill; 32])
    }

    fn now() -> i64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
    }

    fn headers(id: &str, timestamp: i64, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", timestamp.to_string().parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        headers
    }

    #[test]
    fn the_published_vector_is_met() {
        // From the documentation of the reference libraries.
        let signature = Secret::parse(SECRET).unwrap().sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn the_reference_library_accepts_ours_and_no_tampered_one() {
        let ours = secret(7);
        let judge = standardwebhooks::Webhook::new(&ours.reveal()).unwrap();
        let signature = sign_with_all(&[secret(9), ours.clone()], "msg_1", now(), BODY);
        assert_eq!(signature.split(' ').count(), 2);
        judge.verify(BODY, &headers("msg_1", now(), &signature)).unwrap();
        assert!(judge.verify(b"{}", &headers("msg_1", now(), &signature)).is_err());
        assert!(judge.verify(BODY, &headers("msg_2", now(), &signature)).is_err());
        assert!(judge.verify(BODY, &headers("msg_1", now() - 5, &signature)).is_err());
        let other = secret(9).sign("msg_1", now(), BODY);
        assert!(judge.verify(BODY, &headers("msg_1", now(), &other)).is_err());
    }

    #[test]
    fn we_accept_what_the_reference_library_signs() {
        let ours = secret(7);
        let theirs =
            standardwebhooks::Webhook::new(&ours.reveal()).unwrap().sign("msg_1", 1000, BODY).unwrap();
        let signed = Signed { id: "msg_1", timestamp: "1000", signature: &theirs };
        assert_eq!(verify(&[secret(1), ours], signed, BODY, 1000, TOLERANCE), Ok(()));
    }

    #[test]
    fn tampered_foreign_and_malformed_messages_are_rejected() {
        let ours = [secret(7)];
        let signature = ours[0].sign("msg_1", 1000, BODY);
        let check = |id, timestamp, signature: &str, body| {
            verify(&ours, Signed { id, timestamp, signature }, body, 1000, TOLERANCE)
        };
        assert_eq!(check("msg_1", "1000", &signature, BODY), Ok(()));
        assert_eq!(check("msg_1", "1000", &format!("v1a,AAAA v1,!! v1, {signature}"), BODY), Ok(()));
        assert_eq!(check("msg_2", "1000", &signature, BODY), Err(VerifyError::Mismatch));
        assert_eq!(check("msg_1", "1001", &signature, BODY), Err(VerifyError::Mismatch));
        assert_eq!(check("msg_1", "1000", &signature, b"{}"), Err(VerifyError::Mismatch));
        assert_eq!(
            check("msg_1", "1000", &signature.replace("v1,", "v2,"), BODY),
            Err(VerifyError::Mismatch)
        );
        assert_eq!(check("msg_1", "1000", &signature[..20], BODY), Err(VerifyError::Mismatch));
        assert_eq!(check("msg_1", "1000", "", BODY), Err(VerifyError::Mismatch));
        assert_eq!(check("msg_1", "now", &signature, BODY), Err(VerifyError::Timestamp));
        let none = Signed { id: "msg_1", timestamp: "1000", signature: &signature };
        assert_eq!(verify(&[], none, BODY, 1000, TOLERANCE), Err(VerifyError::Mismatch));
    }

    #[test]
    fn timestamps_are_good_within_the_tolerance() {
        let ours = [secret(7)];
        let check = |sent: i64, now: i64| {
            let (timestamp, signature) = (sent.to_string(), ours[0].sign("msg_1", sent, BODY));
            let signed = Signed { id: "msg_1", timestamp: &timestamp, signature: &signature };
            verify(&ours, signed, BODY, now, TOLERANCE)
        };
        assert_eq!(check(1000, 1300), Ok(()));
        assert_eq!(check(1000, 1301), Err(VerifyError::TooOld));
        assert_eq!(check(1300, 1000), Ok(()));
        assert_eq!(check(1301, 1000), Err(VerifyError::TooNew));
        assert_eq!(check(i64::MIN, 1000), Err(VerifyError::TooOld));
        assert_eq!(check(i64::MAX, -1000), Err(VerifyError::TooNew));
    }

    #[test]
    fn secrets_are_read_strictly_and_never_shown_by_debug() {
        let of = |bytes: usize| format!("whsec_{}", BASE64.encode(vec![1; bytes]));
        assert_eq!(Secret::parse(&of(23)).unwrap_err(), SecretError::Length(23));
        assert!(Secret::parse(&of(24)).is_ok() && Secret::parse(&of(64)).is_ok());
        assert_eq!(Secret::parse(&of(65)).unwrap_err(), SecretError::Length(65));
        assert_eq!(Secret::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap_err(), SecretError::Prefix);
        assert_eq!(Secret::parse("whsec_***").unwrap_err(), SecretError::Encoding);
        assert_eq!(Secret::parse("").unwrap_err(), SecretError::Prefix);
        let made = secret(42);
        let read = Secret::parse(&format!(" {}\n", made.reveal())).unwrap();
        assert_eq!(read.reveal(), made.reveal());
        assert!(Secret::parse(made.reveal().trim_end_matches('=')).is_ok());
        assert_eq!(format!("{made:?}"), "Secret([REDACTED])");
    }
}
